//! Owns tokio, clocks and entropy: one loop per role, performing effects and feeding their answers back as inputs.

pub mod agent;
pub mod bootstrap;
pub mod brake;
pub mod clock;
pub mod commands;
pub mod coordinator;
pub mod entropy;
pub mod explain;
pub mod facts;
pub mod guard;
pub mod identity;
pub mod images;
pub mod join;
pub mod log_writer;
pub mod print;
pub mod recorder;
mod renewal;
mod reset;
pub mod sealed;
mod service;
pub mod steward;
mod watches;

pub use commands::run;

/// Chooses the cryptography of all TLS in this process.
pub fn install_tls_provider() {
    // Fails only where it has been chosen already, and then it is this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

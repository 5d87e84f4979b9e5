//! Owns tokio, clocks and entropy: one loop per role, performing effects and feeding their answers back as inputs.

pub mod agent;
pub mod clock;
pub mod coordinator;
pub mod entropy;
pub mod recorder;

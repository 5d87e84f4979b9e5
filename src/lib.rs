//! leasehold: a node agent that decides for itself which Pods it hosts, and the coordinator endpoint
//! through which nodes and people share objects and leases.
//!
//! Imports run down only:
//! `main → driver → {server, client, containerd, volumes, logs, guard, sandbox → {network, cgroup}, detect, store} →
//! {agent, steward, coordinator} → {lease, placement, authorization} → {api, time}`.
//! The rooms from `agent` down are pure: they know no tokio, HTTP, disk, clock or randomness
//! (`tests/tidy.rs` holds them to it).

pub mod agent;
pub mod api;
pub mod authorization;
pub mod cgroup;
pub mod cli;
pub mod client;
pub mod config;
pub mod containerd;
pub mod coordinator;
pub mod detect;
pub mod driver;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod guard;
pub mod lease;
pub mod logs;
pub mod network;
pub mod placement;
pub mod sandbox;
pub mod server;
pub mod sim;
pub mod steward;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod volumes;

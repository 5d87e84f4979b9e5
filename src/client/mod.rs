//! The way to the coordinator: kube's client and watcher over reqwest.
//!
//! Nothing but the public Kubernetes API is used, so that any Kubernetes endpoint can be the coordinator.
//! Proxies of the environment are never used for it.

mod connection;

pub use connection::{Connection, ConnectionError};

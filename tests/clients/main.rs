//! Clients that people use, against a real endpoint: kubectl of two versions, Helm, the official Python client, kube-rs.
//!
//! `.ci/clients` brings those that the machine does not have into `.cache/clients`.

#![allow(
    unreachable_pub,
    dead_code,
    reason = "the servers are shared with other tests, which use more of them"
)]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod helm;
mod kube_rs;
mod kubectl;
mod python;
#[path = "../api/server.rs"]
mod server;
mod session;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;

/// Where `.ci/clients` has put things.
fn clients() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache/clients")
}

/// A client that `.ci/clients` brings. It must be there: `make test` sees to it.
fn client(path: &str) -> PathBuf {
    let found = clients().join(path);
    assert!(found.exists(), "{} is not there: run .ci/clients", found.display());
    found
}

//! The coordinator endpoint over real HTTPS: raw requests, and kubectl.

#![allow(unreachable_pub, reason = "the server is shared with the tests of the store")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod access;
mod apply;
mod belongings;
mod certificates;
mod controllers;
mod forms;
mod garbage;
mod kinds;
mod kubectl;
mod lists;
#[path = "../support/machine.rs"]
mod machine;
mod node_access;
mod nodes;
mod objects;
mod refusals;
mod rights;
mod server;
mod services;
mod tokens;
mod watches;
mod workloads;

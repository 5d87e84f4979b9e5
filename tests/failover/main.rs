//! Identities for real: real nodes, each with a containerd and a guard of its own.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]
#![allow(unreachable_pub, reason = "a test crate has no outside")]

#[path = "../support/mod.rs"]
mod support;

mod identities;

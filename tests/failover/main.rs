//! Identities for real: several nodes on one machine, each with a containerd, a guard and a way to the coordinator of its
//! own; and Pods of a StatefulSet that say what epoch it is, every 10 ms, in a file that all nodes share.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]
#![allow(unreachable_pub, reason = "a test crate has no outside")]

#[path = "../support/mod.rs"]
mod support;

mod faults;
mod identities;
mod node;
mod proxy;

//! The guard as a process, and the fence of a real node: whatever dies or hangs, nothing with an identity outlives its
//! session, and nothing else stops.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]
#![allow(unreachable_pub, reason = "a test crate has no outside")]

#[path = "../support/mod.rs"]
mod support;

mod bed;
mod fuse;
mod node;
mod process;

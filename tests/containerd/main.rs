//! The containerd room against a real, private containerd.

#![allow(unreachable_pub, reason = "the bed is shared by the modules of this crate")]

#[path = "../support/mod.rs"]
mod support;

mod bed;
mod floor;
mod images;
mod leftovers;
mod life;
mod pulls;
mod restart;
mod specs;

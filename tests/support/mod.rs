//! What the integration tests share: a private containerd and container images made without network.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test crate uses its part of this module")]

mod containerd;
mod image;
#[allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]
mod leaks;
mod registry;
#[allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]
mod second;
mod slow_registry;
#[allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]
mod up;

pub use containerd::{Containerd, on_path, unique};
pub use image::{Blobs, TestImage, digest_of};
pub use leaks::Traces;
pub use registry::Registry;
pub use second::{Invited, Second, leasehold};
pub use slow_registry::SlowRegistry;
pub use up::{BUSYBOX, PATIENCE, Up, feed, pod_manifest};

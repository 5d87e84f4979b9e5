//! The guard: the process that fences when the agent cannot.
//!
//! It is told by the agent which Pods have to be dead by when, and sees to it whatever has become of the agent (killed,
//! stopped, deadlocked) or of containerd. It knows cgroups, deadlines and nothing else: no network, no containers, no
//! Kubernetes. What it decides is [`crate::lease::fence::watch`]; here is how it hears, keeps and acts.
//!
//! | file under `R/guard` | what |
//! |---|---|
//! | `lock` | held by the one guard of this runtime directory |
//! | `table` | one [`frame`] per Pod, kept through the guard's own death |
//! | `control.sock` | requests, one frame each, answered by one frame ([`message`]) |
//! | `guard.log` | what the guard says about itself, unless systemd runs it |
//!
//! It stays small ([`process`]): one thread, no allocation of note, no tokio, no JSON; its memory is locked. An
//! upgrade executes the new program in its place, which finds the table. Told to stop for good, it fences first.
//!
//! Architecture invariant: an acknowledged request stands in the table. This room reads no clock, it is given one.

pub mod client;
pub mod frame;
pub mod message;
pub mod process;
pub mod table;

use std::path::{Path, PathBuf};

use crate::time::Instant;

/// Reads `CLOCK_BOOTTIME`.
pub type Clock = fn() -> Instant;

/// `R/guard`, the directory that belongs to the guard of runtime directory `R`.
pub fn directory(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("guard")
}

/// The control socket.
pub fn socket(runtime_dir: &Path) -> PathBuf {
    directory(runtime_dir).join("control.sock")
}

/// Where a guard that the agent started says what it has to say.
pub fn diary(runtime_dir: &Path) -> PathBuf {
    directory(runtime_dir).join("guard.log")
}

//! Containers' output: from their FIFOs into log files in the CRI format, and from there to whoever asks.
//!
//! One **log process** per node ([`writer`]) holds the FIFOs of all containers. It is no child of the agent, so that
//! the agent may stop, crash or be replaced while containers go on writing; the agent speaks to it through
//! [`Client`]. It may itself be killed at any instant: what it has taken from a FIFO stands in its [`journal`] until
//! it stands in the log file, so that nothing is lost and nothing is written twice.
//!
//! Everything the log process needs is under `R/logs`, with `R` the agent's runtime directory (0700):
//!
//! | path | what |
//! |---|---|
//! | `lock` | held by the one log process of this runtime directory |
//! | `control.sock` | requests, one JSON object a line ([`control`]) |
//! | `open/<id>.json` | one file per open log: the log process's memory across its own restarts |
//! | `fifo/<id>.stdout`, `fifo/<id>.stderr` | the FIFOs, made by the client |
//! | `fifo/<id>.stdin` | of a container that takes input: the shim holds both ends, who attaches writes |
//! | `log-writer.log` | what the log process says about itself, unless systemd runs it |
//! | `batch`, `spool` | the journal: the one batch that is on its way from a FIFO to a log file |
//!
//! Reading ([`read`]) knows nothing of the log process: it follows the files. Who attaches to a container needs its
//! output before a line is whole, and so gets it from the log process ([`tap`]).
//!
//! Architecture invariant: this room reads no clock; the wall clock comes as a [`Clock`].

use crate::time::WallTime;

pub mod client;
mod compress;
pub mod control;
mod end;
pub mod files;
pub mod format;
mod journal;
mod log;
mod pipe;
pub mod read;
pub mod tap;
pub mod writer;

pub use client::{Client, Launch};
pub use end::{Stuck, end};

/// Reads the wall clock, which stamps the lines.
pub type Clock = fn() -> WallTime;

/// Rotation of one log, as the kubelet's `containerLogMaxSize` and `containerLogMaxFiles`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rotation {
    /// Most bytes in one file. No file is ever longer.
    pub max_bytes: u64,
    /// Most files of one log, the one being written included; at least 2.
    pub max_files: usize,
}

impl Default for Rotation {
    /// 10 MiB × 5, the kubelet's defaults.
    fn default() -> Self {
        Self { max_bytes: 10 << 20, max_files: 5 }
    }
}

//! What is said on the log process's control socket: one JSON object a line, each [`Request`] answered by one
//! [`Reply`]; in order, but for `Close`, which may wait.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Rotation;

/// Longest request or reply that is read, in bytes.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// One log to be written; also what the log process keeps of it on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Unique on this node, a file name: the containerd container id.
    pub id: String,
    /// FIFO that carries standard output (everything, for a container with a terminal).
    pub stdout: PathBuf,
    /// FIFO that carries standard error; none with a terminal.
    pub stderr: Option<PathBuf>,
    /// The log file. Missing directories are made, mode 0755.
    pub log: PathBuf,
    /// A symbolic link to the log file, made if it is not there.
    pub link: Option<PathBuf>,
    /// When to begin a new file.
    #[serde(default)]
    pub rotation: Rotation,
}

/// What the client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// Begin to write a log. The same request twice is one; another one under the same id is refused.
    Open(Open),
    /// Write what still comes until nobody has the FIFOs open for writing any more, then forget the log and answer.
    /// Unknown ids are fine. Meanwhile other requests on this connection are answered.
    Close {
        /// As opened.
        id: String,
        /// Do not wait: write what the FIFOs hold.
        now: bool,
    },
    /// After the answer this connection carries what the container puts out from now on, and the beginning of a line
    /// that is not ended yet: see [`super::tap`].
    Attach {
        /// As opened.
        id: String,
    },
    /// All open logs.
    List,
    /// End the process. What the FIFOs hold stays there for the next one.
    Stop,
}

/// What the log process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// Done.
    Done,
    /// Drained and forgotten; none where no such log was open.
    Closed(Option<Counts>),
    /// In the order of their ids.
    List(Vec<Entry>),
    /// Not done.
    Refused {
        /// Why, for people.
        why: String,
    },
}

/// One open log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// As opened.
    pub id: String,
    /// Its log file.
    pub log: PathBuf,
    /// Since the log process started.
    pub counts: Counts,
}

/// What became of a container's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Records written to the log file.
    pub written_count: u64,
    /// Records that could not be written (the disk was full) and are lost.
    pub dropped_count: u64,
}

//! Where the objects are kept for good. [`embedded`] is SQLite in one data directory; others follow behind [`Store`].
//!
//! A store knows keys, bytes and revisions, and nothing of kinds. It is driven by one writer, which has already
//! decided what each change is: a store makes a whole batch durable, or none of it.

pub mod embedded;

use std::path::PathBuf;

use bytes::Bytes;

use crate::coordinator::state::Key;

/// One object as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub key: Key,
    /// The revision that wrote it.
    pub revision: u64,
    /// The object, JSON.
    pub value: Bytes,
}

/// One change to be made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where.
    pub key: Key,
    /// The revision it replaces, 0 for none. A store that others write to as well compares it.
    pub previous: u64,
    /// The revision it makes.
    pub revision: u64,
    /// The new value; none removes.
    pub value: Option<Bytes>,
}

/// What a store says of itself when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Made once, when the store was: tells a replaced store from the same one.
    pub cluster_uid: String,
    /// The newest revision that was ever acknowledged.
    pub revision: u64,
}

/// A durable set of objects.
pub trait Store: Send {
    /// Hands over every entry, and then tells the revision that they stand at.
    fn load(&mut self, each: &mut dyn FnMut(Entry) -> Result<(), String>) -> Result<Loaded, OpenError>;

    /// Makes all of `writes` durable and `revision` the newest one, or changes nothing.
    /// When it returns, a power cut loses nothing of it.
    fn commit(&mut self, writes: &[Write], revision: u64) -> Result<(), CommitError>;
}

/// Why a store cannot be used. It has been left as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("data directory {path} is in use by another process: stop that one, or name another --data-dir")]
    InUse {
        /// The data directory.
        path: PathBuf,
    },
    /// It was written by a newer version of the program.
    #[error(
        "{path} has format {found}, this version reads up to {supported}: run the newer leasehold that wrote it \
         (nothing was changed)"
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format that this version knows.
        supported: u32,
    },
    /// It holds something that a store does not.
    #[error(
        "{path} is damaged or not a leasehold store: {detail} (nothing was changed): restore it from a backup, or \
         move it away to begin with an empty cluster"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The file system refuses.
    #[error("{path}: {detail}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried, and the system's answer.
        detail: String,
    },
}

/// Why a batch was not made durable. Nothing of it stays.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk is full. Reads go on; writes work again when there is room.
    #[error("no space left on the device that holds {path}")]
    NoSpace {
        /// The data directory.
        path: PathBuf,
    },
    /// Anything else the disk or the store said.
    #[error("the store in {path} failed: {detail}")]
    Failed {
        /// The data directory.
        path: PathBuf,
        /// The store's own words.
        detail: String,
    },
}

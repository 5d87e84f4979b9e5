//! The one batch that is on its way from a FIFO to a log file, kept so that a log process killed at any instant
//! neither loses nor repeats a record.
//!
//! Order of events, each step one system call that happened or did not:
//! 1. `batch` says where the records will stand and how they are made (log, base, stamp, how many raw bytes);
//! 2. the raw bytes move from the FIFO into `spool` (`splice`: they leave the pipe as they arrive in the file);
//! 3. the records are written into the log file at `base`;
//! 4. `spool` is emptied.
//!
//! An empty spool means: nothing is on its way. Otherwise the next log process finishes steps 2 to 4; the same records
//! go to the same place, byte for byte, so that neither the file nor its readers notice.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use serde::{Deserialize, Serialize};

use super::format::Stream;

/// Step 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batch {
    /// Which log.
    pub(crate) id: String,
    /// Which of its streams.
    pub(crate) stream: Stream,
    /// The log file's inode: a file of another one is appended to instead.
    pub(crate) inode: u64,
    /// Where in it the records begin.
    pub(crate) base: u64,
    /// The records' time.
    pub(crate) stamp: String,
    /// Raw bytes taken from the FIFO.
    pub(crate) taken: usize,
}

/// The two files.
#[derive(Debug)]
pub(crate) struct Journal {
    batch: File,
    spool: File,
}

impl Journal {
    /// Opens or makes them in `dir`.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let open = |name: &str| {
            let path = dir.join(name);
            File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
        };
        Ok(Self { batch: open("batch")?, spool: open("spool")? })
    }

    /// What a killed log process left, with the raw bytes that had been moved.
    pub(crate) fn unfinished(&mut self) -> io::Result<Option<(Batch, Vec<u8>)>> {
        let mut moved = Vec::new();
        self.spool.seek(SeekFrom::Start(0))?;
        self.spool.read_to_end(&mut moved)?;
        if moved.is_empty() {
            return Ok(None);
        }
        let mut text = Vec::new();
        self.batch.seek(SeekFrom::Start(0))?;
        self.batch.read_to_end(&mut text)?;
        // Longer batches leave their tail behind a shorter one's newline.
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(Some((serde_json::from_slice(line)?, moved)))
    }

    /// Step 1.
    pub(crate) fn announce(&self, batch: &Batch) -> io::Result<()> {
        let mut line = serde_json::to_vec(batch)?;
        line.push(b'\n');
        self.batch.write_all_at(&line, 0)
    }

    /// Step 2: moves bytes from the FIFO until the spool holds `taken`, of which `moved` are there. Answers how many
    /// the spool holds in the end: fewer when the FIFO has no more, or when the spool cannot grow (an error only
    /// where nothing is in the spool).
    pub(crate) fn fill(&self, fifo: &impl AsFd, moved: usize, taken: usize) -> io::Result<usize> {
        let mut at = moved as i64;
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK;
        while (at as usize) < taken {
            let want = taken - at as usize;
            match splice(fifo, None, &self.spool, Some(&mut at), want, flags) {
                Ok(0) | Err(Errno::EAGAIN) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) if at == 0 => return Err(error.into()),
                Err(_) => break,
            }
        }
        Ok(at as usize)
    }

    /// Reads back what `fill` moved after the first `from` bytes.
    pub(crate) fn moved(&self, from: usize, to: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; to - from];
        self.spool.read_exact_at(&mut bytes, from as u64)?;
        Ok(bytes)
    }

    /// Step 4.
    pub(crate) fn finish(&self) -> io::Result<()> {
        self.spool.set_len(0)
    }
}

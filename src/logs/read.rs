//! Reading logs, as `kubectl logs` asks for them: across rotated files, and on into the future.
//!
//! Blocking reads happen on tokio's blocking threads, a chunk at a time; waiting is inotify's.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::format;
use crate::time::WallTime;

mod cursor;
mod follow;
mod source;
mod tail;

use cursor::{Cursor, Step};
use follow::Changes;

/// Lines of log that stand in for a termination message, at most; as the kubelet's.
const TERMINATION_LINES: u64 = 80;

/// Bytes of log that stand in for a termination message, at most; as the kubelet's.
const TERMINATION_BYTES: usize = 2048;

/// What to read, as `PodLogOptions` says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Go on until the container has ended.
    pub follow: bool,
    /// Begin so many lines before the end. A line that was cut into several records is one.
    pub tail_lines: Option<u64>,
    /// Leave out what was written before.
    pub since: Option<WallTime>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// End after so many bytes.
    pub limit_bytes: Option<u64>,
    /// Only this output; both, in the order they came, if none is named.
    pub stream: Option<format::Stream>,
}

/// Reads a log. While `writing` is true the log may still grow: it becomes false when the log process has answered
/// that the log is closed. An error here means that there is no such log; an error in the stream ends it.
pub async fn read(
    log: PathBuf,
    options: Options,
    writing: watch::Receiver<bool>,
) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    // Before the first look, lest a change falls between the look and the watch.
    let changes = options.follow.then(|| Changes::watch(&log)).transpose()?;
    let cursor = blocking(move || Cursor::open(log, &options)).await?;
    let reader = Reader { cursor: Some(cursor), changes, writing };
    Ok(stream::unfold(reader, |mut reader| async {
        let chunk = reader.next().await.transpose()?;
        Some((chunk, reader))
    }))
}

/// The end of a log, for a container that failed and left no termination message under policy
/// `FallbackToLogsOnError`. Empty where there is no log.
pub async fn termination_message(log: &Path) -> String {
    let log = log.to_owned();
    let read = blocking(move || last_bytes(log, TERMINATION_LINES, TERMINATION_BYTES)).await;
    read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn last_bytes(log: PathBuf, lines: u64, bytes: usize) -> io::Result<Vec<u8>> {
    let options = Options { tail_lines: Some(lines), ..Options::default() };
    let mut cursor = Cursor::open(log, &options)?;
    let mut kept = Vec::new();
    while let Step::Output(chunk) = cursor.step()? {
        kept.extend_from_slice(&chunk);
        kept.drain(..kept.len().saturating_sub(bytes));
    }
    // Not in the middle of a character.
    let torn = kept.iter().take(3).take_while(|byte| **byte & 0b1100_0000 == 0b1000_0000).count();
    kept.drain(..torn);
    Ok(kept)
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(read).await.map_err(io::Error::other)?
}

struct Reader {
    /// None after an error or the end.
    cursor: Option<Cursor>,
    /// None when not following.
    changes: Option<Changes>,
    writing: watch::Receiver<bool>,
}

impl Reader {
    /// The next chunk; none at the end.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            // Looked at before reading: what was written by then is read now.
            let writing = *self.writing.borrow_and_update();
            let Some(mut cursor) = self.cursor.take() else { return Ok(None) };
            let (step, cursor) = blocking(move || Ok((cursor.step()?, cursor))).await?;
            match (step, &mut self.changes) {
                (Step::Output(chunk), _) => {
                    self.cursor = Some(cursor);
                    return Ok(Some(chunk));
                }
                (Step::CaughtUp, Some(changes)) if writing => {
                    self.cursor = Some(cursor);
                    changed(changes, &mut self.writing).await?;
                }
                (Step::CaughtUp | Step::Finished, _) => return Ok(None),
            }
        }
    }
}

/// Waits until the file or the container has changed.
async fn changed(changes: &mut Changes, writing: &mut watch::Receiver<bool>) -> io::Result<()> {
    tokio::select! {
        result = changes.next() => result,
        // Nobody is left to say that the container still writes.
        _ = writing.wait_for(|writing| !writing) => Ok(()),
    }
}

#[cfg(test)]
mod tests;

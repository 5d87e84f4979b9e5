//! Commands that the node itself runs in containers, and whose output it wants to know.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use super::{Execs, Execution};
use crate::driver::agent::hands::Hands;
use crate::server::node::{ExecRequest, Execution as _, Streams};

/// 10 KiB, as much as the kubelet keeps of a probe's output.
const OUTPUT_BYTES_MAX: u64 = 10 * 1024;
/// What a command has started may keep its output open; it is not waited for longer than this.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(500);

/// Name of the FIFO in its directory.
const FIFO: &str = "output";

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::driver::agent) struct Captured {
    pub(in crate::driver::agent) code: i32,
    /// What it has written, to either stream, at most 10 KiB.
    pub(in crate::driver::agent) output: String,
}

/// Why nothing is known of a command's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::driver::agent) enum Uncaptured {
    /// It took too long, and was killed.
    TimedOut,
    /// It could not be run, or its end was not seen.
    Failed(String),
}

/// The FIFO for both outputs. Dropping it removes it.
struct Output {
    dir: PathBuf,
    receiver: pipe::Receiver,
    /// A writer of our own, lest the output seems to end before the process has opened it.
    held: Option<File>,
}

impl Output {
    fn make(dir: PathBuf) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let path = dir.join(FIFO);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let receiver = pipe::OpenOptions::new().open_receiver(&path)?;
        let held = Some(File::options().read(true).write(true).open(path)?);
        Ok(Self { dir, receiver, held })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(FIFO)
    }

    /// Reads into `kept` until the output ends; what is too much is thrown away.
    async fn read(&mut self, kept: &mut Vec<u8>) {
        // An error ends the output as well as its end does.
        let _ = (&mut self.receiver).take(OUTPUT_BYTES_MAX).read_to_end(kept).await;
        let _ = tokio::io::copy(&mut self.receiver, &mut tokio::io::sink()).await;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Runs a command in a container to its end, or for as long as it may take.
pub(in crate::driver::agent) async fn capture(
    hands: &Arc<Hands>,
    container: &str,
    command: Vec<String>,
    timeout: Option<Duration>,
) -> Result<Captured, Uncaptured> {
    let (mut sender, answer) = oneshot::channel();
    let (hands, container) = (hands.clone(), container.to_owned());
    // A start is not cut off: the shim would wait for somebody to read the FIFO, and nothing else could be done to the
    // container meanwhile.
    tokio::spawn(async move {
        let captured = match start(&hands, &container, command).await {
            Err(failed) => Err(failed),
            Ok((execution, mut output)) => {
                let mut kept = Vec::new();
                tokio::select! {
                    code = follow(&execution, &mut output, &mut kept) => code.map(|code| Captured {
                        code,
                        output: String::from_utf8_lossy(&kept).into_owned(),
                    }),
                    // Nobody waits any more: with the execution goes the process.
                    () = sender.closed() => return,
                }
            }
        };
        let _ = sender.send(captured);
    });
    let lost = || Err(Uncaptured::Failed("the agent is stopping".to_owned()));
    match timeout {
        None => answer.await.unwrap_or_else(|_| lost()),
        Some(timeout) => match tokio::time::timeout(timeout, answer).await {
            Ok(captured) => captured.unwrap_or_else(|_| lost()),
            Err(_) => Err(Uncaptured::TimedOut),
        },
    }
}

async fn start(
    hands: &Hands,
    container: &str,
    command: Vec<String>,
) -> Result<(Execution, Output), Uncaptured> {
    let failed = |error: io::Error| Uncaptured::Failed(format!("making the FIFO of a command: {error}"));
    let mut output = Output::make(hands.execs.next_dir()).map_err(failed)?;
    let streams = Streams { stdout: Some(output.path()), stderr: Some(output.path()), ..Streams::default() };
    let request = ExecRequest { command, streams, size: None };
    let started = hands.execs.start(&hands.runtime, container, request).await;
    let execution = started.map_err(|status| Uncaptured::Failed(status.message))?;
    output.held = None;
    Ok((execution, output))
}

/// The FIFO of a command that has lost its agent. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Stale {
    _open: File,
    dir: PathBuf,
}

impl Drop for Stale {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Opens the FIFOs that an earlier agent has left. Shims that wait for a reader go on, and what they have started can
/// be ended.
pub(super) fn open_stale(parent: &Path) -> Vec<Stale> {
    let dirs = fs::read_dir(parent).into_iter().flatten().flatten();
    let open = |entry: fs::DirEntry| {
        let dir = entry.path();
        let flags = OFlag::O_NONBLOCK.bits();
        let open = File::options().read(true).write(true).custom_flags(flags).open(dir.join(FIFO)).ok()?;
        Some(Stale { _open: open, dir })
    };
    dirs.filter_map(open).collect()
}

impl Execs {
    fn next_dir(&self) -> PathBuf {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        self.fifos.join(format!("{}-{number}", self.run))
    }
}

/// Reads what the process writes until it has ended.
async fn follow(execution: &Execution, output: &mut Output, kept: &mut Vec<u8>) -> Result<i32, Uncaptured> {
    let reading = output.read(kept);
    tokio::pin!(reading);
    let mut complete = false;
    let ended = execution.ended();
    tokio::pin!(ended);
    let code = loop {
        tokio::select! {
            code = &mut ended => break code?,
            () = &mut reading, if !complete => complete = true,
        }
    };
    if !complete {
        let _ = tokio::time::timeout(OUTPUT_PATIENCE, reading).await;
    }
    Ok(code)
}

impl Execution {
    /// The code it ended with: as containerd tells everybody, or as it answers us. The former may be lost with
    /// containerd, and the latter says so.
    async fn ended(&self) -> Result<i32, Uncaptured> {
        tokio::select! {
            code = self.wait() => code.map_err(|status| Uncaptured::Failed(status.message)),
            code = self.runtime.wait_exec(&self.id) => match code {
                Ok(code) => Ok(i32::try_from(code).unwrap_or(i32::MAX)),
                Err(error) => Err(Uncaptured::Failed(error.to_string())),
            },
        }
    }
}

//! Speaking to a guard, and starting one. Blocks; the agent has a task of its own for it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::frame::{Frame, SIZE};
use super::message::{Reply, Request};
use super::process::{Options, READY};
use super::{diary, directory, socket};
use crate::lease::fence::watch::Entry;

/// How long a guard may take to answer; it takes some hundred microseconds.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long it may take to fence everything before it ends.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// A longer diary is begun anew when a guard is started.
const DIARY_BYTES_MAX: u64 = 256 * 1024;
/// Priority among the real-time processes: above none but the ordinary.
const PRIORITY: &str = "10";

/// A connection to a guard.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
}

impl Link {
    /// Connects to the guard of this runtime directory, if there is one.
    pub fn connect(runtime_dir: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket(runtime_dir))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream })
    }

    /// Asks, and gives the answer; to [`Request::Status`] use [`Link::status`].
    pub fn call(&mut self, request: &Request) -> io::Result<Reply> {
        let bytes = request.frame().encode().map_err(io::Error::other)?;
        self.stream.write_all(&bytes)?;
        self.reply()
    }

    /// Everything in its table.
    pub fn status(&mut self) -> io::Result<Vec<Entry>> {
        let mut reply = self.call(&Request::Status)?;
        let mut entries = Vec::new();
        while let Reply::Entry(entry) = reply {
            entries.push(entry);
            reply = self.reply()?;
        }
        Ok(entries)
    }

    /// Has it fence everything and end.
    pub fn stop(&mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(STOP_PATIENCE))?;
        self.call(&Request::Stop).map(drop)
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let mut bytes = [0; SIZE];
        self.stream.read_exact(&mut bytes)?;
        Frame::decode(&bytes).and_then(Reply::of).map_err(io::Error::other)
    }
}

/// Starts a guard as nobody's child, and waits until it can be reached. `program` is this one.
pub fn start(program: &Path, options: &Options) -> io::Result<()> {
    let mut starter = Command::new(program)
        .args(["guard", "--detach", "--runtime-dir"])
        .arg(&options.runtime_dir)
        .arg("--reset-trigger")
        .arg(&options.reset_trigger)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = String::new();
    let stdout = starter.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut said)?;
    starter.wait()?;
    if said.trim() == READY {
        return Ok(());
    }
    let diary = std::fs::read_to_string(diary(&options.runtime_dir)).unwrap_or_default();
    Err(io::Error::other(diary.lines().last().unwrap_or("the guard did not start").to_owned()))
}

/// In the process that `start` runs: begins a session, and leaves the guard behind with its [`diary`].
pub fn detach(program: &Path, options: &Options) -> io::Result<()> {
    // Already a leader (started by hand from a shell): being in that session is as good as it gets.
    let _ = nix::unistd::setsid();
    let dir = directory(&options.runtime_dir);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let diary = diary(&options.runtime_dir);
    let diary = File::options().append(true).create(true).mode(0o600).open(diary)?;
    if diary.metadata()?.len() > DIARY_BYTES_MAX {
        diary.set_len(0)?;
    }
    let mut guard = Command::new(program);
    guard.args(options.arguments()).current_dir("/").stdin(Stdio::null()).stderr(diary);
    guard.spawn().map(drop)
}

/// Has this process, and what it becomes, run before all ordinary ones, where that is permitted.
pub fn hurry() -> bool {
    let own = std::process::id().to_string();
    let asked = Command::new("chrt")
        .args(["--fifo", "--pid", PRIORITY, &own])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

//! The connection to the guard: made, upgraded, made again; what is asked on it is answered in order.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::cgroup::Driver;
use crate::guard::frame::{Frame, SIZE};
use crate::guard::message::{Reply, Request};
use crate::guard::process::{ARGUMENT, Options, program_number};
use crate::guard::{client, socket};
use crate::lease::fence::FenceLevel;

/// The unit that runs the guard where systemd does.
const UNIT: &str = "leasehold-guard.service";
/// How often a guard that has just been started or replaced is looked for, and how long apart.
const TRIES: u32 = 100;
const APART: Duration = Duration::from_millis(20);

/// What it takes to have a guard.
#[derive(Clone, Debug)]
pub(super) struct Launch {
    /// This program.
    pub(super) program: PathBuf,
    pub(super) options: Options,
}

/// A connection to a guard that has said who it is.
#[derive(Debug)]
pub(super) struct Link {
    stream: UnixStream,
    /// The most it can do.
    pub(super) level: FenceLevel,
    /// What was asked and not answered, and when the answer is overdue.
    waiting: VecDeque<(Request, Instant)>,
    buffer: [u8; SIZE],
    filled: usize,
}

impl Link {
    /// Connects to the living guard, or starts one. One of another program goes on as this one first.
    pub(super) async fn make(launch: &Launch) -> Result<Self, String> {
        let (link, program) = match Self::find(launch).await {
            Ok(found) => found,
            Err(_) => Self::begin(launch).await?,
        };
        if program == program_number(&launch.program) {
            return Ok(link);
        }
        tracing::info!("the guard is of another program; it goes on as this one");
        let mut link = link;
        let own = launch.program.display().to_string();
        // It answers only where that fails; then it guards as it is.
        if let Ok(Reply::Refused(why)) = link.ask(&Request::Upgrade(own)).await {
            tracing::warn!(why, "the guard cannot be upgraded");
            return Ok(link);
        }
        Self::look_for(launch).await.map(|(link, _)| link)
    }

    async fn begin(launch: &Launch) -> Result<(Self, u64), String> {
        if Driver::of_machine() == Driver::Systemd
            && start_unit().await
            && let Ok(found) = Self::look_for(launch).await
        {
            return Ok(found);
        }
        let launched = launch.clone();
        let started =
            tokio::task::spawn_blocking(move || client::start(&launched.program, &launched.options));
        let why = started.await.map_err(|error| error.to_string())?.err().map(|error| error.to_string());
        // Another one may have been faster.
        Self::find(launch).await.map_err(|error| why.unwrap_or(error))
    }

    async fn look_for(launch: &Launch) -> Result<(Self, u64), String> {
        let mut last = String::new();
        for _ in 0..TRIES {
            match Self::find(launch).await {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
            sleep(APART).await;
        }
        Err(last)
    }

    /// The guard that is there. One that does not answer is ended: its successor finds its table.
    async fn find(launch: &Launch) -> Result<(Self, u64), String> {
        let path = socket(&launch.options.runtime_dir);
        let stream =
            UnixStream::connect(&path).await.map_err(|error| format!("{}: {error}", path.display()))?;
        let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let level = FenceLevel::None;
        let mut link = Self { stream, level, waiting: VecDeque::new(), buffer: [0; SIZE], filled: 0 };
        match link.ask(&Request::Hello).await {
            Ok(Reply::Hello { level, program }) => {
                link.level = level;
                Ok((link, program))
            }
            Ok(other) => Err(format!("the guard answers {other:?}")),
            Err(error) => {
                pid.into_iter().for_each(end_silent);
                Err(error)
            }
        }
    }

    async fn ask(&mut self, request: &Request) -> Result<Reply, String> {
        self.send(request.clone()).await?;
        self.next().await.map(|(_, reply)| reply)
    }

    /// Asks; [`Link::next`] gives the answer.
    pub(super) async fn send(&mut self, request: Request) -> Result<(), String> {
        let bytes = request.frame().encode().map_err(|error| error.to_string())?;
        let sent = timeout(client::PATIENCE, self.stream.write_all(&bytes)).await;
        sent.map_err(|_| "the guard does not listen".to_owned())?.map_err(|error| error.to_string())?;
        self.waiting.push_back((request, Instant::now() + client::PATIENCE));
        Ok(())
    }

    /// The next answer, and to what. Also ends, with an error, when the guard does. May be dropped and called again.
    pub(super) async fn next(&mut self) -> Result<(Request, Reply), String> {
        loop {
            let overdue = self.waiting.front().map(|(_, overdue)| *overdue);
            let read = self.stream.read(&mut self.buffer[self.filled..]);
            let read = match overdue {
                Some(overdue) => {
                    timeout_at(overdue, read).await.map_err(|_| "the guard does not answer".to_owned())?
                }
                None => read.await,
            };
            match read.map_err(|error| error.to_string())? {
                0 => return Err("the guard has ended".to_owned()),
                count => self.filled += count,
            }
            if self.filled == SIZE {
                self.filled = 0;
                let reply =
                    Frame::decode(&self.buffer).and_then(Reply::of).map_err(|error| error.to_string())?;
                let (request, _) = self.waiting.pop_front().ok_or("the guard speaks unasked")?;
                return Ok((request, reply));
            }
        }
    }
}

/// Whether systemd has a unit for the guard, and has it running now.
async fn start_unit() -> bool {
    let mut systemctl = tokio::process::Command::new("systemctl");
    systemctl.args(["--quiet", "--no-ask-password", "start", UNIT]);
    let status = systemctl.stdin(Stdio::null()).stderr(Stdio::null()).status().await;
    status.is_ok_and(|status| status.success())
}

fn end_silent(pid: i32) {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_guard = arguments.split(|byte| *byte == 0).nth(1).is_some_and(|word| word == ARGUMENT.as_bytes());
    if is_guard {
        tracing::warn!(pid, "the guard does not answer; it is ended, and another one started");
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

//! The end of a runtime directory's log process, on `leasehold reset`: asked first, killed if it does not listen, and
//! seen dead.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::client::exchange;
use super::control::Request;
use super::writer::socket;

/// How long it may take to say that it will end.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two looks.
const ROUND: Duration = Duration::from_millis(10);
/// Rounds until what was asked to end is killed: two seconds, for what it still has to write.
const ASKED_ROUNDS: u32 = 200;
/// Rounds until it counts as stuck: ten seconds.
const ROUNDS: u32 = 1000;

/// A log process that does not die.
#[derive(Debug, thiserror::Error)]
#[error("the log process of {} does not end: {pids:?}", runtime_dir.display())]
pub struct Stuck {
    runtime_dir: PathBuf,
    pids: Vec<Pid>,
}

/// Ends whatever writes logs for this runtime directory, also one that is being started, and returns when it is dead.
/// Nobody may start another meanwhile: the caller holds the agent's lock.
pub async fn end(runtime_dir: &Path) -> Result<(), Stuck> {
    let mut pids = Vec::new();
    for round in 0..ROUNDS {
        pids = processes(runtime_dir);
        if pids.is_empty() {
            return Ok(());
        }
        if round == 0 {
            let _ = timeout(ANSWER, ask(runtime_dir)).await;
        } else if round >= ASKED_ROUNDS {
            for pid in &pids {
                // One that has gone meanwhile is what we want.
                let _ = kill(*pid, Signal::SIGKILL);
            }
        }
        sleep(ROUND).await;
    }
    Err(Stuck { runtime_dir: runtime_dir.to_owned(), pids })
}

async fn ask(runtime_dir: &Path) -> std::io::Result<()> {
    let stream = UnixStream::connect(socket(runtime_dir)).await?;
    exchange(&mut BufReader::new(stream), &Request::Stop).await.map(drop)
}

/// Every log process of this runtime directory, and what is about to become one. Those that see another root have
/// another directory under the same name.
fn processes(runtime_dir: &Path) -> Vec<Pid> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| writes_for(*pid, runtime_dir)).map(Pid::from_raw).collect()
}

fn writes_for(pid: i32, runtime_dir: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut arguments = line.split(|byte| *byte == 0).skip(1);
    let is_ours = arguments.next() == Some(b"log-writer")
        && arguments.next() == Some(b"--runtime-dir")
        && arguments.next() == Some(runtime_dir.as_os_str().as_bytes());
    let root = |path: &str| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    is_ours && root(&format!("/proc/{pid}/root")) == root("/")
}

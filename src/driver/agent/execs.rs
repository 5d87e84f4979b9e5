//! Processes started in containers, for people and for the node itself: who waits for which end. Which processes there are stands on disk as
//! well: the agent's death cuts people off, and its successor ends what they have left running.

mod capture;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::disk::{Disk, Durability};
use crate::api::status::Status;
use crate::containerd::{ExecId, Exited, Runtime, RuntimeError, Stdio};
use crate::driver::clock;
use crate::server::node::{self, ExecRequest};

pub(super) use capture::{Captured, Uncaptured, capture};

/// Files named by exec, each with the id of its container.
const DIR: &str = "execs";

type Ends = Arc<Mutex<BTreeMap<ExecId, watch::Sender<Option<i32>>>>>;

/// The processes that run.
#[derive(Debug)]
pub(super) struct Execs {
    disk: Disk,
    /// Tells this agent's processes from those of the agents before it.
    run: u64,
    ends: Ends,
    count: AtomicU64,
    /// FIFOs of those that the node itself listens to.
    fifos: PathBuf,
    /// Those that an earlier agent has left, until its processes are ended.
    stale: Mutex<Vec<capture::Stale>>,
}

/// One of them. Dropped when nobody cares any more; then it is killed and forgotten.
pub(super) struct Execution {
    id: ExecId,
    runtime: Runtime,
    disk: Disk,
    end: watch::Receiver<Option<i32>>,
    ends: Ends,
}

impl Execs {
    /// `fifos` is a directory of its own.
    pub(super) fn new(disk: Disk, fifos: PathBuf) -> Self {
        Self {
            stale: Mutex::new(capture::open_stale(&fifos)),
            fifos,
            disk,
            run: clock::wall().0.as_millisecond() as u64,
            ends: Ends::default(),
            count: AtomicU64::new(0),
        }
    }

    /// Kills the processes that an earlier agent started and that have nobody any more.
    pub(super) async fn end_orphans(&self, runtime: &Runtime) {
        for exec in self.disk.names(Path::new(DIR)) {
            let container: Option<String> = self.disk.read(&file(&exec)).unwrap_or_default();
            let id = ExecId { container: container.unwrap_or_default(), exec };
            if locked(&self.ends).contains_key(&id) {
                continue;
            }
            tracing::info!(
                container = id.container,
                exec = id.exec,
                "ending a process that has lost its client"
            );
            if let Err(error) = runtime.end_exec(&id).await {
                tracing::warn!(%error, "a process was not ended");
                continue;
            }
            forget(&self.disk, &id);
        }
        locked(&self.stale).clear();
    }

    /// Starts a process in a container.
    pub(super) async fn start(
        &self,
        runtime: &Runtime,
        container: &str,
        request: ExecRequest,
    ) -> Result<Execution, Status> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let id = ExecId { container: container.to_owned(), exec: format!("exec-{}-{number}", self.run) };
        self.disk.put(&file(&id.exec), &id.container, Durability::Process).map_err(Status::internal)?;
        let (sender, end) = watch::channel(None);
        // Before the start: a process may end before its start is acknowledged.
        locked(&self.ends).insert(id.clone(), sender);
        let (runtime, disk, ends) = (runtime.clone(), self.disk.clone(), self.ends.clone());
        let execution = Execution { id, runtime, disk, end, ends };
        let stdio = Stdio {
            stdin: request.streams.stdin,
            stdout: request.streams.stdout,
            stderr: request.streams.stderr,
            terminal: request.streams.terminal,
        };
        execution
            .runtime
            .exec(&execution.id, request.command, &stdio, request.size)
            .await
            .map_err(|error| refusal(&error))?;
        Ok(execution)
    }

    /// A process has ended.
    pub(super) fn exited(&self, exited: &Exited) {
        let Some(exec) = exited.exec_id.clone() else { return };
        let id = ExecId { container: exited.id.clone(), exec };
        if let Some(end) = locked(&self.ends).get(&id) {
            end.send_replace(Some(i32::try_from(exited.code).unwrap_or(i32::MAX)));
        }
    }
}

impl node::Execution for Execution {
    async fn wait(&self) -> Result<i32, Status> {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        ended.ok().and_then(|code| *code).ok_or_else(|| Status::internal("the process was lost"))
    }

    async fn kill(&self) {
        if let Err(error) = self.runtime.kill_exec(&self.id).await {
            tracing::warn!(%error, "a process was not killed");
        }
    }
}

impl node::Console for Execution {
    async fn resize(&self, width: u16, height: u16) {
        let ExecId { container, exec } = &self.id;
        if let Err(error) = self.runtime.resize(container, Some(exec), width, height).await {
            tracing::debug!(%error, "a terminal was not resized");
        }
    }

    async fn close_stdin(&self) {
        let ExecId { container, exec } = &self.id;
        if let Err(error) = self.runtime.close_input(container, Some(exec)).await {
            tracing::debug!(%error, "an input was not closed");
        }
    }
}

/// A container's own streams.
pub(super) struct Attached {
    pub(super) container: String,
    pub(super) runtime: Runtime,
    /// Its input ends with the first that is attached to it.
    pub(super) stdin_once: bool,
}

impl node::Console for Attached {
    async fn resize(&self, width: u16, height: u16) {
        if let Err(error) = self.runtime.resize(&self.container, None, width, height).await {
            tracing::debug!(%error, "a terminal was not resized");
        }
    }

    async fn close_stdin(&self) {
        if !self.stdin_once {
            return;
        }
        if let Err(error) = self.runtime.close_input(&self.container, None).await {
            tracing::debug!(%error, "an input was not closed");
        }
    }
}

impl Drop for Execution {
    fn drop(&mut self) {
        locked(&self.ends).remove(&self.id);
        let (runtime, id, disk) = (self.runtime.clone(), self.id.clone(), self.disk.clone());
        tokio::spawn(async move {
            match runtime.end_exec(&id).await {
                Ok(()) => forget(&disk, &id),
                // The next agent tries again.
                Err(error) => tracing::warn!(%error, "containerd keeps a process"),
            }
        });
    }
}

fn file(exec: &str) -> PathBuf {
    Path::new(DIR).join(exec)
}

fn forget(disk: &Disk, id: &ExecId) {
    if let Err(error) = disk.remove(&file(&id.exec)) {
        tracing::error!(%error, "an ended process could not be forgotten");
    }
}

/// What runc says when there is no such program is the user's answer.
fn refusal(error: &RuntimeError) -> Status {
    Status::internal(error)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! Further processes in a running container.

use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, GetContainerRequest, GetRequest, KillRequest,
    ResizePtyRequest, StartRequest, WaitRequest,
};
use containerd_client::types::v1::Status;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use oci_spec::runtime::{BoxBuilder, Process, Spec};
use prost_types::Any;

use super::container::KILL_TIMEOUT;
use super::error::absent_is_fine;
use super::{Runtime, RuntimeError, Stdio};

const PROCESS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// A process of a container, by the ids containerd knows it by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExecId {
    /// The container.
    pub container: String,
    /// Unique in the container, as containerd's identifiers.
    pub exec: String,
}

impl Runtime {
    /// Makes and starts a process with the container's own user, environment, directory and rights. Returns its host
    /// pid; its end is told as [`RuntimeEvent::Exited`](super::RuntimeEvent::Exited) with the exec's id, after which
    /// [`Self::delete_exec`] is due. `size` is that of its terminal, in columns and rows, where it is known.
    pub async fn exec(
        &self,
        id: &ExecId,
        args: Vec<String>,
        stdio: &Stdio,
        size: Option<(u16, u16)>,
    ) -> Result<u32, RuntimeError> {
        let mut process = self.process_like_first(&id.container, args).await?;
        process.set_terminal(Some(stdio.terminal));
        if stdio.terminal {
            equip_terminal(&mut process, size);
        }
        let value = serde_json::to_vec(&process).map_err(|e| RuntimeError::Refused(format!("exec: {e}")))?;
        let [stdin, stdout, stderr] = stdio.paths();
        let request = ExecProcessRequest {
            container_id: id.container.clone(),
            exec_id: id.exec.clone(),
            stdin,
            stdout,
            stderr,
            terminal: stdio.terminal,
            spec: Some(Any { type_url: PROCESS_TYPE.into(), value }),
        };
        self.connection().tasks().exec(self.connection().request(request)).await?;
        let request = StartRequest { container_id: id.container.clone(), exec_id: id.exec.clone() };
        match self.connection().tasks().start(self.connection().request(request)).await {
            Ok(answer) => Ok(answer.into_inner().pid),
            Err(status) => {
                let _ = self.delete_exec(id).await;
                Err(status.into())
            }
        }
    }

    /// The container's own process with other arguments.
    async fn process_like_first(&self, container: &str, args: Vec<String>) -> Result<Process, RuntimeError> {
        let request = self.connection().request(GetContainerRequest { id: container.into() });
        let answer = self.connection().containers().get(request).await?.into_inner();
        let spec = answer.container.and_then(|record| record.spec).unwrap_or_default();
        let spec: Spec = serde_json::from_slice(&spec.value)
            .map_err(|e| RuntimeError::Corrupt(format!("spec of container {container}: {e}")))?;
        let mut process = spec.process().clone().unwrap_or_default();
        process.set_args(Some(args)).set_console_size(None);
        Ok(process)
    }

    /// Sets the size of a process' terminal, in characters; of the container's first without `exec`.
    pub async fn resize(
        &self,
        container: &str,
        exec: Option<&str>,
        width: u16,
        height: u16,
    ) -> Result<(), RuntimeError> {
        let request = ResizePtyRequest {
            container_id: container.into(),
            exec_id: exec.unwrap_or_default().into(),
            width: width.into(),
            height: height.into(),
        };
        self.connection().tasks().resize_pty(self.connection().request(request)).await?;
        Ok(())
    }

    /// Lets a process see the end of its input; the container's first without `exec`.
    pub async fn close_input(&self, container: &str, exec: Option<&str>) -> Result<(), RuntimeError> {
        let exec_id = exec.unwrap_or_default().into();
        let request = CloseIoRequest { container_id: container.into(), exec_id, stdin: true };
        let answer = self.connection().tasks().close_io(self.connection().request(request)).await;
        absent_is_fine(answer.map(drop).map_err(RuntimeError::from))
    }

    /// Kills the process and what it has started, if that has not left its process group (SIGKILL). A dead one is no
    /// error.
    pub async fn kill_exec(&self, id: &ExecId) -> Result<(), RuntimeError> {
        let request = GetRequest { container_id: id.container.clone(), exec_id: id.exec.clone() };
        let answer = self.connection().tasks().get(self.connection().request(request)).await;
        let process = answer.ok().and_then(|answer| answer.into_inner().process);
        if let Some(process) =
            process.filter(|process| process.pid > 1 && process.status() == Status::Running)
        {
            // runc has it lead a session, and so a group, of its own.
            let _ = killpg(Pid::from_raw(process.pid as i32), Signal::SIGKILL);
        }
        let request = KillRequest {
            container_id: id.container.clone(),
            exec_id: id.exec.clone(),
            signal: Signal::SIGKILL as u32,
            all: false,
        };
        let answer = self.connection().tasks().kill(self.connection().request(request)).await;
        absent_is_fine(answer.map(drop).map_err(RuntimeError::from))
    }

    /// Waits until the process has ended, and says with which code. An error says that nobody can tell.
    pub async fn wait_exec(&self, id: &ExecId) -> Result<u32, RuntimeError> {
        let request = WaitRequest { container_id: id.container.clone(), exec_id: id.exec.clone() };
        let answer = self.connection().tasks().wait(self.connection().request(request)).await?;
        Ok(answer.into_inner().exit_status)
    }

    /// Kills the process, waits for its end, and takes away what containerd keeps of it. Idempotent.
    pub async fn end_exec(&self, id: &ExecId) -> Result<(), RuntimeError> {
        let request = GetRequest { container_id: id.container.clone(), exec_id: id.exec.clone() };
        let answer = self.connection().tasks().get(self.connection().request(request)).await;
        let process = answer.ok().and_then(|answer| answer.into_inner().process);
        if process.is_some_and(|process| process.status() == Status::Created) {
            // It was never started: there is nothing to be killed or waited for.
            return self.delete_exec(id).await;
        }
        self.kill_exec(id).await?;
        let request = WaitRequest { container_id: id.container.clone(), exec_id: id.exec.clone() };
        let mut tasks = self.connection().tasks();
        let wait = tasks.wait(self.connection().request(request));
        let Ok(answer) = tokio::time::timeout(KILL_TIMEOUT, wait).await else {
            let ExecId { container, exec } = id;
            return Err(RuntimeError::TimedOut(format!("process {exec} of {container} survives SIGKILL")));
        };
        absent_is_fine(answer.map(drop).map_err(RuntimeError::from))?;
        self.delete_exec(id).await
    }

    /// Takes away what containerd keeps of a process that has ended. Idempotent.
    pub async fn delete_exec(&self, id: &ExecId) -> Result<(), RuntimeError> {
        let request = DeleteProcessRequest { container_id: id.container.clone(), exec_id: id.exec.clone() };
        let answer = self.connection().tasks().delete_process(self.connection().request(request)).await;
        absent_is_fine(answer.map(drop).map_err(RuntimeError::from))
    }
}

/// What every terminal has: a kind, unless the container says which, and a size if one is known.
fn equip_terminal(process: &mut Process, size: Option<(u16, u16)>) {
    let mut env = process.env().clone().unwrap_or_default();
    if !env.iter().any(|variable| variable.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
        process.set_env(Some(env));
    }
    let Some((width, height)) = size else { return };
    let size = BoxBuilder::default().width(u64::from(width)).height(u64::from(height)).build();
    process.set_console_size(Some(size.expect("both sides are given")));
}

//! Further processes in a running container.

use containerd_client::services::v1::{
    CloseIoRequest, DeleteProcessRequest, ExecProcessRequest, GetContainerRequest, KillRequest,
    ResizePtyRequest, StartRequest,
};
use oci_spec::runtime::{Process, Spec};
use prost_types::Any;

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
    /// [`Self::delete_exec`] is due.
    pub async fn exec(&self, id: &ExecId, args: Vec<String>, stdio: &Stdio) -> Result<u32, RuntimeError> {
        let process = self.process_like_first(&id.container, args, stdio.terminal).await?;
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
    async fn process_like_first(
        &self,
        container: &str,
        args: Vec<String>,
        terminal: bool,
    ) -> Result<Process, RuntimeError> {
        let request = self.connection().request(GetContainerRequest { id: container.into() });
        let answer = self.connection().containers().get(request).await?.into_inner();
        let spec = answer.container.and_then(|record| record.spec).unwrap_or_default();
        let spec: Spec = serde_json::from_slice(&spec.value)
            .map_err(|e| RuntimeError::Corrupt(format!("spec of container {container}: {e}")))?;
        let mut process = spec.process().clone().unwrap_or_default();
        process.set_args(Some(args)).set_terminal(Some(terminal));
        Ok(process)
    }

    /// Sets the size of the process' terminal, in characters.
    pub async fn resize_exec(&self, id: &ExecId, width: u16, height: u16) -> Result<(), RuntimeError> {
        let request = ResizePtyRequest {
            container_id: id.container.clone(),
            exec_id: id.exec.clone(),
            width: width.into(),
            height: height.into(),
        };
        self.connection().tasks().resize_pty(self.connection().request(request)).await?;
        Ok(())
    }

    /// Lets the process see the end of its input.
    pub async fn close_exec_input(&self, id: &ExecId) -> Result<(), RuntimeError> {
        let request =
            CloseIoRequest { container_id: id.container.clone(), exec_id: id.exec.clone(), stdin: true };
        let answer = self.connection().tasks().close_io(self.connection().request(request)).await;
        absent_is_fine(answer.map(drop).map_err(RuntimeError::from))
    }

    /// Kills the process (SIGKILL). A dead one is no error.
    pub async fn kill_exec(&self, id: &ExecId) -> Result<(), RuntimeError> {
        let request = KillRequest {
            container_id: id.container.clone(),
            exec_id: id.exec.clone(),
            signal: nix::sys::signal::SIGKILL as u32,
            all: false,
        };
        let answer = self.connection().tasks().kill(self.connection().request(request)).await;
        absent_is_fine(answer.map(drop).map_err(RuntimeError::from))
    }

    /// Takes away what containerd keeps of a process that has ended. Idempotent.
    pub async fn delete_exec(&self, id: &ExecId) -> Result<(), RuntimeError> {
        let request = DeleteProcessRequest { container_id: id.container.clone(), exec_id: id.exec.clone() };
        let answer = self.connection().tasks().delete_process(self.connection().request(request)).await;
        absent_is_fine(answer.map(drop).map_err(RuntimeError::from))
    }
}

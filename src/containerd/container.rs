//! Containers and their tasks.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use containerd_client::services::v1::container::Runtime as ContainerRuntime;
use containerd_client::services::v1::snapshots::PrepareSnapshotRequest;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, DeleteContainerRequest, DeleteTaskRequest,
    KillRequest, ListContainersRequest, ListTasksRequest, StartRequest, UpdateContainerRequest, WaitRequest,
};
use containerd_client::types::Mount;
use containerd_client::types::v1::{Process, Status};
use oci_spec::runtime::Spec;
use prost::Message as _;
use prost_types::{Any, FieldMask};

use super::error::absent_is_fine;
use super::images::Image;
use super::{Runtime, RuntimeError, SNAPSHOTTER, wall_time};
use crate::time::WallTime;

const RUNC: &str = "io.containerd.runc.v2";
const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
const OPTIONS_TYPE: &str = "containerd.runc.v1.Options";

/// Containers with the same value share a shim.
const GROUP_ANNOTATION: &str = "io.containerd.runc.v2.group";

/// Label with the time of the start, which tells a task that was lost from one never made.
const STARTED_AT: &str = "leasehold.dev/started-at";

/// How long a process may outlive its `SIGKILL` before [`Runtime::remove`] reports it stuck.
pub(super) const KILL_TIMEOUT: Duration = Duration::from_secs(10);

/// `SIGKILL`
const SIGKILL: u32 = 9;

/// runc's shim options, of which containerd-client knows nothing.
#[derive(Clone, PartialEq, prost::Message)]
struct RuncOptions {
    #[prost(bool, tag = "9")]
    systemd_cgroup: bool,
}

/// A container to be made.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// Unique in the namespace, at most 76 bytes.
    pub id: String,
    /// At most 4096 bytes per pair.
    pub labels: BTreeMap<String, String>,
    /// The unpacked image its root filesystem is a copy of.
    pub image: Image,
    /// From [`spec::build`](super::spec::build).
    pub spec: Spec,
    /// Containers of one Pod share a shim.
    pub pod_uid: String,
    /// Cgroups through systemd (`slice:prefix:name` in the spec) instead of by path.
    pub systemd_cgroup: bool,
}

/// A container that has been made and not started.
#[derive(Clone, Debug)]
pub struct Created {
    id: String,
    rootfs: Vec<Mount>,
}

/// Where a process' streams go: paths of FIFOs that exist, or containerd's URIs (`file://`, `binary://`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stdio {
    /// None: `/dev/null`.
    pub stdin: Option<PathBuf>,
    /// None: `/dev/null`.
    pub stdout: Option<PathBuf>,
    /// None: `/dev/null`. Never set with a terminal.
    pub stderr: Option<PathBuf>,
    /// A pseudo-terminal stands between; the spec must say the same.
    pub terminal: bool,
}

impl Stdio {
    /// The three as containerd wants them.
    pub(super) fn paths(&self) -> [String; 3] {
        [&self.stdin, &self.stdout, &self.stderr]
            .map(|path| path.as_ref().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default())
    }
}

/// A container as containerd has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// As given to [`Runtime::create`], without those of the runtime's own.
    pub labels: BTreeMap<String, String>,
    /// Name of its image when it was made.
    pub image: String,
    /// When it was last started, none when never.
    pub started_at: Option<WallTime>,
    /// What it does now.
    pub state: State,
}

/// The state of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Never started, or the machine went down in the moment of the start.
    Created,
    /// Its first process lives.
    Running {
        /// Host pid of it.
        pid: u32,
    },
    /// Its first process has ended.
    Exited {
        /// Exit code, 128 + signal when killed.
        code: u32,
        /// When.
        at: WallTime,
    },
    /// It was started, and its task is gone: the machine or its shim went down.
    Lost,
}

impl Runtime {
    /// Makes record and root filesystem. On an error nothing is left.
    pub async fn create(&self, request: &CreateRequest) -> Result<Created, RuntimeError> {
        let container = Some(container_record(request)?);
        self.connection()
            .containers()
            .create(self.connection().request(CreateContainerRequest { container }))
            .await?;
        match self.prepare(&request.id, &request.image.chain_id).await {
            Ok(rootfs) => Ok(Created { id: request.id.clone(), rootfs }),
            Err(error) => {
                let _ = self.delete_record(&request.id).await;
                Err(error)
            }
        }
    }

    async fn prepare(&self, id: &str, parent: &str) -> Result<Vec<Mount>, RuntimeError> {
        let request = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: id.into(),
            parent: parent.into(),
            ..PrepareSnapshotRequest::default()
        };
        let answer = self.connection().snapshots().prepare(self.connection().request(request)).await?;
        Ok(answer.into_inner().mounts)
    }

    /// Starts it and returns the host pid of its first process. `now` is written down as the time of the start,
    /// a moment later.
    ///
    /// On an error the record stays; [`Runtime::remove`] takes it away.
    pub async fn start(&self, created: &Created, stdio: &Stdio, now: WallTime) -> Result<u32, RuntimeError> {
        let id = created.id.as_str();
        let [stdin, stdout, stderr] = stdio.paths();
        let request = CreateTaskRequest {
            container_id: id.into(),
            rootfs: created.rootfs.clone(),
            stdin,
            stdout,
            stderr,
            terminal: stdio.terminal,
            ..CreateTaskRequest::default()
        };
        self.connection().tasks().create(self.connection().request(request)).await?;
        let pid = self.start_task(id).await?;
        // containerd syncs the label to disk, which takes as long as a start: nobody waits for it.
        let (runtime, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            // A container that is gone again needs no label.
            if let Err(error) = absent_is_fine(runtime.note_start(&id, now).await) {
                tracing::warn!(%error, id, "the time of a start was not written down");
            }
        });
        Ok(pid)
    }

    async fn start_task(&self, id: &str) -> Result<u32, RuntimeError> {
        let request = StartRequest { container_id: id.into(), exec_id: String::new() };
        let answer = self.connection().tasks().start(self.connection().request(request)).await?;
        Ok(answer.into_inner().pid)
    }

    async fn note_start(&self, id: &str, now: WallTime) -> Result<(), RuntimeError> {
        let labels = [(STARTED_AT.to_owned(), now.micros())].into_iter().collect();
        let request = UpdateContainerRequest {
            container: Some(Container { id: id.into(), labels, ..Container::default() }),
            update_mask: Some(FieldMask { paths: vec![format!("labels.{STARTED_AT}")] }),
        };
        self.connection().containers().update(self.connection().request(request)).await?;
        Ok(())
    }

    /// Sends a signal to the first process, or to `all` processes of the container. A dead one is no error.
    pub async fn kill(&self, id: &str, signal: i32, all: bool) -> Result<(), RuntimeError> {
        let signal = signal.unsigned_abs();
        let request = KillRequest { container_id: id.into(), exec_id: String::new(), signal, all };
        let answer = self.connection().tasks().kill(self.connection().request(request)).await;
        absent_is_fine(answer.map(drop).map_err(RuntimeError::from))
    }

    /// Takes away what there is of it, from whatever state: processes, task, record, root filesystem. Idempotent.
    pub async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.delete_task(id).await?;
        self.delete_record(id).await?;
        self.remove_snapshot(id).await
    }

    /// Most tasks have exited when they are removed: so first try, then kill.
    async fn delete_task(&self, id: &str) -> Result<(), RuntimeError> {
        match self.delete_stopped_task(id).await {
            Err(RuntimeError::Refused(_)) => {}
            answer => return absent_is_fine(answer),
        }
        self.kill(id, SIGKILL as i32, true).await?;
        let request = WaitRequest { container_id: id.into(), exec_id: String::new() };
        let mut tasks = self.connection().tasks();
        let wait = tasks.wait(self.connection().request(request));
        match tokio::time::timeout(KILL_TIMEOUT, wait).await {
            Ok(answer) => absent_is_fine(answer.map(drop).map_err(RuntimeError::from))?,
            Err(_) => return Err(RuntimeError::TimedOut(format!("container {id} survives SIGKILL"))),
        }
        absent_is_fine(self.delete_stopped_task(id).await)
    }

    async fn delete_stopped_task(&self, id: &str) -> Result<(), RuntimeError> {
        let request = DeleteTaskRequest { container_id: id.into() };
        self.connection().tasks().delete(self.connection().request(request)).await?;
        Ok(())
    }

    async fn delete_record(&self, id: &str) -> Result<(), RuntimeError> {
        let request = self.connection().request(DeleteContainerRequest { id: id.into() });
        let answer = self.connection().containers().delete(request).await;
        absent_is_fine(answer.map(drop).map_err(RuntimeError::from))
    }

    /// All containers of the namespace, by id.
    pub async fn list(&self) -> Result<Vec<Listed>, RuntimeError> {
        // Records first: a container whose task is seen without its record is not ours to report.
        let records = self.records().await?;
        let request = self.connection().request(ListTasksRequest::default());
        let tasks = self.connection().tasks().list(request).await?.into_inner().tasks;
        let mut tasks: BTreeMap<String, Process> =
            tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        let mut listed: Vec<Listed> = records.into_iter().map(|record| listed(record, &mut tasks)).collect();
        listed.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(listed)
    }

    /// Streamed one by one: a list in one message has a bound that some hundred containers reach.
    pub(super) async fn records(&self) -> Result<Vec<Container>, RuntimeError> {
        let request = self.connection().request(ListContainersRequest::default());
        let mut stream = self.connection().containers().list_stream(request).await?.into_inner();
        let mut records = Vec::new();
        while let Some(message) = stream.message().await? {
            records.extend(message.container);
        }
        Ok(records)
    }
}

fn container_record(request: &CreateRequest) -> Result<Container, RuntimeError> {
    let mut spec = request.spec.clone();
    let mut annotations = spec.annotations().clone().unwrap_or_default();
    annotations.insert(GROUP_ANNOTATION.into(), request.pod_uid.clone());
    spec.set_annotations(Some(annotations));
    let value = serde_json::to_vec(&spec)
        .map_err(|e| RuntimeError::Refused(format!("spec of container {}: {e}", request.id)))?;
    let options = RuncOptions { systemd_cgroup: request.systemd_cgroup };
    Ok(Container {
        id: request.id.clone(),
        labels: request.labels.clone().into_iter().collect(),
        image: request.image.names.first().cloned().unwrap_or_default(),
        runtime: Some(ContainerRuntime {
            name: RUNC.into(),
            options: Some(Any { type_url: OPTIONS_TYPE.into(), value: options.encode_to_vec() }),
        }),
        spec: Some(Any { type_url: SPEC_TYPE.into(), value }),
        snapshotter: SNAPSHOTTER.into(),
        snapshot_key: request.id.clone(),
        ..Container::default()
    })
}

fn listed(record: Container, tasks: &mut BTreeMap<String, Process>) -> Listed {
    let mut labels: BTreeMap<String, String> = record.labels.into_iter().collect();
    let started_at = labels.remove(STARTED_AT).and_then(|text| WallTime::parse(&text));
    let state = match tasks.remove(&record.id) {
        Some(task) => task_state(&task),
        None if started_at.is_some() => State::Lost,
        None => State::Created,
    };
    Listed { id: record.id, labels, image: record.image, started_at, state }
}

fn task_state(task: &Process) -> State {
    match task.status() {
        Status::Created => State::Created,
        Status::Stopped => State::Exited { code: task.exit_status, at: wall_time(task.exited_at) },
        // Unknown is what a shim that does not answer has: it must not be taken for dead.
        Status::Unknown | Status::Running | Status::Paused | Status::Pausing => {
            State::Running { pid: task.pid }
        }
    }
}

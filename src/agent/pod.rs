//! One Pod's life on this node, from admission to the last trace gone. PURE.
//!
//! [`Effect`]s are wishes; state changes when their answer comes back as an [`Input`]. Every effect is answered by
//! exactly one input (named at the effect), except `WriteStatus`, `Record` and `Signal`, which need none: what they
//! cause is seen on the watch or as [`Input::ContainerExited`].

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use crate::time::WallTime;

/// Names one run of one container: `attempt` counts from 0 and never repeats within a Pod UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerRef {
    /// Container name from the Pod spec (init, main).
    pub name: String,
    /// Restart count at the time it was made.
    pub attempt: u32,
}

/// What the node knows of a container it made, as containerd reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedContainer {
    /// Which run this is.
    pub run: ContainerRef,
    /// containerd container id: `<pod uid>-<container name>-<attempt>` hashed when over 76 bytes.
    pub id: String,
    /// Image reference as in the Pod spec.
    pub image: String,
    /// `sha256:…` of the image's manifest, with repository where known, for `imageID`.
    pub image_id: String,
    /// What it does now.
    pub state: ObservedState,
}

/// The state of an observed container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedState {
    /// Made, its task not started.
    Created,
    /// Its process runs.
    Running {
        /// Host pid of the first process.
        pid: u32,
        /// When it was started.
        started_at: WallTime,
    },
    /// Its process has ended, or its task is gone (then `exit` is [`Exit::UNKNOWN_CODE`]).
    Exited {
        /// When it was started, where known.
        started_at: Option<WallTime>,
        /// How it ended.
        exit: Exit,
    },
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, 128 + signal when killed.
    pub code: i32,
    /// When.
    pub finished_at: WallTime,
    /// The kernel's OOM killer took it.
    pub oom_killed: bool,
    /// Termination message (file, or the log's tail by policy), at most 4 KiB.
    pub message: String,
}

impl Exit {
    /// The code given to a container whose end nobody saw, as the kubelet's.
    pub const UNKNOWN_CODE: i32 = 137;
}

/// Why an image could not be had; the name is the waiting reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFailure {
    /// The pull failed.
    ErrImagePull,
    /// Policy `Never` and it is not here.
    ErrImageNeverPull,
    /// The reference cannot be read.
    InvalidImageName,
}

/// Why a container could not be started; the name is the waiting reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// A ConfigMap, Secret, key or field its environment names is not there, or runAsNonRoot is violated.
    CreateContainerConfigError,
    /// containerd refused to make it.
    CreateContainerError,
    /// The runtime could not start it (reason `RunContainerError`; terminated with `StartError`, code 128).
    RunContainerError,
}

/// What may happen to a Pod on its node.
#[derive(Clone, Debug)]
pub enum Input {
    /// The object is new or changed (labels, deletion timestamp, annotations). Always the same UID.
    PodChanged(Arc<Pod>),
    /// The object is gone from the coordinator (force deletion): kill at once, clean up.
    PodGone,
    /// All containers of this Pod as containerd has them now: at start, and after containerd's return.
    Observed(Vec<ObservedContainer>),
    /// Cgroup, namespaces, network and directories are there.
    SandboxReady {
        /// Pod IPs, the first is `podIP`; the node's for host network.
        ips: Vec<String>,
    },
    /// They are not; the machine tries again with back-off.
    SandboxFailed {
        /// For the event `FailedCreatePodSandBox` and the log.
        message: String,
    },
    /// All volumes are there.
    VolumesReady,
    /// Some are not (`FailedMount`); tried again with back-off.
    VolumesFailed {
        /// Which, and why.
        message: String,
    },
    /// The image of this container is here, unpacked.
    ImageReady {
        /// Container name.
        container: String,
        /// For `imageID`.
        image_id: String,
        /// Set when it was pulled just now (event `Pulled` says how long it took), none when it was present.
        pulled_in: Option<Duration>,
    },
    /// It is not.
    ImageFailed {
        /// Container name.
        container: String,
        /// Kind of failure.
        reason: ImageFailure,
        /// For people.
        message: String,
    },
    /// The container's process runs.
    ContainerStarted {
        /// Which run.
        run: ContainerRef,
        /// containerd id.
        id: String,
        /// Host pid.
        pid: u32,
        /// When.
        started_at: WallTime,
    },
    /// It could not be started; nothing of it is left.
    ContainerStartFailed {
        /// Which run.
        run: ContainerRef,
        /// Kind of failure.
        reason: StartFailure,
        /// For people.
        message: String,
    },
    /// The container's process has ended (from containerd's events).
    ContainerExited {
        /// Which run.
        run: ContainerRef,
        /// How.
        exit: Exit,
    },
    /// The run's task, snapshot and containerd record are gone.
    ContainerRemoved {
        /// Which run.
        run: ContainerRef,
    },
    /// Nothing of the Pod is left on the node but its record.
    SandboxGone,
    /// Something could not be removed; tried again with back-off.
    SandboxStuck {
        /// What, and why.
        message: String,
    },
    /// containerd cannot be reached; running containers are believed to run on.
    RuntimeDown,
    /// A deadline has passed. Spurious ones are harmless.
    Timer,
}

/// What a Pod's machine wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Make cgroup, pinned namespaces, network and directories (idempotent). → `SandboxReady | SandboxFailed`
    MakeSandbox,
    /// Mount or refresh all volumes (idempotent). → `VolumesReady | VolumesFailed`
    MountVolumes,
    /// Have the image here by pull policy. → `ImageReady | ImageFailed`
    EnsureImage {
        /// Container name.
        container: String,
    },
    /// Make and start one container. → `ContainerStarted | ContainerStartFailed`
    StartContainer {
        /// Which run.
        run: ContainerRef,
    },
    /// Send a signal to the container's first process (`SIGTERM`, `SIGKILL` = to all of its processes).
    Signal {
        /// Which run.
        run: ContainerRef,
        /// Signal number.
        signal: i32,
    },
    /// Remove a run that has exited: task, snapshot, record. → `ContainerRemoved`
    RemoveContainer {
        /// Which run.
        run: ContainerRef,
    },
    /// Remove volumes, network, namespaces, cgroup and directories (idempotent). → `SandboxGone | SandboxStuck`
    RemoveSandbox,
    /// Write this status to the coordinator when it can be reached, the newest wins.
    WriteStatus(Box<PodStatus>),
    /// Record an Event about the Pod.
    Record {
        /// `Normal` or `Warning`.
        warning: bool,
        /// E.g. `Started`, `BackOff`, `FailedMount`.
        reason: &'static str,
        /// Container it is about, if any (`involvedObject.fieldPath`).
        container: Option<String>,
        /// For people.
        message: String,
    },
    /// Nothing is left on the node: delete the object (grace 0, uid precondition) if it still stands with a deletion
    /// timestamp, and forget the machine.
    Finished,
}

//! What a Pod's machine hears and what it wants done: its contract with the driver.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde::{Deserialize, Serialize};

use super::probe::{ProbeKind, ProbeOutcome};
use super::record::PodRecord;
use crate::time::WallTime;

/// Names one run of one container. `attempt` counts from 0, is the restart count while the run is the newest, names
/// the log file, and never names two runs within a Pod UID: an attempt that came to nothing is made again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerRef {
    /// Container name from the Pod spec (init, main).
    pub name: String,
    /// Restart count at the time it was made.
    pub attempt: u32,
}

/// The node a Pod lives on, as far as its Pods' machines need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `/proc/sys/kernel/random/boot_id`: what a record of another boot says of sandbox and deadlines is void.
    pub boot_id: String,
    /// Node addresses for `hostIP` and `hostIPs`, at most one of each family, the first is the node's own.
    pub ips: Vec<String>,
}

/// What the node knows of a container it made, as containerd reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedContainer {
    /// Which run this is.
    pub run: ContainerRef,
    /// containerd container id, see [`super::container_id`].
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
    /// Its process has ended, and the end is known.
    Exited {
        /// When it was started, where known.
        started_at: Option<WallTime>,
        /// How it ended.
        exit: Exit,
    },
    /// Its task is gone (reboot, shim killed) and nobody saw how it ended.
    Lost {
        /// When it was started, where known.
        started_at: Option<WallTime>,
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

/// When an image is fetched from its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Ask the registry each time; what is here already is not fetched again.
    Always,
    /// Fetch it when it is not here.
    IfNotPresent,
    /// Use what is here.
    Never,
}

/// Why an image could not be had; the name is the waiting reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImageFailure {
    /// The pull failed.
    ErrImagePull,
    /// Policy `Never` and it is not here.
    ErrImageNeverPull,
    /// The reference cannot be read.
    InvalidImageName,
}

/// A pull that was just done, for the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Time the transfer took.
    pub took: Duration,
    /// The same with the time spent waiting for other pulls.
    pub waited: Duration,
    /// Compressed size of the image.
    pub size_bytes: u64,
}

/// Why a container could not be started; the name is the waiting reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartFailure {
    /// A ConfigMap, Secret, key or field its environment names is not there, or runAsNonRoot is violated.
    CreateContainerConfigError,
    /// containerd refused to make it.
    CreateContainerError,
    /// It was turned away at the door: nothing was made, and nothing is said.
    Withheld,
    /// It was made and could not be run (e.g. no such command): it counts as a run that ended with code 128, reason
    /// `StartError`.
    RunContainerError,
}

/// Why no container of a Pod may start: it runs under an identity that is not held, or is being fenced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// In one word, for the condition.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Others have what it waits for: said in an Event.
    pub by_others: bool,
}

/// A moment in a container's life at which it is told so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookKind {
    /// Right after its start; until it has ended the container does not count as running.
    PostStart,
    /// Before it is asked to stop.
    PreStop,
}

/// What may happen to a Pod on its node.
#[derive(Clone, Debug)]
pub enum Input {
    /// The object is new or changed (labels, deletion timestamp, annotations, images). Always the same UID.
    PodChanged(Arc<Pod>),
    /// The object is gone from the coordinator (force deletion): kill at once, clean up.
    PodGone,
    /// All containers of this Pod as containerd has them now: the first input of every machine (empty for a new Pod;
    /// nothing is wished for before it), and after containerd's return. It settles every unanswered `StartContainer`
    /// and `RemoveContainer`: none of this Pod is in flight while the list is taken, and no answer follows it.
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
    /// The image has to be pulled, and the pull begins (event `Pulling`). A notice on the way to the answer.
    ImagePulling {
        /// Container name.
        container: String,
    },
    /// The image of this container is here, unpacked.
    ImageReady {
        /// Container name.
        container: String,
        /// For `imageID`.
        image_id: String,
        /// `StopSignal` of the image's configuration, e.g. `SIGQUIT` or `3`.
        stop_signal: Option<String>,
        /// Set when it was pulled just now, none when it was present.
        pulled: Option<Pull>,
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
    /// A probe has an answer.
    Probed {
        /// Which run.
        run: ContainerRef,
        /// Which probe.
        kind: ProbeKind,
        /// What it has found.
        outcome: ProbeOutcome,
    },
    /// A hook has come to its end.
    HookEnded {
        /// Which run.
        run: ContainerRef,
        /// Which hook.
        hook: HookKind,
        /// Why it failed, if it did.
        failure: Option<String>,
    },
    /// The run's task, snapshot and containerd record are gone.
    ContainerRemoved {
        /// Which run.
        run: ContainerRef,
    },
    /// They are not; tried again with back-off.
    ContainerStuck {
        /// Which run.
        run: ContainerRef,
        /// For people.
        message: String,
    },
    /// Nothing of the Pod is left on the node but its record.
    SandboxGone,
    /// Something could not be removed; tried again with back-off.
    SandboxStuck {
        /// What, and why.
        message: String,
    },
    /// The Pod runs under an identity: why none of its containers may start now; none when they may. What has ended
    /// meanwhile starts again without a pause.
    Identity(Option<Hold>),
    /// Another Pod has its identity: it is over.
    Superseded {
        /// Who has it.
        message: String,
    },
    /// A ConfigMap, Secret or image that this Pod names has come or changed: volumes are refreshed, and what failed is
    /// tried again now.
    SourcesChanged,
    /// containerd cannot be reached; running containers are believed to run on. `Observed` ends it.
    RuntimeDown,
    /// A deadline has passed. Spurious ones are harmless.
    Timer,
}

/// What a Pod's machine wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put this on disk before the effects that follow are performed: persist, then speak.
    Persist(Box<PodRecord>),
    /// Make cgroup, pinned namespaces, network and directories (idempotent). → `SandboxReady | SandboxFailed`
    MakeSandbox,
    /// Mount or refresh all volumes (idempotent). → `VolumesReady | VolumesFailed`
    MountVolumes,
    /// Have the image here by pull policy. → (`ImagePulling`) `ImageReady | ImageFailed`
    EnsureImage {
        /// Container name.
        container: String,
        /// Reference as in the Pod spec.
        image: String,
        /// When to pull.
        policy: PullPolicy,
    },
    /// Make and start one container. → `ContainerStarted | ContainerStartFailed`
    StartContainer {
        /// Which run.
        run: ContainerRef,
        /// `image_id` of the image's last `ImageReady`.
        image_id: String,
        /// Pod IPs, for the environment.
        ips: Vec<String>,
        /// Host pid of the container whose processes it is to see, for ephemeral ones that name one.
        target_pid: Option<u32>,
    },
    /// Probe a running container once. → `Probed`
    Probe {
        /// Which run.
        run: ContainerRef,
        /// Which of its probes.
        kind: ProbeKind,
        /// Pod IPs.
        ips: Vec<String>,
    },
    /// Run a hook of a running container. A `PreStop` hook that takes longer than the grace is waited for no longer.
    /// → `HookEnded`
    RunHook {
        /// Which run.
        run: ContainerRef,
        /// Which of its hooks.
        hook: HookKind,
        /// Pod IPs.
        ips: Vec<String>,
    },
    /// Send a signal to the container's first process; `SIGKILL` to all of its processes. What it causes is seen as
    /// [`Input::ContainerExited`].
    Signal {
        /// Which run.
        run: ContainerRef,
        /// Signal number.
        signal: i32,
    },
    /// Remove a run that has exited or was never started: task, snapshot, record. → `ContainerRemoved | ContainerStuck`
    RemoveContainer {
        /// Which run.
        run: ContainerRef,
    },
    /// Remove volumes, network, namespaces, cgroup and directories (idempotent). → `SandboxGone | SandboxStuck`
    RemoveSandbox,
    /// Write this status to the coordinator when it can be reached, the newest wins. The first one after the agent's
    /// restart may say nothing new: whether an earlier one arrived is not known here.
    WriteStatus(Box<PodStatus>),
    /// Record an Event about the Pod.
    Record {
        /// `Normal` or `Warning`.
        warning: bool,
        /// E.g. `Started`, `BackOff`, `FailedMount`.
        reason: &'static str,
        /// `involvedObject.fieldPath` of the container it is about, e.g. `spec.containers{web}`.
        field_path: Option<String>,
        /// For people.
        message: String,
    },
    /// Nothing is left on the node: delete the object (grace 0, uid precondition) if it still stands with a deletion
    /// timestamp, remove the record, and forget the machine.
    Finished,
}

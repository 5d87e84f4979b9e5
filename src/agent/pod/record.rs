//! What of a Pod's life must survive the agent.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, PodCondition};
use serde::{Deserialize, Serialize};

use super::retry::{CrashLoop, Retry};
use crate::time::{Instant, WallTime};

/// The durable part of a Pod's machine. On disk before the effects that rest on it are performed; opaque to the driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodRecord {
    /// Boot in which the instants below were read and the sandbox was made.
    pub(super) boot_id: String,
    /// `status.startTime`.
    pub(super) start_time: WallTime,
    /// Since when the Pod has been active in this boot, and for how long it was before, for `activeDeadlineSeconds`.
    pub(super) active: Active,
    /// Cgroup, namespaces, network, directories.
    pub(super) sandbox: Sandbox,
    /// How many sandboxes there were before this one; a run belongs to one of them.
    pub(super) incarnation: u32,
    /// All volumes have been there once in this incarnation.
    pub(super) volumes_mounted: bool,
    /// Pod IPs, the first is `podIP`. They stay in the status when the sandbox is gone.
    pub(super) ips: Vec<String>,
    /// By container name.
    pub(super) containers: BTreeMap<String, ContainerRecord>,
    /// The Pod is on its way out.
    pub(super) ending: Option<Ending>,
    /// The phase last spoken.
    pub(super) phase: String,
    /// Why the phase is what it is, e.g. `DeadlineExceeded`.
    pub(super) verdict: Option<Verdict>,
    /// The conditions of this machine's own, with their transition times.
    pub(super) conditions: Vec<PodCondition>,
}

/// Time a Pod has been active on the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Active {
    pub(super) since: Instant,
    pub(super) before: Duration,
}

/// State of the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sandbox {
    /// To be made.
    Absent,
    /// There.
    Made,
    /// Removed for good.
    Released,
}

/// Why a Pod ends. The later one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Cause {
    /// Its containers have done what they were for, or may not be restarted, or it was active for too long.
    Done,
    /// It has a deletion timestamp.
    Deleted,
    /// The object is gone.
    Gone,
}

/// A Pod on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ending {
    pub(super) cause: Cause,
    /// Nobody is asked, everything is killed.
    pub(super) at_once: bool,
    /// When the grace is over.
    pub(super) kill_at: Instant,
}

/// A phase that does not follow from the containers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) phase: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

/// One container of the Pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    /// The newest run that came to be.
    pub(super) run: Option<Run>,
    /// How the run before it ended.
    pub(super) previous: Option<ContainerStateTerminated>,
    /// Why the next run is not there yet.
    pub(super) waiting: Option<Waiting>,
    /// Pauses between restarts.
    pub(super) crash_loop: CrashLoop,
    /// Pauses between tries to have the image.
    pub(super) image: Retry,
    /// Pauses between tries to make the next run.
    pub(super) start: Retry,
}

/// Why a container waits, as its status says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub(super) reason: String,
    pub(super) message: String,
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) attempt: u32,
    /// containerd id.
    pub(super) id: String,
    /// Reference as in the Pod spec it was made from.
    pub(super) image: String,
    pub(super) image_id: String,
    /// What the image asks to be stopped with.
    pub(super) stop_signal: Option<String>,
    /// Which sandbox it was made in.
    pub(super) incarnation: u32,
    pub(super) state: RunState,
}

/// What a run does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum RunState {
    /// Its process runs.
    Running {
        /// Host pid.
        pid: u32,
        /// When it was started.
        started_at: WallTime,
    },
    /// It has ended.
    Ended {
        /// How, as the status says.
        how: ContainerStateTerminated,
        /// When the node heard of it; the crash-loop pause counts from here.
        at: Instant,
    },
}

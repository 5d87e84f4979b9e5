//! What of a Pod's life must survive the agent.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodCondition};
use serde::{Deserialize, Serialize};

use super::health::Health;
use super::interface::Host;
use super::retry::{CrashLoop, Retry};
use super::spec::{self, Role};
use super::status::conditions::is_owned;
use super::status::phase;
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

/// The incarnation of runs that are known from the object only: of no sandbox of ours until they are seen to run.
const SEEDED: u32 = 0;

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
    /// The definition has changed under the newest run: it is followed by another whatever the restart policy.
    pub(super) replace: bool,
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
    /// When it came to be, on this boot's clock: delays of probes count from here.
    #[serde(default)]
    pub(super) begun: Instant,
    /// What probes and hooks have found. A record without was written when nobody asked.
    #[serde(default = "Health::unasked")]
    pub(super) health: Health,
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

impl PodRecord {
    /// The record of a Pod this node has none of: what the object says of an earlier life here is believed.
    pub(super) fn new(pod: &Pod, host: &Host, now: Instant, wall: WallTime) -> Self {
        let status = pod.status.clone().unwrap_or_default();
        let start_time = status.start_time.map_or(wall, |time| WallTime(time.0));
        let statuses =
            [status.init_container_statuses, status.container_statuses, status.ephemeral_container_statuses];
        let statuses = statuses.into_iter().flatten().flatten();
        let phase = status.phase.unwrap_or_else(|| phase::PENDING.to_owned());
        let verdict =
            Verdict { phase: phase.clone(), reason: status.reason.clone(), message: status.message.clone() };
        Self {
            boot_id: host.boot_id.clone(),
            start_time,
            active: Active { since: now, before: wall_span(start_time, wall) },
            sandbox: Sandbox::Absent,
            incarnation: SEEDED + 1,
            volumes_mounted: false,
            ips: status.pod_ips.into_iter().flatten().map(|ip| ip.ip).collect(),
            containers: statuses
                .map(|status| (status.name.clone(), ContainerRecord::from_status(status)))
                .collect(),
            ending: None,
            verdict: phase::is_terminal(&phase).then_some(verdict),
            phase,
            conditions: status.conditions.into_iter().flatten().filter(is_owned).collect(),
        }
    }

    /// Carries the record into this boot. Where it is of another one, deadlines are void and the sandbox is gone.
    /// Says whether there was a sandbox to lose.
    pub(super) fn enter_boot(&mut self, host: &Host, now: Instant, wall: WallTime) -> bool {
        if self.boot_id == host.boot_id {
            return false;
        }
        self.boot_id.clone_from(&host.boot_id);
        self.active = Active { since: now, before: wall_span(self.start_time, wall) };
        for container in self.containers.values_mut() {
            container.forget_deadlines(now);
        }
        if let Some(ending) = &mut self.ending {
            ending.kill_at = now;
        }
        self.volumes_mounted = false;
        if self.sandbox == Sandbox::Released {
            return false;
        }
        self.incarnation += 1;
        self.ips.clear();
        std::mem::replace(&mut self.sandbox, Sandbox::Absent) == Sandbox::Made
    }

    /// The container's record, made where there is none.
    pub(super) fn container(&mut self, name: &str) -> &mut ContainerRecord {
        self.containers.entry(name.to_owned()).or_default()
    }

    /// Whether a main container has been made in this sandbox: init containers are over.
    pub(super) fn is_initialized(&self, pod: &Pod) -> bool {
        spec::containers(pod).any(|(role, container)| {
            role == Role::Main
                && self.containers.get(&container.name).is_some_and(|c| c.is_of(self.incarnation))
        })
    }

    /// Time the Pod has been active.
    pub(super) fn active_for(&self, now: Instant) -> Duration {
        self.active.before + now.saturating_since(self.active.since)
    }
}

/// The time between two readings of this machine's wall clock, zero when it was set back.
fn wall_span(from: WallTime, to: WallTime) -> Duration {
    to.0.duration_since(from.0).try_into().unwrap_or_default()
}

impl ContainerRecord {
    /// What the object says of a container that this node has no record of.
    fn from_status(status: ContainerStatus) -> Self {
        let state = status.state.unwrap_or_default();
        let last = status.last_state.and_then(|last| last.terminated);
        let (newest, previous) = match (state.running, state.terminated) {
            (Some(running), _) => {
                let started_at =
                    WallTime(running.started_at.map_or(jiff::Timestamp::UNIX_EPOCH, |time| time.0));
                (Some(RunState::Running { pid: 0, started_at }), last)
            }
            (None, Some(how)) => (Some(RunState::Ended { how, at: Instant::default() }), last),
            (None, None) => (last.map(|how| RunState::Ended { how, at: Instant::default() }), None),
        };
        let id = status
            .container_id
            .as_deref()
            .and_then(|url| url.strip_prefix("containerd://"))
            .unwrap_or_default();
        let run = newest.map(|state| Run {
            attempt: status.restart_count.try_into().unwrap_or(0),
            id: id.to_owned(),
            image: status.image,
            image_id: status.image_id,
            stop_signal: None,
            incarnation: SEEDED,
            state,
            begun: Instant::default(),
            health: Health::of_status(status.started.unwrap_or(false), status.ready),
        });
        Self { run, previous, ..Self::default() }
    }

    /// The newest run, if it runs.
    pub(super) fn running(&self) -> Option<&Run> {
        self.run.as_ref().filter(|run| matches!(run.state, RunState::Running { .. }))
    }

    /// How and when the newest run ended, if it has.
    pub(super) fn ended(&self) -> Option<(&ContainerStateTerminated, Instant)> {
        match &self.run.as_ref()?.state {
            RunState::Running { .. } => None,
            RunState::Ended { how, at } => Some((how, *at)),
        }
    }

    /// Whether the newest run was made in this sandbox.
    pub(super) fn is_of(&self, incarnation: u32) -> bool {
        self.run.as_ref().is_some_and(|run| run.incarnation == incarnation)
    }

    /// The attempt of the run to be made next.
    pub(super) fn next_attempt(&self) -> u32 {
        self.run.as_ref().map_or(0, |run| run.attempt + 1)
    }

    /// The newest run has ended.
    pub(super) fn end(&mut self, how: ContainerStateTerminated, at: Instant) {
        if let Some(run) = &mut self.run {
            run.state = RunState::Ended { how, at };
        }
    }

    /// A run has come to be: it is the newest now.
    pub(super) fn begin(&mut self, run: Run, now: Instant) {
        if let Some((how, at)) = self.ended() {
            let previous = how.clone();
            self.crash_loop.restarted(at, now);
            self.previous = Some(previous);
        }
        self.run = Some(run);
        self.waiting = None;
        self.replace = false;
        self.start.succeed();
    }

    /// Another definition or another boot: it may fare better.
    pub(super) fn forget_failures(&mut self) {
        self.crash_loop = CrashLoop::default();
        self.image.succeed();
        self.start.succeed();
    }

    fn forget_deadlines(&mut self, now: Instant) {
        self.forget_failures();
        self.waiting = None;
        if let Some(Run { state: RunState::Ended { at, .. }, .. }) = &mut self.run {
            *at = now;
        }
    }
}

impl Run {
    /// `containerID` of the status.
    pub(super) fn url(&self) -> String {
        format!("containerd://{}", self.id)
    }
}

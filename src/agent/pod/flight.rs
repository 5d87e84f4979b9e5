//! What is under way: wishes without an answer, and what is left of earlier runs. Lost with the agent, found again by
//! the first `Observed`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::interface::{Exit, HookKind};
use super::probe::{Course, ProbeKind};
use super::retry::{Pace, Retry};
use crate::time::Instant;

/// 2 s, the kubelet's least time between a stop signal and `SIGKILL`, so that whoever comes last in the order of
/// termination has a chance too.
const STOP_WINDOW: Duration = Duration::from_secs(2);
/// A container that outlives `SIGKILL` is killed again after this time: the signal may have been lost with containerd.
pub(super) const KILL_AGAIN: Duration = Duration::from_secs(5);

/// Something asked for until it succeeds, one wish at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct Errand {
    pub(super) asked: bool,
    retry: Retry,
}

/// What to do about an errand now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Ask.
    Now,
    /// Not before.
    At(Instant),
    /// An answer is due.
    Asked,
}

impl Errand {
    pub(super) fn turn(&self, now: Instant) -> Turn {
        match self.retry.not_before() {
            _ if self.asked => Turn::Asked,
            Some(at) if now < at => Turn::At(at),
            _ => Turn::Now,
        }
    }

    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    pub(super) fn fail(&mut self, now: Instant) {
        self.asked = false;
        self.retry.fail(Pace::EFFECT, now);
    }

    pub(super) fn hurry(&mut self) {
        self.retry.hurry();
    }
}

/// The image of the next run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Image {
    /// Not asked for.
    #[default]
    Unknown,
    /// Asked for by this reference.
    Asked(String),
    /// Here.
    Here { image: String, image_id: String, stop_signal: Option<String> },
}

/// A run that was wished for.
#[derive(Clone, Debug)]
pub(super) struct Starting {
    pub(super) attempt: u32,
    pub(super) image: String,
    pub(super) image_id: String,
    pub(super) stop_signal: Option<String>,
    /// Its end, when that is heard of before its start.
    pub(super) exit: Option<Exit>,
}

/// A running container on its way out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    stage: Stage,
    kill_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its preStop hook runs.
    Hooked,
    /// It may be asked when its turn comes.
    Prepared,
    /// It has been asked.
    Asked(Instant),
    /// It has been killed.
    Killed(Instant),
}

/// What to do about a container that is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopStep {
    /// Send the stop signal.
    Ask,
    /// Send `SIGKILL`.
    Kill,
    /// Nothing yet.
    Wait,
}

impl Stopping {
    /// Killed at `kill_at`, but not before it had a chance; asked when its hook has ended.
    pub(super) fn new(hooked: bool, kill_at: Instant) -> Self {
        Self { stage: if hooked { Stage::Hooked } else { Stage::Prepared }, kill_at }
    }

    /// Its hook has ended.
    pub(super) fn prepared(&mut self) {
        if self.stage == Stage::Hooked {
            self.stage = Stage::Prepared;
        }
    }

    /// The grace was shortened.
    pub(super) fn hasten(&mut self, kill_at: Instant) {
        self.kill_at = self.kill_at.min(kill_at);
    }

    /// What is to be done now, and takes note of it. `turn` says that nothing must stop before it.
    pub(super) fn step(&mut self, turn: bool, at_once: bool, now: Instant) -> StopStep {
        let waits = match self.stage {
            Stage::Killed(_) => now < self.due(),
            Stage::Asked(_) | Stage::Hooked => !at_once && now < self.due(),
            Stage::Prepared => !at_once && !turn && now < self.due(),
        };
        let asks = !at_once && matches!(self.stage, Stage::Hooked | Stage::Prepared);
        if waits {
            return StopStep::Wait;
        }
        self.stage = if asks { Stage::Asked(now) } else { Stage::Killed(now) };
        if asks { StopStep::Ask } else { StopStep::Kill }
    }

    /// When the next step is due at the latest.
    pub(super) fn due(&self) -> Instant {
        match self.stage {
            Stage::Hooked | Stage::Prepared => self.kill_at,
            Stage::Asked(asked) => self.kill_at.max(asked + STOP_WINDOW),
            Stage::Killed(killed) => killed + KILL_AGAIN,
        }
    }
}

/// What is under way for one container.
#[derive(Clone, Debug, Default)]
pub(super) struct Flight {
    pub(super) image: Image,
    pub(super) starting: Option<Starting>,
    pub(super) stopping: Option<Stopping>,
    /// Hooks of the running container that are under way.
    pub(super) hooks: BTreeSet<HookKind>,
    /// Its probes.
    pub(super) probes: BTreeMap<ProbeKind, Course>,
    /// The attempt that these belong to.
    pub(super) probed_run: Option<u32>,
    /// The container was found running by an agent that has not started it.
    pub(super) resumed: bool,
    /// Until when the status shows how the last try failed; then it shows the back-off.
    pub(super) failure_shown: Option<Instant>,
}

/// A container of this Pod in containerd that is not anybody's newest run, or is no more than a body.
#[derive(Clone, Debug)]
pub(super) enum Leftover {
    /// It runs and must not.
    Alive { killed: Option<Instant> },
    /// It has run; the newest such of a container is kept for its log.
    Dead(Errand),
    /// It was never started.
    Stillborn(Errand),
}

//! What is under way: wishes without an answer, and what is left of earlier runs. Lost with the agent, found again by
//! the first `Observed`.

use super::interface::Exit;
use super::retry::{Pace, Retry};
use crate::time::Instant;
use std::time::Duration;

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

/// A running container that has been asked to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopping {
    asked: Instant,
    kill_at: Instant,
    killed: Option<Instant>,
}

impl Stopping {
    /// Asked now; killed at `kill_at`, but not before it had a chance.
    pub(super) fn ask(now: Instant, kill_at: Instant) -> Self {
        Self { asked: now, kill_at, killed: None }
    }

    /// Killed now.
    pub(super) fn kill(now: Instant) -> Self {
        Self { asked: now, kill_at: now, killed: Some(now) }
    }

    /// The grace was shortened.
    pub(super) fn hasten(&mut self, kill_at: Instant, at_once: bool, now: Instant) {
        self.kill_at = self.kill_at.min(kill_at);
        if at_once {
            self.kill_at = now;
            self.asked = self.asked.min(now - STOP_WINDOW);
        }
    }

    /// When it is killed next.
    pub(super) fn due(self) -> Instant {
        match self.killed {
            Some(killed) => killed + KILL_AGAIN,
            None => self.kill_at.max(self.asked + STOP_WINDOW),
        }
    }
}

/// What is under way for one container.
#[derive(Clone, Debug, Default)]
pub(super) struct Flight {
    pub(super) image: Image,
    pub(super) starting: Option<Starting>,
    pub(super) stopping: Option<Stopping>,
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

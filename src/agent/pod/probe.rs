//! When a probe of one container is due, and what its results add up to, as the kubelet's prober.
//!
//! Readiness and startup are asked for as soon as they may be, then every period. Liveness is asked for at a moment of
//! its own within each period, so that Pods that started together are not probed together, and a container that is slow
//! to listen is not condemned at once; after the agent's restart all of them begin at such a moment. A startup probe's
//! first failure does not count where it comes before any time was given.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::time::Instant;

const THOUSAND: u32 = 1000;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProbeKind {
    /// Has the container come up? Until then the others wait.
    Startup,
    /// May it be sent work?
    Readiness,
    /// Must it be restarted?
    Liveness,
}

impl ProbeKind {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Startup, Self::Readiness, Self::Liveness];

    /// As messages begin: `Liveness probe failed: …`.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// What one probe has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// All is well.
    Success,
    /// All is well as far as can be told, and something is odd.
    Warning(String),
    /// It is not, and this is what was seen of it.
    Failure(String),
    /// The probe could not be made: it says nothing about the container.
    Unknown(String),
}

/// Numbers of a probe, with upstream's defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) initial_delay: Duration,
    pub(super) period: Duration,
    successes: u32,
    failures: u32,
}

impl Timing {
    pub(super) fn of(probe: &Probe) -> Self {
        let number = |field: Option<i32>, default: u32| {
            field
                .and_then(|number| u32::try_from(number).ok())
                .filter(|number| *number > 0)
                .unwrap_or(default)
        };
        Self {
            initial_delay: Duration::from_secs(number(probe.initial_delay_seconds, 0).into()),
            period: Duration::from_secs(number(probe.period_seconds, 10).into()),
            successes: number(probe.success_threshold, 1),
            failures: number(probe.failure_threshold, 3),
        }
    }
}

/// Probing one container for one purpose, from its start to its end. Lost with the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Course {
    due: Instant,
    asked: Asked,
    /// The results of late: whether they were good, and how many in a row.
    row: Option<(bool, u32)>,
    /// Time has been given since the first one.
    counts: bool,
}

/// Whether an answer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    No,
    Yes,
    /// It is, and will say nothing.
    InVain,
}

/// Where a course begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    /// When the container was started.
    pub(super) started: Instant,
    /// The agent has found it running.
    pub(super) resumed: bool,
    /// A fixed moment within a period, in thousandths of it.
    pub(super) share: u32,
    pub(super) now: Instant,
}

impl Course {
    pub(super) fn new(kind: ProbeKind, timing: Timing, begin: Begin) -> Self {
        let earliest = (begin.started + timing.initial_delay).max(begin.now);
        let due = match (begin.resumed, kind) {
            (true, _) => earliest.max(begin.now + part(timing.period, begin.share)),
            (false, ProbeKind::Startup | ProbeKind::Readiness) => earliest,
            (false, ProbeKind::Liveness) => tick(begin.started, timing.period, begin.share, earliest),
        };
        let counts = begin.resumed || kind != ProbeKind::Startup || !timing.initial_delay.is_zero();
        Self { due, asked: Asked::No, row: None, counts }
    }

    /// When the next probe is due; none while one is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.asked == Asked::No).then_some(self.due)
    }

    /// A probe is made now. One that takes longer than its period is followed by the next at once.
    pub(super) fn ask(&mut self, timing: Timing, now: Instant) {
        self.asked = Asked::Yes;
        self.due = self.due + timing.period;
        if self.due <= now {
            self.due = now + timing.period;
        }
    }

    /// Whatever comes of the probe under way says nothing.
    pub(super) fn void(&mut self) {
        if self.asked == Asked::Yes {
            self.asked = Asked::InVain;
        }
    }

    /// The answer is here. Says whether it was waited for.
    pub(super) fn answered(&mut self) -> bool {
        std::mem::replace(&mut self.asked, Asked::No) == Asked::Yes
    }

    /// Counts a result. Says what is settled by it, if anything.
    pub(super) fn count(&mut self, good: bool, timing: Timing) -> Option<bool> {
        let counts = std::mem::replace(&mut self.counts, true);
        if !good && !counts {
            return None;
        }
        let length = match self.row {
            Some((same, length)) if same == good => length.saturating_add(1),
            _ => 1,
        };
        self.row = Some((good, length));
        let enough = if good { timing.successes } else { timing.failures };
        (length >= enough).then_some(good)
    }
}

/// The first moment of its own, not before `earliest`, that falls after the start.
fn tick(started: Instant, period: Duration, share: u32, earliest: Instant) -> Instant {
    let first = started + part(period, share);
    let late = earliest.saturating_since(first);
    let periods = late.as_nanos().div_ceil(period.as_nanos().max(1));
    first + period.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX))
}

fn part(period: Duration, share: u32) -> Duration {
    period.saturating_mul(share) / THOUSAND
}

/// A share of a period in thousandths, from 1 to 1000, that follows from names: it stays the same over restarts.
pub(super) fn share(pod_uid: &str, container: &str, kind: ProbeKind) -> u32 {
    let digest = Sha256::digest(format!("{pod_uid}/{container}/{kind:?}"));
    u32::from(u16::from_be_bytes([digest[0], digest[1]])) % THOUSAND + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(secs))
    }

    fn timing(delay: u64, period: u64, successes: u32, failures: u32) -> Timing {
        let (initial_delay, period) = (Duration::from_secs(delay), Duration::from_secs(period));
        Timing { initial_delay, period, successes, failures }
    }

    fn due(kind: ProbeKind, delay: u64, resumed: bool, now: u64) -> Option<Instant> {
        let begin = Begin { started: at(100), resumed, share: 400, now: at(now) };
        Course::new(kind, timing(delay, 10, 1, 3), begin).due()
    }

    #[test]
    fn the_first_probe_is_due_by_kind_delay_and_history() {
        use ProbeKind::{Liveness, Readiness, Startup};
        let cases = [
            (Startup, 0, false, 100, 100),
            (Readiness, 0, false, 100, 100),
            (Readiness, 25, false, 100, 125),
            // Started late: its delay is over.
            (Readiness, 5, false, 130, 130),
            (Liveness, 0, false, 100, 104),
            (Liveness, 4, false, 100, 104),
            (Liveness, 5, false, 100, 114),
            (Liveness, 30, false, 100, 134),
            (Liveness, 0, false, 131, 134),
            (Readiness, 0, true, 500, 504),
            (Liveness, 0, true, 500, 504),
            (Startup, 30, true, 101, 130),
        ];
        for (kind, delay, resumed, now, expected) in cases {
            assert_eq!(
                due(kind, delay, resumed, now),
                Some(at(expected)),
                "{kind:?} {delay} {resumed} {now}"
            );
        }
    }

    #[test]
    fn probes_keep_their_period_and_one_that_is_late_is_made_up_for_once() {
        let timing = timing(0, 10, 1, 3);
        let begin = Begin { started: at(0), resumed: false, share: 500, now: at(0) };
        let mut course = Course::new(ProbeKind::Readiness, timing, begin);
        course.ask(timing, at(0));
        assert_eq!(course.due(), None, "one at a time");
        assert!(course.answered());
        assert_eq!(course.due(), Some(at(10)));
        course.ask(timing, at(10));
        course.void();
        assert!(!course.answered(), "it was in vain");
        course.ask(timing, at(57));
        assert!(course.answered());
        assert_eq!(course.due(), Some(at(67)));
        assert!(!course.answered(), "nobody asked");
    }

    #[test]
    fn results_in_a_row_settle_at_their_thresholds() {
        let timing = timing(0, 10, 2, 3);
        let begin = Begin { started: at(0), resumed: false, share: 500, now: at(0) };
        let settled = |kind, results: &str| -> Vec<Option<bool>> {
            let mut course = Course::new(kind, timing, begin);
            results.chars().map(|result| course.count(result == '+', timing)).collect()
        };
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(settled(ProbeKind::Readiness, "++-+--"), [None, yes, None, None, None, None]);
        assert_eq!(settled(ProbeKind::Readiness, "----++"), [None, None, no, no, None, yes]);
        assert_eq!(
            settled(ProbeKind::Startup, "---"),
            [None, None, None],
            "the first failure does not count"
        );
        assert_eq!(settled(ProbeKind::Startup, "----"), [None, None, None, no]);
        assert_eq!(settled(ProbeKind::Startup, "++"), [None, yes]);
    }

    #[test]
    fn a_share_is_a_part_of_a_period_and_differs_between_pods() {
        let shares: Vec<u32> =
            (0..50).map(|number| share(&format!("uid-{number}"), "web", ProbeKind::Liveness)).collect();
        assert!(shares.iter().all(|share| (1..=1000).contains(share)));
        let early = shares.iter().filter(|share| **share < 500).count();
        assert!((10..40).contains(&early), "{shares:?}");
    }
}

//! When something that failed is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Instant;

/// The pace of repeated tries: the first pause, doubled after each further failure, up to the longest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    first: Duration,
    longest: Duration,
}

impl Pace {
    /// 1 s to 30 s: sandbox, volumes, removals, containers that cannot be made. The kubelet tries these again every
    /// 10 to 15 s.
    pub(super) const EFFECT: Self = Self { first: Duration::from_secs(1), longest: Duration::from_secs(30) };
    /// 10 s to 5 min, as the kubelet's image back-off.
    pub(super) const IMAGE: Self = Self { first: Duration::from_secs(10), longest: Duration::from_mins(5) };

    /// The pause after `failures` failures in a row, counted from 1.
    fn pause(self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.longest)
    }
}

/// One thing that is asked for until it succeeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Retry {
    failures: u32,
    not_before: Option<Instant>,
}

impl Retry {
    /// It failed now: wait.
    pub(super) fn fail(&mut self, pace: Pace, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(now + pace.pause(self.failures));
    }

    /// It succeeded: the next failure counts as the first.
    pub(super) fn succeed(&mut self) {
        *self = Self::default();
    }

    /// What it failed for may be mended: the next try need not wait.
    pub(super) fn hurry(&mut self) {
        self.not_before = None;
    }

    /// When it may be tried.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }
}

/// 10 s, as the kubelet's first pause before a container is restarted.
const CRASH_FIRST: Duration = Duration::from_secs(10);
/// 5 min, as the kubelet's longest.
const CRASH_LONGEST: Duration = Duration::from_mins(5);
/// A container that ends later than this after its last restart starts afresh: twice the longest pause, as the kubelet.
const CRASH_FORGET: Duration = Duration::from_mins(10);

/// Crash-loop back-off of one container: the first restart is immediate, the pauses before the next ones double, a run
/// of more than ten minutes clears them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct CrashLoop {
    /// The pause before the next restart, and when the last restart was. None before the first restart.
    level: Option<(Duration, Instant)>,
}

impl CrashLoop {
    /// The pause due to a container that ended at `ended`.
    pub(super) fn pause(&self, ended: Instant) -> Duration {
        match self.level {
            Some((pause, restarted)) if ended.saturating_since(restarted) <= CRASH_FORGET => pause,
            _ => Duration::ZERO,
        }
    }

    /// A container that ended at `ended` is restarted now.
    pub(super) fn restarted(&mut self, ended: Instant, now: Instant) {
        let pause = self.pause(ended);
        let next = if pause.is_zero() { CRASH_FIRST } else { (pause * 2).min(CRASH_LONGEST) };
        self.level = Some((next, now));
    }
}

/// A span as Go prints it (`312ms`, `1.2s`, `1m20s`, `5m0s`), which is how people know back-offs from `kubectl`.
/// Whole milliseconds.
pub(super) fn go_duration(span: Duration) -> String {
    let millis = span.as_millis();
    if millis == 0 {
        return "0s".into();
    }
    if millis < 1000 {
        return format!("{millis}ms");
    }
    let (hours, minutes, rest) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    let seconds = match rest % 1000 {
        0 => format!("{}s", rest / 1000),
        part => format!("{}.{}s", rest / 1000, format!("{part:03}").trim_end_matches('0')),
    };
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        (_, _) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(secs))
    }

    #[test]
    fn crash_pauses_double_from_ten_seconds_to_five_minutes_and_a_long_run_clears_them() {
        let mut crash = CrashLoop::default();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = crash.pause(now);
            pauses.push(pause.as_secs());
            crash.restarted(now, now + pause);
            now = now + pause + Duration::from_secs(1);
        }
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(crash.pause(now + Duration::from_secs(599)).as_secs(), 300, "exactly ten minutes of life");
        assert_eq!(crash.pause(now + Duration::from_secs(601)).as_secs(), 0, "a longer life");
    }

    #[test]
    fn tries_are_paced_and_success_starts_afresh() {
        let mut retry = Retry::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            retry.fail(Pace::IMAGE, at(100));
            pauses.push(retry.not_before().expect("it failed").saturating_since(at(100)).as_secs());
        }
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300]);
        retry.hurry();
        assert_eq!((retry.not_before(), retry.failures), (None, 7));
        retry.succeed();
        assert_eq!(retry, Retry::default());
    }

    #[test]
    fn durations_read_as_go_prints_them() {
        let cases = [
            (0, "0s"),
            (312, "312ms"),
            (1200, "1.2s"),
            (10_000, "10s"),
            (80_000, "1m20s"),
            (300_000, "5m0s"),
        ];
        for (millis, text) in cases {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
        assert_eq!(go_duration(Duration::from_millis(3_723_004)), "1h2m3.004s");
    }
}

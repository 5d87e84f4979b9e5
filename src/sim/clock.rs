//! The clocks of the machines: each counts from its own boot, and a little too fast or too slow.

use std::time::Duration;

use crate::time::{Instant, WallTime};

/// One machine's clock. `at` is true time since the world began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// True time at which it showed `shown`.
    at: Duration,
    shown: Duration,
    /// Parts of a million that it runs too fast.
    rate: i64,
}

const MILLION: u64 = 1_000_000;

impl Clock {
    pub(super) fn new(at: Duration, shown: Duration, rate: i64) -> Self {
        Self { at, shown, rate }
    }

    /// The clock of the same machine after a boot.
    pub(super) fn booted(self, at: Duration) -> Self {
        Self { at, shown: Duration::ZERO, ..self }
    }

    pub(super) fn read(self, at: Duration) -> Instant {
        Instant::from_boot(self.shown + scaled(at.saturating_sub(self.at), self.pace(), MILLION))
    }

    /// The true time at which it shows this, or a moment later.
    pub(super) fn when(self, shows: Instant) -> Duration {
        let span = shows.since_boot().saturating_sub(self.shown);
        self.at + scaled(span, MILLION, self.pace()) + Duration::from_nanos(2)
    }

    fn pace(self) -> u64 {
        MILLION.saturating_add_signed(self.rate)
    }
}

fn scaled(span: Duration, by: u64, of: u64) -> Duration {
    Duration::from_nanos((span.as_nanos() * u128::from(by) / u128::from(of.max(1))) as u64)
}

/// The time that people read; the same everywhere, since nothing may depend on it.
pub(super) fn wall() -> WallTime {
    WallTime(jiff::Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_shows_what_was_asked_for_when_it_says_it_does() {
        for rate in [-10_000, 0, 10_000] {
            let clock = Clock::new(Duration::from_secs(5), Duration::from_secs(1_000), rate);
            let shows = Instant::from_boot(Duration::from_millis(1_020_123));
            let at = clock.when(shows);
            let before = at.saturating_sub(Duration::from_nanos(9));
            assert!(clock.read(at) >= shows && clock.read(before) < shows, "{rate}");
        }
    }
}

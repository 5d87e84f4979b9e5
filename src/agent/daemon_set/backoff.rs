//! How long a node waits before it tries again what keeps failing.

use std::time::Duration;

use crate::time::Instant;

/// First pause, as upstream's back-off for failed daemon Pods.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause, as upstream's.
const LONGEST: Duration = Duration::from_mins(15);

/// A pause that doubles from 1 s to 15 min, counted from the last failure that was acted upon, and begins anew when
/// nothing has failed for twice the longest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Backoff(Option<(Instant, Duration)>);

impl Backoff {
    /// When it may be tried again; none: now.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.0.map(|(since, pause)| since + pause).filter(|until| *until > now)
    }

    /// It failed again, and that is acted upon now.
    pub(super) fn fail(&mut self, now: Instant) {
        let pause = match self.0 {
            Some((since, pause)) if now.saturating_since(since) <= LONGEST * 2 => (pause * 2).min(LONGEST),
            Some(_) | None => FIRST,
        };
        self.0 = Some((now, pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Instant {
        Instant::from_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn the_pause_doubles_up_to_a_quarter_of_an_hour_and_is_forgotten_after_half_an_hour() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.until(at(0)), None);
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            backoff.fail(now);
            let until = backoff.until(now).expect("it waits");
            pauses.push(until.saturating_since(now).as_secs());
            now = until;
            assert_eq!(backoff.until(now), None);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        backoff.fail(now + LONGEST * 3);
        assert_eq!(backoff.until(now + LONGEST * 3), Some(now + LONGEST * 3 + FIRST));
    }
}

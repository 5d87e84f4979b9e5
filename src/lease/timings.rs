//! The times of a session: as typed, then as the machine may rely on them.

use std::time::Duration;

/// What somebody asked for. [`SessionTimings::check`] makes it usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimings {
    /// D: how long a session lasts after its last acknowledged renewal was sent. Whole seconds: it stands in the Lease.
    pub duration: Duration,
    /// From one renewal's sending to the next.
    pub renew_every: Duration,
    /// After which a request without an answer is given up and its connection closed.
    pub timeout: Duration,
    /// M: what everybody else waits beyond D.
    pub margin: Duration,
    /// What the node needs to kill what must not outlive the session.
    pub fence_time: Duration,
}

impl SessionTimings {
    /// The default proportions for a session of this length: for 20 s a renewal every 4 s with a time-out of 2 s, a
    /// margin of 3 s and one second to fence.
    pub fn of_duration(duration: Duration) -> Self {
        Self {
            duration,
            renew_every: duration / 5,
            timeout: duration / 10,
            margin: Duration::from_secs(3),
            fence_time: Duration::from_secs(1),
        }
    }

    /// The timings, if they keep a session safe.
    pub fn check(self) -> Result<SessionConfig, TimingsError> {
        let Self { duration, renew_every, timeout, margin, fence_time } = self;
        if duration.subsec_nanos() != 0 || i32::try_from(duration.as_secs()).is_err() {
            return Err(TimingsError::NotWholeSeconds { duration });
        }
        if renew_every.is_zero() || timeout.is_zero() {
            return Err(TimingsError::Zero);
        }
        if renew_every + timeout > duration / 3 {
            return Err(TimingsError::TooSlow { renew_every, timeout, duration });
        }
        if fence_time >= margin || margin >= duration {
            return Err(TimingsError::Margin { fence_time, margin, duration });
        }
        Ok(SessionConfig(self))
    }
}

impl Default for SessionTimings {
    fn default() -> Self {
        Self::of_duration(Duration::from_secs(20))
    }
}

/// Why timings are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingsError {
    /// A Lease cannot carry it.
    #[error("session duration {duration:?}: expected whole seconds, at most 2147483647")]
    NotWholeSeconds {
        /// As asked for.
        duration: Duration,
    },
    /// Time stands still.
    #[error("session renewal interval and time-out: expected more than zero")]
    Zero,
    /// Two lost renewals would end the session.
    #[error(
        "session renewal interval {renew_every:?} and time-out {timeout:?}: expected together at most a third of \
         the session duration {duration:?}"
    )]
    TooSlow {
        /// As asked for.
        renew_every: Duration,
        /// As asked for.
        timeout: Duration,
        /// As asked for.
        duration: Duration,
    },
    /// Others would take over before the fence is done, or wait longer than the session lasts.
    #[error(
        "session margin {margin:?}: expected more than the fence's time {fence_time:?} and less than the session \
         duration {duration:?}"
    )]
    Margin {
        /// As asked for.
        fence_time: Duration,
        /// As asked for.
        margin: Duration,
        /// As asked for.
        duration: Duration,
    },
}

/// Timings that hold renew + time-out ≤ D/3 and fence time < M < D.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig(SessionTimings);

impl SessionConfig {
    /// D of sessions taken from now on.
    pub fn duration(&self) -> Duration {
        self.0.duration
    }

    /// M.
    pub fn margin(&self) -> Duration {
        self.0.margin
    }

    /// How long a request may take.
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }

    /// From one renewal to the next.
    pub fn renew_every(&self) -> Duration {
        self.0.renew_every
    }

    /// The same, paced for a session of another duration, which is fixed for its life: no slower than a third of it
    /// allows.
    #[must_use]
    pub fn paced_for(&self, duration: Duration) -> Self {
        let SessionTimings { renew_every, timeout, .. } = self.0;
        let (pace, third) = (renew_every + timeout, duration / 3);
        if pace <= third {
            return Self(SessionTimings { duration, ..self.0 });
        }
        let scaled = |span: Duration| span.mul_f64(third.as_secs_f64() / pace.as_secs_f64());
        Self(SessionTimings {
            duration,
            renew_every: scaled(renew_every),
            timeout: scaled(timeout),
            ..self.0
        })
    }
}

impl Default for SessionConfig {
    fn default() -> Self {
        SessionTimings::default().check().expect("4 + 2 ≤ 20 / 3 and 1 < 3 < 20")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn timings_are_refused_unless_they_keep_a_session_safe() {
        let good = SessionTimings::default();
        assert_eq!((good.renew_every, good.timeout, good.margin), (s(4), s(2), s(3)));
        for (timings, refused) in [
            (good, None),
            (SessionTimings::of_duration(s(5)), None),
            (SessionTimings::of_duration(s(3600)), None),
            (SessionTimings { renew_every: s(5), ..good }, Some("together at most a third")),
            (SessionTimings { timeout: s(3), ..good }, Some("together at most a third")),
            (SessionTimings { timeout: s(0), ..good }, Some("more than zero")),
            (SessionTimings { renew_every: s(0), ..good }, Some("more than zero")),
            (
                SessionTimings { fence_time: s(3), ..good },
                Some("margin 3s: expected more than the fence's time 3s"),
            ),
            (SessionTimings { margin: s(20), ..good }, Some("less than the session duration 20s")),
            (SessionTimings::of_duration(s(3)), Some("margin 3s")),
            (SessionTimings::of_duration(Duration::from_millis(20_500)), Some("whole seconds")),
            (SessionTimings::of_duration(s(1 << 40)), Some("whole seconds")),
            (SessionTimings::of_duration(s(0)), Some("more than zero")),
        ] {
            let found = timings.check().err().map(|error| error.to_string());
            match (refused, &found) {
                (None, None) => {}
                (Some(expected), Some(error)) => assert!(error.contains(expected), "{error}"),
                _ => panic!("{timings:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_shorter_session_is_renewed_faster_than_was_asked_for() {
        let config = SessionConfig::default();
        assert_eq!(config.paced_for(s(60)).renew_every(), s(4));
        let paced = config.paced_for(s(9));
        assert_eq!((paced.renew_every(), paced.timeout()), (s(2), s(1)));
        assert_eq!(paced.duration(), s(9));
    }
}

//! The fence: what has to be dead when a session ends, who sees to it, and when it may live again. PURE.
//!
//! A Pod with an identity runs only while the session that holds the identity lasts. Two look after that, each able to
//! do without the other:
//!
//! ```text
//!              D/4 or grace      1 s
//!   ───────────────┬──────────────┬──────────┬───────────── M/2 ──────────┬── M ─▶ somebody else may start it
//!                SIGTERM       SIGKILL    deadline                 not empty: reset
//!               └──────── agent ────────┘└──────────────── guard ────────────────┘
//! ```
//!
//! [`holder`] is the agent's part, [`watch`] the guard's, [`gate`] says whether a container may start. [`FenceLevel`]
//! is what a node can promise about its fence; revocation frees an identity only where that is enough for the workload
//! ([`FenceLevel::frees`]).
//!
//! Architecture invariant: a fence once begun finishes, whatever is renewed meanwhile.

pub mod gate;
pub mod holder;
pub mod watch;

use std::fmt;
use std::str::FromStr;

/// Annotation on an identity's Lease: the [`FenceLevel`] its holder has reached.
pub const LEVEL_ANNOTATION: &str = "leasehold.dev/fence-level";
/// Annotation on a Pod: what the workload wants, see [`Failover`].
pub const FAILOVER_ANNOTATION: &str = "leasehold.dev/failover";

/// How certain it is that nothing outlives a session, from the least to the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum FenceLevel {
    /// Nothing is fenced: the machine may be suspended or paused, or has no guard.
    None,
    /// A guard kills, and says when it could not.
    #[default]
    Kill,
    /// A guard kills, and resets the machine where that is not enough.
    Reset,
}

/// What a workload asks of a fence before its identity may be taken from a node that is silent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failover {
    /// [`FenceLevel::Kill`] will do.
    #[default]
    Kill,
    /// It takes [`FenceLevel::Reset`].
    Reset,
    /// Only people free the identity.
    Never,
}

impl FenceLevel {
    /// Whether revocation frees an identity whose Lease says this level, for a workload with this wish.
    pub fn frees(self, wish: Failover) -> bool {
        match wish {
            Failover::Kill => self >= Self::Kill,
            Failover::Reset => self >= Self::Reset,
            Failover::Never => false,
        }
    }

    /// As an identity's Lease says it. What cannot be read promises nothing.
    pub fn of_annotation(text: Option<&str>) -> Self {
        text.and_then(|text| text.parse().ok()).unwrap_or(Self::None)
    }
}

impl Failover {
    /// As a Pod says it; none is the default, and what cannot be read leaves the identity to people.
    pub fn of_annotation(text: Option<&str>) -> Self {
        match text {
            None | Some("kill") => Self::Kill,
            Some("reset") => Self::Reset,
            Some(_) => Self::Never,
        }
    }
}

impl fmt::Display for FenceLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Reset => "reset",
        })
    }
}

impl FromStr for FenceLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "kill" => Ok(Self::Kill),
            "reset" => Ok(Self::Reset),
            _ => Err("expected none, kill or reset".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revocation_frees_an_identity_only_where_the_fence_is_as_strong_as_the_workload_asks() {
        for (level, wish, frees) in [
            (None, None, false),
            (Some("none"), None, false),
            (Some("kill"), None, true),
            (Some("kill"), Some("kill"), true),
            (Some("kill"), Some("reset"), false),
            (Some("kill"), Some("never"), false),
            (Some("kill"), Some("nevr"), false),
            (Some("reset"), Some("kill"), true),
            (Some("reset"), Some("reset"), true),
            (Some("reset"), Some("never"), false),
            (Some("Reset"), Some("kill"), false),
        ] {
            let found = FenceLevel::of_annotation(level).frees(Failover::of_annotation(wish));
            assert_eq!(found, frees, "{level:?} {wish:?}");
        }
    }

    #[test]
    fn levels_read_as_they_are_written() {
        for level in [FenceLevel::None, FenceLevel::Kill, FenceLevel::Reset] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
    }
}

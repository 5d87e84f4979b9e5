//! The brake: when too many sessions are lost together, the fault is more likely here, or in between, than there.

use std::collections::BTreeSet;
use std::time::Duration;

use super::interface::{BRAKE_MAX, Mass, Unbrake};
use crate::time::Instant;

/// Sessions that must have lived before their loss can be a mass loss.
const POPULATION_MIN: usize = 3;
/// A larger share than this, in percent, is a mass loss (Kubernetes' `--unhealthy-zone-threshold` is 55 %).
const SHARE_PERCENT_MAX: usize = 55;

/// Whether it is drawn, and over whom.
#[derive(Debug, Default)]
pub(super) struct Brake(Option<Drawn>);

/// Minutes in which the time that is left is told to the next monitor.
const MINUTE: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct Drawn {
    since: Instant,
    /// Nodes of the mass loss that have not returned.
    lost: BTreeSet<String>,
    of: usize,
}

fn is_too_many(lost: usize, of: usize) -> bool {
    of >= POPULATION_MIN && lost * 100 > SHARE_PERCENT_MAX * of
}

/// What a monitor leaves to the next while the brake is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Of how many sessions too many were lost.
    pub of: u32,
    /// For how many minutes more it is drawn, begun ones counted.
    pub minutes: u32,
}

impl Note {
    /// Reads a note. What cannot be read counts as the most, and the fewest, that can be.
    pub fn read(text: &str) -> Self {
        let number = |key: &str| text.split(' ').find_map(|part| part.strip_prefix(key)?.parse::<u32>().ok());
        let most = (BRAKE_MAX.as_secs() / MINUTE.as_secs()) as u32;
        Self {
            of: number("of=").unwrap_or(POPULATION_MIN as u32),
            minutes: number("minutes=").unwrap_or(most).min(most),
        }
    }
}

impl Brake {
    pub(super) fn is_drawn(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.0.as_ref().map(|drawn| drawn.since + BRAKE_MAX)
    }

    /// Counts the losses: `silent` nodes of `of` that lived D + M ago. What is new to tell, if it is drawn by it.
    pub(super) fn count(&mut self, silent: BTreeSet<String>, of: usize, now: Instant) -> Option<Mass> {
        let mass = Mass { lost: silent.len(), of };
        if let Some(drawn) = &mut self.0 {
            drawn.lost.extend(silent);
            drawn.of = drawn.of.max(of);
            return None;
        }
        if !is_too_many(mass.lost, of) {
            return None;
        }
        self.0 = Some(Drawn { since: now, lost: silent, of });
        Some(mass)
    }

    /// What the next monitor has to know: of how many, and for how many minutes more, begun ones counted.
    pub(super) fn note(&self, now: Instant) -> Option<String> {
        let drawn = self.0.as_ref()?;
        let left = (drawn.since + BRAKE_MAX).saturating_since(now).as_secs().div_ceil(MINUTE.as_secs());
        Some(format!("of={} minutes={left}", drawn.of))
    }

    /// Drawn by the monitor before, which left this note; who has not returned is found out by [`Brake::count`].
    pub(super) fn inherit(&mut self, note: &str, now: Instant) {
        let Note { of, minutes } = Note::read(note);
        let left = (MINUTE * minutes).min(BRAKE_MAX);
        self.0 = Some(Drawn { since: now + left - BRAKE_MAX, lost: BTreeSet::new(), of: of as usize });
    }

    /// These are lost, as far as a monitor that has just begun can tell.
    pub(super) fn add(&mut self, lost: BTreeSet<String>) {
        if let Some(drawn) = &mut self.0 {
            drawn.of = drawn.of.max(lost.len());
            drawn.lost.extend(lost);
        }
    }

    /// A node has a session again.
    pub(super) fn returned(&mut self, node: &str) -> Option<Unbrake> {
        let drawn = self.0.as_mut()?;
        drawn.lost.remove(node);
        if is_too_many(drawn.lost.len(), drawn.of) {
            return None;
        }
        self.0 = None;
        Some(Unbrake::Returned)
    }

    pub(super) fn pass(&mut self, now: Instant) -> Option<Unbrake> {
        self.next_deadline().filter(|end| now >= *end)?;
        self.0 = None;
        Some(Unbrake::Timeout)
    }

    pub(super) fn release(&mut self) -> Option<Unbrake> {
        self.0.take().map(|_| Unbrake::Operator)
    }
}

//! The guard's part: a table of what has to be dead when. PURE.
//!
//! ```text
//!           arm               deadline, order            seen empty
//!   absent ─────▶ Armed ─────────────────────▶ Due ─────────────────▶ Fenced
//!     ▲            ▲  └ renewed: later          ▲                    │ │ │
//!     │            │                            └── populated again ─┘ │ │
//!     │            └──────────────── arm (a new session) ──────────────┘ │
//!     └─────────────────────────── disarm ───────────────────────────────┘   (from Armed as well)
//! ```
//!
//! Time is looked at before every message: what was due before it came is due, whatever it says.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::FenceLevel;
use crate::time::Instant;

/// Most Pods one guard watches over; a node hosts some hundred.
pub const ENTRIES_MAX: usize = 4096;

/// What the agent tells of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// Names the Pod's cgroup.
    pub uid: String,
    /// The Pod's directory: network mounts below it are taken away before it counts as fenced. Empty: none.
    pub dir: String,
    /// Stands for the session: renewals move the deadlines of their own session only.
    pub session: u64,
    /// When the Pod has to be dead.
    pub deadline: Instant,
    /// M of the session.
    pub margin: Duration,
    /// What to do when killing is not enough.
    pub level: FenceLevel,
}

/// How far the fence of a Pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may run until its deadline.
    Armed,
    /// It is being killed.
    Due {
        /// Since when.
        since: Instant,
        /// It was seen empty before: what is killed now came late, and never ran.
        again: bool,
        /// That it takes too long was told.
        told: bool,
    },
    /// It was seen empty and is kept so.
    Fenced,
}

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As told.
    pub charge: Charge,
    /// How it stands.
    pub standing: Standing,
}

/// Why the guard does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A fence once begun finishes.
    BeingFenced,
    /// The deadline has passed already.
    Late,
    /// The table is full.
    Full,
}

/// Something that does not die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// Say so.
    Report,
    /// Reset the machine.
    Reset,
}

/// The table. See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    entries: BTreeMap<String, Entry>,
}

impl Watch {
    /// What an earlier guard has left.
    pub fn recall(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry.charge.uid.clone(), entry)).collect() }
    }

    /// All lines, by UID.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// One line.
    pub fn get(&self, uid: &str) -> Option<&Entry> {
        self.entries.get(uid)
    }

    /// Watches over a Pod, or over one that is fenced again, under a session that is not over.
    pub fn arm(&mut self, charge: Charge, now: Instant) -> Result<(), Refusal> {
        self.pass(now);
        if now >= charge.deadline {
            return Err(Refusal::Late);
        }
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&charge.uid) {
            return Err(Refusal::Full);
        }
        let known = self.entries.get(&charge.uid);
        if known.is_some_and(|entry| matches!(entry.standing, Standing::Due { .. })) {
            return Err(Refusal::BeingFenced);
        }
        // The same session's deadline never moves back.
        let armed = known.filter(|known| known.standing == Standing::Armed);
        let later = armed.filter(|known| known.charge.session == charge.session);
        let deadline = later.map_or(charge.deadline, |known| known.charge.deadline.max(charge.deadline));
        let charge = Charge { deadline, ..charge };
        self.entries.insert(charge.uid.clone(), Entry { charge, standing: Standing::Armed });
        Ok(())
    }

    /// The session was renewed: what runs under it may run on until `deadline`.
    pub fn renew(&mut self, session: u64, deadline: Instant, now: Instant) {
        self.pass(now);
        let armed = self.entries.values_mut().filter(|entry| entry.standing == Standing::Armed);
        for entry in armed.filter(|entry| entry.charge.session == session) {
            entry.charge.deadline = entry.charge.deadline.max(deadline);
        }
    }

    /// The Pod's containers are dead and its cgroup goes.
    pub fn disarm(&mut self, uid: &str, now: Instant) -> Result<(), Refusal> {
        self.pass(now);
        let due = |entry: &Entry| matches!(entry.standing, Standing::Due { .. });
        if self.entries.get(uid).is_some_and(due) {
            return Err(Refusal::BeingFenced);
        }
        self.entries.remove(uid);
        Ok(())
    }

    /// Fences one Pod now, or all.
    pub fn fence(&mut self, uid: Option<&str>, now: Instant) {
        self.pass(now);
        let wanted = self.entries.values_mut().filter(|entry| uid.is_none_or(|uid| entry.charge.uid == uid));
        for entry in wanted.filter(|entry| entry.standing == Standing::Armed) {
            entry.standing = Standing::Due { since: now, again: false, told: false };
        }
    }

    /// What time alone changes. True when something has.
    pub fn pass(&mut self, now: Instant) -> bool {
        let mut changed = false;
        for entry in self.entries.values_mut() {
            if entry.standing == Standing::Armed && now >= entry.charge.deadline {
                let since = entry.charge.deadline;
                entry.standing = Standing::Due { since, again: false, told: false };
                changed = true;
            }
        }
        changed
    }

    /// What has to be killed, by UID.
    pub fn due(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| matches!(entry.standing, Standing::Due { .. }))
    }

    /// What has to stay empty, by UID.
    pub fn fenced(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.standing == Standing::Fenced)
    }

    /// A cgroup was frozen and seen empty, and nothing of the Pod is mounted from the network.
    pub fn seen_empty(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get_mut(uid)
            && matches!(entry.standing, Standing::Due { .. })
        {
            entry.standing = Standing::Fenced;
        }
    }

    /// Something is in a fenced cgroup.
    pub fn seen_populated(&mut self, uid: &str, now: Instant) {
        if let Some(entry) = self.entries.get_mut(uid)
            && entry.standing == Standing::Fenced
        {
            entry.standing = Standing::Due { since: now, again: true, told: false };
        }
    }

    /// What still lives half a margin after it had to be dead; each is told once. What came late never ran, and is
    /// no reason for a reset.
    pub fn overdue(&mut self, now: Instant) -> Vec<(String, Overdue)> {
        let mut found = Vec::new();
        for entry in self.entries.values_mut() {
            let Standing::Due { since, again, told } = &mut entry.standing else { continue };
            if *told || now < *since + entry.charge.margin / 2 {
                continue;
            }
            *told = true;
            let resets = entry.charge.level == FenceLevel::Reset && !*again;
            found.push((entry.charge.uid.clone(), if resets { Overdue::Reset } else { Overdue::Report }));
        }
        found
    }

    /// When time changes something next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let next = |entry: &Entry| match entry.standing {
            Standing::Armed => Some(entry.charge.deadline),
            Standing::Due { since, told: false, .. } => Some(since + entry.charge.margin / 2),
            Standing::Due { told: true, .. } | Standing::Fenced => None,
        };
        self.entries.values().filter_map(next).min()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeingFenced => "the Pod is being fenced",
            Self::Late => "the deadline has passed",
            Self::Full => "the guard's table is full",
        })
    }
}

#[cfg(test)]
mod tests;

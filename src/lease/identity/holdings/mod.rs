//! The identities of one node: a [`Claim`] for each Pod that runs under some, a [`Gate`] for each identity. PURE.
//!
//! ```text
//!            session          all taken                    dead, cgroup empty
//!   wanted ──────────▶ claim ───────────▶ granted ─────────────────────────▶ given back
//!     ▲                  │ refused           │ lost
//!     └── its Lease ─────┘◀──────────────────┘
//!          changes
//! ```
//!
//! - A Pod that is refused waits for the identity's Lease to change ([`Holdings::waited_for`]); nothing is asked again
//!   without reason. One that ran here before and finds its identity held for another Pod is superseded.
//! - What an agent before this one left held for a Pod that is not here is given back, once it is known what is here
//!   ([`Input::Settled`]).
//! - Before it is known that the store is the one it was, nothing new is claimed ([`Input::Sure`]).
//!
//! Architecture invariant: a container starts only past [`Holdings::check`].

mod hear;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use k8s_openapi::api::coordination::v1::Lease;

use super::{Claim, Report, wire};
use crate::lease::fence::FenceLevel;
use crate::lease::fence::gate::{Gate, Life, Named, Shut};
use crate::lease::session::{Answer, SessionId};
use crate::lease::shard::Held;
use crate::lease::timings::SessionConfig;
use crate::lease::wire as leases;
use crate::time::{Instant, WallTime};

/// Most of its own sessions that a node remembers: an identity names one of the last few.
const PAST_MAX: usize = 64;

/// A Pod that runs under identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// UID of the Pod.
    pub uid: String,
    /// Its own identity, whose epoch its containers are told.
    pub identity: String,
    /// All that it runs under, its own among them.
    pub names: BTreeSet<String>,
    /// It does not outlive the session; not so where it is tied to this node, or left to people.
    pub fenced: bool,
    /// Containers of it may run already.
    pub may_run: bool,
    /// Containers of it have run here.
    pub has_run: bool,
}

/// What may happen. The numbers are those of the effects.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A Pod is here.
    Wanted(Wanted),
    /// No container of the Pod is left and its cgroup is empty.
    Dead(String),
    /// Containers of a Pod that is not here any more were found.
    Found {
        /// The identity of its name.
        identity: String,
        /// Its UID.
        uid: String,
    },
    /// Whatever earlier agents have left is known by now, or removed.
    Settled,
    /// The guard has acknowledged the Pod under this session, and promises this much; none: it has not, or is away.
    Armed(String, Option<(SessionId, FenceLevel)>),
    /// To [`Effect::Read`], [`Effect::Create`], [`Effect::Update`].
    Answer {
        /// Whose claim.
        uid: String,
        /// The number.
        number: u64,
        /// What came.
        answer: Answer,
    },
    /// An identity's Lease as it is.
    Seen(Box<Lease>),
    /// The watch of this node's identities shows this one no more.
    Left(String),
    /// An identity has no Lease.
    Gone(String),
    /// The watch is lost, or begins anew.
    Unsure,
    /// The watch is whole, and the store is the one it was.
    Sure,
    /// The store is not the one it was, or is older than it was.
    Regressed,
    /// The session was renewed or lost, or time has passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Keep these on disk, before what follows: the sessions this machine has had.
    Remember(BTreeSet<SessionId>),
    /// Read the Lease of this identity, consistently.
    Read(String, u64, String),
    /// Create it.
    Create(String, u64, Box<Lease>),
    /// Replace it, if it still has this resource version.
    Update(String, u64, Box<Lease>),
    /// The same; the watch brings the answer.
    Free(Box<Lease>),
    /// Read this identity's Lease: what the watch says is not enough. → `Seen | Gone`
    Look(String),
    /// The Pod's identities are held under the session.
    Granted {
        /// Whose.
        uid: String,
        /// The epoch of its own identity.
        epoch: i32,
    },
    /// They are not, or not any more: whatever runs of it has to die.
    Withdrawn(String),
    /// Another Pod has the identity of this one, which ran here.
    Superseded {
        /// Whose.
        uid: String,
        /// Who has which.
        message: String,
    },
    /// Everything that the Pod held was given back.
    GivenBack(String),
}

/// One Pod's part.
#[derive(Debug)]
struct Seat {
    wanted: Wanted,
    claim: Option<Claim>,
    /// The claim waits for the guard.
    arming: Option<u64>,
    armed: Option<(SessionId, FenceLevel)>,
    /// Which identity another holds.
    refused: Option<String>,
    /// Of its own identity.
    epoch: Option<i32>,
    leaving: bool,
}

/// What is known of one identity.
#[derive(Debug)]
struct Known {
    gate: Gate,
    /// Of the Lease that the gate has read.
    revision: u64,
    holder: String,
    pod_uid: String,
}

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct Holdings {
    node: String,
    level: FenceLevel,
    config: SessionConfig,
    session: Option<SessionId>,
    /// Sessions of this machine that are over.
    past: BTreeSet<SessionId>,
    seats: BTreeMap<String, Seat>,
    identities: BTreeMap<String, Known>,
    /// Leases that this node took last, as the watch shows them.
    own: BTreeMap<String, Box<Lease>>,
    /// Those that are being freed, and when that may be tried again.
    freeing: BTreeMap<String, Instant>,
    settled: bool,
    sure: bool,
    quiet_until: Instant,
    effects: VecDeque<Effect>,
}

impl Holdings {
    /// A node that holds nothing. `past`: the sessions that its machine has had, as far as it knows.
    pub fn new(node: &str, level: FenceLevel, config: SessionConfig, past: BTreeSet<SessionId>) -> Self {
        Self {
            node: node.to_owned(),
            level,
            config,
            session: None,
            past,
            seats: BTreeMap::new(),
            identities: BTreeMap::new(),
            own: BTreeMap::new(),
            freeing: BTreeMap::new(),
            settled: false,
            sure: false,
            quiet_until: Instant::default(),
            effects: VecDeque::new(),
        }
    }

    /// The next thing to do, if any.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self, held: Held<'_>, now: Instant) -> Option<Instant> {
        let claims = self.seats.values().filter_map(|seat| seat.claim.as_ref()?.next_deadline(held, now));
        claims.chain(self.freeing.values().copied()).min()
    }

    /// Whether anything new is claimed.
    pub fn is_sure(&self) -> bool {
        self.sure
    }

    /// Names of identities that another holds and a Pod here waits for.
    pub fn waited_for(&self) -> BTreeSet<String> {
        self.seats.values().filter_map(|seat| seat.refused.clone()).collect()
    }

    /// UIDs of the Pods that run under identities.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.seats.keys().map(String::as_str)
    }

    /// The Pod's own identity, and whether it may not outlive the session.
    pub fn of(&self, uid: &str) -> Option<(&str, bool)> {
        self.seats.get(uid).map(|seat| (seat.wanted.identity.as_str(), seat.wanted.fenced))
    }

    /// Names of the identities whose Leases the watch of this node's own has shown, or that its Pods hold.
    pub fn held_names(&self) -> BTreeSet<String> {
        let held = self.seats.values().filter(|seat| seat.epoch.is_some());
        let held = held.flat_map(|seat| seat.wanted.names.iter());
        held.chain(self.own.keys()).cloned().collect()
    }

    /// Whether a container of the Pod may start now, as far as its identities go: its own epoch, or why not.
    pub fn check(&self, uid: &str, held: Held<'_>, now: Instant) -> Result<i32, Shut> {
        let seat = self.seats.get(uid).ok_or(Shut::Unread)?;
        for name in &seat.wanted.names {
            self.identities.get(name).ok_or(Shut::Unread)?.gate.check(uid, held, now)?;
        }
        let is_held = seat.claim.as_ref().is_some_and(|claim| claim.is_held(held));
        seat.epoch.filter(|_| is_held && !seat.leaving).ok_or(Shut::Unread)
    }

    fn known(&mut self, name: &str) -> &mut Known {
        let fresh = || Known {
            gate: Gate::new(&self.node, self.level),
            revision: 0,
            holder: String::new(),
            pod_uid: String::new(),
        };
        self.identities.entry(name.to_owned()).or_insert_with(fresh)
    }

    /// What is said of an identity reaches its gate, the newest word last; whoever was refused tries again when it has
    /// changed.
    fn read(&mut self, lease: &Lease) {
        let revision = leases::revision(lease);
        let name = lease.metadata.name.clone().unwrap_or_default();
        let Some(known) = self.identities.get_mut(&name).filter(|known| revision >= known.revision) else {
            return;
        };
        let before = (known.holder.clone(), known.pod_uid.clone());
        known.revision = revision;
        leases::holder(lease).clone_into(&mut known.holder);
        wire::pod_uid(lease).clone_into(&mut known.pod_uid);
        known.gate.read(Some(Named { session: known.holder.clone(), pod_uid: known.pod_uid.clone() }));
        if before != (known.holder.clone(), known.pod_uid.clone()) {
            for seat in self.seats.values_mut().filter(|seat| seat.refused.as_ref() == Some(&name)) {
                seat.refused = None;
            }
        }
    }

    fn read_absent(&mut self, name: &str) {
        if let Some(known) = self.identities.get_mut(name) {
            (known.revision, known.holder, known.pod_uid) = (0, String::new(), String::new());
            known.gate.read(None);
        }
    }

    // --- Claims ----------------------------------------------------------------------------------------------------

    /// Begins what may begin, and does what the claims want done, until they want nothing more.
    fn pump(&mut self, held: Held<'_>, now: Instant, wall: WallTime) {
        let uids: Vec<String> = self.seats.keys().cloned().collect();
        for uid in uids {
            self.begin(&uid, now, wall);
            self.tell(&uid, super::Input::Tick, held, now, wall);
            // One that was lost or refused by what it has just heard may begin again.
            self.begin(&uid, now, wall);
            self.tell(&uid, super::Input::Tick, held, now, wall);
        }
        self.free_forgotten(held, now);
    }

    fn begin(&mut self, uid: &str, now: Instant, wall: WallTime) {
        if self.session.is_none() || !self.sure {
            return;
        }
        let Some(seat) = self.seats.get_mut(uid) else { return };
        if seat.claim.is_some() || seat.refused.is_some() || seat.leaving {
            return;
        }
        let wanted = super::Wanted {
            names: seat.wanted.names.clone(),
            pod_uid: uid.to_owned(),
            past: self.past.clone(),
        };
        seat.claim = Some(Claim::new(wanted, self.config, self.quiet_until, now, wall));
    }

    /// Has a claim hear something, and takes up what it says.
    fn tell(&mut self, uid: &str, input: super::Input, held: Held<'_>, now: Instant, wall: WallTime) {
        let Some(claim) = self.seats.get_mut(uid).and_then(|seat| seat.claim.as_mut()) else { return };
        claim.handle(input, held, now, wall);
        while let Some(effect) = self.seats.get_mut(uid).and_then(|seat| seat.claim.as_mut()?.next_effect()) {
            let uid = uid.to_owned();
            match effect {
                super::Effect::Arm(number) => {
                    if let Some(seat) = self.seats.get_mut(&uid) {
                        seat.arming = Some(number);
                    }
                    self.pass_on_arms(&uid, held, now, wall);
                }
                super::Effect::Read(number, name) => self.effects.push_back(Effect::Read(uid, number, name)),
                super::Effect::Create(number, lease) => {
                    self.effects.push_back(Effect::Create(uid, number, lease));
                }
                super::Effect::Update(number, lease) => {
                    self.effects.push_back(Effect::Update(uid, number, lease));
                }
                super::Effect::Report(report) => self.reported(&uid, report),
            }
        }
    }

    /// The claim waits for the guard; where nothing is fenced, there is nothing to wait for.
    fn pass_on_arms(&mut self, uid: &str, held: Held<'_>, now: Instant, wall: WallTime) {
        let (Some(seat), Some(session)) = (self.seats.get_mut(uid), self.session.clone()) else { return };
        let level = if seat.wanted.fenced && self.level > FenceLevel::None {
            seat.armed.as_ref().filter(|(armed, _)| *armed == session).map(|(_, level)| *level)
        } else {
            Some(FenceLevel::None)
        };
        let Some(level) = level else { return };
        let (names, number) = (seat.wanted.names.clone(), seat.arming.take());
        for name in names {
            self.known(&name).gate.armed(uid, Some(session.clone()));
        }
        if let Some(number) = number {
            self.tell(uid, super::Input::Armed(number, level), held, now, wall);
        }
    }

    fn reported(&mut self, uid: &str, report: Report) {
        let Some(seat) = self.seats.get_mut(uid) else { return };
        match report {
            Report::Held { epochs, .. } => {
                let epoch = epochs.get(&seat.wanted.identity).copied().unwrap_or_default();
                seat.epoch = Some(epoch);
                (seat.wanted.may_run, seat.wanted.has_run) = (true, true);
                self.effects.push_back(Effect::Granted { uid: uid.to_owned(), epoch });
            }
            Report::Refused { name, holder } => {
                seat.claim = None;
                (seat.epoch, seat.arming) = (None, None);
                seat.refused = Some(name.clone());
                if seat.leaving {
                    return self.remove(uid);
                }
                self.refused(uid, &name, &holder);
            }
            Report::Lost => {
                seat.claim = None;
                (seat.epoch, seat.arming) = (None, None);
                let fenced = seat.wanted.fenced;
                if seat.leaving {
                    self.remove(uid);
                } else if fenced {
                    self.effects.push_back(Effect::Withdrawn(uid.to_owned()));
                }
            }
            Report::GivenBack => {
                self.remove(uid);
                self.effects.push_back(Effect::GivenBack(uid.to_owned()));
            }
        }
    }

    fn refused(&mut self, uid: &str, name: &str, holder: &str) {
        let Some(seat) = self.seats.get_mut(uid) else { return };
        if seat.wanted.fenced && seat.wanted.may_run {
            seat.wanted.may_run = false;
            self.effects.push_back(Effect::Withdrawn(uid.to_owned()));
        }
        let for_another = self.identities.get(name).is_some_and(|known| known.pod_uid != uid);
        if seat.wanted.has_run && for_another {
            let message = format!("the identity {name} is held by {holder} for another Pod of this name");
            self.effects.push_back(Effect::Superseded { uid: uid.to_owned(), message });
        }
    }

    fn remove(&mut self, uid: &str) {
        self.seats.remove(uid);
        self.identities.retain(|name, known| {
            known.gate.forget(uid);
            known.gate.has_lives() || self.seats.values().any(|seat| seat.wanted.names.contains(name))
        });
    }

    /// Gives back what this machine holds for Pods that are not here.
    fn free_forgotten(&mut self, held: Held<'_>, now: Instant) {
        let in_time = held.is_some_and(|(_, deadline)| now + self.config.timeout() <= deadline);
        self.freeing.retain(|_, until| now < *until);
        if !in_time || !self.sure || !self.settled || now < self.quiet_until {
            return;
        }
        for (name, lease) in &self.own {
            let is_ours = wire::session(lease)
                .is_some_and(|by| self.past.contains(&by) || self.session.as_ref() == Some(&by));
            let uid = wire::pod_uid(lease);
            let is_here = self.seats.contains_key(uid)
                || self.identities.get(name).is_some_and(|known| known.gate.knows(uid));
            if is_ours && !is_here && !self.freeing.contains_key(name) {
                self.freeing.insert(name.clone(), now + self.config.timeout());
                self.effects.push_back(Effect::Free(Box::new(wire::freed((**lease).clone()))));
            }
        }
    }

    /// Containers of this Pod may live, as far as is known.
    fn lives(&mut self, name: &str, uid: &str) {
        self.known(name).gate.lives(uid, Life::Unknown);
    }
}

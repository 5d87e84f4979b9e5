//! The monitor's eyes: which sessions are alive, which have expired, and their revocation. PURE.
//!
//! Held by the steward of shard 00 alone; a new machine is made when the shard is won.
//!
//! ```text
//!            seen, held             unchanged for D + M         written
//!   unknown ───────────▶ Living ────────────────────▶ Revoking ─────────▶ Free
//!                         ▲  │                         │   (a conflict: it was renewed after all)
//!                         │  └── gone ──▶ Absent ◀─────┘ gone
//!                         └────────────── held again ── Free, Absent
//! ```
//!
//! The rules, each with the place that keeps it:
//! - A session has expired when *this* machine has seen its Lease unchanged for D + M on its own clock
//!   ([`Watched::expires`]); D stands in the Lease. No time that stands in a Lease is compared.
//! - After any gap every timer starts afresh: at the start of a watch, and when the watch has not shown this agent's own
//!   renewal within one interval of its acknowledgement ([`Monitor::overdue`]).
//! - Revocation is a compare-and-swap on the version seen. A conflict means that the session was renewed.
//! - A Lease that is absent is neither free nor revoked: it is created as revoked, and is free D + M after that.
//! - When too many are lost together, the brake says so at once: a session counts as lost for the brake one interval
//!   before it expires, so that nothing is done about the first of them before the others are seen. A brake that is
//!   drawn goes to the next monitor, which counts as lost whoever it has not seen renew.
//!
//! Architecture invariant: nothing here taints, evicts or takes over; whoever does asks [`Monitor::is_braked`] first.

mod brake;
mod interface;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

pub use brake::Note;
pub use interface::{BRAKE_MAX, Effect, Input, Mass, Report, Unbrake};

use self::brake::Brake;
use crate::lease::rule::{Rule, is_kept};
use crate::lease::session::{Answer, SessionId};
use crate::lease::timings::SessionConfig;
use crate::lease::wire;
use crate::time::Instant;

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct Monitor {
    /// Node whose own renewals prove that the watch flows.
    node: String,
    config: SessionConfig,
    watched: BTreeMap<String, Watched>,
    /// Nodes shown since the watch began anew, while it lists.
    listing: Option<BTreeSet<String>>,
    /// The watch has listed everything once.
    whole: bool,
    /// Own renewal that the watch has not shown yet, and when it is overdue.
    awaited: Option<(u64, Instant)>,
    brake: Brake,
    /// The brake was drawn by the monitor before; over whom is found out with the first list.
    inherited: bool,
    /// Nothing is due about any session before this instant; None: that has to be found out. A renewal only moves what
    /// is due, so it costs the same however many nodes there are.
    due: Option<Instant>,
    number: u64,
    effects: VecDeque<Effect>,
}

/// One node's session.
#[derive(Debug)]
struct Watched {
    /// As last seen; where it is absent, as it was.
    lease: Box<Lease>,
    /// Since when this machine has seen it so.
    since: Instant,
    /// Since when this machine has seen the node alive.
    alive_since: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Somebody holds it.
    Living,
    /// Expired; the revocation is on its way. One without an answer leaves again at `again`, under another number.
    Revoking { number: Option<u64>, again: Instant },
    /// Nobody holds it: it was revoked or given up.
    Free { lost_at: Option<Instant> },
    /// It was lost. Once D + M have passed the node counts as lost; it is created again one interval after it went,
    /// unless its node has done so.
    Absent { number: Option<u64>, again: Instant, told: bool },
}

impl Watched {
    fn duration(&self, config: &SessionConfig) -> Duration {
        wire::duration(&self.lease).unwrap_or(config.duration())
    }

    /// When its session has expired, if nothing changes.
    fn expires(&self, config: &SessionConfig) -> Instant {
        let margin = if is_kept(Rule::WaitForMargin) { config.margin() } else { Duration::ZERO };
        self.since + self.duration(config) + margin
    }

    /// When it counts as lost for the brake.
    fn silent(&self, config: &SessionConfig) -> Instant {
        self.expires(config) - config.renew_every()
    }

    fn session(&self) -> SessionId {
        SessionId {
            node: self.lease.metadata.name.clone().unwrap_or_default(),
            lease_uid: wire::uid(&self.lease).to_owned(),
            epoch: wire::epoch(&self.lease),
        }
    }
}

impl Monitor {
    /// A machine that has seen nothing yet, of the agent on `node`.
    pub fn new(node: String, config: SessionConfig) -> Self {
        Self {
            node,
            config,
            watched: BTreeMap::new(),
            listing: None,
            whole: false,
            awaited: None,
            brake: Brake::default(),
            inherited: false,
            due: None,
            number: 0,
            effects: VecDeque::new(),
        }
    }

    /// Takes one input in. `now` may not run backwards.
    pub fn handle(&mut self, input: Input, now: Instant) {
        if !matches!(input, Input::Seen(_) | Input::Renewed(_) | Input::Tick) {
            self.due = None;
        }
        match input {
            Input::Restarted => self.restarted(now),
            Input::Seen(lease) => self.seen(lease, now),
            Input::Gone(node) => self.gone(&node, now),
            Input::Complete => self.complete(now),
            Input::Missed(node) if self.whole => self.missed(node, now),
            Input::Renewed(serial) => self.renewed(serial, now),
            Input::Answer(number, answer) => self.answered(number, answer, now),
            Input::ReleaseBrake => {
                let why = self.brake.release();
                self.unbraked(why);
            }
            Input::Inherit(note) => {
                self.brake.inherit(&note, now);
                self.inherited = true;
            }
            Input::Missed(_) | Input::Tick => {}
        }
        self.pass(now);
    }

    /// The next thing to do, if any.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let sessions = if self.concludes() { self.due } else { None };
        let overdue = self.awaited.map(|(_, overdue)| overdue);
        [sessions, overdue, self.brake.next_deadline()].into_iter().flatten().min()
    }

    /// Nothing is concluded from a list that is not whole.
    fn concludes(&self) -> bool {
        self.whole && self.listing.is_none()
    }

    /// When something is due about a session of which nothing more is heard.
    fn next_due(&self) -> Option<Instant> {
        let next = |watched: &Watched| match &watched.state {
            State::Living => Some(watched.expires(&self.config)),
            State::Revoking { again, .. } | State::Absent { again, told: true, .. } => Some(*again),
            State::Absent { again, told: false, .. } => Some(watched.expires(&self.config).min(*again)),
            State::Free { .. } => None,
        };
        self.watched.values().filter_map(next).min()
    }

    /// Whether evictions, taints and the take-over of identities are to stop.
    pub fn is_braked(&self) -> bool {
        self.brake.is_drawn()
    }

    /// What the next monitor has to know of the brake, if it is drawn.
    pub fn brake(&self, now: Instant) -> Option<String> {
        self.brake.note(now)
    }

    /// Whether a session is over for certain: its Lease has passed to the next, or nobody holds it; or another Lease
    /// stands in its place, and has for so long that its last holder cannot believe in it any more.
    pub fn is_over(&self, session: &SessionId, now: Instant) -> bool {
        let Some(watched) = self.watched.get(&session.node).filter(|_| self.whole) else { return false };
        if wire::uid(&watched.lease) == session.lease_uid {
            let epoch = wire::epoch(&watched.lease);
            let free = matches!(watched.state, State::Free { .. });
            return epoch > session.epoch || (free && epoch == session.epoch);
        }
        let absent = matches!(watched.state, State::Absent { .. });
        !absent && now >= watched.alive_since + watched.duration(&self.config) + self.config.margin()
    }

    // --- What the watch shows -------------------------------------------------------------------------------------

    fn restarted(&mut self, now: Instant) {
        self.listing = Some(BTreeSet::new());
        self.refresh(now);
    }

    /// Every timer starts afresh.
    fn refresh(&mut self, now: Instant) {
        self.awaited = None;
        for watched in self.watched.values_mut() {
            watched.since = now;
            if let State::Revoking { number: None, .. } = watched.state {
                watched.state = State::Living;
            }
        }
    }

    fn seen(&mut self, lease: Box<Lease>, now: Instant) {
        let Some(node) = lease.metadata.name.clone() else { return };
        if let Some(listing) = &mut self.listing {
            listing.insert(node.clone());
        }
        if node == self.node && self.awaited.is_some_and(|(serial, _)| wire::serial(&lease) >= serial) {
            self.awaited = None;
        }
        let held = !wire::holder(&lease).is_empty();
        let Some(watched) = self.watched.get_mut(&node) else {
            let state = if held { State::Living } else { State::Free { lost_at: None } };
            self.watched.insert(node.clone(), Watched { lease, since: now, alive_since: now, state });
            self.due = None;
            if held {
                self.effects.push_back(Effect::Report(Report::Alive { node }));
            }
            return;
        };
        let same_lease = wire::uid(&watched.lease) == wire::uid(&lease);
        if same_lease && wire::version(&watched.lease) == wire::version(&lease) {
            return;
        }
        let was_held = matches!(watched.state, State::Living | State::Revoking { .. });
        if !same_lease || (held && !was_held) {
            watched.alive_since = now;
        }
        let shorter = wire::duration(&lease) < wire::duration(&watched.lease);
        if !same_lease || shorter || !matches!(watched.state, State::Living) || !held {
            self.due = None;
        }
        (watched.lease, watched.since) = (lease, now);
        if held {
            watched.state = State::Living;
            if !was_held {
                self.effects.push_back(Effect::Report(Report::Alive { node: node.clone() }));
            }
            if self.brake.is_drawn() {
                self.count_losses(now);
                self.returned(&node);
            }
        } else {
            self.freed(&node, now);
        }
    }

    /// Nobody holds the Lease as it is now: its holder gave it up, or somebody broke it.
    fn freed(&mut self, node: &str, now: Instant) {
        let Some(watched) = self.watched.get_mut(node) else { return };
        let report = match &watched.state {
            State::Living | State::Revoking { .. } if wire::is_given_up(&watched.lease) => {
                Some(Report::Left { node: node.to_owned() })
            }
            State::Living | State::Revoking { .. } => {
                Some(Report::Lost { node: node.to_owned(), session: Some(watched.session()) })
            }
            State::Absent { told: false, .. } => Some(Report::Lost { node: node.to_owned(), session: None }),
            State::Absent { told: true, .. } | State::Free { .. } => None,
        };
        let lost = matches!(report, Some(Report::Lost { .. }));
        if lost || !matches!(watched.state, State::Free { .. }) {
            watched.state = State::Free { lost_at: lost.then_some(now) };
        }
        self.effects.extend(report.map(Effect::Report));
    }

    fn returned(&mut self, node: &str) {
        let why = self.brake.returned(node);
        self.unbraked(why);
    }

    /// Somebody names a session of a node whose Lease is not there: it is created as revoked, so that the session can be
    /// known to be over.
    fn missed(&mut self, node: String, now: Instant) {
        let lease = Box::new(wire::revoked(&node, self.config.duration()));
        let state = State::Absent { number: None, again: now, told: true };
        self.watched.entry(node).or_insert(Watched { lease, since: now, alive_since: now, state });
    }

    /// Only a Lease that somebody may believe in is missed.
    fn gone(&mut self, node: &str, now: Instant) {
        let again = now + self.config.renew_every();
        let Some(watched) = self.watched.get_mut(node) else { return };
        match watched.state {
            State::Living | State::Revoking { .. } => {
                watched.since = now;
                watched.state = State::Absent { number: None, again, told: false };
            }
            State::Free { .. } => drop(self.watched.remove(node)),
            State::Absent { .. } => {}
        }
    }

    fn complete(&mut self, now: Instant) {
        self.whole = true;
        let Some(listing) = self.listing.take() else { return };
        let missing: Vec<String> =
            self.watched.keys().filter(|node| !listing.contains(*node)).cloned().collect();
        for node in missing {
            self.gone(&node, now);
        }
        if std::mem::take(&mut self.inherited) {
            let unproven = |watched: &Watched| match watched.state {
                State::Free { .. } => !wire::is_given_up(&watched.lease),
                State::Living | State::Revoking { .. } | State::Absent { .. } => true,
            };
            let lost = self.watched.iter().filter(|(_, watched)| unproven(watched));
            self.brake.add(lost.map(|(node, _)| node.clone()).collect());
        }
    }

    /// The watch has one interval's time to show it.
    fn renewed(&mut self, serial: u64, now: Instant) {
        let shown = self.watched.get(&self.node).map_or(0, |watched| wire::serial(&watched.lease));
        if shown < serial && self.awaited.is_none() {
            self.awaited = Some((serial, now + self.config.renew_every()));
        }
    }

    // --- What time brings -----------------------------------------------------------------------------------------

    fn pass(&mut self, now: Instant) {
        let why = self.brake.pass(now);
        self.unbraked(why);
        if self.overdue(now) {
            self.refresh(now);
            self.due = None;
            self.effects.push_back(Effect::Report(Report::Gap));
        }
        if !self.concludes() || self.due.is_some_and(|due| now < due) {
            return;
        }
        self.count_losses(now);
        let due: Vec<String> = self
            .watched
            .iter()
            .filter(|(_, watched)| match &watched.state {
                State::Living => now >= watched.expires(&self.config),
                State::Revoking { again, .. } => now >= *again,
                State::Absent { again, told, .. } => {
                    now >= *again || !told && now >= watched.expires(&self.config)
                }
                State::Free { .. } => false,
            })
            .map(|(node, _)| node.clone())
            .collect();
        for node in due {
            self.act_on(&node, now);
        }
        self.due = self.next_due();
    }

    /// Whether the watch owes this agent's own renewal.
    fn overdue(&self, now: Instant) -> bool {
        self.awaited.is_some_and(|(_, overdue)| now >= overdue)
    }

    /// Tells the brake who has been silent for so long that they expire within an interval.
    fn count_losses(&mut self, now: Instant) {
        let window = self.config.duration() + self.config.margin();
        let (mut silent, mut of) = (BTreeSet::new(), 0);
        for (node, watched) in &self.watched {
            let lately = |at: Instant| now.saturating_since(at) < window;
            let lost = match &watched.state {
                State::Living => now >= watched.silent(&self.config),
                State::Revoking { .. } => true,
                State::Free { lost_at } if lost_at.is_some_and(lately) => true,
                State::Free { .. } | State::Absent { .. } => continue,
            };
            if lost {
                silent.insert(node.clone());
            }
            of += usize::from(lost || now.saturating_since(watched.alive_since) >= window);
        }
        if let Some(mass) = self.brake.count(silent, of, now) {
            self.effects.push_back(Effect::Report(Report::Braked(mass)));
        }
    }

    fn act_on(&mut self, node: &str, now: Instant) {
        self.number += 1;
        let (number, pace) = (self.number, self.config.renew_every());
        let Some(watched) = self.watched.get_mut(node) else { return };
        let expired = now >= watched.expires(&self.config);
        match &mut watched.state {
            State::Living | State::Revoking { .. } => {
                watched.state = State::Revoking { number: Some(number), again: now + pace };
                let lease = Box::new(wire::broken((*watched.lease).clone()));
                self.effects.push_back(Effect::Revoke(number, lease));
            }
            State::Absent { number: under_way, again, told } => {
                if now >= *again {
                    (*under_way, *again) = (Some(number), now + pace);
                    let duration = wire::duration(&watched.lease).unwrap_or(self.config.duration());
                    let lease = Box::new(wire::revoked(node, duration));
                    self.effects.push_back(Effect::Recreate(number, lease));
                }
                if expired && !std::mem::replace(told, true) {
                    let report = Report::Lost { node: node.to_owned(), session: None };
                    self.effects.push_back(Effect::Report(report));
                }
            }
            State::Free { .. } => {}
        }
    }

    fn answered(&mut self, number: u64, answer: Answer, now: Instant) {
        let under_way = |watched: &Watched| match &watched.state {
            State::Revoking { number, .. } | State::Absent { number, .. } => *number,
            State::Living | State::Free { .. } => None,
        };
        let Some((node, watched)) = self.watched.iter_mut().find(|(_, w)| under_way(w) == Some(number))
        else {
            return;
        };
        match (&mut watched.state, answer) {
            (State::Revoking { .. } | State::Absent { .. }, Answer::Written(lease)) => {
                if wire::uid(&watched.lease) != wire::uid(&lease) {
                    watched.alive_since = now;
                }
                (watched.lease, watched.since) = (lease, now);
                let node = node.clone();
                self.freed(&node, now);
            }
            // It was renewed after all; the watch shows how. Until then its timer starts afresh.
            (State::Revoking { .. }, Answer::Conflict) => {
                watched.since = now;
                watched.state = State::Living;
            }
            // No answer, or its node has created it: the watch shows what is there.
            (
                State::Revoking { number, .. } | State::Absent { number, .. },
                Answer::Conflict | Answer::Failed | Answer::Found(_) | Answer::Absent { .. },
            ) => *number = None,
            (State::Living | State::Free { .. }, _) => {}
        }
    }

    fn unbraked(&mut self, why: Option<Unbrake>) {
        self.effects.extend(why.map(|why| Effect::Report(Report::Unbraked(why))));
    }
}

#[cfg(test)]
mod tests;

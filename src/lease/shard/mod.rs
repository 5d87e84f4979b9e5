//! Steward shards: which of a fixed number of Leases an object belongs to, and which of them this agent holds. PURE.
//!
//! ```text
//!            free, and its rank's wait is over
//!   Others ────────────────────────────────────▶ (a write) ──▶ Held ──▶ Leaving ──▶ Others
//!     ▲                                                         │  drained   given back
//!     └──────── the session is over, or another's name ─────────┘
//! ```
//!
//! The rules, each with the place that keeps it:
//! - A shard is held as long as its Lease names this agent's session and that session is held; it is not renewed. Only
//!   `steward-00`, the monitor's, is: its deadline counts from before its own last accepted renewal was sent.
//! - A shard is free when nobody is named. Whoever monitors empties those of sessions that are over ([`Input::Over`]);
//!   `steward-00` is free when it was seen unchanged for D + M ([`Shards::free_from`]).
//! - The rendezvous rank among the ready and willing nodes decides how long an agent waits before it takes what is free
//!   ([`wait`]), and nothing else; who holds one keeps it.
//! - An absent Lease is not free: it is created as revoked and free D + M later. So is nothing taken or kept for
//!   D + M after the store was found to be another ([`Input::Regressed`]).
//! - A drained steward stops its writes first, and only then gives the shard back.
//! - Nothing leaves with less than its time-out before the session's deadline ([`Shards::may_write`]).
//! - Whoever counts otherwise than a holder does not steward. When nobody has held `steward-00` for a while, those who
//!   are there may count as they do.
//!
//! Architecture invariant: agents that count differently do not steward side by side. The number of shards and the
//! version of these rules stand in `steward-00`; a change to [`of`] is a new version.

mod answers;
mod hash;
mod interface;
mod rank;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

pub use interface::{Effect, Input, Report};
pub use rank::{WAIT_MAX, wait};
pub use wire::Count;

use self::wire::Stamp;
use crate::lease::rule::{Rule, is_kept};
use crate::lease::session::SessionId;
use crate::lease::timings::SessionConfig;
use crate::lease::wire as leases;
use crate::time::{Instant, WallTime};

/// The monitor's shard.
pub const MONITOR: u32 = 0;
/// How long `steward-00` must have been free before those who count otherwise take it.
const ADOPT_AFTER: Duration = Duration::from_mins(1);

/// The shard of the objects whose root owner has this UID, of so many: 0 where there are none to choose from.
pub fn of(uid: &str, shards: u32) -> u32 {
    let hash = hash::of(&[uid]);
    u32::try_from(hash % u64::from(shards.max(1))).unwrap_or(0)
}

/// The session that this agent holds now, and until when.
pub type Held<'a> = Option<(&'a SessionId, Instant)>;

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct Shards {
    node: String,
    count: Count,
    config: SessionConfig,
    willing: Arc<BTreeSet<String>>,
    shards: BTreeMap<u32, Shard>,
    /// Shards shown since the watch began anew, while it lists.
    listing: Option<BTreeSet<u32>>,
    /// The watch has listed everything once.
    whole: bool,
    draining: bool,
    /// Nothing is taken or found to be held before this.
    quiet_until: Instant,
    /// Under which everything is held.
    session: Option<SessionId>,
    /// Sessions that the monitor of this agent knows to be over.
    over: BTreeSet<SessionId>,
    brake: Option<String>,
    differs: Option<Count>,
    number: u64,
    wall: WallTime,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
struct Shard {
    /// As last seen; None: absent.
    lease: Option<Box<Lease>>,
    /// The session that it names, and by what its holder or its last one counts.
    holder: Option<SessionId>,
    count: Option<Count>,
    /// Version of what was seen last; what is older is not heard.
    version: u64,
    /// Since when it has been so.
    since: Instant,
    request: Option<Request>,
    /// What is known is not the newest: read it.
    stale: bool,
    not_before: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    number: u64,
    /// Taken before the request left.
    sent: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not this agent's.
    Others,
    /// This agent's; the monitor's until its deadline.
    Held { until: Option<Instant>, renew_at: Instant },
    /// No new write leaves; given back when those under way have ended.
    Leaving { number: u64, quiesced: bool },
}

impl Shards {
    /// A machine that has seen nothing yet, of the agent on `node`.
    pub fn new(node: String, count: Count, config: SessionConfig, now: Instant, wall: WallTime) -> Self {
        let shard = || Shard {
            lease: None,
            holder: None,
            count: None,
            version: 0,
            since: now,
            request: None,
            stale: false,
            not_before: now,
            state: State::Others,
        };
        Self {
            node,
            count,
            config,
            willing: Arc::default(),
            shards: (0..count.shards).map(|number| (number, shard())).collect(),
            listing: None,
            whole: false,
            draining: false,
            quiet_until: now,
            session: None,
            over: BTreeSet::new(),
            brake: None,
            differs: None,
            number: 0,
            wall,
            effects: VecDeque::new(),
        }
    }

    /// Takes one input in. `held` is the session now; `now` may not run backwards.
    pub fn handle(&mut self, input: Input, held: Held<'_>, now: Instant, wall: WallTime) {
        self.wall = wall;
        self.follow(held, now);
        match input {
            Input::Restarted => self.listing = Some(BTreeSet::new()),
            Input::Seen(lease) => self.seen(lease, now),
            Input::Gone(shard) => self.gone(shard, now),
            Input::Complete => self.complete(now),
            Input::Willing(nodes) => self.willing = nodes,
            Input::Regressed => self.regressed(now),
            Input::Answer(number, answer) => self.answered(number, answer, now),
            Input::Quiesced(number) => self.quiesced(number),
            Input::Drain => self.draining = true,
            Input::Resume => self.draining = false,
            Input::Over(session) => drop(self.over.insert(session)),
            Input::Brake(brake) => self.set_brake(brake, now),
            Input::Tick => {}
        }
        self.pass(held, now);
    }

    /// The next thing to do, if any.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self, held: Held<'_>, now: Instant) -> Option<Instant> {
        let timeout = self.config.timeout();
        let in_time = |at: &Instant| held.is_some_and(|(_, deadline)| now.max(*at) + timeout <= deadline);
        let of = |(number, shard): (&u32, &Shard)| {
            let lapses = if let State::Held { until, .. } = shard.state { until } else { None };
            let next = match (shard.request, held) {
                (Some(request), _) => Some(request.sent + timeout),
                // What is too late waits for the session's renewal.
                (None, Some((session, _))) => self.next_request(*number, shard, session).filter(in_time),
                (None, None) => None,
            };
            [lapses, next].into_iter().flatten().min()
        };
        self.shards.iter().filter_map(of).min()
    }

    /// Whether a write for an object of this shard that gives up after `timeout` may leave now.
    pub fn may_write(&self, shard: u32, held: Held<'_>, now: Instant, timeout: Duration) -> bool {
        self.held_until(shard, held).is_some_and(|until| now + timeout <= until)
    }

    /// Until when writes for objects of this shard may be under way, if any may leave.
    pub fn held_until(&self, shard: u32, held: Held<'_>) -> Option<Instant> {
        let (session, deadline) = held.filter(|(session, _)| self.session.as_ref() == Some(*session))?;
        let named =
            |shard: &&Shard| shard.holder.as_ref() == Some(session) || !is_kept(Rule::HeldUnderSession);
        match self.shards.get(&shard).filter(named).map(|shard| shard.state)? {
            State::Held { until, .. } => Some(until.unwrap_or(deadline).min(deadline)),
            State::Others | State::Leaving { .. } => None,
        }
    }

    /// An annotation of a shard's Lease as it was last seen.
    pub fn annotation(&self, shard: u32, key: &str) -> Option<&str> {
        leases::annotation(self.shards.get(&shard)?.lease.as_deref()?, key)
    }

    /// Whether this agent holds the shard.
    pub fn holds(&self, shard: u32) -> bool {
        self.shards.get(&shard).is_some_and(|shard| shard.state != State::Others)
    }

    /// The sessions that hold a shard, as far as this agent has seen.
    pub fn holders(&self) -> impl Iterator<Item = SessionId> + '_ {
        self.shards.values().filter_map(|shard| shard.holder.clone())
    }

    // --- What time and the session bring ---------------------------------------------------------------------------

    /// Nothing is held any longer than the session it is held under.
    fn follow(&mut self, held: Held<'_>, now: Instant) {
        let session = held.map(|(session, _)| session);
        if self.session.as_ref() != session {
            self.session = session.cloned();
            if !is_kept(Rule::HeldUnderSession) {
                return;
            }
            let all: Vec<u32> = self.shards.keys().copied().collect();
            for shard in all {
                self.lose(shard);
            }
        }
        let lapsed =
            |shard: &Shard| matches!(shard.state, State::Held { until: Some(until), .. } if now >= until);
        if self.shards.get(&MONITOR).is_some_and(lapsed) {
            self.lose(MONITOR);
        }
    }

    fn pass(&mut self, held: Held<'_>, now: Instant) {
        self.compare();
        let timeout = self.config.timeout();
        for shard in self.shards.values_mut() {
            if shard.request.is_some_and(|request| now >= request.sent + timeout) {
                (shard.request, shard.stale, shard.not_before) = (None, true, now);
            }
        }
        let Some((session, deadline)) = held else { return };
        let all: Vec<u32> = self.shards.keys().copied().collect();
        for number in all {
            self.settle(number, session, now);
            let Some(shard) = self.shards.get(&number) else { continue };
            let due = self.next_request(number, shard, session).is_some_and(|at| now >= at);
            if shard.request.is_none() && due && now + timeout <= deadline {
                self.ask(number, session, now);
            }
        }
    }

    /// Whoever holds a shard and counts otherwise is deferred to.
    fn compare(&mut self) {
        let other = self
            .shards
            .values()
            .filter_map(|shard| shard.holder.as_ref().and(shard.count).filter(|count| *count != self.count));
        let differs = other.into_iter().next();
        if self.differs != differs {
            self.differs = differs;
            self.effects.extend(differs.map(|theirs| Effect::Report(Report::Differs { theirs })));
        }
    }

    /// What a Lease that names this session means; whether what is held is to be left.
    fn settle(&mut self, number: u32, session: &SessionId, now: Instant) {
        let leaving = self.draining || self.differs.is_some();
        let Some(shard) = self.shards.get_mut(&number) else { return };
        let Some(lease) = shard.lease.as_ref() else { return };
        let is_own = shard.holder.as_ref() == Some(session);
        match shard.state {
            State::Others if is_own && now >= self.quiet_until => {
                let ends = number == MONITOR && is_kept(Rule::MonitorEnds);
                let until = ends.then(|| renewed_until(lease, now));
                if until.is_some_and(|until| now >= until) {
                    return;
                }
                let brake = leases::annotation(lease, wire::BRAKE).map(str::to_owned);
                let sent = leases::sent_at(lease).unwrap_or(now);
                shard.state = State::Held { until, renew_at: now.max(sent + self.config.renew_every()) };
                if number == MONITOR {
                    self.brake.clone_from(&brake);
                }
                self.effects.push_back(Effect::Report(Report::Took { shard: number, brake }));
            }
            State::Held { .. } if leaving => {
                self.number += 1;
                shard.state = State::Leaving { number: self.number, quiesced: false };
                self.effects.push_back(Effect::Quiesce(self.number, number));
            }
            State::Others | State::Held { .. } | State::Leaving { .. } => {}
        }
    }

    /// When the next request about a shard is due.
    fn next_request(&self, number: u32, shard: &Shard, session: &SessionId) -> Option<Instant> {
        if shard.stale {
            return Some(shard.not_before);
        }
        let at = match shard.state {
            State::Held { renew_at, .. } if number == MONITOR => Some(renew_at),
            State::Held { .. } | State::Leaving { quiesced: false, .. } => None,
            State::Leaving { quiesced: true, .. } => Some(shard.not_before),
            State::Others if self.is_abandoned(shard) => Some(shard.not_before),
            State::Others => self.take_from(number, shard, session),
        };
        at.map(|at| at.max(shard.not_before))
    }

    /// Held by a session that this agent, which monitors, knows to be over.
    fn is_abandoned(&self, shard: &Shard) -> bool {
        let monitors = matches!(self.shards.get(&MONITOR), Some(Shard { state: State::Held { .. }, .. }));
        monitors && shard.holder.as_ref().is_some_and(|holder| self.over.contains(holder))
    }

    /// From when on this agent takes the shard.
    fn take_from(&self, number: u32, shard: &Shard, session: &SessionId) -> Option<Instant> {
        let idle = !self.whole || self.listing.is_some() || self.draining || self.differs.is_some();
        if idle {
            return None;
        }
        let free = self.free_from(number, shard, session)?;
        Some((free + wait(&self.node, number, &self.willing)).max(self.quiet_until))
    }

    /// From when on nobody can believe to hold the shard, if nothing changes.
    fn free_from(&self, number: u32, shard: &Shard, session: &SessionId) -> Option<Instant> {
        let Some(lease) = &shard.lease else { return Some(shard.since) };
        let duration = leases::duration(lease).unwrap_or_default().max(self.config.duration());
        let unchanged = shard.since + duration + self.config.margin();
        match &shard.holder {
            None if wire::is_recreated(lease) => Some(unchanged),
            None if number == MONITOR && shard.count.is_some_and(|count| count != self.count) => {
                Some(shard.since + ADOPT_AFTER)
            }
            None => Some(shard.since),
            Some(holder) if session.supersedes(holder) => Some(shard.since),
            Some(holder) if holder == session && number == MONITOR => Some(renewed_until(lease, shard.since)),
            Some(_) if number == MONITOR => Some(unchanged),
            Some(_) if !is_kept(Rule::NamedIsNotFree) => Some(unchanged),
            Some(_) => None,
        }
    }

    fn ask(&mut self, number: u32, session: &SessionId, now: Instant) {
        self.number += 1;
        let request = Request { number: self.number, sent: now };
        let (count, duration, wall) = (self.count, self.config.duration(), self.wall);
        let stamp = Stamp { session, count, duration, sent: now, wall };
        let abandoned = self.shards.get(&number).is_some_and(|shard| self.is_abandoned(shard));
        let Some(shard) = self.shards.get_mut(&number) else { return };
        shard.request = Some(request);
        let effect = match (&shard.lease, shard.state) {
            _ if shard.stale => Effect::Read(request.number, number),
            (None, _) => {
                let lease = Box::new(wire::recreated(number, duration));
                Effect::Create(request.number, number, lease)
            }
            (Some(lease), state) => {
                let lease = (**lease).clone();
                let lease = match state {
                    State::Leaving { .. } => wire::freed(lease),
                    State::Others if abandoned => wire::freed(lease),
                    State::Held { .. } => {
                        wire::renewed(wire::with_brake(lease, self.brake.as_deref()), stamp)
                    }
                    State::Others => wire::taken(lease, stamp),
                };
                Effect::Update(request.number, number, Box::new(lease))
            }
        };
        self.effects.push_back(effect);
    }

    fn lose(&mut self, number: u32) {
        let Some(shard) = self.shards.get_mut(&number) else { return };
        if std::mem::replace(&mut shard.state, State::Others) != State::Others {
            self.effects.push_back(Effect::Report(Report::Lost { shard: number }));
        }
    }
}

/// Until when the monitor's Lease is held by who wrote it: counted from before that write was sent, by its own clock.
fn renewed_until(lease: &Lease, now: Instant) -> Instant {
    let sent = leases::sent_at(lease).filter(|sent| *sent <= now).unwrap_or_default();
    sent + leases::duration(lease).unwrap_or_default()
}

#[cfg(test)]
mod tests;

//! A node's session: its claim to be alive, as long as its Lease in `kube-node-lease` is renewed. PURE.
//!
//! ```text
//!              may be taken       fenced         on disk       written
//!   Looking ─────────────▶ Fencing ──▶ Preparing ──▶ Taking ──▶ Held
//!    ▲ ▲ │                  │ ▲                        │        ▲ │
//!    │ │ └─── my own, of this boot ────────────────────│────────┘ │
//!    │ │    fenced          │ └───── expired, revoked ─│──────────┘
//!    │ └────────────────────┘                          │
//!    └───────────── conflict, no answer ───────────────┘
//! ```
//!
//! The rules, each with the place that keeps it:
//! - A deadline counts from **before** a write left ([`Request::sent`]) and moves only when the write is known to have
//!   been accepted: by its answer, or by reading the Lease and finding in it the time at which *this* boot sent it.
//! - Past its deadline a session never renews; it fences, takes a new one, and only then counts as held again. There
//!   is no taking without a fence before it, not even the first: an agent cannot know what an earlier one left.
//! - A session is taken when nobody can believe to hold it: its holder was revoked or released it; or it was this
//!   node's own and is over (fenced, or of an earlier boot); or this node has seen the Lease unchanged for D + M.
//! - An absent Lease is none of these: it is created as revoked and taken D + M later. One case waits for nothing: a
//!   node that was never here, that is, no record on its disk *and* it was this agent that made the Node object. An
//!   object can be created once, so nobody else can have had a session of that name in this store, and nobody can for
//!   D + M; the Lease's creation has to leave within M of it, so that two can never believe. What another store knew (one lost, or
//!   restored from before) is guarded by each identity's own Lease, which is absent as well and so not free. A record,
//!   or an older Node, without the Lease means that the Lease was lost: wait.
//! - The record is on disk before the Lease names its holder, and again, with UID and epoch, before anything is
//!   claimed under it.
//!
//! A holder is named `<node>/<boot id>/<nonce>-<count>`. The nonce is drawn for each start of an agent and written to
//! its record, so that an agent continues only what is its own: neither a second machine nor a second agent on the
//! same machine is mistaken for it. That one is refused while the holder renews, and told who holds the name.

mod answers;
mod interface;
mod taking;

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

pub use interface::{
    Answer, Claimant, Effect, Input, Lapse, Record, Report, SessionId, SessionIdError, Taken, Wait,
};

use crate::lease::timings::SessionConfig;
use crate::time::{Instant, WallTime};

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct Session {
    claimant: Claimant,
    config: SessionConfig,
    state: State,
    past: Past,
    seen: Option<Seen>,
    request: Option<Request>,
    /// The next request leaves no earlier.
    not_before: Instant,
    /// Number of the last numbered effect.
    number: u64,
    /// How many sessions this machine has asked for; part of their holders' names.
    asked: u64,
    /// The record on its way to disk.
    persisting: Option<Persisting>,
    /// Nothing was held since the last fence.
    fenced: bool,
    releasing: bool,
    wall: WallTime,
    reported: Option<Report>,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
enum State {
    /// The Lease has to be read, again and again while it cannot be taken.
    Looking,
    /// The record is on its way to disk.
    Preparing { number: u64, target: Target, record: Record },
    /// The Lease is being written.
    Taking,
    /// Held, or, until its number is on disk, about to be.
    Held(Held),
    /// Nothing is held and the fence runs. `next` is what to take afterwards, when that is known already.
    Fencing { number: u64, next: Option<Target> },
    /// Given up for good.
    Released,
}

#[derive(Clone, Debug)]
enum Target {
    /// Nobody can have taken it since, if the creation leaves by this instant.
    Create {
        not_after: Instant,
    },
    Update(Box<Lease>),
}

#[derive(Debug)]
struct Held {
    id: SessionId,
    /// As last seen: what the next renewal replaces.
    lease: Box<Lease>,
    duration: Duration,
    deadline: Instant,
    stored: Stored,
    renewal: Renewal,
}

/// Whether the session's number is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    No { number: u64 },
    Yes,
}

/// What keeps a session alive next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    /// A write.
    Write,
    /// A look: the Lease is not what the last answer said.
    Look,
}

/// What this node had before.
#[derive(Clone, Debug)]
enum Past {
    /// Nothing: it was never here.
    Never,
    /// It has asked for a session in this boot; whether the Lease was written is not known. Nothing was claimed
    /// under it.
    Asked(Record),
    /// A session of this boot that may still be running.
    Own(Record),
    /// A session that is over for certain: of an earlier boot, or fenced.
    Over(Record),
}

/// The Lease as it was last seen, and since when it has been so.
#[derive(Debug)]
struct Seen {
    uid: String,
    version: String,
    holder: String,
    renewals: (Option<String>, Option<jiff::Timestamp>),
    since: Instant,
    /// It was renewed by the same holder while this node looked.
    alive: bool,
}

#[derive(Debug)]
struct Persisting {
    number: u64,
    record: Record,
    /// When it is asked for again.
    again: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Request {
    number: u64,
    kind: Kind,
    /// Taken before the request left.
    sent: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Look,
    Recreate,
    Take,
    Renew,
    Release,
}

impl Session {
    /// A machine for this claimant; `record` is what its disk holds of an earlier session, `now` the start.
    pub fn new(
        claimant: Claimant,
        record: Option<Record>,
        config: SessionConfig,
        now: Instant,
        wall: WallTime,
    ) -> Self {
        let past = match record {
            None => Past::Never,
            Some(record) if record.boot_id != claimant.boot_id => Past::Over(record),
            Some(record) if record.taken == Taken::Asked => Past::Asked(record),
            Some(record) => Past::Own(record),
        };
        Self {
            claimant,
            config,
            state: State::Looking,
            past,
            seen: None,
            request: None,
            not_before: now,
            number: 0,
            asked: 0,
            persisting: None,
            fenced: false,
            releasing: false,
            wall,
            reported: None,
            effects: VecDeque::new(),
        }
    }

    /// Takes one input in. `now` may not run backwards.
    pub fn handle(&mut self, input: Input, now: Instant, wall: WallTime) {
        self.wall = wall;
        self.pass(now);
        match input {
            Input::Answer(number, answer) => self.answered(number, answer, now),
            Input::Persisted(number) => self.persisted(number, now),
            Input::Fenced(number) => self.fenced(number, now),
            Input::Release => self.release(),
            Input::Tick => {}
        }
        self.pass(now);
        self.ask(now);
    }

    /// The next thing to do, if any.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let held = if let State::Held(held) = &self.state { Some(held.deadline) } else { None };
        let next = match self.request {
            Some(request) => Some(request.sent + self.timeout()),
            None => self.next_request(),
        };
        let record = self.persisting.as_ref().map(|persisting| persisting.again);
        [held, next, record].into_iter().flatten().min()
    }

    /// When the state wants something sent.
    fn next_request(&self) -> Option<Instant> {
        match &self.state {
            State::Looking | State::Held(_) => Some(self.not_before),
            State::Fencing { .. } | State::Preparing { .. } | State::Taking | State::Released => None,
        }
    }

    /// Name of the node, and of its Lease.
    pub fn node(&self) -> &str {
        &self.claimant.node
    }

    /// The session and its deadline, if it is held now: anything may be claimed under it until then.
    pub fn held(&self, now: Instant) -> Option<(&SessionId, Instant)> {
        let State::Held(held) = &self.state else { return None };
        (held.stored == Stored::Yes && now < held.deadline).then_some((&held.id, held.deadline))
    }

    /// When the session that is held ends unless it is renewed.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.held(now).map(|(_, deadline)| deadline)
    }

    /// Whether a claim that gives up after `timeout` may leave now: it must be answered before the deadline.
    pub fn may_claim(&self, now: Instant, timeout: Duration) -> bool {
        self.deadline(now).is_some_and(|deadline| now + timeout <= deadline)
    }

    /// What time alone changes.
    fn pass(&mut self, now: Instant) {
        if matches!(&self.state, State::Held(held) if now >= held.deadline) {
            self.lapse(Lapse::Expired);
        }
        if let Some(request) = self.request.filter(|request| now >= request.sent + self.timeout()) {
            self.effects.push_back(Effect::CloseConnection);
            self.failed(request, now);
        }
        let again = now + self.config.renew_every();
        if let Some(persisting) = self.persisting.as_mut().filter(|persisting| now >= persisting.again) {
            persisting.again = again;
            let record = Box::new(persisting.record.clone());
            self.effects.push_back(Effect::Persist(persisting.number, record));
        }
    }

    /// Sends what the state wants sent.
    fn ask(&mut self, now: Instant) {
        if self.request.is_some() || self.next_request().is_none_or(|at| now < at) {
            return;
        }
        if let State::Held(Held { renewal: Renewal::Write, .. }) = &self.state {
            self.renew(now);
        } else {
            self.send(Kind::Look, now, Effect::Read);
        }
    }

    fn send(&mut self, kind: Kind, now: Instant, effect: impl FnOnce(u64) -> Effect) {
        let number = self.next_number();
        self.request = Some(Request { number, kind, sent: now });
        self.effects.push_back(effect(number));
    }

    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// How long a request may take: paced for the session that is held.
    fn timeout(&self) -> Duration {
        self.pace().timeout()
    }

    fn pace(&self) -> SessionConfig {
        let State::Held(held) = &self.state else { return self.config };
        self.config.paced_for(held.duration)
    }

    fn persist(&mut self, record: &Record, now: Instant) -> u64 {
        let number = self.next_number();
        let again = now + self.config.renew_every();
        self.persisting = Some(Persisting { number, record: record.clone(), again });
        self.effects.push_back(Effect::Persist(number, Box::new(record.clone())));
        number
    }

    fn report(&mut self, report: Report) {
        if self.reported.as_ref() != Some(&report) {
            self.reported = Some(report.clone());
            self.effects.push_back(Effect::Report(report));
        }
    }
}

#[cfg(test)]
mod tests;

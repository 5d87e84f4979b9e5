//! What consistent reads have shown of nodes and of their sessions. That a session is over stays true; all else is asked
//! for again.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use crate::lease::identity::{Standing, standing};
use crate::lease::session::SessionId;
use crate::lease::timings::SessionTimings;
use crate::lease::wire;
use crate::time::Instant;

/// How long what was read is good for, and how long a question waits for its answer.
pub(super) const GOOD_FOR: Duration = Duration::from_secs(5);
const ASKED_FOR: Duration = Duration::from_secs(2);

/// One look at a node.
#[derive(Clone, Debug)]
pub struct Witness {
    /// Its name.
    pub node: String,
    /// Whether there is such a Node.
    pub exists: bool,
    /// The Lease of its session, if there is one.
    pub lease: Option<Box<Lease>>,
}

#[derive(Debug)]
struct Seen {
    witness: Witness,
    at: Instant,
    /// Since when a Lease with this UID was seen.
    since: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Witnesses {
    seen: BTreeMap<String, Seen>,
    asked: BTreeMap<String, Instant>,
}

impl Witnesses {
    /// Takes in what was read.
    pub fn note(&mut self, witness: Witness, now: Instant) {
        let node = witness.node.clone();
        self.asked.remove(&node);
        let before = self.seen.remove(&node);
        let same = before.filter(|before| uid(&before.witness) == uid(&witness));
        let since = same.map_or(now, |before| before.since);
        self.seen.insert(node, Seen { witness, at: now, since });
    }

    /// Nothing more needs to be known of this node.
    pub fn forget(&mut self, node: &str) {
        self.seen.remove(node);
        self.asked.remove(node);
    }

    /// Whether somebody is to ask: nobody has of late.
    pub fn ask(&mut self, node: &str, now: Instant) -> bool {
        let is_under_way = self.asked.get(node).is_some_and(|at| now < *at + ASKED_FOR);
        if !is_under_way {
            self.asked.insert(node.to_owned(), now);
        }
        !is_under_way
    }

    fn fresh(&self, node: &str, now: Instant) -> Option<&Witness> {
        self.seen.get(node).filter(|seen| now < seen.at + GOOD_FOR).map(|seen| &seen.witness)
    }

    /// How a session stands; none: ask. A Lease that stands in place of another, for so long that nobody can believe in
    /// the other any more, ends the sessions of that one.
    pub fn standing(&self, session: &SessionId, now: Instant) -> Option<Standing> {
        let seen = self.seen.get(&session.node);
        let of = |seen: &Seen| standing(session, seen.witness.lease.as_deref());
        match seen.map(of) {
            Some(Standing::Over) => return Some(Standing::Over),
            Some(Standing::GivenBack) => return Some(Standing::GivenBack),
            Some(Standing::Alive) | None => {}
        }
        if let Some(seen) = seen
            && let Some(lease) = &seen.witness.lease
            && wire::uid(lease) != session.lease_uid
            && now >= seen.since + wait(lease)
        {
            return Some(Standing::Over);
        }
        self.fresh(&session.node, now).map(|_| Standing::Alive)
    }

    /// Whether this very session is being held, as far as was seen.
    pub fn is_held(&self, session: &SessionId) -> bool {
        let lease = self.seen.get(&session.node).and_then(|seen| seen.witness.lease.as_deref());
        lease.is_some_and(|lease| {
            let same = wire::uid(lease) == session.lease_uid && wire::epoch(lease) == session.epoch;
            same && !wire::holder(lease).is_empty()
        })
    }

    /// Whether nobody holds a session of this node; none: ask. An absent Lease says nothing, and one that stands in place
    /// of another nothing before nobody can believe in the other any more.
    pub fn is_empty(&self, node: &str, now: Instant) -> Option<bool> {
        self.fresh(node, now)?;
        let seen = self.seen.get(node)?;
        let Some(lease) = &seen.witness.lease else { return Some(false) };
        let was_held = wire::epoch(lease) > 0;
        Some(wire::holder(lease).is_empty() && (was_held || now >= seen.since + wait(lease)))
    }

    /// Whether there is such a Node; none: ask.
    pub fn exists(&self, node: &str, now: Instant) -> Option<bool> {
        self.fresh(node, now).map(|witness| witness.exists)
    }

    /// Whether the Lease of this node's session is known to be missing.
    pub fn lacks_lease(&self, node: &str, now: Instant) -> bool {
        self.fresh(node, now).is_some_and(|witness| witness.lease.is_none())
    }
}

fn uid(witness: &Witness) -> Option<&str> {
    witness.lease.as_deref().map(wire::uid)
}

/// D + M is at most this, whatever M is: it is less than D.
fn wait(lease: &Lease) -> Duration {
    wire::duration(lease).unwrap_or(SessionTimings::default().duration) * 2
}

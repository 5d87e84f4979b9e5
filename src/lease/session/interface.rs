//! What a session's machine hears and what it wants done: its contract with the driver.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use serde::{Deserialize, Serialize};

use crate::lease::wire;
use crate::time::Instant;

/// Who wants the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// Name of the node and of its Lease.
    pub node: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Drawn at random for each start of the agent.
    pub nonce: u64,
}

/// What the node keeps on its disk of its session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// `holderIdentity` of the session.
    pub holder: String,
    /// Machine that holds it.
    pub machine_id: String,
    /// Boot in which it is held; in another boot it is over.
    pub boot_id: String,
    /// D.
    pub duration_seconds: u64,
    /// `holderIdentity` of this node's session before, which is over: the Lease may still name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
    /// How far the taking came.
    pub taken: Taken,
}

/// Whether a session's number is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Taken {
    /// The Lease is about to be written, or was, and the answer is not known.
    Asked,
    /// The session has its number.
    #[serde(rename_all = "camelCase")]
    As {
        /// UID of the Lease.
        lease_uid: String,
        /// Its `leaseTransitions`.
        epoch: i32,
    },
}

/// One session: what identity Leases name as their holder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId {
    /// Node name.
    pub node: String,
    /// UID of the node's Lease.
    pub lease_uid: String,
    /// Its `leaseTransitions`.
    pub epoch: i32,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.lease_uid, self.epoch)
    }
}

impl SessionId {
    /// Whether the other is over because this one was taken after it, in the same Lease.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.node == other.node && self.lease_uid == other.lease_uid && self.epoch > other.epoch
    }
}

/// A text that names no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("session {0:?}: expected NODE/LEASE-UID/EPOCH")]
pub struct SessionIdError(String);

impl FromStr for SessionId {
    type Err = SessionIdError;

    /// Reads exactly what is written by `Display`: two texts that differ name two sessions.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('/');
        let parsed = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(node), Some(lease_uid), Some(epoch), None) if !node.is_empty() && !lease_uid.is_empty() => {
                epoch.parse().ok().map(|epoch| Self {
                    node: node.to_owned(),
                    lease_uid: lease_uid.to_owned(),
                    epoch,
                })
            }
            _ => None,
        };
        parsed
            .filter(|session| session.epoch >= 0 && session.to_string() == text)
            .ok_or_else(|| SessionIdError(text.to_owned()))
    }
}

/// What the coordinator said to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To a read: the Lease, read consistently (never from a cache).
    Found(Box<Lease>),
    /// To a read or an update: there is no such Lease.
    Absent {
        /// When this agent sent the request that made the Node object of this name, if it was this agent's and the
        /// coordinator said so (201). None where the Node was there before, or where that is not known.
        node_made: Option<Instant>,
    },
    /// To a write: done; the Lease as it is now.
    Written(Box<Lease>),
    /// To a write: refused, the Lease is another by now or exists already.
    Conflict,
    /// No answer, or an error.
    Failed,
}

/// What may happen. The numbers are those of the effects; what answers no effect under way is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// To [`Effect::Read`], [`Effect::Create`], [`Effect::Update`].
    Answer(u64, Answer),
    /// To [`Effect::Persist`]: the record survives power loss.
    Persisted(u64),
    /// To [`Effect::Fence`]: nothing runs any more that must not outlive the session.
    Fenced(u64),
    /// Give the session up for good (the node leaves).
    Release,
    /// Time has passed. Spurious ones are harmless.
    Tick,
}

/// What the machine wants done. Those with a number are answered by one [`Input`] with that number.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read the Lease; where it is absent, see to it that the Node object is there, and say who made it.
    Read(u64),
    /// Create the Lease.
    Create(u64, Box<Lease>),
    /// Replace the Lease, if it still has this resource version.
    Update(u64, Box<Lease>),
    /// The request under way has had its time: drop it and the connection it is on.
    CloseConnection,
    /// Keep this record in place of the last. Asked for again, with the same number, until it is answered.
    Persist(u64, Box<Record>),
    /// Stop whatever must not outlive the session.
    Fence(u64),
    /// Tell people and the rest of the agent.
    Report(Report),
}

/// What the machine has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The session is held; until when, [`Session::deadline`] knows.
    Held(SessionId),
    /// It is not any more.
    Lapsed(Lapse),
    /// The name cannot be had before this instant, if at all.
    Waiting {
        /// When it can be taken unless something happens.
        until: Instant,
        /// Why not now.
        why: Wait,
    },
    /// Another agent lives under this node's name.
    Refused(Wait),
    /// The session was given up for good.
    Released,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lapse {
    /// No renewal was acknowledged in time.
    Expired,
    /// Somebody broke it by compare-and-swap.
    Revoked,
    /// The node gave it up.
    Released,
}

/// Why a session cannot be had yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Somebody else holds the Lease.
    HeldBy {
        /// The node name both want.
        node: String,
        /// Its `holderIdentity`.
        holder: String,
        /// Its machine id, where it says.
        machine_id: Option<String>,
    },
    /// The Lease was absent and is there again, held by nobody: its last holder may still believe in it.
    Recreated,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held(session) => write!(f, "the session {session} is held"),
            Self::Lapsed(why) => write!(f, "the session has lapsed: {why}"),
            Self::Waiting { why, .. } => write!(f, "{why}; waiting to see whether it is renewed"),
            Self::Refused(why) => {
                write!(f, "{why}, and alive: give this machine another --node-name, or stop that agent")
            }
            Self::Released => f.write_str("the session was given up"),
        }
    }
}

impl fmt::Display for Lapse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "no renewal was acknowledged in time",
            Self::Revoked => "it was revoked",
            Self::Released => "the node gives it up",
        })
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeldBy { node, holder, machine_id } => {
                let machine = machine_id.as_deref().unwrap_or("unknown");
                write!(f, "the node name {node:?} is held by another agent ({holder}, machine id {machine})")
            }
            Self::Recreated => f.write_str("the Lease was lost and its last holder may still believe in it"),
        }
    }
}

impl Record {
    /// D of the session, as everybody reads it from the Lease.
    pub(super) fn duration_in(&self, lease: &Lease) -> Duration {
        wire::duration(lease).unwrap_or(Duration::from_secs(self.duration_seconds))
    }

    /// Whether this Lease is the one that the session is in, whoever holds it now.
    pub(super) fn is_of(&self, lease: &Lease) -> bool {
        match &self.taken {
            Taken::Asked => false,
            Taken::As { lease_uid, .. } => lease_uid == wire::uid(lease),
        }
    }
}

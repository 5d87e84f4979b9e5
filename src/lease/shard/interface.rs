//! What the machine of the shards hears and what it wants done: its contract with the driver.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;

use super::wire::{self, Count};
use crate::lease::session::{Answer, SessionId};

/// What may happen. The numbers are those of the effects; what answers no effect under way is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The watch of the shards' Leases begins anew: what it shows next is a fresh list.
    Restarted,
    /// The watch shows a shard's Lease as it is now.
    Seen(Box<Lease>),
    /// The watch shows that a shard's Lease is gone.
    Gone(u32),
    /// The fresh list is whole.
    Complete,
    /// These nodes are ready and willing to steward.
    Willing(Arc<BTreeSet<String>>),
    /// The store is not the one it was, or is older than it was: nothing that was seen counts any more.
    Regressed,
    /// To [`Effect::Read`], [`Effect::Create`], [`Effect::Update`].
    Answer(u64, Answer),
    /// To [`Effect::Quiesce`]: none of this shard's writes is under way any more.
    Quiesced(u64),
    /// Steward no more: the node is drained, or stops.
    Drain,
    /// Steward again.
    Resume,
    /// The monitor of this agent knows that this session is over.
    Over(SessionId),
    /// What `steward-00` is to say of the brake.
    Brake(Option<String>),
    /// The session was renewed or lost, or time has passed. Spurious ones are harmless.
    Tick,
}

/// What the machine wants done. Those with a number are answered by one [`Input`] with that number.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read this shard's Lease, consistently.
    Read(u64, u32),
    /// Create this shard's Lease.
    Create(u64, u32, Box<Lease>),
    /// Replace this shard's Lease, if it still has this resource version.
    Update(u64, u32, Box<Lease>),
    /// Wait until none of this shard's writes is under way; no new one leaves.
    Quiesce(u64, u32),
    /// Tell the rest of the steward.
    Report(Report),
}

/// What the machine has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// This agent stewards the shard: list everything, then begin.
    Took {
        /// Which.
        shard: u32,
        /// What the last holder left in [`wire::BRAKE`].
        brake: Option<String>,
    },
    /// It does not any more, without having given it back.
    Lost {
        /// Which.
        shard: u32,
    },
    /// It gave it back.
    GaveBack {
        /// Which.
        shard: u32,
    },
    /// Other stewards count otherwise: this agent does not steward.
    Differs {
        /// How they count.
        theirs: Count,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Took { shard, .. } => write!(f, "{} is held", wire::name(*shard)),
            Self::Lost { shard } => write!(f, "{} is lost", wire::name(*shard)),
            Self::GaveBack { shard } => write!(f, "{} was given back", wire::name(*shard)),
            Self::Differs { theirs: Count { shards, rules } } => write!(
                f,
                "the stewards of this cluster count {shards} shards by version {rules} of the rules; this agent \
                 does not steward"
            ),
        }
    }
}

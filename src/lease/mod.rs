//! Leases: who is alive, who holds what, until when. PURE.
//!
//! [`session`] is the claim of a node to be alive, the one lease that everything else of the node hangs on;
//! [`fence`] has everything dead in time that must not outlive it; [`monitor`] sees which sessions have expired, and
//! revokes them; [`shard`] says who does the once-per-cluster work.
//!
//! Architecture invariant: deadlines are instants of the holder's own monotonic clock; the times that stand in a Lease
//! are for people and are never compared.

pub mod fence;
pub mod identity;
pub mod monitor;
pub(crate) mod rule;
pub mod session;
pub mod shard;
pub mod ticket;
pub mod timings;
pub mod wire;

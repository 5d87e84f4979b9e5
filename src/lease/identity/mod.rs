//! Identities: what must not run twice runs under a Lease of its own. PURE.
//!
//! [`Claim`] is the holder's side: one Pod and the identities it runs under; [`holdings`] has those of all Pods of a node.
//! [`free`] is the other side: when an identity is taken from a session that is over.
//!
//! ```text
//!             the guard acknowledged       all written
//!   Arming ─────────────────────▶ Taking ─────────────▶ Held ──▶ GivingBack ──▶ Done
//!     │                             │ one is held by another    ▲      │ the session is over: lost
//!     └──────────── Done ◀──────────┴── what was taken ─────────┘      ▼
//!                                                                     Done
//! ```
//!
//! The rules, each with the place that keeps it:
//! - The guard is armed before the first Lease is written, so that the fence level in it is one that was reached.
//! - Identities are taken in the order of their names, all or none.
//! - An identity is taken when nobody is named; when an earlier session of this very machine is named, which is over
//!   and fenced; when it stands in place of one that was lost, D + M after it was seen so ([`Claim::free_from`]).
//! - Nothing is written with less than its time-out before the session's deadline.
//! - They are given back after the last container was seen dead, and are lost with the session.
//! - After the store was found to be another, each one is read again, and taken again by whoever runs; what cannot be
//!   confirmed soon is lost ([`Input::Regressed`]).

mod claim;
mod free;
pub mod holdings;
pub mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use k8s_openapi::api::coordination::v1::Lease;
use sha2::{Digest as _, Sha256};

pub use free::{Case, Kept, Standing, free, standing};

use crate::lease::fence::FenceLevel;
use crate::lease::session::{Answer, SessionId};
use crate::lease::timings::SessionConfig;
use crate::time::{Instant, WallTime};

/// Longest name of an object.
const NAME_MAX: usize = 253;

/// Name of the identity of a Pod.
pub fn name(namespace: &str, pod: &str) -> String {
    let plain = format!("{namespace}.{pod}");
    if plain.len() <= NAME_MAX { plain } else { hashed("pod-", &plain) }
}

/// Name of the identity of a volume; it has no dot, so no Pod's is the same.
pub fn volume_name(volume: &str) -> String {
    hashed("volume-", volume)
}

fn hashed(prefix: &str, text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(prefix.to_owned(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// What a claim is for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Names of the identities.
    pub names: BTreeSet<String>,
    /// UID of the Pod.
    pub pod_uid: String,
    /// Sessions that this machine has had and fenced.
    pub past: BTreeSet<SessionId>,
}

/// What may happen. The numbers are those of the effects; what answers no effect under way is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// To [`Effect::Arm`]: the guard watches over the Pod under this session, and promises this much.
    Armed(u64, FenceLevel),
    /// To [`Effect::Read`], [`Effect::Create`], [`Effect::Update`].
    Answer(u64, Answer),
    /// The watch shows an identity's Lease.
    Seen(Box<Lease>),
    /// This identity has no Lease any more.
    Gone(String),
    /// The store is not the one it was, or is older than it was.
    Regressed,
    /// No container of the Pod is left: give everything back.
    GiveBack,
    /// The session was renewed or lost, or time has passed. Spurious ones are harmless.
    Tick,
}

/// What the machine wants done. Those with a number are answered by one [`Input`] with that number.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Have the guard watch over the Pod.
    Arm(u64),
    /// Read this identity's Lease, consistently.
    Read(u64, String),
    /// Create it.
    Create(u64, Box<Lease>),
    /// Replace it, if it still has this resource version.
    Update(u64, Box<Lease>),
    /// Tell the rest of the agent.
    Report(Report),
}

/// What the machine has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The Pod's containers may start, as far as its identities go.
    Held {
        /// The session.
        session: SessionId,
        /// Epochs by identity.
        epochs: BTreeMap<String, i32>,
    },
    /// Another holds one of them; nothing is held.
    Refused {
        /// Which.
        name: String,
        /// Its `holderIdentity`; empty where it is not free yet, or absent.
        holder: String,
    },
    /// Not held any more: the Pod's containers have to be dead by the session's deadline.
    Lost,
    /// Everything was given back.
    GivenBack,
}

/// The machine of one Pod. See the module's documentation.
#[derive(Debug)]
pub struct Claim {
    wanted: Wanted,
    config: SessionConfig,
    state: State,
    session: Option<SessionId>,
    level: FenceLevel,
    /// Leases that name this session and Pod, as last written or read.
    held: BTreeMap<String, Box<Lease>>,
    /// A Lease that was lost, as it was seen first, by name: its version and since when.
    lost: BTreeMap<String, (u64, Instant)>,
    /// Those that have to be found to be held still, until when.
    unconfirmed: Option<(BTreeSet<String>, Instant)>,
    /// Nothing is taken from nobody before this instant.
    quiet_until: Instant,
    request: Option<Request>,
    /// The last write of this one got no answer, and may be done yet.
    doubtful: Option<String>,
    not_before: Instant,
    number: u64,
    wall: WallTime,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
struct Request {
    number: u64,
    /// None: the guard was asked.
    name: Option<String>,
    writes: bool,
    sent: Instant,
}

#[derive(Clone, Debug, PartialEq)]
enum State {
    Arming,
    /// What is to be written next, if the Lease was read.
    Taking(Option<Box<Lease>>),
    Held,
    /// What is to be written next; and why, if another holds one.
    GivingBack(Option<(String, String)>),
    Done,
}

#[cfg(test)]
mod tests;

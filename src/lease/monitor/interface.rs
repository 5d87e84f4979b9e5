//! What the monitor's machine hears and what it wants done: its contract with the driver.

use std::fmt;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use crate::lease::session::{Answer, SessionId};

/// What may happen. The numbers are those of the effects; what answers no effect under way is ignored.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The watch of the sessions' Leases begins anew: what it shows next is a fresh list.
    Restarted,
    /// The watch shows a session's Lease as it is now.
    Seen(Box<Lease>),
    /// The watch shows that the Lease of this node is gone.
    Gone(String),
    /// The fresh list is whole.
    Complete,
    /// An identity's Lease names a session of this node, whose Lease the whole list does not have.
    Missed(String),
    /// This agent's own renewal with this serial was acknowledged: the watch has to show it.
    Renewed(u64),
    /// To [`Effect::Revoke`] and [`Effect::Recreate`].
    Answer(u64, Answer),
    /// The monitor before left the brake drawn, with this note ([`super::Monitor::brake`]).
    Inherit(String),
    /// An operator lets the brake go.
    ReleaseBrake,
    /// Time has passed. Spurious ones are harmless.
    Tick,
}

/// What the machine wants done. Those with a number are answered by one [`Input::Answer`] with that number.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Replace the Lease, if it still has this resource version: nobody holds it any more.
    Revoke(u64, Box<Lease>),
    /// Create the Lease as revoked, in place of one that was lost.
    Recreate(u64, Box<Lease>),
    /// Tell the rest of the monitor.
    Report(Report),
}

/// What the machine has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The node has a session, and was not known to have one.
    Alive {
        /// Node name.
        node: String,
    },
    /// Its session was revoked, or its Lease was lost and not renewed since: the node is not ready.
    Lost {
        /// Node name.
        node: String,
        /// The session it had, where that was seen.
        session: Option<SessionId>,
    },
    /// It gave its session up.
    Left {
        /// Node name.
        node: String,
    },
    /// The watch showed nothing for too long: every timer starts afresh.
    Gap,
    /// Taints, evictions and the take-over of identities stop.
    Braked(Mass),
    /// They may go on.
    Unbraked(Unbrake),
}

/// How many sessions were lost together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mass {
    /// Silent for so long that they have expired or are about to.
    pub lost: usize,
    /// Of so many that lived D + M ago.
    pub of: usize,
}

/// Why the brake was let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbrake {
    /// Enough of the lost have returned.
    Returned,
    /// An operator said so.
    Operator,
    /// [`BRAKE_MAX`] has passed.
    Timeout,
}

/// The brake lets go by itself after ten minutes.
pub const BRAKE_MAX: Duration = Duration::from_mins(10);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alive { node } => write!(f, "{node} is alive"),
            Self::Lost { node, session: Some(session) } => write!(f, "{node} is lost: {session} is over"),
            Self::Lost { node, session: None } => write!(f, "{node} is lost: its Lease is gone"),
            Self::Left { node } => write!(f, "{node} has left"),
            Self::Gap => f.write_str("the watch was silent; every timer starts afresh"),
            Self::Braked(Mass { lost, of }) => write!(
                f,
                "{lost} of {of} sessions were lost together: evictions, taints and take-over stop until they \
                 return, for ten minutes at most, or until `leasehold brake release`"
            ),
            Self::Unbraked(why) => write!(f, "the brake is let go: {why}"),
        }
    }
}

impl fmt::Display for Unbrake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Returned => "the sessions have returned",
            Self::Operator => "an operator said so",
            Self::Timeout => "ten minutes have passed",
        })
    }
}

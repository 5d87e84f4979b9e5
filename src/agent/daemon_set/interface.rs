//! What the machine of a node's DaemonSets wants done, and how it explains itself.

use std::fmt;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::placement::Reason;
use crate::time::Instant;

/// Where what the node knows comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing is whole yet: nothing is decided.
    Nowhere,
    /// The node's own disk, because the coordinator does not answer.
    Disk {
        /// Boots since the coordinator was last heard, this one included.
        boots: u32,
    },
    /// The coordinator: node, DaemonSets and Pods have been listed.
    Coordinator,
}

/// The right to replace a DaemonSet's Pod here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Namespace of its Lease.
    pub namespace: String,
    /// Name of its Lease.
    pub name: String,
    /// UID of its Lease.
    pub uid: String,
}

/// What the node wants done. All but [`Action::Record`] are answered: by `pod_changed` or `pod_gone` once it is so,
/// or by a refusal. A change of owners that was refused is answered by `pod_changed` with the Pod as it is.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Host this Pod. Its UID is the node's own and names it here for good, whatever UID the coordinator gives its
    /// object. → `pod_changed`, `create_refused`
    CreatePod(Box<Pod>),
    /// End this Pod by its grace. → `pod_changed` with a deletion timestamp, `pod_gone`, `delete_refused`
    DeletePod {
        /// UID of the Pod on this node.
        uid: String,
        /// Why.
        why: Departure,
    },
    /// Make the DaemonSet the controller of a Pod that has none. → `pod_changed`
    AdoptPod {
        /// UID of the Pod on this node.
        uid: String,
        /// To be added to its owner references.
        owner: Box<OwnerReference>,
    },
    /// Take the DaemonSet out of the Pod's owner references: its labels are not those of the DaemonSet any more.
    /// → `pod_changed`
    ReleasePod {
        /// UID of the Pod on this node.
        uid: String,
        /// UID of the owner.
        owner_uid: String,
    },
    /// The DaemonSet's Pod here is of the newest revision and available: give the ticket back. → `ticket_gone`
    GiveBack(Box<Ticket>),
    /// Record an Event.
    Record(Box<Occurrence>),
}

/// An Event about a DaemonSet, in upstream's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence {
    /// The DaemonSet.
    pub about: ObjectReference,
    /// `Warning`, not `Normal`.
    pub warning: bool,
    /// E.g. `SuccessfulCreate`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Why a Pod has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The node does not host its DaemonSet (any more).
    NotEligible(Vec<Reason>),
    /// It failed; another one comes.
    Failed,
    /// It ended; another one comes.
    Succeeded,
    /// An older one does the same.
    Duplicate,
    /// The template has changed; one of the new revision comes.
    Outdated,
    /// One of the new revision does its work already.
    Superseded,
    /// Its DaemonSet is gone.
    OwnerGone,
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEligible(reasons) => {
                write!(f, "the node hosts its DaemonSet no more: {}", sentence(reasons))
            }
            Self::Failed => f.write_str("it failed"),
            Self::Succeeded => f.write_str("it ended"),
            Self::Duplicate => f.write_str("an older Pod of its DaemonSet is here"),
            Self::Outdated => f.write_str("the template of its DaemonSet has changed"),
            Self::Superseded => f.write_str("a Pod of the new revision has taken over"),
            Self::OwnerGone => f.write_str("its DaemonSet is gone"),
        }
    }
}

/// Why a DaemonSet has no Pod here, or not the newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Node and Pod do not go together, or there is no room.
    Placement(Vec<Reason>),
    /// The rollout has not reached this node yet: it holds no ticket.
    Ticket,
    /// The DaemonSet is being deleted.
    Deleted,
    /// Its selector selects every Pod, or cannot be read.
    Selector,
    /// It may not be started from the disk alone, or not after so many boots.
    Offline,
    /// A Pod of it failed, and the next is not due before this instant.
    Failed {
        /// When.
        until: Instant,
    },
    /// The coordinator or the node refused the last one, and the next is not due before this instant.
    Refused {
        /// When.
        until: Instant,
        /// Why.
        message: String,
    },
}

impl Obstacle {
    /// What each reason is about in this case, for `explain`.
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Placement(reasons) => reasons.iter().map(Reason::detail).collect(),
            Self::Ticket
            | Self::Deleted
            | Self::Selector
            | Self::Offline
            | Self::Failed { .. }
            | Self::Refused { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placement(reasons) => f.write_str(&sentence(reasons)),
            Self::Ticket => f.write_str("the rollout has not given this node a ticket yet"),
            Self::Deleted => f.write_str("the DaemonSet is being deleted"),
            Self::Selector => f.write_str("the DaemonSet selects all Pods: a non-empty selector is required"),
            Self::Offline => f.write_str(
                "the coordinator does not answer and leasehold.dev/offline forbids to start from disk",
            ),
            Self::Failed { .. } => f.write_str("the last Pod failed, and the next waits its back-off"),
            Self::Refused { message, .. } => write!(f, "the last Pod was refused: {message}"),
        }
    }
}

/// How a DaemonSet stands on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not looked at yet.
    Unknown,
    /// The node does not host it.
    NotHosted(Obstacle),
    /// Its Pod is being made.
    Starting,
    /// Its Pod is here.
    Hosted,
    /// An older Pod has to be gone before the next can come.
    Leaving,
    /// The Pod of the new revision is here and not available yet; the old one stays as long.
    Surging,
    /// Its Pod is of an older revision, and stays because the new one could not be here.
    Outdated(Obstacle),
}

impl Standing {
    /// What is in the way, if anything.
    pub fn obstacle(&self) -> Option<&Obstacle> {
        match self {
            Self::NotHosted(obstacle) | Self::Outdated(obstacle) => Some(obstacle),
            Self::Unknown | Self::Starting | Self::Hosted | Self::Leaving | Self::Surging => None,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not decided yet"),
            Self::NotHosted(obstacle) => write!(f, "not hosted: {obstacle}"),
            Self::Starting => f.write_str("its Pod is being made"),
            Self::Hosted => f.write_str("hosted"),
            Self::Leaving => f.write_str("an older Pod has yet to end"),
            Self::Surging => f.write_str("the new Pod is here and not available yet"),
            Self::Outdated(obstacle) => write!(f, "hosted at an older revision: {obstacle}"),
        }
    }
}

/// Reasons as one sentence, each once.
pub(super) fn sentence(reasons: &[Reason]) -> String {
    let mut texts: Vec<String> = reasons.iter().map(ToString::to_string).collect();
    texts.dedup();
    texts.join(", ")
}

//! Why a Pod may not run on a node.

use std::fmt;

use crate::api::quantity::Quantity;
use crate::placement::HostPort;

/// One reason. Prints in kube-scheduler's words, which people search for; [`Reason::detail`] tells what would have
/// to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The node's agent does not live, or cannot start Pods.
    NotReady,
    /// The node was offered the Pod and did not answer in time.
    NoAnswer,
    /// The Pod names another node.
    NodeName {
        /// The node it names.
        wanted: String,
    },
    /// The node is cordoned.
    Unschedulable,
    /// A taint that the Pod does not tolerate.
    UntoleratedTaint {
        /// Key of the taint.
        key: String,
        /// Value, often empty.
        value: String,
        /// `NoSchedule` or `NoExecute`.
        effect: String,
    },
    /// Neither node selector nor required node affinity let it.
    NodeAffinity {
        /// The clauses that failed: one of the selector, or one for each term of the affinity.
        clauses: Vec<String>,
    },
    /// Not enough of a resource is left.
    Insufficient {
        /// E.g. `cpu`, `nvidia.com/gpu`.
        resource: String,
        /// What the Pod asks for.
        requested: Quantity,
        /// What the Pods of the node have taken.
        used: Quantity,
        /// What the node has to give.
        allocatable: Quantity,
    },
    /// The node hosts as many Pods as it may.
    TooManyPods {
        /// How many it may host.
        allocatable: Quantity,
    },
    /// A host port is taken.
    HostPort(HostPort),
    /// No Pod that it wants beside it is in the node's domain.
    PodAffinity,
    /// A Pod that it keeps away from is in the node's domain.
    PodAntiAffinity,
    /// A Pod that keeps it away is in the node's domain.
    ExistingAntiAffinity,
    /// The node is in no domain of a topology that the Pod spreads over.
    SpreadLabel {
        /// The topology.
        key: String,
    },
    /// The node's domain has more of its like than the others.
    Spread {
        /// The topology.
        key: String,
    },
    /// A volume of the Pod cannot be had on the node.
    VolumeReach {
        /// Name of the volume.
        volume: String,
    },
    /// The node has no volume for a claim, and none can be made there.
    NoVolume {
        /// Name of the claim.
        claim: String,
    },
    /// Another Pod has a claim that one Pod at a time may use.
    ClaimInUse {
        /// Name of the claim.
        claim: String,
    },
    /// A claim that the Pod uses does not exist.
    ClaimMissing {
        /// Its name.
        name: String,
    },
    /// A claim that the Pod uses is being deleted.
    ClaimDeleted {
        /// Its name.
        name: String,
    },
    /// A claim that the Pod uses has no volume yet.
    ClaimUnbound,
    /// The volume of a claim does not exist.
    VolumeMissing {
        /// The claim.
        claim: String,
        /// The volume.
        volume: String,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReady => f.write_str("node(s) were not ready"),
            Self::NoAnswer => f.write_str("node(s) did not answer in time"),
            Self::NodeName { .. } => f.write_str("node(s) didn't match the requested node name"),
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::UntoleratedTaint { key, value, .. } => {
                write!(f, "node(s) had untolerated taint {{{key}: {value}}}")
            }
            Self::NodeAffinity { .. } => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Insufficient { resource, .. } => write!(f, "Insufficient {resource}"),
            Self::TooManyPods { .. } => f.write_str("Too many pods"),
            Self::HostPort(_) => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Self::PodAffinity => f.write_str("node(s) didn't match pod affinity rules"),
            Self::PodAntiAffinity => f.write_str("node(s) didn't match pod anti-affinity rules"),
            Self::ExistingAntiAffinity => {
                f.write_str("node(s) didn't satisfy existing pods anti-affinity rules")
            }
            Self::SpreadLabel { .. } => {
                f.write_str("node(s) didn't match pod topology spread constraints (missing required label)")
            }
            Self::Spread { .. } => f.write_str("node(s) didn't match pod topology spread constraints"),
            Self::VolumeReach { .. } => f.write_str("node(s) didn't match PersistentVolume's node affinity"),
            Self::NoVolume { .. } => f.write_str("node(s) didn't find available persistent volumes to bind"),
            Self::ClaimInUse { .. } => f.write_str(
                "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
            ),
            Self::ClaimMissing { name } => write!(f, "persistentvolumeclaim {name:?} not found"),
            Self::ClaimDeleted { name } => write!(f, "persistentvolumeclaim {name:?} is being deleted"),
            Self::ClaimUnbound => f.write_str("pod has unbound immediate PersistentVolumeClaims"),
            Self::VolumeMissing { claim, volume } => {
                write!(f, "persistentvolumeclaim {claim:?} bound to non-existent persistentvolume {volume:?}")
            }
        }
    }
}

impl Reason {
    /// Whether it passes when the node has more left.
    pub fn is_about_room(&self) -> bool {
        match self {
            Self::Insufficient { .. } | Self::TooManyPods { .. } | Self::HostPort(_) => true,
            Self::NotReady
            | Self::NoAnswer
            | Self::NodeName { .. }
            | Self::Unschedulable
            | Self::UntoleratedTaint { .. }
            | Self::NodeAffinity { .. }
            | Self::PodAffinity
            | Self::PodAntiAffinity
            | Self::ExistingAntiAffinity
            | Self::SpreadLabel { .. }
            | Self::Spread { .. }
            | Self::VolumeReach { .. }
            | Self::NoVolume { .. }
            | Self::ClaimInUse { .. }
            | Self::ClaimMissing { .. }
            | Self::ClaimDeleted { .. }
            | Self::ClaimUnbound
            | Self::VolumeMissing { .. } => false,
        }
    }

    /// In which turn kube-scheduler asks for it.
    pub(super) fn turn(&self) -> u8 {
        match self {
            Self::ClaimMissing { .. }
            | Self::ClaimDeleted { .. }
            | Self::ClaimUnbound
            | Self::VolumeMissing { .. } => 0,
            Self::NotReady | Self::NoAnswer => 1,
            Self::Unschedulable => 2,
            Self::NodeName { .. } => 3,
            Self::UntoleratedTaint { .. } => 4,
            Self::NodeAffinity { .. } => 5,
            Self::HostPort(_) => 6,
            Self::Insufficient { .. } | Self::TooManyPods { .. } => 7,
            Self::VolumeReach { .. } | Self::NoVolume { .. } | Self::ClaimInUse { .. } => 8,
            Self::SpreadLabel { .. } | Self::Spread { .. } => 9,
            Self::PodAffinity => 10,
            Self::PodAntiAffinity => 11,
            Self::ExistingAntiAffinity => 12,
        }
    }

    /// What it is about in this case, for `explain`.
    pub fn detail(&self) -> String {
        match self {
            Self::NotReady => "the node's condition Ready is not True".to_owned(),
            Self::NoAnswer => "it was offered the Pod and did not answer in time".to_owned(),
            Self::NodeName { wanted } => format!("spec.nodeName is {wanted:?}"),
            Self::Unschedulable => "the node is cordoned (spec.unschedulable)".to_owned(),
            Self::UntoleratedTaint { key, value, effect } if value.is_empty() => {
                format!("no toleration for the taint {key}:{effect}")
            }
            Self::UntoleratedTaint { key, value, effect } => {
                format!("no toleration for the taint {key}={value}:{effect}")
            }
            Self::NodeAffinity { clauses } => clauses.join("; "),
            Self::Insufficient { resource, requested, used, allocatable } => {
                format!("{resource}: {requested} requested, {used} of {allocatable} taken")
            }
            Self::TooManyPods { allocatable } => format!("the node hosts {allocatable} Pods, its limit"),
            Self::HostPort(port) => format!("host port {port} is taken"),
            Self::PodAffinity => "no Pod that it wants beside it is in the node's domain".to_owned(),
            Self::PodAntiAffinity => "a Pod that it keeps away from is in the node's domain".to_owned(),
            Self::ExistingAntiAffinity => "a Pod that keeps it away is in the node's domain".to_owned(),
            Self::SpreadLabel { key } => format!("the node has no label {key}"),
            Self::Spread { key } => format!("its domain of {key} has more of its like than others"),
            Self::VolumeReach { volume } => format!("volume {volume} cannot be had here"),
            Self::NoVolume { claim } => format!("claim {claim} finds no volume here, and none can be made"),
            Self::ClaimInUse { claim } => {
                format!("another Pod uses claim {claim}, which is ReadWriteOncePod")
            }
            Self::ClaimMissing { .. }
            | Self::ClaimDeleted { .. }
            | Self::ClaimUnbound
            | Self::VolumeMissing { .. } => self.to_string(),
        }
    }
}

//! Whether the node hosts a Pod that others have bound to it (`spec.nodeName` in the manifest, or another scheduler).
//! Asks what the kubelet asks, and refuses in its words: what only keeps new Pods from *choosing* the node, a cordon or
//! a taint `NoSchedule`, is no reason.

use k8s_openapi::api::core::v1::{Node, PodSpec};

use crate::api::quantity::Quantity;
use crate::placement::{Demand, Effect, Reason, Room, mismatches, untolerated};

/// Why the Pod fails at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// `status.reason`, e.g. `OutOfcpu`.
    pub reason: String,
    /// `status.message` without its beginning, and the Event's.
    pub message: String,
}

/// The first reason, as the kubelet names it; none where the Pod may come.
pub fn reject(spec: &PodSpec, node: &Node, room: &Room) -> Option<Rejection> {
    let lacks = room.lacks(&Demand::of(spec), None);
    let is_short = |reason: &&Reason| !matches!(reason, Reason::HostPort(_)) && !is_unknown_here(reason);
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let evicting = untolerated(node, tolerations, &[Effect::NoExecute]);
    let mut reasons: Vec<&Reason> = lacks.iter().filter(is_short).collect();
    let found = mismatches(spec, node);
    reasons.extend(found.iter().filter(|reason| matches!(reason, Reason::NodeAffinity { .. })));
    reasons.extend(found.iter().filter(|reason| matches!(reason, Reason::NodeName { .. })));
    reasons.extend(lacks.iter().filter(|reason| matches!(reason, Reason::HostPort(_))));
    reasons.extend(&evicting);
    reasons.first().map(|reason| name(reason))
}

/// Of an extended resource that the node knows nothing of, others keep account.
fn is_unknown_here(reason: &Reason) -> bool {
    let Reason::Insufficient { resource, allocatable, .. } = reason else { return false };
    resource.contains('/') && allocatable.is_zero()
}

fn name(reason: &Reason) -> Rejection {
    let predicate = |name: &str, why: &str| Rejection {
        reason: name.to_owned(),
        message: format!("Predicate {name} failed: {why}"),
    };
    match reason {
        Reason::Insufficient { resource, requested, used, allocatable } => {
            out_of(resource, [requested, used, allocatable])
        }
        Reason::TooManyPods { allocatable } => {
            out_of("pods", [&Quantity::from_units(1), allocatable, allocatable])
        }
        Reason::NodeAffinity { .. } => predicate("NodeAffinity", &reason.to_string()),
        Reason::NodeName { .. } => predicate("NodeName", &reason.to_string()),
        Reason::HostPort(_) => predicate("NodePorts", &reason.to_string()),
        Reason::UntoleratedTaint { .. } => {
            predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
        }
        Reason::Unschedulable
        | Reason::NotReady
        | Reason::NoAnswer
        | Reason::PodAffinity
        | Reason::PodAntiAffinity
        | Reason::ExistingAntiAffinity
        | Reason::SpreadLabel { .. }
        | Reason::Spread { .. }
        | Reason::VolumeReach { .. }
        | Reason::NoVolume { .. }
        | Reason::ClaimInUse { .. }
        | Reason::ClaimMissing { .. }
        | Reason::ClaimDeleted { .. }
        | Reason::ClaimUnbound
        | Reason::VolumeMissing { .. } => predicate("Admission", &reason.to_string()),
    }
}

fn out_of(resource: &str, amounts: [&Quantity; 3]) -> Rejection {
    let amount = |amount: &Quantity| if resource == "cpu" { amount.milli_value() } else { amount.value() };
    let [requested, used, capacity] = amounts.map(amount);
    Rejection {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    }
}

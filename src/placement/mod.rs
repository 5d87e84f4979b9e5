//! May this Pod run on this node? One answer with typed reasons, shared by the agent (which decides), the steward
//! (which counts and offers) and `explain` (which tells). PURE.
//!
//! Two halves, because they change at different times:
//! - [`mismatches`]: what the node *is* against what the Pod asks: name, selector, affinity, taints, cordon;
//! - [`Room::lacks`]: what the node has *left*: resources, Pods, host ports.
//!
//! [`eligibility`] is both. [`daemon_set`] is the first half as DaemonSets ask it. [`Question`] asks many nodes of a
//! [`Cluster`], and [`Summary`] adds up what they answer.
//!
//! Architecture invariant: preferences and scores are in [`rank`] alone; they never decide whether a Pod may run.

mod affinity;
mod cluster;
pub mod daemon_set;
pub mod decline;
mod demand;
pub mod explain;
mod inter_pod;
mod question;
pub mod rank;
mod reason;
mod room;
mod spread;
mod summary;
mod taints;
pub mod volumes;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

pub use affinity::matches_selector;
pub use cluster::{Cluster, Placed, Site};
pub use demand::{Demand, HostPort};
pub use question::{Question, is_ready};
pub use reason::Reason;
pub use room::{FREE_ANNOTATION, Room};
pub use summary::Summary;
pub use taints::{Effect, tolerates, untolerated};

/// Taint that stands for a cordon (`spec.unschedulable`); who tolerates it may run on a cordoned node.
pub const UNSCHEDULABLE_TAINT: &str = "node.kubernetes.io/unschedulable";
/// Taint of a node that says itself that it is not ready.
pub const NOT_READY_TAINT: &str = "node.kubernetes.io/not-ready";
/// Taint of a node whose session was lost.
pub const UNREACHABLE_TAINT: &str = "node.kubernetes.io/unreachable";

/// The node as its own agent judges it: what others have noted about its being there it knows better. So a node that
/// comes back hosts its DaemonSets though nobody is there yet to take the taint away.
pub fn of_itself(node: &Node) -> Node {
    let mut node = node.clone();
    if let Some(taints) = node.spec.as_mut().and_then(|spec| spec.taints.as_mut()) {
        taints.retain(|taint| taint.key != NOT_READY_TAINT && taint.key != UNREACHABLE_TAINT);
    }
    node
}

/// Everything that keeps a Pod off a node. Empty: it may run there.
pub fn eligibility(spec: &PodSpec, node: &Node, room: &Room) -> Vec<Reason> {
    let mut reasons = mismatches(spec, node);
    reasons.extend(room.lacks(&Demand::of(spec), None));
    reasons
}

/// What the node is that the Pod does not want, or the other way round: name, cordon, taints, selector, affinity.
pub fn mismatches(spec: &PodSpec, node: &Node) -> Vec<Reason> {
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let mut reasons = Vec::new();
    reasons.extend(wrong_name(spec, node));
    reasons.extend(cordon(spec, node));
    reasons.extend(untolerated(node, tolerations, &[Effect::NoSchedule, Effect::NoExecute]));
    reasons.extend(affinity::mismatch(spec, node));
    reasons
}

/// One node and the Pods that are on it, as far as they may keep others away, or be kept away from.
pub fn neighbours(node: &Node, pods: &BTreeMap<String, Arc<Pod>>) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.node_changed(&Arc::new(node.clone()));
    for (uid, pod) in pods {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if !matches!(phase, Some("Succeeded" | "Failed")) {
            cluster.place(uid, pod, node.metadata.name.as_deref().unwrap_or_default());
        }
    }
    cluster
}

/// Which Pods of the cluster keep this one away from the node, or are kept away from.
pub fn repulsions(pod: &Pod, node: &Node, cluster: &Cluster) -> Vec<Reason> {
    let rules = inter_pod::Rules::of(pod, cluster);
    let is_away = |reason: &Reason| matches!(reason, Reason::PodAntiAffinity | Reason::ExistingAntiAffinity);
    rules.reasons(node).into_iter().filter(is_away).collect()
}

/// The node that the Pod names is another one.
fn wrong_name(spec: &PodSpec, node: &Node) -> Option<Reason> {
    let wanted = spec.node_name.as_deref().filter(|name| !name.is_empty())?;
    let here = node.metadata.name.as_deref().unwrap_or_default();
    (wanted != here).then(|| Reason::NodeName { wanted: wanted.to_owned() })
}

fn cordon(spec: &PodSpec, node: &Node) -> Option<Reason> {
    let taint = k8s_openapi::api::core::v1::Taint {
        key: UNSCHEDULABLE_TAINT.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Default::default()
    };
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let tolerated = spec.tolerations.iter().flatten().any(|toleration| tolerates(toleration, &taint));
    (cordoned && !tolerated).then_some(Reason::Unschedulable)
}

#[cfg(test)]
mod tests;

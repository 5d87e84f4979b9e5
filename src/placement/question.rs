//! One Pod's question to many nodes: what of it can be worked out once is.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

use crate::placement::inter_pod::{self, Rules};
use crate::placement::spread::{self, Spread};
use crate::placement::volumes::{self, Reach};
use crate::placement::{Cluster, Demand, Reason, Site, affinity, mismatches};

/// See the module's documentation. It holds for as long as the cluster does not change.
#[derive(Clone, Debug)]
pub struct Question {
    pod: Arc<Pod>,
    demand: Demand,
    reach: Reach,
    rules: Rules,
    spread: Spread,
    siblings: BTreeMap<String, usize>,
}

impl Question {
    /// What this Pod asks of the cluster's nodes.
    pub fn of(pod: &Arc<Pod>, cluster: &Cluster) -> Self {
        Self {
            demand: pod.spec.as_ref().map(Demand::of).unwrap_or_default(),
            reach: Reach::of(pod, cluster),
            rules: Rules::of(pod, cluster),
            spread: Spread::of(pod, cluster),
            siblings: cluster.siblings(pod).cloned().unwrap_or_default(),
            pod: pod.clone(),
        }
    }

    /// What has to happen before the Pod can run on any node.
    pub fn waits(&self) -> &[Reason] {
        &self.reach.waits
    }

    /// Everything that keeps the Pod off this node. Empty: it may run there.
    pub fn reasons(&self, node: &Node, site: &Site) -> Vec<Reason> {
        let mut reasons = Vec::new();
        reasons.extend((!is_ready(node)).then_some(Reason::NotReady));
        reasons.extend(self.spec().map(|spec| mismatches(spec, node)).unwrap_or_default());
        reasons.extend(site.room().lacks(&self.demand, self.pod.metadata.uid.as_deref()));
        reasons.extend(self.reach.reasons(node));
        reasons.extend(self.rules.reasons(node));
        reasons.extend(self.spread.reasons(node));
        reasons
    }

    /// Whether the answer of one node may change by what happens on another, or to a volume.
    pub fn looks_around(pod: &Pod) -> bool {
        inter_pod::looks_around(pod) || spread::looks_around(pod) || !volumes::claims(pod).is_empty()
    }

    /// What the Pod takes.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    pub(super) fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    /// How many Pods of the same controller the node has.
    pub(super) fn siblings(&self, node: &str) -> usize {
        self.siblings.get(node).copied().unwrap_or(0)
    }

    /// What the Pod likes about a node, each kind of wish by itself; more is better.
    pub(super) fn likings(&self, node: &Node) -> [i64; 4] {
        let Some(spec) = self.spec() else { return [0; 4] };
        let shunned = crate::placement::taints::shunned(spec, node);
        let shunned = i64::try_from(shunned).unwrap_or(i64::MAX);
        [-shunned, affinity::preference(spec, node), self.rules.liking(node), -self.spread.crowding(node)]
    }
}

/// Whether the node's agent lives and can start Pods.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

//! One Pod's question to many nodes: what of it can be worked out once is.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};

use crate::placement::{Cluster, Demand, Reason, Room, Site, mismatches};

/// See the module's documentation. It holds for as long as the cluster does not change.
#[derive(Clone, Debug)]
pub struct Question {
    pod: Arc<Pod>,
    demand: Demand,
}

impl Question {
    /// What this Pod asks of the cluster's nodes.
    pub fn of(pod: &Arc<Pod>, _cluster: &Cluster) -> Self {
        let demand = pod.spec.as_ref().map(Demand::of).unwrap_or_default();
        Self { pod: pod.clone(), demand }
    }

    /// Everything that keeps the Pod off this node. Empty: it may run there.
    pub fn reasons(&self, node: &Node, site: &Site) -> Vec<Reason> {
        let mut reasons = Vec::new();
        reasons.extend((!is_ready(node)).then_some(Reason::NotReady));
        reasons.extend(self.spec().map(|spec| mismatches(spec, node)).unwrap_or_default());
        reasons.extend(self.lacks(site.room()));
        reasons
    }

    fn lacks(&self, room: &Room) -> Vec<Reason> {
        room.lacks(&self.demand, self.pod.metadata.uid.as_deref())
    }

    /// What the Pod takes.
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }
}

/// Whether the node's agent lives and can start Pods.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

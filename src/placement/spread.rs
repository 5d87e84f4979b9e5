//! `spec.topologySpreadConstraints`: how even Pods stand over the domains of a topology.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, TopologySpreadConstraint};

use crate::api::selectors::Selector;
use crate::placement::{Cluster, Effect, Reason, affinity, untolerated};

/// A Pod's constraints, and how its like stand now.
#[derive(Clone, Debug, Default)]
pub(super) struct Spread {
    hard: Vec<Constraint>,
    soft: Vec<Constraint>,
}

#[derive(Clone, Debug)]
struct Constraint {
    key: String,
    skew_max: i64,
    /// How many Pods that count are in each domain.
    counts: BTreeMap<String, i64>,
    /// Count of the domain that has least.
    least: i64,
    /// 1 where the Pod itself counts.
    own: i64,
}

/// Whether the Pod has constraints.
pub(super) fn looks_around(pod: &Pod) -> bool {
    !constraints(pod).is_empty()
}

fn constraints(pod: &Pod) -> &[TopologySpreadConstraint] {
    pod.spec.as_ref().and_then(|spec| spec.topology_spread_constraints.as_deref()).unwrap_or_default()
}

impl Spread {
    pub(super) fn of(pod: &Pod, cluster: &Cluster) -> Self {
        let (hard, soft): (Vec<_>, Vec<_>) =
            constraints(pod).iter().partition(|constraint| constraint.when_unsatisfiable == "DoNotSchedule");
        let read = |all: Vec<&TopologySpreadConstraint>| {
            let keys: Vec<&str> = all.iter().map(|constraint| constraint.topology_key.as_str()).collect();
            all.iter().map(|constraint| Constraint::read(constraint, pod, &keys, cluster)).collect()
        };
        Self { hard: read(hard), soft: read(soft) }
    }

    pub(super) fn reasons(&self, node: &Node) -> Option<Reason> {
        self.hard.iter().find_map(|constraint| match label(node, &constraint.key) {
            None => Some(Reason::SpreadLabel { key: constraint.key.clone() }),
            Some(value) => {
                let skew = constraint.count(value) + constraint.own - constraint.least;
                (skew > constraint.skew_max).then(|| Reason::Spread { key: constraint.key.clone() })
            }
        })
    }

    /// How many of its like the node's domains have, of the constraints that are but wishes.
    pub(super) fn crowding(&self, node: &Node) -> i64 {
        let crowd = |constraint: &Constraint| match label(node, &constraint.key) {
            Some(value) => constraint.count(value),
            // Outside of every domain: after all that are in one.
            None => constraint.counts.values().max().map_or(1, |most| most + 1),
        };
        self.soft.iter().map(crowd).sum()
    }
}

impl Constraint {
    fn read(constraint: &TopologySpreadConstraint, pod: &Pod, keys: &[&str], cluster: &Cluster) -> Self {
        let key = &constraint.topology_key;
        let alike = Alike::read(constraint, pod);
        let mut counts = BTreeMap::new();
        for (_, node, _) in cluster.nodes().filter(|(_, node, _)| takes_part(constraint, pod, node)) {
            if let Some(value) =
                label(node, key).filter(|_| keys.iter().all(|key| label(node, key).is_some()))
            {
                counts.entry(value.clone()).or_insert(0);
            }
        }
        let own = pod.metadata.uid.as_deref().unwrap_or_default();
        for (uid, placed, node) in cluster.all_placed() {
            let counted = label(node, key).and_then(|value| counts.get_mut(value));
            if let Some(count) = counted.filter(|_| uid != own && alike.includes(&placed.pod))
                && takes_part(constraint, pod, node)
            {
                *count += 1;
            }
        }
        let too_few =
            constraint.min_domains.is_some_and(|least| counts.len() < usize::try_from(least).unwrap_or(0));
        let least = if too_few { 0 } else { counts.values().min().copied().unwrap_or(0) };
        let own = i64::from(alike.includes(pod));
        Self { key: key.clone(), skew_max: i64::from(constraint.max_skew), counts, least, own }
    }

    fn count(&self, value: &str) -> i64 {
        self.counts.get(value).copied().unwrap_or(0)
    }
}

/// Whether a node's domain counts for this Pod: by default where its selector and affinity let it run, whatever the
/// taints.
fn takes_part(constraint: &TopologySpreadConstraint, pod: &Pod, node: &Node) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let honors = |policy: &Option<String>, default: bool| match policy.as_deref() {
        None => default,
        Some(policy) => policy == "Honor",
    };
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let effects = [Effect::NoSchedule, Effect::NoExecute];
    (!honors(&constraint.node_affinity_policy, true) || affinity::mismatch(spec, node).is_none())
        && (!honors(&constraint.node_taints_policy, false)
            || untolerated(node, tolerations, &effects).is_empty())
}

/// Which Pods count.
struct Alike {
    namespace: Option<String>,
    selector: Option<Selector>,
    same: Vec<(String, String)>,
}

impl Alike {
    fn read(constraint: &TopologySpreadConstraint, pod: &Pod) -> Self {
        let labels = pod.metadata.labels.as_ref();
        let keys = constraint.match_label_keys.iter().flatten();
        Self {
            namespace: pod.metadata.namespace.clone(),
            selector: Selector::from_object(constraint.label_selector.as_ref()).ok(),
            same: keys.filter_map(|key| Some((key.clone(), labels?.get(key)?.clone()))).collect(),
        }
    }

    fn includes(&self, pod: &Pod) -> bool {
        let empty = BTreeMap::new();
        let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
        pod.metadata.namespace == self.namespace
            && pod.metadata.deletion_timestamp.is_none()
            && self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
            && self.same.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a String> {
    node.metadata.labels.as_ref()?.get(key)
}

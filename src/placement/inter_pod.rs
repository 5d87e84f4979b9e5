//! Rules between Pods: affinity and anti-affinity, of the Pod and of those that are placed already, by topology.
//!
//! What of the cluster matters to one Pod is worked out once; then each node is a look-up of its labels. A topology is a
//! label of nodes, a domain one value of it.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Node, Pod, PodAffinityTerm};

use crate::api::selectors::Selector;
use crate::placement::{Cluster, Reason};

/// Domains by topology key and value.
type Domains = BTreeSet<(String, String)>;

/// What other Pods mean for this one.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// Topology keys of the required affinity.
    wanted_keys: Vec<String>,
    /// Where Pods are that match all its terms.
    wanted: Domains,
    /// No Pod matches, but this one itself: somebody has to be the first.
    is_first: bool,
    /// Where Pods are that it keeps away from.
    shunned: Domains,
    /// Where Pods are that keep it away.
    shunning: Domains,
    /// What each domain is worth to it.
    liked: BTreeMap<(String, String), i64>,
}

/// Whether the Pod keeps others away from where it is.
pub(super) fn repels(pod: &Pod) -> bool {
    !required_anti(pod).is_empty()
}

/// Whether the Pod has rules of its own about others.
pub(super) fn looks_around(pod: &Pod) -> bool {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    affinity.is_some_and(|affinity| affinity.pod_affinity.is_some() || affinity.pod_anti_affinity.is_some())
}

impl Rules {
    pub(super) fn of(pod: &Pod, cluster: &Cluster) -> Self {
        let mut rules = Self::default();
        let own = pod.metadata.uid.as_deref().unwrap_or_default();
        for (_, placed, node) in cluster.repelling().filter(|(uid, ..)| *uid != own) {
            let terms = Terms::read(&placed.pod, required_anti(&placed.pod));
            rules.shunning.extend(terms.matching(pod, cluster).filter_map(|key| domain(node, key)));
        }
        if looks_around(pod) {
            rules.look_around(pod, own, cluster);
        }
        rules
    }

    fn look_around(&mut self, pod: &Pod, own: &str, cluster: &Cluster) {
        let wanted = Terms::read(pod, required(pod));
        let shunned = Terms::read(pod, required_anti(pod));
        let liked: Vec<(i64, Terms)> = preferred(pod)
            .into_iter()
            .map(|(weight, term)| (weight, Terms::read(pod, std::slice::from_ref(term))))
            .collect();
        self.wanted_keys = wanted.0.iter().map(|term| term.key.clone()).collect();
        for (_, placed, node) in cluster.all_placed().filter(|(uid, ..)| *uid != own) {
            if !wanted.0.is_empty() && wanted.matching(&placed.pod, cluster).count() == wanted.0.len() {
                self.wanted.extend(self.wanted_keys.iter().filter_map(|key| domain(node, key)));
            }
            self.shunned.extend(shunned.matching(&placed.pod, cluster).filter_map(|key| domain(node, key)));
            for (weight, terms) in &liked {
                for domain in terms.matching(&placed.pod, cluster).filter_map(|key| domain(node, key)) {
                    *self.liked.entry(domain).or_default() += weight;
                }
            }
        }
        self.is_first = self.wanted.is_empty() && wanted.matching(pod, cluster).count() == wanted.0.len();
    }

    pub(super) fn reasons(&self, node: &Node) -> Vec<Reason> {
        let is_in = |domains: &Domains| domains.iter().any(|(key, value)| label(node, key) == Some(value));
        let has_wanted = |key: &String| match domain(node, key) {
            Some(domain) => self.is_first || self.wanted.contains(&domain),
            None => false,
        };
        let mut reasons = Vec::new();
        reasons.extend((!self.wanted_keys.iter().all(has_wanted)).then_some(Reason::PodAffinity));
        reasons.extend(is_in(&self.shunned).then_some(Reason::PodAntiAffinity));
        reasons.extend(is_in(&self.shunning).then_some(Reason::ExistingAntiAffinity));
        reasons
    }

    /// How much the Pod likes the node for whom it has around it.
    pub(super) fn liking(&self, node: &Node) -> i64 {
        let here = self.liked.iter().filter(|((key, value), _)| label(node, key) == Some(value));
        here.map(|(_, weight)| weight).sum()
    }
}

/// Terms as they are compared with Pods.
struct Terms(Vec<Term>);

struct Term {
    key: String,
    selector: Option<Selector>,
    /// Labels that must be the same as the Pod's, and those that must differ.
    same: Vec<(String, String)>,
    other: Vec<(String, String)>,
    namespaces: BTreeSet<String>,
    namespace_selector: Option<Selector>,
}

impl Terms {
    fn read(pod: &Pod, terms: &[PodAffinityTerm]) -> Self {
        Self(terms.iter().map(|term| Term::read(pod, term)).collect())
    }

    /// Topology keys of the terms that the other Pod matches.
    fn matching<'a>(&'a self, other: &'a Pod, cluster: &'a Cluster) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |term| term.matches(other, cluster)).map(|term| term.key.as_str())
    }
}

impl Term {
    fn read(pod: &Pod, term: &PodAffinityTerm) -> Self {
        let labels = pod.metadata.labels.as_ref();
        let own = |keys: &Option<Vec<String>>| -> Vec<(String, String)> {
            let pairs =
                keys.iter().flatten().filter_map(|key| Some((key.clone(), labels?.get(key)?.clone())));
            pairs.collect()
        };
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.extend(pod.metadata.namespace.clone());
        }
        let read = |selector: &_| Selector::from_object(Some(selector)).ok();
        Self {
            key: term.topology_key.clone(),
            selector: term.label_selector.as_ref().and_then(read),
            same: own(&term.match_label_keys),
            other: own(&term.mismatch_label_keys),
            namespaces,
            namespace_selector: term.namespace_selector.as_ref().and_then(read),
        }
    }

    fn matches(&self, other: &Pod, cluster: &Cluster) -> bool {
        let empty = BTreeMap::new();
        let labels = other.metadata.labels.as_ref().unwrap_or(&empty);
        let namespace = other.metadata.namespace.as_deref().unwrap_or_default();
        let by_label = || {
            let labels = cluster.namespace(namespace).unwrap_or(&empty);
            self.namespace_selector.as_ref().is_some_and(|selector| selector.matches(labels))
        };
        (self.namespaces.contains(namespace) || by_label())
            && self.selector.as_ref().is_some_and(|selector| selector.matches(labels))
            && self.same.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.other.iter().all(|(key, value)| labels.get(key) != Some(value))
    }
}

fn required(pod: &Pod) -> &[PodAffinityTerm] {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_affinity.as_ref());
    affinity
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

fn required_anti(pod: &Pod) -> &[PodAffinityTerm] {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.pod_anti_affinity.as_ref());
    affinity
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_deref())
        .unwrap_or_default()
}

/// Preferred terms with their weights; what is to be avoided weighs less than nothing.
fn preferred(pod: &Pod) -> Vec<(i64, &PodAffinityTerm)> {
    let Some(affinity) = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()) else { return Vec::new() };
    let near = affinity.pod_affinity.as_ref();
    let near = near.and_then(|terms| terms.preferred_during_scheduling_ignored_during_execution.as_deref());
    let far = affinity.pod_anti_affinity.as_ref();
    let far = far.and_then(|terms| terms.preferred_during_scheduling_ignored_during_execution.as_deref());
    let near = near.unwrap_or_default().iter().map(|term| (i64::from(term.weight), &term.pod_affinity_term));
    let far = far.unwrap_or_default().iter().map(|term| (-i64::from(term.weight), &term.pod_affinity_term));
    near.chain(far).collect()
}

fn domain(node: &Node, key: &str) -> Option<(String, String)> {
    Some((key.to_owned(), label(node, key)?.clone()))
}

fn label<'a>(node: &'a Node, key: &str) -> Option<&'a String> {
    node.metadata.labels.as_ref()?.get(key)
}

//! The count of a DaemonSet's Pods over all nodes, kept up with what changes: a Pod or node costs its own node only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PodSpec};

use super::REVISION_LABEL;
use crate::api::selectors::Selector;
use crate::placement;
use crate::steward::children;
use crate::steward::object::Object;
use crate::steward::view::selector_of;
use crate::time::WallTime;

/// What counts of one Pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Facts {
    created: Option<Timestamp>,
    name: String,
    hash: Option<String>,
    ready_since: Option<Timestamp>,
}

/// What one node adds to the sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Share {
    count: Count,
    ready_since: Option<Timestamp>,
    part: Option<Part>,
}

/// What a living node has to do with the rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Its Pod is of an older revision.
    Outdated { is_ready: bool },
    /// Its Pod is of the newest revision, and not ready.
    Unready,
}

/// What counts of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fit {
    /// It should run a Pod.
    is_wanted: bool,
    /// Its agent lives.
    is_up: bool,
}

/// The sums of a DaemonSet's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Nodes that should run a Pod.
    pub desired: i64,
    /// Of these, nodes that have one.
    pub current: i64,
    /// Nodes that have one and should not.
    pub misscheduled: i64,
    /// Nodes that should run one, and it is ready.
    pub ready: i64,
    /// Of these, those where it has been so for long enough.
    pub available: i64,
    /// Nodes whose Pod is of the newest template.
    pub updated: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Tally {
    hash: String,
    template: Option<PodSpec>,
    selector: Selector,
    min_ready: Duration,
    nodes: BTreeMap<String, Fit>,
    pods: BTreeMap<String, BTreeMap<String, Facts>>,
    hashes: BTreeMap<String, usize>,
    strays: BTreeSet<String>,
    shares: BTreeMap<String, Share>,
    sums: Count,
    /// Nodes whose Pod is ready, by since when; those before the first have been counted as available.
    waiting: BTreeSet<(Timestamp, String)>,
    available: BTreeSet<String>,
    /// Living nodes whose Pod is of an older revision, those where it is not ready first.
    outdated: BTreeSet<(bool, String)>,
    /// Living nodes whose Pod is of the newest revision and not ready.
    unready: BTreeSet<String>,
}

impl Tally {
    /// Takes in the DaemonSet. Everything is counted anew where template, selector or `minReadySeconds` have changed.
    pub fn set(&mut self, set: &Object, nodes: &BTreeMap<String, Arc<Node>>) {
        let (hash, min_ready) = (super::hash(set), children::min_ready(set));
        if self.template.is_some() && self.hash == hash && self.min_ready == min_ready {
            return;
        }
        self.template = serde::Deserialize::deserialize(&set["spec"]["template"]["spec"]).ok();
        (self.hash, self.min_ready, self.selector) = (hash, min_ready, selector_of(set));
        self.nodes = nodes.iter().map(|(name, node)| (name.clone(), self.wants(node))).collect();
        let old = std::mem::take(&mut self.shares);
        (self.sums, self.waiting, self.available) = Default::default();
        (self.outdated, self.unready) = Default::default();
        for name in old.into_keys().chain(nodes.keys().cloned()).collect::<BTreeSet<_>>() {
            self.refresh(&name);
        }
    }

    fn wants(&self, node: &Node) -> Fit {
        let template = self.template.as_ref();
        let is_wanted = template.is_some_and(|spec| placement::daemon_set::verdict(spec, node).should_run());
        Fit { is_wanted, is_up: placement::is_ready(node) }
    }

    /// Takes in a node, or that it is gone. Whether that changes the count.
    pub fn node(&mut self, name: &str, node: Option<&Node>) -> bool {
        match node.map(|node| self.wants(node)) {
            Some(fit) => drop(self.nodes.insert(name.to_owned(), fit)),
            None => drop(self.nodes.remove(name)),
        }
        self.refresh(name)
    }

    /// Takes in a Pod that the DaemonSet controls, or takes it out as it was.
    pub fn pod(&mut self, pod: &Object, is_there: bool) {
        let (uid, node) = (pod.uid().to_owned(), pod.text("/spec/nodeName").to_owned());
        self.strays.remove(&uid);
        if is_there && !self.selector.matches(pod.labels()) {
            self.strays.insert(uid.clone());
        }
        let has_left = pod.is_ending() && matches!(children::phase(pod), "Succeeded" | "Failed");
        let facts = Facts {
            created: pod.meta.creation_timestamp.as_ref().map(|time| time.0),
            name: pod.name().to_owned(),
            hash: pod.label(REVISION_LABEL).map(str::to_owned),
            ready_since: children::ready_since(pod).map(|time| time.0),
        };
        let here = self.pods.entry(node.clone()).or_default();
        if let Some(hash) = here.remove(&uid).and_then(|before| before.hash)
            && let Some(count) = self.hashes.get_mut(&hash)
        {
            *count -= 1;
            if *count == 0 {
                self.hashes.remove(&hash);
            }
        }
        if is_there && !has_left {
            if let Some(hash) = &facts.hash {
                *self.hashes.entry(hash.clone()).or_default() += 1;
            }
            here.insert(uid, facts);
        }
        if here.is_empty() {
            self.pods.remove(&node);
        }
        self.refresh(&node);
    }

    fn refresh(&mut self, node: &str) -> bool {
        let share = self.share(node);
        let old = match self.shares.get(node) {
            Some(old) if *old == share => return false,
            Some(old) => old.clone(),
            None => Share::default(),
        };
        if let Some(since) = old.ready_since {
            self.waiting.remove(&(since, node.to_owned()));
            self.available.remove(node);
        }
        self.take_part(node, old.part, false);
        self.take_part(node, share.part, true);
        if let Some(since) = share.ready_since {
            self.waiting.insert((since, node.to_owned()));
        }
        self.sums.add(&share.count, 1);
        self.sums.add(&old.count, -1);
        self.shares.insert(node.to_owned(), share);
        true
    }

    /// The oldest Pod of a node is the one that counts.
    fn share(&self, node: &str) -> Share {
        let first = self.pods.get(node).and_then(|pods| pods.values().min());
        let mut count = Count::default();
        let fit = self.nodes.get(node).copied();
        match (fit.map(|fit| fit.is_wanted), first) {
            (None, _) | (Some(false), None) => return Share::default(),
            (Some(false), Some(_)) => count.misscheduled = 1,
            (Some(true), None) => count.desired = 1,
            (Some(true), Some(pod)) => {
                let (is_ready, is_current) =
                    (pod.ready_since.is_some(), pod.hash.as_deref() == Some(self.hash.as_str()));
                (count.desired, count.current) = (1, 1);
                (count.ready, count.updated) = (is_ready.into(), is_current.into());
                let part = match (is_current, is_ready) {
                    (false, is_ready) => Some(Part::Outdated { is_ready }),
                    (true, false) => Some(Part::Unready),
                    (true, true) => None,
                };
                let part = part.filter(|_| fit.is_some_and(|fit| fit.is_up));
                return Share { count, ready_since: pod.ready_since, part };
            }
        }
        Share { count, ready_since: None, part: None }
    }

    fn take_part(&mut self, node: &str, part: Option<Part>, is_new: bool) {
        let node = node.to_owned();
        match (part, is_new) {
            (None, _) => {}
            (Some(Part::Outdated { is_ready }), true) => drop(self.outdated.insert((is_ready, node))),
            (Some(Part::Outdated { is_ready }), false) => drop(self.outdated.remove(&(is_ready, node))),
            (Some(Part::Unready), true) => drop(self.unready.insert(node)),
            (Some(Part::Unready), false) => drop(self.unready.remove(&node)),
        }
    }

    /// How many nodes should run a Pod.
    pub(super) fn desired(&self) -> i64 {
        self.sums.desired
    }

    /// Whether the node is there and should run a Pod.
    pub(super) fn is_eligible(&self, node: &str) -> bool {
        self.nodes.get(node).is_some_and(|fit| fit.is_wanted)
    }

    /// Living nodes whose Pod is of an older revision, those where it is not ready first.
    pub(super) fn outdated(&self) -> impl Iterator<Item = &str> {
        self.outdated.iter().map(|(_, node)| node.as_str())
    }

    /// Living nodes whose Pod is of the newest revision and not ready.
    pub(super) fn unready(&self) -> impl Iterator<Item = &str> {
        self.unready.iter().map(String::as_str)
    }

    /// The sums now, and after how long they change by time alone.
    pub fn count(&mut self, wall: WallTime) -> (Count, Option<Duration>) {
        let mut wake = None;
        while let Some((since, node)) = self.waiting.first() {
            let missing = children::missing(WallTime(*since), self.min_ready, wall);
            if !missing.is_zero() {
                wake = Some(missing);
                break;
            }
            let node = node.clone();
            self.waiting.pop_first();
            self.available.insert(node);
        }
        (Count { available: self.available.len() as i64, ..self.sums }, wake)
    }

    /// Whether any Pod is of the template with this hash.
    pub fn has_pods_of(&self, hash: &str) -> bool {
        self.hashes.contains_key(hash)
    }

    /// UIDs of Pods that the DaemonSet controls and does not select.
    pub fn strays(&self) -> Vec<String> {
        self.strays.iter().cloned().collect()
    }
}

impl Count {
    fn add(&mut self, other: &Self, times: i64) {
        self.desired += times * other.desired;
        self.current += times * other.current;
        self.misscheduled += times * other.misscheduled;
        self.ready += times * other.ready;
        self.updated += times * other.updated;
    }
}

//! What a node has left: its allocatable minus what is bound to it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;

use crate::api::pod_resources::{self, Resources};
use crate::api::quantity::Quantity;
use crate::placement::{Demand, Reason};

const PODS: &str = "pods";

/// Annotation of a Node with what it has left, in its agent's own account: `cpu=3500m,memory=7Gi,pods=104`.
pub const FREE_ANNOTATION: &str = "leasehold.dev/free";

/// The room on one node. Every Pod in it is counted once, by the key it was bound with (its UID).
#[derive(Clone, Debug, Default)]
pub struct Room {
    allocatable: Resources,
    /// What the node itself says is left, where that is listened to.
    advertised: Option<Resources>,
    bound: BTreeMap<String, Demand>,
    used: Resources,
}

impl Room {
    /// Takes what the node has to give from its status; a resource whose amount cannot be read is not there.
    /// Returns whether anything changed.
    pub fn set_allocatable(&mut self, node: &Node) -> bool {
        let given = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
        let allocatable = pod_resources::read(given);
        let changed = self.allocatable != allocatable;
        self.allocatable = allocatable;
        changed
    }

    /// Takes what the node says of itself that it has left: it knows of Pods that nobody else knows yet. From now on the
    /// less of both counts.
    pub fn set_advertised(&mut self, node: &Node) {
        let annotations = node.metadata.annotations.as_ref();
        self.advertised = annotations.and_then(|all| all.get(FREE_ANNOTATION)).map(|text| read_advert(text));
    }

    /// What is left, as a node's annotation says it.
    pub fn advert(&self) -> String {
        let left = self.allocatable.keys().map(|name| format!("{name}={}", self.left(name)));
        left.collect::<Vec<_>>().join(",")
    }

    fn left(&self, name: &str) -> Quantity {
        let allocatable = self.allocatable.get(name).copied().unwrap_or(Quantity::ZERO);
        allocatable - self.taken(name)
    }

    /// What is taken of a resource: by the Pods that are counted, or, when it says more, by the node's own account.
    fn taken(&self, name: &str) -> Quantity {
        let counted = match name {
            PODS => Quantity::from_units(self.bound.len() as i64),
            name => self.used.get(name).copied().unwrap_or(Quantity::ZERO),
        };
        let hidden = || {
            let advertised = self.advertised.as_ref()?.get(name)?;
            Some(*self.allocatable.get(name)? - *advertised)
        };
        hidden().map_or(counted, |hidden| counted.max(hidden))
    }

    /// How much of the node would be left beside this Pod: the mean over CPU, memory and Pods, in millionths.
    pub fn share_left(&self, demand: &Demand) -> i64 {
        let share = |name: &str| {
            let allocatable = self.allocatable.get(name).map_or(0, |amount| amount.milli_value());
            let asked = if name == PODS { Quantity::from_units(1) } else { demand.resource(name) };
            let left = (self.left(name) - asked).milli_value().max(0);
            if allocatable <= 0 { 0 } else { i128::from(left) * 1_000_000 / i128::from(allocatable) }
        };
        let sum: i128 = ["cpu", "memory", PODS].into_iter().map(share).sum();
        i64::try_from(sum / 3).unwrap_or(0)
    }

    /// Counts a Pod; in place of what it took before, if it was counted.
    pub fn bind(&mut self, pod: &str, demand: Demand) {
        self.release(pod);
        for (name, amount) in &demand.resources {
            let used = self.used.entry(name.clone()).or_insert(Quantity::ZERO);
            *used = *used + *amount;
        }
        self.bound.insert(pod.to_owned(), demand);
    }

    /// Counts a Pod no longer. Returns whether it was counted.
    pub fn release(&mut self, pod: &str) -> bool {
        let Some(demand) = self.bound.remove(pod) else { return false };
        for (name, amount) in demand.resources {
            if let Some(used) = self.used.get_mut(&name) {
                *used = *used - amount;
            }
        }
        self.used.retain(|_, used| !used.is_zero());
        true
    }

    /// Whether this Pod is counted.
    pub fn holds(&self, pod: &str) -> bool {
        self.bound.contains_key(pod)
    }

    /// Why a Pod does not fit beside those that are bound; empty when it does. `leaving` is a bound Pod that will
    /// have gone by then.
    pub fn lacks(&self, demand: &Demand, leaving: Option<&str>) -> Vec<Reason> {
        let gone = leaving.and_then(|pod| self.bound.get(pod));
        let mut reasons = Vec::new();
        reasons.extend(self.too_many_pods(gone.is_some()));
        reasons.extend(demand.resources.keys().filter_map(|name| self.insufficient(name, demand, gone)));
        reasons.extend(self.taken_ports(demand, leaving));
        reasons
    }

    fn too_many_pods(&self, one_leaves: bool) -> Option<Reason> {
        let allocatable = self.allocatable.get(PODS).copied().unwrap_or(Quantity::ZERO);
        let staying = self.taken(PODS) - Quantity::from_units(i64::from(one_leaves));
        let count = staying + Quantity::from_units(1);
        (count > allocatable).then_some(Reason::TooManyPods { allocatable })
    }

    fn insufficient(&self, name: &str, demand: &Demand, gone: Option<&Demand>) -> Option<Reason> {
        let requested = demand.resource(name);
        let used = self.taken(name) - gone.map_or(Quantity::ZERO, |gone| gone.resource(name));
        let allocatable = self.allocatable.get(name).copied().unwrap_or(Quantity::ZERO);
        let lacking = !requested.is_zero() && used + requested > allocatable;
        lacking.then(|| Reason::Insufficient { resource: name.to_owned(), requested, used, allocatable })
    }

    fn taken_ports(&self, demand: &Demand, leaving: Option<&str>) -> Option<Reason> {
        let staying = self.bound.iter().filter(|(pod, _)| Some(pod.as_str()) != leaving);
        let mut taken = staying.flat_map(|(_, bound)| &bound.ports);
        let conflict = |port: &_| demand.ports.iter().find(|wanted| wanted.conflicts(port));
        taken.find_map(conflict).cloned().map(Reason::HostPort)
    }
}

fn read_advert(text: &str) -> Resources {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(name, amount)| Some((name.to_owned(), Quantity::parse(amount).ok()?))).collect()
}

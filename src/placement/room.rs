//! What a node has left: its allocatable minus what is bound to it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;

use crate::api::pod_resources::{self, Resources};
use crate::api::quantity::Quantity;
use crate::placement::{Demand, Reason};

const PODS: &str = "pods";

/// The room on one node. Every Pod in it is counted once, by the key it was bound with (its UID).
#[derive(Clone, Debug, Default)]
pub struct Room {
    allocatable: Resources,
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
        let count = self.bound.len() - usize::from(one_leaves) + 1;
        (Quantity::from_units(count as i64) > allocatable).then_some(Reason::TooManyPods { allocatable })
    }

    fn insufficient(&self, name: &str, demand: &Demand, gone: Option<&Demand>) -> Option<Reason> {
        let requested = demand.resource(name);
        let used = self.used.get(name).copied().unwrap_or(Quantity::ZERO)
            - gone.map_or(Quantity::ZERO, |gone| gone.resource(name));
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

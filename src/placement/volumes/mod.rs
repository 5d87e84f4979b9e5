//! How far the volumes of a Pod reach: which of its claims wait for something, where the volumes are that are bound, and
//! where volumes could be had for those that are bound with their first consumer.

pub mod matching;
#[cfg(test)]
mod tests;
mod tie;

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::api::storage::v1::StorageClass;

pub use tie::{only_node, tied_to};

use crate::api::storage::SELECTED_NODE;
use crate::placement::{Cluster, Reason};
use matching::{Wish, reaches};

/// The reach of one Pod's volumes.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    /// What has to happen before the Pod can run anywhere.
    pub(super) waits: Vec<Reason>,
    /// Volumes that can be had on some nodes only.
    tied: Vec<Arc<PersistentVolume>>,
    /// Claims that get their volume when the Pod has its node.
    delayed: Vec<Delayed>,
    /// A claim that one Pod at a time may use, and another one has.
    in_use: Option<String>,
}

/// A claim that gets its volume when the Pod has its node.
#[derive(Clone, Debug)]
struct Delayed {
    claim: Arc<PersistentVolumeClaim>,
    class: Arc<StorageClass>,
    /// Volumes that would do.
    volumes: Vec<Arc<PersistentVolume>>,
    /// Nodes of other Pods that use it: its volume will be there.
    nodes: BTreeSet<String>,
}

/// Names of the claims that the Pod uses, those of its ephemeral volumes among them.
pub fn claims(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    volumes.iter().filter_map(|volume| claim_of(pod, volume)).collect()
}

/// Name of the claim that a volume of the Pod stands for.
pub fn claim_of(pod: &Pod, volume: &Volume) -> Option<String> {
    if volume.ephemeral.is_some() {
        return Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name));
    }
    volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone())
}

/// What is so about one claim.
enum Standing {
    Bound(Arc<PersistentVolume>),
    Delayed(Delayed),
}

impl Reach {
    pub(super) fn of(pod: &Pod, cluster: &Cluster) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut reach = Self::default();
        for name in claims(pod) {
            match standing(&name, pod, cluster) {
                Ok(Standing::Bound(volume)) if matching::affinity(&volume).is_some() => {
                    reach.tied.push(volume);
                }
                Ok(Standing::Bound(_)) => {}
                Ok(Standing::Delayed(delayed)) => reach.delayed.push(delayed),
                Err(reason) if reach.waits.contains(&reason) => {}
                Err(reason) => reach.waits.push(reason),
            }
            let is_exclusive = cluster.claim(namespace, &name).is_some_and(|claim| is_exclusive(claim));
            if is_exclusive && cluster.nodes_of_claim(namespace, &name, pod).next().is_some() {
                reach.in_use = Some(name);
            }
        }
        reach
    }

    /// Why the Pod's volumes cannot be had on this node.
    pub(super) fn reasons(&self, node: &Node) -> Vec<Reason> {
        let out_of_reach = self.tied.iter().find(|volume| !reaches(volume, node));
        let name = |volume: &Arc<PersistentVolume>| volume.metadata.name.clone().unwrap_or_default();
        let mut reasons = Vec::new();
        reasons.extend(out_of_reach.map(|volume| Reason::VolumeReach { volume: name(volume) }));
        reasons.extend(self.unserved(node).map(|claim| Reason::NoVolume { claim }));
        reasons.extend(self.in_use.clone().map(|claim| Reason::ClaimInUse { claim }));
        reasons
    }

    /// A claim for which there would be no volume on this node.
    fn unserved(&self, node: &Node) -> Option<String> {
        let mut taken = BTreeSet::new();
        let unserved = self.delayed.iter().find(|delayed| !delayed.is_served(node, &mut taken))?;
        Some(unserved.claim.metadata.name.clone().unwrap_or_default())
    }
}

impl Delayed {
    /// Whether there is a volume for the claim on this node, or can be. Volumes that claims before it need are taken.
    fn is_served(&self, node: &Node, taken: &mut BTreeSet<String>) -> bool {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        if !self.nodes.is_empty() && !self.nodes.contains(name) {
            return false;
        }
        if let Some(selected) = selected_node(&self.claim) {
            return selected == name;
        }
        let found = Wish::of(&self.claim).best(self.volumes.iter().map(Arc::as_ref), Some(node), taken);
        if let Some(found) = found {
            taken.insert(found.metadata.name.clone().unwrap_or_default());
            return true;
        }
        matching::can_be_made(&self.class, node)
    }
}

/// The node for which a volume is being made for the claim.
pub fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    let annotations = claim.metadata.annotations.as_ref()?;
    annotations.get(SELECTED_NODE).map(String::as_str).filter(|node| !node.is_empty())
}

/// Whether one Pod at a time may use the claim.
fn is_exclusive(claim: &PersistentVolumeClaim) -> bool {
    let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    modes.iter().any(|mode| mode == "ReadWriteOncePod")
}

fn standing(name: &str, pod: &Pod, cluster: &Cluster) -> Result<Standing, Reason> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let missing = || Reason::ClaimMissing { name: name.to_owned() };
    let claim = cluster.claim(namespace, name).ok_or_else(missing)?;
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Reason::ClaimDeleted { name: name.to_owned() });
    }
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if let Some(volume) = volume.filter(|name| !name.is_empty()) {
        let missing = || Reason::VolumeMissing { claim: name.to_owned(), volume: volume.to_owned() };
        if phase == Some("Lost") {
            return Err(missing());
        }
        if phase != Some("Bound") {
            return Err(Reason::ClaimUnbound);
        }
        return cluster.volume(volume).cloned().map(Standing::Bound).ok_or_else(missing);
    }
    let class = cluster.class(matching::class_of_claim(claim)).filter(|class| matching::is_delayed(class));
    let class = class.ok_or(Reason::ClaimUnbound)?.clone();
    let wish = Wish::of(claim);
    let others = cluster.nodes_of_claim(namespace, name, pod).filter(|_| !is_exclusive(claim));
    Ok(Standing::Delayed(Delayed {
        volumes: cluster.unbound_volumes().filter(|volume| wish.fits(volume)).cloned().collect(),
        nodes: others.map(str::to_owned).collect(),
        claim: claim.clone(),
        class,
    }))
}

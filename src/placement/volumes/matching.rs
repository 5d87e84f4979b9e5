//! Which volume (`PersistentVolume`) suits a claim: as upstream, the smallest that is large enough, of the same class
//! and mode, with the access that is asked for, selected by the claim's selector, and within reach of the node.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Node, NodeSelector, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::api::quantity::Quantity;
use crate::api::selectors::Selector;
use crate::api::storage::{CLASS_BETA, LOCAL_PROVISIONER, NO_PROVISIONER, VOLUMES_DIR};
use crate::placement::matches_selector;

/// The class that a claim names; empty: none, and it is not to be given one.
pub fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let annotated = claim.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_BETA));
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    annotated.or(named).map(String::as_str).unwrap_or_default()
}

/// The class of a volume.
pub fn class_of_volume(volume: &PersistentVolume) -> &str {
    let annotated = volume.metadata.annotations.as_ref().and_then(|all| all.get(CLASS_BETA));
    let named = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    annotated.or(named).map(String::as_str).unwrap_or_default()
}

/// Whether claims of the class are bound only when a Pod that uses them has a node.
pub fn is_delayed(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// Who has claimed the volume, or for whom it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nobody.
    Free,
    /// This claim.
    ForIt,
    /// Another one.
    ForAnother,
}

/// For whom a volume is kept. One that was kept for a claim by name alone is the claim's of that name.
pub fn kept(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Kept {
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
        return Kept::Free;
    };
    let is_named = reference.name == claim.metadata.name && reference.namespace == claim.metadata.namespace;
    let uid = reference.uid.as_deref().unwrap_or_default();
    let is_it = is_named && (uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref());
    if is_it { Kept::ForIt } else { Kept::ForAnother }
}

/// What a claim asks for, read once.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    claim: &'a PersistentVolumeClaim,
    size: Quantity,
    selector: Selector,
}

impl<'a> Wish<'a> {
    /// What this claim asks for.
    pub fn of(claim: &'a PersistentVolumeClaim) -> Self {
        let spec = claim.spec.as_ref();
        let requests = spec.and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
        let asked = requests.and_then(|requests| requests.get("storage"));
        let selector = spec.and_then(|spec| spec.selector.as_ref());
        let selector = selector.map(|selector| serde_json::to_value(selector).unwrap_or_default());
        Self {
            claim,
            size: asked.and_then(|size| Quantity::parse(&size.0).ok()).unwrap_or(Quantity::ZERO),
            selector: selector.map_or_else(Selector::everything, |selector| {
                Selector::from_value(&selector).unwrap_or(Selector::Nothing)
            }),
        }
    }

    /// Whether the volume holds as much as is asked for.
    pub fn is_held_by(&self, volume: &PersistentVolume) -> bool {
        capacity(volume) >= self.size
    }

    /// Whether the volume is of the mode (file system or block device) that is asked for.
    pub fn has_mode_of(&self, volume: &PersistentVolume) -> bool {
        let asked = self.claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
        let given = volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
        asked.unwrap_or("Filesystem") == given.unwrap_or("Filesystem")
    }

    /// Whether the volume can be accessed in all the ways that are asked for.
    pub fn has_access_of(&self, volume: &PersistentVolume) -> bool {
        let asked = self.claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref());
        let given = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
        asked.unwrap_or_default().iter().all(|mode| given.contains(mode))
    }

    /// Whether the volume could be bound, wherever the Pod runs: kept for the claim, or free and as it asks.
    pub fn fits(&self, volume: &PersistentVolume) -> bool {
        if volume.metadata.deletion_timestamp.is_some()
            || !self.has_mode_of(volume)
            || !self.is_held_by(volume)
        {
            return false;
        }
        match kept(volume, self.claim) {
            Kept::ForIt => true,
            Kept::ForAnother => false,
            Kept::Free => self.is_as_asked(volume),
        }
    }

    fn is_as_asked(&self, volume: &PersistentVolume) -> bool {
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        let labels = volume.metadata.labels.clone().unwrap_or_default();
        // One that is not available yet is about to be said to be; binding it now would meet that write.
        phase == Some("Available")
            && class_of_volume(volume) == class_of_claim(self.claim)
            && self.has_access_of(volume)
            && self.selector.matches(&labels)
    }

    /// The best of `volumes`, besides those that are taken: one that is kept for the claim, else the smallest. Without a
    /// node, wherever it can be reached from.
    pub fn best<V: Borrow<PersistentVolume> + Clone>(
        &self,
        volumes: impl IntoIterator<Item = V>,
        node: Option<&Node>,
        taken: &BTreeSet<String>,
    ) -> Option<V> {
        let is_open = |volume: &PersistentVolume| {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            !taken.contains(name) && self.fits(volume) && node.is_none_or(|node| reaches(volume, node))
        };
        volumes.into_iter().filter(|volume| is_open((*volume).borrow())).min_by_key(|volume| {
            let volume: &PersistentVolume = volume.borrow();
            let is_free = kept(volume, self.claim) != Kept::ForIt;
            (is_free, capacity(volume), volume.metadata.name.clone())
        })
    }
}

fn capacity(volume: &PersistentVolume) -> Quantity {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()?.get("storage"));
    capacity.and_then(|size| Quantity::parse(&size.0).ok()).unwrap_or(Quantity::ZERO)
}

/// Which nodes the volume can be had on; none: all.
pub fn affinity(volume: &PersistentVolume) -> Option<&NodeSelector> {
    volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()
}

/// Whether the volume can be had on the node.
pub fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    affinity(volume).is_none_or(|required| matches_selector(required, node))
}

/// Whether a volume of the class can be made for a Pod of this node. What provisioners other than leasehold's can do is
/// not known here.
pub fn can_be_made(class: &StorageClass, node: &Node) -> bool {
    if class.provisioner == NO_PROVISIONER || !is_allowed(class, node) {
        return false;
    }
    class.provisioner != LOCAL_PROVISIONER || directory(node).is_some()
}

/// Below which directory the node keeps local volumes.
pub fn directory(node: &Node) -> Option<&str> {
    let annotated = node.metadata.annotations.as_ref()?.get(VOLUMES_DIR)?;
    annotated.starts_with('/').then_some(annotated.as_str())
}

/// Whether the node is where the class allows volumes.
fn is_allowed(class: &StorageClass, node: &Node) -> bool {
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    let labels = node.metadata.labels.as_ref();
    let matches = |term: &k8s_openapi::api::core::v1::TopologySelectorTerm| {
        term.match_label_expressions.iter().flatten().all(|requirement| {
            let value = labels.and_then(|labels| labels.get(&requirement.key));
            value.is_some_and(|value| requirement.values.contains(value))
        })
    };
    terms.is_empty() || terms.iter().any(matches)
}

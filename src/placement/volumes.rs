//! How far the volumes of a Pod reach: which of its claims are not bound yet, and where the volumes are that are.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod, Volume};

use crate::placement::{Cluster, Reason, matches_selector};

/// The reach of one Pod's volumes.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    /// What has to happen before the Pod can run anywhere.
    pub(super) waits: Vec<Reason>,
    /// Volumes that can be had on some nodes only.
    tied: Vec<Arc<PersistentVolume>>,
}

/// Names of the claims that the Pod uses, those of its ephemeral volumes among them.
pub(super) fn claims(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    volumes.iter().filter_map(|volume| claim(pod, volume)).collect()
}

fn claim(pod: &Pod, volume: &Volume) -> Option<String> {
    if volume.ephemeral.is_some() {
        return Some(format!("{}-{}", pod.metadata.name.as_deref().unwrap_or_default(), volume.name));
    }
    volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.clone())
}

impl Reach {
    pub(super) fn of(pod: &Pod, cluster: &Cluster) -> Self {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let mut reach = Self::default();
        for name in claims(pod) {
            match bound(&name, namespace, cluster) {
                Ok(volume) if is_tied(&volume) => reach.tied.push(volume),
                Ok(_) => {}
                Err(reason) if reach.waits.contains(&reason) => {}
                Err(reason) => reach.waits.push(reason),
            }
        }
        reach
    }

    /// Why the Pod's volumes cannot be had on this node.
    pub(super) fn reasons(&self, node: &Node) -> Option<Reason> {
        let out_of_reach = self.tied.iter().find(|volume| !reaches(volume, node))?;
        Some(Reason::VolumeReach { volume: out_of_reach.metadata.name.clone().unwrap_or_default() })
    }
}

fn bound(name: &str, namespace: &str, cluster: &Cluster) -> Result<Arc<PersistentVolume>, Reason> {
    let missing = || Reason::ClaimMissing { name: name.to_owned() };
    let claim = cluster.claim(namespace, name).ok_or_else(missing)?;
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Reason::ClaimDeleted { name: name.to_owned() });
    }
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
    let is_bound = claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"));
    let volume = volume.filter(|name| !name.is_empty() && is_bound).ok_or(Reason::ClaimUnbound)?;
    let missing = || Reason::VolumeMissing { claim: name.to_owned(), volume: volume.to_owned() };
    cluster.volume(volume).cloned().ok_or_else(missing)
}

fn is_tied(volume: &PersistentVolume) -> bool {
    volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref()).is_some()
}

fn reaches(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    affinity
        .and_then(|affinity| affinity.required.as_ref())
        .is_none_or(|required| matches_selector(required, node))
}

//! Directories of volumes that are to go: removed when no Pod here uses them any more, and only then is the volume let
//! go of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::PersistentVolume;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{Input, NodeLoop};
use crate::api::storage::{DIRECTORY, VOLUME_PROTECTION};
use crate::driver::agent::claimed::volumes_dir;
use crate::driver::agent::hands::Hands;
use crate::driver::watches::Seen;
use crate::placement::volumes::claims;
use crate::volumes::mounts;

/// Pauses before a removal that failed is tried again.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// The node's volumes that are about to go.
#[derive(Debug, Default)]
pub(super) struct Directories {
    ending: BTreeMap<String, PersistentVolume>,
    /// Names of those that are being seen to.
    busy: BTreeSet<String>,
}

/// Whether the volume only waits for its directory.
fn waits_for_directory(volume: &PersistentVolume) -> bool {
    let holds = |finalizer: &str| volume.finalizers().iter().any(|have| have == finalizer);
    volume.metadata.deletion_timestamp.is_some() && holds(DIRECTORY) && !holds(VOLUME_PROTECTION)
}

impl NodeLoop {
    pub(super) fn hear_volumes(&mut self, seen: Seen<PersistentVolume>) {
        match seen {
            Seen::Listed(volume) | Seen::Applied(volume) => {
                let name = volume.name_any();
                if waits_for_directory(&volume) {
                    self.directories.ending.insert(name, *volume);
                } else {
                    self.directories.ending.remove(&name);
                }
            }
            Seen::Deleted(volume) => drop(self.directories.ending.remove(&volume.name_any())),
            Seen::Restarted => self.directories.ending.clear(),
            Seen::Complete => {}
            Seen::Lost(why) => tracing::debug!(why, "volumes cannot be watched"),
        }
    }

    /// Removes the directories that nobody here uses, once it is known who is here.
    pub(super) fn remove_directories(&mut self) {
        if !self.whole || !self.waiting_for_list.is_empty() {
            return;
        }
        let due =
            self.directories.ending.iter().filter(|(name, volume)| {
                !self.directories.busy.contains(*name) && !self.is_used_here(volume)
            });
        let due: Vec<PersistentVolume> = due.map(|(_, volume)| volume.clone()).collect();
        for volume in due {
            self.directories.busy.insert(volume.name_any());
            let (hands, inputs) = (self.hands.clone(), self.inputs.clone());
            tokio::spawn(async move {
                let volume = Arc::new(volume);
                let mut pause = PAUSE_MIN;
                while let Err(why) = let_go(&hands, &volume).await {
                    tracing::warn!(why, volume = volume.name_any(), "a volume could not be let go of");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                let _ = inputs.send(Input::VolumeLetGo(volume.name_any())).await;
            });
        }
    }

    pub(super) fn volume_let_go(&mut self, name: &str) {
        self.directories.busy.remove(name);
        self.directories.ending.remove(name);
    }

    fn is_used_here(&self, volume: &PersistentVolume) -> bool {
        let claim = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        let Some((namespace, name)) =
            claim.and_then(|claim| claim.namespace.as_ref().zip(claim.name.as_ref()))
        else {
            return false;
        };
        self.hosted.values().filter(|hosted| !hosted.finished).any(|hosted| {
            hosted.pod.metadata.namespace.as_ref() == Some(namespace) && claims(&hosted.pod).contains(name)
        })
    }
}

/// The directory of a volume of this node's making.
fn directory(data_dir: &Path, volume: &PersistentVolume) -> Option<PathBuf> {
    let path = PathBuf::from(&volume.spec.as_ref()?.local.as_ref()?.path);
    (path == volumes_dir(data_dir).join(volume.name_any())).then_some(path)
}

async fn let_go(hands: &Hands, volume: &Arc<PersistentVolume>) -> Result<(), String> {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    if policy == Some("Delete")
        && let Some(path) = directory(&hands.config.data_dir, volume)
    {
        tracing::info!(volume = volume.name_any(), path = %path.display(), "removing a volume's directory");
        let removed = tokio::task::spawn_blocking(move || mounts::remove_tree(&path)).await;
        removed.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    }
    let volumes: Api<PersistentVolume> = Api::all(hands.client.clone());
    let Some(now) = volumes.get_opt(&volume.name_any()).await.map_err(|error| error.to_string())? else {
        return Ok(());
    };
    if now.metadata.uid != volume.metadata.uid || !waits_for_directory(&now) {
        return Ok(());
    }
    let kept: Vec<_> = now.finalizers().iter().filter(|have| *have != DIRECTORY).collect();
    let patch = json!({ "metadata": {
        "uid": now.metadata.uid,
        "resourceVersion": now.metadata.resource_version,
        "finalizers": kept,
    } });
    match volumes.patch(&volume.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

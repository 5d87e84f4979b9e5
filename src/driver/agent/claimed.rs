//! The volumes that a Pod has by its claims: which they are, asked of the coordinator until they are bound. What has
//! been found is kept beside the Pod, which has the same volumes for all of its life.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;

use super::hands::Hands;
use super::perform::{namespace, uid};
use crate::agent::sources::{Backing, Claimed, Claims};
use crate::api::storage::{BIND_COMPLETED, LOCAL_PROVISIONER, PROVISIONED_BY};
use crate::placement::volumes::{claims, matching};

/// How long a claim is waited for before the Pod says that it waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pauses between two looks at a claim.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Below which directory volumes of the node's own making are.
pub(super) fn volumes_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("volumes")
}

/// The volumes of the Pod's claims.
pub(super) async fn resolve(hands: &Hands, pod: &Pod) -> Claims {
    let names = claims(pod);
    if names.is_empty() {
        return Claims::default();
    }
    let file = hands.ground.data_of(uid(pod)).join("claims.json");
    let known: BTreeMap<String, Claimed> =
        std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    if names.iter().all(|name| known.contains_key(name)) {
        let volumes = known.into_iter().map(|(name, claimed)| (name, Ok(claimed))).collect();
        return Claims { volumes, known: true };
    }
    let mut found = BTreeMap::new();
    for name in names {
        let claimed = wait(hands, pod, &name).await;
        found.insert(name, claimed);
    }
    let whole: Option<BTreeMap<&String, &Claimed>> =
        found.iter().map(|(name, claimed)| Some((name, claimed.as_ref().ok()?))).collect();
    if let Some(whole) = whole {
        keep(&file, &whole);
    }
    Claims { volumes: found, known: false }
}

fn keep(file: &Path, whole: &BTreeMap<&String, &Claimed>) {
    let written = serde_json::to_vec(whole).map_err(std::io::Error::other).and_then(|bytes| {
        std::fs::create_dir_all(file.parent().unwrap_or(file))?;
        std::fs::write(file, bytes)
    });
    if let Err(error) = written {
        tracing::warn!(%error, "a Pod's volumes could not be remembered");
    }
}

/// Waits until the claim is bound, for a while.
async fn wait(hands: &Hands, pod: &Pod, name: &str) -> Result<Claimed, String> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut pause = PAUSE_MIN;
    loop {
        let why = match look(hands, pod, name).await {
            Ok(claimed) => return Ok(claimed),
            Err(Unready::Never(why)) => return Err(why),
            Err(Unready::Yet(why)) => why,
        };
        if tokio::time::Instant::now() + pause > deadline {
            return Err(why);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Why a claim's volume cannot be used.
enum Unready {
    /// It may be a moment later.
    Yet(String),
    /// Something else must happen first.
    Never(String),
}

async fn look(hands: &Hands, pod: &Pod, name: &str) -> Result<Claimed, Unready> {
    let failed = |what: String| move |error: kube::Error| Unready::Yet(format!("{what}: {error}"));
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(hands.client.clone(), namespace(pod));
    let claim = claims.get_opt(name).await;
    let claim = claim.map_err(failed(format!("failed to fetch PVC from API server: {name}")))?;
    let claim = claim.ok_or_else(|| Unready::Never(format!("persistentvolumeclaim {name:?} not found")))?;
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Unready::Never("can't start pod because PVC is being deleted".to_owned()));
    }
    let is_bound = claim.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(BIND_COMPLETED));
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
    let named = named.filter(|name| is_bound && !name.is_empty());
    let named = named.ok_or_else(|| Unready::Yet(format!("PVC {name} is not bound")))?;
    let volumes: Api<PersistentVolume> = Api::all(hands.client.clone());
    let volume = volumes.get_opt(&named).await;
    let volume = volume.map_err(failed(format!("failed to fetch PV {named} from API server")))?;
    let volume = volume.ok_or_else(|| Unready::Never(format!("persistentvolume {named:?} not found")))?;
    if matching::kept(&volume, &claim) != matching::Kept::ForIt {
        return Err(Unready::Never(format!("PersistentVolume {named} is not claimed by PVC {name}")));
    }
    let node = hands.node();
    if node.is_some_and(|node| !matching::reaches(&volume, &node)) {
        return Err(Unready::Never(format!(
            "MountVolume.NodeAffinity check failed for volume {named:?}: no matching NodeSelectorTerms"
        )));
    }
    backing(&hands.config.data_dir, &volume)
        .map(|backing| Claimed { volume: named, backing })
        .map_err(Unready::Never)
}

/// Where a volume is on this node.
fn backing(data_dir: &Path, volume: &PersistentVolume) -> Result<Backing, String> {
    let spec = volume.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("block volumes are not supported by this node".to_owned());
    }
    if let Some(source) = spec.host_path {
        return Ok(Backing::HostPath { path: source.path.into(), kind: source.type_.unwrap_or_default() });
    }
    let source = spec.local.ok_or("this node supports volumes of type hostPath and local alone")?;
    let path = PathBuf::from(source.path);
    let made_by = volume.metadata.annotations.as_ref().and_then(|all| all.get(PROVISIONED_BY));
    let is_ours = made_by.is_some_and(|by| by == LOCAL_PROVISIONER)
        && path.parent() == Some(volumes_dir(data_dir).as_path());
    Ok(Backing::Local { path, is_ours })
}

//! What a Pod's containers find mounted: volumes by type, their contents and their owners.
//!
//! [`mount`] may be repeated at any time: what is there stays, and contents that have changed are replaced all at once
//! ([`atomic`]). Volumes live below the Pod's own directory and are removed with it ([`mounts::remove_tree`]).
//!
//! Absent: volumes that other machines provide (CSI, NFS and the like), block devices, image volumes.

pub mod atomic;
mod claimed;
mod container;
mod empty_dir;
mod host_path;
pub mod mounts;
mod sub_path;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, PodSpec, Volume};

pub use atomic::Written;
pub use claimed::ClaimedError;
pub use container::{ContainerMount, MountError, Propagation, container_mounts};
pub use empty_dir::EmptyDirError;
pub use host_path::HostPathError;

use crate::agent::downward::PodFacts;
use crate::agent::files::{Files, FilesError, files};
use crate::agent::sources::{FileWanted, Sources, TokenWanted};
use crate::api::pod_resources;
use crate::cgroup::limits;
use crate::placement::volumes::claim_of;

/// A volume that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Its root on the node.
    pub path: PathBuf,
    /// Containers may only read it.
    pub read_only: bool,
    /// Whether this call changed its contents.
    pub written: Written,
}

/// Why one volume is not there.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {problem}")]
pub struct VolumeError {
    /// Its name.
    pub volume: String,
    /// What is wrong.
    #[source]
    pub problem: VolumeProblem,
}

/// What is wrong with a volume.
#[derive(Debug, thiserror::Error)]
pub enum VolumeProblem {
    /// Its contents.
    #[error(transparent)]
    Contents(#[from] FilesError),
    /// Its path on the node.
    #[error(transparent)]
    HostPath(#[from] HostPathError),
    /// Its directory.
    #[error(transparent)]
    EmptyDir(#[from] EmptyDirError),
    /// The volume of its claim.
    #[error(transparent)]
    Claimed(#[from] ClaimedError),
    /// Its claim has no volume that can be used.
    #[error("{0}")]
    Claim(String),
    /// This node knows no volumes of its type.
    #[error("volumes of type {0} are not supported by this node")]
    Unsupported(String),
    /// Its directory could not be made or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why some of a Pod's volumes are not there (`FailedMount`).
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct VolumesError(pub Vec<VolumeError>);

/// Mounts the volumes that the Pod's containers use below `pod_dir` (`<data>/pods/<uid>`), or refreshes them, and
/// returns them by name. Blocks. Every volume is tried, whatever the others say; one whose new contents cannot be made
/// keeps the old ones.
pub fn mount(
    pod: &Pod,
    pod_dir: &Path,
    sources: &Sources,
    facts: &PodFacts,
) -> Result<BTreeMap<String, Mounted>, VolumesError> {
    let Some(spec) = &pod.spec else { return Ok(BTreeMap::new()) };
    let used = used_names(spec);
    let mut mounted = BTreeMap::new();
    let mut failed = Vec::new();
    for volume in spec.volumes.iter().flatten().filter(|volume| used.contains(volume.name.as_str())) {
        match mount_one(pod, volume, pod_dir, sources, facts) {
            Ok(found) => {
                mounted.insert(volume.name.clone(), found);
            }
            Err(problem) => failed.push(VolumeError { volume: volume.name.clone(), problem }),
        }
    }
    if failed.is_empty() { Ok(mounted) } else { Err(VolumesError(failed)) }
}

/// Reads the files that a container's variables come from (`fileKeyRef`) out of the mounted volumes. One that cannot be
/// read is left out; the environment then says which is missing.
pub fn read_files(
    wanted: BTreeSet<FileWanted>,
    mounted: &BTreeMap<String, Mounted>,
) -> BTreeMap<FileWanted, String> {
    let read = |file: FileWanted| {
        let text = sub_path::read(&mounted.get(&file.volume)?.path, &file.path).ok()?;
        Some((file, text))
    };
    wanted.into_iter().filter_map(read).collect()
}

/// The tokens that a Pod's volumes hold already, by what was asked for. They outlive the agent there.
pub fn kept_tokens(pod: &Pod, pod_dir: &Path) -> BTreeMap<TokenWanted, String> {
    let mut kept = BTreeMap::new();
    for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let dir = pod_dir.join("volumes").join(type_dir(volume)).join(&volume.name);
        let projections = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for source in projections.filter_map(|projection| projection.service_account_token.as_ref()) {
            if let Ok(token) = sub_path::read(&dir, &source.path) {
                kept.insert(TokenWanted::of(source), token);
            }
        }
    }
    kept
}

/// A volume that no container names is not mounted.
fn used_names(spec: &PodSpec) -> BTreeSet<&str> {
    let containers = || pod_resources::containers(spec);
    let mounts = containers().flat_map(|container| container.volume_mounts.iter().flatten());
    let variables = containers().flat_map(|container| container.env.iter().flatten());
    let files = variables.filter_map(|variable| variable.value_from.as_ref()?.file_key_ref.as_ref());
    mounts.map(|mount| mount.name.as_str()).chain(files.map(|file| file.volume_name.as_str())).collect()
}

fn mount_one(
    pod: &Pod,
    volume: &Volume,
    pod_dir: &Path,
    sources: &Sources,
    facts: &PodFacts,
) -> Result<Mounted, VolumeProblem> {
    let group = fs_group(pod);
    if let Some(source) = &volume.host_path {
        let path = PathBuf::from(&source.path);
        host_path::ensure(&path, source.type_.as_deref().unwrap_or_default())?;
        return Ok(Mounted { path, read_only: false, written: Written::Unchanged });
    }
    if let Some(claim) = claim_of(pod, volume) {
        return mount_claimed(pod, volume, &claim, sources);
    }
    let path = pod_dir.join("volumes").join(type_dir(volume)).join(&volume.name);
    if let Some(contents) = files(pod, volume, sources, facts) {
        let written = write_contents(&path, volume, &contents?, group)?;
        return Ok(Mounted { path, read_only: true, written });
    }
    match (&volume.empty_dir, type_of(volume)) {
        (Some(source), _) => {
            make_parent(&path)?;
            empty_dir::ensure(&path, source, pod, memory_of(pod, facts), group)?;
        }
        (None, Some(kind)) => return Err(VolumeProblem::Unsupported(kind)),
        // Without any source it is an emptyDir, as upstream defaults it.
        (None, None) => {
            make_parent(&path)?;
            empty_dir::on_disk(&path, group).map_err(|source| failed(&path, source))?;
        }
    }
    Ok(Mounted { path, read_only: false, written: Written::Unchanged })
}

/// The volume of a claim stays where it is.
fn mount_claimed(
    pod: &Pod,
    volume: &Volume,
    claim: &str,
    sources: &Sources,
) -> Result<Mounted, VolumeProblem> {
    let unknown = || VolumeProblem::Claim(format!("persistentvolumeclaim {claim:?} is not known yet"));
    let claimed = sources.claims.volumes.get(claim).ok_or_else(unknown)?;
    let claimed = claimed.as_ref().map_err(|why| VolumeProblem::Claim(why.clone()))?;
    let source = volume.persistent_volume_claim.as_ref();
    let read_only = source.is_some_and(|source| source.read_only == Some(true));
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let policy = context.and_then(|context| context.fs_group_change_policy.as_deref());
    let only_root = sources.claims.known || policy == Some("OnRootMismatch");
    let path = claimed::ensure(claimed, fs_group(pod).filter(|_| !read_only), only_root)?;
    Ok(Mounted { path, read_only, written: Written::Unchanged })
}

/// What may be secret, or must not last, never touches the disk.
fn write_contents(
    path: &Path,
    volume: &Volume,
    contents: &Files,
    group: Option<u32>,
) -> Result<Written, VolumeProblem> {
    make_parent(path)?;
    let made = if volume.config_map.is_some() {
        empty_dir::on_disk(path, group)
    } else {
        empty_dir::in_memory(path, 0o1777, None, group)
    };
    made.and_then(|()| atomic::write(path, contents, group)).map_err(|source| failed(path, source))
}

fn make_parent(path: &Path) -> Result<(), VolumeProblem> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(|source| failed(parent, source))
}

fn failed(path: &Path, source: io::Error) -> VolumeProblem {
    VolumeProblem::Io { path: path.to_owned(), source }
}

/// The directory of a volume's type, named as upstream names it.
fn type_dir(volume: &Volume) -> &'static str {
    if volume.config_map.is_some() {
        "kubernetes.io~configmap"
    } else if volume.secret.is_some() {
        "kubernetes.io~secret"
    } else if volume.downward_api.is_some() {
        "kubernetes.io~downward-api"
    } else if volume.projected.is_some() {
        "kubernetes.io~projected"
    } else {
        "kubernetes.io~empty-dir"
    }
}

/// The field that says what the volume is, e.g. `persistentVolumeClaim`.
fn type_of(volume: &Volume) -> Option<String> {
    let fields = serde_json::to_value(volume).ok()?;
    fields.as_object()?.keys().find(|field| *field != "name").cloned()
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let context = pod.spec.as_ref()?.security_context.as_ref()?;
    context.fs_group.and_then(|group| u32::try_from(group).ok())
}

/// The most memory that the Pod can have, and so the most that its volumes in memory can hold.
fn memory_of(pod: &Pod, facts: &PodFacts) -> Option<u64> {
    let of_node = facts.allocatable.get("memory").map(|amount| amount.value().max(0) as u64);
    limits::of_pod(pod, None).memory_bytes.into_iter().chain(of_node).min()
}

#[cfg(test)]
mod tests;

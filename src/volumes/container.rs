//! A container's mounts: which part of which volume, where, and how.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, VolumeMount};

use super::{Mounted, sub_path};
use crate::agent::environment::{self, Environment, EnvironmentError};

/// Whether mounts that appear later below this one are seen on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Neither way (`rprivate`).
    Private,
    /// The node's appear in the container (`rslave`).
    HostToContainer,
    /// Both ways (`rshared`).
    Bidirectional,
}

impl Propagation {
    /// The mount option of the OCI spec.
    pub const fn option(self) -> &'static str {
        match self {
            Self::Private => "rprivate",
            Self::HostToContainer => "rslave",
            Self::Bidirectional => "rshared",
        }
    }
}

/// One bind mount of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerMount {
    /// On the node.
    pub source: PathBuf,
    /// In the container.
    pub destination: PathBuf,
    /// The container may only read it.
    pub read_only: bool,
    /// What happens to later mounts.
    pub propagation: Propagation,
}

/// Why a container's mounts cannot be made (`CreateContainerConfigError`).
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// No such volume is mounted.
    #[error("cannot find volume {volume:?} to mount into container {container:?}")]
    NoVolume {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
    },
    /// The part of the volume cannot be had. The cause may tell about the node and stays in the log.
    #[error("failed to prepare subPath for volumeMount {volume:?} of container {container:?}")]
    SubPath {
        /// The volume.
        volume: String,
        /// The container.
        container: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A variable of `subPathExpr`.
    #[error(transparent)]
    Expansion(#[from] EnvironmentError),
    /// No such propagation.
    #[error("invalid MountPropagation mode: {0:?}")]
    Propagation(String),
    /// `recursiveReadOnly: Enabled`, or a mode that there is not.
    #[error("failed to resolve recursive read-only mode: volume {volume:?} {problem}")]
    RecursiveReadOnly {
        /// The volume.
        volume: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Raw block devices.
    #[error("container {0:?} asks for volumeDevices, which this node does not support")]
    Devices(String),
}

/// The mounts of `container`, in its order. `pod_dir` is where the Pod's volumes are. Blocks.
pub fn container_mounts(
    pod_dir: &Path,
    container: &Container,
    environment: &Environment,
    mounted: &BTreeMap<String, Mounted>,
) -> Result<Vec<ContainerMount>, MountError> {
    if container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()) {
        return Err(MountError::Devices(container.name.clone()));
    }
    let mounts = container.volume_mounts.iter().flatten().enumerate();
    mounts.map(|(index, mount)| one(pod_dir, container, index, mount, environment, mounted)).collect()
}

fn one(
    pod_dir: &Path,
    container: &Container,
    index: usize,
    mount: &VolumeMount,
    environment: &Environment,
    mounted: &BTreeMap<String, Mounted>,
) -> Result<ContainerMount, MountError> {
    let (volume, name) = (mount.name.clone(), container.name.clone());
    let found = mounted
        .get(&volume)
        .ok_or_else(|| MountError::NoVolume { volume: volume.clone(), container: name.clone() })?;
    check_recursive(mount)?;
    let part = environment::sub_path(mount, environment)?;
    let source = if part.is_empty() {
        found.path.clone()
    } else {
        let target = pod_dir.join("volume-subpaths").join(&volume).join(&name).join(index.to_string());
        sub_path::ensure(&found.path, &part, &target).map_err(|source| {
            tracing::warn!(error = %source, volume, container = name, "a subPath could not be mounted");
            MountError::SubPath { volume, container: name, source }
        })?;
        target
    };
    Ok(ContainerMount {
        source,
        destination: Path::new("/").join(&mount.mount_path),
        read_only: found.read_only || mount.read_only == Some(true),
        propagation: propagation(mount)?,
    })
}

fn propagation(mount: &VolumeMount) -> Result<Propagation, MountError> {
    match mount.mount_propagation.as_deref() {
        None | Some("None") => Ok(Propagation::Private),
        Some("HostToContainer") => Ok(Propagation::HostToContainer),
        Some("Bidirectional") => Ok(Propagation::Bidirectional),
        Some(other) => Err(MountError::Propagation(other.to_owned())),
    }
}

fn check_recursive(mount: &VolumeMount) -> Result<(), MountError> {
    let problem = match mount.recursive_read_only.as_deref() {
        None | Some("Disabled") => return Ok(()),
        Some(_) if mount.read_only != Some(true) => {
            "requested recursive read-only mode, but it is not read-only"
        }
        Some("IfPossible") => return Ok(()),
        Some("Enabled") => "requested recursive read-only mode, but it is not supported by this node",
        Some(_) => "requested an unknown recursive read-only mode",
    };
    Err(MountError::RecursiveReadOnly { volume: mount.name.clone(), problem })
}

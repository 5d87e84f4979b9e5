//! The Pods' cgroups: where they are, their limits, and how they end.
//!
//! Layout, fixed for good: with plain files `/leasehold/pod<uid>/<container id>` in every tree; under systemd the slice
//! `leasehold-pod<uid, _ for ->.slice` with one scope per container. A Pod's cgroup exists, with its limits, before any
//! container of it starts; runc makes the containers' own below it. It is removed only when it is empty: to end what
//! runs in it takes [`Cgroups::kill_all`], or, for good, [`Cgroups::fence`].

mod fence;
pub mod limits;
mod systemd;
mod trees;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use fence::Fenced;
use limits::Limits;
use trees::Trees;
pub use trees::Version;

/// Who makes and owns the cgroups of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Plain directories.
    Cgroupfs,
    /// Slices and scopes of systemd; everybody else keeps out of its trees.
    Systemd,
}

impl Driver {
    /// The driver that suits this machine: systemd where it is PID 1, as `sd_booted` finds out.
    pub fn of_machine() -> Self {
        if Path::new("/run/systemd/system").is_dir() { Self::Systemd } else { Self::Cgroupfs }
    }
}

/// Why a cgroup could not be made, emptied or removed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup file system where one was looked for.
    #[error("no cgroup hierarchy at {}", .0.display())]
    NotMounted(PathBuf),
    /// Something still runs in it.
    #[error("cgroup {path} still holds {} processes: {pids:?}", pids.len())]
    Populated {
        /// The cgroup, from the root of its tree.
        path: String,
        /// The processes.
        pids: BTreeSet<i32>,
    },
    /// A file of the kernel refused.
    #[error("cgroup: cannot {step}: {source}")]
    Io {
        /// What was tried.
        step: String,
        /// The answer.
        source: io::Error,
    },
    /// systemd refused.
    #[error("systemd: {0}")]
    Systemd(String),
}

/// A Pod's cgroup by its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCgroup {
    /// From the root of each tree, e.g. `/leasehold/pod1234`.
    pub path: String,
    driver: Driver,
}

impl PodCgroup {
    /// The cgroup of the Pod with this UID.
    pub fn new(driver: Driver, uid: &str) -> Self {
        let root = root_path(driver);
        let path = match driver {
            Driver::Cgroupfs => format!("{root}/pod{uid}"),
            Driver::Systemd => format!("{root}/{}", slice_name(uid)),
        };
        Self { path, driver }
    }

    /// What runc is told for a container of this Pod (`linux.cgroupsPath` of the OCI spec).
    pub fn runtime_path(&self, container_id: &str) -> String {
        match self.driver {
            Driver::Cgroupfs => format!("{}/{container_id}", self.path),
            Driver::Systemd => format!("{}:leasehold:{container_id}", self.slice()),
        }
    }

    /// Where the container's own cgroup then is, from the root of each tree.
    pub fn container_path(&self, container_id: &str) -> String {
        match self.driver {
            Driver::Cgroupfs => format!("{}/{container_id}", self.path),
            Driver::Systemd => format!("{}/leasehold-{container_id}.scope", self.path),
        }
    }

    fn slice(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// What all Pods' cgroups are in.
fn root_path(driver: Driver) -> &'static str {
    match driver {
        Driver::Cgroupfs => "/leasehold",
        Driver::Systemd => "/leasehold.slice",
    }
}

/// In a slice's name `-` separates levels.
fn slice_name(uid: &str) -> String {
    format!("leasehold-pod{}.slice", uid.replace('-', "_"))
}

/// The cgroup trees of this node.
#[derive(Clone, Debug)]
pub struct Cgroups {
    trees: Trees,
    driver: Driver,
}

impl Cgroups {
    /// Finds the trees under `root` (usually `/sys/fs/cgroup`).
    pub fn detect(root: &Path, driver: Driver) -> Result<Self, CgroupError> {
        Ok(Self { trees: Trees::detect(root)?, driver })
    }

    /// Which version of cgroups this is.
    pub fn version(&self) -> Version {
        self.trees.version()
    }

    /// Who owns the trees.
    pub fn driver(&self) -> Driver {
        self.driver
    }

    /// The names of a Pod's cgroup; makes nothing.
    pub fn pod(&self, uid: &str) -> PodCgroup {
        PodCgroup::new(self.driver, uid)
    }

    /// Makes a Pod's cgroup and sets its limits. Idempotent.
    pub fn create(&self, uid: &str, limits: &Limits) -> Result<PodCgroup, CgroupError> {
        let pod = self.pod(uid);
        if self.driver == Driver::Systemd {
            let is_there = self.trees.is_in_systemds_tree(&pod.path);
            systemd::start_slice(pod.slice(), limits, is_there)?;
        }
        self.trees.create(&pod.path)?;
        self.trees.set_limits(&pod.path, limits)?;
        Ok(pod)
    }

    /// The processes in a Pod's cgroup and below it.
    pub fn pids(&self, uid: &str) -> Result<BTreeSet<i32>, CgroupError> {
        self.trees.pids(&self.pod(uid).path)
    }

    /// Removes a Pod's cgroup and all that is below it. Kills nothing: refuses while something runs. Idempotent.
    pub fn remove(&self, uid: &str) -> Result<(), CgroupError> {
        let pod = self.pod(uid);
        let pids = self.trees.pids(&pod.path)?;
        if !pids.is_empty() {
            return Err(CgroupError::Populated { path: pod.path, pids });
        }
        if self.driver == Driver::Systemd {
            systemd::stop_slice(pod.slice())?;
        }
        self.trees.remove(&pod.path)
    }

    /// Removes what all Pods' cgroups are in, unless a Pod of anybody's is there. Idempotent.
    pub fn remove_root(&self) -> Result<(), CgroupError> {
        let root = root_path(self.driver);
        if self.driver == Driver::Systemd && !self.trees.has_children(root) {
            systemd::stop_empty_slice(root.trim_start_matches('/'))?;
        }
        self.trees.remove_empty(root)
    }

    /// Kills all that runs in a Pod's cgroup, also what is frozen, and returns when it is seen empty.
    ///
    /// Blocks at most `patience`; what is still there then is stuck in the kernel ([`CgroupError::Populated`]).
    pub fn kill_all(&self, uid: &str, patience: Duration) -> Result<(), CgroupError> {
        let path = self.pod(uid).path;
        let pids = self.trees.kill_all(&path, patience)?;
        if pids.is_empty() { Ok(()) } else { Err(CgroupError::Populated { path, pids }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_driver() {
        let pod = PodCgroup::new(Driver::Cgroupfs, "12-34");
        assert_eq!(pod.runtime_path("12-34-web-0"), "/leasehold/pod12-34/12-34-web-0");
        let pod = PodCgroup::new(Driver::Systemd, "12-34");
        assert_eq!(pod.path, "/leasehold.slice/leasehold-pod12_34.slice");
        assert_eq!(pod.runtime_path("12-34-web-0"), "leasehold-pod12_34.slice:leasehold:12-34-web-0");
        assert_eq!(
            pod.container_path("12-34-web-0"),
            "/leasehold.slice/leasehold-pod12_34.slice/leasehold-12-34-web-0.scope"
        );
    }
}

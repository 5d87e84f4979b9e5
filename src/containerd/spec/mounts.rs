//! What a container finds mounted. Pure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

/// How mounts made later travel between node and container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Propagation {
    /// Not at all: `None` in a Pod.
    #[default]
    Private,
    /// From the node into the container.
    HostToContainer,
    /// Both ways; for privileged containers.
    Bidirectional,
}

impl Propagation {
    /// Reads `mountPropagation` of a volume mount; absent is private.
    pub fn read(written: Option<&str>) -> Self {
        match written {
            Some("HostToContainer") => Self::HostToContainer,
            Some("Bidirectional") => Self::Bidirectional,
            Some(_) | None => Self::Private,
        }
    }

    const fn option(self) -> &'static str {
        match self {
            Self::Private => "rprivate",
            Self::HostToContainer => "rslave",
            Self::Bidirectional => "rshared",
        }
    }
}

/// A file or directory of the node in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// On the node; exists.
    pub source: PathBuf,
    /// In the container, absolute.
    pub destination: PathBuf,
    /// No writes.
    pub read_only: bool,
    /// No writes in what is mounted below it either (Linux 5.12).
    pub recursive_read_only: bool,
    /// How later mounts travel.
    pub propagation: Propagation,
}

impl Bind {
    fn to_oci(&self) -> Mount {
        let mode = match (self.read_only, self.recursive_read_only) {
            (true, true) => "rro",
            (true, false) => "ro",
            (false, _) => "rw",
        };
        mount(
            &self.destination,
            "bind",
            &self.source.to_string_lossy(),
            &["rbind", self.propagation.option(), mode],
        )
    }
}

/// The kernel's file systems that every container has.
pub(super) struct Kernel {
    /// `/sys` and the cgroups can be written.
    pub(super) privileged: bool,
}

impl Kernel {
    fn mounts(&self) -> Vec<Mount> {
        let mode = if self.privileged { "rw" } else { "ro" };
        vec![
            mount(Path::new("/proc"), "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount(Path::new("/dev"), "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                Path::new("/dev/pts"),
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount(Path::new("/dev/mqueue"), "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount(Path::new("/sys"), "sysfs", "sysfs", &["nosuid", "noexec", "nodev", mode]),
            mount(
                Path::new("/sys/fs/cgroup"),
                "cgroup",
                "cgroup",
                &["nosuid", "noexec", "nodev", "relatime", mode],
            ),
        ]
    }
}

/// All mounts, parents before children. A bind of the caller's takes the place of the kernel's at the same path, and
/// one at `/dev` of all below it.
pub(super) fn mounts(kernel: &Kernel, binds: &[Bind]) -> Vec<Mount> {
    let taken: BTreeSet<PathBuf> = binds.iter().map(|bind| plain(&bind.destination)).collect();
    let whole_dev = taken.contains(Path::new("/dev"));
    let replaced = |path: &Path| taken.contains(path) || (whole_dev && path.starts_with("/dev"));
    let mut all: Vec<Mount> =
        kernel.mounts().into_iter().filter(|mount| !replaced(mount.destination())).collect();
    all.extend(binds.iter().map(Bind::to_oci));
    all.sort_by_key(|mount| plain(mount.destination()).components().count());
    all
}

/// Propagation of the root's own mount, which bounds that of all mounts below: runc makes it private otherwise.
pub(super) fn root_propagation(binds: &[Bind]) -> Option<String> {
    let most = binds.iter().map(|bind| bind.propagation).max().unwrap_or_default();
    (most != Propagation::Private).then(|| most.option().to_owned())
}

fn mount(destination: &Path, typ: &str, source: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount.set_destination(destination.to_owned());
    mount.set_typ(Some(typ.to_owned()));
    mount.set_source(Some(PathBuf::from(source)));
    mount.set_options(Some(options.iter().map(ToString::to_string).collect()));
    mount
}

fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(destination: &str) -> Bind {
        Bind { source: "/source".into(), destination: destination.into(), ..Bind::default() }
    }

    fn destinations(binds: &[Bind]) -> Vec<String> {
        let all = mounts(&Kernel { privileged: false }, binds);
        all.iter().map(|mount| mount.destination().display().to_string()).collect()
    }

    #[test]
    fn parents_are_mounted_before_children() {
        let all = destinations(&[bind("/data/deep/er"), bind("/data"), bind("/dev/shm")]);
        let at = |path: &str| all.iter().position(|each| each == path).expect(path);
        assert!(at("/data") < at("/data/deep/er") && at("/dev") < at("/dev/shm"));
    }

    #[test]
    fn a_bind_takes_the_place_of_the_kernels_mount() {
        assert_eq!(
            destinations(&[bind("/proc/")]).iter().filter(|path| path.starts_with("/proc")).count(),
            1
        );
        let all = destinations(&[bind("/dev")]);
        assert_eq!(all.iter().filter(|path| path.starts_with("/dev")).count(), 1, "{all:?}");
    }

    #[test]
    fn the_widest_propagation_bounds_the_root() {
        let with = |propagation| Bind { propagation, ..bind("/x") };
        assert_eq!(root_propagation(&[bind("/a")]), None);
        let both = [with(Propagation::HostToContainer), with(Propagation::Bidirectional)];
        assert_eq!(root_propagation(&both).as_deref(), Some("rshared"));
        let options = both[0].to_oci().options().clone().expect("options");
        assert_eq!(options, ["rbind", "rslave", "rw"]);
    }
}

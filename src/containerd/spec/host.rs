//! What a spec must know of the machine: read once by the driver; and its devices, read when asked for.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};
use oci_spec::runtime::{Capability, LinuxDevice, LinuxDeviceType};
use procfs::{Current as _, Meminfo};

use super::capabilities::CapabilitySet;

/// Directories and files under `/dev` that every container has of its own.
const OWN_DEVICES: [&str; 8] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"];

/// Directories below `/dev` that are looked into.
const DEPTH_MAX: usize = 4;

/// Facts about the node that its containers' specs depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// One cgroup tree for all controllers.
    pub cgroup_v2: bool,
    /// Swap can be limited.
    pub swap_accounting: bool,
    /// Page sizes in bytes that a cgroup can limit.
    pub hugepage_sizes: Vec<u64>,
    /// Of the whole machine.
    pub memory_bytes: u64,
    /// The most a container can have.
    pub capabilities: CapabilitySet,
    /// Least `oom_score_adj` this process may give; none when it may give any.
    pub oom_score_adj_min: Option<i64>,
    /// `AppArmor` is on.
    pub apparmor: bool,
    /// Where `seccompProfile.localhostProfile` is looked for.
    pub seccomp_profiles: PathBuf,
}

impl Default for Host {
    /// A machine with all powers and cgroup v2.
    fn default() -> Self {
        Self {
            cgroup_v2: true,
            swap_accounting: false,
            hugepage_sizes: Vec::new(),
            memory_bytes: 1 << 30,
            capabilities: CapabilitySet(u64::MAX),
            oom_score_adj_min: None,
            apparmor: false,
            seccomp_profiles: PathBuf::from("/var/lib/kubelet/seccomp"),
        }
    }
}

impl Host {
    /// Looks at this machine. `seccomp_profiles` is the directory of local profiles, the kubelet's by custom.
    pub fn read(seccomp_profiles: &Path) -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let set = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
                .map_or(CapabilitySet(0), CapabilitySet)
        };
        let any_score = set("CapEff:").holds(Capability::SysResource);
        let own_score = fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse().unwrap_or(0);
        let cgroups = Path::new("/sys/fs/cgroup");
        let cgroup_v2 = cgroups.join("cgroup.controllers").exists();
        Ok(Self {
            cgroup_v2,
            swap_accounting: swap_accounting(cgroups, cgroup_v2),
            hugepage_sizes: if has_hugetlb(cgroups, cgroup_v2) { hugepage_sizes() } else { Vec::new() },
            memory_bytes: Meminfo::current().map_err(io::Error::other)?.mem_total,
            capabilities: set("CapBnd:"),
            oom_score_adj_min: (!any_score).then_some(own_score),
            apparmor: fs::read("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|text| text.starts_with(b"Y")),
            seccomp_profiles: seccomp_profiles.to_owned(),
        })
    }
}

fn swap_accounting(cgroups: &Path, cgroup_v2: bool) -> bool {
    if !cgroup_v2 {
        return cgroups.join("memory/memory.memsw.limit_in_bytes").exists();
    }
    // The root has no such file; the cgroups below it have.
    let below = fs::read_dir(cgroups).into_iter().flatten().flatten();
    below.into_iter().any(|entry| entry.path().join("memory.swap.max").exists())
}

fn has_hugetlb(cgroups: &Path, cgroup_v2: bool) -> bool {
    if !cgroup_v2 {
        return cgroups.join("hugetlb").is_dir();
    }
    let controllers = fs::read_to_string(cgroups.join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|name| name == "hugetlb")
}

fn hugepage_sizes() -> Vec<u64> {
    let entries = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let size = |name: String| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok();
    let mut sizes: Vec<u64> = entries
        .filter_map(|entry| size(entry.file_name().into_string().ok()?))
        .map(|kib| kib << 10)
        .collect();
    sizes.sort_unstable();
    sizes
}

/// All devices of the node, for a privileged container.
pub(super) fn devices() -> Vec<LinuxDevice> {
    let mut found = Vec::new();
    collect(Path::new("/dev"), DEPTH_MAX, &mut found);
    found
}

fn collect(dir: &Path, depth: usize, found: &mut Vec<LinuxDevice>) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort_unstable();
    for path in paths {
        let name = path.file_name().unwrap_or_default();
        if OWN_DEVICES.iter().any(|own| name == *own) {
            continue;
        }
        // A device may vanish while we look.
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() && depth > 1 {
            collect(&path, depth - 1, found);
        } else if let Some(device) = describe(&path, &metadata) {
            found.push(device);
        }
    }
}

/// A device of the node under another name in the container.
pub(super) fn device(node_path: &Path, path: &Path) -> io::Result<LinuxDevice> {
    // Links such as /dev/disk/by-id are followed: the container gets the device.
    let metadata = fs::metadata(node_path)?;
    describe(path, &metadata).ok_or_else(|| io::Error::other("not a device"))
}

fn describe(path: &Path, metadata: &fs::Metadata) -> Option<LinuxDevice> {
    let kind = metadata.file_type();
    let typ = if kind.is_char_device() {
        LinuxDeviceType::C
    } else if kind.is_block_device() {
        LinuxDeviceType::B
    } else {
        return None;
    };
    let mut device = LinuxDevice::default();
    device.set_path(path.to_owned());
    device.set_typ(typ);
    device.set_major(major(metadata.rdev()) as i64);
    device.set_minor(minor(metadata.rdev()) as i64);
    device.set_file_mode(Some(metadata.mode() & 0o7777));
    device.set_uid(Some(metadata.uid()));
    device.set_gid(Some(metadata.gid()));
    Some(device)
}

//! The cgroup trees of a machine as directories: version 1 (one tree per controller), version 2, or both side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::CgroupError;
use super::limits::{CPU_PERIOD_US, Limits, page_name, weight};

/// Controllers that containers need below a Pod's cgroup in the v2 tree.
const CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"];
/// How long one round of killing or removing waits before it looks again.
const ROUND: Duration = Duration::from_millis(2);
/// How many rounds an emptied cgroup may take to let itself be removed: 50 ms, then the Pod's machine waits longer.
const LINGER_ROUNDS: u32 = 25;

/// Which version of cgroups a machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One tree per controller.
    V1,
    /// One tree per controller, and a v2 tree without controllers beside them.
    Hybrid,
    /// One tree for all.
    V2,
}

#[derive(Clone, Debug)]
pub(super) struct Trees {
    /// v1 trees by controller, each once, whatever links name it.
    pub(super) v1: BTreeMap<String, PathBuf>,
    pub(super) v2: Option<PathBuf>,
}

pub(super) fn step(what: &str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let step = format!("{what} {}", path.display());
    move |source| CgroupError::Io { step, source }
}

impl Trees {
    pub(super) fn detect(root: &Path) -> Result<Self, CgroupError> {
        if is_v2(root) {
            return Ok(Self { v1: BTreeMap::new(), v2: Some(root.to_owned()) });
        }
        let mut found = Self { v1: BTreeMap::new(), v2: None };
        let entries = fs::read_dir(root).map_err(|_| CgroupError::NotMounted(root.to_owned()))?;
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|t| t.is_dir())) {
            let path = entry.path();
            if is_v2(&path) {
                found.v2 = Some(path);
            } else if path.join("cgroup.procs").exists() {
                let name = entry.file_name().to_string_lossy().into_owned();
                found.v1.extend(name.split(',').map(|controller| (controller.to_owned(), path.clone())));
            }
        }
        if found.v1.is_empty() && found.v2.is_none() {
            return Err(CgroupError::NotMounted(root.to_owned()));
        }
        Ok(found)
    }

    pub(super) fn version(&self) -> Version {
        match (&self.v2, self.v1.is_empty()) {
            (Some(_), true) => Version::V2,
            (Some(_), false) => Version::Hybrid,
            (None, _) => Version::V1,
        }
    }

    /// The directories of `path` in every tree, each once.
    pub(super) fn dirs(&self, path: &str) -> BTreeSet<PathBuf> {
        self.v1.values().chain(&self.v2).map(|tree| tree.join(path.trim_start_matches('/'))).collect()
    }

    /// Whether systemd has made `path` in the tree that it keeps its units in.
    pub(super) fn is_in_systemds_tree(&self, path: &str) -> bool {
        let tree = self.v1.get("systemd").or(self.v2.as_ref());
        tree.is_some_and(|tree| tree.join(path.trim_start_matches('/')).is_dir())
    }

    pub(super) fn create(&self, path: &str) -> Result<(), CgroupError> {
        self.v1.values().chain(&self.v2).try_for_each(|tree| {
            // The last Pod's removal may take the parent away meanwhile.
            let made = self.create_in(tree, path);
            if matches!(&made, Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound) {
                return self.create_in(tree, path);
            }
            made
        })
    }

    fn create_in(&self, tree: &Path, path: &str) -> Result<(), CgroupError> {
        let mut dir = tree.to_owned();
        for part in path.trim_start_matches('/').split('/') {
            if self.version() == Version::V2 {
                pass_controllers_down(&dir)?;
            }
            dir.push(part);
            make_dir(&dir)?;
            if self.v1.get("cpuset").is_some_and(|cpuset| cpuset == tree) {
                inherit_cpuset(&dir)?;
            }
        }
        Ok(())
    }

    pub(super) fn set_limits(&self, path: &str, limits: &Limits) -> Result<(), CgroupError> {
        let path = path.trim_start_matches('/');
        if let (Some(tree), Version::V2) = (&self.v2, self.version()) {
            return write_all(&tree.join(path), v2_files(limits));
        }
        for (controller, files) in v1_files(limits) {
            match self.v1.get(controller) {
                Some(tree) => write_all(&tree.join(path), files)?,
                None if files.is_empty() => {}
                None => tracing::warn!(
                    controller,
                    path,
                    "a limit is not set: its cgroup controller is not mounted"
                ),
            }
        }
        Ok(())
    }

    /// The processes in `path` and below it, in any tree.
    pub(super) fn pids(&self, path: &str) -> Result<BTreeSet<i32>, CgroupError> {
        let mut pids = BTreeSet::new();
        for dir in self.dirs(path) {
            for dir in with_children(&dir) {
                let text = absent_is_default(fs::read_to_string(dir.join("cgroup.procs")));
                // A threaded cgroup lists no processes: the one above it has them.
                let threaded = |error: &io::Error| error.raw_os_error() == Some(Errno::EOPNOTSUPP as i32);
                let text =
                    text.or_else(|error| if threaded(&error) { Ok(String::new()) } else { Err(error) });
                let text = text.map_err(step("read the processes of", &dir))?;
                pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
            }
        }
        Ok(pids)
    }

    /// Removes `path` with all below it, and the directory above it once it is empty. One tree's refusal keeps nothing
    /// in the others.
    pub(super) fn remove(&self, path: &str) -> Result<(), CgroupError> {
        let mut outcome = Ok(());
        for dir in self.dirs(path) {
            // Children come after their parents in the list.
            for dir in with_children(&dir).iter().rev() {
                outcome = outcome.and(Self::remove_dir(dir));
            }
            // Refused while another Pod has its cgroup there. A slice above is systemd's to remove.
            let _ = dir.parent().filter(|above| above.ends_with("leasehold")).map(fs::remove_dir);
        }
        outcome
    }

    /// Removes `path` in every tree where nothing is below it.
    pub(super) fn remove_empty(&self, path: &str) -> Result<(), CgroupError> {
        let removed = self.dirs(path).into_iter().map(|dir| match absent_is_default(fs::remove_dir(&dir)) {
            Err(_) if with_children(&dir).len() > 1 => Ok(()),
            removed => removed.map_err(step("remove", &dir)),
        });
        removed.fold(Ok(()), Result::and)
    }

    /// Whether there are cgroups below `path` in any tree.
    pub(super) fn has_children(&self, path: &str) -> bool {
        self.dirs(path).iter().any(|dir| with_children(dir).len() > 1)
    }

    /// A process that has just ended may hold its cgroup for a moment longer than it is listed.
    fn remove_dir(dir: &Path) -> Result<(), CgroupError> {
        for _ in 0..LINGER_ROUNDS {
            match fs::remove_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => pause(&mut []),
                other => return absent_is_default(other).map_err(step("remove", dir)),
            }
        }
        absent_is_default(fs::remove_dir(dir)).map_err(step("remove", dir))
    }

    /// Kills until nothing is left or patience ends, and returns what is left.
    pub(super) fn kill_all(&self, path: &str, patience: Duration) -> Result<BTreeSet<i32>, CgroupError> {
        for _ in 0..rounds(patience) {
            self.kill_once(path)?;
            let left = self.inhabitants(path)?;
            if left.is_empty() {
                return Ok(left);
            }
            self.wait(path);
        }
        self.inhabitants(path)
    }

    /// Waits one round, or until the v2 tree tells of a change.
    pub(super) fn wait(&self, path: &str) {
        let events =
            self.v2.as_ref().map(|tree| tree.join(path.trim_start_matches('/')).join("cgroup.events"));
        let file = events.and_then(|path| fs::File::open(path).ok());
        // It tells of what changes after it was read.
        let _ = file.as_ref().map(|mut file| io::Read::read(&mut file, &mut [0; 64]));
        let mut fds: Vec<_> = file.iter().map(|file| PollFd::new(file.as_fd(), PollFlags::POLLPRI)).collect();
        pause(&mut fds);
    }
}

/// How many rounds a patience is.
pub(super) fn rounds(patience: Duration) -> u128 {
    (patience.as_millis() / ROUND.as_millis()).max(1)
}

/// Waits one round, or until one of `fds` has something to tell.
fn pause(fds: &mut [PollFd]) {
    let _ = poll(fds, PollTimeout::from(ROUND.as_millis() as u16));
}

fn is_v2(root: &Path) -> bool {
    root.join("cgroup.controllers").exists()
}

fn make_dir(dir: &Path) -> Result<(), CgroupError> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(step("make", dir)),
    }
}

/// In a v1 cpuset no process can start before the set has CPUs and memory nodes.
fn inherit_cpuset(dir: &Path) -> Result<(), CgroupError> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let (file, above) = (dir.join(name), dir.parent().unwrap_or(dir).join(name));
        let unset = fs::read_to_string(&file).is_ok_and(|text| text.trim().is_empty());
        if unset {
            let inherited = fs::read_to_string(&above).map_err(step("read", &above))?;
            fs::write(&file, inherited.trim()).map_err(step("write", &file))?;
        }
    }
    Ok(())
}

fn pass_controllers_down(dir: &Path) -> Result<(), CgroupError> {
    let listed = |name: &str| fs::read_to_string(dir.join(name)).map_err(step("read", &dir.join(name)));
    let (available, passed) = (listed("cgroup.controllers")?, listed("cgroup.subtree_control")?);
    let has = |list: &str, name: &str| list.split_whitespace().any(|word| word == name);
    let missing: Vec<_> = CONTROLLERS
        .iter()
        .filter(|name| has(&available, name) && !has(&passed, name))
        .map(|name| format!("+{name}"))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let file = dir.join("cgroup.subtree_control");
    fs::write(&file, missing.join(" ")).map_err(step("write", &file))
}

type Files = Vec<(String, String)>;

fn v2_files(limits: &Limits) -> Files {
    let mut files = Files::new();
    let mut set = |name: &str, value: String| files.push((name.to_owned(), value));
    limits.cpu_shares.into_iter().for_each(|shares| set("cpu.weight", weight(shares).to_string()));
    limits.cpu_quota_us.into_iter().for_each(|quota| set("cpu.max", format!("{quota} {CPU_PERIOD_US}")));
    limits.memory_bytes.into_iter().for_each(|bytes| set("memory.max", bytes.to_string()));
    limits.pids.into_iter().for_each(|pids| set("pids.max", pids.to_string()));
    for (page, bytes) in &limits.hugepages {
        set(&format!("hugetlb.{}.max", page_name(*page)), bytes.to_string());
    }
    files
}

fn v1_files(limits: &Limits) -> Vec<(&'static str, Files)> {
    let file = |name: &str, value: Option<u64>| value.map(|value| (name.to_owned(), value.to_string()));
    let period = limits.cpu_quota_us.map(|_| CPU_PERIOD_US);
    let cpu = [
        file("cpu.shares", limits.cpu_shares),
        file("cpu.cfs_period_us", period),
        file("cpu.cfs_quota_us", limits.cpu_quota_us),
    ];
    let hugepages = limits
        .hugepages
        .iter()
        .map(|(page, bytes)| (format!("hugetlb.{}.limit_in_bytes", page_name(*page)), bytes.to_string()));
    vec![
        ("cpu", cpu.into_iter().flatten().collect()),
        ("memory", file("memory.limit_in_bytes", limits.memory_bytes).into_iter().collect()),
        ("pids", file("pids.max", limits.pids).into_iter().collect()),
        ("hugetlb", hugepages.collect()),
    ]
}

fn write_all(dir: &Path, files: Files) -> Result<(), CgroupError> {
    for (name, value) in files {
        let file = dir.join(name);
        fs::write(&file, value).map_err(step("write", &file))?;
    }
    Ok(())
}

/// The directory and all below it, parents first; none when it does not exist.
pub(super) fn with_children(dir: &Path) -> Vec<PathBuf> {
    if !dir.is_dir() {
        return Vec::new();
    }
    let mut found = vec![dir.to_owned()];
    let mut next = 0;
    while let Some(dir) = found.get(next).cloned() {
        next += 1;
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        let dirs = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        found.extend(dirs.map(|entry| entry.path()));
    }
    found
}

/// What has gone meanwhile (also `ENODEV`, which a file of a removed cgroup answers) is nothing.
pub(super) fn absent_is_default<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => Ok(T::default()),
        other => other,
    }
}

#[cfg(test)]
mod tests;

//! The fence: nothing runs in a Pod's cgroup any more, and nothing that joins it late ever will.
//!
//! A fenced cgroup is **frozen, then emptied, and stays frozen**. Frozen first, since what is frozen can neither fork
//! nor run on while it is being killed; and kept so, since a start may be in flight: the runtime has forked the
//! container's first process and is about to move it here, or makes the container's own cgroup only now. Both inherit the
//! freeze, so such a process never executes the container's program; [`Cgroups::fence_once`] kills it when it is seen.
//!
//! What a kernel offers, and what of it is used:
//!
//! | trees | freeze | kill |
//! |---|---|---|
//! | v2 | `cgroup.freeze` | `cgroup.kill` and SIGKILL: both work on what is frozen |
//! | v1 | `freezer.state` | SIGKILL, then out of the frozen cgroup: there it dies before its next instruction |
//! | both | both | both; the runtime joins the v2 tree last, until then v1 holds what is in flight |
//!
//! A process that v1 has frozen dies of SIGKILL only when it is thawed. To thaw the cgroup for that would let others
//! slip through, so the process is moved to the root of the freezer's tree instead, which thaws it alone.
//!
//! Architecture invariant: the only way out of the freeze is [`Cgroups::thaw`], which first sees the cgroup empty.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::trees::{Trees, absent_is_default, rounds, step, with_children};
use super::{CgroupError, Cgroups, Driver};

/// What one round of fencing has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// Frozen, and seen empty after that, with all that is below it.
    Yes,
    /// These are still there; 0 stands for a process of a PID namespace that cannot be seen from here.
    NotYet(BTreeSet<i32>),
}

impl Cgroups {
    /// One round: freezes the Pod's cgroup, kills all that is in it, and looks what is left. Does not wait. Where the
    /// cgroup is absent it is made, so that what comes late finds it frozen.
    pub fn fence_once(&self, uid: &str) -> Result<Fenced, CgroupError> {
        let path = self.pod(uid).path;
        if self.driver == Driver::Cgroupfs && !self.trees.is_whole(&path) {
            self.trees.create(&path)?;
        }
        self.trees.freeze(&path)?;
        self.trees.kill_once(&path)?;
        let left = self.trees.inhabitants(&path)?;
        Ok(if left.is_empty() { Fenced::Yes } else { Fenced::NotYet(left) })
    }

    /// Fences, and waits until the cgroup is seen empty; what is still there after `patience` is stuck in the kernel
    /// ([`CgroupError::Populated`]).
    pub fn fence(&self, uid: &str, patience: Duration) -> Result<(), CgroupError> {
        let mut left = BTreeSet::new();
        for _ in 0..rounds(patience) {
            match self.fence_once(uid)? {
                Fenced::Yes => return Ok(()),
                Fenced::NotYet(pids) => left = pids,
            }
            self.trees.wait(&self.pod(uid).path);
        }
        Err(CgroupError::Populated { path: self.pod(uid).path, pids: left })
    }

    /// Whether the Pod's cgroup is frozen in any tree.
    pub fn is_frozen(&self, uid: &str) -> bool {
        self.trees.is_frozen(&self.pod(uid).path)
    }

    /// Whether something is in the Pod's cgroup or below it.
    pub fn is_populated(&self, uid: &str) -> Result<bool, CgroupError> {
        Ok(!self.trees.inhabitants(&self.pod(uid).path)?.is_empty())
    }

    /// Opens a fenced cgroup for its Pod again. Whoever calls this holds the Pod's identity under a valid session, has
    /// the guard armed, and has no start of the Pod under way.
    ///
    /// It is fenced once more and seen empty; and once more after it was thawed, for what joined between the two.
    pub fn thaw(&self, uid: &str, patience: Duration) -> Result<(), CgroupError> {
        self.fence(uid, patience)?;
        self.trees.unfreeze(&self.pod(uid).path)?;
        self.kill_all(uid, patience)
    }

    /// The file that tells of the Pod's cgroup becoming populated, where the kernel has one (a v2 tree).
    pub fn events_file(&self, uid: &str) -> Option<PathBuf> {
        let tree = self.trees.v2.as_ref()?;
        Some(join(tree, &self.pod(uid).path).join("cgroup.events"))
    }
}

fn join(tree: &Path, path: &str) -> PathBuf {
    tree.join(path.trim_start_matches('/'))
}

impl Trees {
    /// Whether `path` is there in every tree.
    fn is_whole(&self, path: &str) -> bool {
        self.dirs(path).iter().all(|dir| dir.is_dir())
    }

    fn freezer(&self, path: &str) -> Option<PathBuf> {
        self.v1.get("freezer").map(|tree| join(tree, path))
    }

    fn freeze(&self, path: &str) -> Result<(), CgroupError> {
        self.set_frozen(path, "1", "FROZEN")
    }

    fn unfreeze(&self, path: &str) -> Result<(), CgroupError> {
        // Somebody may have frozen one container alone.
        for dir in self.freezer(path).iter().flat_map(|dir| with_children(dir)) {
            write_present(&dir.join("freezer.state"), "THAWED")?;
        }
        for dir in self.v2.iter().flat_map(|tree| with_children(&join(tree, path))) {
            write_present(&dir.join("cgroup.freeze"), "0")?;
        }
        Ok(())
    }

    fn set_frozen(&self, path: &str, v2: &str, v1: &str) -> Result<(), CgroupError> {
        if let Some(tree) = &self.v2 {
            write_present(&join(tree, path).join("cgroup.freeze"), v2)?;
        }
        self.freezer(path).map_or(Ok(()), |dir| write_present(&dir.join("freezer.state"), v1))
    }

    fn is_frozen(&self, path: &str) -> bool {
        let says =
            |file: PathBuf, thawed: &str| fs::read_to_string(file).is_ok_and(|state| state.trim() != thawed);
        let v2 = self.v2.as_ref().map(|tree| join(tree, path).join("cgroup.freeze"));
        let v1 = self.freezer(path).map(|dir| dir.join("freezer.state"));
        v2.is_some_and(|file| says(file, "0")) || v1.is_some_and(|file| says(file, "THAWED"))
    }

    /// Kills all that is in `path` and below it now, frozen or not.
    pub(super) fn kill_once(&self, path: &str) -> Result<(), CgroupError> {
        if let Some(tree) = &self.v2 {
            // Also what forks meanwhile; absent before kernel 5.14, which the signals below make up for.
            let _ = write(&join(tree, path).join("cgroup.kill"), "1");
        }
        // Never 0, which is what a foreign PID namespace looks like, and one's own process group to kill(2).
        let pids: BTreeSet<i32> = self.pids(path)?.into_iter().filter(|pid| *pid > 0).collect();
        for pid in &pids {
            // One that has gone meanwhile is what we want.
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        let Some(root) = self.v1.get("freezer") else { return Ok(()) };
        for dir in with_children(&join(root, path)) {
            release_dying(root, &dir, &pids);
        }
        Ok(())
    }

    /// The processes in `path` and below it, in any tree. A v2 tree that says it is populated by none that can be
    /// listed counts as 0.
    pub(super) fn inhabitants(&self, path: &str) -> Result<BTreeSet<i32>, CgroupError> {
        let mut pids = self.pids(path)?;
        if let (true, Some(tree)) = (pids.is_empty(), &self.v2) {
            let events = join(tree, path).join("cgroup.events");
            let text = absent_is_default(fs::read_to_string(&events)).map_err(step("read", &events))?;
            if text.lines().any(|line| line == "populated 1") {
                pids.insert(0);
            }
        }
        Ok(pids)
    }
}

/// Moves what has had its SIGKILL out of a frozen v1 cgroup. It is counted in the other trees until it is gone.
fn release_dying(root: &Path, dir: &Path, killed: &BTreeSet<i32>) {
    let state = fs::read_to_string(dir.join("freezer.state")).unwrap_or_default();
    if matches!(state.trim(), "" | "THAWED") {
        return;
    }
    let listed = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let pids = listed.lines().filter_map(|line| line.parse::<i32>().ok());
    for pid in pids.filter(|pid| killed.contains(pid)) {
        // One that has gone meanwhile is what we want.
        let _ = write(&root.join("cgroup.procs"), &pid.to_string());
    }
}

/// Writes to a file of the kernel without making it.
fn write(file: &Path, value: &str) -> std::io::Result<()> {
    let mut opened = fs::OpenOptions::new().write(true).open(file)?;
    std::io::Write::write_all(&mut opened, value.as_bytes())
}

/// The same; one of a cgroup that is absent needs nothing.
fn write_present(file: &Path, value: &str) -> Result<(), CgroupError> {
    absent_is_default(write(file, value)).map_err(step("write", file))
}

#[cfg(test)]
mod tests;

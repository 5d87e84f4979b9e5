use std::process::{Child, Command};

use super::super::{Cgroups, Driver};
use super::*;

/// A Pod's cgroup in this machine's own trees, emptied and removed whatever happens.
struct Own {
    cgroups: Cgroups,
    uid: String,
    children: Vec<Child>,
}

impl Own {
    fn new(name: &str) -> Self {
        let cgroups = Cgroups::detect(Path::new("/sys/fs/cgroup"), Driver::Cgroupfs).unwrap();
        Self { cgroups, uid: format!("test-{name}-{}", std::process::id()), children: Vec::new() }
    }

    fn dirs(&self) -> BTreeSet<PathBuf> {
        self.cgroups.trees.dirs(&self.cgroups.pod(&self.uid).path)
    }

    /// Starts a sleeper in `dir` of every tree.
    fn sleeper(&mut self, below: &str) -> i32 {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id() as i32;
        self.children.push(child);
        for dir in self.dirs() {
            make_dir(&dir.join(below)).unwrap();
            inherit_cpuset(&dir.join(below)).unwrap();
            fs::write(dir.join(below).join("cgroup.procs"), pid.to_string()).unwrap();
        }
        pid
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.cgroups.kill_all(&self.uid, Duration::from_secs(2));
        let _ = self.cgroups.remove(&self.uid);
    }
}

fn limits() -> Limits {
    Limits {
        cpu_shares: Some(512),
        cpu_quota_us: Some(50_000),
        memory_bytes: Some(64 << 20),
        pids: Some(100),
        hugepages: BTreeMap::new(),
    }
}

#[test]
fn a_pods_cgroup_is_made_with_its_limits_in_every_tree_and_removed_from_all() {
    let own = Own::new("limits");
    own.cgroups.create(&own.uid, &limits()).unwrap();
    own.cgroups.create(&own.uid, &limits()).unwrap();
    let read = |controller: &str, v1: &str, v2: &str| {
        let path = own.cgroups.pod(&own.uid).path;
        let (tree, file) = match own.cgroups.trees.v1.get(controller) {
            Some(tree) => (tree, v1),
            None => (own.cgroups.trees.v2.as_ref().unwrap(), v2),
        };
        fs::read_to_string(tree.join(&path[1..]).join(file)).unwrap().trim().to_owned()
    };
    assert_eq!(read("memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert_eq!(read("pids", "pids.max", "pids.max"), "100");
    assert!(["512", "20"].contains(&read("cpu", "cpu.shares", "cpu.weight").as_str()));
    assert!(read("cpu", "cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
    assert!(own.dirs().iter().all(|dir| dir.is_dir()));
    own.cgroups.remove(&own.uid).unwrap();
    own.cgroups.remove(&own.uid).unwrap();
    assert!(own.dirs().iter().all(|dir| !dir.exists()));
}

#[test]
fn a_populated_cgroup_is_not_removed_and_its_processes_are_named() {
    let mut own = Own::new("populated");
    own.cgroups.create(&own.uid, &limits()).unwrap();
    let pid = own.sleeper("one");
    let error = own.cgroups.remove(&own.uid).unwrap_err();
    assert!(matches!(&error, CgroupError::Populated { pids, .. } if pids.contains(&pid)), "{error}");
    assert!(own.dirs().iter().all(|dir| dir.is_dir()), "nothing is half removed");
}

#[test]
fn killing_ends_also_what_is_frozen_and_is_verified() {
    let mut own = Own::new("kill");
    own.cgroups.create(&own.uid, &limits()).unwrap();
    own.sleeper("one");
    own.sleeper("two");
    if let Some(freezer) = own.cgroups.trees.v1.get("freezer") {
        let path = own.cgroups.pod(&own.uid).path;
        fs::write(freezer.join(&path[1..]).join("one/freezer.state"), "FROZEN").unwrap();
    }
    // The zombies are this test's own children: someone must reap them before the cgroup counts as empty.
    let mut children = std::mem::take(&mut own.children);
    let reaper = std::thread::spawn(move || children.iter_mut().for_each(|child| drop(child.wait())));
    own.cgroups.kill_all(&own.uid, Duration::from_secs(5)).unwrap();
    reaper.join().unwrap();
    assert!(own.cgroups.pids(&own.uid).unwrap().is_empty());
    own.cgroups.remove(&own.uid).unwrap();
}

/// A v2 tree as files: what would be written to the kernel.
fn v2_fixture() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for dir in ["", "leasehold"] {
        fs::create_dir_all(root.path().join(dir)).unwrap();
        fs::write(
            root.path().join(dir).join("cgroup.controllers"),
            "cpuset cpu io memory hugetlb pids rdma\n",
        )
        .unwrap();
        fs::write(root.path().join(dir).join("cgroup.subtree_control"), "memory\n").unwrap();
    }
    root
}

#[test]
fn in_the_v2_tree_controllers_are_passed_down_and_limits_written_in_its_own_terms() {
    let root = v2_fixture();
    let cgroups = Cgroups::detect(root.path(), Driver::Cgroupfs).unwrap();
    assert_eq!(cgroups.version(), Version::V2);
    let limits = Limits { hugepages: BTreeMap::from([(2 << 20, 8 << 20)]), ..limits() };
    cgroups.create("u", &limits).unwrap();
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    assert_eq!(read("cgroup.subtree_control"), "+cpuset +cpu +io +hugetlb +pids");
    assert_eq!(read("leasehold/cgroup.subtree_control"), "+cpuset +cpu +io +hugetlb +pids");
    assert_eq!(read("leasehold/podu/cpu.weight"), "20");
    assert_eq!(read("leasehold/podu/cpu.max"), "50000 100000");
    assert_eq!(read("leasehold/podu/memory.max"), (64 << 20).to_string());
    assert_eq!(read("leasehold/podu/hugetlb.2MB.max"), (8 << 20).to_string());
}

#[test]
fn versions_are_told_apart_by_what_is_mounted() {
    let root = tempfile::tempdir().unwrap();
    let detect = || Cgroups::detect(root.path(), Driver::Cgroupfs);
    assert!(matches!(detect().unwrap_err(), CgroupError::NotMounted(_)));
    for tree in ["cpu,cpuacct", "memory"] {
        fs::create_dir(root.path().join(tree)).unwrap();
        fs::write(root.path().join(tree).join("cgroup.procs"), "").unwrap();
    }
    std::os::unix::fs::symlink("cpu,cpuacct", root.path().join("cpu")).unwrap();
    let found = detect().unwrap();
    assert_eq!(found.version(), Version::V1);
    assert_eq!(found.trees.v1["cpu"], found.trees.v1["cpuacct"]);
    fs::create_dir(root.path().join("unified")).unwrap();
    fs::write(root.path().join("unified/cgroup.controllers"), "").unwrap();
    assert_eq!(detect().unwrap().version(), Version::Hybrid);
}

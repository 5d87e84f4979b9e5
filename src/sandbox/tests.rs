use serde_json::json;

use super::*;
use crate::cgroup::Driver;

/// A ground of its own with one Pod, cleared whatever happens.
struct Bed {
    ground: Arc<Ground>,
    pod: Arc<Pod>,
    _dir: tempfile::TempDir,
}

impl Bed {
    fn new(name: &str, spec: serde_json::Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::write(path("resolv"), "nameserver 192.0.2.1\n").unwrap();
        fs::write(path("hosts"), "127.0.0.1 localhost\n").unwrap();
        let ground = Ground {
            data_dir: path("data"),
            runtime_dir: path("run"),
            cgroups: Cgroups::detect(Path::new("/sys/fs/cgroup"), Driver::Cgroupfs).unwrap(),
            cni: Cni { config_dir: path("net.d"), bin_dirs: Cni::default().bin_dirs },
            dns: ClusterDns { nameservers: Vec::new(), domain: "cluster.local".to_owned() },
            resolver_file: path("resolv"),
            hosts_file: path("hosts"),
            pids_per_pod: None,
            allowed_sysctls: Vec::new(),
        };
        let mut spec = spec;
        spec["containers"] = json!([{"name": "c"}]);
        let uid = format!("sandbox-{name}-{}", std::process::id());
        let pod = json!({"metadata": {"name": "web-0", "namespace": "shop", "uid": uid}, "spec": spec});
        Self { ground: Arc::new(ground), pod: Arc::new(serde_json::from_value(pod).unwrap()), _dir: dir }
    }

    async fn make(&self) -> Result<Sandbox, SandboxError> {
        self.ground.clone().make(self.pod.clone(), vec!["192.0.2.7".to_owned()]).await
    }

    async fn remove(&self) -> Result<(), SandboxError> {
        self.ground.clone().remove(uid(&self.pod).to_owned()).await
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.ground.cgroups.kill_all(uid(&self.pod), std::time::Duration::from_secs(2));
        let _ = self.ground.cgroups.remove(uid(&self.pod));
        let _ = self.ground.clear(uid(&self.pod));
    }
}

#[tokio::test]
async fn a_pod_on_the_nodes_network_has_its_own_ipc_and_the_nodes_names() {
    let bed = Bed::new(
        "host",
        json!({"hostNetwork": true, "hostAliases": [{"ip": "192.0.2.9", "hostnames": ["m"]}]}),
    );
    let made = bed.make().await.unwrap();
    assert_eq!(made.ips, ["192.0.2.7"]);
    assert_eq!((made.namespaces.net, made.namespaces.uts), (None, None));
    assert!(namespaces::is_pinned(&made.namespaces.ipc.unwrap()));
    assert_eq!(made.host_name, node_name());
    let hosts = fs::read_to_string(&made.hosts).unwrap();
    assert!(hosts.contains("127.0.0.1 localhost\n") && hosts.ends_with("192.0.2.9\tm\n"), "{hosts}");
    assert_eq!(fs::read_to_string(&made.resolv_conf).unwrap(), "nameserver 192.0.2.1\n");
    assert!(mounts::is_mount_point(&made.shm));
    bed.remove().await.unwrap();
}

#[tokio::test]
async fn making_twice_is_making_once_and_removing_leaves_nothing() {
    let bed = Bed::new("twice", json!({"hostNetwork": true}));
    let first = bed.make().await.unwrap();
    fs::write(first.shm.join("kept"), "x").unwrap();
    assert_eq!(bed.make().await.unwrap(), first);
    assert!(first.shm.join("kept").exists());
    bed.remove().await.unwrap();
    bed.remove().await.unwrap();
    let uid = uid(&bed.pod);
    assert!(!bed.ground.data_of(uid).exists() && !bed.ground.runtime_of(uid).exists());
    assert_eq!(mounts::below(&bed.ground.runtime_dir).unwrap(), Vec::<PathBuf>::new());
    assert!(!Path::new("/sys/fs/cgroup/pids").join(&first.cgroup.path[1..]).exists());
}

#[tokio::test]
async fn a_pod_waits_for_the_nodes_network_and_what_was_made_for_it_is_found_and_removed() {
    let bed = Bed::new("wait", json!({}));
    let error = bed.make().await.unwrap_err();
    assert!(matches!(error, SandboxError::NetworkNotReady(_)), "{error}");
    assert!(error.to_string().contains("NetworkPluginNotReady"), "{error}");
    let own = BTreeSet::from([uid(&bed.pod).to_owned()]);
    assert_eq!(bed.ground.leftovers(&own), BTreeSet::new());
    assert_eq!(bed.ground.leftovers(&BTreeSet::new()), own);
    bed.remove().await.unwrap();
    assert_eq!(bed.ground.leftovers(&BTreeSet::new()), BTreeSet::new());
}

#[tokio::test]
async fn a_sandbox_in_which_something_runs_is_not_removed() {
    let bed = Bed::new("busy", json!({"hostNetwork": true, "hostIPC": true}));
    let made = bed.make().await.unwrap();
    assert_eq!(made.namespaces, Namespaces::default());
    assert_eq!(made.shm, Path::new("/dev/shm"));
    let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let procs =
        |tree: &str| Path::new("/sys/fs/cgroup").join(tree).join(&made.cgroup.path[1..]).join("cgroup.procs");
    let tree = if procs("pids").exists() { "pids" } else { "" };
    fs::write(procs(tree), child.id().to_string()).unwrap();
    let error = bed.remove().await.unwrap_err();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(error, SandboxError::Cgroup(CgroupError::Populated { .. })), "{error}");
    assert!(made.hosts.exists(), "nothing is taken from under it");
    bed.remove().await.unwrap();
}

#[tokio::test]
async fn a_pod_on_its_own_network_has_an_address_and_names_of_its_own() {
    let bed = Bed::new("cni", json!({"subdomain": "db", "hostname": "db-0"}));
    let bridge = format!("lhs{}", std::process::id() % 100_000);
    let ipam = bed.ground.data_dir.with_file_name("ipam");
    fs::create_dir_all(&bed.ground.cni.config_dir).unwrap();
    let text = json!({"cniVersion": "1.0.0", "name": bridge, "type": "bridge", "bridge": bridge, "ipam":
        {"type": "host-local", "dataDir": ipam, "ranges": [[{"subnet": "10.213.8.0/24"}]]}});
    fs::write(bed.ground.cni.config_dir.join("1.conf"), text.to_string()).unwrap();
    let made = bed.make().await;
    let removed = bed.remove().await;
    let _ = std::process::Command::new("ip").args(["link", "delete", &bridge]).output();
    let made = made.unwrap();
    removed.unwrap();
    assert!(made.ips[0].starts_with("10.213.8."));
    assert_eq!(made.host_name, "db-0");
    assert_eq!(made.warnings[0].0, "MissingClusterDNS");
}

#[tokio::test]
async fn a_uid_that_would_leave_its_directory_is_refused() {
    let bed = Bed::new("uid", json!({"hostNetwork": true}));
    for uid in ["", "..", "a/b", "."] {
        let error = bed.ground.clone().remove(uid.to_owned()).await.unwrap_err();
        assert!(matches!(error, SandboxError::Uid(_)), "{error}");
    }
}

#[tokio::test]
async fn a_containers_own_mounts_count_more_than_the_pods() {
    let bed = Bed::new("mounts", json!({"hostNetwork": true, "hostIPC": true}));
    let made = bed.make().await.unwrap();
    let container = json!({"name": "c", "securityContext": {"readOnlyRootFilesystem": true},
        "volumeMounts": [{"name": "v", "mountPath": "/etc/hosts/"}]});
    let mounts = made.container_mounts(&serde_json::from_value(container).unwrap());
    let listed: Vec<_> = mounts.iter().map(|m| (m.destination.to_str().unwrap(), m.read_only)).collect();
    assert_eq!(listed, [("/etc/hostname", true), ("/etc/resolv.conf", true), ("/dev/shm", false)]);
}

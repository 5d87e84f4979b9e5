//! A Pod's sandbox and volumes as real containers find them: runc joins what was made, and all of it goes again.

#![allow(clippy::unwrap_used, reason = "a test's unwrap is its assertion")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};
use leasehold::agent::downward::PodFacts;
use leasehold::agent::environment::{Environment, command, environment};
use leasehold::agent::sources::Sources;
use leasehold::cgroup::{Cgroups, Driver};
use leasehold::network::cni::Cni;
use leasehold::network::resolver::ClusterDns;
use leasehold::sandbox::{Ground, Sandbox};
use leasehold::volumes::{self, ContainerMount, mounts};
use serde_json::{Value, json};

/// A node's ground and one Pod on it; nothing of either outlives the test.
struct Bed {
    dir: tempfile::TempDir,
    ground: Arc<Ground>,
    pod: Arc<Pod>,
    bridge: String,
}

impl Bed {
    fn new(name: &str, spec: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bridge = format!("lht{name}{}", std::process::id() % 10_000);
        let ground = Ground {
            data_dir: dir.path().join("data"),
            runtime_dir: dir.path().join("run"),
            cgroups: Cgroups::detect(Path::new("/sys/fs/cgroup"), Driver::of_machine()).unwrap(),
            cni: Cni { config_dir: dir.path().join("net.d"), bin_dirs: Cni::default().bin_dirs },
            dns: ClusterDns {
                nameservers: vec!["10.96.0.10".to_owned()],
                domain: "cluster.local".to_owned(),
            },
            resolver_file: PathBuf::from("/etc/resolv.conf"),
            hosts_file: PathBuf::from("/etc/hosts"),
            pids_per_pod: Some(64),
            allowed_sysctls: Vec::new(),
        };
        fs::create_dir(&ground.cni.config_dir).unwrap();
        let network = json!({"cniVersion": "1.0.0", "name": bridge, "type": "bridge", "bridge": bridge,
            "ipam": {"type": "host-local", "dataDir": dir.path().join("ipam"),
                "ranges": [[{"subnet": "10.213.9.0/24"}]]}});
        fs::write(ground.cni.config_dir.join("10-test.conf"), network.to_string()).unwrap();
        let uid = format!("runc-{name}-{}", std::process::id());
        let pod = json!({"metadata": {"name": "web-0", "namespace": "shop", "uid": uid}, "spec": spec});
        Self { dir, ground: Arc::new(ground), pod: Arc::new(serde_json::from_value(pod).unwrap()), bridge }
    }

    fn uid(&self) -> &str {
        self.pod.metadata.uid.as_deref().unwrap()
    }

    fn container(&self) -> &Container {
        &self.pod.spec.as_ref().unwrap().containers[0]
    }

    /// Runs the Pod's container to its end in `sandbox` and returns what it printed.
    fn run(&self, id: &str, sandbox: &Sandbox) -> String {
        let facts = PodFacts {
            ips: sandbox.ips.clone(),
            host_name: sandbox.host_name.clone(),
            ..PodFacts::default()
        };
        let made = environment(&self.pod, self.container(), &[], &Sources::default(), &facts).unwrap();
        let pod_dir = self.ground.data_of(self.uid());
        let mounted = volumes::mount(&self.pod, &pod_dir, &sources(), &facts).unwrap();
        let mut all = volumes::container_mounts(&pod_dir, self.container(), &made, &mounted).unwrap();
        all.extend(sandbox.container_mounts(self.container()));
        let bundle = self.dir.path().join(id);
        make_bundle(&bundle, &config(self.container(), &made, &all, sandbox, id));
        let out = Command::new("runc")
            .arg("--root")
            .arg(self.dir.path().join("runc"))
            .args((self.ground.cgroups.driver() == Driver::Systemd).then_some("--systemd-cgroup"))
            .args(["run", "--bundle"])
            .arg(&bundle)
            .arg(id)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.ground.cgroups.kill_all(self.uid(), std::time::Duration::from_secs(2));
        let _ = self.ground.cgroups.remove(self.uid());
        let _ = mounts::unmount_below(self.dir.path());
        let _ = Command::new("ip").args(["link", "delete", &self.bridge]).output();
    }
}

fn sources() -> Sources {
    let mut sources = Sources::default();
    let map = json!({"metadata": {"name": "c"}, "data": {"greeting": "hello"}});
    sources.config_maps.insert("c".to_owned(), Some(Arc::new(serde_json::from_value(map).unwrap())));
    sources
}

fn make_bundle(bundle: &Path, config: &Value) {
    let bin = bundle.join("rootfs/bin");
    fs::create_dir_all(&bin).unwrap();
    fs::create_dir_all(bundle.join("rootfs/etc")).unwrap();
    fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
    symlink("busybox", bin.join("sh")).unwrap();
    fs::write(bundle.join("config.json"), config.to_string()).unwrap();
}

fn config(
    container: &Container,
    environment: &Environment,
    mounts: &[ContainerMount],
    sandbox: &Sandbox,
    id: &str,
) -> Value {
    let variables: Vec<_> =
        environment.variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let binds = mounts.iter().map(|mount| {
        let writes = if mount.read_only { "ro" } else { "rw" };
        json!({"source": mount.source, "destination": mount.destination, "type": "bind",
            "options": ["rbind", mount.propagation.option(), writes]})
    });
    let proc = json!({"source": "proc", "destination": "/proc", "type": "proc"});
    let spaces = &sandbox.namespaces;
    let joined = [("network", &spaces.net), ("ipc", &spaces.ipc), ("uts", &spaces.uts)]
        .into_iter()
        .filter_map(|(kind, path)| Some(json!({"type": kind, "path": path.as_ref()?})));
    let own = ["mount", "pid"].into_iter().map(|kind| json!({"type": kind}));
    let dev = json!({"source": "tmpfs", "destination": "/dev", "type": "tmpfs", "options": ["mode=755"]});
    let mounts: Vec<_> = [proc, dev].into_iter().chain(binds).collect();
    let namespaces: Vec<_> = joined.chain(own).collect();
    json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "env": variables,
            "args": command(container, &[], &[], environment)},
        "root": {"path": "rootfs"},
        "mounts": mounts,
        "linux": {"namespaces": namespaces, "cgroupsPath": sandbox.cgroup.runtime_path(id)}
    })
}

/// What the container prints: one `name=value` line per question.
const LOOK: &str = r#"
b=/bin/busybox
echo "name=$($b hostname) $HOSTNAME"
echo "address=$($b ip -o -4 addr show eth0 | $b awk '{print $4}')"
echo "hosts=$($b grep -c "web-0" /etc/hosts)"
echo "resolver=$($b tr '\n' ' ' < /etc/resolv.conf)"
echo "net=$($b readlink /proc/self/ns/net)"
echo "cgroup=$($b grep pids: /proc/self/cgroup || $b cat /proc/self/cgroup)"
echo "config=$($b cat /config/greeting) $(echo x > /config/new 2>/dev/null || echo refused)"
echo "part=$($b cat /one)"
echo "kept=$($b cat /shared/kept 2>/dev/null)"; echo first > /shared/kept
echo "shm=$(echo x > /dev/shm/f && $b df -m /dev/shm | $b awk 'NR==2 {print $2}')"
"#;

fn answers(printed: &str) -> std::collections::BTreeMap<String, String> {
    let pairs = printed.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

#[tokio::test]
async fn containers_share_the_pods_network_names_volumes_and_cgroup_and_nothing_stays() {
    let bed = Bed::new(
        "a",
        &json!({
        "subdomain": "db",
        "volumes": [{"name": "config", "configMap": {"name": "c"}}, {"name": "shared", "emptyDir": {"medium": "Memory"}}],
        "containers": [{"name": "c", "command": ["sh", "-c", LOOK],
            "resources": {"limits": {"memory": "128Mi", "cpu": "500m"}},
            "volumeMounts": [{"name": "config", "mountPath": "/config"}, {"name": "shared", "mountPath": "/shared"},
                {"name": "config", "mountPath": "/one", "subPath": "greeting"}]}]}),
    );
    let sandbox = bed.ground.clone().make(bed.pod.clone(), Vec::new()).await.unwrap();
    let first = answers(&bed.run("first", &sandbox));
    let second = answers(&bed.run("second", &sandbox));
    assert_eq!(first["name"], "web-0 web-0");
    assert_eq!(first["address"], format!("{}/24", sandbox.ips[0]));
    assert_eq!(first["hosts"], "1");
    let resolver = &first["resolver"];
    assert!(
        resolver.starts_with("search shop.svc.cluster.local ") && resolver.contains("nameserver 10.96.0.10 ")
    );
    assert!(first["cgroup"].ends_with(&sandbox.cgroup.container_path("first")), "{first:?}");
    assert_eq!((first["config"].as_str(), first["part"].as_str()), ("hello refused", "hello"));
    assert_eq!((first["kept"].as_str(), second["kept"].as_str()), ("", "first"));
    assert_eq!(first["net"], second["net"]);
    assert_eq!(first["shm"], "64");
    bed.ground.clone().remove(bed.uid().to_owned()).await.unwrap();
    assert_eq!(mounts::below(bed.dir.path()).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(bed.ground.leftovers(&BTreeSet::new()), BTreeSet::new());
    assert!(bed.ground.cgroups.pids(bed.uid()).unwrap().is_empty());
    let held = fs::read_dir(bed.dir.path().join("ipam").join(&bed.bridge)).unwrap().flatten();
    let addresses = held.filter(|entry| entry.file_name().to_string_lossy().starts_with("10."));
    assert_eq!(addresses.count(), 0, "the Pod's address is free again");
}

#[tokio::test]
async fn a_stranger_that_knows_only_the_directories_finds_and_removes_what_a_dead_agent_left() {
    let spec = json!({"containers": [{"name": "c", "command": ["sh", "-c", "true"]}]});
    let bed = Bed::new("b", &spec);
    bed.ground.clone().make(bed.pod.clone(), Vec::new()).await.unwrap();
    let later = Arc::new(Ground::clone(&bed.ground));
    let left = later.leftovers(&BTreeSet::new());
    assert_eq!(left, BTreeSet::from([bed.uid().to_owned()]));
    for uid in left {
        later.clone().remove(uid).await.unwrap();
    }
    assert_eq!(later.leftovers(&BTreeSet::new()), BTreeSet::new());
    assert_eq!(mounts::below(bed.dir.path()).unwrap(), Vec::<PathBuf>::new());
}

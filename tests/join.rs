//! A machine joins a coordinator with a token, for real: two processes, a real containerd, kubectl.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{BUSYBOX, Containerd, PATIENCE, TestImage};

/// Life of the certificates, seconds: long enough to start in, short enough to wait for.
const LIFE_SECONDS: u64 = 40;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process of the test's own, killed with it.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A coordinator, and a machine beside it.
struct Bed {
    dir: PathBuf,
    coordinator: Process,
    containerd: Containerd,
}

fn leasehold(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.args(args).stdin(Stdio::null());
    for variable in ["LEASEHOLD_TOKEN", "LEASEHOLD_COORDINATOR", "LEASEHOLD_CA_HASH", "KUBECONFIG"] {
        command.env_remove(variable);
    }
    command
}

/// Starts a command and waits until it says that it is ready; what it said otherwise.
fn ready(mut command: Command, log: &Path) -> Result<Process, String> {
    let file = fs::File::options().create(true).append(true).open(log).unwrap();
    let mut child = command.stdout(Stdio::piped()).stderr(file).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let process = Process(child);
    let mut line = String::new();
    let _ = BufReader::new(stdout).read_line(&mut line);
    if line.contains("is ready") { Ok(process) } else { Err(fs::read_to_string(log).unwrap_or_default()) }
}

impl Bed {
    fn start() -> Option<Self> {
        let containerd = Containerd::start()?;
        let dir = containerd.scratch("join");
        let listen = format!("127.0.0.1:{}", free_port());
        let data = dir.join("coordinator").to_string_lossy().into_owned();
        let life = LIFE_SECONDS.to_string();
        let args = ["coordinator", "--data-dir", &data, "--listen", &listen, "--certificate-duration", &life];
        let coordinator =
            ready(leasehold(&args), &dir.join("coordinator.log")).expect("the coordinator starts");
        let bed = Self { dir, coordinator, containerd };
        let archive = bed.dir.join("busybox.tar");
        TestImage::busybox(BUSYBOX).write_oci_archive(&archive);
        let imported = leasehold(&["image", "import", &archive.to_string_lossy()])
            .args(bed.containerd_flags())
            .output()
            .unwrap();
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        Some(bed)
    }

    fn kubeconfig(&self) -> String {
        self.dir.join("coordinator/kubeconfig").to_string_lossy().into_owned()
    }

    fn containerd_flags(&self) -> Vec<String> {
        let address = self.containerd.address().to_string_lossy().into_owned();
        let namespace = self.containerd.namespace().to_owned();
        vec!["--containerd-address".into(), address, "--containerd-namespace".into(), namespace]
    }

    /// The command that `token create` prints, as its arguments.
    fn invitation(&self, flags: &[&str]) -> Vec<String> {
        let kubeconfig = self.kubeconfig();
        let args = [&["token", "create", "--kubeconfig", &kubeconfig], flags].concat();
        let output = leasehold(&args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let line = String::from_utf8(output.stdout).unwrap();
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        assert_eq!(words[..2], ["leasehold", "agent"], "{line}");
        words[1..].to_vec()
    }

    fn agent(&self, invitation: &[String], name: &str) -> Command {
        let path = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let mut command = leasehold(&[]);
        let mut invitation = invitation.to_vec();
        if let Some(index) = invitation.iter().position(|word| word == "--steward-kubeconfig") {
            invitation[index + 1] = path(&format!("{name}/steward.kubeconfig"));
        }
        command
            .args(&invitation)
            .args(["--data-dir", &path(name), "--node-name", "n1", "--node-ip", "127.0.0.1"])
            .args(["--node-listen", &format!("127.0.0.1:{}", free_port())])
            .args(["--runtime-dir", &path(&format!("{name}-run")), "--log-dir", &path("log")])
            .args(["--cni-conf-dir", &path("cni"), "--kubeconfig", &path("none")])
            .args(self.containerd_flags());
        command
    }

    fn kubectl(&self, args: &[&str]) -> Output {
        Command::new("kubectl")
            .args(["--kubeconfig", &self.kubeconfig(), "--cache-dir"])
            .arg(self.dir.join("cache"))
            .args(args)
            .stdin(Stdio::null())
            .output()
            .expect("kubectl is installed")
    }

    fn json(&self, args: &[&str]) -> Value {
        let output = self.kubectl(&[args, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name)).unwrap_or_default()
    }

    fn until(&self, what: &str, log: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}\n{}", self.log(log));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.coordinator.0.kill();
        let _ = self.coordinator.0.wait();
        let mut traces = self.containerd.traces();
        for name in ["first", "second"] {
            let data = self.dir.join(name).to_string_lossy().into_owned();
            let run = self.dir.join(format!("{name}-run")).to_string_lossy().into_owned();
            let log = self.dir.join("log").to_string_lossy().into_owned();
            let args = ["reset", "--yes", "--data-dir", &data, "--runtime-dir", &run, "--log-dir", &log];
            let _ = leasehold(&args).args(self.containerd_flags()).output();
        }
        traces.assert_none();
    }
}

fn daemon_set() -> String {
    format!(
        r#"{{ "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {{ "name": "web" }}, "spec": {{
            "selector": {{ "matchLabels": {{ "app": "web" }} }},
            "template": {{ "metadata": {{ "labels": {{ "app": "web" }} }}, "spec": {{
                "terminationGracePeriodSeconds": 1, "hostNetwork": true,
                "containers": [{{ "name": "main", "image": "{BUSYBOX}", "command": ["sleep", "infinity"] }}]
            }} }}
        }} }}"#
    )
}

fn certificate(kubeconfig: &Path) -> String {
    let text = fs::read_to_string(kubeconfig).unwrap_or_default();
    let line = text.lines().find(|line| line.contains("client-certificate-data")).unwrap_or_default();
    line.to_owned()
}

#[test]
fn a_machine_joins_hosts_its_pods_renews_its_certificate_and_rejoins_after_a_long_absence() {
    let Some(bed) = Bed::start() else { return };
    let invitation = bed.invitation(&["--steward"]);
    let mut agent = ready(bed.agent(&invitation, "first"), &bed.dir.join("agent.log")).expect("it joins");
    let manifest = bed.dir.join("ds.json");
    fs::write(&manifest, daemon_set()).unwrap();
    let applied = bed.kubectl(&["apply", "-f", &manifest.to_string_lossy()]);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    bed.until("the Pod runs and the steward has counted it", "agent.log", || {
        bed.json(&["get", "ds", "web"])["status"]["numberReady"] == 1
    });
    let node = bed.json(&["get", "node", "n1"]);
    assert_eq!(node["metadata"]["name"], "n1");

    let own = bed.dir.join("first/kubeconfig");
    let steward = bed.dir.join("first/steward.kubeconfig");
    let (first, of_steward) = (certificate(&own), certificate(&steward));
    assert!(!first.is_empty() && !of_steward.is_empty());
    bed.until("both certificates are renewed", "agent.log", || {
        certificate(&own) != first && certificate(&steward) != of_steward
    });
    // With the first certificate long over the node goes on.
    std::thread::sleep(Duration::from_secs(LIFE_SECONDS));
    bed.kubectl(&["label", "node", "n1", "probe=1"]);
    bed.until("the session is renewed with the new certificate", "agent.log", || {
        let time = |lease: &Value| lease["spec"]["renewTime"].as_str().unwrap_or_default().to_owned();
        let before = time(&bed.json(&["get", "lease", "-n", "kube-node-lease", "n1"]));
        std::thread::sleep(Duration::from_secs(5));
        time(&bed.json(&["get", "lease", "-n", "kube-node-lease", "n1"])) > before
    });

    let second = bed.agent(&bed.invitation(&[]), "second");
    let refusal = ready(second, &bed.dir.join("second.log")).err().expect("the name is taken");
    assert!(refusal.contains("node \"n1\" is alive") && refusal.contains("--node-name"), "{refusal}");

    agent.0.kill().unwrap();
    agent.0.wait().unwrap();
    std::thread::sleep(Duration::from_secs(LIFE_SECONDS + 5));
    let stale = ready(bed.agent(&["agent".to_owned()], "first"), &bed.dir.join("stale.log"));
    let stale = stale.expect("its DaemonSets need no coordinator");
    let told = bed.log("stale.log");
    assert!(told.contains("join again with a fresh token"), "{told}");
    drop(stale);
    let fresh = bed.invitation(&["--steward"]);
    let _agent = ready(bed.agent(&fresh, "first"), &bed.dir.join("fresh.log")).expect("it rejoins");
    let lost = bed.json(&["get", "pods", "-l", "app=web"])["items"][0]["status"]["containerStatuses"][0]
        ["restartCount"]
        .clone();
    assert_eq!(lost, 0, "nothing was restarted by all that");
    bed.until("the node is heard again", "fresh.log", || {
        bed.log("fresh.log").contains("the session is held")
    });
}

#[test]
fn a_wrong_hash_and_an_ended_or_unknown_token_are_told_apart() {
    let Some(bed) = Bed::start() else { return };
    let fails = |invitation: &[String], log: &str| {
        ready(bed.agent(invitation, "first"), &bed.dir.join(log)).err().expect("it does not join")
    };
    let good = bed.invitation(&[]);
    let at = |flag: &str| good.iter().position(|word| word == flag).unwrap() + 1;
    let mut wrong = good.clone();
    wrong[at("--ca-hash")] = format!("sha256:{}", "0".repeat(64));
    let told = fails(&wrong, "hash.log");
    assert!(told.contains("shows no authority with this hash"), "{told}");

    let mut unknown = good.clone();
    unknown[at("--token")] = "zzzzzz.0123456789abcdef".into();
    let told = fails(&unknown, "unknown.log");
    assert!(told.contains("does not accept the token") && told.contains("leasehold token create"), "{told}");

    let ended = bed.invitation(&["--ttl", "1s"]);
    std::thread::sleep(Duration::from_secs(2));
    let told = fails(&ended, "ended.log");
    assert!(told.contains("does not accept the token"), "{told}");

    let token = &good[at("--token")];
    let kubeconfig = bed.kubeconfig();
    let list = || {
        let output = leasehold(&["token", "list", "--kubeconfig", &kubeconfig]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(list().contains(&token[..6]) && !list().contains(&token[7..]), "{}", list());
    let deleted = leasehold(&["token", "delete", token, "--kubeconfig", &kubeconfig]).output().unwrap();
    assert!(deleted.status.success(), "{}", String::from_utf8_lossy(&deleted.stderr));
    assert!(!list().contains(&token[..6]));
    let told = fails(&good, "deleted.log");
    assert!(told.contains("does not accept the token"), "{told}");

    let shown = leasehold(&["token", "create", "--kubeconfig", &kubeconfig, "-o", "json"]).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert!(shown["caHash"].as_str().unwrap().starts_with("sha256:") && shown["steward"] == false, "{shown}");
    let mut odd = leasehold(&["token", "create", "--kubeconfig", &kubeconfig, "--ttl", "soon"]);
    let mut child = odd.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(!child.wait().unwrap().success() && told.contains("--ttl"), "{told}");
}

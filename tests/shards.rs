//! Steward shards for real: a coordinator alone, agents that may steward, one of which stops and another is killed.

#![allow(clippy::disallowed_methods, reason = "the tests have no driver: they wait for real programs")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Containerd, PATIENCE};

const SHARDS: usize = 4;
/// Enough that every shard has one with near certainty.
const SETS: usize = 12;
/// D and M of the sessions here, in seconds.
const D: f64 = 10.0;
const M: f64 = 3.0;

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("loopback has free ports").port()
}

/// Starts a program that says on its first line that it is ready.
fn ready(command: &mut Command, log: &Path) -> Child {
    let file = std::fs::File::options().create(true).append(true).open(log).expect("opened");
    let child = command.env("LEASEHOLD_LOG", "info,leasehold=debug").stdin(Stdio::null());
    let mut child = child.stdout(Stdio::piped()).stderr(file).spawn().expect("it starts");
    let mut line = String::new();
    let _ = BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line);
    let said = || std::fs::read_to_string(log).unwrap_or_default();
    assert!(line.contains("is ready"), "not ready: {line:?}\n{}", said());
    child
}

fn leasehold() -> Command {
    Command::new(env!("CARGO_BIN_EXE_leasehold"))
}

/// A coordinator, and agents on a machine without containerd.
struct Cluster {
    dir: PathBuf,
    containerd: Containerd,
    coordinator: Child,
    agents: BTreeMap<&'static str, Child>,
    audit: Option<Audit>,
}

impl Cluster {
    fn start() -> Option<Self> {
        let containerd = Containerd::start()?;
        let dir = containerd.scratch("shards");
        let path = dir.join("state").to_string_lossy().into_owned();
        let mut command = leasehold();
        command.args(["coordinator", "--data-dir", &path, "--listen", &format!("127.0.0.1:{}", port())]);
        command.args(["--steward-shards", &SHARDS.to_string()]);
        let coordinator = ready(&mut command, &dir.join("coordinator.log"));
        Some(Self { dir, containerd, coordinator, agents: BTreeMap::new(), audit: None })
    }

    fn kubeconfig(&self) -> String {
        self.dir.join("state/kubeconfig").to_string_lossy().into_owned()
    }

    fn agent(&mut self, name: &'static str) {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).expect("made");
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let mut command = leasehold();
        command
            .args(["agent", "--kubeconfig", &self.kubeconfig(), "--node-name", name])
            .args(["--steward-kubeconfig", &self.kubeconfig(), "--node-ip", "127.0.0.1"])
            .args(["--node-listen", &format!("127.0.0.1:{}", port()), "--data-dir", &path("data")])
            .args(["--runtime-dir", &path("run"), "--log-dir", &path("log"), "--cni-conf-dir", &path("cni")])
            .args(["--containerd-address", &path("none.sock"), "--session-duration", &format!("{D}")])
            .args(["--pressure-thresholds="]);
        self.agents.insert(name, ready(&mut command, &dir.join("log.txt")));
    }

    fn kubectl(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command.args(args).env("KUBECONFIG", self.kubeconfig()).env("KUBECACHEDIR", self.dir.join("cache"));
        command
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.kubectl(args).output().expect("kubectl runs");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[args, &["-o", "json"]].concat())).expect("JSON")
    }

    fn until<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> (T, Duration) {
        let start = Instant::now();
        loop {
            if let Some(found) = condition() {
                return (found, start.elapsed());
            }
            let told = || self.ok(&["get", "leases,rs", "-A"]);
            assert!(start.elapsed() <= PATIENCE, "{what}: not within {PATIENCE:?}\n{}", told());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The node that holds each shard; empty: nobody.
    fn holders(&self) -> Vec<String> {
        let leases = self.json(&["get", "leases", "-n", "leasehold-system"]);
        let all = leases["items"].as_array().expect("a list");
        let shards = all.iter().filter(|lease| text(&lease["metadata"]["name"]).starts_with("steward-"));
        shards.map(holder).collect()
    }

    /// Waits until all shards are held, none of them by these nodes.
    fn all_held_without(&self, gone: &[&str]) -> (Vec<String>, Duration) {
        self.until("every shard is held", || {
            let holders = self.holders();
            let held = |holder: &String| !holder.is_empty() && !gone.contains(&holder.as_str());
            (holders.len() == SHARDS && holders.iter().all(held)).then_some(holders)
        })
    }

    fn scale(&self, replicas: usize) {
        self.ok(&["scale", "rs", "--all", &format!("--replicas={replicas}")]);
    }

    /// How many sets have so many Pods.
    fn with_pods(&self, replicas: usize) -> usize {
        let pods = self.json(&["get", "pods"]);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for pod in pods["items"].as_array().expect("a list") {
            *counts.entry(text(&pod["metadata"]["labels"]["app"])).or_default() += 1;
        }
        counts.values().filter(|count| **count == replicas).count()
    }

    fn converges(&self, replicas: usize) -> Duration {
        let what = format!("every ReplicaSet has {replicas} Pods");
        self.until(&what, || (self.with_pods(replicas) == SETS).then_some(())).1
    }

    fn signal(&mut self, name: &str, signal: nix::sys::signal::Signal) {
        let mut agent = self.agents.remove(name).expect("it runs");
        let pid = nix::unistd::Pid::from_raw(i32::try_from(agent.id()).expect("a process id"));
        nix::sys::signal::kill(pid, signal).expect("it is our child");
        agent.wait().expect("it is our child");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.audit.take());
        for process in self.agents.values_mut().chain([&mut self.coordinator]) {
            let _ = process.kill();
            let _ = process.wait();
        }
        for name in ["n1", "n2", "n3"] {
            let path = |part: &str| self.dir.join(name).join(part).to_string_lossy().into_owned();
            let reset = leasehold()
                .args(["reset", "--yes", "--data-dir", &path("none"), "--runtime-dir", &path("run")])
                .args(["--log-dir", &path("log"), "--containerd-namespace", "leasehold-test-shards"])
                .args(["--containerd-address", &self.containerd.address().to_string_lossy()])
                .output()
                .expect("runs");
            if !reset.status.success() {
                eprintln!("{}", String::from_utf8_lossy(&reset.stderr));
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The node in the name of the session that holds a Lease.
fn holder(lease: &Value) -> String {
    text(&lease["spec"]["holderIdentity"]).split('/').next().unwrap_or_default().to_owned()
}

fn seconds(time: &Value) -> f64 {
    let time: jiff::Timestamp = text(time).parse().expect("a time");
    time.as_microsecond() as f64 / 1e6
}

/// Everything that is written about shards, by a watch.
struct Audit {
    process: Child,
    file: PathBuf,
}

impl Audit {
    fn start(cluster: &Cluster) -> Self {
        let file = cluster.dir.join("audit.json");
        let out = std::fs::File::create(&file).expect("made");
        let args = ["get", "leases", "-n", "leasehold-system", "-w", "-o", "json"];
        let process = cluster.kubectl(&args).stdout(out).stderr(Stdio::null()).spawn().expect("kubectl runs");
        Self { process, file }
    }

    fn leases(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.file).expect("read");
        serde_json::Deserializer::from_str(&text).into_iter::<Value>().map_while(Result::ok).collect()
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// No shard passes from one to another but by way of nobody; the monitor's own also D + M after its last renewal.
fn assert_one_writer_at_a_time(leases: &[Value]) -> usize {
    let mut last: BTreeMap<String, &Value> = BTreeMap::new();
    let mut changes = 0;
    for lease in leases {
        let name = text(&lease["metadata"]["name"]);
        let Some(before) = last.insert(name.clone(), lease) else { continue };
        let epoch = |lease: &Value| lease["spec"]["leaseTransitions"].as_i64().unwrap_or_default();
        let identity = |lease: &Value| text(&lease["spec"]["holderIdentity"]);
        if identity(before) == identity(lease) || identity(lease).is_empty() {
            assert_eq!(epoch(before), epoch(lease), "{name}: {before} {lease}");
            continue;
        }
        changes += 1;
        assert_eq!(epoch(lease), epoch(before) + 1, "{name}: {before} {lease}");
        assert!(!lease["spec"]["acquireTime"].is_null());
        if !identity(before).is_empty() {
            assert_eq!(name, "steward-00", "taken from a session that holds it: {before} {lease}");
            let silence = seconds(&lease["spec"]["acquireTime"]) - seconds(&before["spec"]["renewTime"]);
            assert!(silence >= D + M, "taken after {silence} s: {before} {lease}");
        }
    }
    changes
}

#[test]
fn shards_are_taken_handed_over_and_taken_over_and_nobody_stewards_what_another_does() {
    let Some(mut cluster) = Cluster::start() else { return };
    assert_eq!(cluster.holders(), vec![""; SHARDS], "the coordinator made them, and holds none");
    let set = |number: usize| {
        format!(
            "---\napiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {{ name: s{number} }}\nspec: {{ replicas: 1, selector: \
             {{ matchLabels: {{ app: s{number} }} }}, template: {{ metadata: {{ labels: {{ app: s{number} }} }}, spec: \
             {{ containers: [{{ name: c, image: 'example.test/none:1' }}] }} }} }}\n"
        )
    };
    let manifest: String = (0..SETS).map(set).collect();
    let applied = support::feed(
        {
            let mut command = cluster.kubectl(&["apply", "-f", "-"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            command
        },
        &manifest,
    );
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    cluster.audit = Some(Audit::start(&cluster));

    // The first that comes takes all, at once.
    cluster.agent("n1");
    let (holders, taken) = cluster.all_held_without(&[]);
    assert_eq!(holders, vec!["n1"; SHARDS]);
    let begun = cluster.converges(1);
    eprintln!("taken after {taken:?}, everything written {begun:?} later");
    let status = leasehold().args(["brake", "status", "--kubeconfig", &cluster.kubeconfig()]).output();
    let status = String::from_utf8(status.expect("runs").stdout).expect("text");
    assert!(status.contains("released") && status.contains("n1"), "{status}");

    // Holders are sticky; told to stop, one gives back and the others take what is free.
    cluster.agent("n2");
    cluster.agent("n3");
    assert_eq!(cluster.holders(), vec!["n1"; SHARDS]);
    let start = Instant::now();
    cluster.signal("n1", nix::sys::signal::Signal::SIGTERM);
    let (holders, _) = cluster.all_held_without(&["n1"]);
    let handed_over = start.elapsed();
    eprintln!("handed over to {holders:?} after {handed_over:?}");
    assert!(handed_over.as_secs_f64() < D + M, "without waiting for a revocation: {handed_over:?}");
    cluster.scale(2);
    let scaled = cluster.converges(2);
    eprintln!("scaled within {scaled:?}");

    // Killed, its session is revoked and the last takes over what was scaled meanwhile.
    let (dead, left) = if holders[0] == "n2" { ("n2", "n3") } else { ("n3", "n2") };
    let start = Instant::now();
    cluster.signal(dead, nix::sys::signal::Signal::SIGKILL);
    cluster.scale(3);
    let (holders, _) = cluster.all_held_without(&["n1", dead]);
    assert_eq!(holders, vec![left; SHARDS]);
    let taken_over = start.elapsed();
    assert!(taken_over.as_secs_f64() >= D, "not before the session is over: {taken_over:?}");
    cluster.converges(3);
    eprintln!("taken over after {taken_over:?}, everything as it should be after {:?}", start.elapsed());
    let pods = cluster.json(&["get", "pods"]);
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(3 * SETS));

    let leases = cluster.audit.as_ref().expect("it was started").leases();
    let changes = assert_one_writer_at_a_time(&leases);
    assert!(changes > 2 * SHARDS, "{changes} of {} writes", leases.len());
}

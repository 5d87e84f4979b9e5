//! A real node: containerd, kubectl, and a Pod of a StatefulSet beside one of a DaemonSet, each of which says since when
//! the machine has run, every 10 ms.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leasehold::driver::clock;
use leasehold::guard::client::Link;
use leasehold::lease::fence::watch::Standing;
use leasehold::time::Instant;
use serde_json::Value;

use crate::bed::{guard_pid, program, signal, until};
use crate::support::{BUSYBOX, Up};

/// D, seconds: long enough for a busy machine to renew in time.
const D: u64 = 12;
/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_millis(500);

struct Node {
    up: Up,
    uid: String,
}

fn manifest(name: &str, dir: &std::path::Path) -> String {
    // It hears SIGTERM, says so, and goes on.
    let script = format!(
        "trap \"echo TERM >> /out/{name}\" TERM; while :; do cat /proc/uptime >> /out/{name}; usleep 10000; done"
    );
    format!(
        "nodeName: n1, hostNetwork: true, terminationGracePeriodSeconds: 2, volumes: [{{ name: out, hostPath: \
         {{ path: '{}' }} }}], containers: [{{ name: main, image: '{BUSYBOX}', command: [sh, -c, '{script}'], \
         volumeMounts: [{{ name: out, mountPath: /out }}] }}]",
        dir.display()
    )
}

impl Node {
    fn start(flags: &[&str]) -> Option<Self> {
        let duration = format!("--session-duration={D}");
        let up = Up::start(&[&[duration.as_str()], flags].concat())?;
        let out = up.dir.join("out");
        fs::create_dir_all(&out).expect("made");
        up.apply(&format!(
            "---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{ name: daemon }}\nspec: {{ selector: \
             {{ matchLabels: {{ app: daemon }} }}, template: {{ metadata: {{ labels: {{ app: daemon }} }}, spec: {{ {} }} }} }}\n\
             ---\napiVersion: apps/v1\nkind: StatefulSet\nmetadata: {{ name: db }}\nspec: {{ replicas: 0, serviceName: db, \
             selector: {{ matchLabels: {{ app: db }} }}, template: {{ metadata: {{ labels: {{ app: db }} }}, spec: \
             {{ containers: [{{ name: main, image: x }}] }} }} }}\n",
            manifest("daemon", &out).replace("nodeName: n1, ", ""),
        ));
        let set = up.json(&["get", "statefulset", "db"]);
        let owner = set["metadata"]["uid"].as_str().expect("a UID");
        up.apply(
            "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: { name: default.identity, namespace: \
             leasehold-system, labels: { leasehold.dev/kind: identity }, finalizers: [leasehold.dev/identity] }\n\
             spec: { leaseTransitions: 0 }\n",
        );
        // No ordinal of the set: its controller leaves the Pod alone.
        up.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: identity, labels: {{ app: db }}, ownerReferences: [{{ apiVersion: \
             apps/v1, kind: StatefulSet, name: db, uid: '{owner}', controller: true }}] }}\nspec: {{ {} }}\n",
            manifest("identity", &out)
        ));
        let pod = up.running("app=db");
        up.running("app=daemon");
        let uid = pod["metadata"]["uid"].as_str().expect("a UID").to_owned();
        Some(Self { up, uid })
    }

    fn runtime_dir(&self) -> PathBuf {
        self.up.dir.join("run")
    }

    /// What the guard says of the Pod.
    fn guarded(&self) -> Option<(Standing, Instant)> {
        let entries = Link::connect(&self.runtime_dir()).ok()?.status().ok()?;
        let entry = entries.into_iter().find(|entry| entry.charge.uid == self.uid)?;
        Some((entry.standing, entry.charge.deadline))
    }

    fn said(&self, name: &str) -> String {
        fs::read_to_string(self.up.dir.join("out").join(name)).unwrap_or_default()
    }

    /// When a container last said something.
    fn last(&self, name: &str) -> Duration {
        let said = self.said(name);
        let beat = said.lines().rev().find_map(|line| line.split(' ').next()?.parse().ok());
        Duration::from_secs_f64(beat.expect("it has said something"))
    }

    fn is_quiet(&self, name: &str) -> bool {
        clock::now().since_boot().saturating_sub(self.last(name)) > Duration::from_secs(1)
    }

    /// Waits for the end of the Pod with an identity: it came by the last deadline its guard knew, and the other Pod
    /// goes on. How far before the deadline its last word was.
    fn dies_in_time(&self) -> Duration {
        let mut deadline = Instant::default();
        let end = clock::now() + Duration::from_secs(2 * D);
        while !matches!(self.guarded(), Some((Standing::Fenced, _))) {
            deadline = self.guarded().map_or(deadline, |(_, told)| deadline.max(told));
            assert!(clock::now() < end, "not fenced: {:?}", self.guarded());
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(1200));
        let last = self.last("identity");
        println!("last word {:?} before the deadline", deadline.since_boot().checked_sub(last));
        assert!(last <= deadline.since_boot() + SLACK, "alive at {last:?}, the deadline was {deadline:?}");
        assert!(self.is_quiet("identity"));
        assert!(!self.is_quiet("daemon"), "a Pod of a DaemonSet goes on");
        deadline.since_boot().saturating_sub(last)
    }

    fn restarts(&self, label: &str) -> Value {
        let list = self.up.json(&["get", "pods", "-l", label]);
        list["items"][0]["status"]["containerStatuses"][0]["restartCount"].clone()
    }

    /// With a session again, the Pod runs again, in place, and it was the only one that was stopped.
    fn comes_back(&self) {
        self.up.until("the Pod runs again", || (!self.is_quiet("identity")).then_some(()));
        self.up.until("that is seen", || (self.restarts("app=db").as_u64() >= Some(1)).then_some(()));
        assert_eq!(self.restarts("app=db"), 1, "what the fence turned away is no restart");
        assert_eq!(self.up.running("app=db")["metadata"]["uid"], self.uid.as_str());
        assert_eq!(self.restarts("app=daemon"), 0);
        assert!(matches!(self.guarded(), Some((Standing::Armed, _))), "{:?}", self.guarded());
    }
}

/// The coordinator of a node, as a process of its own.
struct Coordinator(Child);

impl Coordinator {
    fn start(up: &Up, address: &str) -> Self {
        let log = fs::File::create(up.dir.join("coordinator.log")).expect("writable");
        let dir = up.dir.join("state/coordinator");
        let mut coordinator = Command::new(program());
        coordinator.args(["coordinator", "--listen", address, "--data-dir"]).arg(dir);
        Self(coordinator.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts"))
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn i1_i8_an_agent_that_was_killed_leaves_nothing_alive_past_the_deadline_but_what_may_live() {
    let Some(mut node) = Node::start(&[]) else { return };
    node.up.kill();
    node.dies_in_time();
    node.up.boot();
    node.comes_back();
    node.up.ok(&["delete", "pod", "identity"]);
    assert_eq!(node.guarded(), None, "what is gone is guarded no more");
    let pod = format!("/sys/fs/cgroup/memory/leasehold/pod{}", node.uid);
    assert!(!std::path::Path::new(&pod).exists());
}

#[test]
fn i1_i8_an_agent_that_hangs_leaves_nothing_alive_past_the_deadline_and_goes_on_afterwards() {
    let Some(node) = Node::start(&[]) else { return };
    signal(node.up.pid(), "STOP");
    node.dies_in_time();
    signal(node.up.pid(), "CONT");
    node.comes_back();
}

#[test]
fn i1_the_guard_needs_no_containerd_and_a_guard_that_dies_is_started_again() {
    let Some(mut node) = Node::start(&[]) else { return };
    let first = guard_pid(&node.runtime_dir()).expect("there is a guard");
    signal(first, "KILL");
    let second = until("there is another guard", || {
        guard_pid(&node.runtime_dir()).filter(|pid| *pid != first && node.guarded().is_some())
    });
    // One that hangs is replaced as well.
    signal(second, "STOP");
    until("there is a third guard", || {
        guard_pid(&node.runtime_dir()).filter(|pid| *pid != second && node.guarded().is_some())
    });
    assert!(!node.is_quiet("identity"), "nothing was stopped");
    node.up.containerd().kill();
    node.up.kill();
    node.dies_in_time();
    node.up.containerd().boot();
    node.up.boot();
    node.comes_back();
}

#[test]
fn i1_i8_a_coordinator_that_stays_away_stops_the_pod_with_an_identity_before_the_deadline_by_the_agent() {
    let Some(mut node) = Node::start(&[]) else { return };
    let kubeconfig = fs::read_to_string(node.up.kubeconfig()).expect("readable");
    let address = kubeconfig.split("https://").nth(1).and_then(|rest| rest.split('"').next());
    let address = address.expect("it says where").to_owned();
    node.up.kill();
    let coordinator = Coordinator::start(&node.up, &address);
    node.up.boot_agent_alone();
    // It may not know yet that the identity is still its own.
    let told = node.guarded().map(|(_, deadline)| deadline);
    until("the session is renewed", || (node.guarded().map(|(_, deadline)| deadline) > told).then_some(()));
    drop(coordinator);
    let before = node.dies_in_time();
    assert!(before > Duration::from_millis(700), "the agent kills a second before: {before:?}");
    assert!(node.said("identity").contains("TERM"), "it was asked to end before it was killed");
    let _coordinator = Coordinator::start(&node.up, &address);
    node.comes_back();
}

#[test]
fn i8_a_coordinator_that_returns_before_the_deadline_stops_nothing() {
    let Some(mut node) = Node::start(&[]) else { return };
    for _ in 0..3 {
        node.up.kill();
        std::thread::sleep(Duration::from_secs(D / 4));
        node.up.boot();
        until("the session is renewed", || {
            let left = node.guarded()?.1.saturating_since(clock::now());
            (left > Duration::from_secs(D * 3 / 4)).then_some(())
        });
    }
    assert!(!node.is_quiet("identity") && !node.is_quiet("daemon"));
    assert_eq!((node.restarts("app=db"), node.restarts("app=daemon")), (0.into(), 0.into()));
    assert!(!node.said("identity").contains("TERM"));
}

#[test]
fn a_node_that_fences_nothing_stops_nothing_and_has_no_guard() {
    let Some(mut node) = Node::start(&["--fence=none"]) else { return };
    assert_eq!(guard_pid(&node.runtime_dir()), None);
    node.up.kill();
    std::thread::sleep(Duration::from_secs(D + 3));
    assert!(!node.is_quiet("identity") && !node.is_quiet("daemon"));
    node.up.boot();
    node.up.running("app=db");
    assert_eq!((node.restarts("app=db"), node.restarts("app=daemon")), (0.into(), 0.into()));
}

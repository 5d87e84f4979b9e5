//! One steward and a small coordinator.
//!
//! ```text
//! apply                      make the object whose YAML is indented below
//! change KIND NAME           merge the YAML indented below into it
//! scale KIND NAME 3          spec.replicas
//! delete KIND NAME [how]     in the background, foreground or as orphan
//! bind POD NODE              the Pod is on a node, and Running
//! hold POD NODE [LEVEL]      the node's session holds the Pod's identity, for this Pod
//! revoke NODE                the monitor: its session is over; it is called lost
//! return NODE                it has another session, and is not called lost
//! leave NODE                 it gives its session back; it is called lost
//! ready POD / unready POD    its condition Ready, since now
//! end POD Succeeded|Failed   its phase; it ended now
//! remove POD                 its grace period is over
//! refuse KIND WHY / accept   creations are refused, or not any more
//! node NODE                  a node that is up; up NODE / down NODE
//! host SET NODE              the node has a Pod of the DaemonSet's newest revision, in place of what it had
//! give back NODE             the node gives its ticket back
//! tickets                    who holds them
//! run 10s                    time passes
//! restart                    another steward takes over: it lists everything
//! show KIND                  what there is
//! ```
//! Answers are what the steward wrote, until it has nothing more to do.

use std::fmt::Write as _;
use std::time::Duration;

use leasehold::api::kinds::KINDS;
use leasehold::lease::ticket;
use leasehold::steward::Steward;
use leasehold::steward::action::Propagation;
use leasehold::steward::daemon_set;
use leasehold::steward::object::{KindId, Object, id};
use leasehold::time::{Instant, WallTime};
use serde_json::{Value, json};

use super::World;
use super::steward_nodes as nodes;
use super::steward_store::Store;

#[derive(Debug)]
pub(crate) struct StewardWorld {
    pub(crate) now: Duration,
    pub(crate) store: Store,
    pub(crate) steward: Steward,
    /// Whether all work is done twice, the second time late.
    pub(crate) twice: bool,
}

impl Default for StewardWorld {
    fn default() -> Self {
        let mut world = Self {
            now: Duration::from_secs(1000),
            store: Store::default(),
            steward: Steward::default(),
            twice: false,
        };
        world.store.now = world.wall().seconds();
        world.restart();
        world
    }
}

impl World for StewardWorld {
    fn input(&mut self, line: &str, body: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        let yaml = || -> Value { serde_saphyr::from_str(body).expect("YAML") };
        match words.as_slice() {
            ["apply"] => {
                let object = yaml();
                let kind = kind(object["kind"].as_str().expect("a kind"));
                self.store.create(kind, object).expect("created");
            }
            ["change", of, name] => {
                let name = self.pod(name);
                self.store.patch(kind(of), &name, &yaml()).expect("changed");
            }
            ["scale", of, name, count] => {
                let count: i64 = count.parse().expect("a number");
                let patch = json!({ "spec": { "replicas": count } });
                self.store.patch(kind(of), name, &patch).expect("scaled");
            }
            ["delete", of, name, how @ ..] => {
                let how = match how {
                    ["foreground"] => Propagation::Foreground,
                    ["orphan"] => Propagation::Orphan,
                    _ => Propagation::Background,
                };
                let name = self.pod(name);
                assert!(self.store.delete(kind(of), &name, Some(how)), "no {of} {name}");
            }
            ["bind", pod, node] => self.bind(pod, node),
            ["hold", pod, node] => self.hold(pod, node, "kill"),
            ["hold", pod, node, level] => self.hold(pod, node, level),
            ["revoke", node] => self.end_session(node, false),
            ["leave", node] => self.end_session(node, true),
            ["return", node] => self.return_node(node),
            ["ready", pod] => self.ready(pod, true),
            ["unready", pod] => self.ready(pod, false),
            ["end", pod, phase] => self.end(pod, phase),
            ["remove", pod] => self.store.remove(&self.pod(pod)),
            ["refuse", of, why @ ..] => {
                self.store.refused.insert(KINDS[kind(of)].kind, why.join(" "));
            }
            ["accept"] => self.store.refused.clear(),
            ["run", span] => {
                let seconds: u64 = span.trim_end_matches('s').parse().expect("seconds");
                self.run(Duration::from_secs(seconds));
            }
            ["restart"] => self.restart(),
            ["node", name] => {
                let node = json!({ "metadata": { "name": name }, "status": ready_node(true) });
                self.store.create(id("", "Node"), node).expect("created");
            }
            [fate @ ("up" | "down"), name] => {
                let patch = json!({ "status": ready_node(*fate == "up") });
                self.store.patch(id("", "Node"), name, &patch).expect("changed");
            }
            ["host", set, node] => self.host(set, node),
            ["give", "back", node] => self.give_back(node),
            ["tickets"] => return self.tickets(),
            ["show", of] => return self.show(kind(of)),
            _ => panic!("no such input: {line}"),
        }
        self.settle();
        String::new()
    }

    fn end_of_block(&mut self) -> String {
        let told = std::mem::take(&mut self.store.told);
        told.into_iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        })
    }
}

fn ready_node(is_ready: bool) -> Value {
    let status = if is_ready { "True" } else { "Unknown" };
    json!({ "conditions": [{ "type": "Ready", "status": status }] })
}

/// A DaemonSet's nodes, as far as a steward sees them.
impl StewardWorld {
    /// A node replaces its Pod, if it has one, by one of the newest revision, not ready yet.
    fn host(&mut self, set: &str, node: &str) {
        let of = self.store.get(id("apps", "DaemonSet"), set).expect("a DaemonSet").clone();
        let object = Object::read(id("apps", "DaemonSet"), of).expect("a DaemonSet");
        let hash = daemon_set::hash(&object);
        let name = format!("{set}-{node}");
        if self.store.delete(id("", "Pod"), &name, None) {
            self.store.remove(&name);
        }
        let mut labels = object["spec"]["template"]["metadata"]["labels"].clone();
        labels[daemon_set::REVISION_LABEL] = hash.into();
        let owners = json!([object.controls()]);
        let metadata = json!({ "name": name, "labels": labels, "ownerReferences": owners });
        let pod = json!({ "metadata": metadata, "spec": { "containers": [] } });
        self.store.create(id("", "Pod"), pod).expect("made");
        self.bind(&name, node);
    }

    fn give_back(&mut self, node: &str) {
        let lease = id("coordination.k8s.io", "Lease");
        let held = self.store.all(lease).find(|lease| lease["spec"]["holderIdentity"] == node);
        let name =
            held.and_then(|lease| lease["metadata"]["name"].as_str()).expect("it holds one").to_owned();
        self.store.delete(lease, &name, None);
    }

    fn tickets(&self) -> String {
        let all = self.store.all(id("coordination.k8s.io", "Lease"));
        all.fold(String::new(), |mut text, lease| {
            let of = lease["metadata"]["name"].as_str().and_then(ticket::slot);
            let _ = writeln!(text, "= slot {of:?} {}", lease["spec"]["holderIdentity"]);
            text
        })
    }
}

fn kind(name: &str) -> KindId {
    KINDS
        .iter()
        .position(|row| row.kind == name && row.form.is_none())
        .unwrap_or_else(|| panic!("kind {name}"))
}

impl StewardWorld {
    fn wall(&self) -> WallTime {
        let start = WallTime::parse("2026-03-01T12:00:00Z").expect("a time");
        WallTime(start.0 + self.now)
    }

    fn at(&self) -> Instant {
        Instant::from_boot(self.now)
    }

    /// A Pod by its name, or by how many were made before it: `#2`.
    fn pod(&self, name: &str) -> String {
        let Some(number) = name.strip_prefix('#') else { return name.to_owned() };
        let mut pods: Vec<(u64, String)> = self
            .store
            .all(id("", "Pod"))
            .map(|pod| {
                let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
                let number = uid.trim_start_matches("uid-").parse().unwrap_or_default();
                (number, pod["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            })
            .collect();
        pods.sort();
        pods[number.parse::<usize>().expect("a number")].1.clone()
    }

    pub(crate) fn bind(&mut self, pod: &str, node: &str) {
        if self.store.get(id("", "Node"), node).is_none() {
            nodes::add(&mut self.store, node);
        }
        let patch = json!({ "spec": { "nodeName": node }, "status": { "phase": "Running" } });
        self.store.patch(id("", "Pod"), &self.pod(pod), &patch).expect("bound");
    }

    fn hold(&mut self, pod: &str, node: &str, level: &str) {
        let pod = self.pod(pod);
        nodes::hold(&mut self.store, &pod, node, level);
    }

    fn end_session(&mut self, node: &str, is_given_back: bool) {
        nodes::end_session(&mut self.store, node, is_given_back);
    }

    fn return_node(&mut self, node: &str) {
        nodes::take_session(&mut self.store, node);
    }

    pub(crate) fn ready(&mut self, pod: &str, is_ready: bool) {
        let status = if is_ready { "True" } else { "False" };
        let condition =
            json!([{ "type": "Ready", "status": status, "lastTransitionTime": self.wall().seconds() }]);
        let patch = json!({ "status": { "conditions": condition } });
        self.store.patch(id("", "Pod"), &self.pod(pod), &patch).expect("changed");
    }

    pub(crate) fn end(&mut self, pod: &str, phase: &str) {
        let ended = json!([{ "state": { "terminated": { "finishedAt": self.wall().seconds() } } }]);
        let patch = json!({ "status": { "phase": phase, "conditions": null, "containerStatuses": ended } });
        self.store.patch(id("", "Pod"), &self.pod(pod), &patch).expect("ended");
    }

    pub(crate) fn restart(&mut self) {
        self.steward = Steward::default();
        self.store.take_events();
        for (kind, heard) in self.store.list() {
            self.steward.hear(kind, heard);
        }
    }

    pub(crate) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.settle();
        while let Some(at) = self.steward.next_deadline().map(Instant::since_boot).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.store.now = self.wall().seconds();
            self.settle();
        }
        self.now = end;
        self.store.now = self.wall().seconds();
    }

    /// Has the steward do what it wants until it wants no more.
    pub(crate) fn settle(&mut self) {
        for _ in 0..500 {
            for (kind, heard) in self.store.take_events() {
                self.steward.hear(kind, heard);
            }
            let work = self.steward.turn(self.at(), self.wall());
            if work.is_empty() {
                return;
            }
            for work in work {
                let done = self.store.perform(&work);
                if self.twice {
                    self.store.perform(&work);
                }
                self.steward.done(&work.key, done, self.at());
            }
        }
        panic!("the steward never rests: {:?}", self.store.told.iter().rev().take(5).collect::<Vec<_>>());
    }

    fn show(&self, kind: KindId) -> String {
        let mut text = String::new();
        for object in self.store.all(kind) {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let mut shown = object.clone();
            for field in ["apiVersion", "kind", "metadata"] {
                shown.as_object_mut().expect("an object").remove(field);
            }
            let labels = &object["metadata"]["labels"];
            let shown = match KINDS[kind].kind {
                "Pod" => json!({ "labels": labels, "phase": object["status"]["phase"] }),
                _ if shown["status"].is_object() => shown["status"].clone(),
                _ => shown,
            };
            let _ = writeln!(text, "= {name} {shown}");
        }
        text
    }
}

//! One node, DaemonSets, and the Pods it makes of them.
//!
//! ```text
//! node                      the node's object; YAML of labels, taints, allocatable, unschedulable below
//! daemonset NAME            new or changed; YAML of its spec below, with `image` in place of a template's containers
//! delete daemonset NAME [orphan]
//! know coordinator|disk N   from now on the node decides; N boots without a coordinator
//! pod p1 PHASE|ready|unready|relabelled|deleted|gone    what happens to a Pod; p1, p2 … in the order they were made
//! pod p9 of NAME [YAML]     a Pod that somebody else made: YAML of its metadata below
//! refuse p1 MESSAGE         the coordinator refuses the Pod for good
//! ticket NAME               the node holds a ticket of the DaemonSet's rollout
//! ticket NAME gone          it does no more
//! run 12s                   time passes
//! why NAME                  how the DaemonSet stands on the node
//! ```
//! A Pod that is made is at once there, one that is to go gets its deletion timestamp at once, and is `gone` when the
//! scenario says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use leasehold::agent::daemon_set::{Action, DaemonSets, Obstacle, REVISION_LABEL, Source};
use leasehold::api::hash::Stored;
use leasehold::time::{Instant, WallTime};
use serde_json::{Value, json};

use super::World;

/// The machine's uptime when a scenario begins.
const START: Duration = Duration::from_secs(100);

#[derive(Debug)]
pub(crate) struct DaemonSetWorld {
    now: Duration,
    machine: DaemonSets,
    /// DaemonSets by name: generation and object.
    sets: BTreeMap<String, Value>,
    pods: BTreeMap<String, Value>,
    drawn: u32,
    told: String,
}

impl Default for DaemonSetWorld {
    fn default() -> Self {
        Self {
            now: START,
            machine: DaemonSets::new("n1".to_owned()),
            sets: BTreeMap::new(),
            pods: BTreeMap::new(),
            drawn: 0,
            told: String::new(),
        }
    }
}

impl World for DaemonSetWorld {
    fn input(&mut self, line: &str, body: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["node"] => self.node(&yaml(body)),
            ["daemonset", name] => self.daemon_set(name, &yaml(body)),
            ["delete", "daemonset", name] => self.delete(name, false),
            ["delete", "daemonset", name, "orphan"] => self.delete(name, true),
            ["know", "coordinator"] => self.machine.know(Source::Coordinator),
            ["know", "disk", boots] => {
                self.machine.know(Source::Disk { boots: boots.parse().expect("a number") });
            }
            ["pod", pod, "of", owner] => self.foreign_pod(pod, owner, &yaml(body)),
            ["pod", pod, "gone"] => {
                self.pods.remove(*pod);
                self.machine.pod_gone(pod);
            }
            ["pod", pod, what] => self.pod(pod, what),
            ["refuse", pod, message @ ..] => {
                self.machine.create_refused(pod, &message.join(" "), self.clock());
            }
            ["run", span] => self.run(span),
            ["ticket", name] => self.machine.ticket_changed(&ticket_of(&format!("uid-{name}"))),
            ["ticket", name, "gone"] => self.machine.ticket_gone(&format!("ticket-uid-{name}")),
            ["why", name] => {
                let uid = format!("uid-{name}");
                let standing = self.machine.standing(&uid).expect("the DaemonSet is known");
                let _ = writeln!(self.told, "{name}: {standing}");
                for reason in standing.obstacle().into_iter().flat_map(Obstacle::details) {
                    let _ = writeln!(self.told, "  {reason}");
                }
            }
            _ => panic!("no such input: {line}"),
        }
        self.plan();
        std::mem::take(&mut self.told)
    }
}

impl DaemonSetWorld {
    fn clock(&self) -> Instant {
        Instant::from_boot(self.now)
    }

    fn wall(&self) -> WallTime {
        let epoch: jiff::Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        WallTime(epoch + jiff::SignedDuration::try_from(self.now).expect("a short scenario"))
    }

    /// Decides until nothing is left to decide.
    fn plan(&mut self) {
        loop {
            let (clock, wall) = (self.clock(), self.wall());
            let drawn = &mut self.drawn;
            let mut uid = || {
                *drawn += 1;
                format!("p{drawn}")
            };
            let actions = self.machine.plan(clock, wall, &mut uid);
            if actions.is_empty() {
                return;
            }
            for action in actions {
                self.perform(action);
            }
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::CreatePod(pod) => {
                let uid = pod.metadata.uid.clone().expect("the node names its Pods");
                let owner = &pod.metadata.owner_references.as_ref().expect("it is owned")[0].name;
                let image = &pod.spec.as_ref().expect("it has a spec").containers[0].image;
                self.tell(&format!("makes {uid} of {owner}, image {}", image.clone().unwrap_or_default()));
                self.pods.insert(uid.clone(), serde_json::to_value(&pod).expect("JSON"));
                self.show(&uid);
            }
            Action::DeletePod { uid, why } => {
                self.tell(&format!("ends {uid}: {why}"));
                self.mark_deleted(&uid);
            }
            Action::AdoptPod { uid, owner } => {
                self.tell(&format!("adopts {uid} for {}", owner.name));
                let references = json!([serde_json::to_value(owner).expect("JSON")]);
                self.change(&uid, |pod| pod["metadata"]["ownerReferences"] = references);
            }
            Action::ReleasePod { uid, owner_uid } => {
                self.tell(&format!("releases {uid} from {owner_uid}"));
                self.change(&uid, |pod| pod["metadata"]["ownerReferences"] = json!([]));
            }
            Action::GiveBack(ticket) => {
                self.tell(&format!("gives {} back", ticket.uid));
                self.machine.ticket_gone(&ticket.uid);
            }
            Action::Record(occurrence) => {
                let kind = if occurrence.warning { "Warning" } else { "Normal" };
                // Names of Pods end in a hash, which says nothing here.
                let message: Vec<&str> = occurrence.message.split(' ').map(shorten).collect();
                self.tell(&format!("{kind} {}: {}", occurrence.reason, message.join(" ")));
            }
        }
    }

    fn tell(&mut self, text: &str) {
        let _ = writeln!(self.told, "{}s {text}", self.now.saturating_sub(START).as_secs_f64());
    }

    fn node(&mut self, given: &Value) {
        let mut allocatable = json!({ "cpu": "4", "memory": "8Gi", "pods": "10" });
        merge(&mut allocatable, &given["allocatable"]);
        let node = json!({
            "metadata": { "name": "n1", "labels": given["labels"] },
            "spec": { "taints": given["taints"], "unschedulable": given["unschedulable"] },
            "status": { "allocatable": allocatable },
        });
        self.machine.node_changed(&serde_json::from_value(node).expect("a Node"));
    }

    fn daemon_set(&mut self, name: &str, given: &Value) {
        let generation =
            self.sets.get(name).map_or(0, |set| set["metadata"]["generation"].as_i64().unwrap_or(0));
        let container = json!({
            "name": "c", "image": given["image"], "ports": given["ports"],
            "resources": { "requests": given["requests"] },
        });
        let mut pod = json!({ "containers": [container] });
        merge(&mut pod, &given["pod"]);
        let labels = json!({ "app": name });
        let mut set = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {
                "name": name, "namespace": "default", "uid": format!("uid-{name}"),
                "generation": generation + 1, "annotations": given["annotations"],
            },
            "spec": {
                "selector": { "matchLabels": labels.clone() },
                "template": { "metadata": { "labels": labels }, "spec": pod },
            },
        });
        merge(&mut set["spec"], &given["spec"]);
        self.sets.insert(name.to_owned(), set.clone());
        self.machine.daemon_set_changed(Arc::new(Stored::read(set).expect("a DaemonSet")));
    }

    fn delete(&mut self, name: &str, orphan: bool) {
        let mut set = self.sets.remove(name).expect("the DaemonSet is known");
        if orphan {
            set["metadata"]["deletionTimestamp"] = self.wall().seconds().into();
            set["metadata"]["finalizers"] = json!(["orphan"]);
            self.machine.daemon_set_changed(Arc::new(Stored::read(set).expect("a DaemonSet")));
        }
        self.machine.daemon_set_gone(&format!("uid-{name}"));
    }

    /// A Pod bound to the node that the node did not make.
    fn foreign_pod(&mut self, uid: &str, owner: &str, metadata: &Value) {
        let mut pod = json!({
            "metadata": {
                "name": uid, "namespace": "default", "uid": uid, "labels": { "app": owner },
                "creationTimestamp": self.wall().seconds(), "resourceVersion": "1",
            },
            "spec": { "nodeName": "n1", "containers": [] },
        });
        if owner != "nobody" {
            pod["metadata"]["ownerReferences"] = json!([{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner, "uid": format!("uid-{owner}"),
                "controller": true,
            }]);
            let current =
                self.sets.get(owner).cloned().map(|set| Stored::<DaemonSet>::read(set).expect("a DaemonSet"));
            if let Some(current) = current {
                pod["metadata"]["labels"][REVISION_LABEL] = current.revision().into();
            }
        }
        merge(&mut pod["metadata"], metadata);
        self.pods.insert(uid.to_owned(), pod);
        self.show(uid);
    }

    fn pod(&mut self, uid: &str, what: &str) {
        let since = self.wall().seconds();
        match what {
            "ready" | "unready" => self.change(uid, |pod| {
                let status = if what == "ready" { "True" } else { "False" };
                let condition = json!({ "type": "Ready", "status": status, "lastTransitionTime": since });
                pod["status"]["conditions"] = json!([condition]);
            }),
            "deleted" => self.mark_deleted(uid),
            "relabelled" => self.change(uid, |pod| pod["metadata"]["labels"]["app"] = "another".into()),
            phase => self.change(uid, |pod| pod["status"]["phase"] = phase.into()),
        }
    }

    fn mark_deleted(&mut self, uid: &str) {
        let now = self.wall().seconds();
        self.change(uid, |pod| pod["metadata"]["deletionTimestamp"] = now.into());
    }

    fn change(&mut self, uid: &str, change: impl FnOnce(&mut Value)) {
        change(self.pods.get_mut(uid).unwrap_or_else(|| panic!("no Pod {uid}")));
        self.show(uid);
    }

    fn show(&mut self, uid: &str) {
        let pod: Pod = serde_json::from_value(self.pods[uid].clone()).expect("a Pod");
        self.machine.pod_changed(&Arc::new(pod));
    }

    fn run(&mut self, span: &str) {
        let span = span.strip_suffix('s').and_then(|span| span.parse().ok()).expect("seconds, as 12s");
        let end = self.now + Duration::from_secs_f64(span);
        while let Some(at) = self.machine.next_deadline().map(Instant::since_boot).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.plan();
        }
        self.now = end;
    }
}

/// The ticket of a DaemonSet that this node holds.
pub(crate) fn ticket_of(set: &str) -> Lease {
    let lease = json!({
        "metadata": {
            "name": format!("ticket-{set}-0"), "namespace": "default", "uid": format!("ticket-{set}"),
            "labels": { "leasehold.dev/kind": "ticket", "leasehold.dev/holder": "n1" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x", "uid": set, "controller": true,
            }],
        },
        "spec": { "holderIdentity": "n1" },
    });
    serde_json::from_value(lease).expect("a Lease")
}

/// `web-x2k4…` is enough of `web-x2k4bcdfgh`.
fn shorten(word: &str) -> &str {
    match word.rsplit_once('-') {
        Some((base, hash)) if hash.len() == 10 && base.len() < 40 => base,
        _ => word,
    }
}

fn yaml(text: &str) -> Value {
    if text.trim().is_empty() { json!({}) } else { serde_saphyr::from_str(text).expect("YAML") }
}

fn merge(into: &mut Value, given: &Value) {
    if !given.is_null() {
        json_patch::merge(into, given);
    }
}

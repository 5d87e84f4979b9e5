//! A steward that offers Pods, and nodes that answer as the scenario says.
//!
//! ```text
//! node NAME                 new or changed; YAML below: labels, taints, cpu (8), pods (110), free, volumes, cordoned, ready
//! delete node NAME
//! pod NAME                  new or changed; YAML of its spec below, with `cpu`, `labels` and `owner` for short
//! delete pod NAME
//! claim NAME POD            the node binds the Pod
//! decline NAME POD REASON   the node gives the offer back
//! end POD                   the Pod has run its course
//! lose|refuse next write    the next write gets no answer, or meets another version
//! namespace|claim|volume|class    YAML of the object below
//! run 12s                   time passes
//! know                      everything has been listed
//! ```
//! A write is done at once and heard of by the watch.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use leasehold::placement::decline;
use leasehold::steward::offers::{Answer, Nomination, Offers, Write};
use leasehold::time::{Instant, WallTime};
use serde_json::{Value, json};

use super::World;

/// What becomes of the next write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    Done,
    Lost,
    Refused,
}

#[derive(Debug, Default)]
pub(crate) struct OffersWorld {
    now: Duration,
    machine: Offers,
    pods: BTreeMap<String, Value>,
    version: u64,
    fate: Fate,
    told: String,
}

impl World for OffersWorld {
    fn input(&mut self, line: &str, body: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["know"] => self.machine.know(),
            ["node", name] => self.machine.node_changed(&Arc::new(node(name, &yaml(body)))),
            ["delete", "node", name] => self.machine.node_gone(name),
            ["pod", name] => self.pod(name, yaml(body)),
            ["delete", "pod", name] => {
                self.pods.remove(*name);
                self.machine.pod_gone(name);
            }
            ["claim", node, name] => self.change(name, |pod| {
                pod["spec"]["nodeName"] = (*node).into();
                pod["status"] = json!({ "phase": "Running" });
            }),
            ["decline", node, name, reason @ ..] => {
                let message = decline::message(node, &[reason.join(" ")]);
                self.change(name, |pod| {
                    pod["status"] = json!({ "conditions": [{
                        "type": "PodScheduled", "status": "False", "reason": decline::DECLINED,
                        "message": message,
                    }] });
                });
            }
            ["end", name] => self.change(name, |pod| pod["status"]["phase"] = "Succeeded".into()),
            ["lose", "next", "write"] => self.fate = Fate::Lost,
            ["refuse", "next", "write"] => self.fate = Fate::Refused,
            ["namespace"] => self.machine.namespace_changed(&read(yaml(body))),
            ["claim"] => self.machine.claim_changed(&Arc::new(read(yaml(body)))),
            ["volume"] => self.machine.volume_changed(&Arc::new(read(yaml(body)))),
            ["class"] => self.machine.class_changed(&Arc::new(read(yaml(body)))),
            ["run", span] => self.run(span),
            _ => panic!("no such input: {line}"),
        }
        self.plan();
        std::mem::take(&mut self.told)
    }
}

impl OffersWorld {
    fn clock(&self) -> Instant {
        Instant::from_boot(self.now)
    }

    fn pod(&mut self, name: &str, mut spec: Value) {
        let fields = spec.as_object_mut().map(std::mem::take).unwrap_or_default();
        let (mut spec, mut metadata) =
            (json!({}), json!({ "name": name, "namespace": "default", "uid": name }));
        let mut requests = json!({});
        for (field, value) in fields {
            match field.as_str() {
                "cpu" => requests["cpu"] = value.to_string().trim_matches('"').into(),
                "labels" => metadata["labels"] = value,
                "owner" => {
                    metadata["ownerReferences"] = json!([{
                        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": value, "uid": value, "controller": true,
                    }]);
                }
                _ => spec[field] = value,
            }
        }
        let ports = spec["ports"].take();
        spec["containers"] =
            json!([{ "name": "c", "image": "i", "resources": { "requests": requests }, "ports": ports }]);
        let seconds = self.pods.len();
        metadata["creationTimestamp"] = format!("2026-03-01T12:00:{seconds:02}Z").into();
        let pod = json!({ "metadata": metadata, "spec": spec, "status": { "phase": "Pending" } });
        self.pods.insert(name.to_owned(), pod);
        self.change(name, |_| ());
    }

    /// Changes a Pod, and has the watch tell of it.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let pod = self.alter(name, change);
        self.machine.pod_changed(&pod);
    }

    fn alter(&mut self, name: &str, change: impl FnOnce(&mut Value)) -> Arc<Pod> {
        self.version += 1;
        let pod = self.pods.get_mut(name).expect("the Pod is known");
        change(pod);
        pod["metadata"]["resourceVersion"] = self.version.to_string().into();
        Arc::new(read(pod.clone()))
    }

    /// Decides and writes until nothing is left to write.
    fn plan(&mut self) {
        let epoch: jiff::Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        let wall = WallTime(epoch + jiff::SignedDuration::try_from(self.now).expect("a short scenario"));
        loop {
            let writes = self.machine.plan(self.clock(), wall);
            if writes.is_empty() {
                return;
            }
            for write in writes {
                self.perform(&write);
            }
        }
    }

    fn perform(&mut self, write: &Write) {
        let uid = write.pod.metadata.uid.clone().expect("it has one");
        let fate = std::mem::take(&mut self.fate);
        let mark = match fate {
            Fate::Done => "",
            Fate::Lost => " (no answer)",
            Fate::Refused => " (refused)",
        };
        match &write.nomination {
            Nomination::Keep => {}
            Nomination::Clear => drop(writeln!(self.told, "{uid}: the offer is taken back{mark}")),
            Nomination::To(node) => drop(writeln!(self.told, "{uid}: offered to {node}{mark}")),
        }
        if let Some(condition) = &write.condition {
            let message = condition.message.as_deref().unwrap_or_default();
            let _ = writeln!(self.told, "{uid}: {message}{mark}");
        }
        let answer = match fate {
            Fate::Done => Answer::Done(self.alter(&uid, |pod| {
                match &write.nomination {
                    Nomination::Keep => {}
                    Nomination::Clear => pod["status"]["nominatedNodeName"] = Value::Null,
                    Nomination::To(node) => pod["status"]["nominatedNodeName"] = node.clone().into(),
                }
                if let Some(condition) = &write.condition {
                    pod["status"]["conditions"] = json!([condition]);
                }
            })),
            Fate::Lost => Answer::Failed,
            Fate::Refused => Answer::Conflict,
        };
        let now = self.clock();
        self.machine.written(&uid, answer, now);
    }

    fn run(&mut self, span: &str) {
        let span: Duration =
            span.parse::<jiff::SignedDuration>().expect("a span").try_into().expect("forward");
        let end = self.now + span;
        while let Some(at) = self.machine.next_deadline().map(Instant::since_boot).filter(|at| *at <= end) {
            self.now = self.now.max(at);
            let before = self.told.len();
            self.plan();
            if self.told.len() > before {
                let at = format!("after {:?}: ", self.now);
                self.told.insert_str(before, &at);
            }
        }
        self.now = end;
    }
}

fn node(name: &str, fields: &Value) -> Node {
    let text = |field: &str, default: &str| {
        let given = &fields[field];
        if given.is_null() { default.to_owned() } else { given.to_string().trim_matches('"').to_owned() }
    };
    let ready = if fields["ready"] == false { "False" } else { "True" };
    let mut labels = fields["labels"].clone();
    if labels.is_null() {
        labels = json!({});
    }
    labels["kubernetes.io/hostname"] = name.into();
    let mut node = json!({
        "metadata": { "name": name, "labels": labels },
        "spec": { "taints": fields["taints"], "unschedulable": fields["cordoned"] },
        "status": {
            "allocatable": { "cpu": text("cpu", "8"), "memory": "16Gi", "pods": text("pods", "110") },
            "conditions": [{ "type": "Ready", "status": ready }],
        },
    });
    for (field, annotation) in [("free", "leasehold.dev/free"), ("volumes", "leasehold.dev/volumes-dir")] {
        if !fields[field].is_null() {
            node["metadata"]["annotations"][annotation] = fields[field].clone();
        }
    }
    read(node)
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("it is what it should be")
}

fn yaml(body: &str) -> Value {
    if body.trim().is_empty() { Value::Null } else { serde_saphyr::from_str(body).expect("YAML") }
}

//! Why a Pod, or the Pod of a `DaemonSet`, can be on each node or not: the very answers that agents and stewards act on,
//! for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde::Serialize;

use crate::placement::rank::{self, Candidate};
use crate::placement::{Cluster, Demand, Question, Reason, daemon_set, decline, is_ready};

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// `pod/NAME` or `daemonset/NAME`.
    pub subject: String,
    /// Its namespace.
    pub namespace: String,
    /// How it stands.
    pub state: String,
    /// What keeps it from every node.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<String>,
    /// What else there is to know.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Node by node.
    pub nodes: Vec<NodeAnswer>,
}

/// One node's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeAnswer {
    /// Its name.
    pub node: String,
    /// What it does, or would do.
    pub verdict: Verdict,
    /// Why not.
    pub reasons: Vec<Told>,
}

/// What a node does about a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// The Pod is here.
    Hosts,
    /// It is offered the Pod.
    Offered,
    /// It is the one to be asked first.
    Next,
    /// It could host it.
    Can,
    /// It cannot.
    Cannot,
}

impl Verdict {
    /// In a word, for a column.
    pub fn word(self) -> &'static str {
        match self {
            Self::Hosts => "hosts it",
            Self::Offered => "is offered it",
            Self::Next => "yes, asked first",
            Self::Can => "yes",
            Self::Cannot => "no",
        }
    }
}

/// One reason, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// In kube-scheduler's words.
    pub reason: String,
    /// What it is about in this case.
    pub detail: String,
}

impl From<&Reason> for Told {
    fn from(reason: &Reason) -> Self {
        Self { reason: reason.to_string(), detail: reason.detail() }
    }
}

/// Explains where a Pod is or could be.
pub fn pod(pod: &Arc<Pod>, cluster: &Cluster) -> Explanation {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    // Where it is bound is told by the verdict; the reasons tell where else it could be.
    let mut unbound = pod.clone();
    if let Some(spec) = &mut Arc::make_mut(&mut unbound).spec {
        spec.node_name = None;
    }
    let question = Question::of(&unbound, cluster);
    let waits: Vec<String> = question.waits().iter().map(ToString::to_string).collect();
    let answers: BTreeMap<&str, Vec<Reason>> =
        cluster.nodes().map(|(name, node, site)| (name, question.reasons(node, site))).collect();
    let could = |name: &str| answers.get(name).is_some_and(Vec::is_empty) && waits.is_empty();
    let candidates: Vec<Candidate<'_>> = cluster
        .nodes()
        .filter(|(name, ..)| could(name))
        .map(|(name, node, site)| Candidate { name, node, site })
        .collect();
    let (bound, offered) = (bound(pod), nominated(pod));
    let next = if bound.or(offered).is_none() { rank::best(&question, &uid, &candidates) } else { None };
    let verdict = |name: &str| {
        if bound == Some(name) {
            Verdict::Hosts
        } else if bound.is_none() && offered == Some(name) {
            Verdict::Offered
        } else if next == Some(name) {
            Verdict::Next
        } else if could(name) {
            Verdict::Can
        } else {
            Verdict::Cannot
        }
    };
    let nodes = answers.iter().map(|(name, reasons)| NodeAnswer {
        node: (*name).to_owned(),
        verdict: verdict(name),
        reasons: reasons.iter().map(Told::from).collect(),
    });
    let nodes = nodes.collect();
    Explanation {
        subject: named("pod", &pod.metadata),
        namespace: place(&pod.metadata),
        state: state(pod),
        waits,
        notes: Vec::new(),
        nodes,
    }
}

/// Explains which nodes host a `DaemonSet`, and why the others do not.
pub fn daemon_set(set: &DaemonSet, cluster: &Cluster) -> Explanation {
    let template = set.spec.as_ref().and_then(|spec| spec.template.spec.clone()).unwrap_or_default();
    let demand = Demand::of(&template);
    let owner = set.metadata.uid.clone().unwrap_or_default();
    let answer = |name: &str, node: &Node| {
        let own = cluster.pod_of(&owner, name);
        let site = cluster.site(name).map(|(_, site)| site.room().lacks(&demand, own)).unwrap_or_default();
        let mut reasons = daemon_set::verdict(&template, node).reasons;
        reasons.extend(site);
        let verdict = match (own, reasons.is_empty()) {
            (Some(_), _) => Verdict::Hosts,
            (None, true) => Verdict::Can,
            (None, false) => Verdict::Cannot,
        };
        let mut reasons: Vec<Told> = reasons.iter().map(Told::from).collect();
        if verdict == Verdict::Can && !is_ready(node) {
            reasons.push(Told::from(&Reason::NotReady));
        }
        NodeAnswer { node: name.to_owned(), verdict, reasons }
    };
    let nodes: Vec<NodeAnswer> = cluster.nodes().map(|(name, node, _)| answer(name, node)).collect();
    let here = nodes.iter().filter(|node| node.verdict == Verdict::Hosts).count();
    Explanation {
        subject: named("daemonset", &set.metadata),
        namespace: place(&set.metadata),
        state: format!("{here} of {} nodes host it", nodes.len()),
        waits: Vec::new(),
        notes: Vec::new(),
        nodes,
    }
}

type Metadata = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

fn named(kind: &str, metadata: &Metadata) -> String {
    format!("{kind}/{}", metadata.name.as_deref().unwrap_or_default())
}

fn place(metadata: &Metadata) -> String {
    metadata.namespace.clone().unwrap_or_default()
}

fn bound(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn nominated(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.nominated_node_name.as_deref().filter(|name| !name.is_empty())
}

fn state(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    if let Some(node) = bound(pod) {
        let text = |field: Option<&String>| field.map(|text| format!(": {text}")).unwrap_or_default();
        let why = text(status.and_then(|status| status.message.as_ref()));
        return format!("{phase} on node {node}{why}");
    }
    let scheduled = decline::scheduled(pod).filter(|condition| condition.status == "False");
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_deref()).unwrap_or_default();
    match (nominated(pod), scheduled.and_then(|condition| condition.message.as_deref())) {
        _ if !gates.is_empty() => {
            let gates: Vec<&str> = gates.iter().map(|gate| gate.name.as_str()).collect();
            format!("{phase}: waits at its scheduling gates {}", gates.join(", "))
        }
        (Some(node), _) => format!("{phase}: offered to node {node}"),
        (None, Some(message)) => format!("{phase}: {message}"),
        (None, None) => phase.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster() -> Cluster {
        let mut cluster = Cluster::default();
        for (name, disk, ready) in [("n1", "ssd", "True"), ("n2", "hdd", "True"), ("n3", "ssd", "False")] {
            let node: Node = read(json!({
                "metadata": { "name": name, "labels": { "disk": disk } },
                "status": {
                    "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "10" },
                    "conditions": [{ "type": "Ready", "status": ready }],
                },
            }));
            cluster.node_changed(&Arc::new(node));
        }
        cluster
    }

    fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("it is what it should be")
    }

    fn words(explanation: &Explanation) -> Vec<String> {
        let line = |answer: &NodeAnswer| {
            let details: Vec<&str> = answer.reasons.iter().map(|told| told.detail.as_str()).collect();
            format!("{} {}: {}", answer.node, answer.verdict.word(), details.join(" | "))
        };
        explanation.nodes.iter().map(line).collect()
    }

    #[test]
    fn a_pod_is_told_of_node_by_node_from_pending_to_running() {
        let spec = |node: Value| {
            json!({
                "nodeName": node, "nodeSelector": { "disk": "ssd" },
                "containers": [{ "name": "c", "resources": { "requests": { "cpu": "3" } } }],
            })
        };
        let object = |node: Value, status: Value| -> Arc<Pod> {
            let metadata = json!({ "name": "web", "namespace": "default", "uid": "u" });
            Arc::new(read(json!({ "metadata": metadata, "spec": spec(node), "status": status })))
        };
        let no = "n2 no: nodeSelector disk=ssd: the node has \"hdd\"";
        let n3 = "n3 no: the node's condition Ready is not True";
        for (pod_object, state, n1) in [
            (object(Value::Null, json!({ "phase": "Pending" })), "Pending", "n1 yes, asked first: "),
            (
                object(Value::Null, json!({ "phase": "Pending", "nominatedNodeName": "n1" })),
                "Pending: offered to node n1",
                "n1 is offered it: ",
            ),
            (object("n1".into(), json!({ "phase": "Running" })), "Running on node n1", "n1 hosts it: "),
        ] {
            let mut cluster = cluster();
            cluster.count(&pod_object);
            let explanation = pod(&pod_object, &cluster);
            assert_eq!(explanation.state, state);
            assert_eq!(words(&explanation), [n1, no, n3]);
        }
    }

    #[test]
    fn a_daemon_set_is_told_of_with_its_pods_and_the_room_it_lacks() {
        let set: DaemonSet = read(json!({
            "metadata": { "name": "agent", "namespace": "default", "uid": "set" },
            "spec": { "selector": {}, "template": { "spec": {
                "containers": [{ "name": "c", "resources": { "requests": { "cpu": "3" } } }],
            } } },
        }));
        let on = |name: &str, node: &str, owner: &str| -> Arc<Pod> {
            Arc::new(read(json!({
                "metadata": { "name": name, "uid": name, "ownerReferences": [
                    { "apiVersion": "apps/v1", "kind": "DaemonSet", "name": owner, "uid": owner, "controller": true },
                ] },
                "spec": { "nodeName": node, "containers": [
                    { "name": "c", "resources": { "requests": { "cpu": "3" } } },
                ] },
            })))
        };
        let mut cluster = cluster();
        cluster.count(&on("mine", "n1", "set"));
        cluster.count(&on("other", "n2", "another"));
        let explanation = daemon_set(&set, &cluster);
        assert_eq!(explanation.state, "1 of 3 nodes host it");
        assert_eq!(
            words(&explanation),
            [
                "n1 hosts it: ",
                "n2 no: cpu: 3 requested, 3 of 4 taken",
                "n3 yes: the node's condition Ready is not True",
            ]
        );
    }
}

//! The monitor: performs what [`crate::lease::monitor`] says about sessions, and writes what follows for Nodes and for
//! the Pods on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::watcher::Config as WatchConfig;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch as channel};

use super::duty::Duty;
use super::{AGAIN, Beside, INPUTS_MAX, sleep_until};
use crate::driver::clock;
use crate::driver::recorder::{Occurrence, Recorder};
use crate::driver::watches::{Seen, watch};
use crate::lease::monitor::{Effect, Input as Heard, Monitor, Report};
use crate::lease::session::Answer;
use crate::lease::wire;
use crate::steward::evictions::{Eviction, Evictions};
use crate::steward::nodes;
use crate::time::Instant;

/// An eviction that came to nothing is tried again after this.
const EVICT_AGAIN: Duration = Duration::from_secs(5);

/// What the loop hears.
#[derive(Debug)]
enum Input {
    Leases(Seen<Lease>),
    Nodes(Seen<Node>),
    Pods(Seen<Pod>),
    Answer(u64, Answer),
    /// The write of a Node, at the version that was seen, has ended; false: it came to nothing.
    Written(Arc<Node>, bool),
}

/// Starts the loop.
pub(super) fn start(client: Client, recorder: Recorder, duty: Duty, beside: Beside) {
    let (inputs, heard) = mpsc::channel(INPUTS_MAX);
    let all = WatchConfig::default;
    let leases = Api::namespaced(client.clone(), wire::NAMESPACE);
    tokio::spawn(watch(leases, all(), inputs.clone(), Input::Leases));
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::Nodes));
    let bound = all().fields("spec.nodeName!=");
    tokio::spawn(watch(Api::all(client.clone()), bound, inputs.clone(), Input::Pods));
    let monitor = Monitor::new(beside.node_name, beside.session);
    let watching = Monitoring {
        hands: Hands { client, recorder, duty, inputs },
        monitor,
        evictions: Evictions::default(),
        nodes: BTreeMap::new(),
        lost: BTreeSet::new(),
        writing: BTreeSet::new(),
        again: BTreeSet::new(),
        pods: BTreeSet::new(),
        listed_nodes: None,
        listed_pods: None,
    };
    tokio::spawn(watching.run(heard, beside.renewals));
}

struct Monitoring {
    hands: Hands,
    monitor: Monitor,
    evictions: Evictions,
    nodes: BTreeMap<String, Arc<Node>>,
    /// Nodes whose session was lost.
    lost: BTreeSet<String>,
    /// Nodes that are being written.
    writing: BTreeSet<String>,
    /// Nodes to be thought over again.
    again: BTreeSet<(Instant, String)>,
    /// UIDs of the Pods that are known.
    pods: BTreeSet<String>,
    /// What the lists in progress have had so far.
    listed_nodes: Option<BTreeSet<String>>,
    listed_pods: Option<BTreeSet<String>>,
}

impl Monitoring {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>, mut renewals: channel::Receiver<u64>) {
        let mut renews = true;
        loop {
            let again = self.again.first().map(|(at, _)| *at);
            let deadlines = [self.monitor.next_deadline(), self.evictions.next_deadline(), again];
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.hear(input),
                    None => return,
                },
                renewed = renewals.changed(), if renews => match renewed {
                    Ok(()) => {
                        let serial = *renewals.borrow_and_update();
                        self.monitor.handle(Heard::Renewed(serial), clock::now());
                    }
                    Err(_) => renews = false,
                },
                () = sleep_until(deadlines.into_iter().flatten().min()) => {
                    self.monitor.handle(Heard::Tick, clock::now());
                }
            }
            while let Ok(input) = inputs.try_recv() {
                self.hear(input);
            }
            self.act();
        }
    }

    fn hear(&mut self, input: Input) {
        let now = clock::now();
        match input {
            Input::Leases(seen) => self.hear_leases(seen, now),
            Input::Nodes(seen) => self.hear_nodes(seen, now),
            Input::Pods(seen) => self.hear_pods(seen),
            Input::Answer(number, answer) => self.monitor.handle(Heard::Answer(number, answer), now),
            Input::Written(seen, done) => {
                let name = seen.name_any();
                self.writing.remove(&name);
                let has_news = self
                    .nodes
                    .get(&name)
                    .is_none_or(|node| node.resource_version() != seen.resource_version());
                if done || has_news {
                    self.think(&name);
                } else {
                    self.again.insert((now + AGAIN, name));
                }
            }
        }
    }

    fn hear_leases(&mut self, seen: Seen<Lease>, now: Instant) {
        match seen {
            Seen::Restarted => self.monitor.handle(Heard::Restarted, now),
            Seen::Listed(lease) | Seen::Applied(lease) => self.monitor.handle(Heard::Seen(lease), now),
            Seen::Deleted(lease) => self.monitor.handle(Heard::Gone(lease.name_any()), now),
            Seen::Complete => self.monitor.handle(Heard::Complete, now),
            Seen::Lost(why) => tracing::debug!(why, "the monitor cannot watch sessions"),
        }
    }

    fn hear_nodes(&mut self, seen: Seen<Node>, now: Instant) {
        match seen {
            Seen::Restarted => self.listed_nodes = Some(BTreeSet::new()),
            Seen::Listed(node) | Seen::Applied(node) => {
                let name = node.name_any();
                if let Some(listed) = &mut self.listed_nodes {
                    listed.insert(name.clone());
                }
                self.evictions.node(&name, Some(&node), now);
                self.nodes.insert(name.clone(), Arc::from(node));
                self.think(&name);
            }
            Seen::Deleted(node) => self.node_gone(&node.name_any(), now),
            Seen::Complete => {
                let listed = self.listed_nodes.take().unwrap_or_default();
                let gone: Vec<String> =
                    self.nodes.keys().filter(|name| !listed.contains(*name)).cloned().collect();
                for name in gone {
                    self.node_gone(&name, now);
                }
            }
            Seen::Lost(why) => tracing::debug!(why, "the monitor cannot watch nodes"),
        }
    }

    fn node_gone(&mut self, name: &str, now: Instant) {
        self.nodes.remove(name);
        self.evictions.node(name, None, now);
    }

    fn hear_pods(&mut self, seen: Seen<Pod>) {
        match seen {
            Seen::Restarted => self.listed_pods = Some(BTreeSet::new()),
            Seen::Listed(pod) | Seen::Applied(pod) => {
                let uid = pod.uid().unwrap_or_default();
                if let Some(listed) = &mut self.listed_pods {
                    listed.insert(uid.clone());
                }
                self.pods.insert(uid);
                self.evictions.pod(&Arc::from(pod));
            }
            Seen::Deleted(pod) => self.pod_gone(&pod.uid().unwrap_or_default()),
            Seen::Complete => {
                let listed = self.listed_pods.take().unwrap_or_default();
                let gone: Vec<String> = self.pods.difference(&listed).cloned().collect();
                for uid in gone {
                    self.pod_gone(&uid);
                }
            }
            Seen::Lost(why) => tracing::debug!(why, "the monitor cannot watch Pods"),
        }
    }

    fn pod_gone(&mut self, uid: &str) {
        self.pods.remove(uid);
        self.evictions.pod_gone(uid);
    }

    /// Does what the machines want done.
    fn act(&mut self) {
        while let Some(effect) = self.monitor.next_effect() {
            match effect {
                Effect::Revoke(number, lease) => {
                    tracing::warn!(node = lease.name_any(), "the session has expired and is revoked");
                    tokio::spawn(self.hands.clone().replace(number, lease));
                }
                Effect::Recreate(number, lease) => {
                    tokio::spawn(self.hands.clone().create(number, lease));
                }
                Effect::Report(report) => self.report(report),
            }
        }
        let now = clock::now();
        while let Some((at, node)) = self.again.first().cloned()
            && at <= now
        {
            self.again.pop_first();
            self.think(&node);
        }
        for eviction in self.evictions.take_due(now, EVICT_AGAIN) {
            tokio::spawn(self.hands.clone().evict(eviction));
        }
    }

    fn report(&mut self, report: Report) {
        tracing::info!("{report}");
        match report {
            Report::Alive { node } => {
                self.lost.remove(&node);
                self.think(&node);
            }
            Report::Lost { node, .. } | Report::Left { node } => {
                self.lost.insert(node.clone());
                self.think(&node);
            }
            Report::Braked(_) | Report::Unbraked(_) => {
                self.evictions.brake(self.monitor.is_braked());
                for node in self.lost.clone() {
                    self.think(&node);
                }
            }
            Report::Gap => {}
        }
    }

    /// Writes a Node's conditions and taints, if they are not what they are to be. One write at a time: what it changes
    /// comes back by the watch.
    fn think(&mut self, name: &str) {
        let Some(node) = self.nodes.get(name).filter(|_| !self.writing.contains(name)) else { return };
        let lost = self.lost.contains(name).then(|| nodes::lost_conditions(node, clock::wall())).flatten();
        let change = if let Some(conditions) = lost {
            Change { status: true, body: json!({ "status": { "conditions": conditions } }) }
        } else if let Some(taints) = nodes::taints(node, self.monitor.is_braked(), clock::wall()) {
            Change { status: false, body: json!({ "spec": { "taints": taints } }) }
        } else {
            return;
        };
        self.writing.insert(name.to_owned());
        tokio::spawn(self.hands.clone().write(node.clone(), change));
    }
}

/// A change of a Node: a merge patch.
struct Change {
    status: bool,
    body: Value,
}

/// What writes need. Cheap to clone.
#[derive(Clone)]
struct Hands {
    client: Client,
    recorder: Recorder,
    duty: Duty,
    inputs: mpsc::Sender<Input>,
}

impl Hands {
    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), wire::NAMESPACE)
    }

    async fn replace(self, number: u64, lease: Box<Lease>) {
        let written = self.leases().replace(&lease.name_any(), &PostParams::default(), &lease).await;
        self.answer(number, written).await;
    }

    async fn create(self, number: u64, lease: Box<Lease>) {
        let made = self.leases().create(&PostParams::default(), &lease).await;
        self.answer(number, made).await;
    }

    async fn answer(&self, number: u64, result: kube::Result<Lease>) {
        let answer = match result {
            Ok(lease) => Answer::Written(Box::new(lease)),
            Err(kube::Error::Api(status)) if status.code == 409 => Answer::Conflict,
            Err(kube::Error::Api(status)) if status.code == 404 => Answer::Absent { node_made: None },
            Err(error) => {
                tracing::debug!(%error, "the monitor has no answer about a session's Lease");
                Answer::Failed
            }
        };
        // The loop ends with the process.
        let _ = self.inputs.send(Input::Answer(number, answer)).await;
    }

    async fn write(self, node: Arc<Node>, change: Change) {
        let done = self.duty.may_write_nodes() && self.patch(&node, change).await;
        let _ = self.inputs.send(Input::Written(node, done)).await;
    }

    async fn patch(&self, node: &Node, Change { status, mut body }: Change) -> bool {
        let nodes: Api<Node> = Api::all(self.client.clone());
        body["metadata"] = json!({ "uid": node.uid(), "resourceVersion": node.resource_version() });
        let (name, params, patch) = (node.name_any(), PatchParams::default(), Patch::Merge(&body));
        let written = if status {
            nodes.patch_status(&name, &params, &patch).await
        } else {
            nodes.patch(&name, &params, &patch).await
        };
        match written {
            Ok(_) if status => {
                self.record(
                    ("v1", "Node"),
                    "",
                    &name,
                    &node.uid().unwrap_or_default(),
                    ("NodeNotReady", format!("Node {name} status is now: NodeNotReady")),
                );
                true
            }
            Ok(_) => true,
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => false,
            Err(error) => {
                tracing::debug!(%error, name, "a Node could not be written");
                false
            }
        }
    }

    async fn evict(self, of: Eviction) {
        if !self.duty.may_write(&of.uid) {
            return;
        }
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &of.namespace);
        let why = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": clock::wall().seconds(),
        });
        let told = json!({ "metadata": { "uid": of.uid }, "status": { "conditions": [why] } });
        let told = pods.patch_status(&of.name, &PatchParams::default(), &Patch::Strategic(told)).await;
        if let Err(error) = told {
            tracing::debug!(%error, pod = of.name, "an eviction could not be announced");
            return;
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(of.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match pods.delete(&of.name, &params).await {
            Ok(_) => {
                let message = format!("Marking for deletion Pod {}/{}", of.namespace, of.name);
                self.record(
                    ("v1", "Pod"),
                    &of.namespace,
                    &of.name,
                    &of.uid,
                    ("TaintManagerEviction", message),
                );
            }
            Err(error) => tracing::debug!(%error, pod = of.name, "a Pod could not be evicted"),
        }
    }

    fn record(
        &self,
        kind: (&'static str, &'static str),
        namespace: &str,
        name: &str,
        uid: &str,
        (reason, message): (&str, String),
    ) {
        self.recorder.record(Occurrence {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            field_path: None,
            warning: false,
            reason: reason.to_owned(),
            message,
        });
    }
}

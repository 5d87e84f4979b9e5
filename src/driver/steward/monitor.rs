//! The monitor: performs what [`crate::lease::monitor`] says about sessions, and writes what follows for Nodes. At work
//! while this agent holds the monitor's shard; each tenure begins with a new machine, whose timers start afresh.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::Config as WatchConfig;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch as channel};
use tokio::task::AbortHandle;

use super::feed::Told;
use super::shards::{BrakeNote, Handle, Order};
use super::{AGAIN, INPUTS_MAX, Tools, sleep_until};
use crate::driver::clock;
use crate::driver::recorder::Occurrence;
use crate::driver::watches::{Seen, watch};
use crate::lease::monitor::{Effect, Input as Heard, Monitor, Report};
use crate::lease::session::{Answer, SessionId};
use crate::lease::shard::MONITOR;
use crate::lease::timings::SessionConfig;
use crate::lease::wire;
use crate::steward::nodes;
use crate::time::Instant;

/// What the loop hears.
#[derive(Debug)]
enum Input {
    /// From the watch of the sessions in this tenure.
    Leases(u64, Seen<Lease>),
    Answer(u64, u64, Answer),
    /// The write of a Node, at the version that was seen, has ended; false: it came to nothing.
    Written(Arc<Node>, bool),
}

/// Beside whom the monitor works.
pub(super) struct Watching {
    pub(super) node: String,
    pub(super) config: SessionConfig,
    pub(super) renewals: channel::Receiver<u64>,
    /// None where there is no other steward.
    pub(super) shards: Option<Handle>,
}

/// Starts the loop; the way to tell it what is seen.
pub(super) fn start(tools: Tools, watching: Watching) -> mpsc::Sender<Told> {
    let (told, news) = mpsc::channel(INPUTS_MAX);
    let (inputs, heard) = mpsc::channel(INPUTS_MAX);
    let Watching { node, config, renewals, shards } = watching;
    let monitoring = Monitoring {
        hands: Hands { tools, inputs },
        node,
        config,
        shards,
        tenure: None,
        nodes: BTreeMap::new(),
        writing: BTreeSet::new(),
        again: BTreeSet::new(),
    };
    tokio::spawn(monitoring.run(news, heard, renewals));
    told
}

struct Monitoring {
    hands: Hands,
    /// Name of the own Node.
    node: String,
    config: SessionConfig,
    shards: Option<Handle>,
    /// While this agent monitors.
    tenure: Option<Tenure>,
    nodes: BTreeMap<String, Arc<Node>>,
    /// Nodes that are being written.
    writing: BTreeSet<String>,
    /// Nodes to be thought over again.
    again: BTreeSet<(Instant, String)>,
}

/// What lasts as long as this agent holds the monitor's shard.
struct Tenure {
    won: u64,
    monitor: Monitor,
    /// Nodes whose session was lost or given up.
    lost: BTreeSet<String>,
    /// The watch of the sessions.
    watch: AbortHandle,
    /// An operator's last wish that was heard.
    released: Option<String>,
    /// What was last said of the brake.
    brake: Option<String>,
}

impl Drop for Tenure {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Monitoring {
    async fn run(
        mut self,
        mut news: mpsc::Receiver<Told>,
        mut inputs: mpsc::Receiver<Input>,
        mut renewals: channel::Receiver<u64>,
    ) {
        let mut renews = true;
        let mut held = self.hands.tools.duty.held();
        let mut brake = self.shards.as_ref().map(|shards| shards.brake.clone());
        self.hold(held.borrow_and_update().tenures.get(&MONITOR).map(|tenure| tenure.won));
        loop {
            let again = self.again.first().map(|(at, _)| *at);
            let deadline = self.tenure.as_ref().and_then(|tenure| tenure.monitor.next_deadline());
            tokio::select! {
                told = news.recv() => match told {
                    Some(told) => self.hear_told(told),
                    None => return,
                },
                Some(input) = inputs.recv() => self.hear(input),
                Ok(()) = held.changed() => {
                    let won = held.borrow_and_update().tenures.get(&MONITOR).map(|tenure| tenure.won);
                    self.hold(won);
                }
                renewed = renewals.changed(), if renews => match renewed {
                    Ok(()) => {
                        let serial = *renewals.borrow_and_update();
                        self.tell(Heard::Renewed(serial));
                        self.tell_over().await;
                    }
                    Err(_) => renews = false,
                },
                () = note_changed(brake.as_mut()) => {}
                () = sleep_until([deadline, again].into_iter().flatten().min()) => self.tell(Heard::Tick),
            }
            while let Ok(told) = news.try_recv() {
                self.hear_told(told);
            }
            while let Ok(input) = inputs.try_recv() {
                self.hear(input);
            }
            let note = brake.as_mut().map(|note| note.borrow_and_update().clone());
            self.heed(note.unwrap_or_default());
            self.act().await;
        }
    }

    /// The monitor's shard is held, by this winning of it, or not.
    fn hold(&mut self, won: Option<u64>) {
        if self.tenure.as_ref().map(|tenure| tenure.won) == won {
            return;
        }
        self.tenure = None;
        let Some(won) = won else { return };
        tracing::info!("this agent monitors: every timer starts afresh");
        let mut monitor = Monitor::new(self.node.clone(), self.config);
        let note = self.shards.as_ref().map(|shards| shards.brake.borrow().clone()).unwrap_or_default();
        if let Some(brake) = &note.drawn {
            monitor.handle(Heard::Inherit(brake.clone()), clock::now());
        }
        let leases = Api::namespaced(self.hands.tools.client.clone(), wire::NAMESPACE);
        let (seen, mut sessions) = mpsc::channel(INPUTS_MAX);
        let inputs = self.hands.inputs.clone();
        let watch = tokio::spawn(async move {
            let watching = watch(leases, WatchConfig::default(), seen, std::convert::identity);
            let passing = async {
                while let Some(seen) = sessions.recv().await {
                    // The loop ends with the process.
                    let _ = inputs.send(Input::Leases(won, seen)).await;
                }
            };
            tokio::join!(watching, passing);
        });
        let watch = watch.abort_handle();
        let (lost, brake) = (BTreeSet::new(), note.drawn);
        self.tenure = Some(Tenure { won, monitor, lost, watch, released: None, brake });
    }

    /// What an operator has written onto the monitor's Lease.
    fn heed(&mut self, note: BrakeNote) {
        let Some(tenure) = self.tenure.as_mut() else { return };
        if note.release.is_some() && note.release != tenure.released {
            tenure.monitor.handle(Heard::ReleaseBrake, clock::now());
        }
        tenure.released = note.release;
    }

    fn tell(&mut self, heard: Heard) {
        if let Some(tenure) = self.tenure.as_mut() {
            tenure.monitor.handle(heard, clock::now());
        }
    }

    /// Which holders of shards are over, as this monitor knows.
    async fn tell_over(&mut self) {
        let (Some(tenure), Some(shards)) = (self.tenure.as_mut(), self.shards.as_ref()) else { return };
        let now = clock::now();
        let holders: Vec<SessionId> = shards.holders.borrow().iter().cloned().collect();
        for holder in holders {
            if tenure.monitor.is_over(&holder, now) {
                shards.tell(Order::Over(holder)).await;
            } else {
                tenure.monitor.handle(Heard::Missed(holder.node), now);
            }
        }
    }

    fn hear_told(&mut self, told: Told) {
        match told {
            Told::Rest => self.nodes.clear(),
            Told::Node(node) => {
                let name = node.name_any();
                self.nodes.insert(name.clone(), node);
                self.think(&name);
            }
            Told::NodeGone(name) => drop(self.nodes.remove(&name)),
            Told::Whole
            | Told::Pod(_)
            | Told::PodGone(_)
            | Told::Namespace(_)
            | Told::NamespaceGone(_)
            | Told::Claim(_)
            | Told::ClaimGone(..)
            | Told::Volume(_)
            | Told::VolumeGone(_)
            | Told::Class(_)
            | Told::ClassGone(_)
            | Told::Account(..) => {}
        }
    }

    fn hear(&mut self, input: Input) {
        let now = clock::now();
        match input {
            Input::Leases(won, seen) if self.is_of(won) => self.hear_leases(seen),
            Input::Answer(won, number, answer) if self.is_of(won) => self.tell(Heard::Answer(number, answer)),
            // Of a tenure that is over.
            Input::Leases(..) | Input::Answer(..) => {}
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

    fn is_of(&self, won: u64) -> bool {
        self.tenure.as_ref().is_some_and(|tenure| tenure.won == won)
    }

    fn hear_leases(&mut self, seen: Seen<Lease>) {
        match seen {
            Seen::Restarted => self.tell(Heard::Restarted),
            Seen::Listed(lease) => {
                // Whoever monitored before may have revoked it and not come to say so on the Node.
                if wire::holder(&lease).is_empty()
                    && let Some(tenure) = self.tenure.as_mut()
                {
                    tenure.lost.insert(lease.name_any());
                    self.think(&lease.name_any());
                }
                self.tell(Heard::Seen(lease));
            }
            Seen::Applied(lease) => self.tell(Heard::Seen(lease)),
            Seen::Deleted(lease) => self.tell(Heard::Gone(lease.name_any())),
            Seen::Complete => self.tell(Heard::Complete),
            Seen::Lost(why) => tracing::debug!(why, "the monitor cannot watch sessions"),
        }
    }

    /// Does what the machine wants done.
    async fn act(&mut self) {
        let mut has_news = false;
        while let Some(effect) = self.tenure.as_mut().and_then(|tenure| tenure.monitor.next_effect()) {
            has_news = true;
            match effect {
                Effect::Revoke(number, lease) => {
                    tracing::warn!(node = lease.name_any(), "the session has expired and is revoked");
                    self.spawn(number, lease, false);
                }
                Effect::Recreate(number, lease) => self.spawn(number, lease, true),
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
        if has_news {
            self.tell_over().await;
        }
        self.tell_brake(now).await;
    }

    fn spawn(&self, number: u64, lease: Box<Lease>, is_new: bool) {
        if let Some(tenure) = &self.tenure {
            tokio::spawn(self.hands.clone().put((tenure.won, number), lease, is_new));
        }
    }

    /// What the next monitor is to know of the brake stands on the Lease.
    async fn tell_brake(&mut self, now: Instant) {
        let (Some(tenure), Some(shards)) = (self.tenure.as_mut(), self.shards.as_ref()) else { return };
        let brake = tenure.monitor.brake(now);
        if brake != tenure.brake {
            tenure.brake.clone_from(&brake);
            shards.tell(Order::Brake(brake)).await;
        }
    }

    fn report(&mut self, report: Report) {
        tracing::info!("{report}");
        let Some(tenure) = self.tenure.as_mut() else { return };
        match report {
            Report::Alive { node } => {
                tenure.lost.remove(&node);
                self.think(&node);
            }
            Report::Lost { node, .. } | Report::Left { node } => {
                tenure.lost.insert(node.clone());
                self.think(&node);
            }
            Report::Braked(_) | Report::Unbraked(_) => {
                for node in tenure.lost.clone() {
                    self.think(&node);
                }
            }
            Report::Gap => {}
        }
    }

    /// Writes a Node's conditions and taints, if they are not what they are to be. One write at a time: what it changes
    /// comes back by the watch.
    fn think(&mut self, name: &str) {
        let Some(tenure) = &self.tenure else { return };
        let Some(node) = self.nodes.get(name).filter(|_| !self.writing.contains(name)) else { return };
        let lost = tenure.lost.contains(name).then(|| nodes::lost_conditions(node, clock::wall())).flatten();
        let change = if let Some(conditions) = lost {
            Change { status: true, body: json!({ "status": { "conditions": conditions } }) }
        } else if let Some(taints) = nodes::taints(node, tenure.monitor.is_braked(), clock::wall()) {
            Change { status: false, body: json!({ "spec": { "taints": taints } }) }
        } else {
            return;
        };
        self.writing.insert(name.to_owned());
        tokio::spawn(self.hands.clone().write(node.clone(), change));
    }
}

/// Waits until the note of the brake has changed; for ever where there is none.
async fn note_changed(note: Option<&mut channel::Receiver<BrakeNote>>) {
    let changed = match note {
        Some(note) => note.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
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
    tools: Tools,
    inputs: mpsc::Sender<Input>,
}

impl Hands {
    /// Creates or replaces a session's Lease; the answer is one to the effect of this number in this tenure.
    async fn put(self, (won, number): (u64, u64), lease: Box<Lease>, is_new: bool) {
        let leases: Api<Lease> = Api::namespaced(self.tools.client.clone(), wire::NAMESPACE);
        let params = PostParams::default();
        let name = lease.name_any();
        let write = async {
            if is_new {
                leases.create(&params, &lease).await
            } else {
                leases.replace(&name, &params, &lease).await
            }
        };
        let answer = match self.tools.duty.write_nodes(write).await {
            Ok(Ok(lease)) => Answer::Written(Box::new(lease)),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => Answer::Conflict,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Answer::Absent { node_made: None },
            Ok(Err(error)) => {
                tracing::debug!(%error, "the monitor has no answer about a session's Lease");
                Answer::Failed
            }
            Err(refused) => {
                tracing::debug!(%refused, "the monitor may not write a session's Lease");
                Answer::Failed
            }
        };
        // The loop ends with the process.
        let _ = self.inputs.send(Input::Answer(won, number, answer)).await;
    }

    async fn write(self, node: Arc<Node>, change: Change) {
        let done = self.tools.duty.write_nodes(self.patch(&node, change)).await.unwrap_or(false);
        let _ = self.inputs.send(Input::Written(node, done)).await;
    }

    async fn patch(&self, node: &Node, Change { status, mut body }: Change) -> bool {
        let nodes: Api<Node> = Api::all(self.tools.client.clone());
        body["metadata"] = json!({ "uid": node.uid(), "resourceVersion": node.resource_version() });
        let (name, params, patch) = (node.name_any(), PatchParams::default(), Patch::Merge(&body));
        let written = if status {
            nodes.patch_status(&name, &params, &patch).await
        } else {
            nodes.patch(&name, &params, &patch).await
        };
        match written {
            Ok(_) if status => {
                self.tools.recorder.record(Occurrence {
                    kind: ("v1", "Node"),
                    namespace: String::new(),
                    name: name.clone(),
                    uid: node.uid().unwrap_or_default(),
                    field_path: None,
                    warning: false,
                    reason: "NodeNotReady".to_owned(),
                    message: format!("Node {name} status is now: NodeNotReady"),
                });
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
}

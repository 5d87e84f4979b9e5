//! Offers Pods that no node has to the nodes: a loop of its own around the pure machine of `steward::offers`.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::Config as WatchConfig;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::duty::Duty;
use super::{INPUTS_MAX, sleep_until};
use crate::driver::clock;
use crate::driver::recorder::{Occurrence, Recorder};
use crate::driver::watches::{Seen, watch};
use crate::steward::offers::{Answer, Nomination, Offers, Write};

/// Most writes under way at a time.
const WRITES_MAX: usize = 64;

/// What the loop hears.
#[derive(Debug)]
enum Input {
    Pods(Seen<Pod>),
    Nodes(Seen<Node>),
    Written { uid: String, answer: Answer },
}

/// What a list in progress has had so far, and whether one has ever been whole.
#[derive(Debug, Default)]
struct Listing {
    known: BTreeSet<String>,
    seen: Option<BTreeSet<String>>,
    whole: bool,
}

impl Listing {
    fn saw(&mut self, key: &str) {
        self.known.insert(key.to_owned());
        if let Some(seen) = &mut self.seen {
            seen.insert(key.to_owned());
        }
    }

    /// What was known and is not in the list that is whole now.
    fn complete(&mut self) -> Vec<String> {
        self.whole = true;
        let seen = self.seen.take().unwrap_or_default();
        let gone: Vec<String> = self.known.difference(&seen).cloned().collect();
        self.known = seen;
        gone
    }
}

/// Starts the loop.
pub(super) fn start(client: Client, recorder: Recorder, duty: Duty) {
    let (inputs, heard) = mpsc::channel(INPUTS_MAX);
    let all = WatchConfig::default;
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::Pods));
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::Nodes));
    let writes = Arc::new(Semaphore::new(WRITES_MAX));
    let hands = Hands { client, recorder, duty, inputs, writes };
    let steward =
        Offering { hands, machine: Offers::default(), pods: Listing::default(), nodes: Listing::default() };
    tokio::spawn(steward.run(heard));
}

struct Offering {
    hands: Hands,
    machine: Offers,
    pods: Listing,
    nodes: Listing,
}

/// What a write needs. Cheap to clone.
#[derive(Clone)]
struct Hands {
    client: Client,
    recorder: Recorder,
    duty: Duty,
    inputs: mpsc::Sender<Input>,
    writes: Arc<Semaphore>,
}

impl Offering {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        loop {
            let wake = self.machine.next_deadline();
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.hear(input),
                    None => return,
                },
                () = sleep_until(wake) => {}
            }
            while let Ok(input) = inputs.try_recv() {
                self.hear(input);
            }
            for write in self.machine.plan(clock::now(), clock::wall()) {
                tokio::spawn(self.hands.clone().perform(write));
            }
        }
    }

    fn hear(&mut self, input: Input) {
        match input {
            Input::Pods(seen) => self.hear_pods(seen),
            Input::Nodes(seen) => self.hear_nodes(seen),
            Input::Written { uid, answer } => self.machine.written(&uid, answer, clock::now()),
        }
        if self.pods.whole && self.nodes.whole {
            self.machine.know();
        }
    }

    fn hear_pods(&mut self, seen: Seen<Pod>) {
        match seen {
            Seen::Restarted => self.pods.seen = Some(BTreeSet::new()),
            Seen::Listed(pod) | Seen::Applied(pod) => {
                self.pods.saw(&pod.uid().unwrap_or_default());
                self.machine.pod_changed(&Arc::from(pod));
            }
            Seen::Deleted(pod) => {
                let uid = pod.uid().unwrap_or_default();
                self.pods.known.remove(&uid);
                self.machine.pod_gone(&uid);
            }
            Seen::Complete => {
                for uid in self.pods.complete() {
                    self.machine.pod_gone(&uid);
                }
            }
            Seen::Lost(why) => tracing::debug!(why, "the steward cannot watch Pods"),
        }
    }

    fn hear_nodes(&mut self, seen: Seen<Node>) {
        match seen {
            Seen::Restarted => self.nodes.seen = Some(BTreeSet::new()),
            Seen::Listed(node) | Seen::Applied(node) => {
                self.nodes.saw(&node.name_any());
                self.machine.node_changed(&Arc::from(node));
            }
            Seen::Deleted(node) => {
                self.nodes.known.remove(&node.name_any());
                self.machine.node_gone(&node.name_any());
            }
            Seen::Complete => {
                for name in self.nodes.complete() {
                    self.machine.node_gone(&name);
                }
            }
            Seen::Lost(why) => tracing::debug!(why, "the steward cannot watch nodes"),
        }
    }
}

impl Hands {
    async fn perform(self, write: Write) {
        let uid = write.pod.uid().unwrap_or_default();
        let answer = match self.writes.acquire().await {
            Ok(_permit) if self.duty.may_write(&root_owner(&write.pod)) => self.write(&write).await,
            Ok(_) | Err(_) => Answer::Failed,
        };
        // The loop ends with the process.
        let _ = self.inputs.send(Input::Written { uid, answer }).await;
    }

    async fn write(&self, write: &Write) -> Answer {
        let pod = &write.pod;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let patch = Patch::Strategic(patch(write));
        match pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await {
            Ok(written) => {
                tracing::debug!(
                    pod = pod.name_any(),
                    namespace = pod.namespace(),
                    nomination = ?write.nomination,
                    "offered a Pod, or told why not"
                );
                self.tell(write);
                Answer::Done(Arc::new(written))
            }
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => Answer::Conflict,
            Err(error) => {
                tracing::warn!(%error, pod = pod.name_any(), "an offer could not be written");
                Answer::Failed
            }
        }
    }

    fn tell(&self, write: &Write) {
        let Some(message) = write.condition.as_ref().and_then(|condition| condition.message.clone()) else {
            return;
        };
        self.recorder.record(Occurrence {
            kind: ("v1", "Pod"),
            namespace: write.pod.namespace().unwrap_or_default(),
            name: write.pod.name_any(),
            uid: write.pod.uid().unwrap_or_default(),
            field_path: None,
            warning: true,
            reason: "FailedScheduling".to_owned(),
            message,
        });
    }
}

/// The UID that says whose shard the Pod is in.
fn root_owner(pod: &Pod) -> String {
    let controller = pod.owner_references().iter().find(|owner| owner.controller == Some(true));
    controller.map(|owner| owner.uid.clone()).or_else(|| pod.uid()).unwrap_or_default()
}

/// The write as a patch that is refused when the Pod is another one by now.
fn patch(write: &Write) -> Value {
    let mut status = json!({});
    match &write.nomination {
        Nomination::Keep => {}
        Nomination::Clear => status["nominatedNodeName"] = Value::Null,
        Nomination::To(node) => status["nominatedNodeName"] = json!(node),
    }
    if let Some(condition) = &write.condition {
        status["conditions"] = json!([condition]);
    }
    let metadata = &write.pod.metadata;
    json!({ "metadata": { "uid": metadata.uid, "resourceVersion": metadata.resource_version }, "status": status })
}

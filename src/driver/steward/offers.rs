//! Offers Pods that no node has to the nodes: a loop of its own around the pure machine of `steward::offers`.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Patch, PatchParams};
use kube::runtime::watcher::Config as WatchConfig;
use kube::{Api, Client, ResourceExt};
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
    Namespaces(Seen<Namespace>),
    Claims(Seen<PersistentVolumeClaim>),
    Volumes(Seen<PersistentVolume>),
    Classes(Seen<StorageClass>),
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
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::Namespaces));
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::Claims));
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::Volumes));
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::Classes));
    let writes = Arc::new(Semaphore::new(WRITES_MAX));
    let hands = Hands { client, recorder, duty, inputs, writes };
    let steward = Offering {
        hands,
        machine: Offers::default(),
        pods: Listing::default(),
        nodes: Listing::default(),
        namespaces: Listing::default(),
        claims: Listing::default(),
        volumes: Listing::default(),
        classes: Listing::default(),
    };
    tokio::spawn(steward.run(heard));
}

struct Offering {
    hands: Hands,
    machine: Offers,
    pods: Listing,
    nodes: Listing,
    namespaces: Listing,
    claims: Listing,
    volumes: Listing,
    classes: Listing,
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
        let machine = &mut self.machine;
        match input {
            Input::Pods(seen) => follow(&mut self.pods, seen, |change| match change {
                Change::Is(pod) => machine.pod_changed(&pod),
                Change::Gone(uid) => machine.pod_gone(&uid),
            }),
            Input::Nodes(seen) => follow(&mut self.nodes, seen, |change| match change {
                Change::Is(node) => machine.node_changed(&node),
                Change::Gone(key) => machine.node_gone(name(&key)),
            }),
            Input::Namespaces(seen) => follow(&mut self.namespaces, seen, |change| match change {
                Change::Is(namespace) => machine.namespace_changed(&namespace),
                Change::Gone(key) => machine.namespace_gone(name(&key)),
            }),
            Input::Claims(seen) => follow(&mut self.claims, seen, |change| match change {
                Change::Is(claim) => machine.claim_changed(&claim),
                Change::Gone(key) => {
                    let (namespace, name) = key.split_once('/').unwrap_or_default();
                    machine.claim_gone(namespace, name);
                }
            }),
            Input::Volumes(seen) => follow(&mut self.volumes, seen, |change| match change {
                Change::Is(volume) => machine.volume_changed(&volume),
                Change::Gone(key) => machine.volume_gone(name(&key)),
            }),
            Input::Classes(seen) => follow(&mut self.classes, seen, |change| match change {
                Change::Is(class) => machine.class_changed(&class),
                Change::Gone(key) => machine.class_gone(name(&key)),
            }),
            Input::Written { uid, answer } => machine.written(&uid, answer, clock::now()),
        }
        let lists = [&self.pods, &self.nodes, &self.namespaces, &self.claims, &self.volumes, &self.classes];
        if lists.iter().all(|list| list.whole) {
            self.machine.know();
        }
    }
}

/// What an event says of one object.
enum Change<K> {
    Is(Arc<K>),
    /// By its key in the listing.
    Gone(String),
}

/// How a kind's objects are told apart: Pods, which come and go under one name, by UID; others by namespace and name.
trait Keyed: ResourceExt {
    fn key(&self) -> String {
        format!("{}/{}", self.namespace().unwrap_or_default(), self.name_any())
    }
}

impl Keyed for Pod {
    fn key(&self) -> String {
        self.uid().unwrap_or_default()
    }
}

impl Keyed for Node {}
impl Keyed for Namespace {}
impl Keyed for PersistentVolumeClaim {}
impl Keyed for PersistentVolume {}
impl Keyed for StorageClass {}

/// The name in a key of what is in no namespace.
fn name(key: &str) -> &str {
    key.trim_start_matches('/')
}

fn follow<K: Keyed>(listing: &mut Listing, seen: Seen<K>, mut tell: impl FnMut(Change<K>)) {
    match seen {
        Seen::Restarted => listing.seen = Some(BTreeSet::new()),
        Seen::Listed(object) | Seen::Applied(object) => {
            listing.saw(&object.key());
            tell(Change::Is(Arc::from(object)));
        }
        Seen::Deleted(object) => {
            listing.known.remove(&object.key());
            tell(Change::Gone(object.key()));
        }
        Seen::Complete => listing.complete().into_iter().for_each(|key| tell(Change::Gone(key))),
        Seen::Lost(why) => tracing::debug!(why, "the steward cannot watch the coordinator"),
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

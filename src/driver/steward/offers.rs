//! Offers Pods that no node has to the nodes: a loop of its own around the pure machine of `steward::offers`, fed by the
//! steward's view.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::feed::{PodNews, Told};
use super::{INPUTS_MAX, Tools, sleep_until};
use crate::driver::clock;
use crate::driver::recorder::Occurrence;
use crate::steward::offers::{Answer, Nomination, Offers, Write};

/// Most writes under way at a time.
const WRITES_MAX: usize = 64;

/// How a write of the Pod with this UID has ended.
type Written = (String, Answer);

/// Starts the loop; the way to tell it what is seen.
pub(super) fn start(tools: Tools) -> mpsc::Sender<Told> {
    let (told, news) = mpsc::channel(INPUTS_MAX);
    let (answers, written) = mpsc::channel(INPUTS_MAX);
    let writes = Arc::new(Semaphore::new(WRITES_MAX));
    let hands = Hands { tools, answers, writes };
    let offering = Offering { hands, machine: Offers::default(), roots: BTreeMap::new() };
    tokio::spawn(offering.run(news, written));
    told
}

struct Offering {
    hands: Hands,
    machine: Offers,
    /// UIDs of the root owners of the Pods that are offered here.
    roots: BTreeMap<String, Arc<str>>,
}

/// What a write needs. Cheap to clone.
#[derive(Clone)]
struct Hands {
    tools: Tools,
    answers: mpsc::Sender<Written>,
    writes: Arc<Semaphore>,
}

impl Offering {
    async fn run(mut self, mut news: mpsc::Receiver<Told>, mut written: mpsc::Receiver<Written>) {
        loop {
            let wake = self.machine.next_deadline();
            tokio::select! {
                told = news.recv() => match told {
                    Some(told) => self.hear(told),
                    None => return,
                },
                Some((uid, answer)) = written.recv() => self.machine.written(&uid, answer, clock::now()),
                () = sleep_until(wake) => {}
            }
            while let Ok(told) = news.try_recv() {
                self.hear(told);
            }
            while let Ok((uid, answer)) = written.try_recv() {
                self.machine.written(&uid, answer, clock::now());
            }
            for write in self.machine.plan(clock::now(), clock::wall()) {
                let root = self.roots.get(&write.pod.uid().unwrap_or_default()).cloned();
                tokio::spawn(self.hands.clone().perform(write, root.unwrap_or_default()));
            }
        }
    }

    fn hear(&mut self, told: Told) {
        let machine = &mut self.machine;
        match told {
            Told::Rest => {
                self.machine = Offers::default();
                self.roots.clear();
            }
            Told::Whole => machine.know(),
            Told::Pod(PodNews { pod, root, is_ours }) => {
                let uid = pod.uid().unwrap_or_default();
                if is_ours {
                    self.roots.insert(uid, root);
                    machine.pod_changed(&pod);
                } else {
                    self.roots.remove(&uid);
                    machine.pod_of_others(&pod);
                }
            }
            Told::PodGone(uid) => {
                self.roots.remove(&uid);
                machine.pod_gone(&uid);
            }
            Told::Node(node) => machine.node_changed(&node),
            Told::NodeGone(name) => machine.node_gone(&name),
            Told::Namespace(namespace) => machine.namespace_changed(&namespace),
            Told::NamespaceGone(name) => machine.namespace_gone(&name),
            Told::Claim(claim) => machine.claim_changed(&claim),
            Told::ClaimGone(namespace, name) => machine.claim_gone(&namespace, &name),
            Told::Volume(volume) => machine.volume_changed(&volume),
            Told::VolumeGone(name) => machine.volume_gone(&name),
            Told::Class(class) => machine.class_changed(&class),
            Told::ClassGone(name) => machine.class_gone(&name),
            Told::Account(..) => {}
        }
    }
}

impl Hands {
    async fn perform(self, write: Write, root: Arc<str>) {
        let uid = write.pod.uid().unwrap_or_default();
        let answer = match self.writes.acquire().await {
            Ok(_permit) => self.tools.duty.write(&root, self.write(&write)).await.unwrap_or(Answer::Failed),
            Err(_) => Answer::Failed,
        };
        // The loop ends with the process.
        let _ = self.answers.send((uid, answer)).await;
    }

    async fn write(&self, write: &Write) -> Answer {
        let pod = &write.pod;
        let pods: Api<Pod> = Api::namespaced(self.tools.client.clone(), &pod.namespace().unwrap_or_default());
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
        self.tools.recorder.record(Occurrence {
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

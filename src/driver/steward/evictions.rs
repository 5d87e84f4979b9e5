//! Evicts the Pods of the own shards that do not tolerate a taint of their node: a loop around the pure machine of
//! `steward::evictions`, fed by the steward's view.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use tokio::sync::{mpsc, watch as channel};

use super::feed::{PodNews, Told};
use super::shards::BrakeNote;
use super::{INPUTS_MAX, Tools, sleep_until};
use crate::driver::clock;
use crate::driver::recorder::Occurrence;
use crate::steward::evictions::{Eviction, Evictions};

/// An eviction that came to nothing is tried again after this.
const EVICT_AGAIN: Duration = Duration::from_secs(5);

/// Starts the loop; the way to tell it what is seen. While the brake is drawn, as `steward-00` says, nobody is evicted.
pub(super) fn start(tools: Tools, brake: Option<channel::Receiver<BrakeNote>>) -> mpsc::Sender<Told> {
    let (told, news) = mpsc::channel(INPUTS_MAX);
    let evicting = Evicting { tools, machine: Evictions::default(), roots: BTreeMap::new() };
    let brake = brake.unwrap_or_else(|| channel::channel(BrakeNote::default()).1);
    tokio::spawn(evicting.run(news, brake));
    told
}

struct Evicting {
    tools: Tools,
    machine: Evictions,
    /// UIDs of the root owners of the own Pods.
    roots: BTreeMap<String, Arc<str>>,
}

impl Evicting {
    async fn run(mut self, mut news: mpsc::Receiver<Told>, mut brake: channel::Receiver<BrakeNote>) {
        let mut is_watched = true;
        loop {
            tokio::select! {
                told = news.recv() => match told {
                    Some(told) => self.hear(told),
                    None => return,
                },
                changed = brake.changed(), if is_watched => is_watched = changed.is_ok(),
                () = sleep_until(self.machine.next_deadline()) => {}
            }
            while let Ok(told) = news.try_recv() {
                self.hear(told);
            }
            self.machine.brake(brake.borrow_and_update().drawn.is_some());
            for eviction in self.machine.take_due(clock::now(), EVICT_AGAIN) {
                let root = self.roots.get(&eviction.uid).cloned().unwrap_or_default();
                let tools = self.tools.clone();
                tokio::spawn(async move {
                    if let Err(refused) = tools.duty.write(&root, tools.evict(&eviction)).await {
                        tracing::debug!(%refused, pod = eviction.name, "a Pod was not evicted");
                    }
                });
            }
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Rest => {
                self.machine = Evictions::default();
                self.roots.clear();
            }
            Told::Node(node) => self.machine.node(&node.name_any(), Some(&node), clock::now()),
            Told::NodeGone(name) => self.machine.node(&name, None, clock::now()),
            Told::Pod(PodNews { pod, root, is_ours: true }) => {
                self.roots.insert(pod.uid().unwrap_or_default(), root);
                self.machine.pod(&pod);
            }
            Told::Pod(PodNews { pod, is_ours: false, .. }) => self.forget(&pod.uid().unwrap_or_default()),
            Told::PodGone(uid) => self.forget(&uid),
            Told::Whole
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

    fn forget(&mut self, uid: &str) {
        self.roots.remove(uid);
        self.machine.pod_gone(uid);
    }
}

impl Tools {
    async fn evict(&self, of: &Eviction) {
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
                self.recorder.record(Occurrence {
                    kind: ("v1", "Pod"),
                    namespace: of.namespace.clone(),
                    name: of.name.clone(),
                    uid: of.uid.clone(),
                    field_path: None,
                    warning: false,
                    reason: "TaintManagerEviction".to_owned(),
                    message,
                });
            }
            Err(error) => tracing::debug!(%error, pod = of.name, "a Pod could not be evicted"),
        }
    }
}

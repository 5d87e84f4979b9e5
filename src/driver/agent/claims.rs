//! How a node answers an offer: it binds the Pod to itself, or declines; and how it tells what room it has left.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::driver::clock;
use crate::placement::decline::{self, DECLINED, POD_SCHEDULED};
use crate::placement::{FREE_ANNOTATION, Reason};

/// Pause before somebody is asked again who has not answered.
const RETRY: Duration = Duration::from_secs(1);

/// The room that is left is told at most this often.
const ADVERTISE_EVERY: Duration = Duration::from_secs(1);

/// How a claim ended, as far as is known.
enum Outcome {
    Won,
    Lost,
    Unknown,
}

/// Claims the Pod for `node`, by the very version that was looked at. Whether it is this node's; returns when that is
/// certain. The request itself is given up after `timeout`: no claim leaves its session behind.
pub(super) async fn claim(client: &Client, pod: &Pod, node: &str, timeout: Duration) -> bool {
    let mut outcome =
        tokio::time::timeout(timeout, bind(client, pod, node)).await.unwrap_or(Outcome::Unknown);
    loop {
        match outcome {
            Outcome::Won => return true,
            Outcome::Lost => return false,
            Outcome::Unknown => {}
        }
        outcome = look(client, pod, node).await;
        if matches!(outcome, Outcome::Unknown) {
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn bind(client: &Client, pod: &Pod, node: &str) -> Outcome {
    let metadata = &pod.metadata;
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
        },
        "target": { "apiVersion": "v1", "kind": "Node", "name": node },
    });
    let (pods, name, params) = (pods(client, pod), pod.name_any(), PostParams::default());
    match pods.create_subresource::<Value, Value>("binding", &name, &params, &binding).await {
        Ok(_) => Outcome::Won,
        // A claim that was made twice meets itself.
        Err(kube::Error::Api(refusal)) if refusal.code == 409 => Outcome::Unknown,
        Err(error) => refused(&error),
    }
}

/// Whose the Pod is by now.
async fn look(client: &Client, pod: &Pod, node: &str) -> Outcome {
    match pods(client, pod).get(&pod.name_any()).await {
        Ok(found) => {
            let bound = found.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
            if found.metadata.uid == pod.metadata.uid && bound == Some(node) {
                Outcome::Won
            } else {
                Outcome::Lost
            }
        }
        Err(error) => refused(&error),
    }
}

/// What a refusal says: the Pod is gone, or none of this node's business any more.
fn refused(error: &kube::Error) -> Outcome {
    let kube::Error::Api(refusal) = error else { return Outcome::Unknown };
    if matches!(refusal.code, 400 | 403 | 404 | 410 | 422) { Outcome::Lost } else { Outcome::Unknown }
}

/// Declines, with the reasons.
pub(super) async fn decline(client: &Client, pod: &Pod, node: &str, reasons: &[Reason]) -> kube::Result<()> {
    let since = decline::scheduled(pod).filter(|condition| condition.status == "False");
    let since = since.and_then(|condition| condition.last_transition_time.clone());
    let condition = PodCondition {
        type_: POD_SCHEDULED.to_owned(),
        status: "False".to_owned(),
        reason: Some(DECLINED.to_owned()),
        message: Some(decline::message(node, reasons)),
        last_transition_time: since.or(Some(Time(clock::wall().0))),
        ..PodCondition::default()
    };
    let status = PodStatus { conditions: Some(vec![condition]), ..PodStatus::default() };
    let mut status = serde_json::to_value(status).unwrap_or_default();
    status["nominatedNodeName"] = Value::Null;
    let metadata = &pod.metadata;
    let patch = json!({
        "metadata": { "uid": metadata.uid, "resourceVersion": metadata.resource_version },
        "status": status,
    });
    let params = PatchParams::default();
    pods(client, pod).patch_status(&pod.name_any(), &params, &Patch::Strategic(&patch)).await.map(drop)
}

fn pods(client: &Client, pod: &Pod) -> Api<Pod> {
    Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default())
}

/// What the node has left, and what its object says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Advert {
    pub(super) wanted: String,
    pub(super) known: Option<String>,
}

/// What the object says.
pub(super) fn advertised(node: &Node) -> Option<String> {
    node.annotations().get(FREE_ANNOTATION).cloned()
}

/// Keeps the annotation with the room that is left true.
pub(super) async fn advertise(client: Client, name: String, mut adverts: watch::Receiver<Advert>) {
    let nodes: Api<Node> = Api::all(client);
    loop {
        let due = adverts
            .wait_for(|advert| !advert.wanted.is_empty() && advert.known.as_ref() != Some(&advert.wanted));
        let Ok(advert) = due.await.map(|advert| advert.clone()) else { return };
        let patch = json!({ "metadata": { "annotations": { FREE_ANNOTATION: advert.wanted } } });
        if let Err(error) = nodes.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            tracing::debug!(%error, "the room that is left could not be told");
        }
        tokio::time::sleep(ADVERTISE_EVERY).await;
    }
}

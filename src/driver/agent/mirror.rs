//! What the node tells the coordinator about its Pods: that they exist, how they are, that they are gone.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::hosted::{Remote, Write};

/// Annotation with the UID that names the Pod on its node. It differs from the object's UID where the coordinator
/// gives UIDs itself, because the node had the Pod running before it could ask.
pub(super) const UID_ANNOTATION: &str = "leasehold.dev/uid";

/// Fields of a Pod's status that its node owns; absent ones are cleared.
const OWNED: [&str; 13] = [
    "phase",
    "reason",
    "message",
    "conditions",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "initContainerStatuses",
    "containerStatuses",
    "qosClass",
    "observedGeneration",
];

/// Pause before the end of a Pod that is not hosted is told again.
const LAST_WORD_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// How a write ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Done; the object as the coordinator has it now, where it answers with one.
    Done(Option<Box<Pod>>),
    /// There is another object of this name.
    Taken,
    /// There is no such object (any more).
    Absent,
    /// The coordinator says no, and will go on saying so.
    Refused(String),
    /// No answer, or one that says "later".
    Later(String),
}

impl Outcome {
    fn of(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else { return Self::Later(error.to_string()) };
        match status.code {
            409 if status.reason == "AlreadyExists" => Self::Taken,
            // The certificate has ended, or is not known any more: that passes.
            401 => Self::Later(status.message.clone()),
            // 409: another UID stands under this name, ours is gone.
            404 | 409 => Self::Absent,
            400..=428 | 430..=499 => Self::Refused(status.message.clone()),
            _ => Self::Later(status.message.clone()),
        }
    }
}

/// Performs one write about a Pod.
pub(super) async fn write(client: Client, pod: &Pod, remote: &Remote, write: Write) -> Outcome {
    let Remote::Known { uid } = remote else { return create(client, pod).await };
    match write {
        Write::Create => create(client, pod).await,
        Write::Status(status) => write_status(client, pod, uid, &status).await,
        Write::Owners => write_owners(client, pod, uid).await,
        Write::Delete => delete(client, pod, uid, None).await,
        Write::Remove => delete(client, pod, uid, Some(0)).await,
    }
}

/// Makes the object of a Pod that this node has already taken on.
async fn create(client: Client, pod: &Pod) -> Outcome {
    let mut body = pod.clone();
    body.status = None;
    body.metadata.resource_version = None;
    body.metadata.creation_timestamp = None;
    body.metadata.generation = None;
    body.metadata.deletion_timestamp = None;
    body.metadata.deletion_grace_period_seconds = None;
    if let Some(uid) = body.metadata.uid.take() {
        body.metadata.annotations.get_or_insert_default().insert(UID_ANNOTATION.into(), uid);
    }
    match pods(client, pod).create(&PostParams::default(), &body).await {
        Ok(made) => Outcome::Done(Some(Box::new(made))),
        Err(error) => Outcome::of(&error),
    }
}

/// Reads the object that stands under this Pod's name.
pub(super) async fn read(client: Client, pod: &Pod) -> Outcome {
    match pods(client, pod).get(name(pod)).await {
        Ok(found) => Outcome::Done(Some(Box::new(found))),
        Err(error) => Outcome::of(&error),
    }
}

/// Writes the status of the object with UID `uid`.
async fn write_status(client: Client, pod: &Pod, uid: &str, status: &PodStatus) -> Outcome {
    let mut owned = serde_json::to_value(status).unwrap_or_else(|_| json!({}));
    if let Some(fields) = owned.as_object_mut() {
        for field in OWNED {
            fields.entry(field).or_insert(Value::Null);
        }
    }
    let patch = json!({ "metadata": { "uid": uid }, "status": owned });
    match pods(client, pod).patch_status(name(pod), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Outcome::Done(None),
        Err(error) => Outcome::of(&error),
    }
}

/// Says how a Pod ended that is not hosted; tries until it is said, or nobody wants to know.
pub(super) async fn write_last_word(client: Client, pod: &Pod, status: &PodStatus) {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    while let Outcome::Later(why) = write_status(client.clone(), pod, uid, status).await {
        tracing::debug!(why, uid, "a rejection waits for the coordinator");
        tokio::time::sleep(LAST_WORD_RETRY).await;
    }
}

/// Writes the owner references of the object with UID `uid`.
async fn write_owners(client: Client, pod: &Pod, uid: &str) -> Outcome {
    let owners = pod.metadata.owner_references.clone().unwrap_or_default();
    let patch = json!({ "metadata": { "uid": uid, "ownerReferences": owners } });
    match pods(client, pod).patch(name(pod), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Outcome::Done(None),
        Err(error) => Outcome::of(&error),
    }
}

/// Deletes the object with UID `uid`; `grace_seconds` 0 removes it, none asks for the Pod's own grace.
async fn delete(client: Client, pod: &Pod, uid: &str, grace_seconds: Option<u32>) -> Outcome {
    let params = DeleteParams {
        grace_period_seconds: grace_seconds,
        preconditions: Some(Preconditions { uid: Some(uid.into()), resource_version: None }),
        ..DeleteParams::default()
    };
    match pods(client, pod).delete(name(pod), &params).await {
        Ok(_) => Outcome::Done(None),
        Err(error) => Outcome::of(&error),
    }
}

fn pods(client: Client, pod: &Pod) -> Api<Pod> {
    Api::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or("default"))
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

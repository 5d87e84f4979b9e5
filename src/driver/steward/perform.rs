//! Performs what controllers want: generic actions, wave by wave.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy,
};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::duty::Duty;
use super::feeds::resource;
use super::namespaces;
use crate::api::kinds::KINDS;
use crate::driver::recorder::{Occurrence, Recorder};
use crate::lease::wire::{NAMESPACE as SESSIONS, holder};
use crate::steward::action::{Action, Propagation, Told};
use crate::steward::identities::Witness;
use crate::steward::object::{KindId, Target, of_reference};
use crate::steward::queue::Failure;
use crate::steward::{Done, Work};

/// Most requests of a steward that are under way at a time.
const REQUESTS_MAX: usize = 64;

/// What performs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Hands {
    client: Client,
    recorder: Recorder,
    duty: Duty,
    requests: Arc<Semaphore>,
}

/// What one action has brought about.
enum Answer {
    /// An object has this version now; none: it is gone.
    Written(String, Option<u64>, Option<String>),
    /// These owners are not there.
    Absent(Vec<(String, String)>),
    /// A node was found so.
    Witnessed(Witness),
    Nothing,
}

impl Hands {
    pub(super) fn new(client: Client, recorder: Recorder, duty: Duty) -> Self {
        Self { client, recorder, duty, requests: Arc::new(Semaphore::new(REQUESTS_MAX)) }
    }

    /// Performs a case's waves; ends with the first in which something fails.
    pub(super) async fn perform(&self, work: Work) -> Done {
        let mut done = Done::default();
        // What was written by this very plan has another version since.
        let mut versions: BTreeMap<String, String> = BTreeMap::new();
        for wave in &work.waves {
            let actions = wave.iter().map(|action| self.act(&work, action, &versions));
            for answer in join_all(actions).await {
                match answer {
                    Ok(Answer::Written(uid, version, text)) => {
                        versions.extend(text.map(|text| (uid.clone(), text)));
                        done.written.insert(uid, version);
                    }
                    Ok(Answer::Absent(absent)) => done.absent.extend(absent),
                    Ok(Answer::Witnessed(witness)) => done.witnessed.push(witness),
                    Ok(Answer::Nothing) => {}
                    Err(failure) => done.failure = Some(failure),
                }
            }
            if done.failure.is_some() || !done.absent.is_empty() || !done.witnessed.is_empty() {
                break;
            }
        }
        done
    }

    async fn act(
        &self,
        work: &Work,
        action: &Action,
        versions: &BTreeMap<String, String>,
    ) -> Result<Answer, Failure> {
        let _permit = self.requests.acquire().await;
        if let Action::EmptyNamespace(of) = action {
            // Many requests: each passes the door by itself.
            namespaces::empty(&self.client, &of.name, (&self.duty, &work.root)).await;
            return Ok(Answer::Nothing);
        }
        let written = self.duty.write(&work.root, self.carry_out(work, action, versions)).await;
        written.unwrap_or_else(|refused| Err(failed("", refused.to_string())))
    }

    async fn carry_out(
        &self,
        work: &Work,
        action: &Action,
        versions: &BTreeMap<String, String>,
    ) -> Result<Answer, Failure> {
        match action {
            Action::Create { kind, object, told } => {
                let made = self.create(*kind, object).await;
                self.tell(&work.subject, told.as_ref(), "FailedCreate", made)
            }
            Action::Patch { of, part, change, told } => {
                let patched = self.patch(of, part, change, versions).await;
                self.tell(&work.subject, told.as_ref(), "", patched)
            }
            Action::Delete { of, propagation, told } => {
                let deleted = self.delete(of, *propagation, versions).await;
                self.tell(&work.subject, told.as_ref(), "FailedDelete", deleted)
            }
            Action::Remove(of) => {
                let removed = self.remove(of, versions).await;
                self.tell(&work.subject, None, "FailedDelete", removed)
            }
            Action::Confirm(of) => self.confirm(of).await,
            Action::Witness(node) => self.witness(node).await.map(Answer::Witnessed),
            Action::ConfirmLost(node) => self.confirm_lost(node).await,
            Action::ConfirmGone { kind, namespace, name, uid } => {
                self.confirm_gone(*kind, namespace, name, uid).await
            }
            Action::LookUp { namespace, owners } => self.look_up(namespace, owners).await,
            Action::Tell { warning, reason, message } => {
                self.record(&work.subject, *warning, reason, message.clone());
                Ok(Answer::Nothing)
            }
            Action::TellOf { of, warning, reason, message } => {
                self.record(of, *warning, reason, message.clone());
                Ok(Answer::Nothing)
            }
            Action::EmptyNamespace(_) => Ok(Answer::Nothing),
        }
    }

    fn api(&self, kind: KindId, namespace: &str) -> Api<DynamicObject> {
        let resource = resource(&KINDS[kind]);
        if KINDS[kind].namespaced {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        }
    }

    async fn create(&self, kind: KindId, object: &Value) -> kube::Result<Answer> {
        let object: DynamicObject =
            serde_json::from_value(object.clone()).map_err(kube::Error::SerdeError)?;
        let api = self.api(kind, object.metadata.namespace.as_deref().unwrap_or_default());
        let controller = |object: &DynamicObject| {
            object
                .owner_references()
                .iter()
                .find(|owner| owner.controller == Some(true))
                .map(|o| o.uid.clone())
        };
        match api.create(&PostParams::default(), &object).await {
            Ok(made) => Ok(written(&made)),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                let there = api.get(&object.name_any()).await?;
                match controller(&object) {
                    Some(_) if controller(&object) != controller(&there) => Err(kube::Error::Api(status)),
                    _ => Ok(written(&there)),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn patch(
        &self,
        of: &Target,
        part: &str,
        change: &Value,
        versions: &BTreeMap<String, String>,
    ) -> kube::Result<Answer> {
        let api = self.api(of.kind, &of.namespace);
        let mut change = change.clone();
        change["metadata"]["uid"] = of.uid.as_str().into();
        change["metadata"]["resourceVersion"] = versions.get(&of.uid).unwrap_or(&of.version).as_str().into();
        let (params, patch) = (PatchParams::default(), Patch::Merge(&change));
        let patched = if part.is_empty() {
            api.patch(&of.name, &params, &patch).await
        } else {
            api.patch_subresource(part, &of.name, &params, &patch).await
        };
        match patched {
            Ok(patched) => Ok(written(&patched)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(gone(of)),
            Err(error) => {
                tracing::debug!(name = of.name, part, %change, "a steward's patch was refused");
                Err(error)
            }
        }
    }

    async fn delete(
        &self,
        of: &Target,
        propagation: Option<Propagation>,
        versions: &BTreeMap<String, String>,
    ) -> kube::Result<Answer> {
        let params = DeleteParams {
            preconditions: Some(preconditions(of, versions)),
            propagation_policy: propagation.map(|propagation| match propagation {
                Propagation::Background => PropagationPolicy::Background,
                Propagation::Foreground => PropagationPolicy::Foreground,
                Propagation::Orphan => PropagationPolicy::Orphan,
            }),
            ..DeleteParams::default()
        };
        self.end(of, &params).await
    }

    async fn remove(&self, of: &Target, versions: &BTreeMap<String, String>) -> kube::Result<Answer> {
        let params = DeleteParams {
            preconditions: Some(preconditions(of, versions)),
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        self.end(of, &params).await
    }

    async fn end(&self, of: &Target, params: &DeleteParams) -> kube::Result<Answer> {
        match self.api(of.kind, &of.namespace).delete(&of.name, params).await {
            Ok(answer) => {
                let kept = answer.left().filter(|object| object.metadata.deletion_timestamp.is_some());
                Ok(kept.as_ref().map_or_else(|| gone(of), written))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(gone(of)),
            Err(error) => Err(error),
        }
    }

    async fn confirm(&self, of: &Target) -> Result<Answer, Failure> {
        let found = self
            .api(of.kind, &of.namespace)
            .get_metadata_opt(&of.name)
            .await
            .map_err(|error| refused(&error))?;
        match found {
            Some(found)
                if found.uid().as_deref() == Some(&of.uid) && found.metadata.deletion_timestamp.is_none() =>
            {
                Ok(Answer::Nothing)
            }
            _ => Err(failed("", format!("{} {} is not there any more", KINDS[of.kind].kind, of.name))),
        }
    }

    /// Reads a Node and the Lease of its session, consistently.
    async fn witness(&self, node: &str) -> Result<Witness, Failure> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), SESSIONS);
        let exists = nodes.get_metadata_opt(node).await.map_err(|error| refused(&error))?.is_some();
        let lease = leases.get_opt(node).await.map_err(|error| refused(&error))?;
        Ok(Witness { node: node.to_owned(), exists, lease: lease.map(Box::new) })
    }

    async fn confirm_lost(&self, node: &str) -> Result<Answer, Failure> {
        let found = self.witness(node).await?;
        match found.lease.as_deref().map(holder) {
            None | Some("") => Ok(Answer::Nothing),
            Some(_) => Err(failed("", format!("node {node} has a session again"))),
        }
    }

    async fn confirm_gone(
        &self,
        kind: KindId,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Answer, Failure> {
        let found = self.api(kind, namespace).get_metadata_opt(name).await;
        let found = found.map_err(|error| refused(&error))?.and_then(|found| found.uid());
        match found {
            Some(found) if uid.is_empty() || found == uid => {
                Err(failed("", format!("{} {name} is there", KINDS[kind].kind)))
            }
            Some(_) | None => Ok(Answer::Nothing),
        }
    }

    async fn look_up(&self, namespace: &str, owners: &[OwnerReference]) -> Result<Answer, Failure> {
        let mut absent = Vec::new();
        for owner in owners {
            let Some(kind) = of_reference(owner) else { continue };
            let found = self
                .api(kind, namespace)
                .get_metadata_opt(&owner.name)
                .await
                .map_err(|error| refused(&error))?;
            if found.and_then(|found| found.uid()).as_ref() != Some(&owner.uid) {
                absent.push((namespace.to_owned(), owner.uid.clone()));
            }
        }
        Ok(Answer::Absent(absent))
    }

    fn tell(
        &self,
        subject: &Target,
        told: Option<&Told>,
        reason: &'static str,
        result: kube::Result<Answer>,
    ) -> Result<Answer, Failure> {
        match (result, told) {
            (Ok(answer), told) => {
                if let Some(told) = told.filter(|told| !told.success.is_empty()) {
                    self.record(subject, false, told.success, told.message.clone());
                }
                Ok(answer)
            }
            // Somebody else wrote first: the watch has news.
            (Err(kube::Error::Api(status)), _) if status.reason == "Conflict" => {
                Err(failed("", status.message.clone()))
            }
            (Err(error), told) => {
                let message = said(&error);
                if let Some(told) = told.filter(|told| !told.failure.is_empty()) {
                    self.record(subject, true, told.failure, format!("{}{message}", told.prefix));
                }
                let is_answer = matches!(error, kube::Error::Api(_));
                Err(failed(if is_answer { reason } else { "" }, message))
            }
        }
    }

    fn record(&self, subject: &Target, warning: bool, reason: &str, message: String) {
        self.recorder.record(Occurrence {
            kind: (api_version(subject.kind), KINDS[subject.kind].kind),
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
            uid: subject.uid.clone(),
            field_path: None,
            warning,
            reason: reason.to_owned(),
            message,
        });
    }
}

fn preconditions(of: &Target, versions: &BTreeMap<String, String>) -> Preconditions {
    let version = versions.get(&of.uid).unwrap_or(&of.version).clone();
    Preconditions { uid: Some(of.uid.clone()), resource_version: Some(version) }
}

/// A kind's `apiVersion`, for as long as the process lives.
fn api_version(kind: KindId) -> &'static str {
    static ALL: std::sync::LazyLock<Vec<String>> =
        std::sync::LazyLock::new(|| KINDS.iter().map(crate::api::kinds::Kind::api_version).collect());
    &ALL[kind]
}

fn written(object: &DynamicObject) -> Answer {
    let text = object.metadata.resource_version.clone();
    let version = text.as_deref().and_then(|text| text.parse().ok());
    Answer::Written(object.uid().unwrap_or_default(), version, text)
}

fn gone(of: &Target) -> Answer {
    Answer::Written(of.uid.clone(), None, None)
}

/// What the coordinator said, or why it said nothing.
fn said(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error { status.message.clone() } else { error.to_string() }
}

fn refused(error: &kube::Error) -> Failure {
    failed("", said(error))
}

fn failed(reason: &'static str, message: String) -> Failure {
    tracing::debug!(reason, message, "a steward's write failed");
    Failure { reason, message }
}

//! What is written for one DaemonSet.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{AGAIN, Steward};
use crate::driver::clock;
use crate::driver::recorder::Occurrence;
use crate::steward::daemon_set::{self, Action, Case};
use crate::steward::garbage::{self, Ending};
use crate::time::Instant;

impl Steward {
    /// Does what is due for a DaemonSet. When to look again, if nothing happens before.
    pub(super) async fn care_for_daemon_set(&mut self, uid: &str) -> Option<Instant> {
        let Some(set) = self.view.daemon_set(uid) else {
            return self.collect_revisions(uid).await;
        };
        let (pods, revisions) = (self.view.pods_of(uid), self.view.revisions_of(uid));
        let ending = garbage::ending(&set.object.metadata, pods.len() + revisions.len());
        if ending != Ending::None {
            return retry(self.end(&set.object, &pods, &revisions, ending).await);
        }
        let nodes = self.view.nodes();
        let case = Case { set: &set, pods: &pods, revisions: &revisions, nodes: &nodes, wall: clock::wall() };
        let (actions, again) = daemon_set::plan(&case);
        for action in actions {
            if let Err(error) = self.perform(&set.object, &action).await {
                return retry(Err(error));
            }
        }
        again.map(|pause: Duration| clock::now() + pause)
    }

    async fn perform(&self, set: &DaemonSet, action: &Action) -> kube::Result<()> {
        let namespace = set.namespace().unwrap_or_default();
        let revisions: Api<ControllerRevision> = Api::namespaced(self.client.clone(), &namespace);
        match action {
            Action::WriteStatus(status) => {
                let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), &namespace);
                let patch = json!({
                    "metadata": { "resourceVersion": set.metadata.resource_version },
                    "status": cleared(status),
                });
                let params = PatchParams::default();
                sets.patch_status(&set.name_any(), &params, &Patch::Merge(&patch)).await.map(drop)
            }
            Action::CreateRevision(revision) => {
                match revisions.create(&PostParams::default(), revision).await {
                    // Made already, and on its way here by the watch.
                    Err(kube::Error::Api(refusal)) if refusal.reason == "AlreadyExists" => Ok(()),
                    Err(error) => {
                        self.record_failure(set, &error);
                        Err(error)
                    }
                    Ok(_) => Ok(()),
                }
            }
            Action::Renumber { revision, number } => {
                let patch = json!({
                    "metadata": { "resourceVersion": revision.metadata.resource_version },
                    "revision": number,
                });
                let params = PatchParams::default();
                revisions.patch(&revision.name_any(), &params, &Patch::Merge(&patch)).await.map(drop)
            }
            Action::DeleteRevision(revision) => self.delete(&**revision).await,
        }
    }

    fn record_failure(&self, set: &DaemonSet, error: &kube::Error) {
        self.recorder.record(Occurrence {
            kind: ("apps/v1", "DaemonSet"),
            namespace: set.namespace().unwrap_or_default(),
            name: set.name_any(),
            uid: set.uid().unwrap_or_default(),
            field_path: None,
            warning: true,
            reason: "FailedCreate".into(),
            message: format!("Error creating revision: {error}"),
        });
    }

    async fn end(
        &self,
        set: &DaemonSet,
        pods: &[Arc<Pod>],
        revisions: &[Arc<ControllerRevision>],
        ending: Ending,
    ) -> kube::Result<()> {
        match ending {
            Ending::None => Ok(()),
            Ending::Orphan => {
                for pod in pods {
                    self.orphan(&**pod, set).await?;
                }
                for revision in revisions {
                    self.orphan(&**revision, set).await?;
                }
                Ok(())
            }
            Ending::DeleteDependants => {
                for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
                    self.delete(&**pod).await?;
                }
                for revision in revisions {
                    self.delete(&**revision).await?;
                }
                Ok(())
            }
            Ending::Release(finalizer) => {
                let kept: Vec<&String> = set.finalizers().iter().filter(|have| *have != finalizer).collect();
                let patch = json!({
                    "metadata": { "resourceVersion": set.metadata.resource_version, "finalizers": kept },
                });
                let namespace = set.namespace().unwrap_or_default();
                let sets: Api<DaemonSet> = Api::namespaced(self.client.clone(), &namespace);
                sets.patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
            }
        }
    }

    async fn orphan<K>(&self, object: &K, owner: &DaemonSet) -> kube::Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        let owner = owner.uid().unwrap_or_default();
        let kept: Vec<_> = object.owner_references().iter().filter(|have| have.uid != owner).collect();
        let patch = json!({
            "metadata": { "resourceVersion": object.meta().resource_version, "ownerReferences": kept },
        });
        let api: Api<K> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
    }

    /// Revisions of a DaemonSet that is gone go too; its Pods are ended by their nodes.
    async fn collect_revisions(&self, owner: &str) -> Option<Instant> {
        for revision in self.view.revisions_of(owner) {
            if let Err(error) = self.delete(&*revision).await {
                return retry(Err(error));
            }
        }
        None
    }

    async fn delete<K>(&self, object: &K) -> kube::Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: object.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        match api.delete(&object.name_any(), &params).await {
            Err(kube::Error::Api(refusal)) if matches!(refusal.code, 404 | 409) => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }
}

/// The status with absent numbers as nulls, so that a merge clears them.
fn cleared(status: &k8s_openapi::api::apps::v1::DaemonSetStatus) -> serde_json::Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        for name in ["numberAvailable", "numberUnavailable", "updatedNumberScheduled"] {
            fields.entry(name).or_insert(serde_json::Value::Null);
        }
    }
    value
}

/// A conflict means that the watch has news; anything else is tried again.
fn retry(result: kube::Result<()>) -> Option<Instant> {
    match result {
        Ok(()) => None,
        Err(kube::Error::Api(refusal)) if refusal.code == 409 => Some(clock::now() + AGAIN),
        Err(error) => {
            tracing::warn!(%error, "a steward's write failed");
            Some(clock::now() + AGAIN)
        }
    }
}

//! Pods and Nodes at the coordinator, by the rules of the API.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Container, Node, NodeCondition, NodeStatus, Pod, PodCondition, PodSpec, PodStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use super::clock::wall;
use super::store::Store;
use crate::placement::decline::{DECLINED, POD_SCHEDULED};

/// What a node has to give.
pub(super) const CPUS: u32 = 4;

/// A request about one Pod. What it rests on is its UID, and where given its version.
#[derive(Clone, Debug)]
pub(super) enum PodCall {
    /// Read consistently.
    Look,
    Create(Box<Pod>),
    /// `status.nominatedNodeName`, and what the Pod says of itself.
    Nominate {
        uid: String,
        version: String,
        node: Option<String>,
        condition: Option<Box<PodCondition>>,
    },
    /// `…/binding`.
    Bind {
        uid: String,
        version: String,
        node: String,
    },
    Decline {
        uid: String,
        version: String,
        message: String,
    },
    /// Gracefully, or by force.
    Delete {
        uid: String,
        force: bool,
    },
}

/// What the coordinator says to it.
#[derive(Clone, Debug)]
pub(super) enum PodSaid {
    /// As it is now.
    Is(Arc<Pod>),
    Gone,
    Conflict,
}

/// What a request changed: the Pod before and after.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) before: Option<Arc<Pod>>,
    pub(super) after: Option<Arc<Pod>>,
}

impl Store {
    /// Carries out a request about the Pod of this name.
    pub(super) fn on_pod(&mut self, name: &str, call: &PodCall) -> (PodSaid, Change) {
        let found = self.pod(name).cloned();
        let current = |wanted: &str| found.clone().filter(|pod| uid_of(pod) == wanted);
        let as_seen = |uid: &str, version: &str| match current(uid) {
            Some(pod) if version_of(&pod) == version => Ok(pod),
            Some(_) => Err(PodSaid::Conflict),
            None => Err(PodSaid::Gone),
        };
        let changed = match call {
            PodCall::Look => Err(found.clone().map_or(PodSaid::Gone, PodSaid::Is)),
            PodCall::Create(_) if found.is_some() => Err(PodSaid::Conflict),
            PodCall::Create(pod) => return self.create_pod((**pod).clone()),
            PodCall::Nominate { uid, version, node, condition } => as_seen(uid, version)
                .and_then(|pod| if node_of(&pod).is_some() { Err(PodSaid::Conflict) } else { Ok(pod) })
                .map(|pod| nominated_to(&pod, node.as_deref(), condition.as_deref())),
            PodCall::Bind { uid, version, node } => as_seen(uid, version)
                .and_then(|pod| if node_of(&pod).is_some() { Err(PodSaid::Conflict) } else { Ok(pod) })
                .map(|pod| bound_to(&pod, node)),
            PodCall::Decline { uid, version, message } => {
                as_seen(uid, version).map(|pod| nominated_to(&pod, None, Some(&declined(message))))
            }
            PodCall::Delete { uid, force } => match current(uid) {
                None => Err(PodSaid::Gone),
                Some(pod) if *force || node_of(&pod).is_none() => return self.remove_pod(name, pod),
                Some(pod) if pod.metadata.deletion_timestamp.is_some() => Err(PodSaid::Is(pod)),
                Some(pod) => Ok(deleted(&pod)),
            },
        };
        match changed {
            Ok(pod) => {
                let after = self.put_pod(pod);
                (PodSaid::Is(Arc::clone(&after)), Change { before: found, after: Some(after) })
            }
            Err(said) => (said, Change::default()),
        }
    }

    fn create_pod(&mut self, mut pod: Pod) -> (PodSaid, Change) {
        pod.metadata.uid = Some(format!("pod-{}", self.next_uid()));
        pod.metadata.creation_timestamp = Some(Time(wall().0));
        let after = self.put_pod(pod);
        (PodSaid::Is(Arc::clone(&after)), Change { before: None, after: Some(after) })
    }

    fn remove_pod(&mut self, name: &str, pod: Arc<Pod>) -> (PodSaid, Change) {
        self.drop_pod(name);
        (PodSaid::Gone, Change { before: Some(pod), after: None })
    }
}

/// A Pod of this name that belongs to `owner`, of `kind`, and asks for so many CPUs.
pub(super) fn pod(name: &str, kind: &str, owner: &str, cpus: u32) -> Pod {
    let requests = [("cpu".to_owned(), Quantity(cpus.to_string()))].into();
    Pod {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            generation: Some(1),
            owner_references: Some(vec![OwnerReference {
                api_version: "apps/v1".to_owned(),
                kind: kind.to_owned(),
                name: owner.to_owned(),
                uid: owner.to_owned(),
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            containers: vec![Container {
                name: "c".to_owned(),
                resources: Some(ResourceRequirements {
                    requests: Some(requests),
                    ..ResourceRequirements::default()
                }),
                ..Container::default()
            }],
            ..PodSpec::default()
        }),
        status: None,
    }
}

/// Where all of them are.
pub(super) const NAMESPACE: &str = "default";

/// A node as the monitor has marked it.
pub(super) fn node(name: &str, ready: bool) -> Node {
    let allocatable = [("cpu", CPUS), ("pods", 110)];
    let allocatable = allocatable.map(|(name, amount)| (name.to_owned(), Quantity(amount.to_string())));
    Node {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        spec: None,
        status: Some(NodeStatus {
            allocatable: Some(allocatable.into()),
            conditions: Some(vec![NodeCondition {
                type_: "Ready".to_owned(),
                status: if ready { "True" } else { "Unknown" }.to_owned(),
                ..NodeCondition::default()
            }]),
            ..NodeStatus::default()
        }),
    }
}

fn nominated_to(pod: &Pod, node: Option<&str>, condition: Option<&PodCondition>) -> Pod {
    let mut pod = pod.clone();
    let status = pod.status.get_or_insert_with(PodStatus::default);
    status.nominated_node_name = node.map(str::to_owned);
    if let Some(condition) = condition {
        status.conditions = Some(vec![condition.clone()]);
    }
    pod
}

fn bound_to(pod: &Pod, node: &str) -> Pod {
    let mut pod = pod.clone();
    pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
    let status = pod.status.get_or_insert_with(PodStatus::default);
    status.nominated_node_name = None;
    status.conditions = None;
    pod
}

fn deleted(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    pod.metadata.deletion_timestamp = Some(Time(wall().0));
    pod
}

fn declined(message: &str) -> PodCondition {
    PodCondition {
        type_: POD_SCHEDULED.to_owned(),
        status: "False".to_owned(),
        reason: Some(DECLINED.to_owned()),
        message: Some(message.to_owned()),
        ..PodCondition::default()
    }
}

pub(super) fn name_of(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(super) fn uid_of(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(super) fn version_of(pod: &Pod) -> &str {
    pod.metadata.resource_version.as_deref().unwrap_or_default()
}

/// The node that has it.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// The node that it is offered to.
pub(super) fn offered_to(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.nominated_node_name.as_deref()
}

/// Bound to this node or offered to it: what its agent watches.
pub(super) fn concerns(pod: &Pod, node: &str) -> bool {
    node_of(pod).or_else(|| offered_to(pod)) == Some(node)
}

/// Its controller's UID.
pub(super) fn owner_of(pod: &Pod) -> &str {
    pod.metadata.owner_references.iter().flatten().next().map_or("", |owner| owner.uid.as_str())
}

/// Whether it runs under an identity.
pub(super) fn has_identity(pod: &Pod) -> bool {
    pod.metadata.owner_references.iter().flatten().any(|owner| owner.kind == "StatefulSet")
}

pub(super) fn is_ending(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// What it asks for.
pub(super) fn cpus_of(pod: &Pod) -> u32 {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let asked = containers.filter_map(|it| it.resources.as_ref()?.requests.as_ref()?.get("cpu"));
    asked.filter_map(|amount| amount.0.parse::<u32>().ok()).sum()
}

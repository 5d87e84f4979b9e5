//! One DaemonSet on this node: what is remembered of it between two decisions.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};

use super::backoff::Backoff;
use super::decide::Decision;
use super::interface::{Action, Departure, Obstacle, Occurrence, Standing};
use super::ownership;
use super::prototype::{ATTEMPT_ANNOTATION, Prototype};
use crate::api::hash::Stored;
use crate::api::selectors::Selector;
use crate::time::{Instant, WallTime};

/// The finalizer by which an owner is deleted without its dependents.
const ORPHAN: &str = "orphan";

/// One DaemonSet on this node.
#[derive(Debug)]
pub(super) struct Hosting {
    pub(super) set: Arc<Stored<DaemonSet>>,
    pub(super) selector: Option<Selector>,
    pub(super) prototype: Prototype,
    /// Pods asked for and not answered.
    pub(super) starting: BTreeSet<String>,
    pub(super) attempt: u32,
    pub(super) failed: Backoff,
    pub(super) refused: Backoff,
    pub(super) refusal: String,
    pub(super) standing: Standing,
    pub(super) wake: Option<Instant>,
}

impl Hosting {
    pub(super) fn new(set: Arc<Stored<DaemonSet>>, node: &str) -> Self {
        Self {
            selector: ownership::selector(&set),
            prototype: Prototype::new(&set, node),
            set,
            starting: BTreeSet::new(),
            attempt: 0,
            failed: Backoff::default(),
            refused: Backoff::default(),
            refusal: String::new(),
            standing: Standing::Unknown,
            wake: None,
        }
    }

    /// A new state of the DaemonSet. What failed before its spec changed is not held against it.
    pub(super) fn renew(&mut self, set: Arc<Stored<DaemonSet>>, node: &str) {
        if self.set.object.metadata.generation != set.object.metadata.generation {
            self.failed = Backoff::default();
            self.refused = Backoff::default();
        }
        let written = |set: &Stored<DaemonSet>| {
            (set.object.spec.clone(), set.revision().to_owned(), set.object.metadata.annotations.clone())
        };
        if written(&self.set) != written(&set) {
            self.selector = ownership::selector(&set);
            self.prototype = Prototype::new(&set, node);
        }
        self.set = set;
    }

    /// Namespace and name.
    pub(super) fn name(&self) -> (String, String) {
        let metadata = &self.set.object.metadata;
        (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
    }

    /// Whether it is being deleted without its Pods.
    pub(super) fn is_orphaning(&self) -> bool {
        let metadata = &self.set.object.metadata;
        let orphans = metadata.finalizers.iter().flatten().any(|finalizer| finalizer == ORPHAN);
        orphans && metadata.deletion_timestamp.is_some()
    }

    /// Why nothing at all may be done about this DaemonSet's Pods.
    pub(super) fn untouchable(&self) -> Option<Obstacle> {
        if self.set.object.metadata.deletion_timestamp.is_some() {
            return Some(Obstacle::Deleted);
        }
        self.selector.is_none().then_some(Obstacle::Selector)
    }

    /// Whether a Pod without an owner is one of this DaemonSet's by its labels.
    pub(super) fn selects(&self, pod: &Pod) -> bool {
        let metadata = &pod.metadata;
        let labels = metadata.labels.clone().unwrap_or_default();
        metadata.namespace == self.set.object.metadata.namespace
            && self.selector.as_ref().is_some_and(|selector| selector.matches(&labels))
    }

    pub(super) fn count_attempts<'a>(&mut self, pods: impl Iterator<Item = &'a Arc<Pod>>) {
        for pod in pods {
            let stated = pod.metadata.annotations.as_ref().and_then(|all| all.get(ATTEMPT_ANNOTATION));
            let made = stated.and_then(|text| text.parse::<u32>().ok());
            self.attempt = self.attempt.max(made.map_or(0, |made| made.saturating_add(1)));
        }
    }

    pub(super) fn make(&mut self, uid: String, wall: WallTime) -> Pod {
        let attempt = self.attempt;
        self.attempt = attempt.saturating_add(1);
        self.prototype.make(&self.set, uid, attempt, wall)
    }

    /// Takes over where the decision leaves the DaemonSet; tells when it is new that there is no room.
    pub(super) fn stand(
        &mut self,
        decision: &Decision,
        lacks_room: bool,
        node: &str,
        now: Instant,
    ) -> Option<Action> {
        let before = self.standing.to_string();
        self.standing = decision.standing.clone();
        let is_new = before != self.standing.to_string();
        if decision.departures.iter().any(|(_, why)| *why == Departure::Failed) {
            self.failed.fail(now);
        }
        let obstacle = self.standing.obstacle().filter(|_| lacks_room && is_new)?;
        Some(self.occurrence(true, "FailedPlacement", format!("failed to place pod on {node:?}: {obstacle}")))
    }

    pub(super) fn occurrence_of(
        &self,
        why: &Departure,
        pod: Option<&Arc<Pod>>,
        node: &str,
    ) -> Option<Action> {
        let metadata = &pod?.metadata;
        let (namespace, name) = (metadata.namespace.as_deref()?, metadata.name.as_deref()?);
        match why {
            Departure::Failed => Some(self.occurrence(
                true,
                "FailedDaemonPod",
                format!("Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it"),
            )),
            Departure::Succeeded => Some(self.occurrence(
                false,
                "SucceededDaemonPod",
                format!(
                    "Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it"
                ),
            )),
            Departure::NotEligible(_)
            | Departure::Duplicate
            | Departure::Outdated
            | Departure::Superseded
            | Departure::OwnerGone => None,
        }
    }

    pub(super) fn occurrence(&self, warning: bool, reason: &'static str, message: String) -> Action {
        let metadata = &self.set.object.metadata;
        let about = ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("DaemonSet".to_owned()),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            field_path: None,
        };
        Action::Record(Box::new(Occurrence { about, warning, reason, message }))
    }
}

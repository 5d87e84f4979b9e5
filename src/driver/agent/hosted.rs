//! The Pods this node hosts: each with its machine and what the coordinator knows of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use super::mirror::UID_ANNOTATION;
use crate::agent::pod::PodMachine;
use crate::time::{Instant, WallTime};

/// What names a Pod on its node, from its first container to its last trace.
pub(super) type Uid = String;

/// What the coordinator knows of a hosted Pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Remote {
    /// Nothing yet.
    Unmirrored,
    /// It has this object.
    Known {
        /// `metadata.uid` there.
        uid: String,
    },
    /// It had one, and no more.
    Gone,
}

/// What is on disk of a hosted Pod beside its record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// As the machine sees it.
    pub(super) pod: Pod,
    /// What the coordinator knows of it.
    pub(super) remote: Remote,
    /// Nothing of it is left on the node; the object is still to be deleted.
    pub(super) finished: bool,
    /// Whether its volumes are on this node alone, where that was asked.
    #[serde(default)]
    pub(super) tied: Option<bool>,
    /// The identity it runs under to its end, whoever owns it by then.
    #[serde(default)]
    pub(super) identity: Option<String>,
}

/// One hosted Pod.
#[derive(Debug)]
pub(super) struct Hosted {
    /// `metadata.uid` is the runtime UID.
    pub(super) pod: Arc<Pod>,
    /// Its life.
    pub(super) machine: PodMachine,
    /// What the coordinator knows.
    pub(super) remote: Remote,
    /// The newest status that the coordinator has not acknowledged.
    pub(super) status_due: Option<Box<PodStatus>>,
    /// What is being written about it right now; one at a time.
    pub(super) writing: Option<Write>,
    /// The node wants its object deleted.
    pub(super) delete_due: bool,
    /// Its owners changed and the coordinator does not know.
    pub(super) owners_due: bool,
    /// Nothing of it is left on the node.
    pub(super) finished: bool,
    /// Whether its volumes are on this node alone, where that was asked.
    pub(super) tied: Option<bool>,
    /// The identity it runs under to its end, whoever owns it by then; seen to as soon as it stands here.
    pub(super) identity: Option<String>,
    /// Events that wait until the object has a UID.
    pub(super) events: Vec<crate::driver::recorder::Occurrence>,
}

/// A write about a Pod under way.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    /// Making the object.
    Create,
    /// Its status.
    Status(Box<PodStatus>),
    /// Its owner references.
    Owners,
    /// Deleting it, gracefully.
    Delete,
    /// Removing it for good.
    Remove,
}

impl Hosted {
    pub(super) fn new(pod: Arc<Pod>, machine: PodMachine, remote: Remote) -> Self {
        Self {
            pod,
            machine,
            remote,
            status_due: None,
            writing: None,
            delete_due: false,
            owners_due: false,
            finished: false,
            tied: None,
            identity: None,
            events: Vec::new(),
        }
    }

    /// The Pod with its status as the node sees it.
    pub(super) fn shown(&self) -> Arc<Pod> {
        let mut pod = (*self.pod).clone();
        pod.status = Some(self.machine.status().clone());
        Arc::new(pod)
    }

    /// What goes on disk.
    pub(super) fn kept(&self) -> Kept {
        Kept {
            pod: (*self.pod).clone(),
            remote: self.remote.clone(),
            finished: self.finished,
            tied: self.tied,
            identity: self.identity.clone(),
        }
    }

    /// The monitor calls the Pods of a lost node not ready. Whoever is back says how it is.
    pub(super) fn contradict(&mut self, seen: &Pod) {
        let is_quiet = self.status_due.is_none() && self.writing.is_none();
        let status = self.machine.status();
        if is_quiet && is_ready(Some(status)) && seen.status.is_some() && !is_ready(seen.status.as_ref()) {
            self.status_due = Some(Box::new(status.clone()));
        }
    }

    /// What is to be written next, if nothing is being written.
    pub(super) fn next_write(&mut self) -> Option<Write> {
        if self.writing.is_some() {
            return None;
        }
        let write = match (&self.remote, self.finished) {
            (Remote::Gone, _) | (Remote::Unmirrored, true) => return None,
            (Remote::Unmirrored, false) => Write::Create,
            (Remote::Known { .. }, _) => {
                if let Some(status) = self.status_due.take() {
                    Write::Status(status)
                } else if self.finished {
                    Write::Remove
                } else if std::mem::take(&mut self.owners_due) {
                    Write::Owners
                } else if std::mem::take(&mut self.delete_due) {
                    Write::Delete
                } else {
                    return None;
                }
            }
        };
        self.writing = Some(write.clone());
        Some(write)
    }

    /// Asks the Pod to end by its own grace, as a deletion at the coordinator would. Returns the changed Pod.
    pub(super) fn end(&mut self, now: WallTime) -> Arc<Pod> {
        let mut pod = (*self.pod).clone();
        if pod.metadata.deletion_timestamp.is_none() {
            let grace =
                pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
            pod.metadata.deletion_timestamp = Some(Time(now.0));
            pod.metadata.deletion_grace_period_seconds = Some(grace);
            self.delete_due = true;
        }
        self.pod = Arc::new(pod);
        self.pod.clone()
    }

    /// Takes over what the coordinator's object says now. None when nothing that concerns the node changed.
    pub(super) fn merge(&mut self, seen: &Pod) -> Option<Arc<Pod>> {
        let mut pod = as_hosted(seen, self.pod.metadata.uid.clone().unwrap_or_default());
        pod.status.clone_from(&self.pod.status);
        let (own, theirs) = (&self.pod.metadata, &mut pod.metadata);
        if theirs.deletion_timestamp.is_none() && own.deletion_timestamp.is_some() {
            theirs.deletion_timestamp.clone_from(&own.deletion_timestamp);
            theirs.deletion_grace_period_seconds = own.deletion_grace_period_seconds;
        }
        let significant = |pod: &Pod| {
            let m = &pod.metadata;
            (
                m.labels.clone(),
                m.annotations.clone(),
                m.deletion_timestamp.clone(),
                m.deletion_grace_period_seconds,
                m.generation,
                pod.spec.clone(),
            )
        };
        let changed = significant(&pod) != significant(&self.pod);
        self.pod = Arc::new(pod);
        changed.then(|| self.pod.clone())
    }
}

/// The UID that names the Pod of this object on its node: a DaemonSet Pod's may have been given by the node.
pub(super) fn runtime_uid(pod: &Pod) -> Uid {
    let owned = pod.metadata.owner_references.iter().flatten();
    let by_daemon_set = owned.clone().any(|o| o.controller == Some(true) && o.kind == "DaemonSet");
    let annotated = pod.metadata.annotations.as_ref().and_then(|a| a.get(UID_ANNOTATION));
    match annotated.filter(|uid| by_daemon_set && is_uid(uid)) {
        Some(uid) => uid.clone(),
        None => pod.metadata.uid.clone().unwrap_or_default(),
    }
}

/// The coordinator's object under its runtime UID.
pub(super) fn as_hosted(seen: &Pod, uid: Uid) -> Pod {
    let mut pod = seen.clone();
    pod.metadata.uid = Some(uid);
    pod.metadata.managed_fields = None;
    pod
}

/// A UID becomes part of paths and names.
fn is_uid(text: &str) -> bool {
    (8..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Next deadlines by Pod.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_uid: BTreeMap<Uid, Instant>,
    order: BTreeSet<(Instant, Uid)>,
}

impl Deadlines {
    /// Sets or clears the deadline of a Pod.
    pub(super) fn set(&mut self, uid: &str, at: Option<Instant>) {
        if let Some(old) = self.by_uid.remove(uid) {
            self.order.remove(&(old, uid.to_owned()));
        }
        if let Some(at) = at {
            self.by_uid.insert(uid.to_owned(), at);
            self.order.insert((at, uid.to_owned()));
        }
    }

    /// The earliest.
    pub(super) fn first(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes those that have passed.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Uid> {
        let mut due = Vec::new();
        while let Some((at, uid)) = self.order.first().cloned().filter(|(at, _)| *at <= now) {
            self.order.remove(&(at, uid.clone()));
            self.by_uid.remove(&uid);
            due.push(uid);
        }
        due
    }
}

fn is_ready(status: Option<&PodStatus>) -> bool {
    let mut conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default().iter();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

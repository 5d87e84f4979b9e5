//! What the steward knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;

use super::Input;
use crate::api::hash::Stored;
use crate::driver::watches::Seen;

/// Objects of one kind by UID, and whether they have been listed once.
#[derive(Debug)]
struct Kind<K> {
    objects: BTreeMap<String, Arc<K>>,
    listing: Option<BTreeSet<String>>,
    whole: bool,
}

impl<K> Default for Kind<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), listing: None, whole: false }
    }
}

/// What an event changed: the object before and after.
type Change<K> = (Option<Arc<K>>, Option<Arc<K>>);

impl<K: Resource<DynamicType = ()>> Kind<K> {
    fn hear(&mut self, seen: Seen<K>) -> Vec<Change<K>> {
        match seen {
            Seen::Restarted => {
                self.listing = Some(BTreeSet::new());
                Vec::new()
            }
            Seen::Listed(object) | Seen::Applied(object) => {
                let uid = uid(object.meta());
                if let Some(listing) = &mut self.listing {
                    listing.insert(uid.clone());
                }
                let object: Arc<K> = Arc::from(object);
                vec![(self.objects.insert(uid, object.clone()), Some(object))]
            }
            Seen::Deleted(object) => vec![(self.objects.remove(&uid(object.meta())), None)],
            Seen::Complete => {
                self.whole = true;
                let listing = self.listing.take().unwrap_or_default();
                let gone: Vec<String> =
                    self.objects.keys().filter(|uid| !listing.contains(*uid)).cloned().collect();
                gone.iter().map(|uid| (self.objects.remove(uid), None)).collect()
            }
            Seen::Lost(why) => {
                tracing::debug!(why, "the steward cannot watch the coordinator");
                Vec::new()
            }
        }
    }
}

/// All that is watched, and which DaemonSets it concerns.
#[derive(Debug, Default)]
pub(super) struct View {
    daemon_sets: Kind<Stored<DaemonSet>>,
    pods: Kind<Pod>,
    nodes: Kind<Node>,
    revisions: Kind<ControllerRevision>,
    namespaces: Kind<Namespace>,
    /// UIDs of Pods and revisions by that of their controller.
    dependants: BTreeMap<String, BTreeSet<String>>,
    marked: BTreeSet<String>,
}

impl View {
    pub(super) fn hear(&mut self, input: Input) {
        match input {
            Input::DaemonSets(seen) => {
                for (before, after) in self.daemon_sets.hear(seen) {
                    let either = after.or(before);
                    self.marked.extend(either.map(|set| uid(&set.object.metadata)));
                }
            }
            Input::Pods(seen) => {
                for (before, after) in self.pods.hear(seen) {
                    self.relate(before.as_deref().map(Resource::meta), after.as_deref().map(Resource::meta));
                    let unowned =
                        [before, after].into_iter().flatten().any(|pod| controller(&pod.metadata).is_none());
                    if unowned {
                        self.marked.extend(self.daemon_sets.objects.keys().cloned());
                    }
                }
            }
            Input::Revisions(seen) => {
                for (before, after) in self.revisions.hear(seen) {
                    self.relate(before.as_deref().map(Resource::meta), after.as_deref().map(Resource::meta));
                }
            }
            Input::Nodes(seen) => {
                if !self.nodes.hear(seen).is_empty() {
                    self.marked.extend(self.daemon_sets.objects.keys().cloned());
                }
            }
            Input::Namespaces(seen) => drop(self.namespaces.hear(seen)),
        }
    }

    fn relate(&mut self, before: Option<&ObjectMeta>, after: Option<&ObjectMeta>) {
        if let Some((owner, object)) = before.and_then(|before| Some((controller(before)?, uid(before)))) {
            if let Some(all) = self.dependants.get_mut(&owner) {
                all.remove(&object);
                if all.is_empty() {
                    self.dependants.remove(&owner);
                }
            }
            self.marked.insert(owner);
        }
        if let Some((owner, object)) = after.and_then(|after| Some((controller(after)?, uid(after)))) {
            self.dependants.entry(owner.clone()).or_default().insert(object);
            self.marked.insert(owner);
        }
    }

    /// Whether everything has been listed once.
    pub(super) fn is_whole(&self) -> bool {
        self.daemon_sets.whole
            && self.pods.whole
            && self.nodes.whole
            && self.revisions.whole
            && self.namespaces.whole
    }

    pub(super) fn mark(&mut self, uid: &str) {
        self.marked.insert(uid.to_owned());
    }

    pub(super) fn take_marked(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.marked)
    }

    pub(super) fn daemon_set(&self, uid: &str) -> Option<Arc<Stored<DaemonSet>>> {
        self.daemon_sets.objects.get(uid).cloned()
    }

    /// Pods that the owner controls.
    pub(super) fn pods_of(&self, owner: &str) -> Vec<Arc<Pod>> {
        self.of(owner, &self.pods)
    }

    /// Revisions that the owner controls.
    pub(super) fn revisions_of(&self, owner: &str) -> Vec<Arc<ControllerRevision>> {
        self.of(owner, &self.revisions)
    }

    fn of<K>(&self, owner: &str, kind: &Kind<K>) -> Vec<Arc<K>> {
        let uids = self.dependants.get(owner).into_iter().flatten();
        uids.filter_map(|uid| kind.objects.get(uid).cloned()).collect()
    }

    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.objects.values().cloned().collect()
    }

    pub(super) fn has_terminating_namespaces(&self) -> bool {
        self.namespaces.objects.values().any(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    pub(super) fn terminating_namespaces(&self) -> Vec<String> {
        let all = self.namespaces.objects.values();
        let ending = all.filter(|namespace| namespace.metadata.deletion_timestamp.is_some());
        ending.filter_map(|namespace| namespace.metadata.name.clone()).collect()
    }
}

fn uid(metadata: &ObjectMeta) -> String {
    metadata.uid.clone().unwrap_or_default()
}

fn controller(metadata: &ObjectMeta) -> Option<String> {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

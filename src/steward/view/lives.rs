//! What the lives of Pods and identities hang on: which node hosts which Pods, whose sessions hold which identities, and
//! how it stands with the nodes. A change of a node concerns what is on it, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::{View, note};
use crate::lease::identity;
use crate::lease::identity::wire;
use crate::lease::shard::wire as shards;
use crate::steward::identities::{Witness, Witnesses};
use crate::steward::nodes::Fate;
use crate::steward::object::{KindId, Object, id};
use crate::steward::table::row_of;
use crate::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::steward) struct Lives {
    /// UIDs of the Pods that are bound to a node.
    bound: BTreeMap<String, BTreeSet<String>>,
    /// UIDs of the identities that a node's sessions hold.
    held: BTreeMap<String, BTreeSet<String>>,
    /// UIDs of the identities of a StatefulSet's Pods, by its namespace and name.
    of_sets: BTreeMap<(String, String), BTreeSet<String>>,
    fates: BTreeMap<String, Fate>,
    is_braked: bool,
    pub(in crate::steward) witnesses: Witnesses,
    /// Since when something was found so, that is acted upon when it has been so for a while.
    since: BTreeMap<(&'static str, String), Instant>,
    /// Why an identity is kept, as was told last.
    pub(in crate::steward) told: BTreeMap<String, String>,
}

/// What an identity's Lease says, as far as it is indexed.
struct Indexed {
    holder: Option<String>,
    set: Option<(String, String)>,
}

impl Lives {
    /// For how long a case has found this so.
    pub(in crate::steward) fn for_long(&mut self, what: &'static str, of: &str, now: Instant) -> Duration {
        let since = self.since.entry((what, of.to_owned())).or_insert(now);
        now.saturating_since(*since)
    }

    /// It is not so any more.
    pub(in crate::steward) fn no_longer(&mut self, what: &'static str, of: &str) {
        self.since.remove(&(what, of.to_owned()));
    }
}

fn pods() -> KindId {
    id("", "Pod")
}

fn leases() -> KindId {
    id("coordination.k8s.io", "Lease")
}

/// Whether the Pod runs under an identity of its own.
pub(in crate::steward) fn has_identity(pod: &Object) -> bool {
    pod.controller()
        .is_some_and(|owner| owner.kind == "StatefulSet" && owner.api_version.starts_with("apps/"))
}

/// The node that a Pod is bound to.
pub(in crate::steward) fn node_of(pod: &Object) -> Option<&str> {
    Some(pod.text("/spec/nodeName")).filter(|node| !node.is_empty())
}

/// An identity's Lease, typed; none where the object is no such Lease.
pub(in crate::steward) fn identity(object: &Object) -> Option<Lease> {
    let is_one = object.kind == leases()
        && object.namespace() == wire::NAMESPACE
        && object.label(wire::KIND_LABEL) == Some(wire::KIND);
    is_one.then(|| serde_json::from_value(object.whole()).ok())?
}

fn indexed(object: Option<&Object>) -> Indexed {
    let lease = object.and_then(identity);
    let set = lease
        .as_ref()
        .and_then(wire::pod)
        .and_then(|(namespace, pod)| Some((namespace.to_owned(), pod.rsplit_once('-')?.0.to_owned())));
    Indexed { holder: lease.as_ref().and_then(wire::session).map(|session| session.node), set }
}

/// What decides which ordinals a StatefulSet wants.
fn wants(set: Option<&Object>) -> Option<[Option<i64>; 2]> {
    set.map(|set| [set.number("/spec/replicas"), set.number("/spec/ordinals/start")])
}

impl View {
    pub(super) fn follow_lives(&mut self, before: Option<&Object>, after: Option<&Object>) {
        let Some(either) = after.or(before) else { return };
        match (either.row().group, either.row().kind) {
            ("", "Pod") => self.follow_pod(before, after),
            ("", "Node") => self.follow_node(either.name(), after),
            ("", "PersistentVolumeClaim") if after.is_none() => self.claim_gone(either),
            ("apps", "StatefulSet") if wants(before) != wants(after) => {
                let set = (either.namespace().to_owned(), either.name().to_owned());
                let uids = self.lives.of_sets.get(&set).cloned().unwrap_or_default();
                self.mark_identities(uids);
            }
            ("coordination.k8s.io", "Lease") => self.follow_lease(before, after),
            _ => {}
        }
    }

    fn follow_pod(&mut self, before: Option<&Object>, after: Option<&Object>) {
        for (pod, is_new) in [(before, false), (after, true)] {
            let Some(pod) = pod else { continue };
            if let Some(node) = node_of(pod) {
                note(&mut self.lives.bound, node.to_owned(), &pod.uid().to_owned(), is_new);
            }
        }
        if let Some(pod) = after.or(before).filter(|pod| has_identity(pod)) {
            let named = self.identity_of(pod.namespace(), pod.name()).map(|lease| lease.uid().to_owned());
            self.mark_identities(named);
        }
    }

    /// The claims that are left of a Pod keep its identity.
    fn claim_gone(&mut self, claim: &Object) {
        let (namespace, name) = (claim.namespace().to_owned(), claim.name().to_owned());
        let pods = name.match_indices('-').map(|(at, _)| &name[at + 1..]);
        let found: Vec<String> = pods
            .filter_map(|pod| self.identity_of(&namespace, pod))
            .map(|lease| lease.uid().to_owned())
            .collect();
        self.mark_identities(found);
    }

    fn follow_node(&mut self, name: &str, after: Option<&Object>) {
        let fate = Fate::of(after);
        let before = match fate {
            Fate::Gone => self.lives.fates.remove(name),
            Fate::Fine | Fate::Lost { .. } => self.lives.fates.insert(name.to_owned(), fate),
        };
        if before != Some(fate) {
            self.lives.witnesses.forget(name);
            self.lives.no_longer("gone", name);
            self.mark_lives(name);
        }
    }

    fn follow_lease(&mut self, before: Option<&Object>, after: Option<&Object>) {
        let Some(either) = after.or(before) else { return };
        if either.namespace() != wire::NAMESPACE {
            return;
        }
        if either.name() == shards::name(0) {
            return self.brake(after.is_some_and(|lease| lease.annotation(shards::BRAKE).is_some()));
        }
        let uid = either.uid().to_owned();
        for (indexed, is_new) in [(indexed(before), false), (indexed(after), true)] {
            if let Some(node) = indexed.holder {
                note(&mut self.lives.held, node, &uid, is_new);
            }
            if let Some(set) = indexed.set {
                note(&mut self.lives.of_sets, set, &uid, is_new);
            }
        }
        if after.is_none() {
            self.lives.told.remove(&uid);
            self.lives.no_longer("idle", &uid);
            if let Some(lease) = identity(either)
                && let Some((namespace, pod)) = wire::pod(&lease)
                && let Some(pod) = self.by_name(pods(), namespace, pod)
                && let Some(row) = row_of(pods())
            {
                self.marks.insert((row, pod.uid().to_owned()));
            }
        }
    }

    /// The monitor's brake, as its Lease says.
    fn brake(&mut self, is_drawn: bool) {
        if std::mem::replace(&mut self.lives.is_braked, is_drawn) != is_drawn {
            let lost = self.lives.fates.iter().filter(|(_, fate)| **fate != Fate::Fine);
            for node in lost.map(|(node, _)| node.clone()).collect::<Vec<_>>() {
                self.mark_lives(&node);
            }
        }
    }

    /// Takes in what consistent reads have shown of a node.
    pub(in crate::steward) fn witnessed(&mut self, witness: Witness, now: Instant) {
        let node = witness.node.clone();
        self.lives.witnesses.note(witness, now);
        self.mark_lives(&node);
    }

    /// Marks the Pods on a node, their identities, and those that its sessions hold.
    fn mark_lives(&mut self, node: &str) {
        let bound = self.lives.bound.get(node).cloned().unwrap_or_default();
        let mut identities = self.lives.held.get(node).cloned().unwrap_or_default();
        for pod in bound.iter().filter_map(|uid| self.get(pods(), uid)).filter(|pod| has_identity(pod)) {
            identities.extend(self.identity_of(pod.namespace(), pod.name()).map(|one| one.uid().to_owned()));
        }
        self.mark_identities(identities);
        if let Some(row) = row_of(pods()) {
            self.marks.extend(bound.into_iter().map(|uid| (row, uid)));
        }
    }

    fn mark_identities(&mut self, uids: impl IntoIterator<Item = String>) {
        if let Some(row) = row_of(leases()) {
            self.marks.extend(uids.into_iter().map(|uid| (row, uid)));
        }
    }

    /// The identity of the Pod of this name.
    pub(in crate::steward) fn identity_of(
        &self,
        namespace: &str,
        pod: &str,
    ) -> Option<std::sync::Arc<Object>> {
        self.by_name(leases(), wire::NAMESPACE, &identity::name(namespace, pod))
    }

    /// How it stands with a node.
    pub(in crate::steward) fn fate(&self, node: &str) -> Fate {
        self.lives.fates.get(node).copied().unwrap_or(Fate::Gone)
    }

    /// Whether the monitor's brake is drawn.
    pub(in crate::steward) fn is_braked(&self) -> bool {
        self.lives.is_braked
    }

    /// Whether any claim in this namespace is called as those of a StatefulSet's Pod are.
    pub(in crate::steward) fn has_claims_of(&self, namespace: &str, pod: &str) -> bool {
        let names = &self.shelves[id("", "PersistentVolumeClaim")].names;
        let here = names.range((namespace.to_owned(), String::new())..);
        let mut here = here.take_while(|((place, _), _)| place == namespace);
        here.any(|((_, name), _)| {
            name.strip_suffix(pod).is_some_and(|template| template.len() > 1 && template.ends_with('-'))
        })
    }
}

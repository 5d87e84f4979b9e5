//! Garbage collection by owner references, for all kinds, as upstream: what has owners goes when the last of them is
//! gone; an owner deleted in the foreground goes after its dependants, one deleted as an orphan maker leaves them behind.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use super::action::{self, Action, Plan, Propagation};
use super::object::Object;

/// Finalizer of a deletion that leaves the dependants alone.
const ORPHAN: &str = "orphan";

/// Finalizer of a deletion that waits for the dependants.
const FOREGROUND: &str = "foregroundDeletion";

/// How long until an owner that is there, but has not been seen, is looked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// How it stands with one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is there.
    Solid,
    /// It is being deleted in the foreground, and waits for its dependants.
    Waiting,
    /// A consistent read has not found it.
    Absent,
    /// The same, and an object of that UID lives in another namespace.
    Elsewhere,
    /// It has not been seen.
    Unknown,
    /// Its kind is none that leasehold knows, or cannot own the dependant.
    Unresolvable,
}

/// One object, its owners and its dependants.
#[derive(Debug)]
pub struct Case<'a> {
    /// It.
    pub object: &'a Object,
    /// How it stands with each of its owners, in their order.
    pub owners: Vec<(OwnerReference, Standing)>,
    /// What names it as its owner.
    pub dependants: Vec<Arc<Object>>,
}

/// What is to be done about one object.
pub fn plan(case: &Case<'_>) -> Plan {
    let object = case.object;
    let mut plan = Plan::default();
    if !object.is_ending() {
        collect(case, &mut plan);
    } else if object.has_finalizer(ORPHAN) {
        plan.then(case.dependants.iter().map(|dependant| disown(dependant, object.uid())).collect());
        plan.then(vec![release(object, ORPHAN)]);
    } else if object.has_finalizer(FOREGROUND) {
        let blocks =
            |owner: &OwnerReference| owner.uid == object.uid() && owner.block_owner_deletion == Some(true);
        // The dependants end themselves, each as a case of its own: one of their owners is waiting.
        if !case.dependants.iter().any(|dependant| dependant.owners().iter().any(blocks)) {
            plan.then(vec![release(object, FOREGROUND)]);
        }
    }
    plan
}

fn collect(case: &Case<'_>, plan: &mut Plan) {
    let object = case.object;
    let with = |wanted: &[Standing]| -> Vec<OwnerReference> {
        let those = case.owners.iter().filter(|(_, standing)| wanted.contains(standing));
        those.map(|(owner, _)| owner.clone()).collect()
    };
    if case.owners.is_empty() || !with(&[Standing::Unresolvable]).is_empty() {
        return;
    }
    let unknown = with(&[Standing::Unknown]);
    if !unknown.is_empty() {
        plan.then(vec![Action::LookUp { namespace: object.namespace().to_owned(), owners: unknown }]);
        plan.wake_after(AGAIN);
        return;
    }
    plan.then(
        with(&[Standing::Elsewhere]).iter().map(|owner| misplaced(owner, object.namespace())).collect(),
    );
    let (absent, waiting) = (with(&[Standing::Absent, Standing::Elsewhere]), with(&[Standing::Waiting]));
    if !with(&[Standing::Solid]).is_empty() {
        let useless = |owner: &OwnerReference| absent.contains(owner) || waiting.contains(owner);
        if object.owners().iter().any(useless) {
            let kept: Vec<_> = object.owners().iter().filter(|owner| !useless(owner)).collect();
            plan.then(vec![action::metadata(object, &json!({ "ownerReferences": kept }))]);
        }
        return;
    }
    let propagation = if !waiting.is_empty() && !case.dependants.is_empty() {
        if case.dependants.iter().any(|one| one.is_ending() && one.has_finalizer(FOREGROUND)) {
            // A circle of owners, each of which waits for the next.
            plan.then(unblocked(object));
        }
        Propagation::Foreground
    } else if object.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if object.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    };
    plan.then(vec![Action::Delete { of: object.target(), propagation: Some(propagation), told: None }]);
}

fn misplaced(owner: &OwnerReference, namespace: &str) -> Action {
    let named = format!(
        "[{}/{}, namespace: {namespace}, name: {}, uid: {}]",
        owner.api_version, owner.kind, owner.name, owner.uid
    );
    let message = format!("ownerRef {named} does not exist in namespace {namespace:?}");
    Action::Tell { warning: true, reason: "OwnerRefInvalidNamespace", message }
}

fn unblocked(object: &Object) -> Vec<Action> {
    let mut owners = object.owners().to_vec();
    if !owners.iter().any(|owner| owner.block_owner_deletion == Some(true)) {
        return Vec::new();
    }
    for owner in &mut owners {
        owner.block_owner_deletion = Some(false);
    }
    vec![action::metadata(object, &json!({ "ownerReferences": owners }))]
}

fn disown(dependant: &Object, owner: &str) -> Action {
    let rest: Vec<_> = dependant.owners().iter().filter(|have| have.uid != owner).collect();
    let rest = if rest.is_empty() { Value::Null } else { json!(rest) };
    action::metadata(dependant, &json!({ "ownerReferences": rest }))
}

fn release(object: &Object, finalizer: &str) -> Action {
    let kept: Vec<_> = object.meta.finalizers.iter().flatten().filter(|have| *have != finalizer).collect();
    action::metadata(object, &json!({ "finalizers": kept }))
}

#[cfg(test)]
mod tests;

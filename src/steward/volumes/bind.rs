//! Binding a claim and a volume to one another: the volume first, then the claim, each with its status after it.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use super::{Typed, Volume, claims, volume_phase};
use crate::api::storage::{BIND_COMPLETED, BOUND_BY_CONTROLLER};
use crate::placement::volumes::matching::{Kept, kept};
use crate::steward::action::{self, Action};
use crate::steward::object::Object;
use crate::time::WallTime;

/// The waves that bind them, or finish a binding; nothing where all is so.
pub(super) fn bind(
    claim: &Typed<PersistentVolumeClaim>,
    volume: &Volume,
    wall: WallTime,
) -> Vec<Vec<Action>> {
    let steps = [
        bind_volume(claim, volume),
        volume_phase(&volume.object, "Bound", "", wall),
        bind_claim(&claim.object, &volume.object),
        claim_status(&claim.object, &volume.object),
    ];
    steps.into_iter().flatten().map(|step| vec![step]).collect()
}

fn bind_volume(claim: &Typed<PersistentVolumeClaim>, volume: &Volume) -> Option<Action> {
    if volume.object.text("/spec/claimRef/uid") == claim.object.uid() {
        return None;
    }
    let reference = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim.object.namespace(),
        "name": claim.object.name(),
        "uid": claim.object.uid(),
        "resourceVersion": claim.object.version(),
    });
    let mut change = json!({ "spec": { "claimRef": reference } });
    if kept(&volume.typed, &claim.typed) != Kept::ForIt {
        change["metadata"] = json!({ "annotations": { BOUND_BY_CONTROLLER: "yes" } });
    }
    Some(Action::Patch { of: volume.object.target(), part: "", change, told: None })
}

fn bind_claim(claim: &Object, volume: &Object) -> Option<Action> {
    debug_assert_eq!(claim.kind, claims());
    let is_named = claim.text("/spec/volumeName") == volume.name();
    let mut change = json!({});
    if !is_named {
        change["spec"] = json!({ "volumeName": volume.name() });
        if claim.annotation(BOUND_BY_CONTROLLER).is_none() {
            change["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
        }
    }
    if claim.annotation(BIND_COMPLETED).is_none() {
        change["metadata"]["annotations"][BIND_COMPLETED] = "yes".into();
    }
    let is_change = change.as_object().is_some_and(|fields| !fields.is_empty());
    is_change.then(|| Action::Patch { of: claim.target(), part: "", change, told: None })
}

fn claim_status(claim: &Object, volume: &Object) -> Option<Action> {
    let mut status = claim["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    status["phase"] = "Bound".into();
    status["accessModes"] = volume["spec"]["accessModes"].clone();
    status["capacity"] = volume["spec"]["capacity"].clone();
    action::status(claim, &status)
}

/// The status of a claim that has no volume: in this phase, and nothing said of a volume.
pub(super) fn without_volume(claim: &Object, phase: &str) -> Option<Action> {
    let mut status = claim["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    status["phase"] = phase.into();
    if let Some(fields) = status.as_object_mut() {
        fields.retain(|field, _| !matches!(field.as_str(), "accessModes" | "capacity"));
    }
    action::status(claim, &status)
}

/// Takes a binding of a volume back: one that a steward made wholly, one that was asked for by name down to the name.
pub(super) fn unbind(volume: &Object, wall: WallTime) -> Vec<Vec<Action>> {
    let change = if volume.annotation(BOUND_BY_CONTROLLER).is_some() {
        json!({
            "metadata": { "annotations": { BOUND_BY_CONTROLLER: Value::Null } },
            "spec": { "claimRef": Value::Null },
        })
    } else {
        json!({ "spec": { "claimRef": { "uid": Value::Null } } })
    };
    let freed = Action::Patch { of: volume.target(), part: "", change, told: None };
    let available = volume_phase(volume, "Available", "", wall);
    std::iter::once(freed).chain(available).map(|step| vec![step]).collect()
}

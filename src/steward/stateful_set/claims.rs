//! The claims (`PersistentVolumeClaim`) of a StatefulSet's Pods: made before the Pod, and owned by the set or by the Pod where they
//! are to go with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use crate::steward::action::{self, Action, Told};
use crate::steward::object::{Object, id};

fn templates(set: &Object) -> impl Iterator<Item = &Value> {
    set["spec"]["volumeClaimTemplates"].as_array().into_iter().flatten()
}

fn template_name(template: &Value) -> &str {
    template["metadata"]["name"].as_str().unwrap_or_default()
}

fn name(set: &Object, template: &Value, ordinal: i64) -> String {
    format!("{}-{}-{ordinal}", template_name(template), set.name())
}

/// Names of the claims of an ordinal.
pub(super) fn names(set: &Object, ordinal: i64) -> Vec<String> {
    templates(set).map(|template| name(set, template, ordinal)).collect()
}

/// Makes a Pod use its claims, in place of volumes of the same names.
pub(super) fn mount(set: &Object, ordinal: i64, spec: &mut Value) {
    let claims = templates(set).map(|template| {
        json!({
            "name": template_name(template),
            "persistentVolumeClaim": { "claimName": name(set, template, ordinal) },
        })
    });
    let mut volumes: Vec<Value> = claims.collect();
    let is_claim = |volume: &Value| templates(set).any(|one| volume["name"] == template_name(one));
    let others = spec["volumes"].as_array().into_iter().flatten().filter(|volume| !is_claim(volume));
    volumes.extend(others.cloned().collect::<Vec<_>>());
    if !volumes.is_empty() {
        spec["volumes"] = volumes.into();
    }
}

/// Creation of the claims of an ordinal that are not there.
pub(super) fn missing(set: &Object, ordinal: i64, there: &BTreeMap<String, Arc<Object>>) -> Vec<Action> {
    let absent = templates(set).filter(|template| !there.contains_key(&name(set, template, ordinal)));
    absent.map(|template| creation(set, template, ordinal)).collect()
}

fn creation(set: &Object, template: &Value, ordinal: i64) -> Action {
    let name = name(set, template, ordinal);
    let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let selected = set["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
    labels.extend(selected.map(|(label, value)| (label.clone(), value.clone())));
    let mut metadata = json!({ "name": name, "namespace": set.namespace(), "labels": labels });
    if template["metadata"]["annotations"].is_object() {
        metadata["annotations"] = template["metadata"]["annotations"].clone();
    }
    if goes_with_set(set) {
        metadata["ownerReferences"] = json!([set.controls()]);
    }
    let about = format!("Claim {name} Pod {}-{ordinal} in StatefulSet {}", set.name(), set.name());
    let told = Told {
        success: "SuccessfulCreate",
        message: format!("create {about} success"),
        failure: "FailedCreate",
        prefix: format!("create {about} failed error: "),
    };
    let object = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": template["spec"],
    });
    Action::Create { kind: id("", "PersistentVolumeClaim"), object, told: Some(told) }
}

fn policy<'a>(set: &'a Object, when: &str) -> &'a str {
    set["spec"]["persistentVolumeClaimRetentionPolicy"][when].as_str().unwrap_or("Retain")
}

fn goes_with_set(set: &Object) -> bool {
    policy(set, "whenDeleted") == "Delete"
}

/// Whether a claim of the ordinal is about to go, with the Pod that was there before.
pub(super) fn is_stale(set: &Object, ordinal: i64, there: &BTreeMap<String, Arc<Object>>) -> bool {
    let pod = format!("{}-{ordinal}", set.name());
    let is_of_another = |owner: &OwnerReference| owner.kind == "Pod" && owner.name == pod;
    names(set, ordinal)
        .iter()
        .filter_map(|name| there.get(name))
        .any(|claim| claim.is_ending() || claim.owners().iter().any(is_of_another))
}

/// Owners of a Pod's claims where they are not what the retention policy asks: the set where claims go with it, the Pod
/// itself once it is to be scaled away and its claims with it. A claim that somebody else controls is left alone.
pub(super) fn corrected(
    set: &Object,
    pod: &Object,
    (start, count): (i64, i64),
    there: &BTreeMap<String, Arc<Object>>,
) -> Vec<Action> {
    let Some(ordinal) = super::ordinal(set, pod) else { return Vec::new() };
    let is_condemned = !(start..start + count).contains(&ordinal);
    let of_pod = is_condemned && policy(set, "whenScaled") == "Delete";
    let of_set = goes_with_set(set) && !of_pod;
    let names = names(set, ordinal);
    let claims = names.iter().filter_map(|name| there.get(name)).filter(|claim| !claim.is_ending());
    let correct = |claim: &Arc<Object>| {
        let ours = [set.uid(), pod.uid()];
        if claim.controller().is_some_and(|owner| !ours.contains(&owner.uid.as_str())) {
            return None;
        }
        let others = claim.owners().iter().filter(|owner| !ours.contains(&owner.uid.as_str())).cloned();
        let mut wanted: Vec<OwnerReference> = others.collect();
        wanted.extend(of_set.then(|| set.controls()));
        wanted.extend(of_pod.then(|| pod.controls()));
        let same = wanted.len() == claim.owners().len()
            && wanted.iter().all(|owner| claim.owners().iter().any(|have| have.uid == owner.uid));
        let value = if wanted.is_empty() { Value::Null } else { json!(wanted) };
        (!same).then(|| action::metadata(claim, &json!({ "ownerReferences": value })))
    };
    claims.filter_map(correct).collect()
}

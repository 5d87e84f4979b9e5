//! What may change of a Pod by its subresources `ephemeralcontainers` and `resize`.

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize as _;
use serde_json::Value;

use super::MIRROR;
use super::update::{differences, is_same};
use crate::api::pod_resources::{QosClass, qos_class};
use crate::api::status::FieldError;
use crate::api::validation::spot::{Errors, Spot};

/// What a Pod may be given more or less of while it runs.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];

/// Ephemeral containers come and stay as they are (new, old).
pub fn pod_ephemeral_containers(new: &Value, old: &Value) -> Vec<FieldError> {
    let (new, old) = (Spot::root(new), Spot::root(old));
    if is_static(&old) {
        return vec![FieldError::forbidden("", "static pods do not support ephemeral containers")];
    }
    let mut errors = Errors::default();
    let at = new.at("spec.ephemeralContainers");
    for was in old.at("spec.ephemeralContainers").items() {
        let name = was.at("name").text();
        match at.items().find(|it| it.at("name").text() == name) {
            None => {
                errors
                    .forbidden(&at, &format!("existing ephemeral containers {name:?} may not be removed\n"));
            }
            Some(is) if is_same(is.value, was.value) => {}
            Some(is) => {
                let differences = differences(is.value, was.value, name).join("\n");
                let sentence =
                    format!("existing ephemeral containers {name:?} may not be changed\n{differences}");
                errors.forbidden(&at, &sentence);
            }
        }
    }
    errors.into_list()
}

/// CPU and memory of containers that stay may change, and nothing that decides on the Pod's class (new, old).
pub fn pod_resize(new: &Value, old: &Value) -> Vec<FieldError> {
    let (root, before) = (Spot::root(new), Spot::root(old));
    for (refused, why) in [
        (
            has_own_resources(&root) || has_own_resources(&before),
            "pods with pod-level resources cannot be resized",
        ),
        (is_static(&before), "static pods cannot be resized"),
        (before.at("spec.os.name").text() == "windows", "windows pods cannot be resized"),
    ] {
        if refused {
            return vec![FieldError::forbidden("", why)];
        }
    }
    let mut errors = Errors::default();
    let (spec, was) = (root.at("spec"), before.at("spec"));
    if class(old) != class(new) {
        let class = class(new).map_or("", QosClass::name);
        errors.invalid_value(&spec, class, "Pod QOS Class may not change as a result of resizing");
    }
    for (list, is_main) in [("containers", true), ("initContainers", false)] {
        for (is, was) in spec.at(list).items().zip(was.at(list).items()) {
            resized(&spec, &is, &was, is_main, &mut errors);
        }
    }
    errors.into_list()
}

fn resized(spec: &Spot<'_>, new: &Spot<'_>, old: &Spot<'_>, is_main: bool, errors: &mut Errors) {
    let (is, was) = (new.at("resources"), old.at("resources"));
    let is_lasting = is_main || old.at("restartPolicy").text() == "Always";
    if !is_lasting {
        if !is_same(new.value, old.value) {
            errors.forbidden(spec, "resources for non-sidecar init containers are immutable");
        }
        return;
    }
    for (list, what) in [("requests", "requests"), ("limits", "limits")] {
        let kept = is.at(list);
        if was.at(list).entries().any(|(name, _)| kept.value.get(name).is_none()) {
            errors.forbidden(&kept, &format!("resource {what} cannot be removed"));
        }
    }
    if !is_same(&without_resizable(new.value), &without_resizable(old.value)) {
        let which = if is_main { "" } else { " for sidecar containers" };
        errors.forbidden(spec, &format!("only cpu and memory resources{which} are mutable"));
    }
}

/// A container without the requests and limits that may change.
fn without_resizable(container: &Value) -> Value {
    let mut container = container.clone();
    for list in ["requests", "limits"] {
        if let Some(amounts) = container["resources"][list].as_object_mut() {
            amounts.retain(|name, _| !RESIZABLE.contains(&name.as_str()));
        }
    }
    container
}

fn has_own_resources(pod: &Spot<'_>) -> bool {
    let resources = pod.at("spec.resources");
    !resources.at("requests").is_empty() || !resources.at("limits").is_empty()
}

fn is_static(pod: &Spot<'_>) -> bool {
    pod.at("metadata.annotations").key(MIRROR).is_set()
}

fn class(pod: &Value) -> Option<QosClass> {
    Pod::deserialize(pod).ok().map(|pod| qos_class(&pod))
}

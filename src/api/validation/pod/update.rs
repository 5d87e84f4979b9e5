//! What may change of a Pod once it is made: next to nothing.

use serde_json::{Map, Value, json};

use super::{APP_ARMOR, MIRROR};
use crate::api::names;
use crate::api::status::FieldError;
use crate::api::validation::spot::{Errors, Spot};

const FIXED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
                     `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                     existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                     previously negative)";
/// Most differences told.
const DIFFERENCES_MAX: usize = 10;

/// All errors of a change of a Pod's spec and annotations (new, old).
pub fn pod_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (new, old) = (Spot::root(new), Spot::root(old));
    annotations(&new, &old, &mut errors);
    let (new, old) = (new.at("spec"), old.at("spec"));
    for list in ["containers", "initContainers"] {
        if new.at(list).items().count() != old.at(list).items().count() {
            errors.forbidden(&new.at(list), "pod updates may not add or remove containers");
            return errors.into_list();
        }
    }
    active_deadline(&new.at("activeDeadlineSeconds"), &old.at("activeDeadlineSeconds"), &mut errors);
    tolerations(&new.at("tolerations"), &old.at("tolerations"), &mut errors);
    gates(&new.at("schedulingGates"), &old.at("schedulingGates"), &mut errors);
    let gated = !old.at("schedulingGates").is_empty();
    let masked = masked(&new, &old, gated, &mut errors);
    if !is_same(&masked, old.value) {
        let differences = differences(&masked, old.value, "spec").join("\n");
        errors.forbidden(&new, &format!("{FIXED}\n{differences}"));
    }
    errors.into_list()
}

fn annotations(new: &Spot<'_>, old: &Spot<'_>, errors: &mut Errors) {
    let (new, old) = (new.at("metadata.annotations"), old.at("metadata.annotations"));
    for (key, was) in old.entries().filter(|(key, was)| new.value.get(key) != Some(was.value)) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&was, "may not remove or update AppArmor annotations");
        } else if key == MIRROR {
            errors.forbidden(&was, "may not remove or update mirror pod annotation");
        }
    }
    for (key, is) in new.entries().filter(|(key, _)| old.value.get(key).is_none()) {
        if key.starts_with(APP_ARMOR) {
            errors.forbidden(&is, "may not add AppArmor annotations");
        } else if key == MIRROR {
            errors.forbidden(&is, "may not add mirror pod annotation");
        }
    }
}

/// May be set, and made shorter.
fn active_deadline(new: &Spot<'_>, old: &Spot<'_>, errors: &mut Errors) {
    match (new.number(), old.number()) {
        (Some(seconds), was) => {
            errors.faults(new, names::in_range(seconds, 0, i64::from(i32::MAX)));
            if was.is_some_and(|was| was < seconds) {
                errors.invalid(new, "must be less than or equal to previous value");
            }
        }
        (None, Some(_)) => errors.push(FieldError::invalid(
            new.path(),
            &Value::Null,
            "must not update from a positive integer to nil value",
        )),
        (None, None) => {}
    }
}

/// More may come, and their times may change.
fn tolerations(new: &Spot<'_>, old: &Spot<'_>, errors: &mut Errors) {
    let timeless = |at: &Spot<'_>| {
        let mut fields = at.value.as_object().cloned().unwrap_or_default();
        fields.remove("tolerationSeconds");
        fields
    };
    let kept: Vec<Map<String, Value>> = new.items().map(|it| timeless(&it)).collect();
    if old.items().any(|it| !kept.contains(&timeless(&it))) {
        errors.forbidden(new, "existing toleration can not be modified except its tolerationSeconds");
    }
}

/// Fewer may remain.
fn gates(new: &Spot<'_>, old: &Spot<'_>, errors: &mut Errors) {
    let known: Vec<&str> = old.items().map(|it| it.at("name").text()).collect();
    for gate in new.items() {
        let name = gate.at("name");
        if !known.contains(&name.text()) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{}'", name.text());
            errors.forbidden(&name, &detail);
        }
    }
}

/// The new spec with everything that may change put back.
fn masked(new: &Spot<'_>, old: &Spot<'_>, gated: bool, errors: &mut Errors) -> Value {
    let mut masked = new.value.clone();
    for list in ["containers", "initContainers"] {
        for (i, was) in old.at(list).items().enumerate() {
            put(&mut masked[list][i], "image", was.at("image").value);
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        put(&mut masked, field, old.at(field).value);
    }
    let grace = "terminationGracePeriodSeconds";
    if old.at(grace).number().is_some_and(|was| was < 0) && new.at(grace).number() == Some(1) {
        put(&mut masked, grace, old.at(grace).value);
    }
    if gated {
        node_selector(new, old, errors);
        node_affinity(new, old, errors);
        put(&mut masked, "nodeSelector", old.at("nodeSelector").value);
        if masked["affinity"].is_object() || old.at("affinity.nodeAffinity").is_set() {
            let mut affinity = masked["affinity"].as_object().cloned().unwrap_or_default();
            affinity.remove("nodeAffinity");
            masked["affinity"] = affinity.into();
            put(&mut masked["affinity"], "nodeAffinity", old.at("affinity.nodeAffinity").value);
        }
    }
    masked
}

fn put(object: &mut Value, field: &str, value: &Value) {
    match object.as_object_mut() {
        Some(fields) if value.is_null() => {
            fields.remove(field);
        }
        Some(fields) => {
            fields.insert(field.into(), value.clone());
        }
        None => {}
    }
}

/// A gated Pod may become choosier.
fn node_selector(new: &Spot<'_>, old: &Spot<'_>, errors: &mut Errors) {
    let (new, old) = (new.at("nodeSelector"), old.at("nodeSelector"));
    if old.entries().any(|(label, was)| new.value.get(label) != Some(was.value)) {
        errors.invalid(&new, "only additions to spec.nodeSelector are allowed (no mutations or deletions)");
    }
}

fn node_affinity(new: &Spot<'_>, old: &Spot<'_>, errors: &mut Errors) {
    let terms = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let (new, old) = (new.at(terms), old.at(terms));
    if old.is_empty() {
        return;
    }
    if new.items().count() != old.items().count() {
        errors.invalid(&new, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
        return;
    }
    for (is, was) in new.items().zip(old.items()) {
        if !only_adds(&is, &was) {
            errors.invalid(&is, "only additions are allowed (no mutations or deletions)");
        }
    }
}

fn only_adds(new: &Spot<'_>, old: &Spot<'_>) -> bool {
    let lists = ["matchExpressions", "matchFields"];
    if lists.iter().all(|list| old.at(list).is_empty()) {
        // An empty term matches no node; what is added to it would make it match.
        return lists.iter().all(|list| new.at(list).is_empty());
    }
    lists.iter().all(|list| {
        let (new, old) = (new.at(list), old.at(list));
        let mut now = new.items().map(|it| it.value.clone());
        old.items().all(|was| now.next().as_ref() == Some(was.value))
    })
}

/// Whether two values are the same to upstream: nothing, an empty list and an empty map are one.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let nothing = Value::Null;
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter()
                .all(|key| is_same(a.get(key).unwrap_or(&nothing), b.get(key).unwrap_or(&nothing)))
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(one, other)| is_same(one, other))
        }
        _ => one == other || (is_nothing(one) && is_nothing(other)),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The first few places where two specs differ, a line each.
pub(super) fn differences(new: &Value, old: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    compare(new, old, path, &mut found);
    found.truncate(DIFFERENCES_MAX);
    found
}

fn compare(new: &Value, old: &Value, path: &str, found: &mut Vec<String>) {
    if is_same(new, old) {
        return;
    }
    match (new, old) {
        (Value::Object(a), Value::Object(b)) => {
            let nothing = Value::Null;
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let (new, old) = (a.get(key).unwrap_or(&nothing), b.get(key).unwrap_or(&nothing));
                compare(new, old, &format!("{path}.{key}"), found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (new, old)) in a.iter().zip(b).enumerate() {
                compare(new, old, &format!("{path}[{i}]"), found);
            }
        }
        _ => found.push(format!("  {path}: {old} -> {new}", old = json!(old), new = json!(new))),
    }
}

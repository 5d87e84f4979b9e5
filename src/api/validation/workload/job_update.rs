//! What may change of a Job: little, more while it is suspended and has never run.

use serde_json::{Value, json};

use super::job::is_indexed;
use super::{fixed, same};
use crate::api::status::FieldError;
use crate::api::validation::spot::{Errors, IMMUTABLE, Spot};

/// All errors of a change of a Job's spec (new, old).
pub fn job_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (root, before) = (Spot::root(new), Spot::root(old));
    let (new, old) = (root.at("spec"), before.at("spec"));
    completions(&new, &old, &mut errors);
    fixed(&new, &old, "selector", &mut errors);
    let is_open = old.at("suspend").is_true() && !before.at("status.startTime").is_set();
    template(&new, &old, is_open, &mut errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        fixed(&new, &old, field, &mut errors);
    }
    errors.into_list()
}

/// An indexed Job may grow and shrink, as many Pods at a time as completions.
fn completions(new: &Spot<'_>, old: &Spot<'_>, errors: &mut Errors) {
    if !is_indexed(new) {
        fixed(new, old, "completions", errors);
        return;
    }
    let asked = new.at("completions");
    if !asked.is_set() || asked.value == old.at("completions").value {
        return;
    }
    if asked.number() != new.at("parallelism").number() {
        errors.invalid(&asked, "can only be modified in tandem with spec.parallelism");
    }
}

/// The template is fixed; what steers where its Pods run is so once the Job has run.
fn template(new: &Spot<'_>, old: &Spot<'_>, is_open: bool, errors: &mut Errors) {
    let (new, old) = (new.at("template"), old.at("template"));
    let mut allowed = old.value.clone();
    if is_open {
        for field in ["nodeSelector", "tolerations", "schedulingGates"] {
            take_over(&mut allowed["spec"], &new.value["spec"], field);
        }
        for field in ["annotations", "labels"] {
            take_over(&mut allowed["metadata"], &new.value["metadata"], field);
        }
        node_affinity(&mut allowed["spec"], &new.value["spec"]);
    }
    if !same(&tidy(new.value.clone()), &tidy(allowed)) {
        errors.invalid(&new, IMMUTABLE);
    }
}

fn take_over(into: &mut Value, from: &Value, field: &str) {
    if !into.is_object() {
        *into = json!({});
    }
    into[field] = from[field].clone();
}

fn node_affinity(into: &mut Value, from: &Value) {
    let asked = &from["affinity"]["nodeAffinity"];
    if into["affinity"].is_object() || !asked.is_null() {
        take_over(&mut into["affinity"], &from["affinity"], "nodeAffinity");
    }
    let is_bare =
        |affinity: &Value| affinity.as_object().is_some_and(|fields| fields.values().all(Value::is_null));
    if is_bare(&into["affinity"]) && !from["affinity"].is_object() {
        into["affinity"] = Value::Null;
    }
}

/// Metadata without anything in it is none, and so is an empty map.
fn tidy(mut template: Value) -> Value {
    if let Some(metadata) = template["metadata"].as_object_mut() {
        metadata
            .retain(|_, value| !value.is_null() && !value.as_object().is_some_and(serde_json::Map::is_empty));
        if metadata.is_empty() {
            template["metadata"] = Value::Null;
        }
    }
    template
}

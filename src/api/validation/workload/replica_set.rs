//! `ReplicaSet`, and its older brother `ReplicationController`.

use serde_json::{Value, json};

use super::{
    ABOVE_REPLICAS, at_most, carried, counts, fixed, lasting_template, needed_selector, selects_template,
};
use crate::api::selectors::Selector;
use crate::api::status::FieldError;
use crate::api::validation::spot::{Errors, Spot};

const PARTS: [&str; 3] = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];

/// All errors of a `ReplicaSet`.
pub fn replica_set(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    errors.not_negative(&spec.at("replicas"));
    errors.not_negative(&spec.at("minReadySeconds"));
    needed_selector(&spec, "deployment", &mut errors);
    match Selector::from_value(spec.at("selector").value) {
        Err(_) => errors.invalid(&spec.at("selector"), "invalid label selector"),
        Ok(choice) => made_by(&spec, &choice, "ReplicaSet", &mut errors),
    }
    errors.into_list()
}

fn made_by(spec: &Spot<'_>, choice: &Selector, owner: &str, errors: &mut Errors) {
    let template = spec.at("template");
    selects_template(choice, &template, errors);
    lasting_template(&template, owner, spec.at("replicas").number().unwrap_or(1), errors);
}

/// The selector may never change.
pub fn replica_set_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    fixed(&Spot::root(new).at("spec"), &Spot::root(old).at("spec"), "selector", &mut errors);
    errors.into_list()
}

/// All errors of a change of status (new, old).
pub fn replica_set_status(new: &Value, _: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let status = Spot::root(new).at("status");
    counts(&status, &["replicas"], &mut errors);
    counts(&status, &PARTS, &mut errors);
    counts(&status, &["terminatingReplicas", "observedGeneration"], &mut errors);
    at_most(&status, &PARTS, "replicas", ABOVE_REPLICAS, &mut errors);
    let sentence = "cannot be greater than readyReplicas";
    at_most(&status, &["availableReplicas"], "readyReplicas", sentence, &mut errors);
    errors.into_list()
}

/// All errors of a `ReplicationController`.
pub fn replication_controller(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    errors.not_negative(&spec.at("minReadySeconds"));
    if spec.at("selector").is_empty() {
        errors.required(&spec.at("selector"), "");
    }
    if !spec.at("replicas").is_set() {
        errors.required(&spec.at("replicas"), "");
    }
    errors.not_negative(&spec.at("replicas"));
    if !spec.at("template").is_set() {
        errors.required(&spec.at("template"), "");
        return errors.into_list();
    }
    match Selector::from_value(&json!({ "matchLabels": carried(&spec.at("selector")) })) {
        Err(_) => errors.invalid(&spec.at("selector"), "invalid label selector"),
        Ok(choice) => made_by(&spec, &choice, "ReplicationController", &mut errors),
    }
    errors.into_list()
}

/// All errors of a change of status (new, old).
pub fn replication_controller_status(new: &Value, old: &Value) -> Vec<FieldError> {
    replica_set_status(new, old)
}

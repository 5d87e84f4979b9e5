//! The kinds with short rules.

use serde_json::Value;

use super::spot::{Errors, NEGATIVE, Spot};
use crate::api::names;
use crate::api::status::FieldError;

/// All errors of a Lease.
pub fn lease(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    if spec.at("leaseDurationSeconds").number().is_some_and(|seconds| seconds <= 0) {
        errors.invalid(&spec.at("leaseDurationSeconds"), "must be greater than 0");
    }
    if spec.at("leaseTransitions").number().is_some_and(|count| count < 0) {
        errors.invalid(&spec.at("leaseTransitions"), NEGATIVE);
    }
    let strategy = spec.at("strategy");
    if strategy.is_set() {
        // The doubled name is upstream's.
        let at = strategy.at("strategy").with(strategy.value);
        if strategy.text().contains('/') {
            errors.faults(&at, names::qualified_name(strategy.text()));
        } else {
            errors.one_of_if_set(&at, &["OldestEmulationVersion"]);
        }
    }
    if !spec.at("preferredHolder").is_empty() && strategy.is_empty() {
        errors.forbidden(&spec.at("preferredHolder"), "may only be specified if `strategy` is defined");
    }
    errors.into_list()
}

/// All errors of a `ControllerRevision`.
pub fn controller_revision(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    if !root.at("data").is_set() {
        errors.required(&root.at("data"), "data is mandatory");
    }
    errors.not_negative(&root.at("revision"));
    errors.into_list()
}

/// The data of a revision never change; its number may.
pub fn controller_revision_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.immutable(&Spot::root(new).at("data"), &Spot::root(old).at("data"));
    errors.into_list()
}

//! Deployment.

use serde_json::Value;

use super::{
    ABOVE_REPLICAS, amount, at_most, collisions_only_grow, counts, fixed, lasting_template, needed_selector,
    not_above_whole, number_or_percent, selects_template,
};
use crate::api::selectors::Selector;
use crate::api::status::FieldError;
use crate::api::validation::spot::{Errors, Spot};

/// All errors of a Deployment.
pub fn deployment(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    errors.not_negative(&spec.at("replicas"));
    needed_selector(&spec, "deployment", &mut errors);
    match Selector::from_value(spec.at("selector").value) {
        Err(_) => errors.invalid(&spec.at("selector"), "invalid label selector"),
        Ok(choice) => {
            let template = spec.at("template");
            selects_template(&choice, &template, &mut errors);
            let replicas = spec.at("replicas").number().unwrap_or(1);
            lasting_template(&template, "ReplicaSet", replicas, &mut errors);
        }
    }
    strategy(&spec.at("strategy"), &mut errors);
    errors.not_negative(&spec.at("minReadySeconds"));
    errors.not_negative(&spec.at("revisionHistoryLimit"));
    let deadline = spec.at("progressDeadlineSeconds");
    errors.not_negative(&deadline);
    if deadline.number().is_some_and(|it| it <= spec.at("minReadySeconds").number().unwrap_or_default()) {
        errors.invalid(&deadline, "must be greater than minReadySeconds");
    }
    errors.into_list()
}

fn strategy(at: &Spot<'_>, errors: &mut Errors) {
    let rolling = at.at("rollingUpdate");
    match at.at("type").text() {
        "Recreate" if rolling.is_set() => {
            errors.forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => rolling_update(&rolling, errors),
        _ => errors.unsupported(at, &["Recreate", "RollingUpdate"]),
    }
}

fn rolling_update(at: &Spot<'_>, errors: &mut Errors) {
    let (unavailable, surge) = (at.at("maxUnavailable"), at.at("maxSurge"));
    number_or_percent(&unavailable, errors);
    number_or_percent(&surge, errors);
    if amount(&unavailable) == 0 && amount(&surge) == 0 {
        errors.invalid(&unavailable, "may not be 0 when `maxSurge` is 0");
    }
    not_above_whole(&unavailable, errors);
}

/// The selector may never change, or Pods would be left behind.
pub fn deployment_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    fixed(&Spot::root(new).at("spec"), &Spot::root(old).at("spec"), "selector", &mut errors);
    errors.into_list()
}

/// All errors of a change of status (new, old).
pub fn deployment_status(new: &Value, old: &Value) -> Vec<FieldError> {
    const PARTS: [&str; 3] = ["updatedReplicas", "readyReplicas", "availableReplicas"];
    let mut errors = Errors::default();
    let status = Spot::root(new).at("status");
    counts(&status, &["observedGeneration", "replicas"], &mut errors);
    counts(&status, &PARTS, &mut errors);
    counts(&status, &["unavailableReplicas", "terminatingReplicas", "collisionCount"], &mut errors);
    at_most(&status, &PARTS, "replicas", ABOVE_REPLICAS, &mut errors);
    let sentence = "cannot be greater than readyReplicas";
    at_most(&status, &["availableReplicas"], "readyReplicas", sentence, &mut errors);
    collisions_only_grow(&Spot::root(new), &Spot::root(old), &mut errors);
    errors.into_list()
}

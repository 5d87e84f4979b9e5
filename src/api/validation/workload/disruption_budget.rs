//! `PodDisruptionBudget`.

use serde_json::Value;

use super::{counts, not_above_whole, number_or_percent};
use crate::api::status::FieldError;
use crate::api::validation::labels::selector;
use crate::api::validation::spot::{Errors, Spot};

/// All errors of a `PodDisruptionBudget`.
pub fn pod_disruption_budget(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    let bounds = ["minAvailable", "maxUnavailable"].map(|field| spec.at(field));
    if bounds.iter().all(Spot::is_set) {
        errors.invalid(&spec, "minAvailable and maxUnavailable cannot be both set");
    }
    for bound in bounds.iter().filter(|bound| bound.is_set()) {
        number_or_percent(bound, &mut errors);
        not_above_whole(bound, &mut errors);
    }
    selector(&spec.at("selector"), &mut errors);
    errors.one_of_if_set(&spec.at("unhealthyPodEvictionPolicy"), &["AlwaysAllow", "IfHealthyBudget"]);
    errors.into_list()
}

/// All errors of a change of status (new, old).
pub fn pod_disruption_budget_status(new: &Value, _: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let fields = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
    counts(&Spot::root(new).at("status"), &fields, &mut errors);
    errors.into_list()
}

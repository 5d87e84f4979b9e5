//! Labels, label selectors, taints' effects: what several kinds share.

use super::spot::{Errors, Spot};
use crate::api::names;

/// What a taint can do.
pub(super) const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// A map of labels.
pub(super) fn labels(at: &Spot<'_>, errors: &mut Errors) {
    for (label, value) in at.entries() {
        errors.faults_of(at, label, names::qualified_name(label));
        errors.faults_of(at, value.text(), names::label_value(value.text()));
    }
}

/// The name of a label, a taint, a condition.
pub(super) fn label_name(at: &Spot<'_>, errors: &mut Errors) {
    errors.faults(at, names::qualified_name(at.text()));
}

/// A `metav1.LabelSelector`.
pub(super) fn selector(at: &Spot<'_>, errors: &mut Errors) {
    labels(&at.at("matchLabels"), errors);
    for requirement in at.at("matchExpressions").items() {
        let values = requirement.at("values");
        match requirement.at("operator").text() {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors
                    .forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(&requirement.at("operator"), "not a valid selector operator"),
        }
        label_name(&requirement.at("key"), errors);
        values.items().for_each(|value| errors.faults(&value, names::label_value(value.text())));
    }
}

/// Whether the values of a percentage or number say more than nothing.
pub(super) fn int_or_percent(at: &Spot<'_>, errors: &mut Errors) -> i64 {
    let Some(text) = at.value.as_str() else {
        errors.not_negative(at);
        return at.number().unwrap_or_default();
    };
    let faults = names::percent(text);
    let percent = text.trim_end_matches('%').parse().unwrap_or_default();
    if faults.is_empty() && percent > 100 {
        errors.invalid(at, "must not be greater than 100%");
    }
    errors.faults(at, faults);
    percent
}

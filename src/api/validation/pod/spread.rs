//! Topology spread constraints, and the label keys that they share with Pod affinity.

use std::collections::BTreeSet;

use crate::api::validation::labels::{label_name, selector};
use crate::api::validation::spot::{Errors, Spot};

const POSITIVE: &str = "must be greater than zero";
const UNSELECTED: &str = "must not be specified when labelSelector is not set";
const IN_BOTH: &str = "exists in both matchLabelKeys and labelSelector";

/// `spec.topologySpreadConstraints`
pub(super) fn spread(at: &Spot<'_>, errors: &mut Errors) {
    let pairs: Vec<(&str, &str)> =
        at.items().map(|it| (it.at("topologyKey").text(), it.at("whenUnsatisfiable").text())).collect();
    for (i, constraint) in at.items().enumerate() {
        one(&constraint, errors);
        if pairs[i + 1..].contains(&pairs[i]) {
            let shown = format!("{{{}, {}}}", pairs[i].0, pairs[i].1);
            errors.duplicate_value(&constraint.at("{topologyKey, whenUnsatisfiable}"), shown);
        }
    }
}

fn one(at: &Spot<'_>, errors: &mut Errors) {
    let skew = at.at("maxSkew").number().unwrap_or_default();
    if skew <= 0 {
        errors.invalid_value(&at.at("maxSkew"), skew, POSITIVE);
    }
    if at.at("topologyKey").is_empty() {
        errors.required(&at.at("topologyKey"), "can not be empty");
    }
    let action = at.at("whenUnsatisfiable");
    if !matches!(action.text(), "DoNotSchedule" | "ScheduleAnyway") {
        errors.unsupported(&action, &["DoNotSchedule", "ScheduleAnyway"]);
    }
    min_domains(&at.at("minDomains"), action.text(), errors);
    errors.one_of_if_set(&at.at("nodeAffinityPolicy"), &["Honor", "Ignore"]);
    errors.one_of_if_set(&at.at("nodeTaintsPolicy"), &["Honor", "Ignore"]);
    let (keys, choice) = (at.at("matchLabelKeys"), at.at("labelSelector"));
    label_keys_and_selected(&keys, &choice, errors);
    selector(&choice, errors);
}

fn min_domains(at: &Spot<'_>, action: &str, errors: &mut Errors) {
    let Some(count) = at.number() else { return };
    if count <= 0 {
        errors.invalid(at, POSITIVE);
    }
    if action != "DoNotSchedule" {
        let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
        errors.invalid(at, &detail);
    }
}

fn label_keys_and_selected(keys: &Spot<'_>, choice: &Spot<'_>, errors: &mut Errors) {
    if keys.is_empty() {
        return;
    }
    if !choice.is_set() {
        errors.forbidden(keys, UNSELECTED);
    }
    let selected = selected_keys(choice);
    for key in keys.items() {
        label_name(&key, errors);
        if selected.contains(key.text()) {
            errors.invalid(&key, IN_BOTH);
        }
    }
}

/// `matchLabelKeys` or `mismatchLabelKeys` of a Pod affinity term.
pub(super) fn label_keys(keys: &Spot<'_>, choice: &Spot<'_>, errors: &mut Errors) {
    if keys.is_empty() {
        return;
    }
    if !choice.is_set() {
        errors.forbidden(keys, UNSELECTED);
        return;
    }
    keys.items().for_each(|key| label_name(&key, errors));
}

/// Keys that a term names twice: in its selector more than once, or both to match and not to match.
pub(super) fn repeated_keys(term: &Spot<'_>, errors: &mut Errors) {
    let keys = term.at("matchLabelKeys");
    let choice = term.at("labelSelector");
    let mut selected: BTreeSet<&str> = choice.at("matchLabels").entries().map(|(key, _)| key).collect();
    for requirement in choice.at("matchExpressions").items() {
        let key = requirement.at("key").text();
        let index = keys.items().position(|it| it.text() == key);
        if let Some(index) = index.filter(|_| selected.contains(key)) {
            let field = format!("{}[{index}]", term.path());
            errors.push(crate::api::status::FieldError::invalid(field, &key.into(), IN_BOTH));
        }
        selected.insert(key);
    }
    let others: BTreeSet<&str> = term.at("mismatchLabelKeys").items().map(|it| it.text()).collect();
    for key in keys.items().filter(|key| others.contains(key.text())) {
        errors.invalid(&key, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

fn selected_keys<'a>(choice: &Spot<'a>) -> BTreeSet<&'a str> {
    let expressions = choice.at("matchExpressions").items().map(|it| it.at("key").text());
    choice.at("matchLabels").entries().map(|(key, _)| key).chain(expressions).collect()
}

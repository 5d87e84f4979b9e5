//! `DaemonSet`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::labels::{int_or_percent, selector};
use super::pod::template;
use super::spot::{Errors, Spot};
use crate::api::selectors::Selector;
use crate::api::status::FieldError;

/// All errors of a `DaemonSet`.
pub fn daemon_set(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    selects_its_template(&spec, &mut errors);
    template(&spec.at("template"), &mut errors);
    let pods = spec.at("template.spec");
    let policy = pods.at("restartPolicy");
    if policy.text() != "Always" {
        errors.unsupported(&policy, &["Always"]);
    }
    if pods.at("activeDeadlineSeconds").is_set() {
        errors.forbidden(
            &pods.at("activeDeadlineSeconds"),
            "activeDeadlineSeconds in DaemonSet is not Supported",
        );
    }
    errors.not_negative(&spec.at("minReadySeconds"));
    update_strategy(&spec.at("updateStrategy"), &mut errors);
    errors.not_negative(&spec.at("revisionHistoryLimit"));
    errors.into_list()
}

/// The selector may never change, or Pods would be left behind.
pub fn daemon_set_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.immutable(&Spot::root(new).at("spec.selector"), &Spot::root(old).at("spec.selector"));
    errors.into_list()
}

/// All errors of a change of status (new, old).
pub fn daemon_set_status(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let status = Spot::root(new).at("status");
    for count in [
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "observedGeneration",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
        "collisionCount",
    ] {
        errors.not_negative(&status.at(count));
    }
    let collisions = status.at("collisionCount");
    if Spot::root(old).at("status.collisionCount").number() > collisions.number() {
        errors.invalid_value(&collisions, collisions.number().unwrap_or_default(), "cannot be decremented");
    }
    errors.into_list()
}

fn selects_its_template(spec: &Spot<'_>, errors: &mut Errors) {
    let choice = spec.at("selector");
    selector(&choice, errors);
    let labels = spec.at("template.metadata.labels");
    let carried: BTreeMap<String, String> =
        labels.entries().map(|(label, value)| (label.to_owned(), value.text().to_owned())).collect();
    // An absent selector selects nothing, so no template suits it.
    let suits = choice
        .is_set()
        .then(|| Selector::from_value(choice.value))
        .map(|it| it.map(|it| it.matches(&carried)));
    if !matches!(suits, Some(Ok(true) | Err(_))) {
        errors.invalid(&labels, "`selector` does not match template `labels`");
    }
    if choice.is_set() && choice.at("matchLabels").is_empty() && choice.at("matchExpressions").is_empty() {
        errors.invalid(&choice, "empty selector is invalid for daemonset");
    }
}

fn update_strategy(strategy: &Spot<'_>, errors: &mut Errors) {
    match strategy.at("type").text() {
        "OnDelete" => {}
        "RollingUpdate" => rolling_update(&strategy.at("rollingUpdate"), errors),
        _ => errors.unsupported(strategy, &["RollingUpdate", "OnDelete"]),
    }
}

fn rolling_update(rolling: &Spot<'_>, errors: &mut Errors) {
    if !rolling.is_set() {
        errors.required(rolling, "");
        return;
    }
    let (unavailable, surge) = (rolling.at("maxUnavailable"), rolling.at("maxSurge"));
    match (int_or_percent(&unavailable, errors) != 0, int_or_percent(&surge, errors) != 0) {
        (true, true) => errors.invalid(&surge, "may not be set when maxUnavailable is non-zero"),
        (false, false) => errors.required(&unavailable, "cannot be 0 when maxSurge is 0"),
        (true, false) | (false, true) => {}
    }
}

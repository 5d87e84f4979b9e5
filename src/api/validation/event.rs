//! Event, as the core group takes it.

use serde_json::Value;

use super::spot::{Errors, Spot};
use crate::api::names;
use crate::api::status::FieldError;

/// Longest reporting instance, action and reason.
const WORD_BYTES_MAX: usize = 128;
/// Longest message of an event with an `eventTime`.
const MESSAGE_BYTES_MAX: usize = 1024;
const ELSEWHERE: &str = "does not match event.namespace";

/// All errors of an Event. One with an `eventTime` is of the new kind and must say more.
pub fn event(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    let (home, about) = (root.at("metadata.namespace").text(), root.at("involvedObject.namespace"));
    let is_new = root.at("eventTime").is_set();
    let fits = match (about.text(), is_new) {
        ("", false) => matches!(home, "" | "default"),
        ("", true) => matches!(home, "default" | "kube-system"),
        (_, true) => true,
        (about, false) => about == home,
    };
    if !fits {
        errors.invalid(&about, ELSEWHERE);
    }
    if is_new {
        new_event(&root, &mut errors);
    }
    for fault in names::dns1123_subdomain(home) {
        errors.push(FieldError::invalid("namespace", &home.into(), &fault));
    }
    errors.into_list()
}

/// All errors of an Event that comes by `events.k8s.io`, in its stored form.
pub fn event_of_events(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    for error in event(object) {
        errors.push(error);
    }
    let root = Spot::root(object);
    errors.must_be_set(&root.at("eventTime"));
    series(&root, &mut errors);
    let severity = root.at("type");
    if !matches!(severity.text(), "Normal" | "Warning") {
        errors.invalid_value(&severity, "", &format!("has invalid value: {}", severity.text()));
    }
    for field in ["firstTimestamp", "lastTimestamp"] {
        if root.at(field).is_set() {
            errors.invalid_value(&root.at(field), "", "needs to be unset");
        }
    }
    if root.at("count").number().is_some_and(|count| count != 0) {
        errors.invalid_value(&root.at("count"), "", "needs to be unset");
    }
    if ["component", "host"].iter().any(|part| !root.at("source").at(part).is_empty()) {
        errors.invalid_value(&root.at("source"), "", "needs to be unset");
    }
    errors.into_list()
}

/// What came by `events.k8s.io` changes in its series only.
pub fn event_of_events_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (new, old) = (Spot::root(new), Spot::root(old));
    for field in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingComponent",
        "reportingInstance",
    ] {
        errors.immutable(&new.at(field), &old.at(field));
    }
    errors.into_list()
}

fn series(root: &Spot<'_>, errors: &mut Errors) {
    let series = root.at("series");
    if !series.is_set() {
        return;
    }
    if series.at("count").number().unwrap_or(0) < 2 {
        errors.invalid_value(&series.at("count"), "", "should be at least 2");
    }
    errors.must_be_set(&series.at("lastObservedTime"));
}

fn new_event(root: &Spot<'_>, errors: &mut Errors) {
    // The path is that of upstream's internal type; on the wire the field is `reportingComponent`.
    let controller = root.at("reportingController").with(root.at("reportingComponent").value);
    errors.must_be_set(&controller);
    errors.faults(&controller, names::qualified_name(controller.text()));
    for field in ["reportingInstance", "action", "reason"] {
        errors.must_be_set(&root.at(field));
        at_most(&root.at(field), WORD_BYTES_MAX, errors);
    }
    at_most(&root.at("message"), MESSAGE_BYTES_MAX, errors);
}

fn at_most(at: &Spot<'_>, bytes_max: usize, errors: &mut Errors) {
    if at.text().len() > bytes_max {
        errors.invalid_value(at, "", &format!("can have at most {bytes_max} characters"));
    }
}

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

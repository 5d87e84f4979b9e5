//! Event.

use serde_json::Value;

use super::{NAME, name, number, number_column, or, since, text, text_column, wide};
use crate::api::event_form::EVENTS_K8S_IO;
use crate::api::kinds::Column;
use crate::time::WallTime;

/// `LAST SEEN, TYPE, REASON, OBJECT, MESSAGE`; wide: `SUBOBJECT, SOURCE, FIRST SEEN, COUNT, NAME`.
pub const EVENT: &[Column] = &[
    text_column("Last Seen", "When it was seen last."),
    text_column("Type", "Normal or Warning."),
    text_column("Reason", "Why it happened, in one word."),
    text_column("Object", "What it happened to."),
    wide(text_column("Subobject", "Which part of that.")),
    wide(text_column("Source", "Who reports it, and from where.")),
    text_column("Message", "What happened, for people."),
    wide(text_column("First Seen", "When it was seen first.")),
    wide(number_column("Count", "How often it was seen.")),
    wide(NAME),
];

/// Cells of [`EVENT`].
pub fn event(object: &Value, now: WallTime) -> Vec<Value> {
    let first = or(text(object, "/firstTimestamp"), text(object, "/eventTime"));
    let series = object.get("series").filter(|it| it.is_object());
    let last = match series {
        Some(series) => text(series, "/lastObservedTime"),
        None => or(text(object, "/lastTimestamp"), first),
    };
    let count = series.map_or(number(object, "/count").max(1), |it| number(it, "/count"));
    vec![
        since(last, now).into(),
        text(object, "/type").into(),
        text(object, "/reason").into(),
        about(object).into(),
        text(object, "/involvedObject/fieldPath").into(),
        source(object).into(),
        text(object, "/message").trim().into(),
        since(first, now).into(),
        count.into(),
        name(object),
    ]
}

/// Cells of [`EVENT`] for an event in the form of `events.k8s.io`.
pub fn event_of_events(object: &Value, now: WallTime) -> Vec<Value> {
    let mut stored = object.clone();
    (EVENTS_K8S_IO.to_stored)(&mut stored);
    event(&stored, now)
}

fn about(object: &Value) -> String {
    let kind = text(object, "/involvedObject/kind").to_lowercase();
    match text(object, "/involvedObject/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn source(object: &Value) -> String {
    let component = or(text(object, "/source/component"), text(object, "/reportingComponent"));
    match or(text(object, "/source/host"), text(object, "/reportingInstance")) {
        "" => component.into(),
        instance => format!("{component}, {instance}"),
    }
}

//! The columns and cells of every kind's Table, as upstream's printers make them.

mod duration;

pub use duration::human_duration;
use serde_json::Value;

use crate::api::kinds::Column;
use crate::time::WallTime;

/// `NAME AGE`, for kinds without a printer of their own.
pub const NAME_AND_AGE: &[Column] = &[NAME, AGE];

const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    priority: 0,
    description: "Name must be unique within a namespace, and is fixed once the object is made.",
};

const AGE: Column = Column {
    name: "Age",
    kind: "string",
    format: "",
    priority: 0,
    description: "Time since the object was made.",
};

/// Cells of [`NAME_AND_AGE`].
pub fn name_and_age(object: &Value, now: WallTime) -> Vec<Value> {
    vec![name(object), age(object, now).into()]
}

fn name(object: &Value) -> Value {
    text(object, "/metadata/name").into()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn age(object: &Value, now: WallTime) -> String {
    since(text(object, "/metadata/creationTimestamp"), now)
}

/// How long ago `timestamp` (RFC 3339) was, or `<unknown>`.
fn since(timestamp: &str, now: WallTime) -> String {
    WallTime::parse(timestamp)
        .map_or_else(|| "<unknown>".into(), |then| human_duration(now.0.duration_since(then.0).as_secs()))
}

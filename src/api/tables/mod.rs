//! The columns and cells of every kind's Table, as upstream's printers make them for kubectl.

mod certificate;
mod cluster;
mod daemon_set;
mod duration;
mod event;
mod network;
mod node;
mod pod;
mod pod_status;
mod small;
mod storage;
mod workload;

pub use certificate::{CERTIFICATE_SIGNING_REQUEST, certificate_signing_request};
pub use cluster::{
    PRIORITY_CLASS, RESOURCE_QUOTA, ROLE, ROLE_BINDING, RUNTIME_CLASS, priority_class, resource_quota, role,
    role_binding, runtime_class,
};
pub use daemon_set::{DAEMON_SET, daemon_set};
pub use duration::human_duration;
pub use event::{EVENT, event, event_of_events};
pub use network::{
    ENDPOINT_SLICE, ENDPOINTS, INGRESS, INGRESS_CLASS, NETWORK_POLICY, SERVICE, endpoint_slice, endpoints,
    ingress, ingress_class, network_policy, service,
};
pub use node::{NODE, node};
pub use pod::{POD, pod};
use serde_json::Value;
pub use small::{
    CONFIG_MAP, CONTROLLER_REVISION, LEASE, NAMESPACE, PLAIN, SECRET, SERVICE_ACCOUNT, config_map,
    controller_revision, lease, namespace, plain, secret, service_account,
};
pub use storage::{
    PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, STORAGE_CLASS, persistent_volume, persistent_volume_claim,
    storage_class,
};
pub use workload::{
    CRON_JOB, DEPLOYMENT, JOB, POD_DISRUPTION_BUDGET, POD_TEMPLATE, REPLICA_SET, SCALE, STATEFUL_SET,
    cron_job, deployment, job, pod_disruption_budget, pod_template, replica_set, replication_controller,
    scale, stateful_set,
};

use crate::api::kinds::Column;
use crate::api::selectors::Selector;
use crate::time::WallTime;

/// What stands where there is nothing.
const NONE: &str = "<none>";
/// What stands where nothing is known.
const UNKNOWN: &str = "<unknown>";

const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    priority: 0,
    description: "Name must be unique within a namespace, and is fixed once the object is made.",
};

const AGE: Column = text_column("Age", "Time since the object was made.");

const fn text_column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 0, description }
}

const fn number_column(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "integer", format: "", priority: 0, description }
}

/// Shown with `-o wide` only.
const fn wide(mut column: Column) -> Column {
    column.priority = 1;
    column
}

fn name(object: &Value) -> Value {
    text(object, "/metadata/name").into()
}

/// The text at a JSON pointer, empty where there is none.
fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a JSON pointer, zero where there is none.
fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// The items of the list at a JSON pointer.
fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// How many entries the list or map at a JSON pointer has.
fn count(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(entries)) => entries.len(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => 0,
    }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

fn age(object: &Value, now: WallTime) -> String {
    since(text(object, "/metadata/creationTimestamp"), now)
}

/// How long ago `timestamp` (RFC 3339) was, or `<unknown>`.
fn since(timestamp: &str, now: WallTime) -> String {
    WallTime::parse(timestamp)
        .map_or_else(|| UNKNOWN.into(), |then| human_duration(now.0.duration_since(then.0).as_secs()))
}

/// Names and images of containers, each joined by commas.
fn names_and_images(containers: &[Value]) -> (String, String) {
    let join = |field: &str| {
        containers.iter().map(|it| it[field].as_str().unwrap_or_default()).collect::<Vec<_>>().join(",")
    };
    (join("name"), join("image"))
}

/// A map of labels as text, in order.
fn labels(object: &Value, pointer: &str) -> String {
    let labels = object.pointer(pointer).and_then(Value::as_object);
    let mut pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    or(&pairs.join(","), NONE).into()
}

/// A label selector as text.
fn selector(object: &Value, pointer: &str) -> String {
    match object.pointer(pointer).map(Selector::from_value) {
        Some(Ok(selector)) => or(&selector.to_string(), NONE).into(),
        Some(Err(_)) => "<error>".into(),
        None => NONE.into(),
    }
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "objects are written in place, as json!")]
mod tests;

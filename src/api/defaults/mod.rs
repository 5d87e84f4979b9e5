//! Defaults over raw JSON: what upstream's decoding, defaulting functions and admission add to an object on its way in.
//! Idempotent; unknown fields are kept; values of a wrong type are left for the decoder's check to refuse.

mod cluster;
mod container;
mod daemon_set;
mod node;
mod pod;
mod pod_level;
mod pod_spec;
mod service;
mod small;
mod volume;
mod workload;

pub use cluster::{
    cluster_role_binding, limit_range, persistent_volume, persistent_volume_claim, priority_class,
    role_binding, storage_class,
};
pub use daemon_set::daemon_set;
pub use node::node;
pub use pod::pod;
pub use pod_level::{Amounts, container_amounts};
use serde_json::{Map, Value};
pub use service::{endpoint_slice, endpoints, ingress, ingress_class, network_policy, service};
pub use small::{config_map, controller_revision, event, lease, namespace, secret, service_account};
pub use workload::{
    cron_job, deployment, job, pod_disruption_budget, pod_template, replica_set, replication_controller,
    stateful_set,
};

use crate::api::kinds::by_kind;
use crate::api::model::canonicalise;

/// For kinds in which nothing is filled in.
pub fn none(_: &mut Value) {}

/// Brings an object into canonical spelling before its defaults are looked at.
fn spell(group: &str, kind: &str, object: &mut Value) {
    canonicalise(by_kind(group, "v1", kind).expect("the kind is a row of the table"), object);
}

/// Sets a field that is missing or empty text.
fn fill(object: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    let empty = match object.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => false,
    };
    if empty {
        object.insert(field.into(), value.into());
    }
}

/// Sets a field that is missing or zero.
fn fill_zero(object: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    if object.get(field).is_none_or(|old| old.is_null() || *old == 0) {
        object.insert(field.into(), value.into());
    }
}

/// An object-valued field.
fn field<'a>(object: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(name)?.as_object_mut()
}

/// The objects in a list-valued field.
fn items<'a>(
    object: &'a mut Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    object.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// An object-valued field, made empty when it is missing.
fn field_or_new<'a>(object: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    fill(object, name, Map::new());
    field(object, name)
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "objects are written in place, as json!")]
mod tests;

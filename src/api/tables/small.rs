//! The kinds whose rows are short.

use serde_json::Value;

use super::{AGE, NAME, NONE, age, count, items, name, number, number_column, text, text_column};
use crate::api::kinds::Column;
use crate::time::WallTime;

/// `NAME AGE`
pub const PLAIN: &[Column] = &[NAME, AGE];

/// Cells of [`PLAIN`].
pub fn plain(object: &Value, now: WallTime) -> Vec<Value> {
    vec![name(object), age(object, now).into()]
}

/// `NAME STATUS AGE`
pub const NAMESPACE: &[Column] = &[NAME, text_column("Status", "The phase of the namespace."), AGE];

/// Cells of [`NAMESPACE`].
pub fn namespace(object: &Value, now: WallTime) -> Vec<Value> {
    vec![name(object), text(object, "/status/phase").into(), age(object, now).into()]
}

/// `NAME DATA AGE`
pub const CONFIG_MAP: &[Column] =
    &[NAME, number_column("Data", "How many keys it has, text and binary."), AGE];

/// Cells of [`CONFIG_MAP`].
pub fn config_map(object: &Value, now: WallTime) -> Vec<Value> {
    let keys = count(object, "/data") + count(object, "/binaryData");
    vec![name(object), keys.into(), age(object, now).into()]
}

/// `NAME TYPE DATA AGE`
pub const SECRET: &[Column] = &[
    NAME,
    text_column("Type", "What the keys mean, and who uses them."),
    number_column("Data", "How many keys it has."),
    AGE,
];

/// Cells of [`SECRET`].
pub fn secret(object: &Value, now: WallTime) -> Vec<Value> {
    vec![name(object), text(object, "/type").into(), count(object, "/data").into(), age(object, now).into()]
}

/// `NAME SECRETS AGE`
pub const SERVICE_ACCOUNT: &[Column] =
    &[NAME, number_column("Secrets", "How many Secrets its Pods may use."), AGE];

/// Cells of [`SERVICE_ACCOUNT`].
pub fn service_account(object: &Value, now: WallTime) -> Vec<Value> {
    vec![name(object), count(object, "/secrets").into(), age(object, now).into()]
}

/// `NAME HOLDER AGE`
pub const LEASE: &[Column] = &[NAME, text_column("Holder", "Who holds the lease."), AGE];

/// Cells of [`LEASE`].
pub fn lease(object: &Value, now: WallTime) -> Vec<Value> {
    vec![name(object), text(object, "/spec/holderIdentity").into(), age(object, now).into()]
}

/// `NAME CONTROLLER REVISION AGE`
pub const CONTROLLER_REVISION: &[Column] = &[
    NAME,
    text_column("Controller", "The object whose revision this is."),
    number_column("Revision", "Which revision of the data this is."),
    AGE,
];

/// Cells of [`CONTROLLER_REVISION`].
pub fn controller_revision(object: &Value, now: WallTime) -> Vec<Value> {
    let owners = items(object, "/metadata/ownerReferences");
    let controller =
        owners.iter().find(|owner| owner["controller"] == true).map_or(NONE.into(), qualified_name);
    vec![name(object), controller.into(), number(object, "/revision").into(), age(object, now).into()]
}

/// `daemonset.apps/NAME`
fn qualified_name(owner: &Value) -> String {
    let kind = text(owner, "/kind").to_lowercase();
    match text(owner, "/apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{}", text(owner, "/name")),
        None => format!("{kind}/{}", text(owner, "/name")),
    }
}

//! Roles and bindings, quotas and ranges, classes of Pods.

use serde_json::Value;

use super::{AGE, NAME, age, items, name, number, number_column, or, text, text_column, wide};
use crate::api::kinds::Column;
use crate::time::WallTime;

/// `NAME CREATED AT`: also of a `ClusterRole` and a `LimitRange`.
pub const ROLE: &[Column] = &[NAME, text_column("Created At", "When it was made.")];

/// Cells of [`ROLE`].
pub fn role(object: &Value, _: WallTime) -> Vec<Value> {
    vec![name(object), text(object, "/metadata/creationTimestamp").into()]
}

/// `NAME ROLE AGE`; wide: `USERS GROUPS SERVICEACCOUNTS`. Also of a `ClusterRoleBinding`.
pub const ROLE_BINDING: &[Column] = &[
    NAME,
    text_column("Role", "What its subjects may do."),
    AGE,
    wide(text_column("Users", "The users among its subjects.")),
    wide(text_column("Groups", "The groups among its subjects.")),
    wide(text_column("ServiceAccounts", "The ServiceAccounts among its subjects.")),
];

/// Cells of [`ROLE_BINDING`].
pub fn role_binding(object: &Value, now: WallTime) -> Vec<Value> {
    let subjects = |kind: &str| -> String {
        let of_kind = items(object, "/subjects").iter().filter(|subject| text(subject, "/kind") == kind);
        let shown = of_kind.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", text(subject, "/namespace"), text(subject, "/name")),
            _ => text(subject, "/name").to_owned(),
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    vec![
        name(object),
        format!("{}/{}", text(object, "/roleRef/kind"), text(object, "/roleRef/name")).into(),
        age(object, now).into(),
        subjects("User").into(),
        subjects("Group").into(),
        subjects("ServiceAccount").into(),
    ]
}

/// `NAME REQUEST LIMIT AGE`
pub const RESOURCE_QUOTA: &[Column] = &[
    NAME,
    text_column("Request", "What is used and what may be used of everything that is not a limit."),
    text_column("Limit", "What is used and what may be used of the limits."),
    AGE,
];

/// Cells of [`RESOURCE_QUOTA`].
pub fn resource_quota(object: &Value, now: WallTime) -> Vec<Value> {
    let hard = object.pointer("/status/hard").and_then(Value::as_object);
    let used = |name: &str| {
        let used = object.pointer("/status/used").and_then(|used| used.get(name)?.as_str());
        used.unwrap_or("0")
    };
    let mut names: Vec<&String> = hard.into_iter().flatten().map(|(name, _)| name).collect();
    names.sort();
    let column = |is_limit: bool| -> String {
        let of_column = names.iter().filter(|name| name.starts_with("limits.") == is_limit);
        let shown = of_column.map(|name| {
            let most = hard.and_then(|hard| hard.get(name.as_str())?.as_str()).unwrap_or("0");
            format!("{name}: {}/{most}", used(name))
        });
        shown.collect::<Vec<_>>().join(", ")
    };
    vec![name(object), column(false).into(), column(true).into(), age(object, now).into()]
}

/// `NAME VALUE GLOBAL-DEFAULT AGE PREEMPTIONPOLICY`
pub const PRIORITY_CLASS: &[Column] = &[
    NAME,
    number_column("Value", "The priority of its Pods."),
    Column {
        name: "Global-Default",
        kind: "boolean",
        format: "",
        priority: 0,
        description: "Whether Pods without a class get this one.",
    },
    AGE,
    text_column("PreemptionPolicy", "Whether its Pods may displace others."),
];

/// Cells of [`PRIORITY_CLASS`].
pub fn priority_class(object: &Value, now: WallTime) -> Vec<Value> {
    vec![
        name(object),
        number(object, "/value").into(),
        (object.pointer("/globalDefault") == Some(&Value::Bool(true))).into(),
        age(object, now).into(),
        or(text(object, "/preemptionPolicy"), "PreemptLowerPriority").into(),
    ]
}

/// `NAME HANDLER AGE`
pub const RUNTIME_CLASS: &[Column] =
    &[NAME, text_column("Handler", "The runtime that containers of this class get."), AGE];

/// Cells of [`RUNTIME_CLASS`].
pub fn runtime_class(object: &Value, now: WallTime) -> Vec<Value> {
    vec![name(object), text(object, "/handler").into(), age(object, now).into()]
}

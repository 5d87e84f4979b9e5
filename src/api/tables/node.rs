//! Node.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{AGE, NAME, NONE, UNKNOWN, age, items, name, or, text, text_column, wide};
use crate::api::kinds::Column;
use crate::time::WallTime;

/// `NAME STATUS ROLES AGE VERSION`; wide: addresses, operating system, kernel, container runtime.
pub const NODE: &[Column] = &[
    NAME,
    text_column("Status", "Whether it is ready, and whether it takes new Pods."),
    text_column("Roles", "Its roles, from its labels."),
    AGE,
    text_column("Version", "The version of its agent."),
    wide(text_column("Internal-IP", "Its address within the cluster.")),
    wide(text_column("External-IP", "Its address outside of the cluster.")),
    wide(text_column("OS-Image", "Its operating system.")),
    wide(text_column("Kernel-Version", "Its kernel.")),
    wide(text_column("Container-Runtime", "Its container runtime.")),
];

/// Cells of [`NODE`].
pub fn node(object: &Value, now: WallTime) -> Vec<Value> {
    let info = |field: &str| text(object, &format!("/status/nodeInfo/{field}"));
    vec![
        name(object),
        status(object).into(),
        roles(object).into(),
        age(object, now).into(),
        info("kubeletVersion").into(),
        address(object, "InternalIP").into(),
        address(object, "ExternalIP").into(),
        or(info("osImage"), UNKNOWN).into(),
        or(info("kernelVersion"), UNKNOWN).into(),
        or(info("containerRuntimeVersion"), UNKNOWN).into(),
    ]
}

fn status(object: &Value) -> String {
    let conditions = items(object, "/status/conditions");
    let ready = match conditions.iter().rfind(|it| it["type"] == "Ready") {
        Some(ready) if ready["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = object.pointer("/spec/unschedulable").is_some_and(|it| *it == true);
    if cordoned { format!("{ready},SchedulingDisabled") } else { ready.into() }
}

fn roles(object: &Value) -> String {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let roles: BTreeSet<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(label, value)| match label.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if label == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { NONE.into() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address<'a>(object: &'a Value, kind: &str) -> &'a str {
    let addresses = items(object, "/status/addresses");
    addresses.iter().find(|it| it["type"] == kind).map_or(NONE, |it| text(it, "/address"))
}

//! Pod.

use serde_json::Value;

use super::pod_status::{Summary, is_true};
use super::{AGE, NAME, NONE, age, items, name, or, text, text_column, wide};
use crate::api::kinds::Column;
use crate::time::WallTime;

/// `NAME READY STATUS RESTARTS AGE`; wide: `IP NODE NOMINATED NODE READINESS GATES`.
pub const POD: &[Column] = &[
    NAME,
    text_column("Ready", "The aggregate readiness state of this pod for accepting traffic."),
    text_column("Status", "The aggregate status of the containers in this pod."),
    text_column(
        "Restarts",
        "The number of times the containers in this pod have been restarted and when the last container in this pod \
         has restarted.",
    ),
    AGE,
    wide(text_column("IP", "The first address of the Pod.")),
    wide(text_column("Node", "The node that runs it.")),
    wide(text_column("Nominated Node", "The node it is offered to.")),
    wide(text_column("Readiness Gates", "How many of its further conditions for readiness hold.")),
];

/// Cells of [`POD`].
pub fn pod(object: &Value, now: WallTime) -> Vec<Value> {
    let summary = Summary::of(object);
    vec![
        name(object),
        format!("{}/{}", summary.ready, summary.containers).into(),
        summary.status.clone().into(),
        summary.restarts(now).into(),
        age(object, now).into(),
        or(text(object, "/status/podIPs/0/ip"), or(text(object, "/status/podIP"), NONE)).into(),
        or(text(object, "/spec/nodeName"), NONE).into(),
        or(text(object, "/status/nominatedNodeName"), NONE).into(),
        readiness_gates(object).into(),
    ]
}

fn readiness_gates(object: &Value) -> String {
    let gates = items(object, "/spec/readinessGates");
    if gates.is_empty() {
        return NONE.into();
    }
    let open = gates.iter().filter(|gate| is_true(object, text(gate, "/conditionType"))).count();
    format!("{open}/{}", gates.len())
}

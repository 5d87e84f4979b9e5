//! What the monitor writes on Nodes, as upstream's node life cycle does: the conditions of a node whose session was
//! lost, and the taints that follow from its conditions and its cordon. PURE.
//!
//! Unlike upstream, `NetworkUnavailable` taints nothing: a Pod on the host's network needs no other.

use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::object::Object;
use crate::placement::{Effect, NOT_READY_TAINT, UNREACHABLE_TAINT, UNSCHEDULABLE_TAINT};
use crate::time::WallTime;

/// Taint by which people vouch for a node's being off.
pub const OUT_OF_SERVICE_TAINT: &str = "node.kubernetes.io/out-of-service";

/// What a Node says of the lives of its Pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Its agent answers for them.
    Fine,
    /// Its session was lost.
    Lost {
        /// People vouch for its being off.
        out_of_service: bool,
    },
    /// There is no such Node.
    Gone,
}

impl Fate {
    /// What this Node says; none: there is none.
    pub fn of(node: Option<&Object>) -> Self {
        let Some(node) = node else { return Self::Gone };
        let mut conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        let is_lost = conditions.any(|one| one["type"] == "Ready" && one["status"] == "Unknown");
        let mut taints = node["spec"]["taints"].as_array().into_iter().flatten();
        if is_lost {
            Self::Lost { out_of_service: taints.any(|taint| taint["key"] == OUT_OF_SERVICE_TAINT) }
        } else {
            Self::Fine
        }
    }

    /// Whether people vouch for the node's being off.
    pub fn is_out_of_service(self) -> bool {
        self == Self::Lost { out_of_service: true }
    }
}

/// Conditions that nobody knows of a node that is lost; the first must be there.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Reason and message that upstream gives for a node that it has heard of before.
const UNKNOWN: (&str, &str) =
    ("NodeStatusUnknown", "The node's session was lost: it has not renewed its Lease.");

/// Taints by a condition that is `True`.
const PRESSURES: [(&str, &str); 3] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
];

/// The conditions of a node that is lost; none where they say so already.
pub fn lost_conditions(node: &Node, wall: WallTime) -> Option<Vec<NodeCondition>> {
    let had = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut conditions = had.clone();
    for kind in CONDITIONS {
        let found = conditions.iter_mut().find(|condition| condition.type_ == kind);
        match found {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".into();
                condition.reason = Some(UNKNOWN.0.into());
                condition.message = Some(UNKNOWN.1.into());
                condition.last_transition_time = Some(Time(wall.0));
            }
            None if kind == "Ready" => conditions.push(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some(UNKNOWN.0.into()),
                message: Some(UNKNOWN.1.into()),
                last_transition_time: Some(Time(wall.0)),
                last_heartbeat_time: None,
            }),
            None => {}
        }
    }
    (conditions != had).then_some(conditions)
}

/// Whether the node's agent has not taken back yet what [`lost_conditions`] said.
pub fn is_called_lost(node: &Node) -> bool {
    status_of(node, "Ready").is_some_and(|condition| condition.reason.as_deref() == Some(UNKNOWN.0))
}

/// All taints that the node is to have; none where it has them. While the brake is drawn nobody is tainted as
/// unreachable; who is stays so.
pub fn taints(node: &Node, braked: bool, wall: WallTime) -> Option<Vec<Taint>> {
    let had = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let wanted = wanted(node);
    let is_wanted =
        |taint: &Taint| wanted.iter().any(|(key, effect)| taint.key == *key && taint.effect == effect.name());
    let mut taints: Vec<Taint> =
        had.iter().filter(|taint| !is_managed(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in wanted {
        let is_there = taints.iter().any(|taint| taint.key == key && taint.effect == effect.name());
        if is_there || braked && key == UNREACHABLE_TAINT {
            continue;
        }
        taints.push(Taint {
            key: key.into(),
            effect: effect.name().into(),
            value: None,
            time_added: (effect == Effect::NoExecute).then_some(Time(wall.0)),
        });
    }
    (taints != had).then_some(taints)
}

fn wanted(node: &Node) -> Vec<(&'static str, Effect)> {
    let mut wanted = Vec::new();
    let ready = match status_of(node, "Ready").map(|condition| condition.status.as_str()) {
        Some("False") => Some(NOT_READY_TAINT),
        Some("Unknown") => Some(UNREACHABLE_TAINT),
        _ => None,
    };
    if let Some(key) = ready {
        wanted.extend([(key, Effect::NoSchedule), (key, Effect::NoExecute)]);
    }
    for (kind, key) in PRESSURES {
        if status_of(node, kind).is_some_and(|condition| condition.status == "True") {
            wanted.push((key, Effect::NoSchedule));
        }
    }
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        wanted.push((UNSCHEDULABLE_TAINT, Effect::NoSchedule));
    }
    wanted
}

/// Whether the monitor alone gives and takes this taint.
fn is_managed(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    let effect = taint.effect.as_str();
    match key {
        NOT_READY_TAINT | UNREACHABLE_TAINT => {
            effect == Effect::NoSchedule.name() || effect == Effect::NoExecute.name()
        }
        UNSCHEDULABLE_TAINT => effect == Effect::NoSchedule.name(),
        _ => effect == Effect::NoSchedule.name() && PRESSURES.iter().any(|(_, pressure)| *pressure == key),
    }
}

fn status_of<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn at(text: &str) -> WallTime {
        WallTime::parse(text).expect("a time")
    }

    fn node(conditions: &[(&str, &str)], taints: &[(&str, &str)], unschedulable: bool) -> Node {
        let conditions: Vec<Value> =
            conditions.iter().map(|(kind, status)| json!({ "type": kind, "status": status })).collect();
        let taints: Vec<Value> =
            taints.iter().map(|(key, effect)| json!({ "key": key, "effect": effect })).collect();
        serde_json::from_value(json!({
            "metadata": { "name": "n1" },
            "spec": { "unschedulable": unschedulable, "taints": taints },
            "status": { "conditions": conditions },
        }))
        .expect("a Node")
    }

    fn shown(taints: Option<Vec<Taint>>) -> Option<Vec<String>> {
        let short = |key: &str| key.trim_start_matches("node.kubernetes.io/").to_owned();
        taints.map(|all| all.iter().map(|taint| format!("{}:{}", short(&taint.key), taint.effect)).collect())
    }

    #[test]
    fn taints_follow_from_conditions_and_cordon_and_those_of_others_stay() {
        type Case<'a> =
            (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], bool, bool, Option<&'a [&'a str]>);
        let unreachable: &[_] = &[
            ("node.kubernetes.io/unreachable", "NoSchedule"),
            ("node.kubernetes.io/unreachable", "NoExecute"),
        ];
        let cases: &[Case<'_>] = &[
            (&[("Ready", "True")], &[], false, false, None),
            (&[("Ready", "True")], &[("gpu", "NoSchedule")], false, false, None),
            (
                &[("Ready", "False")],
                &[("gpu", "NoExecute")],
                false,
                false,
                Some(&["gpu:NoExecute", "not-ready:NoSchedule", "not-ready:NoExecute"]),
            ),
            (
                &[("Ready", "Unknown"), ("DiskPressure", "Unknown")],
                &[],
                false,
                false,
                Some(&["unreachable:NoSchedule", "unreachable:NoExecute"]),
            ),
            (&[("Ready", "Unknown")], unreachable, false, false, None),
            (&[("Ready", "Unknown")], &[], false, true, None),
            (&[("Ready", "Unknown")], unreachable, false, true, None),
            (&[("Ready", "True")], unreachable, false, true, Some(&[])),
            (
                &[("Ready", "True"), ("MemoryPressure", "True"), ("PIDPressure", "True")],
                unreachable,
                true,
                false,
                Some(&["memory-pressure:NoSchedule", "pid-pressure:NoSchedule", "unschedulable:NoSchedule"]),
            ),
            (&[("NetworkUnavailable", "True")], &[], false, false, None),
        ];
        for (conditions, had, unschedulable, braked, expected) in cases {
            let found = taints(&node(conditions, had, *unschedulable), *braked, at("2026-01-01T00:00:00Z"));
            let expected = expected.map(|all| all.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
            assert_eq!(shown(found), expected, "{conditions:?} {had:?}");
        }
    }

    #[test]
    fn nobody_knows_the_conditions_of_a_lost_node_and_the_time_of_the_change_stays() {
        let seen = node(
            &[("Ready", "True"), ("MemoryPressure", "False"), ("NetworkUnavailable", "False")],
            &[],
            false,
        );
        let conditions = lost_conditions(&seen, at("2026-01-01T00:00:00Z")).expect("a change");
        let statuses: Vec<_> = conditions.iter().map(|it| (it.type_.as_str(), it.status.as_str())).collect();
        assert_eq!(
            statuses,
            [("Ready", "Unknown"), ("MemoryPressure", "Unknown"), ("NetworkUnavailable", "False")]
        );
        let mut lost = seen.clone();
        lost.status.get_or_insert_default().conditions = Some(conditions);
        assert_eq!(lost_conditions(&lost, at("2026-01-01T00:09:00Z")), None);
        assert!(is_called_lost(&lost) && !is_called_lost(&seen));
        assert!(lost_conditions(&node(&[], &[], false), at("2026-01-01T00:00:00Z")).is_some());
    }
}

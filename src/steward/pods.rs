//! What becomes of a Pod when its node is lost or gone, as upstream's node life cycle and Pod garbage collection have it.
//! PURE.
//!
//! A Pod without an identity keeps running on a node that is lost, and its object stays: marked not ready, perhaps
//! terminating, until the node returns, is called out of service, or is deleted. Only then it is removed, and only while
//! nobody holds the node's session. What runs under an identity is removed by [`super::identities`].

use std::time::Duration;

use serde_json::{Value, json};

use super::action::{Action, Plan};
use super::children::phase;
use super::identities::ask;
use super::nodes::Fate;
use super::object::{Object, id};
use super::table::Moment;
use super::view::View;
use super::view::lives::{has_identity, node_of};
use crate::lease::identity::wire;
use crate::lease::timings::SessionTimings;
use crate::time::{Instant, WallTime};

/// How long a Node must have been gone before the Pods on it are removed, as upstream's quarantine.
const QUARANTINE: Duration = Duration::from_secs(40);
/// How long an identity must have been missing before its Lease is made again: the watches of several kinds do not keep
/// step.
const MISSING: Duration = Duration::from_secs(2);

/// What is to be done for one Pod.
pub fn care_for(view: &mut View, uid: &str, moment: &Moment<'_>) -> Option<Plan> {
    let pod = view.get(id("", "Pod"), uid);
    let Some(pod) = pod else {
        view.lives.no_longer("missing", uid);
        return None;
    };
    let mut plan = Plan::default();
    if has_identity(&pod) {
        keep_identity(view, &pod, moment.now, &mut plan);
    }
    let Some(node) = node_of(&pod) else { return Some(plan) };
    match view.fate(node) {
        Fate::Lost { out_of_service } => {
            if out_of_service && pod.is_ending() && !has_identity(&pod) {
                remove(view, &pod, node, None, moment, &mut plan);
            } else if let Some(conditions) = not_ready(&pod, moment.wall) {
                plan.then(vec![Action::ConfirmLost(node.to_owned())]);
                let change = json!({ "status": { "conditions": conditions } });
                plan.then(vec![Action::Patch { of: pod.target(), part: "status", change, told: None }]);
                let message = "Node is not ready".to_owned();
                plan.then(vec![Action::TellOf {
                    of: pod.target(),
                    warning: true,
                    reason: "NodeNotReady",
                    message,
                }]);
            }
        }
        Fate::Gone if !has_identity(&pod) => {
            let since = view.lives.for_long("gone", node, moment.now);
            if since < QUARANTINE {
                plan.wake_after(QUARANTINE.saturating_sub(since));
            } else {
                remove(view, &pod, node, Some("PodGC: node no longer exists"), moment, &mut plan);
            }
        }
        Fate::Fine | Fate::Gone => {}
    }
    Some(plan)
}

/// A Pod that runs under an identity has a Lease for it; one that was lost may be held.
fn keep_identity(view: &mut View, pod: &Object, now: Instant, plan: &mut Plan) {
    let is_over = matches!(phase(pod), "Succeeded" | "Failed");
    if is_over || pod.is_ending() || view.identity_of(pod.namespace(), pod.name()).is_some() {
        return view.lives.no_longer("missing", pod.uid());
    }
    let since = view.lives.for_long("missing", pod.uid(), now);
    if since < MISSING {
        return plan.wake_after(MISSING.saturating_sub(since));
    }
    let duration = SessionTimings::default().duration;
    let lease = wire::recreated_of_pod(pod.namespace(), pod.name(), duration);
    let object = serde_json::to_value(lease).expect("a Lease is JSON");
    plan.then(vec![Action::Create { kind: id("coordination.k8s.io", "Lease"), object, told: None }]);
}

/// Removes a Pod whose node's session nobody holds, having told that it failed: a Job's is counted so. Where the Node is
/// said to be gone it must be.
fn remove(
    view: &mut View,
    pod: &Object,
    node: &str,
    gone: Option<&str>,
    moment: &Moment<'_>,
    plan: &mut Plan,
) {
    let witnesses = &view.lives.witnesses;
    let is_as_said = gone.is_none() || witnesses.exists(node, moment.now) == Some(false);
    if witnesses.is_empty(node, moment.now) != Some(true) || !is_as_said {
        let asks = ask(view, node, moment.now);
        plan.then(asks.actions);
        if let Some(again) = asks.again {
            plan.wake_after(again);
        }
        return;
    }
    if !matches!(phase(pod), "Succeeded" | "Failed") {
        let mut status = json!({ "phase": "Failed" });
        if let Some(message) = gone {
            let mut conditions = conditions(pod);
            conditions.retain(|one| one["type"] != "DisruptionTarget");
            conditions.push(json!({
                "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": message,
                "lastTransitionTime": moment.wall.seconds(),
            }));
            status["conditions"] = conditions.into();
        }
        let change = json!({ "status": status });
        plan.then(vec![Action::Patch { of: pod.target(), part: "status", change, told: None }]);
    }
    plan.then(vec![Action::Remove(pod.target())]);
}

fn conditions(pod: &Object) -> Vec<Value> {
    pod["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

/// The Pod's conditions, not ready; none where it is not ready already.
fn not_ready(pod: &Object, wall: WallTime) -> Option<Vec<Value>> {
    let mut conditions = conditions(pod);
    let ready = conditions.iter_mut().find(|one| one["type"] == "Ready" && one["status"] == "True")?;
    ready["status"] = "False".into();
    ready["lastTransitionTime"] = wall.seconds().into();
    Some(conditions)
}

//! The status of a StatefulSet.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{REVISION_LABEL, Revisions, is_running_and_ready};
use crate::steward::action::Plan;
use crate::steward::children::{self, phase};
use crate::steward::object::Object;
use crate::time::WallTime;

/// The status, as the Pods are now; `replaced` Pods of the current revision are being deleted by the plan.
pub(super) fn status(
    set: &Object,
    pods: &[Arc<Object>],
    revisions: &Revisions,
    replaced: i64,
    wall: WallTime,
    plan: &mut Plan,
) -> Value {
    let (mut replicas, mut ready, mut available, mut current, mut updated) = (0, 0, 0, -replaced, 0);
    for pod in pods.iter().filter(|pod| !phase(pod).is_empty()) {
        replicas += 1;
        if is_running_and_ready(pod) {
            ready += 1;
            match children::until_available(pod, children::min_ready(set), wall) {
                Some(missing) if missing.is_zero() => available += 1,
                Some(missing) => plan.wake_after(missing),
                None => {}
            }
        }
        if !pod.is_ending() {
            let revision = pod.label(REVISION_LABEL);
            current += i64::from(revision == Some(&revisions.current));
            updated += i64::from(revision == Some(&revisions.update));
        }
    }
    let mut current_revision = &revisions.current;
    let wanted = set.number("/spec/replicas").unwrap_or(1);
    let is_rolling = set.text("/spec/updateStrategy/type") != "OnDelete";
    if is_rolling && [updated, ready, replicas].iter().all(|number| *number == wanted) {
        // The rolling update is complete.
        current = updated;
        current_revision = &revisions.update;
    }
    let mut status = json!({
        "replicas": replicas,
        "availableReplicas": available,
        "collisionCount": set.number("/status/collisionCount").unwrap_or_default(),
        "currentRevision": current_revision,
        "updateRevision": revisions.update,
    });
    let generation = set.meta.generation.unwrap_or_default();
    let optional = [
        ("readyReplicas", ready),
        ("currentReplicas", current.max(0)),
        ("updatedReplicas", updated),
        ("observedGeneration", generation),
    ];
    for (field, number) in optional.into_iter().filter(|(_, number)| *number != 0) {
        status[field] = number.into();
    }
    if !set["status"]["conditions"].is_null() {
        status["conditions"] = set["status"]["conditions"].clone();
    }
    status
}

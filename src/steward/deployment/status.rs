//! The status of a Deployment, and how far its rollout has come.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Bounds, Case, Sets, Turn, is_paused, sets};
use crate::steward::action::{self, Plan};
use crate::steward::children;
use crate::steward::object::Object;
use crate::time::WallTime;

/// `progressDeadlineSeconds` that stands for none.
const NO_DEADLINE: i64 = i32::MAX as i64;

struct Counts {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
    terminating: i64,
}

fn counts(sets: &Sets) -> Counts {
    let sum = |path: &str| -> i64 { sets.all().map(|set| set.object.number(path).unwrap_or_default()).sum() };
    let updated = sets.new.as_ref().and_then(|new| new.object.number("/status/replicas"));
    Counts {
        replicas: sum("/status/replicas"),
        updated: updated.unwrap_or_default(),
        ready: sum("/status/readyReplicas"),
        available: sum("/status/availableReplicas"),
        terminating: sum("/status/terminatingReplicas"),
    }
}

/// Writes the status, where it has changed.
pub(super) fn tell(case: &Case<'_>, sets: &Sets, turn: Turn, plan: &mut Plan) {
    let deployment = case.deployment;
    let bounds = Bounds::of(deployment);
    let now = counts(sets);
    let total = sets.all().map(|set| set.object.number("/spec/replicas").unwrap_or(1)).sum::<i64>();
    let collisions =
        deployment.number("/status/collisionCount").unwrap_or_default() + i64::from(turn == Turn::Collides);
    let mut status = json!({ "terminatingReplicas": now.terminating });
    let optional = [
        ("observedGeneration", deployment.meta.generation.unwrap_or_default()),
        ("replicas", now.replicas),
        ("updatedReplicas", now.updated),
        ("readyReplicas", now.ready),
        ("availableReplicas", now.available),
        ("unavailableReplicas", (total - now.available).max(0)),
        ("collisionCount", collisions),
    ];
    for (field, number) in optional.into_iter().filter(|(_, number)| *number != 0) {
        status[field] = number.into();
    }
    let mut conditions = Conditions {
        all: deployment["status"]["conditions"].as_array().cloned().unwrap_or_default(),
        wall: case.wall,
    };
    if now.available >= bounds.replicas - bounds.unavailable {
        let message = "Deployment has minimum availability.";
        conditions.set("Available", "True", "MinimumReplicasAvailable", message);
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set("Available", "False", "MinimumReplicasUnavailable", message);
    }
    if deployment.number("/spec/progressDeadlineSeconds").unwrap_or(NO_DEADLINE) == NO_DEADLINE {
        conditions.all.retain(|one| one["type"] != "Progressing");
    } else if !deployment.is_ending() {
        progress(case, sets, turn, &now, &mut conditions, plan);
    }
    tell_failure(sets, &mut conditions);
    status["conditions"] = conditions.all.into();
    plan.then(action::status(deployment, &status).into_iter().collect());
}

/// What keeps a set from having its Pods, the newest set's first.
fn tell_failure(sets: &Sets, conditions: &mut Conditions) {
    let all =
        sets.new.iter().chain(&sets.old).filter_map(|set| set.object["status"]["conditions"].as_array());
    match all.flatten().find(|one| one["type"] == "ReplicaFailure") {
        Some(one) => {
            let text = |field: &str| one[field].as_str().unwrap_or_default();
            conditions.set("ReplicaFailure", text("status"), text("reason"), text("message"));
        }
        None => conditions.all.retain(|one| one["type"] != "ReplicaFailure"),
    }
}

/// Whether the status says that the newest template has all Pods, and that they are available.
pub(super) fn is_complete(deployment: &Object) -> bool {
    let replicas = deployment.number("/spec/replicas").unwrap_or(1);
    let counts = ["/status/updatedReplicas", "/status/replicas", "/status/availableReplicas"];
    counts.iter().all(|path| deployment.number(path).unwrap_or_default() == replicas)
        && deployment.number("/status/observedGeneration") >= deployment.meta.generation
}

struct Conditions {
    all: Vec<Value>,
    wall: WallTime,
}

impl Conditions {
    fn get(&self, kind: &str) -> Option<&Value> {
        self.all.iter().find(|one| one["type"] == kind)
    }

    /// Why the rollout stands where it does.
    fn reason(&self) -> &str {
        self.get("Progressing").and_then(|one| one["reason"].as_str()).unwrap_or_default()
    }

    fn progressing(&mut self, status: &str, reason: &str, message: &str) {
        self.set("Progressing", status, reason, message);
    }

    /// Leaves alone what says the same already.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let is_same = self.get(kind).is_some_and(|one| one["status"] == status && one["reason"] == reason);
        if !is_same {
            self.renew(kind, status, reason, message);
        }
    }

    fn renew(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let now = Value::from(self.wall.seconds());
        let before = self.get(kind).filter(|one| one["status"] == status);
        let since = before.map_or(now.clone(), |one| one["lastTransitionTime"].clone());
        let condition = json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastUpdateTime": now, "lastTransitionTime": since,
        });
        self.all.retain(|one| one["type"] != kind);
        self.all.push(condition);
    }
}

/// What the condition `Progressing` says.
fn progress(
    case: &Case<'_>,
    sets: &Sets,
    turn: Turn,
    now: &Counts,
    conditions: &mut Conditions,
    plan: &mut Plan,
) {
    let deployment = case.deployment;
    let of_set = sets.new.as_ref().map_or_else(
        || format!("Deployment {:?}", deployment.name()),
        |new| format!("ReplicaSet {:?}", new.object.name()),
    );
    if is_paused(deployment) {
        if conditions.reason() != "ProgressDeadlineExceeded" {
            conditions.progressing("Unknown", "DeploymentPaused", "Deployment is paused");
        }
        return;
    }
    if conditions.reason() == "DeploymentPaused" {
        conditions.progressing("Unknown", "DeploymentResumed", "Deployment is resumed");
    }
    if let Some(failure) = case.failure.filter(|failure| failure.reason == "FailedCreate") {
        let name = sets::name(deployment).0;
        let message = format!("Failed to create new replica set {name:?}: {}", failure.message);
        conditions.progressing("False", "ReplicaSetCreateError", &message);
    }
    match turn {
        Turn::Makes => {
            let message = format!("Created new replica set {:?}", sets::name(deployment).0);
            conditions.progressing("True", "NewReplicaSetCreated", &message);
        }
        Turn::Rolls => {
            if conditions.get("Progressing").is_none() && sets.new.is_some() {
                let message = format!("Found new replica set{}", of_set.trim_start_matches("ReplicaSet"));
                conditions.progressing("True", "FoundNewReplicaSet", &message);
            }
            estimate(case, &of_set, now, conditions, plan);
        }
        Turn::Collides | Turn::Rests => {}
    }
}

/// Complete, a step further, or without a step for too long.
fn estimate(case: &Case<'_>, of_set: &str, now: &Counts, conditions: &mut Conditions, plan: &mut Plan) {
    let deployment = case.deployment;
    let replicas = deployment.number("/spec/replicas").unwrap_or(1);
    // A rollout that was complete begins anew only with another template.
    if conditions.reason() == "NewReplicaSetAvailable" && now.replicas == now.updated {
        return;
    }
    let before = |field: &str| deployment["status"][field].as_i64().unwrap_or_default();
    let is_complete = [now.updated, now.replicas, now.available].iter().all(|number| *number == replicas);
    let is_progressing = now.updated > before("updatedReplicas")
        || now.replicas - now.updated < before("replicas") - before("updatedReplicas")
        || now.ready > before("readyReplicas")
        || now.available > before("availableReplicas");
    if is_complete {
        let message = format!("{of_set} has successfully progressed.");
        conditions.progressing("True", "NewReplicaSetAvailable", &message);
    } else if is_progressing {
        conditions.renew("Progressing", "True", "ReplicaSetUpdated", &format!("{of_set} is progressing."));
    } else if !matches!(conditions.reason(), "ProgressDeadlineExceeded" | "NewReplicaSetAvailable") {
        let since = conditions.get("Progressing").and_then(|one| one["lastUpdateTime"].as_str());
        let Some(since) = since.and_then(WallTime::parse) else { return };
        let deadline = deployment.number("/spec/progressDeadlineSeconds").unwrap_or_default();
        let allowed = Duration::from_secs(u64::try_from(deadline).unwrap_or_default());
        let left = children::missing(since, allowed, case.wall);
        if left.is_zero() {
            let message = format!("{of_set} has timed out progressing.");
            conditions.progressing("False", "ProgressDeadlineExceeded", &message);
        } else {
            plan.wake_after(left);
        }
    }
}

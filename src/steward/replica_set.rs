//! Sets of replicas (`ReplicaSet`, `ReplicationController`), as Kubernetes' own controllers keep them: so many Pods of one template, made
//! in batches that start slowly and deleted in upstream's order.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::action::{self, Action, Plan};
use super::children::{self, is_active, is_ready};
use super::object::{Object, id};
use super::queue::Failure;
use crate::api::selectors::Selector;
use crate::time::WallTime;

/// Most Pods that one plan makes or deletes, as upstream's burst.
const BURST: usize = 500;

/// Annotation of a Pod: what its deletion costs, against its siblings'.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Condition of a set whose Pods cannot be made or deleted.
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Everything about one set.
#[derive(Debug)]
pub struct Case<'a> {
    /// The `ReplicaSet` or `ReplicationController`.
    pub set: &'a Object,
    /// What it selects.
    pub selector: &'a Selector,
    /// Pods it controls.
    pub pods: Vec<Arc<Object>>,
    /// Pods that it selects and nobody controls.
    pub orphans: Vec<Arc<Object>>,
    /// Pods of all sets of the same Deployment, this one included; none where no Deployment stands above.
    pub related: Vec<Arc<Object>>,
    /// Why the last plan was not carried out.
    pub failure: Option<&'a Failure>,
    /// Now.
    pub wall: WallTime,
}

/// What is to be done.
pub fn plan(case: Case<'_>) -> Plan {
    let Case { set, selector, pods, orphans, related, failure, wall } = case;
    let mut plan = Plan::default();
    // A Pod that has ended is not adopted: nothing would be gained.
    let orphans = orphans.into_iter().filter(|pod| is_active(pod)).collect();
    let claimed = children::claim(set, selector, |_| true, None, pods, orphans);
    let (active, rest): (Vec<_>, Vec<_>) = claimed.kept.into_iter().partition(|pod| is_active(pod));
    let terminating = rest.iter().filter(|pod| pod.is_ending() && !has_ended(pod)).count();
    if failure.is_none() {
        plan.waves = claimed.waves;
        if !set.is_ending() {
            manage(set, &active, &related, wall, &mut plan);
        }
    }
    let status = status(set, &active, terminating, failure, wall, &mut plan);
    plan.then(action::status(set, &status).into_iter().collect());
    plan
}

fn has_ended(pod: &Object) -> bool {
    matches!(children::phase(pod), "Succeeded" | "Failed")
}

fn wanted(set: &Object) -> usize {
    usize::try_from(set.number("/spec/replicas").unwrap_or(1)).unwrap_or_default()
}

fn manage(set: &Object, active: &[Arc<Object>], related: &[Arc<Object>], wall: WallTime, plan: &mut Plan) {
    let wanted = wanted(set);
    if active.len() < wanted {
        let count = (wanted - active.len()).min(BURST);
        let first = children::numbers_taken(set);
        let creations = (first..first + count as u64).map(|number| creation(set, number)).collect();
        plan.then(vec![children::take_numbers(set, count as u64)]);
        plan.slowly(creations);
    } else if active.len() > wanted {
        let mut ranked = active.to_vec();
        let count = (active.len() - wanted).min(BURST);
        let ranks = ranks(related);
        ranked.sort_by(|a, b| first_to_go(a, b, &ranks, wall));
        let deletions = ranked.iter().take(count).map(|pod| Action::Delete {
            of: pod.target(),
            propagation: None,
            told: Some(children::told_deleted(pod.name())),
        });
        plan.then(deletions.collect());
    }
}

fn creation(set: &Object, number: u64) -> Action {
    let name = children::name(set.name(), set.uid(), number);
    let mut object = children::pod(&set["spec"]["template"], set, &name);
    object["metadata"]["generateName"] = children::generate_name(set.name()).into();
    Action::Create { kind: id("", "Pod"), object, told: Some(children::told_created(&name)) }
}

/// How many Pods of the same Deployment each node has.
fn ranks(related: &[Arc<Object>]) -> BTreeMap<String, usize> {
    let mut ranks = BTreeMap::new();
    for pod in related.iter().filter(|pod| is_active(pod)) {
        *ranks.entry(pod.text("/spec/nodeName").to_owned()).or_default() += 1;
    }
    ranks
}

/// Whether the one Pod goes before the other: unassigned, pending, not ready, cheap, crowded, younger, restarted ones
/// first.
fn first_to_go(a: &Object, b: &Object, ranks: &BTreeMap<String, usize>, wall: WallTime) -> Ordering {
    let cost = |pod: &Object| {
        pod.annotation(DELETION_COST).and_then(|cost| cost.parse::<i32>().ok()).unwrap_or_default()
    };
    let rank = |pod: &Object| ranks.get(pod.text("/spec/nodeName")).copied().unwrap_or_default();
    let by_readiness = || match (children::ready_since(a), children::ready_since(b)) {
        (Some(one), Some(other)) if is_ready(a) && is_ready(b) => younger(one, other, (a, b), wall),
        _ => Ordering::Equal,
    };
    let created = |pod: &Object| {
        pod.meta.creation_timestamp.as_ref().map_or(WallTime(jiff::Timestamp::MIN), |time| WallTime(time.0))
    };
    children::unassigned_first(a, b)
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| rank(b).cmp(&rank(a)))
        .then_with(by_readiness)
        .then_with(|| children::restarts(b).cmp(&children::restarts(a)))
        .then_with(|| younger(created(a), created(b), (a, b), wall))
}

/// The younger first, but by the order of magnitude of their ages only, so that a rollout's last Pods are not always
/// the ones to go; within one, by UID.
fn younger(a: WallTime, b: WallTime, pods: (&Object, &Object), wall: WallTime) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let magnitude = |since: WallTime| {
        let age = u64::try_from(wall.0.duration_since(since.0).as_nanos()).unwrap_or_default();
        age.checked_ilog2().map_or(-1, i64::from)
    };
    let by_magnitude = magnitude(a).cmp(&magnitude(b));
    by_magnitude.then_with(|| pods.0.uid().cmp(pods.1.uid()))
}

fn status(
    set: &Object,
    active: &[Arc<Object>],
    terminating: usize,
    failure: Option<&Failure>,
    wall: WallTime,
    plan: &mut Plan,
) -> Value {
    let min_ready = children::min_ready(set);
    let labels = set["spec"]["template"]["metadata"]["labels"].as_object();
    let is_labelled =
        |pod: &Object| labels.into_iter().flatten().all(|(label, value)| pod.label(label) == value.as_str());
    let labelled = active.iter().filter(|pod| is_labelled(pod)).count();
    let (mut ready, mut available) = (0, 0);
    for missing in active.iter().filter_map(|pod| children::until_available(pod, min_ready, wall)) {
        ready += 1;
        if missing == Duration::ZERO {
            available += 1;
        } else {
            plan.wake_after(missing);
        }
    }
    let mut status = json!({ "replicas": active.len() });
    let generation = usize::try_from(set.meta.generation.unwrap_or_default()).unwrap_or_default();
    let optional = [
        ("fullyLabeledReplicas", labelled),
        ("readyReplicas", ready),
        ("availableReplicas", available),
        ("observedGeneration", generation),
    ];
    for (field, number) in optional.into_iter().filter(|(_, number)| *number != 0) {
        status[field] = number.into();
    }
    if set.row().kind == "ReplicaSet" {
        status["terminatingReplicas"] = terminating.into();
    }
    let conditions = conditions(set, failure, active.len(), wall);
    if !conditions.is_empty() {
        status["conditions"] = conditions.into();
    }
    status
}

fn conditions(set: &Object, failure: Option<&Failure>, have: usize, wall: WallTime) -> Vec<Value> {
    let mut all = set["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let told = all.iter().any(|condition| condition["type"] == REPLICA_FAILURE);
    match failure {
        None => all.retain(|condition| condition["type"] != REPLICA_FAILURE),
        Some(failure) if !told => {
            let reason = if have < wanted(set) { "FailedCreate" } else { "FailedDelete" };
            all.push(json!({
                "type": REPLICA_FAILURE,
                "status": "True",
                "reason": reason,
                "message": failure.message,
                "lastTransitionTime": wall.seconds(),
            }));
        }
        Some(_) => {}
    }
    all
}

#[cfg(test)]
mod tests;

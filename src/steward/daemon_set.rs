//! Status and revisions of a DaemonSet, as Kubernetes' own controller keeps them, and the tickets of its rollout. Which
//! node hosts its Pods, the nodes decide themselves.

pub mod rollout;
mod tally;

use std::sync::Arc;

use serde_json::{Value, json};

use super::action::{self, Action, Plan};
use super::children;
use super::history::{Current, History};
use super::object::Object;
use crate::api::hash::template_hash;
use crate::api::selectors::Selector;
use crate::time::WallTime;
pub use tally::Tally;

/// Label of Pods and revisions with the template's hash.
pub const REVISION_LABEL: &str = "controller-revision-hash";

/// Everything about one DaemonSet.
#[derive(Debug)]
pub struct Case<'a> {
    /// It.
    pub set: &'a Object,
    /// What it selects.
    pub selector: &'a Selector,
    /// The count of its Pods.
    pub tally: &'a mut Tally,
    /// Pods that it controls and does not select.
    pub strays: Vec<Arc<Object>>,
    /// Pods that it selects and nobody controls.
    pub orphans: Vec<Arc<Object>>,
    /// Revisions it controls.
    pub revisions: Vec<Arc<Object>>,
    /// Revisions that it selects and nobody controls.
    pub orphan_revisions: Vec<Arc<Object>>,
    /// Leases it controls: the tickets of its rollout.
    pub leases: Vec<Arc<Object>>,
    /// Now.
    pub wall: WallTime,
}

/// The hash of the template as it stands.
pub fn hash(set: &Object) -> String {
    let collisions = set.number("/status/collisionCount").and_then(|count| i32::try_from(count).ok());
    template_hash(&set["spec"]["template"], collisions)
}

/// What is to be written. Looks again when a Pod that is ready will have been so for `minReadySeconds`.
pub fn plan(case: Case<'_>) -> Plan {
    let Case { set, selector, tally, strays, orphans, revisions, orphan_revisions, leases, wall } = case;
    let mut plan = Plan::default();
    let pods = children::claim(set, selector, |_| true, None, strays, orphans);
    let revisions = children::claim(set, selector, |_| true, None, revisions, orphan_revisions);
    plan.waves.extend(pods.waves.into_iter().chain(revisions.waves));
    let hash = hash(set);
    let history = History { owner: set, hash: &hash, label: REVISION_LABEL, revisions: &revisions.kept };
    let mut collision = false;
    if !set.is_ending() {
        let current = history.current();
        let in_use =
            |revision: &Object| revision.label(REVISION_LABEL).is_some_and(|hash| tally.has_pods_of(hash));
        let trimmed = history.trim(current.name(), in_use, true);
        match current {
            Current::Kept(_) => {}
            Current::Made { action, .. } => plan.then(vec![*action]),
            Current::Collision => collision = true,
        }
        plan.then(trimmed);
        if !collision {
            plan.then(rollout::tickets(set, tally, &leases));
        }
    }
    let (status, wake) = status(set, tally, collision, wall);
    plan.then(action::status(set, &status).into_iter().collect::<Vec<Action>>());
    plan.wake = wake;
    plan
}

fn status(
    set: &Object,
    tally: &mut Tally,
    collision: bool,
    wall: WallTime,
) -> (Value, Option<std::time::Duration>) {
    let (count, wake) = tally.count(wall);
    let mut status = json!({
        "currentNumberScheduled": count.current,
        "desiredNumberScheduled": count.desired,
        "numberMisscheduled": count.misscheduled,
        "numberReady": count.ready,
    });
    // Upstream leaves out zeros of the optional numbers.
    let optional = [
        ("observedGeneration", set.meta.generation.unwrap_or_default()),
        ("updatedNumberScheduled", count.updated),
        ("numberAvailable", count.available),
        ("numberUnavailable", count.desired - count.available),
        ("collisionCount", set.number("/status/collisionCount").unwrap_or_default() + i64::from(collision)),
    ];
    for (field, number) in optional.into_iter().filter(|(_, number)| *number != 0) {
        status[field] = number.into();
    }
    if !set["status"]["conditions"].is_null() {
        status["conditions"] = set["status"]["conditions"].clone();
    }
    (status, wake)
}

#[cfg(test)]
mod tests;

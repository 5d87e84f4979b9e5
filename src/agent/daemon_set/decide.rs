//! What one DaemonSet needs on this node: a function of what is here, without memory.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::interface::{Departure, Obstacle, Standing};
use super::prototype::Prototype;
use crate::placement::Room;
use crate::placement::daemon_set::Verdict;
use crate::time::Instant;

/// One Pod of the DaemonSet, as far as the decision looks at it.
#[derive(Clone, Debug)]
pub(super) struct Present {
    pub(super) uid: String,
    pub(super) name: String,
    /// As it stands in the object; equal times are told apart by name.
    pub(super) created: Option<jiff::Timestamp>,
    pub(super) course: Course,
    /// It is deleted, or asked to be.
    pub(super) leaving: bool,
    /// It is of the newest revision.
    pub(super) current: bool,
    pub(super) available_at: Option<Instant>,
}

/// How far a Pod's run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    Running,
    Failed,
    Succeeded,
}

/// Everything the decision looks at.
#[derive(Debug)]
pub(super) struct Case<'a> {
    pub(super) set: &'a DaemonSet,
    pub(super) prototype: &'a Prototype,
    pub(super) verdict: Verdict,
    /// Without Pods that are deleted and have ended: they are gone but for the record.
    pub(super) pods: Vec<Present>,
    /// A Pod is being made.
    pub(super) starting: bool,
    pub(super) room: &'a Room,
    /// Keeps new Pods away beside what the verdict says.
    pub(super) obstacle: Option<Obstacle>,
    /// When failed Pods may be replaced; none: now.
    pub(super) failed_until: Option<Instant>,
    /// The node holds a ticket of the rollout.
    pub(super) has_ticket: bool,
    pub(super) now: Instant,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) departures: Vec<(String, Departure)>,
    pub(super) create: bool,
    /// The ticket has served.
    pub(super) give_back: bool,
    pub(super) standing: Standing,
    /// When time alone may change the decision.
    pub(super) wake: Option<Instant>,
}

impl Decision {
    fn standing(standing: Standing) -> Self {
        Self { departures: Vec::new(), create: false, give_back: false, standing, wake: None }
    }
}

/// Decides. Every Pod that has to go is named once; at most one Pod is made.
pub(super) fn decide(case: &Case<'_>) -> Decision {
    if !case.verdict.may_stay {
        return depart(case);
    }
    let (ended, mut running): (Vec<_>, Vec<_>) =
        case.pods.iter().filter(|pod| !pod.leaving).partition(|pod| pod.course != Course::Running);
    running.sort_by_key(|pod| (pod.created, &pod.name));
    let mut decision = if surges(case.set) { surge(case, &running) } else { replace(case, &running) };
    for pod in &ended {
        match (pod.course, case.failed_until) {
            (Course::Failed, Some(until)) => {
                decision.wake = Some(decision.wake.map_or(until, |at| at.min(until)));
            }
            (Course::Failed, None) => decision.departures.push((pod.uid.clone(), Departure::Failed)),
            (Course::Succeeded, _) => decision.departures.push((pod.uid.clone(), Departure::Succeeded)),
            (Course::Running, _) => {}
        }
    }
    if case.has_ticket {
        match served(case) {
            Served::Yes => decision.give_back = true,
            Served::At(at) => decision.wake = Some(decision.wake.map_or(at, |wake| wake.min(at))),
            Served::No => {}
        }
    }
    // Stop before start: what has ended, and perhaps waits for its back-off, goes before the next comes.
    if !ended.is_empty() && decision.create {
        decision.create = false;
        decision.standing = match (case.failed_until, running.is_empty()) {
            (Some(until), true) => Standing::NotHosted(Obstacle::Failed { until }),
            (Some(until), false) => Standing::Outdated(Obstacle::Failed { until }),
            (None, true) => Standing::Leaving,
            (None, false) => Standing::Surging,
        };
    }
    decision
}

/// How far the ticket has served.
enum Served {
    Yes,
    /// By time alone it will have.
    At(Instant),
    No,
}

/// A ticket has served when no Pod of an older revision is left and the one of the newest is available.
fn served(case: &Case<'_>) -> Served {
    let is_alone = case.pods.iter().all(|pod| pod.current && !pod.leaving && pod.course == Course::Running);
    let available = case.pods.iter().filter(|_| is_alone).find_map(|pod| pod.available_at);
    match available {
        Some(at) if at <= case.now => Served::Yes,
        Some(at) => Served::At(at),
        None => Served::No,
    }
}

/// No Pod may stay here.
fn depart(case: &Case<'_>) -> Decision {
    let reasons = case.verdict.reasons.clone();
    let staying = case.pods.iter().filter(|pod| !pod.leaving);
    let departures = staying.map(|pod| (pod.uid.clone(), Departure::NotEligible(reasons.clone()))).collect();
    let standing = Standing::NotHosted(Obstacle::Placement(reasons));
    Decision { departures, ..Decision::standing(standing) }
}

/// One Pod at a time: the old one goes before the new one comes.
fn replace(case: &Case<'_>, running: &[&Present]) -> Decision {
    let updates = updates_by_itself(case.set);
    let kept = running.iter().find(|pod| pod.current && updates).or(running.first());
    let Some(kept) = kept else { return first(case, case.pods.iter().any(|pod| pod.leaving)) };
    let duplicates = running.iter().filter(|pod| pod.uid != kept.uid);
    let mut decision = Decision::standing(Standing::Hosted);
    decision.departures = duplicates.map(|pod| (pod.uid.clone(), Departure::Duplicate)).collect();
    if updates && !kept.current {
        match obstacle(case, Some(&kept.uid)).or_else(|| no_ticket(case)) {
            None => {
                decision.departures.push((kept.uid.clone(), Departure::Outdated));
                decision.standing = Standing::Leaving;
            }
            Some(obstacle) => {
                decision.wake = due(&obstacle);
                decision.standing = Standing::Outdated(obstacle);
            }
        }
    }
    decision
}

/// The new Pod comes first, and the old one goes when the new one is available, or when it is of no use itself.
fn surge(case: &Case<'_>, running: &[&Present]) -> Decision {
    let new = running.iter().find(|pod| pod.current);
    let old = running.iter().find(|pod| !pod.current);
    let kept = [new, old].into_iter().flatten().map(|pod| &pod.uid).collect::<Vec<_>>();
    let duplicates = running.iter().filter(|pod| !kept.contains(&&pod.uid));
    let mut decision = match (new, old) {
        (None, None) => first(case, false),
        (Some(_), None) => Decision::standing(Standing::Hosted),
        (None, Some(_)) if case.starting => Decision::standing(Standing::Surging),
        (None, Some(_)) => match obstacle(case, None).or_else(|| no_ticket(case)) {
            None => Decision { create: true, ..Decision::standing(Standing::Surging) },
            Some(obstacle) => {
                Decision { wake: due(&obstacle), ..Decision::standing(Standing::Outdated(obstacle)) }
            }
        },
        (Some(new), Some(old)) => hand_over(case, new, old),
    };
    decision.departures.extend(duplicates.map(|pod| (pod.uid.clone(), Departure::Duplicate)));
    decision
}

fn hand_over(case: &Case<'_>, new: &Present, old: &Present) -> Decision {
    let available = new.available_at.is_some_and(|at| at <= case.now);
    if available || old.available_at.is_none() {
        let departures = vec![(old.uid.clone(), Departure::Superseded)];
        return Decision { departures, ..Decision::standing(Standing::Hosted) };
    }
    Decision { wake: new.available_at, ..Decision::standing(Standing::Surging) }
}

/// No Pod is here that could do the work: make one, unless something is in the way.
fn first(case: &Case<'_>, is_leaving: bool) -> Decision {
    if case.starting {
        return Decision::standing(Standing::Starting);
    }
    if let Some(obstacle) = stationary(case) {
        return Decision { wake: due(&obstacle), ..Decision::standing(Standing::NotHosted(obstacle)) };
    }
    if is_leaving {
        return Decision::standing(Standing::Leaving);
    }
    match obstacle(case, None) {
        None => Decision { create: true, ..Decision::standing(Standing::Starting) },
        Some(obstacle) => {
            Decision { wake: due(&obstacle), ..Decision::standing(Standing::NotHosted(obstacle)) }
        }
    }
}

/// A Pod of an older revision is replaced under a ticket.
fn no_ticket(case: &Case<'_>) -> Option<Obstacle> {
    (!case.has_ticket).then_some(Obstacle::Ticket)
}

/// What keeps a new Pod away, room included; `leaving` is one that will have gone by then.
fn obstacle(case: &Case<'_>, leaving: Option<&str>) -> Option<Obstacle> {
    stationary(case).or_else(|| {
        let lacks = case.room.lacks(case.prototype.demand(), leaving);
        (!lacks.is_empty()).then_some(Obstacle::Placement(lacks))
    })
}

/// What keeps a new Pod away whatever the room.
fn stationary(case: &Case<'_>) -> Option<Obstacle> {
    if case.verdict.should_run() {
        return case.obstacle.clone();
    }
    Some(Obstacle::Placement(case.verdict.reasons.clone()))
}

fn due(obstacle: &Obstacle) -> Option<Instant> {
    match obstacle {
        Obstacle::Failed { until } | Obstacle::Refused { until, .. } => Some(*until),
        Obstacle::Placement(_)
        | Obstacle::Ticket
        | Obstacle::Deleted
        | Obstacle::Selector
        | Obstacle::Offline => None,
    }
}

fn strategy(set: &DaemonSet) -> Option<&DaemonSetUpdateStrategy> {
    set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref())
}

/// `RollingUpdate`, the default; `OnDelete` leaves it to people to delete Pods of an old revision.
fn updates_by_itself(set: &DaemonSet) -> bool {
    strategy(set).and_then(|strategy| strategy.type_.as_deref()) != Some("OnDelete")
}

/// Whether the DaemonSet allows a second Pod on the node while it is updated. A percentage, of one node, counts as
/// one, unless it is zero.
fn surges(set: &DaemonSet) -> bool {
    let max_surge = strategy(set)
        .and_then(|strategy| strategy.rolling_update.as_ref())
        .and_then(|rolling| rolling.max_surge.as_ref());
    updates_by_itself(set)
        && match max_surge {
            None => false,
            Some(IntOrString::Int(count)) => *count > 0,
            Some(IntOrString::String(percent)) => {
                percent.trim_end_matches('%').parse::<u32>().is_ok_and(|percent| percent > 0)
            }
        }
}

/// How long a Pod has to be ready to be available.
pub(super) fn min_ready(set: &DaemonSet) -> Duration {
    let seconds = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

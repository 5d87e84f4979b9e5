//! One Pod that no node has yet.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{ANSWER_MAX, ANSWER_MIN};
use crate::placement::decline::{self, POD_SCHEDULED};
use crate::time::{Instant, WallTime};

/// Pods of other schedulers are theirs to bind.
const SCHEDULER: &str = "default-scheduler";

/// Reason of `PodScheduled` while no node can host the Pod, as upstream's.
const UNSCHEDULABLE: &str = "Unschedulable";

/// How long what a Pod says of itself may be behind what is so: it grows to this while it keeps changing.
const TELL_MAX: Duration = Duration::from_secs(30);

/// An offer that is under way.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) node: String,
    pub(super) until: Instant,
}

/// Whether a Pod says why it waits.
#[derive(Debug)]
pub(super) enum Telling {
    /// It says this now.
    Now(Box<PodCondition>),
    /// It has said something a moment ago; the news can wait until then.
    Later(Instant),
    /// It says so already.
    Known,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) pod: Arc<Pod>,
    pub(super) priority: i32,
    pub(super) created: Option<jiff::Timestamp>,
    pub(super) is_writing: bool,
    pub(super) offer: Option<Offer>,
    /// Nodes that have been asked in this round, and what came of it.
    pub(super) asked: BTreeMap<String, Vec<String>>,
    round: u32,
    next_round: Option<Instant>,
    /// When it was last told why it waits, and how long until the next time.
    told: Option<(Instant, Duration)>,
}

impl Pending {
    pub(super) fn new(pod: &Arc<Pod>) -> Self {
        let mut pending = Self {
            pod: pod.clone(),
            priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default(),
            created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            is_writing: false,
            offer: None,
            asked: BTreeMap::new(),
            round: 0,
            next_round: None,
            told: None,
        };
        pending.asked.extend(decline::read(pod).filter(|_| nominated(pod).is_none()));
        pending
    }

    /// Where it was offered to somebody and is not any more, it was declined.
    pub(super) fn hear_answer(&mut self) {
        if nominated(&self.pod).is_some() {
            return;
        }
        let Some(offer) = self.offer.take() else { return };
        let answer = decline::read(&self.pod).filter(|(node, _)| *node == offer.node);
        self.asked.extend(answer);
    }

    /// Whether the Pod as known is a later version than this one.
    pub(super) fn is_newer_than(&self, pod: &Pod) -> bool {
        let version = |pod: &Pod| pod.metadata.resource_version.as_ref()?.parse::<u64>().ok();
        version(&self.pod).zip(version(pod)).is_some_and(|(known, told)| known > told)
    }

    /// How long a node has to answer in this round.
    pub(super) fn patience(&self) -> Duration {
        ANSWER_MIN.saturating_mul(1 << self.round.min(16)).min(ANSWER_MAX)
    }

    /// Until when the node that it is nominated to may answer. Whoever made the offer before this steward, the node
    /// gets its time.
    pub(super) fn offered_until(&mut self, node: &str, now: Instant) -> Instant {
        let until = now + self.patience();
        match &self.offer {
            Some(offer) if offer.node == node => offer.until,
            Some(_) | None => {
                self.offer = Some(Offer { node: node.to_owned(), until });
                until
            }
        }
    }

    /// Begins the next round when it is due.
    pub(super) fn begin_round(&mut self, now: Instant) {
        if self.next_round.is_some_and(|at| at <= now) {
            self.next_round = None;
            self.round += 1;
            self.asked.clear();
        }
    }

    /// Everybody who could host it has been asked. When the next round begins; never where nobody could.
    pub(super) fn end_round(&mut self, now: Instant) -> Option<Instant> {
        if self.asked.is_empty() {
            self.next_round = None;
        } else if self.next_round.is_none() {
            self.next_round = Some(now + self.patience());
        }
        self.next_round
    }

    /// What is to be said of why it waits.
    pub(super) fn tell(&mut self, message: &str, now: Instant, wall: WallTime) -> Telling {
        let before = decline::scheduled(&self.pod);
        let says = |condition: &&PodCondition| {
            condition.reason.as_deref() == Some(UNSCHEDULABLE)
                && condition.message.as_deref() == Some(message)
        };
        if before.is_some_and(|condition| says(&condition)) {
            return Telling::Known;
        }
        let pause = match self.told {
            Some((at, pause)) if now < at + pause => return Telling::Later(at + pause),
            Some((_, pause)) => (pause * 2).min(TELL_MAX),
            None => ANSWER_MIN,
        };
        self.told = Some((now, pause));
        let since = before.filter(|condition| condition.status == "False");
        let since = since.and_then(|condition| condition.last_transition_time.clone());
        Telling::Now(Box::new(PodCondition {
            type_: POD_SCHEDULED.to_owned(),
            status: "False".to_owned(),
            reason: Some(UNSCHEDULABLE.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: since.or(Some(Time(wall.0))),
            ..PodCondition::default()
        }))
    }

    /// When to look whether what it says is still so.
    pub(super) fn retell_at(&self) -> Option<Instant> {
        self.told.map(|(at, pause)| at + pause)
    }
}

/// The node that has the Pod.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

/// The node that the Pod is offered to.
pub(super) fn nominated(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.nominated_node_name.as_deref().filter(|name| !name.is_empty())
}

/// Whether its containers have ended for good.
pub(super) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether the Pod is to be offered: unbound, alive, without gates, and nobody else's to place.
pub(super) fn is_for_us(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let is_gated = spec.scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty());
    let scheduler = spec.scheduler_name.as_deref().unwrap_or(SCHEDULER);
    node_of(pod).is_none()
        && pod.metadata.deletion_timestamp.is_none()
        && !has_ended(pod)
        && !is_gated
        && matches!(scheduler, "" | SCHEDULER)
}

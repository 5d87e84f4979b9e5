//! Requests to the coordinator and its replies, and what the network does with both.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::pods::{PodCall, PodSaid, version_of};
use super::script::{Fate, travel_time};
use super::store::{Key, Kind, Said};
use super::watches::Shown;
use super::world::{Event, Process, World};
use crate::lease::session::Answer;
use crate::lease::wire;
use crate::time::Instant;

/// Which machine of the agent asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    Session,
    Shards,
    Monitor,
    /// The claim of the Pod with this number.
    Claim(u32),
    Host,
    Steward,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Read,
    Create(Box<Lease>),
    Update(Box<Lease>),
    /// With the number of the watch.
    Watch(u64),
    Pod(PodCall),
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) asker: Asker,
    pub(super) number: u64,
    pub(super) key: Key,
    pub(super) what: What,
    /// By the agent's own clock.
    pub(super) sent: Instant,
    /// True time.
    pub(super) sent_at: Duration,
    /// The highest version that the agent had seen then.
    pub(super) floor: u64,
}

/// What comes back.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) asker: Asker,
    pub(super) number: u64,
    pub(super) answer: Answer,
    /// To a request about a Pod.
    pub(super) pod: Option<PodSaid>,
    /// Version of what was written.
    pub(super) version: Option<u64>,
    pub(super) floor: u64,
}

impl World {
    /// Sends a request on its way.
    pub(super) fn send(&mut self, from: Process, call: &Call) {
        let blocked = self.nodes[from.node].no_way_up;
        for when in self.travels(blocked) {
            self.at(when, Event::Arrive(from, call.clone()));
        }
    }

    /// When the copies of a message arrive. What cannot pass is lost, or sent again until it passes.
    fn travels(&mut self, blocked: Duration) -> Vec<Duration> {
        self.messages += 1;
        let number = self.messages;
        let fate = self.fates.next(number, &mut self.script.fates);
        if blocked > self.now && number.is_multiple_of(2) {
            return Vec::new();
        }
        let plain = self.now.max(blocked) + travel_time(number);
        match fate {
            None => vec![plain],
            Some(Fate::Lost) => {
                self.statistics.count("message lost");
                Vec::new()
            }
            Some(Fate::Late(ms)) => {
                self.statistics.count("message late");
                vec![plain + Duration::from_millis(ms)]
            }
            Some(Fate::Twice(ms)) => {
                self.statistics.count("message doubled");
                vec![plain, plain + Duration::from_millis(ms)]
            }
        }
    }

    /// A request reaches the coordinator.
    pub(super) fn arrive(&mut self, from: Process, call: &Call) {
        if self.outage > self.now {
            return self.reply(from, call, Answer::Failed, None);
        }
        let said = match &call.what {
            What::Watch(watch) => return self.subscribe(from, *watch, call.key.0),
            What::Pod(about) => return self.about_pod(from, call, about),
            What::Read => self.store.read(&call.key),
            What::Create(lease) => self.store.create(call.key.clone(), (**lease).clone()),
            What::Update(lease) => self.store.update(call.key.clone(), (**lease).clone()),
        };
        if let Said::Written(lease) = &said {
            self.written(from, call, lease);
        }
        let answer = match said {
            Said::Found(lease) => Answer::Found(Box::new((*lease).clone())),
            Said::Written(lease) => Answer::Written(Box::new((*lease).clone())),
            Said::Conflict => {
                self.statistics.count("conflict");
                Answer::Conflict
            }
            Said::Absent => Answer::Absent { node_made: self.node_made(from, call) },
        };
        self.reply(from, call, answer, None);
    }

    fn about_pod(&mut self, from: Process, call: &Call, about: &PodCall) {
        let (said, change) = self.store.on_pod(&call.key.1, about);
        self.pod_written(about, &change);
        if change.before.is_some() || change.after.is_some() {
            self.publish_pod(&change);
        }
        self.reply(from, call, Answer::Failed, Some(said));
    }

    /// Where a session's Lease is absent, its reader makes the Node.
    fn node_made(&mut self, from: Process, call: &Call) -> Option<Instant> {
        let reads = call.asker == Asker::Session && matches!(call.what, What::Read);
        let made = reads && self.store.register(&self.nodes[from.node].name);
        made.then_some(call.sent)
    }

    /// Something was written: the oracles look at it, and whoever watches hears of it.
    fn written(&mut self, from: Process, call: &Call, lease: &std::rc::Rc<Lease>) {
        match (call.asker, call.key.0) {
            (Asker::Session, _) => self.oracles.session_written(lease, call.sent),
            (Asker::Monitor, _) => self.revoked(lease),
            (Asker::Shards, _) => self.shard_written(from, lease),
            (Asker::Claim(_), _) => self.identity_taken(from, lease),
            (Asker::Steward, _) => self.statistics.count("identity freed after a revocation"),
            (Asker::Host, _) => {}
        }
        if self.now > call.sent_at + self.config.timeout() {
            self.statistics.count("write applied after its sender gave up");
        }
        let version = self.store.version();
        self.publish(call.key.0, &Shown::Changed(std::rc::Rc::clone(lease), version));
    }

    fn reply(&mut self, to: Process, call: &Call, answer: Answer, pod: Option<PodSaid>) {
        let version = match (&answer, &pod) {
            (Answer::Written(lease), _) => Some(wire::revision(lease)),
            (_, Some(PodSaid::Is(pod))) if !matches!(call.what, What::Pod(PodCall::Look)) => {
                version_of(pod).parse().ok()
            }
            _ => None,
        };
        let reply = Reply { asker: call.asker, number: call.number, answer, pod, version, floor: call.floor };
        let blocked = self.nodes[to.node].no_way_down;
        for when in self.travels(blocked) {
            self.at(when, Event::Reply(to, reply.clone()));
        }
    }

    /// Somebody outside writes: `kind` and name say where.
    pub(super) fn touch(&mut self, kind: Kind, name: &str) {
        if self.outage > self.now {
            return;
        }
        if let Some(lease) = self.store.touch(&(kind, name.to_owned())) {
            let version = self.store.version();
            self.publish(kind, &Shown::Changed(lease, version));
        }
    }
}

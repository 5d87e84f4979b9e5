//! What a steward does for the workloads of its shards: makes their Pods, offers them to nodes, frees the identities
//! of sessions that are over, and deletes the Pods that are dead by that.

#![expect(
    clippy::unused_self,
    reason = "what an agent does is called alike, whether it looks at the world or not"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;

use super::agent::Agent;
use super::calls::{Asker, What};
use super::clock::wall;
use super::pods::{self, PodCall, PodSaid, name_of, node_of, owner_of, uid_of, version_of};
use super::store::Kind;
use super::world::World;
use crate::lease::fence::Failover;
use crate::lease::identity::{self, Case, free, standing};
use crate::lease::session::{Answer, SessionId};
use crate::lease::shard::{self, MONITOR};
use crate::lease::wire as leases;
use crate::steward::offers::{self, Nomination, Offers};
use crate::time::Instant;

/// How long it takes a steward to look again at what did not work.
const AGAIN: Duration = Duration::from_millis(700);

/// Name of the Pod with this ordinal.
pub(super) fn pod_name(number: u32) -> String {
    format!("web-{number}")
}

/// Name of the identity of a Pod.
pub(super) fn identity_name(pod: &str) -> String {
    identity::name(pods::NAMESPACE, pod)
}

/// A request under way.
#[derive(Clone, Debug)]
struct Task {
    until: Instant,
    about: About,
}

#[derive(Clone, Debug)]
enum About {
    /// Reads the session that holds this identity.
    Session {
        pod: String,
        identity: Rc<Lease>,
    },
    Free {
        pod: String,
    },
    Pod {
        pod: String,
    },
    Offer {
        uid: String,
    },
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Workloads {
    offers: Offers,
    pods: BTreeMap<String, Arc<Pod>>,
    identities: BTreeMap<String, Rc<Lease>>,
    pods_whole: bool,
    identities_whole: bool,
    ready: Arc<BTreeSet<String>>,
    own: BTreeSet<u32>,
    tasks: BTreeMap<u64, Task>,
    numbers: u64,
    /// Pods about which something is under way, or was a moment ago.
    busy: BTreeMap<String, Instant>,
    review: bool,
}

impl World {
    /// The shards of this agent have changed.
    pub(super) fn shards_changed(&mut self, agent: &mut Agent) {
        let own: BTreeSet<u32> =
            (0..self.script.shape.shards).filter(|shard| agent.shards.holds(*shard)).collect();
        if own == agent.workloads.own {
            return;
        }
        if own.is_empty() {
            agent.workloads = Workloads::default();
            self.unwatch(agent, Kind::Pod);
            self.unwatch(agent, Kind::Identity);
            return;
        }
        agent.workloads.own = own;
        agent.workloads.ready = Arc::clone(&self.ready);
        self.watch(agent, Kind::Pod);
        self.watch(agent, Kind::Identity);
        self.offers_begin(agent);
    }

    /// Offers know of everything that is placed, and decide about the Pods of this agent's shards.
    fn offers_begin(&mut self, agent: &mut Agent) {
        let work = &mut agent.workloads;
        work.offers = Offers::default();
        work.review = true;
        for (node, objects) in self.nodes.iter().zip(&self.node_objects) {
            let object = if work.ready.contains(&node.name) { &objects.0 } else { &objects.1 };
            work.offers.node_changed(object);
        }
        let all: Vec<Arc<Pod>> = work.pods.values().cloned().collect();
        for pod in all {
            self.offer_pod(agent, &pod);
        }
        if agent.workloads.pods_whole {
            agent.workloads.offers.know();
        }
    }

    fn offer_pod(&self, agent: &mut Agent, pod: &Arc<Pod>) {
        if node_of(pod).is_some() || agent.workloads.own.contains(&self.shard_of(pod)) {
            agent.workloads.offers.pod_changed(pod);
        }
    }

    fn shard_of(&self, pod: &Pod) -> u32 {
        shard::of(owner_of(pod), self.script.shape.shards)
    }

    pub(super) fn workloads_hear_ready(&mut self, agent: &mut Agent, ready: &Arc<BTreeSet<String>>) {
        if agent.workloads.own.is_empty() {
            return;
        }
        let before = std::mem::replace(&mut agent.workloads.ready, Arc::clone(ready));
        for name in before.symmetric_difference(ready) {
            let number = self.nodes.iter().position(|node| node.name == *name).unwrap_or_default();
            let (is, is_not) = &self.node_objects[number];
            agent.workloads.offers.node_changed(if ready.contains(name) { is } else { is_not });
        }
        agent.workloads.review = true;
    }

    // --- What the watches show ---------------------------------------------------------------------------------------

    pub(super) fn pods_listed(&mut self, agent: &mut Agent, pods: &[Arc<Pod>]) {
        let names = pods.iter().map(|pod| (name_of(pod).to_owned(), Arc::clone(pod)));
        agent.workloads.pods = names.collect();
        agent.workloads.pods_whole = true;
        self.offers_begin(agent);
    }

    pub(super) fn pod_seen(&mut self, agent: &mut Agent, pod: &Arc<Pod>) {
        agent.workloads.pods.insert(name_of(pod).to_owned(), Arc::clone(pod));
        self.offer_pod(agent, pod);
        agent.workloads.review = true;
    }

    pub(super) fn pod_gone(&mut self, agent: &mut Agent, pod: &Pod) {
        let known = agent.workloads.pods.get(name_of(pod)).is_some_and(|known| uid_of(known) == uid_of(pod));
        if known {
            agent.workloads.pods.remove(name_of(pod));
        }
        agent.workloads.offers.pod_gone(uid_of(pod));
        agent.workloads.review = true;
    }

    pub(super) fn identity_seen(&mut self, agent: &mut Agent, lease: &Rc<Lease>) {
        let name = lease.metadata.name.clone().unwrap_or_default();
        agent.workloads.identities.insert(name, Rc::clone(lease));
        agent.workloads.review = true;
    }

    pub(super) fn identity_gone(agent: &mut Agent, name: &str) {
        agent.workloads.identities.remove(name);
        agent.workloads.review = true;
    }

    pub(super) fn identities_complete(&mut self, agent: &mut Agent) {
        agent.workloads.identities_whole = true;
        agent.workloads.review = true;
    }

    // --- What follows ------------------------------------------------------------------------------------------------

    /// Does what can be done now. True when something was done.
    pub(super) fn tend_workloads(&mut self, agent: &mut Agent) -> bool {
        if agent.workloads.own.is_empty() {
            return false;
        }
        let now = self.clock(agent.process.node);
        let work = &mut agent.workloads;
        let mut busy = false;
        if work.offers.next_deadline().is_some_and(|at| at <= now) {
            let writes = work.offers.plan(now, wall());
            busy = !writes.is_empty();
            for write in writes {
                self.write_offer(agent, write, now);
            }
        }
        let work = &mut agent.workloads;
        if std::mem::take(&mut work.review) && work.pods_whole && work.identities_whole {
            for number in 0..self.script.shape.identities {
                busy |= self.review(agent, &pod_name(number), now);
            }
        }
        busy
    }

    /// Time has passed.
    pub(super) fn tick_workloads(&mut self, agent: &mut Agent) {
        let now = self.clock(agent.process.node);
        let late = agent.workloads.tasks.iter().filter(|(_, task)| now >= task.until);
        let late: Vec<u64> = late.map(|(number, _)| *number).collect();
        for number in late {
            self.steward_answered(agent, number, &Answer::Failed, None);
        }
        let over = agent.workloads.busy.len();
        agent.workloads.busy.retain(|_, until| now < *until);
        agent.workloads.review |= over != agent.workloads.busy.len();
    }

    fn write_offer(&mut self, agent: &mut Agent, write: offers::Write, now: Instant) {
        let (uid, version) = (uid_of(&write.pod).to_owned(), version_of(&write.pod).to_owned());
        if !self.may_write_for(agent, self.shard_of(&write.pod), now) {
            return agent.workloads.offers.written(&uid, offers::Answer::Failed, now);
        }
        let node = match write.nomination {
            Nomination::To(node) => {
                self.statistics.count("Pod offered");
                Some(node)
            }
            Nomination::Clear => None,
            Nomination::Keep => pods::offered_to(&write.pod).map(str::to_owned),
        };
        let condition = write.condition.map(Box::new);
        let call = PodCall::Nominate { uid: uid.clone(), version, node, condition };
        self.task(agent, About::Offer { uid }, Kind::Pod, name_of(&write.pod).to_owned(), What::Pod(call));
    }

    fn may_write_for(&self, agent: &Agent, shard: u32, now: Instant) -> bool {
        agent.shards.may_write(shard, agent.session.held(now), now, self.config.timeout())
    }

    fn task(&mut self, agent: &mut Agent, about: About, kind: Kind, name: String, what: What) {
        let now = self.clock(agent.process.node);
        let work = &mut agent.workloads;
        work.numbers += 1;
        let (number, until) = (work.numbers, now + self.config.timeout());
        if let About::Session { pod, .. } | About::Free { pod } | About::Pod { pod } = &about {
            work.busy.insert(pod.clone(), until + AGAIN);
        }
        work.tasks.insert(number, Task { until, about });
        self.ask(agent, Asker::Steward, number, kind, name, what);
    }

    /// One Pod with an identity: what it lacks.
    fn review(&mut self, agent: &mut Agent, name: &str, now: Instant) -> bool {
        let work = &agent.workloads;
        let owner = name;
        let shard = shard::of(owner, self.script.shape.shards);
        let lease = work.identities.get(&identity_name(name));
        if work.busy.contains_key(name) || !work.own.contains(&shard) {
            return false;
        }
        if !self.may_write_for(agent, shard, now) {
            agent.workloads.busy.insert(name.to_owned(), now + AGAIN);
            return false;
        }
        let pod = work.pods.get(name).cloned();
        let holder = lease.and_then(|lease| Some((lease, identity::wire::session(lease)?)));
        if let Some((lease, holder)) =
            holder.filter(|(lease, holder)| self.is_suspect(agent, lease, holder, pod.as_deref()))
        {
            let about = About::Session { pod: name.to_owned(), identity: Rc::clone(lease) };
            self.task(agent, about, Kind::Session, holder.node, What::Read);
            return true;
        }
        let call = match &pod {
            None => PodCall::Create(Box::new(pods::pod(name, "StatefulSet", owner, 1))),
            Some(pod) => {
                let lost = node_of(pod).is_some_and(|node| !work.ready.contains(node));
                let held = lease.is_none_or(|lease| !leases::holder(lease).is_empty());
                if !lost || held || agent.braked {
                    return false;
                }
                self.statistics.count("dead Pod deleted by a steward");
                self.tell(|_| format!("a steward deletes {name} ({}), which is dead", uid_of(pod)));
                PodCall::Delete { uid: uid_of(pod).to_owned(), force: true }
            }
        };
        self.task(agent, About::Pod { pod: name.to_owned() }, Kind::Pod, name.to_owned(), What::Pod(call));
        true
    }

    /// Whether it is worth a look if the session that holds an identity is over.
    fn is_suspect(&self, agent: &Agent, lease: &Lease, holder: &SessionId, pod: Option<&Pod>) -> bool {
        let its_own = pod.is_some_and(|pod| {
            uid_of(pod) == identity::wire::pod_uid(lease) && node_of(pod) == Some(holder.node.as_str())
        });
        !its_own || !agent.workloads.ready.contains(&holder.node)
    }

    // --- Answers -----------------------------------------------------------------------------------------------------

    pub(super) fn steward_answered(
        &mut self,
        agent: &mut Agent,
        number: u64,
        answer: &Answer,
        said: Option<&PodSaid>,
    ) {
        let Some(task) = agent.workloads.tasks.remove(&number) else { return };
        let now = self.clock(agent.process.node);
        match task.about {
            About::Session { pod, identity } => {
                let session = match answer {
                    Answer::Found(session) => Some(&**session),
                    Answer::Absent { .. } => None,
                    Answer::Written(_) | Answer::Conflict | Answer::Failed => return,
                };
                self.session_read(agent, &pod, &identity, session, now);
            }
            About::Free { pod } => {
                if let Answer::Written(lease) = answer {
                    self.identity_seen(agent, &Rc::new((**lease).clone()));
                    agent.workloads.busy.remove(&pod);
                }
            }
            About::Pod { pod } => {
                if let Some(PodSaid::Is(_) | PodSaid::Gone) = said {
                    // The watch shows it.
                    agent.workloads.busy.insert(pod, now + AGAIN);
                }
            }
            About::Offer { uid } => {
                let answer = match said {
                    Some(PodSaid::Is(pod)) => {
                        agent.workloads.pods.insert(name_of(pod).to_owned(), Arc::clone(pod));
                        offers::Answer::Done(Arc::clone(pod))
                    }
                    Some(PodSaid::Conflict | PodSaid::Gone) => offers::Answer::Conflict,
                    None => offers::Answer::Failed,
                };
                agent.workloads.offers.written(&uid, answer, now);
            }
        }
    }

    fn session_read(
        &mut self,
        agent: &mut Agent,
        pod: &str,
        lease: &Lease,
        session: Option<&Lease>,
        now: Instant,
    ) {
        // It is looked at again, until it is alive or over for certain.
        agent.workloads.busy.insert(pod.to_owned(), now + self.config.renew_every());
        let Some(holder) = identity::wire::session(lease) else { return };
        let case = Case {
            standing: standing(&holder, session),
            wish: Failover::Kill,
            tied: false,
            braked: agent.braked,
            out_of_service: false,
        };
        let found = free(lease, case);
        self.tell(|world| {
            let node = &world.nodes[agent.process.node].name;
            format!(
                "steward on {node}: {pod}, held by {holder}, {:?}: {:?}",
                case.standing,
                found.as_ref().err()
            )
        });
        let Ok(freed) = found else { return };
        let shard = shard::of(pod, self.script.shape.shards);
        if !self.may_write_for(agent, shard, now) {
            return;
        }
        let what = What::Update(Box::new(freed));
        self.task(agent, About::Free { pod: pod.to_owned() }, Kind::Identity, identity_name(pod), what);
    }

    /// The brake as `steward-00` tells it.
    pub(super) fn note_brake(agent: &mut Agent, lease: &Lease) {
        if lease.metadata.name.as_deref() == Some(shard::wire::name(MONITOR).as_str()) {
            let braked = leases::annotation(lease, shard::wire::BRAKE).is_some();
            if std::mem::replace(&mut agent.braked, braked) && !braked {
                agent.workloads.review = true;
            }
        }
    }
}

impl Workloads {
    /// What the watch shows next is all there are.
    pub(super) fn identities_begin(&mut self) {
        self.identities.clear();
        self.identities_whole = false;
    }

    /// When something is due, if nothing happens before.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.own.is_empty() {
            return None;
        }
        let tasks = self.tasks.values().map(|task| task.until);
        tasks.chain(self.busy.values().copied()).chain(self.offers.next_deadline()).min()
    }
}

impl World {
    /// A user deletes the Pod, gracefully or by force; and may have made another, bound by hand to the same node.
    pub(super) fn delete_pod(&mut self, number: u32, force: bool, again: bool) {
        let name = pod_name(number);
        let Some(pod) = self.store.pod(&name).cloned().filter(|_| self.outage <= self.now) else { return };
        let call = PodCall::Delete { uid: uid_of(&pod).to_owned(), force };
        let (_, change) = self.store.on_pod(&name, &call);
        self.pod_written(&call, &change);
        self.publish_pod(&change);
        if let Some(node) = node_of(&pod).filter(|_| force && again) {
            let mut another = pods::pod(&name, "StatefulSet", &name, 1);
            another.spec.get_or_insert_default().node_name = Some(node.to_owned());
            let call = PodCall::Create(Box::new(another));
            let (_, change) = self.store.on_pod(&name, &call);
            self.publish_pod(&change);
        }
    }
}

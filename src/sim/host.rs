//! What an agent does about Pods: the real claim, fence, gate and offers' answers, and the driver's part around them.

#![expect(
    clippy::unused_self,
    reason = "what an agent does is called alike, whether it looks at the world or not"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::agent::{Agent, Part};
use super::calls::{Asker, What};
use super::clock::wall;
use super::machine::Order;
use super::pods::{
    PodCall, PodSaid, has_identity, is_ending, name_of, node_of, offered_to, uid_of, version_of,
};
use super::store::Kind;
use super::workloads::identity_name;
use super::world::{Event, World};
use crate::agent::claims::admission::reject;
use crate::agent::claims::{Action, Claims, Ground};
use crate::lease::fence::FenceLevel;
use crate::lease::fence::gate::{Gate, Life};
use crate::lease::fence::holder::{self, Fence, FenceConfig};
use crate::lease::identity::{self, Claim};
use crate::lease::rule::{Rule, is_kept};
use crate::lease::session::{Answer, SessionId};
use crate::lease::timings::SessionConfig;
use crate::placement::{Demand, Room, decline};
use crate::time::Instant;

/// From SIGTERM to the end of a Pod that is deleted, at most.
const GRACE: Duration = Duration::from_secs(2);
/// A Pod that could not be written about is tried again after this.
pub(super) const AGAIN: Duration = Duration::from_millis(500);

/// How far a Pod's containers are, as its agent knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Containers {
    Dead,
    Starting,
    Running,
    Ending,
}

/// A Pod that is hosted here.
#[expect(clippy::struct_excessive_bools, reason = "how far the end of a Pod has come, each told by another")]
pub(super) struct Hosted {
    pub(super) pod: Arc<Pod>,
    /// Stands for it in requests.
    pub(super) number: u32,
    pub(super) containers: Containers,
    pub(super) claim: Option<Claim>,
    pub(super) claim_at: Instant,
    pub(super) arming: Option<u64>,
    /// It is to end.
    pub(super) leaving: bool,
    /// Its object is not there any more.
    pub(super) gone: bool,
    pub(super) giving_back: bool,
    /// A session of this node that is over may be named as the holder of its identity still.
    pub(super) owes: bool,
    /// The fence was told that its cgroup goes.
    pub(super) closing: bool,
    /// Nothing of it is left here; its object is to be removed.
    pub(super) closed: bool,
    pub(super) remove_at: Instant,
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    until: Instant,
    pod: Arc<Pod>,
    kind: RequestKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RequestKind {
    Bind,
    /// Whose it is by now.
    Look,
    Decline,
    Remove,
}

/// See the module's documentation.
pub(super) struct Host {
    pub(super) config: SessionConfig,
    pub(super) fence: Fence,
    pub(super) level: FenceLevel,
    pub(super) claims: Claims,
    pub(super) room: Room,
    pub(super) pods: BTreeMap<String, Hosted>,
    pub(super) gates: BTreeMap<String, Gate>,
    pub(super) requests: BTreeMap<u64, Request>,
    pub(super) numbers: u64,
    /// The first list of the node's Pods was whole.
    pub(super) listed: bool,
    /// Before this nothing is concluded from absence and no identity is taken.
    pub(super) quiet_until: Instant,
    pub(super) told: Option<(SessionId, Instant)>,
}

impl World {
    /// What an agent finds when it starts: the disk, and what runs.
    pub(super) fn recall_host(&mut self, node: usize) -> Host {
        let now = self.clock(node);
        let machine = &self.nodes[node].machine;
        let config = FenceConfig { level: machine.level, duration: self.config.duration() };
        let mut room = Room::default();
        room.set_allocatable(&self.node_objects[node].0);
        let mut host = Host {
            config: self.config,
            fence: Fence::new(config),
            level: config.level,
            claims: Claims::default(),
            room,
            pods: BTreeMap::new(),
            gates: BTreeMap::new(),
            requests: BTreeMap::new(),
            numbers: 0,
            listed: false,
            quiet_until: self.nodes[node].quiet_until,
            told: None,
        };
        let pods: Vec<Arc<Pod>> = machine.pods.values().cloned().collect();
        for pod in pods {
            self.host_pod(node, &mut host, &pod, now);
        }
        host.pods.values_mut().for_each(|hosted| hosted.owes = true);
        host
    }

    fn host_pod(&mut self, node: usize, host: &mut Host, pod: &Arc<Pod>, now: Instant) {
        let uid = uid_of(pod).to_owned();
        host.numbers += 1;
        let containers = match self.nodes[node].machine.cgroups.get(&uid) {
            Some(cgroup) if cgroup.running => Containers::Running,
            Some(cgroup) if cgroup.starting => Containers::Starting,
            Some(_) | None => Containers::Dead,
        };
        let hosted = Hosted {
            pod: Arc::clone(pod),
            number: host.numbers as u32,
            containers,
            claim: None,
            claim_at: now,
            arming: None,
            leaving: is_ending(pod),
            gone: false,
            giving_back: false,
            owes: false,
            closing: false,
            closed: false,
            remove_at: now,
        };
        host.room.bind(&uid, pod.spec.as_ref().map(Demand::of).unwrap_or_default());
        if has_identity(pod) {
            let level = self.nodes[node].machine.level;
            let name = self.nodes[node].name.clone();
            host.fence.handle(holder::Input::Wanted { uid: uid.clone(), grace: GRACE }, now);
            host.gates.entry(identity_name(name_of(pod))).or_insert_with(|| Gate::new(&name, level));
        }
        self.nodes[node].machine.pods.insert(uid.clone(), Arc::clone(pod));
        host.pods.insert(uid, hosted);
    }

    // --- What the watch of the node's Pods shows ---------------------------------------------------------------------

    pub(super) fn hosted_listed(&mut self, agent: &mut Agent, pods: &[Arc<Pod>]) {
        let now = self.clock(agent.process.node);
        // Listed again when absence means something.
        let is_old = now < agent.host.quiet_until;
        agent.host.claims.list_begins();
        for pod in pods {
            self.hosted_seen(agent, pod);
        }
        let here = |uid: &String| pods.iter().any(|pod| uid_of(pod) == uid);
        let offered = agent.host.claims.standing();
        for uid in offered.iter().filter(|uid| !here(uid)) {
            agent.host.claims.withdrawn(uid);
        }
        for uid in agent.host.claims.list_is_whole() {
            agent.host.room.release(&uid);
        }
        if !is_old {
            let missing = agent.host.pods.iter_mut().filter(|(uid, _)| !here(uid));
            missing.for_each(|(_, hosted)| (hosted.leaving, hosted.gone) = (true, true));
        }
        agent.host.listed = true;
    }

    pub(super) fn hosted_seen(&mut self, agent: &mut Agent, pod: &Arc<Pod>) {
        let node = agent.process.node;
        let (uid, name) = (uid_of(pod), self.nodes[node].name.as_str());
        if node_of(pod) != Some(name) {
            if offered_to(pod) == Some(name) {
                agent.host.claims.offered(pod);
            }
            return;
        }
        if let Some(hosted) = agent.host.pods.get_mut(uid) {
            hosted.pod = Arc::clone(pod);
            hosted.leaving |= is_ending(pod);
            // A restored backup may have brought it back.
            hosted.gone = false;
            return;
        }
        let claimed = agent.host.claims.has_claimed(uid);
        agent.host.claims.hosted(uid);
        let spec = pod.spec.clone().unwrap_or_default();
        let object = &self.node_objects[node].0;
        if !claimed && reject(&spec, object, &agent.host.room).is_some() {
            self.statistics.count("Pod refused by its node");
            let call = PodCall::Delete { uid: uid.to_owned(), force: true };
            return self.request(agent, RequestKind::Remove, pod, call);
        }
        let now = self.clock(node);
        self.host_pod(node, &mut agent.host, pod, now);
    }

    pub(super) fn hosted_gone(&mut self, agent: &mut Agent, pod: &Pod) {
        agent.host.claims.withdrawn(uid_of(pod));
        if let Some(hosted) = agent.host.pods.get_mut(uid_of(pod)) {
            (hosted.leaving, hosted.gone) = (true, true);
        }
    }

    /// The store is not the one it was.
    pub(super) fn host_regressed(&mut self, agent: &mut Agent) {
        let now = self.clock(agent.process.node);
        let quiet = now + self.config.duration() + self.config.margin();
        agent.host.quiet_until = quiet;
        self.nodes[agent.process.node].quiet_until = quiet;
        let again = quiet.saturating_since(now) + AGAIN;
        self.after(again, Event::Local(agent.process, Part::ListHosted));
        let held = agent.session.held(now);
        for hosted in agent.host.pods.values_mut() {
            if let Some(claim) = &mut hosted.claim {
                claim.handle(identity::Input::Regressed, held, now, wall());
            }
        }
    }

    // --- Answers and ends --------------------------------------------------------------------------------------------

    pub(super) fn host_part(&mut self, agent: &mut Agent, part: Part) {
        let node = agent.process.node;
        let now = self.clock(node);
        match part {
            Part::Fence(input) => agent.host.fence.handle(*input, now),
            Part::Kill(uid) => self.kill_containers(node, &uid),
            Part::KillFrozen(uid) => {
                self.kill_frozen(node, &uid);
                agent.host.fence.handle(holder::Input::Fenced(uid), now);
            }
            Part::Thaw(uid) => {
                let cgroup = self.nodes[node].machine.cgroups.get_mut(&uid);
                let thawed = cgroup.as_ref().is_none_or(|cgroup| !cgroup.starting);
                if let Some(cgroup) = cgroup.filter(|_| thawed) {
                    cgroup.frozen = false;
                }
                let input = if thawed { holder::Input::Thawed(uid) } else { holder::Input::NotThawed(uid) };
                agent.host.fence.handle(input, now);
            }
            Part::Ended(uid) => {
                let running = self.nodes[node].machine.cgroups.get(&uid).is_some_and(|it| it.running);
                if let Some(hosted) = agent.host.pods.get_mut(&uid) {
                    hosted.containers = if running { Containers::Running } else { Containers::Dead };
                }
            }
            Part::Persisted(_)
            | Part::Fenced(_)
            | Part::Quiesced(_)
            | Part::Resubscribe(_)
            | Part::ListHosted => {}
        }
    }

    pub(super) fn host_answered(
        &mut self,
        agent: &mut Agent,
        number: u64,
        answer: &Answer,
        said: Option<&PodSaid>,
    ) {
        if let Answer::Found(lease) = answer {
            return self.give_back_forgotten(agent, lease);
        }
        let Some(request) = agent.host.requests.remove(&number) else { return };
        self.request_ended(agent, &request, said);
    }

    fn request_ended(&mut self, agent: &mut Agent, request: &Request, said: Option<&PodSaid>) {
        let node = agent.process.node;
        let (uid, name) = (uid_of(&request.pod), self.nodes[node].name.as_str());
        match (request.kind, said) {
            (RequestKind::Bind | RequestKind::Look, Some(PodSaid::Is(pod))) => {
                let won = uid_of(pod) == uid && node_of(pod) == Some(name);
                self.claim_ended(agent, uid, won);
            }
            (RequestKind::Bind, Some(PodSaid::Gone))
            | (RequestKind::Look, Some(PodSaid::Gone | PodSaid::Conflict)) => {
                self.claim_ended(agent, uid, false);
            }
            (RequestKind::Bind, Some(PodSaid::Conflict)) | (RequestKind::Bind | RequestKind::Look, None) => {
                self.request(agent, RequestKind::Look, &request.pod, PodCall::Look);
            }
            (RequestKind::Remove, Some(PodSaid::Gone | PodSaid::Is(_))) => {
                if let Some(hosted) = agent.host.pods.get_mut(uid) {
                    hosted.gone = true;
                }
            }
            (RequestKind::Decline, _) | (RequestKind::Remove, Some(PodSaid::Conflict) | None) => {}
        }
    }

    fn claim_ended(&mut self, agent: &mut Agent, uid: &str, won: bool) {
        self.statistics.count(if won { "claim won" } else { "claim lost" });
        if agent.host.claims.claim_answered(uid, won) {
            agent.host.room.release(uid);
        }
    }

    // --- What follows ------------------------------------------------------------------------------------------------

    /// Does what can be done now. True when something was done.
    pub(super) fn tend_host(&mut self, agent: &mut Agent) -> bool {
        let node = agent.process.node;
        let now = self.clock(node);
        let held = agent.session.held(now).map(|(session, deadline)| (session.clone(), deadline));
        let mut busy = false;
        if agent.host.told != held {
            agent.host.told.clone_from(&held);
            agent.host.fence.handle(holder::Input::Session(held.clone()), now);
            busy = true;
        }
        while let Some(effect) = agent.host.fence.next_effect() {
            self.for_fence(agent, effect);
            busy = true;
        }
        let uids: Vec<String> = agent.host.pods.keys().cloned().collect();
        for uid in uids {
            busy |= self.tend_pod(agent, &uid, held.as_ref(), now);
        }
        busy | self.answer_offers(agent, now)
    }

    /// Time has passed.
    pub(super) fn tick_host(&mut self, agent: &mut Agent) {
        let now = self.clock(agent.process.node);
        agent.host.fence.handle(holder::Input::Tick, now);
        let held = agent.session.held(now);
        for hosted in agent.host.pods.values_mut() {
            if let Some(claim) = &mut hosted.claim {
                claim.handle(identity::Input::Tick, held, now, wall());
            }
        }
        let late = agent.host.requests.iter().filter(|(_, request)| now >= request.until);
        let late: Vec<u64> = late.map(|(number, _)| *number).collect();
        for number in late {
            self.host_answered(agent, number, &Answer::Failed, None);
        }
    }

    fn request(&mut self, agent: &mut Agent, kind: RequestKind, pod: &Arc<Pod>, call: PodCall) {
        let now = self.clock(agent.process.node);
        agent.host.numbers += 1;
        let number = agent.host.numbers;
        let until = now + self.config.timeout();
        agent.host.requests.insert(number, Request { until, pod: Arc::clone(pod), kind });
        self.ask(agent, Asker::Host, number, Kind::Pod, name_of(pod).to_owned(), What::Pod(call));
    }

    fn answer_offers(&mut self, agent: &mut Agent, now: Instant) -> bool {
        if !agent.host.listed || agent.host.claims.standing().is_empty() {
            return false;
        }
        let node = agent.process.node;
        let object = Arc::clone(&self.node_objects[node].0);
        let pods =
            agent.host.pods.iter().map(|(uid, hosted)| (uid.clone(), Arc::clone(&hosted.pod))).collect();
        let mut ground = Ground {
            node: &object,
            room: &mut agent.host.room,
            pods: &pods,
            is_ready: true,
            may_claim: agent.session.may_claim(now, self.config.timeout()),
        };
        let actions = agent.host.claims.plan(&mut ground);
        let busy = !actions.is_empty();
        for action in actions {
            let name = self.nodes[node].name.clone();
            match action {
                Action::Claim(pod) => {
                    let (uid, version) = (uid_of(&pod).to_owned(), version_of(&pod).to_owned());
                    self.request(agent, RequestKind::Bind, &pod, PodCall::Bind { uid, version, node: name });
                }
                Action::Decline { pod, reasons } => {
                    self.statistics.count("offer declined");
                    let (uid, version) = (uid_of(&pod).to_owned(), version_of(&pod).to_owned());
                    let message = decline::message(&name, &reasons);
                    let call = PodCall::Decline { uid, version, message };
                    self.request(agent, RequestKind::Decline, &pod, call);
                }
            }
        }
        busy
    }

    fn for_fence(&mut self, agent: &mut Agent, effect: holder::Effect) {
        use holder::Effect;
        let (node, start) = (agent.process.node, agent.process.start);
        let soon = Duration::from_millis(20);
        match effect {
            Effect::Arm { uid, session, deadline } => {
                self.order_guard(node, start, Order::Arm { uid, session, deadline });
            }
            Effect::Renew { session, deadline } => {
                self.order_guard(node, start, Order::Renew { session, deadline });
            }
            Effect::Disarm(uid) => self.order_guard(node, start, Order::Disarm(uid)),
            // The worst case: it ends nothing.
            Effect::Terminate(_) => self.statistics.count("container asked to end before the deadline"),
            Effect::Fence(uid) => self.after(soon, Event::Local(agent.process, Part::KillFrozen(uid))),
            Effect::Thaw(uid) => self.after(soon, Event::Local(agent.process, Part::Thaw(uid))),
            Effect::Opened(_) => {}
            Effect::AllFenced(number) => {
                self.at(self.now, Event::Local(agent.process, Part::Fenced(number)));
            }
            Effect::Released(uid) => {
                self.nodes[node].machine.cgroups.remove(&uid);
                if let Some(hosted) = agent.host.pods.get_mut(&uid) {
                    hosted.closed = true;
                }
            }
        }
    }

    fn tend_pod(
        &mut self,
        agent: &mut Agent,
        uid: &str,
        held: Option<&(SessionId, Instant)>,
        now: Instant,
    ) -> bool {
        let Some(hosted) = agent.host.pods.get(uid) else { return false };
        let guarded = has_identity(&hosted.pod);
        let mut busy = false;
        if guarded {
            busy |= self.tend_claim(agent, uid, held, now);
        }
        let Some(hosted) = agent.host.pods.get(uid) else { return busy };
        if hosted.leaving {
            return busy | self.end_pod(agent, uid, now);
        }
        if hosted.containers != Containers::Dead {
            return busy;
        }
        let may_start = if guarded { self.gate_is_open(agent, uid, held, now) } else { held.is_some() };
        if may_start {
            let pod = Arc::clone(&agent.host.pods[uid].pod);
            self.begin_start(agent.process.node, &pod);
            if let Some(hosted) = agent.host.pods.get_mut(uid) {
                hosted.containers = Containers::Starting;
            }
            busy = true;
        }
        busy
    }

    /// What the gate says, with what is known now.
    fn gate_is_open(
        &mut self,
        agent: &mut Agent,
        uid: &str,
        held: Option<&(SessionId, Instant)>,
        now: Instant,
    ) -> bool {
        let host = &mut agent.host;
        let name = name_of(&host.pods[uid].pod).to_owned();
        let opened = host.fence.is_open(uid).is_ok();
        let armed = host.fence.armed(uid).map(|(session, _)| session.clone());
        let Some(gate) = host.gates.get_mut(&identity_name(&name)) else { return false };
        gate.armed(uid, armed);
        for (other, hosted) in host.pods.iter().filter(|(_, it)| name_of(&it.pod) == name) {
            let dead = hosted.containers == Containers::Dead;
            gate.lives(other, if dead { Life::Dead } else { Life::Alive });
        }
        let open = gate.check(uid, held.map(|(session, deadline)| (session, *deadline)), now).is_ok();
        open && (opened || !is_kept(Rule::ArmFirst))
    }

    // --- The end of a Pod --------------------------------------------------------------------------------------------

    fn end_pod(&mut self, agent: &mut Agent, uid: &str, now: Instant) -> bool {
        let held = agent.session.held(now);
        let host = &mut agent.host;
        let Some(hosted) = host.pods.get_mut(uid) else { return false };
        match hosted.containers {
            Containers::Starting | Containers::Ending => return false,
            Containers::Running => {
                hosted.containers = Containers::Ending;
                let grace = GRACE * (hosted.number % 4) / 4;
                self.after(grace, Event::Local(agent.process, Part::Kill(uid.to_owned())));
                return true;
            }
            Containers::Dead => {}
        }
        if hosted.owes && has_identity(&hosted.pod) {
            return false;
        }
        if let Some(claim) = &mut hosted.claim {
            let begin = !std::mem::replace(&mut hosted.giving_back, true);
            if begin {
                claim.handle(identity::Input::GiveBack, held, now, wall());
            }
            return begin;
        }
        if !std::mem::replace(&mut hosted.closing, true) {
            if has_identity(&hosted.pod) {
                host.fence.handle(holder::Input::Gone(uid.to_owned()), now);
            } else {
                self.nodes[agent.process.node].machine.cgroups.remove(uid);
                hosted.closed = true;
            }
            return true;
        }
        if !hosted.closed {
            return false;
        }
        if hosted.gone {
            self.forget_pod(agent, uid);
            return true;
        }
        if now < hosted.remove_at {
            return false;
        }
        hosted.remove_at = now + self.config.timeout() + AGAIN;
        let pod = Arc::clone(&hosted.pod);
        let call = PodCall::Delete { uid: uid.to_owned(), force: true };
        self.request(agent, RequestKind::Remove, &pod, call);
        true
    }

    fn forget_pod(&mut self, agent: &mut Agent, uid: &str) {
        let Some(hosted) = agent.host.pods.remove(uid) else { return };
        agent.host.room.release(uid);
        self.nodes[agent.process.node].machine.pods.remove(uid);
        if let Some(gate) = agent.host.gates.get_mut(&identity_name(name_of(&hosted.pod))) {
            gate.forget(uid);
        }
    }
}

impl Hosted {
    /// One that ends takes its identity once more, to give it back.
    pub(super) fn wants_claim(&self) -> bool {
        !self.leaving || self.owes && self.containers == Containers::Dead
    }
}

impl Host {
    /// When something is due, if nothing happens before.
    pub(super) fn next_deadline(&self, held: Option<(&SessionId, Instant)>, now: Instant) -> Option<Instant> {
        let of = |hosted: &Hosted| {
            let claim = hosted.claim.as_ref().and_then(|claim| claim.next_deadline(held, now));
            let claims = hosted.claim.is_none() && hosted.wants_claim() && has_identity(&hosted.pod);
            let again = (claims && held.is_some() && hosted.claim_at > now).then_some(hosted.claim_at);
            let remove = (hosted.closed && hosted.remove_at > now).then_some(hosted.remove_at);
            [claim, again, remove].into_iter().flatten().min()
        };
        let requests = self.requests.values().map(|request| request.until);
        self.pods.values().filter_map(of).chain(requests).chain(self.fence.next_deadline()).min()
    }
}

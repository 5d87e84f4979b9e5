//! An agent: the machines it runs, and the driver's part around them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::calls::{Asker, Call, Reply, What};
use super::clock::wall;
use super::host::Host;
use super::store::Kind;
use super::watches::Shown;
use super::workloads::Workloads;
use super::world::{Event, Process, World};
use crate::lease::fence::holder;
use crate::lease::monitor::{self, Monitor};
use crate::lease::session::{self, Answer, Claimant, Session};
use crate::lease::shard::{self, Count, MONITOR, Shards};
use crate::lease::wire;
use crate::time::Instant;

/// What ends by itself on a machine.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Persisted(u64),
    Fenced(u64),
    Quiesced(u64),
    /// A watch that has not listed by now is begun again.
    Resubscribe(u64),
    /// The fence hears.
    Fence(Box<holder::Input>),
    /// A Pod is killed.
    Kill(String),
    /// Its cgroup is frozen, and it is killed.
    KillFrozen(String),
    /// Its cgroup is thawed, if no start is under way.
    Thaw(String),
    /// Its containers have started or ended.
    Ended(String),
    /// The node's Pods are listed again.
    ListHosted,
}

/// A watch of the agent's.
#[derive(Clone, Copy, Debug)]
struct Watch {
    number: u64,
    listed: bool,
}

/// A running agent.
pub(super) struct Agent {
    pub(super) process: Process,
    pub(super) session: Session,
    pub(super) shards: Shards,
    pub(super) monitor: Option<Monitor>,
    pub(super) tick: Option<Duration>,
    /// The session as the other machines were last told of it.
    told: Option<Instant>,
    watches: BTreeMap<Kind, Watch>,
    pub(super) host: Host,
    pub(super) workloads: Workloads,
    /// The brake is drawn, as `steward-00` tells.
    pub(super) braked: bool,
}

impl World {
    pub(super) fn start(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if node.agent.is_some() {
            return;
        }
        node.start += 1;
        let process = Process { node: index, start: node.start };
        let claimant = Claimant {
            node: node.name.clone(),
            machine_id: format!("machine-{index}"),
            boot_id: format!("boot-{}", node.boot),
            nonce: node.start,
        };
        let (name, record) = (node.name.clone(), node.record.clone());
        let now = self.clock(index);
        let count = Count { shards: self.script.shape.shards, rules: 1 };
        let host = self.recall_host(index);
        let agent = Agent {
            process,
            session: Session::new(claimant, record, self.config, now, wall()),
            shards: Shards::new(name, count, self.config, now, wall()),
            monitor: None,
            tick: None,
            told: None,
            watches: BTreeMap::new(),
            host,
            workloads: Workloads::default(),
            braked: false,
        };
        self.nodes[index].agent = Some(agent);
        let (willing, draining) = (Arc::clone(&self.ready), self.nodes[index].draining);
        self.speak_to(index, |world, agent| {
            world.watch(agent, Kind::Shard);
            world.watch(agent, Kind::Hosted);
            world.hear_willing(agent, willing);
            if draining {
                world.tell_shards(agent, shard::Input::Drain);
            }
            world.tick(agent);
        });
        self.tell_guard_up(index);
    }

    // --- Inputs ----------------------------------------------------------------------------------------------------

    pub(super) fn tick(&mut self, agent: &mut Agent) {
        self.tell_session(agent, session::Input::Tick);
        self.tell_shards(agent, shard::Input::Tick);
        self.tell_monitor(agent, monitor::Input::Tick);
        self.tick_host(agent);
        self.tick_workloads(agent);
    }

    pub(super) fn ended(&mut self, agent: &mut Agent, part: Part) {
        match part {
            Part::Persisted(number) => self.tell_session(agent, session::Input::Persisted(number)),
            Part::Fenced(number) => self.tell_session(agent, session::Input::Fenced(number)),
            Part::Quiesced(number) => self.tell_shards(agent, shard::Input::Quiesced(number)),
            Part::Resubscribe(number) => {
                let silent = agent.watches.iter().find(|(_, it)| it.number == number && !it.listed);
                if let Some((&kind, _)) = silent {
                    self.watch(agent, kind);
                }
            }
            Part::ListHosted => {
                self.watch(agent, Kind::Hosted);
                self.look_for_forgotten(agent);
            }
            Part::Fence(_) | Part::Kill(_) | Part::KillFrozen(_) | Part::Thaw(_) | Part::Ended(_) => {
                self.host_part(agent, part);
            }
        }
    }

    pub(super) fn heard(&mut self, agent: &mut Agent, reply: Reply) {
        let Reply { asker, number, answer, pod, version, floor } = reply;
        self.saw_version(agent, version, floor);
        match asker {
            Asker::Session => {
                let renewed =
                    if let Answer::Written(lease) = &answer { Some(wire::serial(lease)) } else { None };
                self.tell_session(agent, session::Input::Answer(number, answer));
                if let Some(serial) = renewed {
                    self.tell_monitor(agent, monitor::Input::Renewed(serial));
                    self.tell_over(agent);
                }
            }
            Asker::Shards => self.tell_shards(agent, shard::Input::Answer(number, answer)),
            Asker::Monitor => self.tell_monitor(agent, monitor::Input::Answer(number, answer)),
            Asker::Claim(claim) => self.claim_answered(agent, claim, number, answer),
            Asker::Host => self.host_answered(agent, number, &answer, pod.as_ref()),
            Asker::Steward => self.steward_answered(agent, number, &answer, pod.as_ref()),
        }
    }

    pub(super) fn hear_willing(&mut self, agent: &mut Agent, nodes: Arc<BTreeSet<String>>) {
        self.workloads_hear_ready(agent, &nodes);
        self.tell_shards(agent, shard::Input::Willing(nodes));
    }

    /// The store is older than it was when the request left: it is not the one it was.
    fn saw_version(&mut self, agent: &mut Agent, version: Option<u64>, floor: u64) {
        let Some(version) = version else { return };
        let seen = &mut self.nodes[agent.process.node].seen_version;
        if version >= floor {
            *seen = version.max(*seen);
            return;
        }
        if *seen < floor {
            // Found already.
            return;
        }
        *seen = version;
        self.statistics.count("restored store noticed");
        self.tell_shards(agent, shard::Input::Regressed);
        self.host_regressed(agent);
        self.watch(agent, Kind::Shard);
        self.watch(agent, Kind::Hosted);
    }

    pub(super) fn shown(&mut self, agent: &mut Agent, watch: u64, shown: Shown) {
        let Some((&kind, _)) = agent.watches.iter().find(|(_, known)| known.number == watch) else {
            return self.unsubscribe(watch);
        };
        match shown {
            Shown::Broken => self.watch(agent, kind),
            Shown::List(leases, version) => {
                if !self.begins(agent, kind, watch, version) {
                    return;
                }
                self.restarted(agent, kind);
                for lease in leases {
                    self.seen(agent, kind, &lease);
                }
                self.complete(agent, kind);
            }
            Shown::Changed(lease, version) => {
                self.saw_newer(agent, version);
                self.seen(agent, kind, &lease);
            }
            Shown::Gone(name) => match kind {
                Kind::Session => self.tell_monitor(agent, monitor::Input::Gone(name)),
                Kind::Shard => {
                    if let Some(number) = shard::wire::parse_name(&name) {
                        self.tell_shards(agent, shard::Input::Gone(number));
                    }
                }
                Kind::Identity => Self::identity_gone(agent, &name),
                Kind::Pod | Kind::Hosted => {}
            },
            Shown::Pods(pods, version) => {
                if !self.begins(agent, kind, watch, version) {
                    return;
                }
                match kind {
                    Kind::Hosted => self.hosted_listed(agent, &pods),
                    Kind::Pod | Kind::Session | Kind::Shard | Kind::Identity => {
                        self.pods_listed(agent, &pods);
                    }
                }
            }
            Shown::Pod(pod, version) => {
                self.saw_newer(agent, version);
                match kind {
                    Kind::Hosted => self.hosted_seen(agent, &pod),
                    Kind::Pod | Kind::Session | Kind::Shard | Kind::Identity => self.pod_seen(agent, &pod),
                }
            }
            Shown::PodGone(pod, version) => {
                self.saw_newer(agent, version);
                match kind {
                    Kind::Hosted => self.hosted_gone(agent, &pod),
                    Kind::Pod | Kind::Session | Kind::Shard | Kind::Identity => self.pod_gone(agent, &pod),
                }
            }
        }
    }

    fn saw_newer(&mut self, agent: &Agent, version: u64) {
        let seen = &mut self.nodes[agent.process.node].seen_version;
        *seen = version.max(*seen);
    }

    /// A list begins a watch, unless it shows that the store is another: then it has begun again already.
    fn begins(&mut self, agent: &mut Agent, kind: Kind, watch: u64, version: u64) -> bool {
        let floor = self.nodes[agent.process.node].seen_version;
        self.saw_version(agent, Some(version), floor);
        let known = agent.watches.get_mut(&kind).filter(|known| known.number == watch);
        known.map(|known| known.listed = true).is_some()
    }

    fn restarted(&mut self, agent: &mut Agent, kind: Kind) {
        match kind {
            Kind::Shard => self.tell_shards(agent, shard::Input::Restarted),
            Kind::Session => self.tell_monitor(agent, monitor::Input::Restarted),
            Kind::Identity => agent.workloads.identities_begin(),
            Kind::Pod | Kind::Hosted => {}
        }
    }

    fn seen(&mut self, agent: &mut Agent, kind: Kind, lease: &Rc<Lease>) {
        let owned = || Box::new((**lease).clone());
        match kind {
            Kind::Shard => {
                Self::note_brake(agent, lease);
                self.tell_shards(agent, shard::Input::Seen(owned()));
            }
            Kind::Session => self.tell_monitor(agent, monitor::Input::Seen(owned())),
            Kind::Identity => self.identity_seen(agent, lease),
            Kind::Pod | Kind::Hosted => {}
        }
    }

    fn complete(&mut self, agent: &mut Agent, kind: Kind) {
        match kind {
            Kind::Shard => self.tell_shards(agent, shard::Input::Complete),
            Kind::Session => {
                self.tell_monitor(agent, monitor::Input::Complete);
                self.tell_over(agent);
            }
            Kind::Identity => self.identities_complete(agent),
            Kind::Pod | Kind::Hosted => {}
        }
    }

    /// Which holders of shards are over, as the monitor of this agent knows.
    fn tell_over(&mut self, agent: &mut Agent) {
        let now = self.clock(agent.process.node);
        let holders: BTreeSet<_> = agent.shards.holders().collect();
        for holder in holders {
            let Some(monitor) = &agent.monitor else { return };
            if monitor.is_over(&holder, now) {
                self.tell_shards(agent, shard::Input::Over(holder));
            } else {
                self.tell_monitor(agent, monitor::Input::Missed(holder.node));
            }
        }
    }

    fn tell_session(&mut self, agent: &mut Agent, input: session::Input) {
        let now = self.clock(agent.process.node);
        agent.session.handle(input, now, wall());
    }

    pub(super) fn drain(&mut self, agent: &mut Agent, drained: bool) {
        self.tell_shards(agent, if drained { shard::Input::Drain } else { shard::Input::Resume });
    }

    fn tell_shards(&mut self, agent: &mut Agent, input: shard::Input) {
        let now = self.clock(agent.process.node);
        agent.shards.handle(input, agent.session.held(now), now, wall());
    }

    fn tell_monitor(&mut self, agent: &mut Agent, input: monitor::Input) {
        let now = self.clock(agent.process.node);
        if let Some(monitor) = &mut agent.monitor {
            monitor.handle(input, now);
        }
    }

    // --- Effects ---------------------------------------------------------------------------------------------------

    /// Does what the machines want done, until they want nothing more.
    pub(super) fn settle(&mut self, agent: &mut Agent) {
        loop {
            let mut quiet = true;
            while let Some(effect) = agent.session.next_effect() {
                quiet = false;
                self.for_session(agent, effect);
            }
            let deadline = agent.session.deadline(self.clock(agent.process.node));
            if deadline != agent.told {
                agent.told = deadline;
                self.tell_shards(agent, shard::Input::Tick);
            }
            while let Some(effect) = agent.shards.next_effect() {
                quiet = false;
                self.for_shards(agent, effect);
            }
            while let Some(effect) = agent.monitor.as_mut().and_then(Monitor::next_effect) {
                quiet = false;
                self.for_monitor(agent, effect);
            }
            self.shards_changed(agent);
            quiet &= !self.tend_host(agent);
            quiet &= !self.tend_workloads(agent);
            if quiet {
                break;
            }
        }
        self.schedule(agent);
    }

    fn schedule(&mut self, agent: &mut Agent) {
        let node = agent.process.node;
        let now = self.clock(node);
        let held = agent.session.held(now);
        let monitor = agent.monitor.as_ref().and_then(Monitor::next_deadline);
        let next = [
            agent.session.next_deadline(),
            agent.shards.next_deadline(held, now),
            monitor,
            agent.host.next_deadline(held, now),
            agent.workloads.next_deadline(),
        ];
        let Some(next) = next.into_iter().flatten().min() else { return };
        let when = self.nodes[node].clock.when(next).max(self.now + Duration::from_nanos(1));
        if agent.tick.is_none_or(|tick| when < tick) {
            agent.tick = Some(when);
            self.at(when, Event::Tick(agent.process));
        }
    }

    pub(super) fn ask(
        &mut self,
        agent: &Agent,
        asker: Asker,
        number: u64,
        kind: Kind,
        name: String,
        what: What,
    ) {
        let node = agent.process.node;
        let (sent, floor) = (self.clock(node), self.nodes[node].seen_version);
        let call = Call { asker, number, key: (kind, name), what, sent, sent_at: self.now, floor };
        self.send(agent.process, &call);
    }

    fn for_session(&mut self, agent: &mut Agent, effect: session::Effect) {
        use session::Effect;
        let node = agent.process.node;
        let name = self.nodes[node].name.clone();
        let mut ask =
            |number, what| self.ask(agent, Asker::Session, number, Kind::Session, name.clone(), what);
        match effect {
            Effect::Read(number) => ask(number, What::Read),
            Effect::Create(number, lease) => ask(number, What::Create(lease)),
            Effect::Update(number, lease) => ask(number, What::Update(lease)),
            Effect::CloseConnection => {}
            Effect::Persist(number, record) => {
                if let Some(done) = self.disk(node) {
                    self.at(done, Event::Kept(agent.process, number, record));
                }
            }
            Effect::Fence(number) => {
                let now = self.clock(node);
                agent.host.fence.handle(holder::Input::FenceAll(number), now);
            }
            Effect::Report(report) => {
                if let session::Report::Held(id) = &report {
                    // No session is taken before the last one is fenced.
                    let machine = &mut self.nodes[node].machine;
                    let last = machine.last.replace(id.clone()).filter(|last| last != id);
                    machine.past.extend(last);
                }
                self.tell(|world| format!("{}: {report}", world.nodes[node].name));
                self.count_session(&report);
            }
        }
    }

    /// When a write to the disk is done; None: it fails.
    fn disk(&mut self, node: usize) -> Option<Duration> {
        let node = &mut self.nodes[node];
        if node.full_disk > self.now {
            self.statistics.count("write refused by a full disk");
            return None;
        }
        let slow = node.slow_disk > self.now;
        node.disk_done = node.disk_done.max(self.now) + Duration::from_millis(if slow { 3_000 } else { 2 });
        if slow {
            self.statistics.count("write to a slow disk");
        }
        Some(node.disk_done)
    }

    fn count_session(&mut self, report: &session::Report) {
        use session::{Lapse, Report};
        self.statistics.count(match report {
            Report::Held(_) => "session held",
            Report::Lapsed(Lapse::Expired) => "session expired",
            Report::Lapsed(Lapse::Revoked) => "session found revoked",
            Report::Lapsed(Lapse::Released) | Report::Released => "session given up",
            Report::Waiting { .. } => "session waited for",
            Report::Refused(_) => "session refused",
        });
    }

    fn for_shards(&mut self, agent: &mut Agent, effect: shard::Effect) {
        use shard::{Effect, Report};
        let mut ask = |number, shard, what| {
            self.ask(agent, Asker::Shards, number, Kind::Shard, shard::wire::name(shard), what);
        };
        match effect {
            Effect::Read(number, shard) => ask(number, shard, What::Read),
            Effect::Create(number, shard, lease) => ask(number, shard, What::Create(lease)),
            Effect::Update(number, shard, lease) => ask(number, shard, What::Update(lease)),
            Effect::Quiesce(number, _) => {
                self.after(self.config.timeout() / 4, Event::Local(agent.process, Part::Quiesced(number)));
            }
            Effect::Report(Report::Took { shard: MONITOR, brake }) => {
                self.statistics.count("shard taken");
                let name = self.nodes[agent.process.node].name.clone();
                let mut monitor = Monitor::new(name, self.config);
                if let Some(brake) = brake {
                    self.statistics.count("brake inherited");
                    monitor.handle(monitor::Input::Inherit(brake), self.clock(agent.process.node));
                }
                agent.monitor = Some(monitor);
                self.watch(agent, Kind::Session);
            }
            Effect::Report(Report::Took { .. }) => self.statistics.count("shard taken"),
            Effect::Report(Report::Lost { shard }) => {
                self.statistics.count("shard lost");
                self.no_longer(agent, shard);
            }
            Effect::Report(Report::GaveBack { shard }) => {
                self.statistics.count("shard given back");
                self.no_longer(agent, shard);
            }
            Effect::Report(Report::Differs { .. }) => self.statistics.count("stewards differ"),
        }
    }

    fn no_longer(&mut self, agent: &mut Agent, shard: u32) {
        if shard == MONITOR {
            agent.monitor = None;
            self.unwatch(agent, Kind::Session);
        }
    }

    fn for_monitor(&mut self, agent: &mut Agent, effect: monitor::Effect) {
        use monitor::{Effect, Report};
        let name = |lease: &Lease| lease.metadata.name.clone().unwrap_or_default();
        match effect {
            Effect::Revoke(number, lease) => {
                let name = name(&lease);
                self.ask(agent, Asker::Monitor, number, Kind::Session, name, What::Update(lease));
            }
            Effect::Recreate(number, lease) => {
                let name = name(&lease);
                self.ask(agent, Asker::Monitor, number, Kind::Session, name, What::Create(lease));
            }
            Effect::Report(report) => {
                match &report {
                    Report::Alive { node } => self.set_ready(node, true),
                    Report::Lost { node, .. } | Report::Left { node } => self.set_ready(node, false),
                    Report::Gap => self.watch(agent, Kind::Session),
                    Report::Braked(_) | Report::Unbraked(_) => {}
                }
                self.tell(|world| format!("monitor on {}: {report}", world.nodes[agent.process.node].name));
                self.statistics.count(match report {
                    Report::Alive { .. } => "node found alive",
                    Report::Lost { .. } => "node found lost",
                    Report::Left { .. } => "node found to have left",
                    Report::Gap => "gap found",
                    Report::Braked(_) => "brake drawn",
                    Report::Unbraked(_) => "brake let go",
                });
                self.tell_over(agent);
            }
        }
        let now = self.clock(agent.process.node);
        let brake = agent.monitor.as_ref().and_then(|monitor| monitor.brake(now));
        self.tell_shards(agent, shard::Input::Brake(brake));
    }

    pub(super) fn unwatch(&mut self, agent: &mut Agent, kind: Kind) {
        if let Some(watch) = agent.watches.remove(&kind) {
            self.unsubscribe(watch.number);
        }
    }

    /// Begins a watch, in place of the one before.
    pub(super) fn watch(&mut self, agent: &mut Agent, kind: Kind) {
        self.messages += 1;
        let number = self.messages;
        self.unwatch(agent, kind);
        agent.watches.insert(kind, Watch { number, listed: false });
        self.ask(agent, Asker::Shards, 0, kind, String::new(), What::Watch(number));
        self.after(Duration::from_secs(3), Event::Local(agent.process, Part::Resubscribe(number)));
    }
}

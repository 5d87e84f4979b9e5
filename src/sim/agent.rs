//! An agent: the machines it runs, and the driver's part around them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;

use super::calls::{Asker, Call, Reply, What};
use super::clock::wall;
use super::store::Kind;
use super::watches::Shown;
use super::world::{Event, Process, World};
use crate::lease::monitor::{self, Monitor};
use crate::lease::session::{self, Answer, Claimant, Session};
use crate::lease::shard::{self, Count, MONITOR, Shards};
use crate::lease::wire;
use crate::time::Instant;

/// What ends by itself on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Persisted(u64),
    Fenced(u64),
    Quiesced(u64),
    /// A watch that has not listed by now is begun again.
    Resubscribe(u64),
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
    shard_watch: Option<Watch>,
    session_watch: Option<Watch>,
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
        let agent = Agent {
            process,
            session: Session::new(claimant, record, self.config, now, wall()),
            shards: Shards::new(name, count, self.config, now, wall()),
            monitor: None,
            tick: None,
            told: None,
            shard_watch: None,
            session_watch: None,
        };
        self.nodes[index].agent = Some(agent);
        let (willing, draining) = (Arc::clone(&self.ready), self.nodes[index].draining);
        self.speak_to(index, |world, agent| {
            world.watch(agent, Kind::Shard);
            world.hear_willing(agent, willing);
            if draining {
                world.tell_shards(agent, shard::Input::Drain);
            }
            world.tick(agent);
        });
    }

    // --- Inputs ----------------------------------------------------------------------------------------------------

    pub(super) fn tick(&mut self, agent: &mut Agent) {
        self.tell_session(agent, session::Input::Tick);
        self.tell_shards(agent, shard::Input::Tick);
        self.tell_monitor(agent, monitor::Input::Tick);
    }

    pub(super) fn ended(&mut self, agent: &mut Agent, part: Part) {
        if let Some(input) = Self::session_input(part) {
            return self.tell_session(agent, input);
        }
        match part {
            Part::Quiesced(number) => self.tell_shards(agent, shard::Input::Quiesced(number)),
            Part::Resubscribe(number) => {
                let silent = |watch: Option<Watch>| watch.is_some_and(|w| w.number == number && !w.listed);
                if silent(agent.shard_watch) {
                    self.watch(agent, Kind::Shard);
                } else if silent(agent.session_watch) {
                    self.watch(agent, Kind::Session);
                }
            }
            Part::Persisted(_) | Part::Fenced(_) => {}
        }
    }

    pub(super) fn heard(&mut self, agent: &mut Agent, reply: Reply) {
        let Reply { asker, number, answer, version, floor } = reply;
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
        }
    }

    pub(super) fn hear_willing(&mut self, agent: &mut Agent, nodes: Arc<BTreeSet<String>>) {
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
        self.watch(agent, Kind::Shard);
    }

    pub(super) fn shown(&mut self, agent: &mut Agent, watch: u64, shown: Shown) {
        let is = |known: Option<Watch>| known.is_some_and(|known| known.number == watch);
        let kind = match (is(agent.shard_watch), is(agent.session_watch)) {
            (true, _) => Kind::Shard,
            (_, true) => Kind::Session,
            (false, false) => return self.unsubscribe(watch),
        };
        match shown {
            Shown::Broken => self.watch(agent, kind),
            Shown::List(leases, version) => {
                let floor = self.nodes[agent.process.node].seen_version;
                self.saw_version(agent, Some(version), floor);
                if version < floor && kind == Kind::Shard {
                    return;
                }
                let known =
                    if kind == Kind::Shard { &mut agent.shard_watch } else { &mut agent.session_watch };
                *known = Some(Watch { number: watch, listed: true });
                self.restarted(agent, kind);
                for lease in leases {
                    self.seen(agent, kind, &lease);
                }
                self.complete(agent, kind);
            }
            Shown::Changed(lease, version) => {
                let seen = &mut self.nodes[agent.process.node].seen_version;
                *seen = version.max(*seen);
                self.seen(agent, kind, &lease);
            }
            Shown::Gone(name) => match kind {
                Kind::Session => self.tell_monitor(agent, monitor::Input::Gone(name)),
                Kind::Shard => {
                    if let Some(number) = shard::wire::parse_name(&name) {
                        self.tell_shards(agent, shard::Input::Gone(number));
                    }
                }
            },
        }
    }

    fn restarted(&mut self, agent: &mut Agent, kind: Kind) {
        match kind {
            Kind::Shard => self.tell_shards(agent, shard::Input::Restarted),
            Kind::Session => self.tell_monitor(agent, monitor::Input::Restarted),
        }
    }

    fn seen(&mut self, agent: &mut Agent, kind: Kind, lease: &Lease) {
        let lease = Box::new(lease.clone());
        match kind {
            Kind::Shard => self.tell_shards(agent, shard::Input::Seen(lease)),
            Kind::Session => self.tell_monitor(agent, monitor::Input::Seen(lease)),
        }
    }

    fn complete(&mut self, agent: &mut Agent, kind: Kind) {
        match kind {
            Kind::Shard => self.tell_shards(agent, shard::Input::Complete),
            Kind::Session => {
                self.tell_monitor(agent, monitor::Input::Complete);
                self.tell_over(agent);
            }
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
        let next = [agent.session.next_deadline(), agent.shards.next_deadline(held, now), monitor];
        let Some(next) = next.into_iter().flatten().min() else { return };
        let when = self.nodes[node].clock.when(next).max(self.now + Duration::from_nanos(1));
        if agent.tick.is_none_or(|tick| when < tick) {
            agent.tick = Some(when);
            self.at(when, Event::Tick(agent.process));
        }
    }

    fn ask(&mut self, agent: &Agent, asker: Asker, number: u64, kind: Kind, name: String, what: What) {
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
                let end = Event::Local(agent.process, Part::Fenced(number));
                self.after(Duration::from_millis(20), end);
            }
            Effect::Report(report) => self.count_session(&report),
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
            if let Some(watch) = agent.session_watch.take() {
                self.unsubscribe(watch.number);
            }
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

    /// Begins a watch, in place of the one before.
    fn watch(&mut self, agent: &mut Agent, kind: Kind) {
        self.messages += 1;
        let number = self.messages;
        let watch = Some(Watch { number, listed: false });
        let last = match kind {
            Kind::Shard => std::mem::replace(&mut agent.shard_watch, watch),
            Kind::Session => std::mem::replace(&mut agent.session_watch, watch),
        };
        if let Some(last) = last {
            self.unsubscribe(last.number);
        }
        self.ask(agent, Asker::Shards, 0, kind, String::new(), What::Watch(number));
        self.after(Duration::from_secs(3), Event::Local(agent.process, Part::Resubscribe(number)));
    }
}

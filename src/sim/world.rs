//! The world: its nodes, its coordinator, what is about to happen, and the course of a run.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;

use super::Outcome;
use super::agent::{Agent, Part};
use super::calls::{Call, Reply};
use super::clock::Clock;
use super::machine::{Machine, Turn};
use super::oracles::{Oracles, Violation};
use super::pods;
use super::script::{Deed, Fates, Script};
use super::statistics::Statistics;
use super::store::Store;
use super::watches::{Shown, Subscriptions};
use crate::lease::session::Record;
use crate::lease::timings::{SessionConfig, SessionTimings};
use crate::time::Instant;

/// A run with more events than this for each node has a machine in it that spins.
const EVENTS_PER_NODE_MAX: u64 = 20_000;

/// One run of an agent: what belongs to an earlier one is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) node: usize,
    pub(super) start: u64,
}

/// What happens at some instant.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Deed(Deed),
    /// A request reaches the coordinator.
    Arrive(Process, Call),
    /// A reply reaches the agent.
    Reply(Process, Reply),
    /// A watch shows something.
    Shown(Process, u64, Shown),
    /// Something local has ended.
    Local(Process, Part),
    /// A record reaches the disk.
    Kept(Process, u64, Box<Record>),
    /// Counts only if the agent still wants it then.
    Tick(Process),
    /// The agent starts.
    Start(usize),
    Undrain(usize),
    /// The agents hear which nodes are ready.
    TellWilling,
    /// A copy of the store is put away.
    Backup(usize),
    /// A start of a Pod ends, on this node in this boot.
    Started(usize, u64, String),
    /// A guard of this node, by its number, has a turn.
    Guard(usize, u64, Turn),
    StartGuard(usize),
}

struct Entry(Reverse<(Duration, u64)>, Event);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// One machine.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) clock: Clock,
    pub(super) boot: u64,
    pub(super) start: u64,
    pub(super) agent: Option<Agent>,
    /// The session's record on its disk.
    pub(super) record: Option<Record>,
    /// The highest version of the store that it has seen, on its disk.
    pub(super) seen_version: u64,
    /// The disk does one write after the other: when the last one is done.
    pub(super) disk_done: Duration,
    pub(super) draining: bool,
    pub(super) machine: Machine,
    /// Nothing is concluded from absence, and no identity is taken, before this.
    pub(super) quiet_until: Instant,
    /// Until when each of these lasts.
    pub(super) no_way_up: Duration,
    pub(super) no_way_down: Duration,
    pub(super) paused: Duration,
    pub(super) slow_disk: Duration,
    pub(super) full_disk: Duration,
    pub(super) silent_watches: Duration,
}

/// See the module's documentation.
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) config: SessionConfig,
    pub(super) script: Script,
    pub(super) fates: Fates,
    pub(super) messages: u64,
    queue: BinaryHeap<Entry>,
    events: u64,
    pub(super) store: Store,
    pub(super) backups: BTreeMap<usize, Store>,
    /// The coordinator is away until then.
    pub(super) outage: Duration,
    /// A backup is being restored until then.
    pub(super) restoring: Duration,
    pub(super) subscriptions: Subscriptions,
    pub(super) nodes: Vec<Node>,
    /// The Node of each: ready, and not ready.
    pub(super) node_objects: Vec<(Arc<core::Node>, Arc<core::Node>)>,
    /// Whose turn it is.
    pub(super) turn: Option<Process>,
    /// Nodes that the monitor says are ready, and whether the agents have heard.
    pub(super) ready: Arc<BTreeSet<String>>,
    pub(super) ready_told: bool,
    pub(super) oracles: Oracles,
    pub(super) statistics: Statistics,
    pub(super) violation: Option<Violation>,
    /// What happened, in words, if somebody wants to know.
    pub(super) history: Option<Vec<(Duration, String)>>,
}

impl World {
    pub(super) fn new(script: Script, fates: Fates) -> Self {
        let shape = script.shape;
        let timings = SessionTimings::of_duration(Duration::from_secs(shape.session_seconds));
        let nodes: Vec<Node> = script
            .clocks
            .iter()
            .enumerate()
            .map(|(number, (offset, rate))| Node {
                name: format!("node-{number}"),
                clock: Clock::new(Duration::ZERO, Duration::from_millis(*offset), *rate),
                boot: 0,
                start: 0,
                agent: None,
                record: None,
                seen_version: 0,
                disk_done: Duration::ZERO,
                draining: false,
                machine: Machine { level: script.level(number), ..Machine::default() },
                quiet_until: Instant::default(),
                no_way_up: Duration::ZERO,
                no_way_down: Duration::ZERO,
                paused: Duration::ZERO,
                slow_disk: Duration::ZERO,
                full_disk: Duration::ZERO,
                silent_watches: Duration::ZERO,
            })
            .collect();
        Self {
            now: Duration::ZERO,
            config: timings.check().unwrap_or_default(),
            script,
            fates,
            messages: 0,
            queue: BinaryHeap::new(),
            events: 0,
            store: Store::new(shape.shards, shape.identities),
            node_objects: nodes.iter().map(|node| objects_of(&node.name)).collect(),
            turn: None,
            backups: BTreeMap::new(),
            outage: Duration::ZERO,
            restoring: Duration::ZERO,
            subscriptions: Subscriptions::default(),
            nodes,
            ready: Arc::default(),
            ready_told: true,
            oracles: Oracles::default(),
            statistics: Statistics::default(),
            violation: None,
            history: None,
        }
    }

    /// The same, which tells what happens.
    pub(super) fn telling(mut self) -> Self {
        self.history = Some(Vec::new());
        self
    }

    /// Remembers what happened, if somebody wants to know.
    pub(super) fn tell(&mut self, what: impl FnOnce(&Self) -> String) {
        if let Some(mut history) = self.history.take() {
            history.push((self.now, what(self)));
            self.history = Some(history);
        }
    }

    /// The whole course: the cluster comes up, faults, and what is left when they have stopped.
    pub(super) fn run(mut self) -> Outcome {
        let (d, m) = (self.config.duration(), self.config.margin());
        let warm_up = (d + m) * 2;
        for node in 0..self.nodes.len() {
            self.at(Duration::from_millis(node as u64 * 7), Event::Start(node));
            self.at(Duration::from_millis(node as u64 * 7), Event::StartGuard(node));
        }
        let deeds = self.script.deeds.clone();
        for (index, (at, deed)) in deeds.iter().enumerate() {
            let at = warm_up + Duration::from_millis(*at);
            if let Deed::Restore { age_ms, .. } = deed {
                self.at(at.saturating_sub(Duration::from_millis(*age_ms)), Event::Backup(index));
            }
            self.at(at, Event::Deed(*deed));
        }
        let faults = Duration::from_millis(self.script.shape.faults_ms);
        self.run_until(warm_up + faults);
        self.heal();
        // Two lapses in a row, the wait for a shard, and what is late in the network.
        self.run_until(self.now + (d + m) * 4 + Duration::from_mins(1));
        self.expect_liveness();
        self.statistics.add_many("messages", self.messages);
        self.statistics.add_many("events", self.events);
        Outcome {
            script: self.script,
            statistics: self.statistics,
            violation: self.violation,
            history: self.history.unwrap_or_default(),
        }
    }

    fn run_until(&mut self, end: Duration) {
        while self.violation.is_none() {
            let Some(entry) = self.queue.peek().filter(|entry| entry.0.0.0 <= end) else { break };
            self.now = self.now.max(entry.0.0.0);
            if let Some(Entry(_, event)) = self.queue.pop() {
                self.happen(event);
            }
            if self.events > self.script.clocks.len() as u64 * EVENTS_PER_NODE_MAX {
                self.violated("no machine wakes without an end", format!("{} events", self.events));
            }
        }
        if self.violation.is_none() {
            self.now = end;
        }
    }

    pub(super) fn at(&mut self, when: Duration, event: Event) {
        self.events += 1;
        self.queue.push(Entry(Reverse((when, self.events)), event));
    }

    pub(super) fn after(&mut self, span: Duration, event: Event) {
        self.at(self.now + span, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deed(deed) => self.deed(deed),
            Event::Arrive(from, call) => self.arrive(from, &call),
            Event::Reply(to, reply) => self.wake(to, Event::Reply(to, reply.clone()), |world, agent| {
                world.heard(agent, reply);
            }),
            Event::Shown(to, watch, shown) => {
                self.wake(to, Event::Shown(to, watch, shown.clone()), |world, agent| {
                    world.shown(agent, watch, shown);
                });
            }
            Event::Local(to, part) => self.wake(to, Event::Local(to, part.clone()), |world, agent| {
                world.ended(agent, part);
            }),
            Event::Kept(to, number, record) => {
                if self.is_running(to) {
                    self.nodes[to.node].record = Some(*record);
                    let input = Part::Persisted(number);
                    self.happen(Event::Local(to, input));
                }
            }
            Event::Tick(to) => {
                let due =
                    self.nodes[to.node].agent.as_ref().is_some_and(|agent| agent.tick == Some(self.now));
                if due {
                    self.wake(to, Event::Tick(to), |world, agent| {
                        agent.tick = None;
                        world.tick(agent);
                    });
                }
            }
            Event::Start(node) => self.start(node),
            Event::Undrain(node) => self.undrain(node),
            Event::TellWilling => self.tell_willing(),
            Event::Started(node, boot, uid) => self.started(node, boot, uid),
            Event::Guard(node, guard, turn) => self.guard_turn(node, guard, turn),
            Event::StartGuard(node) => self.start_guard(node),
            Event::Backup(index) => drop(self.backups.insert(index, self.store.clone())),
        }
    }

    pub(super) fn is_running(&self, process: Process) -> bool {
        let node = &self.nodes[process.node];
        node.agent.is_some() && node.start == process.start
    }

    /// Gives an agent its turn: later, if it is paused; never, if it is no more.
    fn wake(&mut self, to: Process, again: Event, turn: impl FnOnce(&mut Self, &mut Agent)) {
        if !self.is_running(to) {
            return;
        }
        let paused = self.nodes[to.node].paused;
        if paused > self.now {
            if let Event::Tick(_) = again
                && let Some(agent) = &mut self.nodes[to.node].agent
            {
                agent.tick = Some(paused);
            }
            return self.at(paused, again);
        }
        let Some(mut agent) = self.nodes[to.node].agent.take() else { return };
        self.turn = Some(to);
        turn(self, &mut agent);
        self.settle(&mut agent);
        self.turn = None;
        self.nodes[to.node].agent = Some(agent);
        self.look_at(to.node);
    }

    /// As [`World::wake`], for deeds that speak to the agent of a node.
    pub(super) fn speak_to(&mut self, node: usize, turn: impl FnOnce(&mut Self, &mut Agent)) {
        let to = Process { node, start: self.nodes[node].start };
        if self.nodes[node].paused <= self.now {
            self.wake(to, Event::Tick(to), turn);
        }
    }

    pub(super) fn clock(&self, node: usize) -> Instant {
        self.nodes[node].clock.read(self.now)
    }

    /// The monitor says that a node is ready, or not.
    pub(super) fn set_ready(&mut self, node: &str, ready: bool) {
        let nodes = Arc::make_mut(&mut self.ready);
        let changed = if ready { nodes.insert(node.to_owned()) } else { nodes.remove(node) };
        if changed && std::mem::take(&mut self.ready_told) {
            self.after(Duration::from_millis(500), Event::TellWilling);
        }
    }

    fn tell_willing(&mut self) {
        self.ready_told = true;
        for node in 0..self.nodes.len() {
            let willing = Arc::clone(&self.ready);
            self.speak_to(node, |world, agent| world.hear_willing(agent, willing));
        }
    }
}

/// A node's object, ready and not ready.
fn objects_of(name: &str) -> (Arc<core::Node>, Arc<core::Node>) {
    (Arc::new(pods::node(name, true)), Arc::new(pods::node(name, false)))
}

//! What must never be seen, one oracle a sentence; and what must be seen when the faults have stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;

use super::pods::{self, Change, PodCall, has_identity, name_of, node_of, uid_of};
use super::store::Kind;
use super::workloads::{identity_name, pod_name};
use super::world::{Process, World};
use crate::lease::shard::{self, MONITOR};
use crate::lease::wire;
use crate::time::Instant;

/// Something that must not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// True time.
    pub at: Duration,
    /// The oracle, as a sentence.
    pub oracle: &'static str,
    /// Who and what.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:.3} s: not so: {}: {}", self.at.as_secs_f64(), self.oracle, self.detail)
    }
}

const SESSION_BY_ACKNOWLEDGEMENT: &str =
    "no node believes in its session past D after its last accepted renewal was sent";
const REVOKED_AFTER_DEADLINE: &str = "no session is revoked while its node believes in it";
const ONE_WRITER: &str = "never may two agents write for one shard";
const FREED_AFTER_SESSION: &str = "no shard is taken from a session that its node believes in";
const I1: &str = "I1: two containers of one identity never run at the same time";
const I3: &str = "I3: a node never exceeds its allocatable";
const ONE_NODE: &str = "a Pod runs on one node only";
const BOUND_ONCE: &str = "a Pod is bound at most once";
const ALL_RUN: &str = "when the faults have stopped, every identity runs exactly once";
const ALL_HAVE_SESSIONS: &str = "when the faults have stopped, every node has a session";
const ALL_SHARDS_HELD: &str = "when the faults have stopped, every shard is held by one agent that may write";
const ALL_READY: &str = "when the faults have stopped, the monitor finds every node ready";

/// What the oracles remember.
#[derive(Debug, Default)]
pub(super) struct Oracles {
    /// By Lease, epoch and holder: when the last accepted write of a session was sent, by its node's clock.
    accepted: BTreeMap<(String, i32, String), Instant>,
    /// By shard: who was last seen to be allowed to write.
    writers: BTreeMap<u32, usize>,
    /// By Pod UID: the node it was bound to.
    bound: BTreeMap<String, String>,
    /// By identity: its last holder's node.
    holders: BTreeMap<String, String>,
}

impl Oracles {
    /// The store has forgotten what was bound since the backup.
    pub(super) fn restored(&mut self) {
        self.bound.clear();
    }

    pub(super) fn session_written(&mut self, lease: &Lease, sent: Instant) {
        let key = (wire::uid(lease).to_owned(), wire::epoch(lease), wire::holder(lease).to_owned());
        let last = self.accepted.entry(key).or_default();
        *last = sent.max(*last);
    }
}

impl World {
    pub(super) fn violated(&mut self, oracle: &'static str, detail: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { at: self.now, oracle, detail });
        }
    }

    /// After every turn of an agent.
    pub(super) fn look_at(&mut self, node: usize) {
        self.look_at_session(node);
        for shard in 0..self.script.shape.shards {
            if !self.may_write(node, shard) {
                continue;
            }
            let last = self.oracles.writers.insert(shard, node).filter(|last| *last != node);
            if let Some(last) = last {
                self.statistics.count("shard handed over");
                if self.may_write(last, shard) {
                    self.violated(ONE_WRITER, format!("shard {shard}: node {last} and node {node}"));
                }
            }
        }
    }

    fn may_write(&self, node: usize, shard: u32) -> bool {
        let Some(agent) = &self.nodes[node].agent else { return false };
        if !agent.shards.holds(shard) {
            return false;
        }
        let now = self.clock(node);
        agent.shards.may_write(shard, agent.session.held(now), now, self.config.timeout())
    }

    fn look_at_session(&mut self, node: usize) {
        let Some(agent) = &self.nodes[node].agent else { return };
        let Some((session, deadline)) = agent.session.held(self.clock(node)) else { return };
        let holder = self.nodes[node].record.as_ref().map(|record| record.holder.clone()).unwrap_or_default();
        let key = (session.lease_uid.clone(), session.epoch, holder);
        let until = self.oracles.accepted.get(&key).map(|sent| *sent + self.config.duration());
        if until.is_none_or(|until| deadline > until) {
            let detail = format!("{session} is believed in until {deadline:?}, not {until:?}");
            self.violated(SESSION_BY_ACKNOWLEDGEMENT, detail);
        }
    }

    /// A monitor has broken a session.
    pub(super) fn revoked(&mut self, lease: &Lease) {
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        let Some(node) = self.nodes.iter().position(|node| node.name == name) else { return };
        if wire::epoch(lease) == 0 {
            return self.statistics.count("session created as revoked");
        }
        self.statistics.count("session revoked");
        if self.nodes[node].paused > self.now {
            self.statistics.count("session of a paused node revoked");
        }
        let Some(agent) = &self.nodes[node].agent else { return };
        let believes = agent.session.held(self.clock(node)).is_some_and(|(session, _)| {
            session.lease_uid == wire::uid(lease) && session.epoch == wire::epoch(lease)
        });
        if believes {
            self.violated(REVOKED_AFTER_DEADLINE, name.to_owned());
        }
    }

    /// A container has begun to run.
    pub(super) fn container_runs(&mut self, node: usize, pod: &Pod) {
        self.statistics.count("container started");
        self.tell(|world| format!("{}: {} ({}) runs", world.nodes[node].name, name_of(pod), uid_of(pod)));
        if has_identity(pod) {
            let is_other = |it: &(usize, &str)| *it != (node, uid_of(pod));
            let others: Vec<usize> =
                self.containers_of(name_of(pod)).filter(is_other).map(|it| it.0).collect();
            if let Some(other) = others.first() {
                self.violated(I1, format!("{}: on node {other} and on node {node}", name_of(pod)));
            }
        }
        let cgroups = self.nodes[node].machine.cgroups.values();
        let cpus: u32 = cgroups.filter(|it| it.running).map(|it| pods::cpus_of(&it.pod)).sum();
        if cpus > pods::CPUS {
            self.violated(I3, format!("node {node}: {cpus} CPUs of {}", pods::CPUS));
        }
        if self.oracles.bound.get(uid_of(pod)).is_some_and(|bound| *bound != self.nodes[node].name) {
            self.violated(ONE_NODE, format!("{} on node {node}", uid_of(pod)));
        }
    }

    /// The store has carried out a request about a Pod.
    pub(super) fn pod_written(&mut self, call: &PodCall, change: &Change) {
        let (PodCall::Bind { uid, node, .. }, Some(_)) = (call, &change.after) else { return };
        self.statistics.count("Pod bound");
        self.tell(|_| format!("Pod {uid} is bound to {node}"));
        if self.oracles.bound.insert(uid.clone(), node.clone()).is_some_and(|last| last != *node) {
            self.violated(BOUND_ONCE, format!("{uid}, at last to {node}"));
        }
    }

    /// An agent has written an identity's Lease.
    pub(super) fn identity_taken(&mut self, from: Process, lease: &Lease) {
        if wire::holder(lease).is_empty() {
            return;
        }
        let name = lease.metadata.name.clone().unwrap_or_default();
        let node = self.nodes[from.node].name.clone();
        let last = self.oracles.holders.insert(name, node.clone());
        if last.is_some_and(|last| last != node) {
            self.statistics.count("identity handed over to another node");
        }
    }

    /// An agent has written a shard's Lease.
    pub(super) fn shard_written(&mut self, from: Process, lease: &Lease) {
        let Some(shard) = lease.metadata.name.as_deref().and_then(shard::wire::parse_name) else { return };
        let holders: Vec<usize> =
            (0..self.nodes.len()).filter(|node| *node != from.node && self.may_write(*node, shard)).collect();
        if let Some(holder) = holders.first() {
            let detail = format!("shard {shard}: of node {holder} by node {}", from.node);
            self.violated(FREED_AFTER_SESSION, detail);
        }
    }

    /// After the faults.
    pub(super) fn expect_liveness(&mut self) {
        for node in 0..self.nodes.len() {
            let held =
                self.nodes[node].agent.as_ref().is_some_and(|a| a.session.held(self.clock(node)).is_some());
            if !held {
                let name = &self.nodes[node].name;
                let lease = self
                    .store
                    .get(&(Kind::Session, name.clone()))
                    .map(|lease| wire::holder(lease).to_owned());
                let detail = format!("{name}, Lease held by {lease:?}");
                self.violated(ALL_HAVE_SESSIONS, detail);
            }
        }
        for shard in 0..self.script.shape.shards {
            let writers: BTreeSet<usize> =
                (0..self.nodes.len()).filter(|node| self.may_write(*node, shard)).collect();
            if writers.len() != 1 {
                let lease = self.store.get(&(Kind::Shard, shard::wire::name(shard)));
                let holder = lease.map(|lease| wire::holder(lease).to_owned());
                let detail = format!("shard {shard}: nodes {writers:?}, Lease held by {holder:?}");
                self.violated(ALL_SHARDS_HELD, detail);
            }
        }
        for number in 0..self.script.shape.identities {
            let name = pod_name(number);
            let running = self.containers_of(&name).count();
            if running != 1 {
                let pod = self
                    .store
                    .pod(&name)
                    .map(|pod| (uid_of(pod).to_owned(), node_of(pod).map(str::to_owned)));
                let lease = self.store.get(&(Kind::Identity, identity_name(&name)));
                let holder = lease.map(|lease| wire::holder(lease).to_owned());
                self.violated(ALL_RUN, format!("{name}: {running}; Pod {pod:?}, held by {holder:?}"));
            }
        }
        let watched = (0..self.nodes.len()).any(|node| {
            self.nodes[node].agent.as_ref().is_some_and(|a| a.monitor.is_some() && a.shards.holds(MONITOR))
        });
        if !watched || self.ready.len() != self.nodes.len() {
            let all: BTreeSet<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
            let missing: Vec<String> = all.difference(&self.ready).cloned().collect();
            self.violated(ALL_READY, format!("monitored: {watched}; not ready: {missing:?}"));
        }
    }
}

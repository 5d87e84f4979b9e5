//! What a machine has whatever becomes of its agent: containers in cgroups, and the guard that watches over them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::agent::Part;
use super::pods::{has_identity, name_of, uid_of};
use super::script::travel_time;
use super::world::{Event, World};
use crate::lease::fence::FenceLevel;
use crate::lease::fence::holder;
use crate::lease::fence::watch::{Charge, Watch};
use crate::lease::session::SessionId;
use crate::time::Instant;

/// From one process to another on the same machine.
const LOCAL: Duration = Duration::from_millis(1);
/// What it takes to freeze a cgroup, kill what is in it and see it empty.
const KILLING: Duration = Duration::from_millis(20);

/// The containers of one Pod.
#[derive(Debug)]
pub(super) struct Cgroup {
    pub(super) pod: Arc<Pod>,
    pub(super) frozen: bool,
    pub(super) running: bool,
    /// A start is under way: the runtime goes on with it also when the agent is dead.
    pub(super) starting: bool,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) level: FenceLevel,
    pub(super) cgroups: BTreeMap<String, Cgroup>,
    /// The guard's table, until the machine boots.
    pub(super) table: Watch,
    /// The guard that runs, by its number.
    pub(super) guard: Option<u64>,
    pub(super) guards: u64,
    /// Sessions that it has had and fenced, and the last one. On disk.
    pub(super) past: BTreeSet<SessionId>,
    pub(super) last: Option<SessionId>,
    /// Pods that it hosts, by UID. On disk.
    pub(super) pods: BTreeMap<String, Arc<Pod>>,
}

/// What the agent asks of the guard.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Arm { uid: String, session: SessionId, deadline: Instant },
    Renew { session: SessionId, deadline: Instant },
    Disarm(String),
}

/// What a guard does.
#[derive(Clone, Debug)]
pub(super) enum Turn {
    /// The agent, in its number's run, asks.
    Asked(u64, Order),
    /// Time has passed.
    Due,
    /// The killing of a Pod ends.
    Killed(String),
}

impl World {
    // --- Containers ------------------------------------------------------------------------------------------------

    /// The runtime begins to start a Pod's containers.
    pub(super) fn begin_start(&mut self, node: usize, pod: &Arc<Pod>) {
        self.messages += 1;
        // Mostly soon, now and then as late as an overloaded runtime is.
        let span = travel_time(self.messages) * if self.messages.is_multiple_of(7) { 900 } else { 20 };
        let boot = self.nodes[node].boot;
        let cgroups = &mut self.nodes[node].machine.cgroups;
        let new = || Cgroup { pod: Arc::clone(pod), frozen: false, running: false, starting: false };
        cgroups.entry(uid_of(pod).to_owned()).or_insert_with(new).starting = true;
        self.after(span, Event::Started(node, boot, uid_of(pod).to_owned()));
    }

    /// A start that was under way ends: the container runs, unless its cgroup was frozen meanwhile.
    pub(super) fn started(&mut self, node: usize, boot: u64, uid: String) {
        if self.nodes[node].boot != boot {
            return;
        }
        let now = self.clock(node);
        let machine = &mut self.nodes[node].machine;
        let Some(cgroup) = machine.cgroups.get_mut(&uid) else { return };
        cgroup.starting = false;
        cgroup.running = !cgroup.frozen;
        if cgroup.frozen {
            self.statistics.count("container came late into a frozen cgroup");
            machine.table.seen_populated(&uid, now);
            self.guard_wakes(node);
        } else {
            let pod = Arc::clone(&cgroup.pod);
            self.container_runs(node, &pod);
        }
        self.tell_agent(node, Part::Ended(uid));
    }

    /// Freezes a Pod's cgroup and kills what is in it.
    pub(super) fn kill_frozen(&mut self, node: usize, uid: &str) {
        if let Some(cgroup) = self.nodes[node].machine.cgroups.get_mut(uid) {
            cgroup.frozen = true;
        }
        self.kill_containers(node, uid);
    }

    /// Kills what runs of a Pod.
    pub(super) fn kill_containers(&mut self, node: usize, uid: &str) {
        let Some(cgroup) = self.nodes[node].machine.cgroups.get_mut(uid) else { return };
        if std::mem::replace(&mut cgroup.running, false) {
            self.tell(|world| format!("{}: container of {uid} ends", world.nodes[node].name));
            self.tell_agent(node, Part::Ended(uid.to_owned()));
        }
    }

    /// To the agent that runs now, if any.
    fn tell_agent(&mut self, node: usize, part: Part) {
        if let Some(agent) = &self.nodes[node].agent {
            let process = agent.process;
            self.after(LOCAL, Event::Local(process, part));
        } else if let Some(process) = self.turn.filter(|process| process.node == node) {
            self.after(LOCAL, Event::Local(process, part));
        }
    }

    // --- The guard -------------------------------------------------------------------------------------------------

    /// A guard starts, and takes up what the last one has left.
    pub(super) fn start_guard(&mut self, node: usize) {
        let machine = &mut self.nodes[node].machine;
        if machine.guard.is_some() {
            return;
        }
        machine.guards += 1;
        machine.guard = Some(machine.guards);
        self.guard_wakes(node);
        self.tell_guard_up(node);
    }

    /// The agent reaches the guard, if both run.
    pub(super) fn tell_guard_up(&mut self, node: usize) {
        let machine = &self.nodes[node].machine;
        if machine.guard.is_none() {
            return;
        }
        let known = machine.table.entries().map(|entry| entry.charge.uid.clone()).collect();
        let level = machine.level;
        self.tell_agent(node, Part::Fence(Box::new(holder::Input::GuardUp { level, known })));
    }

    pub(super) fn kill_guard(&mut self, node: usize) {
        if self.nodes[node].machine.guard.take().is_some() {
            self.tell_agent(node, Part::Fence(Box::new(holder::Input::GuardDown)));
        }
    }

    /// The agent sends the guard an order.
    pub(super) fn order_guard(&mut self, node: usize, start: u64, order: Order) {
        if let Some(guard) = self.nodes[node].machine.guard {
            self.after(LOCAL, Event::Guard(node, guard, Turn::Asked(start, order)));
        }
    }

    /// The guard has something to do at once, or will have.
    fn guard_wakes(&mut self, node: usize) {
        let Some(guard) = self.nodes[node].machine.guard else { return };
        let machine = &self.nodes[node].machine;
        let due: Vec<String> = machine.table.due().map(|entry| entry.charge.uid.clone()).collect();
        let next = machine.table.next_deadline();
        for uid in due {
            self.after(KILLING, Event::Guard(node, guard, Turn::Killed(uid)));
        }
        if let Some(next) = next {
            let when = self.nodes[node].clock.when(next).max(self.now + Duration::from_nanos(1));
            self.at(when, Event::Guard(node, guard, Turn::Due));
        }
    }

    pub(super) fn guard_turn(&mut self, node: usize, guard: u64, turn: Turn) {
        if self.nodes[node].machine.guard != Some(guard) {
            return;
        }
        let now = self.clock(node);
        match turn {
            Turn::Asked(start, order) => self.guard_asked(node, start, order),
            Turn::Due => {
                let table = &mut self.nodes[node].machine.table;
                let late = table.overdue(now);
                if table.pass(now) || !late.is_empty() {
                    self.guard_wakes(node);
                }
            }
            Turn::Killed(uid) => {
                let due = self.nodes[node].machine.table.due().any(|entry| entry.charge.uid == uid);
                if !due {
                    return;
                }
                let ran = self.nodes[node].machine.cgroups.get(&uid).is_some_and(|cgroup| cgroup.running);
                if ran {
                    self.statistics.count("container killed by the guard");
                }
                self.kill_frozen(node, &uid);
                self.nodes[node].machine.table.seen_empty(&uid);
            }
        }
    }

    fn guard_asked(&mut self, node: usize, start: u64, order: Order) {
        let now = self.clock(node);
        let margin = self.config.margin();
        let machine = &mut self.nodes[node].machine;
        let level = machine.level;
        let answer = match order {
            Order::Arm { uid, session, deadline } => {
                let charge = Charge {
                    uid: uid.clone(),
                    dir: String::new(),
                    session: number_of(&session),
                    deadline,
                    margin,
                    level,
                };
                match machine.table.arm(charge, now) {
                    Ok(()) => Some(holder::Input::Armed { uid, session }),
                    Err(_) => Some(holder::Input::Refused(uid)),
                }
            }
            Order::Renew { session, deadline } => {
                machine.table.renew(number_of(&session), deadline, now);
                None
            }
            Order::Disarm(uid) => match machine.table.disarm(&uid, now) {
                Ok(()) => Some(holder::Input::Disarmed(uid)),
                Err(_) => Some(holder::Input::Refused(uid)),
            },
        };
        if let Some(answer) = answer
            && self.nodes[node].start == start
        {
            self.tell_agent(node, Part::Fence(Box::new(answer)));
        }
        self.guard_wakes(node);
    }

    /// The machine loses power.
    pub(super) fn lose_power(&mut self, node: usize) {
        let machine = &mut self.nodes[node].machine;
        machine.cgroups.clear();
        machine.table = Watch::default();
        machine.guard = None;
    }

    /// How much of the machine is taken by what runs or starts.
    pub(super) fn containers_of<'a>(&'a self, identity: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
        self.nodes.iter().enumerate().flat_map(move |(number, node)| {
            let here = node.machine.cgroups.iter().filter(move |(_, cgroup)| {
                cgroup.running && has_identity(&cgroup.pod) && name_of(&cgroup.pod) == identity
            });
            here.map(move |(uid, _)| (number, uid.as_str()))
        })
    }
}

/// How the guard tells sessions apart.
fn number_of(session: &SessionId) -> u64 {
    let lease: u64 = session.lease_uid.trim_start_matches("uid-").parse().unwrap_or(0);
    (lease << 24) + u64::from(session.epoch.unsigned_abs())
}

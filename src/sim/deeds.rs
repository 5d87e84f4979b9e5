//! What is done to the world, and its end.

use std::time::Duration;

use super::script::{Deed, Fates};
use super::store::Kind;
use super::watches::Shown;
use super::workloads::{identity_name, pod_name};
use super::world::{Event, World};
use crate::lease::shard;
use crate::time::Instant;

impl World {
    pub(super) fn deed(&mut self, deed: Deed) {
        let now = self.now;
        self.tell(|_| format!("deed {deed:?}"));
        let until = |ms: u64| now + Duration::from_millis(ms);
        match deed {
            Deed::Cut { node, up, down, ms } => {
                let end = until(ms);
                self.statistics.count(match (up, down) {
                    (true, true) => "fault: cut off",
                    (true, false) => "fault: cannot send",
                    (false, _) => "fault: cannot hear",
                });
                let node = &mut self.nodes[node as usize];
                if up {
                    node.no_way_up = end;
                }
                if down {
                    node.no_way_down = end;
                }
            }
            Deed::Pause { node, ms } => {
                self.statistics.count("fault: agent paused");
                self.nodes[node as usize].paused = until(ms);
            }
            Deed::KillAgent { node, ms } => {
                self.statistics.count("fault: agent killed");
                self.kill(node as usize);
                self.at(until(ms), Event::Start(node as usize));
            }
            Deed::KillGuard { node, ms } => {
                self.statistics.count("fault: guard killed");
                self.kill_guard(node as usize);
                self.at(until(ms), Event::StartGuard(node as usize));
            }
            Deed::Reboot { node, ms } => {
                self.statistics.count("fault: machine rebooted");
                self.kill(node as usize);
                let left = self.nodes[node as usize].quiet_until.saturating_since(self.clock(node as usize));
                let machine = &mut self.nodes[node as usize];
                machine.boot += 1;
                machine.clock = machine.clock.booted(now);
                machine.quiet_until = Instant::from_boot(left);
                self.lose_power(node as usize);
                self.at(until(ms), Event::Start(node as usize));
                self.at(until(ms), Event::StartGuard(node as usize));
            }
            Deed::SlowDisk { node, ms } => {
                self.statistics.count("fault: slow disk");
                self.nodes[node as usize].slow_disk = until(ms);
            }
            Deed::FullDisk { node, ms } => {
                self.statistics.count("fault: full disk");
                self.nodes[node as usize].full_disk = until(ms);
            }
            Deed::Outage { ms } => {
                self.statistics.count("fault: coordinator away");
                self.outage = until(ms);
                self.break_watches(None);
            }
            Deed::TouchSession { node } => {
                self.statistics.count("fault: another writes to a session");
                let name = self.nodes[node as usize].name.clone();
                self.touch(Kind::Session, &name);
            }
            Deed::TouchShard { shard } => {
                self.statistics.count("fault: another writes to a shard");
                self.touch(Kind::Shard, &shard::wire::name(shard));
            }
            Deed::Gap { node, ms } => {
                self.statistics.count("fault: silent watch");
                self.nodes[node as usize].silent_watches = until(ms);
                self.break_watches(Some(node as usize));
            }
            Deed::Restore { ms, .. } => self.restore(deed, until(ms)),
            Deed::Drain { node, ms } => {
                self.statistics.count("fault: node drained");
                self.at(until(ms), Event::Undrain(node as usize));
                self.nodes[node as usize].draining = true;
                self.speak_to(node as usize, |world, agent| world.drain(agent, true));
            }
            Deed::LoseSession { node } => self.lose_session(node as usize),
            Deed::LoseIdentity { identity } => {
                self.statistics.count("fault: identity lost");
                let name = identity_name(&pod_name(identity));
                if self.outage <= now && self.store.lose(&(Kind::Identity, name.clone())) {
                    self.publish(Kind::Identity, &Shown::Gone(name));
                    self.delete_pod(identity, true, false);
                }
            }
            Deed::DeletePod { identity, force, again } => {
                self.statistics.count(if force { "fault: Pod deleted by force" } else { "Pod deleted" });
                self.delete_pod(identity, force, again);
            }
        }
    }

    pub(super) fn undrain(&mut self, node: usize) {
        self.nodes[node].draining = false;
        self.speak_to(node, |world, agent| world.drain(agent, false));
    }

    fn kill(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.agent = None;
        node.paused = Duration::ZERO;
    }

    fn lose_session(&mut self, node: usize) {
        self.statistics.count("fault: session lost");
        let name = self.nodes[node].name.clone();
        if self.outage <= self.now && self.store.lose(&(Kind::Session, name.clone())) {
            self.publish(Kind::Session, &Shown::Gone(name));
        }
    }

    fn restore(&mut self, deed: Deed, end: Duration) {
        let index = self.script.deeds.iter().position(|(_, known)| *known == deed);
        let Some(backup) = index.and_then(|index| self.backups.remove(&index)) else { return };
        self.statistics.count("fault: backup restored");
        self.store.restore(backup);
        self.oracles.restored();
        self.outage = self.outage.max(end);
        self.restoring = self.outage;
        self.break_watches(None);
    }

    /// The faults stop.
    pub(super) fn heal(&mut self) {
        self.outage = self.outage.min(self.now.max(self.restoring));
        self.fates = Fates::Logged;
        for node in 0..self.nodes.len() {
            let state = &mut self.nodes[node];
            for end in [
                &mut state.no_way_up,
                &mut state.no_way_down,
                &mut state.paused,
                &mut state.slow_disk,
                &mut state.full_disk,
                &mut state.silent_watches,
            ] {
                *end = (*end).min(self.now);
            }
            self.undrain(node);
            if self.nodes[node].agent.is_none() {
                self.at(self.now, Event::Start(node));
            }
            self.start_guard(node);
        }
    }
}

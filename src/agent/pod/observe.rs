//! Taking in what containerd has: after the agent's restart, and after containerd's return.

use std::collections::BTreeMap;

use super::flight::{Errand, Leftover};
use super::health::Health;
use super::interface::{ContainerRef, ObservedContainer, ObservedState};
use super::machine::{Containerd, PodMachine, end_of};
use super::record::{Run, RunState, Sandbox};
use super::spec;
use super::status::unknown_end;
use crate::time::Instant;

impl PodMachine {
    /// Believes the list: what is known to run and is on it runs on, untouched; what is not has ended unseen; a newer
    /// run than any known is the newest; everything else goes.
    pub(super) fn observed(&mut self, containers: Vec<ObservedContainer>, now: Instant) {
        self.containerd = Containerd::Up;
        self.leftovers.clear();
        let mut by_name: BTreeMap<String, Vec<ObservedContainer>> = BTreeMap::new();
        for container in containers {
            by_name.entry(container.run.name.clone()).or_default().push(container);
        }
        let pod = self.pod.clone();
        for (_, container) in spec::containers(&pod) {
            let found = by_name.remove(&container.name).unwrap_or_default();
            self.settle_container(&container.name, found, now);
        }
        for stranger in by_name.into_values().flatten() {
            self.leave_over(stranger);
        }
    }

    fn settle_container(&mut self, name: &str, mut found: Vec<ObservedContainer>, now: Instant) {
        found.sort_by(|a, b| a.run.cmp(&b.run));
        let flight = self.flight(name);
        let starting = flight.starting.take();
        flight.stopping = None;
        let known = self.record.container(name).run.as_ref().map(|run| run.attempt);
        let made = |container: &&ObservedContainer| container.state != ObservedState::Created;
        let newest = found.iter().rev().find(made).map(|container| container.run.attempt);
        if newest < known {
            self.lose(name, now);
        }
        for container in found {
            let attempt = container.run.attempt;
            if Some(attempt) == known && newest == known {
                self.meet(container, now);
            } else if Some(attempt) == newest && newest > known {
                self.lose(name, now);
                let stop_signal = starting.as_ref().and_then(|starting| starting.stop_signal.clone());
                self.adopt(container, stop_signal, now);
            } else {
                self.leave_over(container);
            }
        }
    }

    /// The newest run is nowhere to be seen: if it ran, it has ended.
    fn lose(&mut self, name: &str, now: Instant) {
        let known = self.record.container(name);
        if let Some(Run { id, state: RunState::Running { started_at, .. }, .. }) = known.running() {
            let how = unknown_end(Some(id.clone()), Some(*started_at));
            known.end(how, now);
        }
    }

    /// The newest run is there.
    fn meet(&mut self, container: ObservedContainer, now: Instant) {
        let incarnation = self.record.incarnation;
        let known = self.record.container(&container.run.name);
        let Some(run) = known.run.as_mut() else { return };
        match (&mut run.state, &container.state) {
            (RunState::Running { pid: known_pid, .. }, ObservedState::Running { pid, .. }) => {
                *known_pid = *pid;
                run.incarnation = incarnation;
                let flight = self.flight(&container.run.name);
                flight.resumed |= flight.probed_run.is_none();
                return;
            }
            (RunState::Running { started_at, .. }, ObservedState::Exited { exit, .. }) => {
                let how = end_of(&run.id, Some(*started_at), exit);
                known.end(how, now);
            }
            (RunState::Running { .. }, ObservedState::Lost { .. } | ObservedState::Created) => {
                self.lose(&container.run.name, now);
            }
            (RunState::Ended { .. }, _) => {}
        }
        self.leave_over(container);
    }

    /// A run that came to be while nobody could be told of it. One that has ended, where no sandbox is known, is of a
    /// sandbox that is gone.
    fn adopt(&mut self, container: ObservedContainer, stop_signal: Option<String>, now: Instant) {
        let ObservedContainer { run, id, image, image_id, state } = container.clone();
        let state = match state {
            ObservedState::Running { pid, started_at } => RunState::Running { pid, started_at },
            ObservedState::Exited { started_at, exit } => {
                RunState::Ended { how: end_of(&id, started_at, &exit), at: now }
            }
            ObservedState::Lost { started_at } => {
                RunState::Ended { how: unknown_end(Some(id.clone()), started_at), at: now }
            }
            ObservedState::Created => return,
        };
        let runs = matches!(state, RunState::Running { .. });
        let of_old = !runs && self.record.sandbox == Sandbox::Absent;
        let incarnation = self.record.incarnation - u32::from(of_old);
        let (attempt, begun, health) = (run.attempt, now, Health::default());
        let newest = Run { attempt, id, image, image_id, stop_signal, incarnation, state, begun, health };
        self.record.container(&run.name).begin(newest, now);
        if !runs {
            self.leave_over(container);
        }
    }

    /// Not anybody's newest run, or no more than a body.
    fn leave_over(&mut self, container: ObservedContainer) {
        let leftover = match container.state {
            ObservedState::Created => Leftover::Stillborn(Errand::default()),
            ObservedState::Running { .. } => Leftover::Alive { killed: None },
            ObservedState::Exited { .. } | ObservedState::Lost { .. } => Leftover::Dead(Errand::default()),
        };
        let run: ContainerRef = container.run;
        self.leftovers.insert(run, leftover);
    }
}

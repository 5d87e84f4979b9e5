//! The way out: when it begins, how containers are stopped, how everything is removed.
//!
//! All are told at once, by their preStop hooks, which count within the grace. Main containers are stopped first, then
//! sidecars from the last to the first. When the grace is over each gets the short window that the kubelet gives, then
//! `SIGKILL`. Stop before remove: nothing is taken away under a process.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;

use super::event::{DEADLINE_EXCEEDED, DEADLINE_EXCEEDED_MESSAGE, Event};
use super::flight::{Errand, KILL_AGAIN, Leftover, StopStep, Stopping, Turn};
use super::health::Finding;
use super::interface::{ContainerRef, Effect, HookKind};
use super::machine::{Containerd, PodMachine};
use super::record::{Cause, Ending, Sandbox, Verdict};
use super::spec::{self, Role, SIGKILL as KILL};
use super::status::phase;
use crate::time::Instant;

/// How a container is to be stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct StopOrder {
    /// When the grace is over.
    pub(super) kill_at: Instant,
    /// Nobody is asked.
    pub(super) at_once: bool,
    /// Nothing must stop before it.
    pub(super) turn: bool,
}

impl PodMachine {
    /// Begins the end where it is due.
    pub(super) fn judge(&mut self, now: Instant) {
        if spec::is_deleted(&self.pod) {
            self.begin_ending(Cause::Deleted, spec::grace(&self.pod), now);
        }
        if self.record.ending.is_some() {
            return;
        }
        if self.is_overdue(now) {
            self.record.verdict = Some(Verdict {
                phase: phase::FAILED.to_owned(),
                reason: Some(DEADLINE_EXCEEDED.to_owned()),
                message: Some(DEADLINE_EXCEEDED_MESSAGE.to_owned()),
            });
            self.record_event(Event::deadline_exceeded());
        }
        self.adopt_verdict();
        if self.record.verdict.is_some() || self.is_done() {
            self.begin_ending(Cause::Done, spec::grace(&self.pod), now);
        }
    }

    /// Begins the end, or makes it more urgent: the grace is only ever shortened.
    pub(super) fn begin_ending(&mut self, cause: Cause, grace: Duration, now: Instant) {
        let new = Ending { cause, at_once: grace.is_zero(), kill_at: now + grace };
        let ending = self.record.ending.get_or_insert(new);
        ending.cause = ending.cause.max(cause);
        ending.at_once |= new.at_once;
        ending.kill_at = ending.kill_at.min(new.kill_at);
    }

    /// Whether the Pod has been active for longer than it may.
    fn is_overdue(&mut self, now: Instant) -> bool {
        let Some(allowed) = spec::active_deadline(&self.pod) else { return false };
        let left = allowed.saturating_sub(self.record.active_for(now));
        if !left.is_zero() {
            self.wake_at(now + left);
        }
        left.is_zero()
    }

    /// A terminal phase that others have given the Pod holds.
    fn adopt_verdict(&mut self) {
        let Some(status) = self.pod.status.as_ref() else { return };
        let terminal = status.phase.as_deref().filter(|phase| phase::is_terminal(phase));
        if let (Some(phase), None) = (terminal, &self.record.verdict) {
            let (reason, message) = (status.reason.clone(), status.message.clone());
            self.record.verdict = Some(Verdict { phase: phase.to_owned(), reason, message });
        }
    }

    /// Whether the containers have done all they will do: every main container has ended for good, or an init container
    /// has failed for good.
    fn is_done(&self) -> bool {
        let ended_for_good = |role: Role, container: &Container| {
            let known = self.record.containers.get(&container.name)?;
            let starts = self.flights.get(&container.name).is_some_and(|flight| flight.starting.is_some());
            let (how, _) = known.ended().filter(|_| !known.replace && !starts)?;
            (!spec::restarts(&self.pod, role, container, how.exit_code)).then_some(how.exit_code)
        };
        let mut mains = spec::containers(&self.pod).filter(|(role, _)| *role == Role::Main).peekable();
        let some = mains.peek().is_some();
        let mut inits = spec::containers(&self.pod).filter(|(role, _)| *role == Role::Init);
        some && mains.all(|(role, container)| ended_for_good(role, container).is_some())
            || inits.any(|(role, container)| ended_for_good(role, container).is_some_and(|code| code != 0))
    }

    /// Whether a container may be running.
    fn could_run(&self) -> bool {
        self.flights.values().any(|flight| flight.starting.is_some())
            || self.record.containers.values().any(|container| container.running().is_some())
            || self.leftovers.values().any(|leftover| matches!(leftover, Leftover::Alive { .. }))
    }

    /// Whether the Pod is ending and none of its containers can run any more.
    pub(super) fn at_rest(&self) -> bool {
        self.record.ending.is_some() && self.containerd != Containerd::Unseen && !self.could_run()
    }

    fn is_removed(&self) -> bool {
        self.record.ending.is_some_and(|ending| ending.cause >= Cause::Deleted)
    }

    /// Whether nothing is left to be done for this Pod, ever.
    pub(super) fn is_gone(&self) -> bool {
        self.is_removed()
            && self.at_rest()
            && self.leftovers.is_empty()
            && self.record.sandbox == Sandbox::Released
    }

    /// Stops what runs, then removes what is there.
    pub(super) fn wind_down(&mut self, ending: Ending, now: Instant) {
        self.stop_in_order(ending, now);
        let in_flight = self.make.asked || self.mount.asked;
        let bodies = self.is_removed() && !self.leftovers.is_empty();
        if !self.at_rest() || in_flight || bodies || self.record.sandbox == Sandbox::Released {
            return;
        }
        match self.release.turn(now) {
            Turn::Now => {
                self.release.asked = true;
                self.wish(Effect::RemoveSandbox);
            }
            Turn::At(at) => self.wake_at(at),
            Turn::Asked => {}
        }
    }

    fn stop_in_order(&mut self, ending: Ending, now: Instant) {
        let pod = self.pod.clone();
        let busy = |(role, container): (Role, &Container)| {
            matches!(role, Role::Sidecar | Role::Main) && self.is_busy(&container.name)
        };
        let last_busy =
            spec::containers(&pod).enumerate().filter(|(_, each)| busy(*each)).map(|(at, _)| at).last();
        for (at, (role, container)) in spec::containers(&pod).enumerate() {
            let turn = role != Role::Sidecar || Some(at) >= last_busy;
            let order = StopOrder { kill_at: ending.kill_at, at_once: ending.at_once, turn };
            self.stop(role, container, order, now);
        }
    }

    /// Whether a container runs or is being started.
    fn is_busy(&self, name: &str) -> bool {
        self.flights.get(name).is_some_and(|flight| flight.starting.is_some())
            || self.record.containers.get(name).is_some_and(|known| known.running().is_some())
    }

    /// Runs the preStop hook of the running container, asks it to stop, and kills it when its time is over.
    pub(super) fn stop(&mut self, role: Role, container: &Container, order: StopOrder, now: Instant) {
        let name = &container.name;
        let Some(health) = self.record.container(name).running().map(|run| run.health.clone()) else {
            return;
        };
        if self.containerd != Containerd::Up {
            return;
        }
        let doomed = health.doom.map(|doom| doom.kill_at);
        let kill_at = doomed.into_iter().chain([order.kill_at]).min().unwrap_or(order.kill_at);
        let mut stopping = if let Some(stopping) = self.flight(name).stopping {
            stopping
        } else {
            self.say_stopping(name);
            let hook = spec::hook(role, container, HookKind::PreStop);
            let hooked = hook.is_some() && !health.has(Finding::Warned) && !order.at_once && now < kill_at;
            if hooked {
                self.run_hook(name, HookKind::PreStop);
            }
            Stopping::new(hooked, kill_at)
        };
        stopping.hasten(kill_at);
        let step = stopping.step(order.turn || doomed.is_some(), order.at_once, now);
        self.flight(name).stopping = Some(stopping);
        match step {
            StopStep::Ask => self.send(name, self.stop_signal(name)),
            StopStep::Kill => self.send(name, KILL),
            StopStep::Wait => {}
        }
        self.wake_at(stopping.due());
    }

    fn send(&mut self, name: &str, signal: i32) {
        let Some(run) = self.record.container(name).running() else { return };
        let run = ContainerRef { name: name.to_owned(), attempt: run.attempt };
        self.wish(Effect::Signal { run, signal });
    }

    fn stop_signal(&self, name: &str) -> i32 {
        let container = spec::container(&self.pod, name).map(|(_, container)| container);
        let run = self.record.containers.get(name).and_then(|known| known.run.as_ref());
        spec::stop_signal(container, run.and_then(|run| run.stop_signal.as_deref()))
    }

    /// The Event, unless it was said why the container is stopped.
    fn say_stopping(&mut self, name: &str) {
        let known = self.record.container(name);
        let doomed = known.running().is_some_and(|run| run.health.doom.is_some());
        if !known.replace && !doomed {
            self.container_event(name, Event::stopping(name));
        }
    }

    /// Kills what must not run, and removes bodies: of each container the newest is kept for its log until the Pod is
    /// removed.
    pub(super) fn clear_leftovers(&mut self, now: Instant) {
        if self.containerd != Containerd::Up {
            return;
        }
        let all = self.is_removed() && self.at_rest();
        let runs: Vec<ContainerRef> = self.leftovers.keys().cloned().collect();
        for run in runs {
            let keep = !all && self.is_newest_body(&run);
            match self.leftovers.get(&run) {
                Some(Leftover::Alive { killed }) => self.kill_leftover(&run, *killed, now),
                Some(Leftover::Stillborn(errand)) => self.remove_leftover(&run, errand.turn(now)),
                Some(Leftover::Dead(errand)) if !keep => self.remove_leftover(&run, errand.turn(now)),
                Some(Leftover::Dead(_)) | None => {}
            }
        }
    }

    fn is_newest_body(&self, run: &ContainerRef) -> bool {
        let newer = |(other, leftover): (&ContainerRef, &Leftover)| {
            other.name == run.name && other.attempt > run.attempt && matches!(leftover, Leftover::Dead(_))
        };
        !self.leftovers.iter().any(newer)
    }

    fn kill_leftover(&mut self, run: &ContainerRef, killed: Option<Instant>, now: Instant) {
        if let Some(again) = killed.map(|killed| killed + KILL_AGAIN).filter(|again| now < *again) {
            self.wake_at(again);
            return;
        }
        self.leftovers.insert(run.clone(), Leftover::Alive { killed: Some(now) });
        self.wake_at(now + KILL_AGAIN);
        self.wish(Effect::Signal { run: run.clone(), signal: KILL });
    }

    fn remove_leftover(&mut self, run: &ContainerRef, turn: Turn) {
        match turn {
            Turn::Asked => {}
            Turn::At(at) => self.wake_at(at),
            Turn::Now => {
                if let Some(errand) = self.errand_of(run) {
                    errand.asked = true;
                    self.wish(Effect::RemoveContainer { run: run.clone() });
                }
            }
        }
    }

    fn errand_of(&mut self, run: &ContainerRef) -> Option<&mut Errand> {
        match self.leftovers.get_mut(run)? {
            Leftover::Dead(errand) | Leftover::Stillborn(errand) => Some(errand),
            Leftover::Alive { .. } => None,
        }
    }

    pub(super) fn removal_failed(&mut self, run: &ContainerRef, message: &str, now: Instant) {
        if let Some(errand) = self.errand_of(run) {
            errand.fail(now);
            self.record_event(Event::kill_failed(message));
        }
    }

    pub(super) fn sandbox_gone(&mut self) {
        self.release.succeed();
        self.record.sandbox = Sandbox::Released;
        self.record.volumes_mounted = false;
    }

    pub(super) fn sandbox_stuck(&mut self, message: &str, now: Instant) {
        self.release.fail(now);
        self.record_event(Event::kill_failed(message));
    }
}

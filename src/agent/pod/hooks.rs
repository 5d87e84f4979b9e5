//! postStart and preStop hooks, and what becomes of a container that was found ill.

use k8s_openapi::api::core::v1::Container;

use super::event::Event;
use super::health::{self, Doom, Finding, Why};
use super::interface::{ContainerRef, Effect, HookKind};
use super::machine::{Containerd, PodMachine};
use super::probe::ProbeKind;
use super::record::Waiting;
use super::spec::{self, Role};
use crate::time::Instant;

/// Waiting reason of a container whose postStart hook has failed.
const POST_START_ERROR: &str = "PostStartHookError";

impl PodMachine {
    /// Tells a container that it has started, once per run; again only if the agent died meanwhile.
    pub(super) fn greet(&mut self, role: Role, container: &Container) {
        let known = self.record.container(&container.name);
        let doomed = known.running().is_none_or(|run| run.health.doom.is_some());
        if !doomed && !health::is_up(role, container, known) {
            self.run_hook(&container.name, HookKind::PostStart);
        }
    }

    /// Wishes for a hook of the running container, unless it is under way.
    pub(super) fn run_hook(&mut self, name: &str, hook: HookKind) {
        let Some(attempt) = self.record.container(name).running().map(|run| run.attempt) else { return };
        let flight = self.flight(name);
        if flight.hooks.insert(hook) {
            let run = ContainerRef { name: name.to_owned(), attempt };
            let ips = self.record.ips.clone();
            self.wish(Effect::RunHook { run, hook, ips });
        }
    }

    /// Whether containers that come after this one in the list wait for it: its postStart hook is to be over first.
    pub(super) fn holds_up_others(&mut self, role: Role, container: &Container) -> bool {
        if spec::hook(role, container, HookKind::PostStart).is_none() {
            return false;
        }
        let starts = self.flight(&container.name).starting.is_some();
        let known = self.record.container(&container.name);
        let waits = known.waiting.is_some();
        match known.running() {
            Some(run) => run.health.doom.is_none() && !run.health.has(Finding::Greeted),
            None => starts || (!waits && self.is_wanted_again(role, container)),
        }
    }

    pub(super) fn hook_ended(
        &mut self,
        run: &ContainerRef,
        hook: HookKind,
        failure: Option<String>,
        now: Instant,
    ) {
        let pod = self.pod.clone();
        let Some((role, container)) = spec::container(&pod, &run.name) else { return };
        let known = self.record.container(&run.name);
        if known.running().is_none_or(|known| known.attempt != run.attempt)
            || !self.flight(&run.name).hooks.remove(&hook)
        {
            return;
        }
        // It may have failed because containerd went away: it is run again.
        if failure.is_some() && self.containerd != Containerd::Up {
            return;
        }
        match (hook, failure) {
            (HookKind::PostStart, None) => {
                self.with_health(&run.name, |health| health.set(Finding::Greeted, true));
            }
            (HookKind::PostStart, Some(message)) => self.greeting_failed(role, container, message, now),
            (HookKind::PreStop, failure) => {
                self.with_health(&run.name, |health| health.set(Finding::Warned, true));
                if let Some(stopping) = &mut self.flight(&run.name).stopping {
                    stopping.prepared();
                }
                if failure.is_some() {
                    self.container_event(&run.name, Event::pre_stop_failed());
                }
            }
        }
    }

    fn greeting_failed(&mut self, role: Role, container: &Container, message: String, now: Instant) {
        if self.record.ending.is_some() {
            return;
        }
        self.container_event(&container.name, Event::post_start_failed());
        if spec::restarts_ill(&self.pod, role, container) {
            let waiting = Waiting { reason: POST_START_ERROR.to_owned(), message };
            self.record.container(&container.name).waiting = Some(waiting);
        }
        self.condemn(role, container, Why::PostStart, now);
    }

    pub(super) fn with_health(&mut self, name: &str, change: impl FnOnce(&mut health::Health)) {
        if let Some(run) = &mut self.record.container(name).run {
            change(&mut run.health);
        }
    }

    /// A running container must end; whether another run follows is the restart policy's to say, and what it ends with
    /// does not count.
    pub(super) fn condemn(&mut self, role: Role, container: &Container, why: Why, now: Instant) {
        let name = &container.name;
        let probe = match why {
            Why::Startup => spec::probe(role, container, ProbeKind::Startup),
            Why::Liveness => spec::probe(role, container, ProbeKind::Liveness),
            Why::PostStart => None,
        };
        let kill_at = now + spec::grace_after(&self.pod, probe);
        self.with_health(name, |health| health.doom = Some(Doom { why, kill_at }));
        let restarts = spec::restarts_ill(&self.pod, role, container);
        if restarts && why != Why::PostStart {
            self.record.container(name).replace = true;
        }
        self.container_event(name, Event::condemned(name, role, why, restarts));
    }
}

//! Probing the containers of a Pod: who is probed when, and what follows.
//!
//! Startup holds the others off. Readiness is asked for as long as the container runs, also while the Pod ends; startup
//! and liveness end with the Pod's end, and when the container is being stopped anyway.

use k8s_openapi::api::core::v1::Container;

use super::event::Event;
use super::health::{self, Finding, Why};
use super::interface::{ContainerRef, Effect};
use super::machine::{Containerd, PodMachine};
use super::probe::{Begin, Course, ProbeKind, ProbeOutcome, Timing, share};
use super::spec::{self, Role};
use crate::time::Instant;

impl PodMachine {
    /// Asks for the probes that are due.
    pub(super) fn keep_probing(&mut self, now: Instant) {
        let pod = self.pod.clone();
        for (role, container) in spec::containers(&pod) {
            let known = self.record.container(&container.name);
            let Some(attempt) = known.running().map(|run| run.attempt) else { continue };
            let flight = self.flight(&container.name);
            if flight.probed_run != Some(attempt) {
                flight.probed_run = Some(attempt);
                flight.probes.clear();
            }
            for kind in ProbeKind::ALL {
                self.keep_probe(role, container, kind, now);
            }
        }
    }

    fn keep_probe(&mut self, role: Role, container: &Container, kind: ProbeKind, now: Instant) {
        let Some(probe) = spec::probe(role, container, kind) else { return };
        let needs_containerd = probe.exec.is_some();
        if !self.is_probed(role, container, kind) || (needs_containerd && self.containerd != Containerd::Up) {
            return;
        }
        let timing = Timing::of(probe);
        let name = &container.name;
        let course = self.course(name, kind, timing, now);
        match course.due() {
            None => {}
            Some(due) if now < due => self.wake_at(due),
            Some(_) => {
                course.ask(timing, now);
                let attempt = self.record.container(name).next_attempt() - 1;
                let run = ContainerRef { name: name.clone(), attempt };
                let ips = self.record.ips.clone();
                self.wish(Effect::Probe { run, kind, ips });
            }
        }
    }

    fn course(&mut self, name: &str, kind: ProbeKind, timing: Timing, now: Instant) -> &mut Course {
        let share = share(self.pod.metadata.uid.as_deref().unwrap_or_default(), name, kind);
        let started = self.record.container(name).run.as_ref().map_or(now, |run| run.begun);
        let flight = self.flight(name);
        let begin = Begin { started, resumed: flight.resumed, share, now };
        flight.probes.entry(kind).or_insert_with(|| Course::new(kind, timing, begin))
    }

    /// Whether this probe of a running container is made now.
    fn is_probed(&mut self, role: Role, container: &Container, kind: ProbeKind) -> bool {
        let stopping = self.flight(&container.name).stopping.is_some();
        let ends = stopping || self.record.ending.is_some();
        let known = self.record.container(&container.name);
        let doomed = known.running().is_some_and(|run| run.health.doom.is_some());
        let started = health::has_started(role, container, known);
        match kind {
            ProbeKind::Startup => health::is_up(role, container, known) && !started && !doomed && !ends,
            ProbeKind::Liveness => started && !doomed && !ends,
            ProbeKind::Readiness => started,
        }
    }

    /// Exec probes under way may have been cut off: what they say then says nothing.
    pub(super) fn void_probes(&mut self) {
        let pod = self.pod.clone();
        for (role, container) in spec::containers(&pod) {
            for (kind, course) in &mut self.flight(&container.name).probes {
                if spec::probe(role, container, *kind).is_some_and(|probe| probe.exec.is_some()) {
                    course.void();
                }
            }
        }
    }

    pub(super) fn probed(
        &mut self,
        run: &ContainerRef,
        kind: ProbeKind,
        outcome: &ProbeOutcome,
        now: Instant,
    ) {
        let pod = self.pod.clone();
        let Some((role, container)) = spec::container(&pod, &run.name) else { return };
        let Some(probe) = spec::probe(role, container, kind) else { return };
        let known = self.record.container(&run.name);
        let current = known.running().is_some_and(|known| known.attempt == run.attempt);
        let course = self.flight(&run.name).probes.get_mut(&kind).filter(|_| current);
        if course.is_none_or(|course| !course.answered()) || !self.is_probed(role, container, kind) {
            return;
        }
        let event = match outcome {
            ProbeOutcome::Success => None,
            ProbeOutcome::Warning(message) => Some(Event::probe_warning(kind, message)),
            ProbeOutcome::Failure(message) => Some(Event::probe_failed(kind, message)),
            ProbeOutcome::Unknown(message) => Some(Event::probe_unknown(kind, message)),
        };
        if let Some(event) = event {
            self.container_event(&run.name, event);
        }
        let good = match outcome {
            ProbeOutcome::Success | ProbeOutcome::Warning(_) => true,
            ProbeOutcome::Failure(_) => false,
            ProbeOutcome::Unknown(_) => return,
        };
        let course = self.flight(&run.name).probes.get_mut(&kind);
        if let Some(good) = course.and_then(|course| course.count(good, Timing::of(probe))) {
            self.settle_probe(role, container, kind, good, now);
        }
    }

    /// A probe has said the same often enough.
    fn settle_probe(&mut self, role: Role, container: &Container, kind: ProbeKind, good: bool, now: Instant) {
        match (kind, good) {
            (ProbeKind::Readiness, ready) => {
                self.with_health(&container.name, |health| health.set(Finding::Ready, ready));
            }
            (ProbeKind::Startup, true) => {
                self.with_health(&container.name, |health| health.set(Finding::Started, true));
            }
            (ProbeKind::Startup, false) => self.condemn(role, container, Why::Startup, now),
            (ProbeKind::Liveness, true) => {}
            (ProbeKind::Liveness, false) => self.condemn(role, container, Why::Liveness, now),
        }
    }
}

//! Bringing a Pod up and keeping it up.

use k8s_openapi::api::core::v1::Container;

use super::ending::StopOrder;
use super::ephemeral;
use super::event::Event;
use super::flight::{Image, Leftover, Starting, Turn};
use super::health;
use super::interface::{ContainerRef, Effect, ImageFailure};
use super::machine::{Containerd, PodMachine};
use super::record::{RunState, Sandbox, Waiting};
use super::retry::go_duration;
use super::spec::{self, Role};
use crate::time::Instant;

impl PodMachine {
    /// Wishes for whatever is missing and may be had now.
    pub(super) fn keep_running(&mut self, now: Instant) {
        self.keep_sandbox(now);
        self.keep_volumes(now);
        if self.containerd == Containerd::Up {
            self.keep_containers(now);
        }
    }

    fn keep_sandbox(&mut self, now: Instant) {
        if self.record.sandbox != Sandbox::Absent {
            return;
        }
        match self.make.turn(now) {
            Turn::Now => {
                if std::mem::take(&mut self.sandbox_lost) {
                    self.record_event(Event::sandbox_changed());
                }
                self.make.asked = true;
                self.wish(Effect::MakeSandbox);
            }
            Turn::At(at) => self.wake_at(at),
            Turn::Asked => {}
        }
    }

    fn has_volumes(&self) -> bool {
        self.pod
            .spec
            .as_ref()
            .and_then(|spec| spec.volumes.as_ref())
            .is_some_and(|volumes| !volumes.is_empty())
    }

    fn keep_volumes(&mut self, now: Instant) {
        let there = self.record.volumes_mounted && !self.volumes_stale;
        if there || !self.has_volumes() {
            return;
        }
        match self.mount.turn(now) {
            Turn::Now => {
                self.mount.asked = true;
                self.volumes_stale = false;
                self.wish(Effect::MountVolumes);
            }
            Turn::At(at) => self.wake_at(at),
            Turn::Asked => {}
        }
    }

    /// Init containers one after the other, sidecars on the way until they have started, then all main containers at
    /// once, save that those after one with a postStart hook wait for it. Images are fetched ahead of their turn.
    fn keep_containers(&mut self, now: Instant) {
        let pod = self.pod.clone();
        let volumes = self.record.volumes_mounted || !self.has_volumes();
        let mut gate = self.record.sandbox == Sandbox::Made && volumes && self.identity.admits();
        let ground = gate;
        let begun = spec::containers(&pod)
            .enumerate()
            .filter(|(_, (role, container))| *role != Role::Ephemeral && self.is_begun(&container.name));
        let newest_begun = begun.map(|(index, _)| index).last().unwrap_or(0);
        for (index, (role, container)) in spec::containers(&pod).enumerate() {
            let passed = index < newest_begun;
            match role {
                Role::Init if passed || self.is_complete(&container.name) => {}
                Role::Init => {
                    self.tend(role, container, gate, now);
                    gate = false;
                }
                Role::Sidecar => {
                    self.tend(role, container, gate, now);
                    let known = self.record.container(&container.name);
                    gate &= passed || health::has_started(role, container, known);
                }
                Role::Main => {
                    self.tend(role, container, gate, now);
                    gate &= !self.holds_up_others(role, container);
                }
                Role::Ephemeral => {
                    let wants = ephemeral::target(&pod, &container.name);
                    let there = wants.is_none() || self.target_pid(&container.name).is_some();
                    self.tend(role, container, ground && there, now);
                }
            }
        }
    }

    /// Host pid of the container whose processes an ephemeral one wants to see.
    fn target_pid(&self, name: &str) -> Option<u32> {
        let target = self.record.containers.get(ephemeral::target(&self.pod, name)?)?;
        match target.running()?.state {
            RunState::Running { pid, .. } => Some(pid),
            RunState::Ended { .. } => None,
        }
    }

    /// Whether a run of this container was made in this sandbox: whatever comes before it is over or up.
    fn is_begun(&self, name: &str) -> bool {
        self.record.containers.get(name).is_some_and(|known| known.is_of(self.record.incarnation))
    }

    /// Whether an init container has done its work in this sandbox.
    fn is_complete(&self, name: &str) -> bool {
        let ended = self.record.containers.get(name).and_then(|known| known.ended());
        self.is_begun(name) && ended.is_some_and(|(how, _)| how.exit_code == 0)
    }

    /// One container that should run, or should have run to its end.
    fn tend(&mut self, role: Role, container: &Container, may_start: bool, now: Instant) {
        let name = &container.name;
        if self.flight(name).starting.is_some() {
            return;
        }
        let known = self.record.container(name);
        if known.running().is_some() {
            self.tend_running(role, container, now);
        } else if self.is_wanted_again(role, container) && !self.is_held_back(container, now) {
            self.tend_start(container, may_start, now);
        }
    }

    /// Its postStart hook is due first. A changed image replaces the container, whatever the restart policy.
    fn tend_running(&mut self, role: Role, container: &Container, now: Instant) {
        self.greet(role, container);
        let known = self.record.container(&container.name);
        if let Some(doom) = known.running().and_then(|run| run.health.doom) {
            let order = StopOrder { kill_at: doom.kill_at, at_once: false, turn: true };
            return self.stop(role, container, order, now);
        }
        let changed = known.running().is_some_and(|run| run.image != spec::image(container));
        if !changed || role == Role::Init {
            return;
        }
        if !known.replace {
            known.replace = true;
            self.container_event(&container.name, Event::definition_changed(&container.name));
        }
        let grace = spec::grace(&self.pod);
        let order = StopOrder { kill_at: now + grace, at_once: grace.is_zero(), turn: true };
        self.stop(role, container, order, now);
    }

    /// Whether a container that does not run should.
    pub(super) fn is_wanted_again(&mut self, role: Role, container: &Container) -> bool {
        let incarnation = self.record.incarnation;
        let known = self.record.container(&container.name);
        let of_old = role == Role::Init && !known.is_of(incarnation);
        let replaced = known.replace;
        let Some((how, _)) = known.ended() else { return true };
        of_old || replaced || spec::restarts(&self.pod, role, container, how.exit_code)
    }

    /// Whether it has to wait: for its crash-loop pause, for a body of an earlier run, for the pause after a start that
    /// failed.
    fn is_held_back(&mut self, container: &Container, now: Instant) -> bool {
        let name = &container.name;
        let known = self.record.container(name);
        if let Some((_, ended)) = known.ended() {
            let pause = known.crash_loop.pause(ended);
            if now < ended + pause {
                self.wake_at(ended + pause);
                let message = format!(
                    "back-off {} restarting failed container={name} pod={}",
                    go_duration(pause),
                    self.full_name()
                );
                let event = Event::back_off_restarting(name, &self.full_name());
                self.show_back_off(name, "CrashLoopBackOff", message, &[event], now);
                return true;
            }
        }
        let retry = self.record.container(name).start.not_before().filter(|at| now < *at);
        if let Some(at) = retry {
            self.wake_at(at);
        }
        retry.is_some() || self.is_in_the_way(name)
    }

    /// Shows a back-off, after how the last try failed has been shown for a while.
    fn show_back_off(&mut self, name: &str, reason: &str, message: String, events: &[Event], now: Instant) {
        if let Some(until) = self.flight(name).failure_shown.filter(|until| now < *until) {
            self.wake_at(until);
            return;
        }
        let known = self.record.container(name);
        if known.waiting.as_ref().is_some_and(|waiting| waiting.reason == reason) {
            return;
        }
        known.waiting = Some(Waiting { reason: reason.to_owned(), message });
        for event in events {
            self.container_event(name, event.clone());
        }
    }

    /// Whether an earlier run still lives, or the next one's name is still taken.
    fn is_in_the_way(&mut self, name: &str) -> bool {
        let next = self.record.container(name).next_attempt();
        self.leftovers.iter().filter(|(run, _)| run.name == name).any(|(run, leftover)| match leftover {
            Leftover::Alive { .. } => true,
            Leftover::Dead(_) | Leftover::Stillborn(_) => run.attempt >= next,
        })
    }

    fn tend_start(&mut self, container: &Container, may_start: bool, now: Instant) {
        let name = &container.name;
        match self.flight(name).image.clone() {
            Image::Unknown => self.ensure_image(container, now),
            Image::Here { image, image_id, stop_signal } if may_start => {
                let attempt = self.record.container(name).next_attempt();
                let starting =
                    Starting { attempt, image, image_id: image_id.clone(), stop_signal, exit: None };
                let flight = self.flight(name);
                flight.starting = Some(starting);
                flight.image = Image::Unknown;
                let run = ContainerRef { name: name.clone(), attempt };
                let ips = self.record.ips.clone();
                let target_pid = self.target_pid(name);
                self.wish(Effect::StartContainer { run, image_id, ips, target_pid });
            }
            Image::Asked(_) | Image::Here { .. } => {}
        }
    }

    fn ensure_image(&mut self, container: &Container, now: Instant) {
        let name = &container.name;
        let image = spec::image(container).to_owned();
        let known = self.record.container(name);
        if let Some(at) = known.image.not_before().filter(|at| now < *at) {
            self.wake_at(at);
            self.show_image_back_off(name, &image, now);
            return;
        }
        self.flight(name).image = Image::Asked(image.clone());
        let policy = spec::pull_policy(container);
        self.wish(Effect::EnsureImage { container: name.clone(), image, policy });
    }

    /// Only a failed pull turns into `ImagePullBackOff`; the other reasons stay as they are.
    fn show_image_back_off(&mut self, name: &str, image: &str, now: Instant) {
        let pull_failed = format!("{:?}", ImageFailure::ErrImagePull);
        let waiting = self.record.container(name).waiting.clone();
        if let Some(failure) = waiting.filter(|waiting| waiting.reason == pull_failed) {
            let message = format!("Back-off pulling image \"{image}\": {pull_failed}: {}", failure.message);
            let events = [Event::back_off_pulling(image), Event::failed("ImagePullBackOff")];
            self.show_back_off(name, "ImagePullBackOff", message, &events, now);
        }
    }
}

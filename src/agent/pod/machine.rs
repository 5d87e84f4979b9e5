//! The machine: what it holds, what it hears, when it speaks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::ephemeral::with_ephemeral;
use super::event::{self, Event};
use super::flight::{Errand, Flight, Image, Leftover, Starting};
use super::health::{Health, Why};
use super::identity::Identity;
use super::interface::{ContainerRef, Effect, Exit, Host, ImageFailure, Input, Pull, StartFailure};
use super::record::{Cause, PodRecord, Run, RunState, Sandbox, Waiting};
use super::retry::Pace;
use super::status::Standing;
use super::{container_id, spec, status};
use crate::time::{Instant, WallTime};

/// How long the status shows how the last try failed (`ErrImagePull`, `RunContainerError`) before it shows the back-off.
/// The kubelet shows it until its next sync, some seconds.
const FAILURE_SHOWN: Duration = Duration::from_secs(3);
/// The exit code of a container that was made and could not be run, as containerd's CRI.
const START_ERROR_CODE: i32 = 128;

/// How containerd stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Containerd {
    /// Not heard of yet: nothing is wished for.
    Unseen,
    /// There.
    Up,
    /// Away: what ran is believed to run on, and nothing is asked of it.
    Down,
}

/// One Pod's life-cycle machine.
///
/// Its first input is `Observed`. After each input the driver performs the effects in order, and gives `Timer` at
/// [`Self::next_deadline`]. After `Finished` it is forgotten.
#[derive(Debug)]
pub struct PodMachine {
    pub(super) pod: Arc<Pod>,
    pub(super) record: PodRecord,
    pub(super) containerd: Containerd,
    /// By container name.
    pub(super) flights: BTreeMap<String, Flight>,
    pub(super) leftovers: BTreeMap<ContainerRef, Leftover>,
    /// The sandbox being made, the volumes being mounted, all of it being removed.
    pub(super) make: Errand,
    pub(super) mount: Errand,
    pub(super) release: Errand,
    /// What is mounted may be out of date.
    pub(super) volumes_stale: bool,
    /// There was a sandbox before the reboot, and nothing has been said of its loss.
    pub(super) sandbox_lost: bool,
    /// Whether its identity lets its containers start.
    pub(super) identity: Identity,
    host: Host,
    status: PodStatus,
    written: Option<PodStatus>,
    persisted: Option<PodRecord>,
    effects: VecDeque<Effect>,
    wake: Option<Instant>,
    finished: bool,
}

impl PodMachine {
    /// The machine of a Pod that is new to the node (`record` none), or that it hosted before the agent's restart or
    /// the machine's reboot.
    pub fn new(pod: Arc<Pod>, record: Option<PodRecord>, host: Host, now: Instant, wall: WallTime) -> Self {
        let persisted = record.clone();
        let mut record = record.unwrap_or_else(|| PodRecord::new(&pod, &host, now, wall));
        let sandbox_lost = record.enter_boot(&host, now, wall);
        let mut machine = Self {
            volumes_stale: record.volumes_mounted,
            pod: with_ephemeral(pod),
            record,
            containerd: Containerd::Unseen,
            flights: BTreeMap::new(),
            leftovers: BTreeMap::new(),
            make: Errand::default(),
            mount: Errand::default(),
            release: Errand::default(),
            sandbox_lost,
            identity: Identity::default(),
            host,
            status: PodStatus::default(),
            written: None,
            persisted,
            effects: VecDeque::new(),
            wake: None,
            finished: false,
        };
        machine.refresh_status(wall);
        machine
    }

    /// Takes in what has happened.
    pub fn handle(&mut self, input: Input, now: Instant, wall: WallTime) {
        if self.finished {
            return;
        }
        let mark = self.effects.len();
        self.hear(input, now, wall);
        self.wake = None;
        if self.containerd != Containerd::Unseen {
            self.decide(now);
        }
        self.refresh_status(wall);
        self.speak(mark);
    }

    /// The next thing to be done, in order.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Input::Timer`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// The Pod's status as this node sees it.
    pub fn status(&self) -> &PodStatus {
        &self.status
    }

    /// What must survive the agent, as of the last input.
    pub fn record(&self) -> PodRecord {
        self.record.clone()
    }

    /// The object as last heard of, its ephemeral containers among the others.
    pub fn pod(&self) -> &Arc<Pod> {
        &self.pod
    }

    /// Whether any container of it has ever come to be here.
    pub fn has_run(&self) -> bool {
        self.record.containers.values().any(|container| container.run.is_some())
    }

    fn decide(&mut self, now: Instant) {
        self.judge(now);
        match self.record.ending {
            None => self.keep_running(now),
            Some(ending) => self.wind_down(ending, now),
        }
        self.keep_probing(now);
        self.clear_leftovers(now);
    }

    fn refresh_status(&mut self, wall: WallTime) {
        let standing = Standing { at_rest: self.at_rest(), identity: &self.identity };
        self.status = status::compose(&self.pod, &self.host, &mut self.record, standing, wall);
    }

    /// Puts the record before what rests on it, the status after, and the end last.
    fn speak(&mut self, mark: usize) {
        if self.containerd == Containerd::Unseen {
            return;
        }
        if self.persisted.as_ref() != Some(&self.record) {
            self.persisted = Some(self.record.clone());
            self.effects.insert(mark, Effect::Persist(Box::new(self.record.clone())));
        }
        if self.written.as_ref() != Some(&self.status) {
            self.written = Some(self.status.clone());
            self.effects.push_back(Effect::WriteStatus(Box::new(self.status.clone())));
        }
        if self.is_gone() {
            self.finished = true;
            self.wake = None;
            self.effects.push_back(Effect::Finished);
        }
    }

    pub(super) fn wish(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// An Event about the Pod.
    pub(super) fn record_event(&mut self, event: Event) {
        self.effects.push_back(event.about(None));
    }

    /// An Event about one of its containers.
    pub(super) fn container_event(&mut self, name: &str, event: Event) {
        let path = spec::container(&self.pod, name).map(|(role, _)| spec::field_path(role, name));
        self.effects.push_back(event.about(path));
    }

    /// `NAME_NAMESPACE(UID)`, as upstream's messages name a Pod.
    pub(super) fn full_name(&self) -> String {
        let meta = &self.pod.metadata;
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
    }

    pub(super) fn flight(&mut self, name: &str) -> &mut Flight {
        self.flights.entry(name.to_owned()).or_default()
    }

    fn hear(&mut self, input: Input, now: Instant, wall: WallTime) {
        match input {
            Input::PodChanged(pod) => self.pod_changed(pod),
            Input::PodGone => self.begin_ending(Cause::Gone, Duration::ZERO, now),
            Input::Observed(containers) => self.observed(containers, now),
            Input::SandboxReady { ips } => self.sandbox_ready(ips),
            Input::SandboxFailed { message } => self.sandbox_failed(&message, now),
            Input::VolumesReady => self.volumes_ready(),
            Input::VolumesFailed { message } => self.volumes_failed(&message, now),
            Input::ImagePulling { container } => self.image_pulling(&container),
            Input::ImageReady { container, image_id, stop_signal, pulled } => {
                self.image_ready(&container, image_id, stop_signal, pulled);
            }
            Input::ImageFailed { container, reason, message } => {
                self.image_failed(&container, reason, &message, now);
            }
            Input::ContainerStarted { run, id, pid, started_at } => {
                self.started(&run, id, RunState::Running { pid, started_at }, now);
            }
            Input::ContainerStartFailed { run, reason, message } => {
                self.start_failed(&run, reason, &message, now, wall);
            }
            Input::ContainerExited { run, exit } => self.exited(run, exit, now),
            Input::Probed { run, kind, outcome } => self.probed(&run, kind, &outcome, now),
            Input::HookEnded { run, hook, failure } => self.hook_ended(&run, hook, failure, now),
            Input::ContainerRemoved { run } => {
                self.leftovers.remove(&run);
            }
            Input::ContainerStuck { run, message } => self.removal_failed(&run, &message, now),
            Input::SandboxGone => self.sandbox_gone(),
            Input::SandboxStuck { message } => self.sandbox_stuck(&message, now),
            Input::Identity(hold) => self.identity_is(hold),
            Input::Superseded { message } => self.superseded(&message, now),
            Input::SourcesChanged => self.sources_changed(),
            Input::RuntimeDown => self.containerd_left(),
            Input::Timer => {}
        }
    }

    fn pod_changed(&mut self, pod: Arc<Pod>) {
        let old = std::mem::replace(&mut self.pod, with_ephemeral(pod));
        let (before, after) = (&old.metadata, &self.pod.metadata);
        if before.labels != after.labels || before.annotations != after.annotations {
            self.volumes_stale = true;
        }
        for (_, container) in spec::containers(&self.pod) {
            let image = spec::image(container);
            if spec::container(&old, &container.name).is_some_and(|(_, old)| spec::image(old) != image) {
                self.record.container(&container.name).forget_failures();
                if let Some(flight) = self.flights.get_mut(&container.name)
                    && matches!(flight.image, Image::Here { .. })
                {
                    flight.image = Image::Unknown;
                }
            }
        }
    }

    /// What was asked for and needs containerd is settled by the `Observed` to come.
    fn containerd_left(&mut self) {
        if self.containerd == Containerd::Up {
            self.containerd = Containerd::Down;
            self.void_probes();
        }
    }

    fn sources_changed(&mut self) {
        self.volumes_stale = true;
        self.make.hurry();
        self.mount.hurry();
        for container in self.record.containers.values_mut() {
            container.image.hurry();
            container.start.hurry();
        }
    }

    fn sandbox_ready(&mut self, ips: Vec<String>) {
        self.make.succeed();
        if self.record.sandbox != Sandbox::Released {
            self.record.sandbox = Sandbox::Made;
            self.record.ips = ips;
        }
    }

    fn sandbox_failed(&mut self, message: &str, now: Instant) {
        self.make.fail(now);
        if self.record.ending.is_none() {
            self.record_event(Event::sandbox_failed(message));
        }
    }

    fn volumes_ready(&mut self) {
        self.mount.succeed();
        self.record.volumes_mounted = true;
    }

    fn volumes_failed(&mut self, message: &str, now: Instant) {
        self.mount.fail(now);
        self.volumes_stale = true;
        if self.record.ending.is_none() {
            self.record_event(Event::mount_failed(message));
        }
    }

    /// Reference by which the image of a container is being asked for.
    fn asked_image(&self, container: &str) -> Option<String> {
        match &self.flights.get(container)?.image {
            Image::Asked(image) => Some(image.clone()),
            Image::Unknown | Image::Here { .. } => None,
        }
    }

    fn image_pulling(&mut self, container: &str) {
        if let Some(image) = self.asked_image(container) {
            self.container_event(container, Event::pulling(&image));
        }
    }

    fn image_ready(
        &mut self,
        container: &str,
        image_id: String,
        stop_signal: Option<String>,
        pulled: Option<Pull>,
    ) {
        let Some(image) = self.asked_image(container) else { return };
        self.container_event(
            container,
            pulled.map_or_else(|| Event::present(&image), |pull| Event::pulled(&image, &pull)),
        );
        let current =
            spec::container(&self.pod, container).is_some_and(|(_, spec)| spec::image(spec) == image);
        self.flight(container).image =
            if current { Image::Here { image, image_id, stop_signal } } else { Image::Unknown };
        self.record.container(container).image.succeed();
    }

    fn image_failed(&mut self, name: &str, reason: ImageFailure, message: &str, now: Instant) {
        let Some(image) = self.asked_image(name) else { return };
        self.flight(name).image = Image::Unknown;
        if self.containerd == Containerd::Down {
            return;
        }
        let why = match reason {
            ImageFailure::ErrImagePull => message.to_owned(),
            ImageFailure::ErrImageNeverPull => event::never_pull(&image),
            ImageFailure::InvalidImageName => event::invalid_name(&image, message),
        };
        let container = self.record.container(name);
        container.image.fail(Pace::IMAGE, now);
        container.waiting = Some(Waiting { reason: format!("{reason:?}"), message: why });
        self.flight(name).failure_shown = Some(now + FAILURE_SHOWN);
        self.container_event(name, Event::image_failed(&image, reason, message));
        self.container_event(name, Event::failed(&format!("{reason:?}")));
    }

    /// Takes what was wished for, if this run is it.
    fn take_starting(&mut self, run: &ContainerRef) -> Option<Starting> {
        let flight = self.flights.get_mut(&run.name)?;
        flight.starting.take_if(|starting| starting.attempt == run.attempt)
    }

    fn started(&mut self, run: &ContainerRef, id: String, state: RunState, now: Instant) {
        let Some(starting) = self.take_starting(run) else {
            self.unexpected(run);
            return;
        };
        self.flight(&run.name).failure_shown = None;
        let exit = starting.exit.clone();
        self.begin_run(run, starting, id, state, now);
        self.container_event(&run.name, Event::created());
        self.container_event(&run.name, Event::started());
        if let Some(exit) = exit {
            self.exited(run.clone(), exit, now);
        }
    }

    fn begin_run(
        &mut self,
        run: &ContainerRef,
        starting: Starting,
        id: String,
        state: RunState,
        now: Instant,
    ) {
        let Starting { attempt, image, image_id, stop_signal, exit: _ } = starting;
        let incarnation = self.record.incarnation;
        let (begun, health) = (now, Health::default());
        let run_record = Run { attempt, id, image, image_id, stop_signal, incarnation, state, begun, health };
        self.record.container(&run.name).begin(run_record, now);
        let flight = self.flight(&run.name);
        flight.resumed = false;
        flight.hooks.clear();
    }

    /// A run that nobody waits for: unless it is the one known to run, it must go.
    fn unexpected(&mut self, run: &ContainerRef) {
        let known = self.record.containers.get(&run.name).and_then(|container| container.running());
        if known.is_none_or(|known| known.attempt != run.attempt) {
            self.leftovers.entry(run.clone()).or_insert(Leftover::Alive { killed: None });
        }
    }

    fn start_failed(
        &mut self,
        run: &ContainerRef,
        reason: StartFailure,
        message: &str,
        now: Instant,
        wall: WallTime,
    ) {
        if self.containerd == Containerd::Down && reason != StartFailure::RunContainerError {
            return;
        }
        let Some(starting) = self.take_starting(run) else { return };
        if reason == StartFailure::RunContainerError {
            let id = self.id_of(run);
            let how = start_error(&id, message, wall);
            self.begin_run(run, starting, id, RunState::Ended { how, at: now }, now);
        } else {
            self.record.container(&run.name).start.fail(Pace::EFFECT, now);
        }
        if reason == StartFailure::Withheld {
            return;
        }
        self.container_event(&run.name, Event::failed(message));
        let pod = self.pod.clone();
        if spec::container(&pod, &run.name).is_some_and(|(role, spec)| self.is_wanted_again(role, spec)) {
            let waiting = Waiting { reason: format!("{reason:?}"), message: message.to_owned() };
            self.record.container(&run.name).waiting = Some(waiting);
            self.flight(&run.name).failure_shown = Some(now + FAILURE_SHOWN);
        }
    }

    pub(super) fn id_of(&self, run: &ContainerRef) -> String {
        container_id(self.pod.metadata.uid.as_deref().unwrap_or_default(), &run.name, run.attempt)
    }

    fn exited(&mut self, run: ContainerRef, exit: Exit, now: Instant) {
        let flight = self.flights.entry(run.name.clone()).or_default();
        if let Some(starting) = flight.starting.as_mut().filter(|starting| starting.attempt == run.attempt) {
            starting.exit = Some(exit);
            return;
        }
        let container = self.record.container(&run.name);
        let state = container.running().filter(|known| known.attempt == run.attempt);
        if let Some(Run { id, state: RunState::Running { started_at, .. }, .. }) = state {
            let how = end_of(id, Some(*started_at), &exit);
            if state.and_then(|run| run.health.doom).is_some_and(|doom| doom.why == Why::PostStart) {
                flight.failure_shown = Some(now + FAILURE_SHOWN);
            }
            container.end(how, now);
            flight.stopping = None;
            flight.hooks.clear();
        } else if !matches!(self.leftovers.get(&run), Some(Leftover::Alive { .. })) {
            return;
        }
        self.leftovers.insert(run, Leftover::Dead(Errand::default()));
    }
}

/// How a run ended, as the status says it.
pub(super) fn end_of(id: &str, started_at: Option<WallTime>, exit: &Exit) -> ContainerStateTerminated {
    let reason = match exit {
        Exit { oom_killed: true, .. } => "OOMKilled",
        Exit { code: 0, .. } => "Completed",
        Exit { .. } => "Error",
    };
    ContainerStateTerminated {
        container_id: Some(format!("containerd://{id}")),
        exit_code: exit.code,
        reason: Some(reason.to_owned()),
        message: Some(exit.message.clone()).filter(|message| !message.is_empty()),
        started_at: started_at.map(status::time),
        finished_at: Some(status::time(exit.finished_at)),
        signal: None,
    }
}

fn start_error(id: &str, message: &str, wall: WallTime) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: Some(format!("containerd://{id}")),
        exit_code: START_ERROR_CODE,
        reason: Some("StartError".to_owned()),
        message: Some(message.to_owned()),
        started_at: Some(Time(jiff::Timestamp::UNIX_EPOCH)),
        finished_at: Some(status::time(wall)),
        signal: None,
    }
}

//! A node in small: containers, a sandbox, volumes, a record on disk, messages under way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use leasehold::agent::pod::{
    ContainerRef, Effect, Exit, HookKind, Host, ImageFailure, Input, ObservedContainer, ObservedState,
    PodMachine, PodRecord, ProbeKind, ProbeOutcome, StartFailure, container_id,
};
use leasehold::time::{Instant, WallTime};
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::oracles;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    /// One of the effects under way is performed; its answer is on its way.
    Perform(Index, Fault),
    /// One of the messages under way arrives.
    Deliver(Index),
    /// One of the running containers ends.
    Exit(Index, i32),
    /// Time passes to the machine's next deadline.
    Deadline,
    /// Time passes, in seconds.
    Sleep(u64),
    /// A timer without a reason.
    Spurious,
    SourcesChanged,
    /// A start under way may have got half way.
    AgentRestart(bool),
    /// Everything goes well for a while.
    Calm,
    /// The agent is restarted and its disk is empty.
    RecordLost,
    /// A restarted agent finds a container that nobody made.
    Stranger,
    /// containerd goes away, or comes back.
    Containerd,
    /// The machine reboots; containerd may have forgotten all containers.
    Reboot(bool),
    /// The Pod is deleted with this grace, in seconds.
    Delete(u64),
    NewImage,
}

/// How an effect goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It does nothing and says so.
    Fails,
    /// The other way it can fail: a container that cannot be run.
    FailsLate,
    /// A signal that nobody minds.
    Ignored,
}

/// What containerd has of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Created,
    Running,
    Exited(i32),
    Lost,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about the world")]
pub(crate) struct World {
    pub(crate) machine: PodMachine,
    pub(crate) pod: Pod,
    pub(crate) now: Duration,
    booted_at: Duration,
    boots: u32,
    disk: Option<PodRecord>,
    /// Wishes that nobody has performed yet, oldest first.
    pub(crate) wishes: Vec<Effect>,
    /// Messages to the machine that have not arrived, oldest first.
    pub(crate) mail: Vec<Input>,
    pub(crate) containers: BTreeMap<ContainerRef, Body>,
    containerd_up: bool,
    pub(crate) sandbox: bool,
    pub(crate) volumes: bool,
    /// Init containers that have succeeded in this sandbox.
    pub(crate) completed: BTreeSet<String>,
    /// Probes that the machine has been told good news of.
    pub(crate) good: BTreeSet<(ContainerRef, ProbeKind)>,
    /// The same of postStart hooks.
    pub(crate) greeted: BTreeSet<ContainerRef>,
    /// Every run that ever came to be, in order.
    pub(crate) started: Vec<ContainerRef>,
    /// The machine has been told that the Pod must go.
    pub(crate) ending_told: bool,
    pub(crate) finished: bool,
    pub(crate) statuses: Vec<PodStatus>,
    /// How often the agent has died.
    pub(crate) agent_deaths: u32,
    /// A new agent may write once more what was written.
    repeats: bool,
    /// What happened, for whoever reads a failure.
    pub(crate) story: Vec<String>,
}

impl World {
    pub(crate) fn new(pod: Value) -> Self {
        let pod: Pod = serde_json::from_value(pod).expect("a Pod");
        let now = Duration::from_secs(1000);
        let machine =
            PodMachine::new(Arc::new(pod.clone()), None, host(0), Instant::from_boot(now), wall(now));
        let mut world = Self {
            machine,
            pod,
            now,
            booted_at: Duration::ZERO,
            boots: 0,
            disk: None,
            wishes: Vec::new(),
            mail: Vec::new(),
            containers: BTreeMap::new(),
            containerd_up: true,
            sandbox: false,
            volumes: false,
            completed: BTreeSet::new(),
            good: BTreeSet::new(),
            greeted: BTreeSet::new(),
            started: Vec::new(),
            ending_told: false,
            finished: false,
            agent_deaths: 0,
            statuses: Vec::new(),
            repeats: false,
            story: Vec::new(),
        };
        world.tell(Input::Observed(Vec::new()));
        world
    }

    pub(crate) fn take(&mut self, turn: &Turn) {
        match turn {
            Turn::Perform(at, fault) => self.perform_any(*at, *fault),
            Turn::Deliver(at) if !self.mail.is_empty() => {
                let input = self.mail.remove(at.index(self.mail.len()));
                self.tell(input);
            }
            Turn::Exit(at, code) => {
                let running = self.running();
                if !running.is_empty() {
                    self.exit(&running[at.index(running.len())], *code);
                }
            }
            Turn::Deadline => {
                self.sleep_to_deadline();
            }
            Turn::Sleep(seconds) => {
                self.now += Duration::from_secs(*seconds);
                self.tell(Input::Timer);
            }
            Turn::Spurious => {
                let before = self.wishes.len();
                self.tell(Input::Timer);
                let due = self.machine.next_deadline().is_some_and(|at| at <= self.instant());
                assert!(due || self.wishes.len() >= before);
            }
            Turn::SourcesChanged => self.tell(Input::SourcesChanged),
            Turn::AgentRestart(half_made) => self.crash_agent(*half_made),
            Turn::Calm => self.calm(),
            Turn::RecordLost => {
                self.disk = None;
                self.restart_agent();
            }
            Turn::Stranger if self.containerd_up && !self.finished => {
                let run = ContainerRef { name: "stranger".into(), attempt: 0 };
                self.containers.insert(run, Body::Running);
                self.restart_agent();
            }
            Turn::Containerd => self.switch_containerd(),
            Turn::Reboot(forgets) => self.reboot(*forgets),
            Turn::Delete(grace) => self.delete(*grace),
            Turn::NewImage => self.change(&json!({"image": format!("img:{}", self.now.as_millis())})),
            Turn::Deliver(_) | Turn::Stranger => {}
        }
    }

    /// Faults stop: everything under way is performed and arrives, time passes, until nothing is left to do, or the Pod
    /// has run for a while.
    pub(crate) fn calm(&mut self) {
        if !self.containerd_up {
            self.switch_containerd();
        }
        for _ in 0..2000 {
            while self.step() || self.end_an_init_container() {}
            if oracles::all_run(self) || oracles::only_probes_go_on(self) || !self.sleep_to_deadline() {
                return;
            }
        }
        panic!("it does not come to rest: {:?}", self.machine);
    }

    /// What runs to its end, ends well. Says whether there was such a container.
    fn end_an_init_container(&mut self) -> bool {
        let init = self.running().into_iter().find(|run| run.name.starts_with("init"));
        if let Some(run) = &init {
            self.exit(run, 0);
        }
        init.is_some()
    }

    /// One fault-free step: the oldest message arrives, or the oldest wish is performed. Says whether there was one.
    pub(crate) fn step(&mut self) -> bool {
        if !self.mail.is_empty() {
            let input = self.mail.remove(0);
            self.tell(input);
            return true;
        }
        if self.wishes.is_empty() {
            return false;
        }
        let wish = self.wishes.remove(0);
        self.perform(wish, Fault::None);
        true
    }

    /// Lets the time of the next deadline come. Says whether there was one.
    pub(crate) fn sleep_to_deadline(&mut self) -> bool {
        let Some(at) = self.machine.next_deadline() else { return false };
        self.now = self.now.max(self.booted_at + at.since_boot());
        self.tell(Input::Timer);
        true
    }

    fn instant(&self) -> Instant {
        Instant::from_boot(self.now.saturating_sub(self.booted_at))
    }

    /// The machine hears something, and what it wishes is taken up.
    fn tell(&mut self, input: Input) {
        self.now += Duration::from_millis(1);
        self.story.push(format!("{:?} heard {input:?}", self.now));
        self.note_health(&input);
        let (now, wall) = (self.instant(), wall(self.now));
        self.machine.handle(input, now, wall);
        self.collect();
        oracles::no_deadline_has_passed(self, self.instant());
    }

    /// Takes note of what the machine is told of probes and hooks.
    fn note_health(&mut self, input: &Input) {
        if let Input::Probed { run, kind, outcome } = input
            && matches!(outcome, ProbeOutcome::Success | ProbeOutcome::Warning(_))
        {
            self.good.insert((run.clone(), *kind));
        }
        if let Input::HookEnded { run, hook: HookKind::PostStart, failure: None } = input {
            self.greeted.insert(run.clone());
        }
    }

    fn collect(&mut self) {
        while let Some(effect) = self.machine.next_effect() {
            if !matches!(effect, Effect::Persist(_) | Effect::WriteStatus(_)) {
                self.story.push(format!("    wished {effect:?}"));
            }
            match effect {
                Effect::Persist(record) => {
                    let text = serde_json::to_string(&record).expect("a record is JSON");
                    self.disk = Some(serde_json::from_str(&text).expect("it is read back"));
                }
                Effect::WriteStatus(status) => {
                    oracles::a_status_follows_from_the_one_before(self.statuses.last(), &status);
                    oracles::nothing_is_up_or_ready_that_was_not_found_so(self, &status);
                    let repeats = std::mem::take(&mut self.repeats);
                    assert!(repeats || self.statuses.last() != Some(&*status), "a status is written twice");
                    self.pod.status = Some((*status).clone());
                    self.statuses.push(*status);
                }
                Effect::Record { .. } => {}
                Effect::Finished => {
                    oracles::the_last_status_is_terminal(self.statuses.last());
                    self.finished = true;
                }
                Effect::MakeSandbox
                | Effect::MountVolumes
                | Effect::EnsureImage { .. }
                | Effect::StartContainer { .. }
                | Effect::Probe { .. }
                | Effect::RunHook { .. }
                | Effect::Signal { .. }
                | Effect::RemoveContainer { .. }
                | Effect::RemoveSandbox => {
                    oracles::a_wish_is_allowed(self, &effect);
                    self.wishes.push(effect);
                }
            }
        }
    }

    fn perform_any(&mut self, at: Index, fault: Fault) {
        let can = |wish: &Effect| self.containerd_up || !needs_containerd(wish);
        let able: Vec<usize> = (0..self.wishes.len()).filter(|at| can(&self.wishes[*at])).collect();
        if !able.is_empty() {
            let wish = self.wishes.remove(able[at.index(able.len())]);
            self.perform(wish, fault);
        }
    }

    /// Does what was wished, or fails to; the answer is on its way.
    fn perform(&mut self, wish: Effect, fault: Fault) {
        let ok = fault == Fault::None;
        self.story.push(format!("  performs {wish:?} {fault:?}"));
        let message = || "it failed".to_owned();
        let answer = match wish {
            Effect::MakeSandbox if ok => {
                self.sandbox = true;
                Some(Input::SandboxReady { ips: vec![format!("10.0.0.{}", self.boots + 1)] })
            }
            Effect::MakeSandbox => Some(Input::SandboxFailed { message: message() }),
            Effect::MountVolumes if ok => {
                self.volumes = true;
                Some(Input::VolumesReady)
            }
            Effect::MountVolumes => Some(Input::VolumesFailed { message: message() }),
            Effect::EnsureImage { container, image, .. } => Some(image_answer(container, &image, ok)),
            Effect::StartContainer { run, .. } => Some(self.start(run, fault)),
            Effect::Probe { run, kind, .. } => {
                let outcome = match fault {
                    Fault::None => ProbeOutcome::Success,
                    Fault::Ignored => ProbeOutcome::Warning("odd".into()),
                    Fault::Fails => ProbeOutcome::Failure(message()),
                    Fault::FailsLate => ProbeOutcome::Unknown(message()),
                };
                Some(Input::Probed { run, kind, outcome })
            }
            Effect::RunHook { run, hook, .. } => {
                Some(Input::HookEnded { run, hook, failure: (!ok).then(message) })
            }
            Effect::Signal { run, signal } => {
                if self.containers.get(&run) == Some(&Body::Running) && ok {
                    self.exit(&run, 128 + signal);
                }
                None
            }
            Effect::RemoveContainer { run } if ok => {
                oracles::only_bodies_are_removed(self, &run);
                self.containers.remove(&run);
                Some(Input::ContainerRemoved { run })
            }
            Effect::RemoveContainer { run } => Some(Input::ContainerStuck { run, message: message() }),
            Effect::RemoveSandbox if ok => {
                oracles::no_process_loses_its_sandbox(self);
                (self.sandbox, self.volumes) = (false, false);
                Some(Input::SandboxGone)
            }
            Effect::RemoveSandbox => Some(Input::SandboxStuck { message: message() }),
            Effect::Persist(_) | Effect::WriteStatus(_) | Effect::Record { .. } | Effect::Finished => None,
        };
        self.mail.extend(answer);
    }

    fn start(&mut self, run: ContainerRef, fault: Fault) -> Input {
        let message = "it failed".to_owned();
        if fault == Fault::Fails {
            return Input::ContainerStartFailed { run, reason: StartFailure::CreateContainerError, message };
        }
        oracles::a_run_is_made_once_and_alone(self, &run);
        self.started.push(run.clone());
        if fault == Fault::FailsLate {
            return Input::ContainerStartFailed { run, reason: StartFailure::RunContainerError, message };
        }
        self.containers.insert(run.clone(), Body::Running);
        let id = container_id("uid", &run.name, run.attempt);
        Input::ContainerStarted { run, id, pid: 1, started_at: wall(self.now) }
    }

    fn running(&self) -> Vec<ContainerRef> {
        self.containers
            .iter()
            .filter(|(_, body)| **body == Body::Running)
            .map(|(run, _)| run.clone())
            .collect()
    }

    /// A process ends. While containerd is away nobody hears of it.
    fn exit(&mut self, run: &ContainerRef, code: i32) {
        self.containers.insert(run.clone(), Body::Exited(code));
        if code == 0 {
            self.completed.insert(run.name.clone());
        }
        if self.containerd_up {
            self.mail.push(Input::ContainerExited { run: run.clone(), exit: self.exit_of(code) });
        }
    }

    fn exit_of(&self, code: i32) -> Exit {
        Exit { code, finished_at: wall(self.now), oom_killed: false, message: String::new() }
    }

    /// Ends the container of this name, if it runs.
    pub(crate) fn exit_named(&mut self, name: &str, code: i32) -> bool {
        let run = self.running().into_iter().find(|run| run.name == name);
        if let Some(run) = &run {
            self.exit(run, code);
        }
        run.is_some()
    }

    fn observed(&self) -> Input {
        let observe = |(run, body): (&ContainerRef, &Body)| ObservedContainer {
            run: run.clone(),
            id: container_id("uid", &run.name, run.attempt),
            image: self.image_of(&run.name),
            image_id: "sha256:1".into(),
            state: match body {
                Body::Created => ObservedState::Created,
                Body::Running => ObservedState::Running { pid: 2, started_at: wall(self.now) },
                Body::Exited(code) => ObservedState::Exited { started_at: None, exit: self.exit_of(*code) },
                Body::Lost => ObservedState::Lost { started_at: None },
            },
        };
        Input::Observed(self.containers.iter().map(observe).collect())
    }

    fn image_of(&self, name: &str) -> String {
        let spec = self.pod.spec.as_ref().expect("a spec");
        let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
        all.find(|container| container.name == name)
            .and_then(|container| container.image.clone())
            .unwrap_or_default()
    }

    /// The agent's process ends and begins anew: what was under way is lost.
    pub(crate) fn restart_agent(&mut self) {
        self.crash_agent(false);
    }

    /// As above; of the starts under way one may have got half way.
    pub(crate) fn crash_agent(&mut self, half_made: bool) {
        for wish in std::mem::take(&mut self.wishes) {
            if let (Effect::StartContainer { run, .. }, true, true) = (wish, half_made, self.containerd_up) {
                self.containers.insert(run, Body::Created);
            }
        }
        self.lose_mail(|_| true);
        if self.finished {
            return;
        }
        let before = self.machine.status().clone();
        let (pod, now) = (Arc::new(self.pod.clone()), self.instant());
        self.machine = PodMachine::new(pod, self.disk.clone(), host(self.boots), now, wall(self.now));
        if self.disk.is_some() && self.machine.record() == *self.disk.as_ref().expect("checked") {
            oracles::a_record_says_all_of_the_status(&before, self.machine.status());
        }
        self.repeats = true;
        self.agent_deaths += 1;
        self.ending_told = self.pod.metadata.deletion_timestamp.is_some();
        if self.containerd_up {
            let observed = self.observed();
            self.tell(observed);
        }
    }

    fn switch_containerd(&mut self) {
        if self.finished {
            return;
        }
        self.containerd_up = !self.containerd_up;
        if !self.containerd_up {
            self.tell(Input::RuntimeDown);
            return;
        }
        let settled =
            |wish: &Effect| matches!(wish, Effect::StartContainer { .. } | Effect::RemoveContainer { .. });
        self.wishes.retain(|wish| !settled(wish) && !matches!(wish, Effect::Signal { .. }));
        self.lose_mail(|input| {
            matches!(
                input,
                Input::ContainerStarted { .. }
                    | Input::ContainerStartFailed { .. }
                    | Input::ContainerRemoved { .. }
                    | Input::ContainerStuck { .. }
            )
        });
        let observed = self.observed();
        self.tell(observed);
    }

    /// Runs that neither containerd nor the record knows of never were.
    fn forget_unknown_runs(&mut self) {
        let record = serde_json::to_value(&self.disk).expect("a record is JSON");
        self.started.retain(|run| {
            let known = &record["containers"][&run.name]["run"]["attempt"];
            known.as_u64().is_some_and(|known| u64::from(run.attempt) <= known)
        });
    }

    /// Messages are lost. A run of which nothing is left, and of which the machine has not heard, never was.
    fn lose_mail(&mut self, lost: impl Fn(&Input) -> bool) {
        for input in self.mail.extract_if(.., |input| lost(input)) {
            if let Input::ContainerStarted { run, .. } | Input::ContainerStartFailed { run, .. } = input
                && !self.containers.contains_key(&run)
            {
                self.started.retain(|started| *started != run);
            }
        }
    }

    fn reboot(&mut self, forgets: bool) {
        self.now += Duration::from_mins(1);
        self.booted_at = self.now;
        self.boots += 1;
        (self.sandbox, self.volumes) = (false, false);
        self.completed.clear();
        self.containerd_up = true;
        for body in self.containers.values_mut().filter(|body| **body == Body::Running) {
            *body = Body::Lost;
        }
        if forgets {
            self.containers.clear();
            self.forget_unknown_runs();
        }
        self.restart_agent();
    }

    pub(crate) fn delete(&mut self, grace: u64) {
        let before = self.pod.metadata.deletion_grace_period_seconds.unwrap_or(i64::MAX);
        let at = json!("2026-01-01T00:00:00Z");
        let metadata = &mut self.pod.metadata;
        metadata.deletion_timestamp = Some(serde_json::from_value(at).expect("a time"));
        metadata.deletion_grace_period_seconds = Some(before.min(grace as i64));
        self.ending_told = true;
        self.tell(Input::PodChanged(Arc::new(self.pod.clone())));
    }

    /// The object is gone.
    pub(crate) fn vanish(&mut self) {
        self.ending_told = true;
        self.tell(Input::PodGone);
    }

    fn change(&mut self, container: &Value) {
        let spec = self.pod.spec.as_mut().expect("a spec");
        spec.containers[0].image = container["image"].as_str().map(str::to_owned);
        self.tell(Input::PodChanged(Arc::new(self.pod.clone())));
    }

    /// Every run that came to be, by name and attempt.
    pub(crate) fn started_runs(&self) -> BTreeSet<ContainerRef> {
        let set: BTreeSet<ContainerRef> = self.started.iter().cloned().collect();
        assert_eq!(set.len(), self.started.len(), "a run was made twice: {:?}", self.started);
        set
    }

    /// How it stands in the end: phase, restart counts, what is left.
    pub(crate) fn summary(&self) -> String {
        let status = self.machine.status();
        let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        let counts: Vec<String> = containers
            .map(|container| format!("{} {} {}", container.name, container.restart_count, container.ready))
            .collect();
        let (phase, bodies) = (status.phase.as_deref().unwrap_or_default(), &self.containers);
        format!("{phase} {counts:?} {bodies:?} sandbox {} finished {}", self.sandbox, self.finished)
    }
}

fn host(boots: u32) -> Host {
    Host { boot_id: format!("boot {boots}"), ips: vec!["192.0.2.1".into()] }
}

fn wall(now: Duration) -> WallTime {
    let epoch = WallTime::parse("2026-01-01T00:00:00Z").expect("a time").0;
    WallTime(epoch + jiff::SignedDuration::try_from(now).expect("short"))
}

fn needs_containerd(wish: &Effect) -> bool {
    matches!(
        wish,
        Effect::EnsureImage { .. }
            | Effect::StartContainer { .. }
            | Effect::Signal { .. }
            | Effect::RemoveContainer { .. }
    )
}

fn image_answer(container: String, image: &str, ok: bool) -> Input {
    if ok {
        let image_id = format!("sha256:{image}");
        return Input::ImageReady { container, image_id, stop_signal: None, pulled: None };
    }
    Input::ImageFailed { container, reason: ImageFailure::ErrImagePull, message: "it failed".into() }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last = self.story.len().saturating_sub(60);
            println!("{}", self.story[last..].join("\n"));
        }
    }
}

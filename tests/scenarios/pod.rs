//! The world of `pod_*.txt`: one Pod's machine, hand-fed.
//!
//! | input | |
//! |---|---|
//! | `pod` with a Pod's YAML below | the machine of a Pod that is new to the node |
//! | `at 10s` | time since the scenario's boot; `wait` goes to the machine's next deadline and gives it `Timer` |
//! | `observed web-0=running db-3=exited:1 x-0=created y-0=lost` | also empty |
//! | `sandbox-ready IP…`, `sandbox-failed TEXT`, `sandbox-gone`, `sandbox-stuck TEXT` | |
//! | `volumes-ready`, `volumes-failed TEXT` | |
//! | `pulling NAME`, `image NAME`, `pulled NAME`, `image-failed NAME KIND TEXT` | `image NAME stop=SIGQUIT` sets STOPSIGNAL |
//! | `started RUN`, `start-failed RUN KIND TEXT`, `exited RUN CODE [oom] [TEXT]`, `removed RUN`, `stuck RUN TEXT` | RUN is `web-0` |
//! | `probed RUN KIND ok`, `… failed TEXT`, `… odd TEXT`, `… unknown TEXT`; `hooked RUN KIND [failed TEXT]` | answers |
//! | `delete 30s`, `gone`, `set` with a merge patch in YAML below | changes of the object |
//! | `sources-changed`, `runtime-down`, `timer` | |
//! | `agent-restart`, `reboot` | the machine is made anew from its record, read back from JSON |
//! | `deadline` | the machine's next deadline |
//! | `status` | the whole status as YAML |
//!
//! `Persist` is not printed; that it comes first and only when something changed is checked.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use leasehold::agent::pod::{
    ContainerRef, Effect, Exit, HookKind, Host, ImageFailure, Input, ObservedContainer, ObservedState,
    PodMachine, ProbeKind, ProbeOutcome, Pull, StartFailure, container_id,
};
use leasehold::time::{Instant, WallTime};
use serde_json::{Value, json};

use crate::World;

/// Wall-clock time of the scenario's first boot.
const EPOCH: &str = "2026-01-01T00:00:00Z";

#[derive(Default)]
pub(crate) struct PodWorld {
    machine: Option<PodMachine>,
    pod: Pod,
    now: Duration,
    boots: u32,
    booted_at: Duration,
}

impl World for PodWorld {
    fn input(&mut self, line: &str, body: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "pod" => self.new_pod(body),
            "at" => self.now = span(words[1]),
            "agent-restart" => self.restart(),
            "reboot" => {
                self.boots += 1;
                self.booted_at = self.now;
                self.restart();
            }
            "deadline" => {
                let at = self.machine().next_deadline();
                let seconds = at.map(|at| (self.booted_at + at.since_boot()).as_secs_f64());
                return seconds.map_or("none\n".into(), |seconds| format!("{seconds}s\n"));
            }
            "status" => return yaml(self.machine().status()),
            "wait" => {
                let Some(at) = self.machine().next_deadline() else { return "no deadline\n".into() };
                self.now = self.booted_at + at.since_boot();
                let answer = self.feed(Input::Timer);
                return format!("at {}s\n{answer}", self.now.as_secs_f64());
            }
            _ => {
                let input = self.read(&words, body);
                return self.feed(input);
            }
        }
        String::new()
    }
}

impl PodWorld {
    fn machine(&mut self) -> &mut PodMachine {
        self.machine.as_mut().expect("`pod` comes first")
    }

    fn instant(&self) -> Instant {
        Instant::from_boot(self.now.saturating_sub(self.booted_at))
    }

    fn wall(&self) -> WallTime {
        let epoch = WallTime::parse(EPOCH).expect("a time").0;
        WallTime(epoch + jiff::SignedDuration::try_from(self.now).expect("short"))
    }

    fn host(&self) -> Host {
        Host { boot_id: format!("boot-{}", self.boots), ips: vec!["192.0.2.1".into()] }
    }

    fn new_pod(&mut self, body: &str) {
        let mut pod: Value = serde_saphyr::from_str(body).expect("a Pod in YAML");
        merge(&mut pod, &json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u1", "generation": 1}}));
        self.pod = serde_json::from_value(pod).expect("a Pod");
        let (host, now, wall) = (self.host(), self.instant(), self.wall());
        self.machine = Some(PodMachine::new(Arc::new(self.pod.clone()), None, host, now, wall));
    }

    fn restart(&mut self) {
        let record = serde_json::to_string(&self.machine().record()).expect("a record is JSON");
        let record = serde_json::from_str(&record).expect("a record is read back");
        let (host, now, wall) = (self.host(), self.instant(), self.wall());
        self.machine = Some(PodMachine::new(Arc::new(self.pod.clone()), Some(record), host, now, wall));
    }

    fn feed(&mut self, input: Input) -> String {
        let (now, wall) = (self.instant(), self.wall());
        let machine = self.machine();
        let before = machine.record();
        machine.handle(input, now, wall);
        let changed = machine.record() != before;
        let effects: Vec<Effect> = std::iter::from_fn(|| machine.next_effect()).collect();
        let persists = effects.iter().filter(|effect| matches!(effect, Effect::Persist(_))).count();
        assert!(persists <= 1, "one Persist is enough");
        let first = matches!(effects.first(), Some(Effect::Persist(_)));
        assert!(first || !changed && persists == 0, "Persist comes first, when something changed");
        for effect in &effects {
            if let Effect::WriteStatus(status) = effect {
                self.pod.status = Some((**status).clone());
            }
        }
        effects.iter().map(print).collect()
    }

    fn read(&mut self, words: &[&str], body: &str) -> Input {
        let name = |at: usize| words.get(at).map(|word| (*word).to_owned()).unwrap_or_default();
        let text = |from: usize| words.get(from..).unwrap_or_default().join(" ");
        let run = || run(words[1]);
        match words[0] {
            "observed" => Input::Observed(words[1..].iter().map(|word| self.observed(word)).collect()),
            "sandbox-ready" => {
                Input::SandboxReady { ips: words[1..].iter().map(|ip| (*ip).to_owned()).collect() }
            }
            "sandbox-failed" => Input::SandboxFailed { message: text(1) },
            "sandbox-gone" => Input::SandboxGone,
            "sandbox-stuck" => Input::SandboxStuck { message: text(1) },
            "volumes-ready" => Input::VolumesReady,
            "volumes-failed" => Input::VolumesFailed { message: text(1) },
            "pulling" => Input::ImagePulling { container: name(1) },
            "image" | "pulled" => Input::ImageReady {
                container: name(1),
                image_id: format!("sha256:{}", name(1)),
                stop_signal: words.get(2).and_then(|word| word.strip_prefix("stop=")).map(str::to_owned),
                pulled: (words[0] == "pulled").then_some(Pull {
                    took: Duration::from_millis(1200),
                    waited: Duration::from_millis(1500),
                    size_bytes: 1_000_000,
                }),
            },
            "image-failed" => {
                Input::ImageFailed { container: name(1), reason: image_failure(words[2]), message: text(3) }
            }
            "started" => {
                Input::ContainerStarted { run: run(), id: self.id(&run()), pid: 100, started_at: self.wall() }
            }
            "start-failed" => {
                Input::ContainerStartFailed { run: run(), reason: start_failure(words[2]), message: text(3) }
            }
            "exited" => Input::ContainerExited { run: run(), exit: self.exit(&words[2..]) },
            "probed" => {
                let (kind, outcome) = (probe_kind(words[2]), probe_outcome(words[3], text(4)));
                Input::Probed { run: run(), kind, outcome }
            }
            "hooked" => {
                let failure = (words.get(3) == Some(&"failed")).then(|| text(4));
                Input::HookEnded { run: run(), hook: hook_kind(words[2]), failure }
            }
            "removed" => Input::ContainerRemoved { run: run() },
            "stuck" => Input::ContainerStuck { run: run(), message: text(2) },
            "delete" => self.change(&json!({"metadata": {"deletionTimestamp": EPOCH,
                "deletionGracePeriodSeconds": span(words[1]).as_secs()}})),
            "set" => self.change(&serde_saphyr::from_str(body).expect("a merge patch in YAML")),
            "gone" => Input::PodGone,
            "sources-changed" => Input::SourcesChanged,
            "runtime-down" => Input::RuntimeDown,
            "timer" => Input::Timer,
            other => panic!("no input is called {other}"),
        }
    }

    fn change(&mut self, patch: &Value) -> Input {
        let mut pod = serde_json::to_value(&self.pod).expect("a Pod is JSON");
        merge(&mut pod, patch);
        self.pod = serde_json::from_value(pod).expect("still a Pod");
        Input::PodChanged(Arc::new(self.pod.clone()))
    }

    fn id(&self, run: &ContainerRef) -> String {
        container_id(self.pod.metadata.uid.as_deref().unwrap_or_default(), &run.name, run.attempt)
    }

    fn exit(&self, words: &[&str]) -> Exit {
        let oom_killed = words.get(1) == Some(&"oom");
        let message = words.get(1 + usize::from(oom_killed)..).unwrap_or_default().join(" ");
        Exit { code: words[0].parse().expect("a code"), finished_at: self.wall(), oom_killed, message }
    }

    fn observed(&self, word: &str) -> ObservedContainer {
        let (name, state) = word.split_once('=').expect("RUN=STATE");
        let run = run(name);
        let started_at = self.wall();
        let state = match state.split_once(':').unwrap_or((state, "")) {
            ("created", _) => ObservedState::Created,
            ("running", _) => ObservedState::Running { pid: 200, started_at },
            ("exited", code) => {
                ObservedState::Exited { started_at: Some(started_at), exit: self.exit(&[code]) }
            }
            ("lost", _) => ObservedState::Lost { started_at: Some(started_at) },
            (other, _) => panic!("no state is called {other}"),
        };
        let image_id = format!("sha256:{}", run.name);
        ObservedContainer { id: self.id(&run), image: format!("img/{}", run.name), image_id, run, state }
    }
}

fn run(text: &str) -> ContainerRef {
    let (name, attempt) = text.rsplit_once('-').expect("NAME-ATTEMPT");
    ContainerRef { name: name.to_owned(), attempt: attempt.parse().expect("a number") }
}

fn span(text: &str) -> Duration {
    Duration::from_secs_f64(text.trim_end_matches('s').parse().expect("seconds"))
}

fn probe_kind(text: &str) -> ProbeKind {
    match text {
        "startup" => ProbeKind::Startup,
        "readiness" => ProbeKind::Readiness,
        "liveness" => ProbeKind::Liveness,
        other => panic!("no probe is called {other}"),
    }
}

fn probe_outcome(text: &str, message: String) -> ProbeOutcome {
    match text {
        "ok" => ProbeOutcome::Success,
        "odd" => ProbeOutcome::Warning(message),
        "failed" => ProbeOutcome::Failure(message),
        "unknown" => ProbeOutcome::Unknown(message),
        other => panic!("no probe ends {other}"),
    }
}

fn hook_kind(text: &str) -> HookKind {
    match text {
        "postStart" => HookKind::PostStart,
        "preStop" => HookKind::PreStop,
        other => panic!("no hook is called {other}"),
    }
}

fn image_failure(text: &str) -> ImageFailure {
    match text {
        "ErrImagePull" => ImageFailure::ErrImagePull,
        "ErrImageNeverPull" => ImageFailure::ErrImageNeverPull,
        "InvalidImageName" => ImageFailure::InvalidImageName,
        other => panic!("no image failure is called {other}"),
    }
}

fn start_failure(text: &str) -> StartFailure {
    match text {
        "CreateContainerConfigError" => StartFailure::CreateContainerConfigError,
        "CreateContainerError" => StartFailure::CreateContainerError,
        "RunContainerError" => StartFailure::RunContainerError,
        other => panic!("no start failure is called {other}"),
    }
}

/// JSON merge; what is there already stays where `patch` only names parents.
fn merge(target: &mut Value, patch: &Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, patch) => *target = patch.clone(),
    }
}

fn yaml(value: &impl serde::Serialize) -> String {
    let text = serde_saphyr::to_string(&serde_json::to_value(value).expect("JSON")).expect("YAML");
    text.lines().filter(|line| !line.is_empty()).fold(String::new(), |all, line| all + line + "\n")
}

fn print(effect: &Effect) -> String {
    let run = |run: &ContainerRef| format!("{}-{}", run.name, run.attempt);
    let line = match effect {
        Effect::Persist(_) => return String::new(),
        Effect::MakeSandbox => "make sandbox".to_owned(),
        Effect::MountVolumes => "mount volumes".to_owned(),
        Effect::EnsureImage { container, image, policy } => {
            format!("ensure image of {container}: {image} {policy:?}")
        }
        Effect::StartContainer { run: target, image_id, ips, target_pid } => {
            let beside = target_pid.map(|pid| format!(" beside process {pid}")).unwrap_or_default();
            format!("start {} from {image_id} with {}{beside}", run(target), ips.join(" "))
        }
        Effect::Probe { run: target, kind, ips } => {
            format!("probe {} of {} at {}", format!("{kind:?}").to_lowercase(), run(target), ips.join(" "))
        }
        Effect::RunHook { run: target, hook, .. } => {
            let name = if *hook == HookKind::PostStart { "postStart" } else { "preStop" };
            format!("run {name} of {}", run(target))
        }
        Effect::Signal { run: target, signal } => format!("signal {signal} to {}", run(target)),
        Effect::RemoveContainer { run: target } => format!("remove {}", run(target)),
        Effect::RemoveSandbox => "remove sandbox".to_owned(),
        Effect::WriteStatus(status) => print_status(status),
        Effect::Record { warning, reason, field_path, message } => {
            let kind = if *warning { "Warning" } else { "Normal" };
            let about = field_path.as_deref().map(|path| format!(" {path}")).unwrap_or_default();
            format!("event {kind} {reason}{about}: {message}")
        }
        Effect::Finished => "finished".to_owned(),
    };
    line + "\n"
}

/// `status Running, Ready since 00:05: web running (1), last Error 1`
fn print_status(status: &PodStatus) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let mut line = format!("status {}", text(&status.phase));
    if let Some(reason) = &status.reason {
        let _ = write!(line, " {reason}");
    }
    let conditions = status.conditions.as_deref().unwrap_or_default();
    if let Some(ready) = conditions.iter().find(|condition| condition.type_ == "Ready") {
        let since = ready.last_transition_time.as_ref().expect("always set").0.strftime("%M:%S");
        let ready = if ready.status == "True" { "Ready" } else { "not Ready" };
        let _ = write!(line, ", {ready} since {since}");
    }
    for container in status.init_container_statuses.iter().flatten() {
        let _ = write!(line, "; {}", print_container(container, true));
    }
    for container in status.container_statuses.iter().flatten() {
        let _ = write!(line, "; {}", print_container(container, false));
    }
    for container in status.ephemeral_container_statuses.iter().flatten() {
        let _ = write!(line, "; {}", print_container(container, true));
    }
    line
}

/// What runs to its end, as init containers do, is ready only then.
fn print_container(container: &ContainerStatus, init: bool) -> String {
    let end = |state: &k8s_openapi::api::core::v1::ContainerState| {
        let end = state.terminated.as_ref()?;
        Some(format!("{} {}", end.reason.as_deref().unwrap_or_default(), end.exit_code))
    };
    let state = container.state.clone().unwrap_or_default();
    let now = match (&state.waiting, end(&state)) {
        (Some(waiting), _) => waiting.reason.clone().unwrap_or_default(),
        (None, Some(end)) => end,
        (None, None) if container.started == Some(false) => "running, not started".into(),
        (None, None) if !container.ready && !init => "running, not ready".into(),
        (None, None) => "running".into(),
    };
    let last =
        container.last_state.as_ref().and_then(end).map(|last| format!(", last {last}")).unwrap_or_default();
    format!("{} {now} ({}{last})", container.name, container.restart_count)
}

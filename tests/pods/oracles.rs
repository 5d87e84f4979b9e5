//! What must hold, whatever happens. Small, separate, each under the name of what it says.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, PodStatus};
use leasehold::agent::pod::{ContainerRef, Effect, HookKind, ProbeKind};
use leasehold::time::Instant;

use crate::world::{Body, World};

pub(crate) fn a_run_is_made_once_and_alone(world: &World, run: &ContainerRef) {
    let alive =
        world.containers.iter().find(|(other, body)| other.name == run.name && **body == Body::Running);
    assert!(alive.is_none(), "{run:?} is started while {alive:?} runs");
    let newer = world.started.iter().find(|other| other.name == run.name && other.attempt >= run.attempt);
    assert!(newer.is_none(), "{run:?} is started after {newer:?}");
    assert!(!world.containers.contains_key(run), "the name of {run:?} is taken");
    assert!(world.sandbox && world.volumes, "{run:?} is started without sandbox or volumes");
    if run.name.starts_with("main") {
        let spec = world.pod.spec.as_ref().expect("a spec");
        let inits = spec.init_containers.iter().flatten().filter(|init| init.restart_policy.is_none());
        for init in inits {
            assert!(world.completed.contains(&init.name), "{run:?} is started before {} is done", init.name);
        }
    }
}

pub(crate) fn a_wish_is_allowed(world: &World, wish: &Effect) {
    assert!(!world.finished, "{wish:?} after the end");
    let signal = matches!(wish, Effect::Signal { .. });
    assert!(signal || !world.wishes.contains(wish), "{wish:?} is asked twice");
    if *wish == Effect::RemoveSandbox && world.ending_told {
        assert!(world.containers.is_empty(), "the sandbox goes before {:?}", world.containers);
    }
    a_probe_or_hook_is_allowed(world, wish);
    if let Effect::StartContainer { run, .. } = wish {
        assert!(!world.ending_told, "{run:?} is started in a Pod that must go");
        let other = |wish: &Effect| matches!(wish, Effect::StartContainer { run: other, .. } if other.name == run.name);
        assert!(!world.wishes.iter().any(other), "two runs of {} are being started", run.name);
    }
}

fn spec_of<'a>(world: &'a World, name: &str) -> Option<&'a Container> {
    let spec = world.pod.spec.as_ref()?;
    spec.init_containers.iter().flatten().chain(&spec.containers).find(|container| container.name == name)
}

fn is_hooked(container: &Container) -> bool {
    container.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.post_start.is_some())
}

fn a_probe_or_hook_is_allowed(world: &World, wish: &Effect) {
    if let Effect::Probe { run, kind, .. } = wish {
        let container = spec_of(world, &run.name).expect("only what the spec has is probed");
        let asked = ProbeKind::Startup;
        let started = container.startup_probe.is_none() || world.good.contains(&(run.clone(), asked));
        assert_eq!(*kind == asked, !started, "{wish:?} out of order");
        assert!(!is_hooked(container) || world.greeted.contains(run), "{wish:?} before its hook has ended");
        assert!(*kind == ProbeKind::Readiness || !world.ending_told, "{wish:?} in a Pod that must go");
    }
    if let Effect::RunHook { run, hook: HookKind::PostStart, .. } = wish {
        assert!(!world.ending_told, "{wish:?} in a Pod that must go");
        assert!(!world.greeted.contains(run) || world.agent_deaths > 0, "{wish:?} twice");
    }
}

pub(crate) fn nothing_is_up_or_ready_that_was_not_found_so(world: &World, status: &PodStatus) {
    let running =
        |status: &&ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    for status in containers(status).filter(running) {
        let Some(container) = spec_of(world, &status.name) else { continue };
        let run = ContainerRef { name: status.name.clone(), attempt: status.restart_count as u32 };
        let good = |kind| world.good.contains(&(run.clone(), kind));
        let started = container.startup_probe.is_none() || good(ProbeKind::Startup);
        assert!(started || status.started == Some(false), "{run:?} counts as started");
        let ready = started && (container.readiness_probe.is_none() || good(ProbeKind::Readiness));
        assert!(ready || !status.ready, "{run:?} counts as ready");
        let greeted = !is_hooked(container) || world.greeted.contains(&run) || world.ending_told;
        assert!(greeted || !status.ready, "{run:?} is ready before its hook has ended");
    }
}

pub(crate) fn only_bodies_are_removed(world: &World, run: &ContainerRef) {
    assert_ne!(world.containers.get(run), Some(&Body::Running), "{run:?} is removed while it runs");
}

pub(crate) fn no_process_loses_its_sandbox(world: &World) {
    assert!(
        !world.containers.values().any(|body| *body == Body::Running),
        "the sandbox is removed under a process"
    );
    let making = |wish: &Effect| {
        matches!(wish, Effect::StartContainer { .. } | Effect::MakeSandbox | Effect::MountVolumes)
    };
    assert!(!world.wishes.iter().any(making), "the sandbox is removed while something is made in it");
}

pub(crate) fn no_deadline_has_passed(world: &World, now: Instant) {
    let at = world.machine.next_deadline();
    assert!(at.is_none_or(|at| at > now), "the deadline {at:?} is not after {now:?}: the driver would spin");
}

fn containers(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    status.init_container_statuses.iter().chain(&status.container_statuses).flatten()
}

pub(crate) fn a_status_follows_from_the_one_before(before: Option<&PodStatus>, after: &PodStatus) {
    let Some(before) = before else { return };
    let terminal = |status: &PodStatus| matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    assert!(!terminal(before) || before.phase == after.phase, "{:?} became {:?}", before.phase, after.phase);
    for (old, new) in containers(before).zip(containers(after)) {
        assert!(old.restart_count <= new.restart_count, "{} forgot restarts", old.name);
    }
    for old in before.conditions.iter().flatten() {
        let new =
            after.conditions.iter().flatten().find(|new| new.type_ == old.type_).expect("conditions stay");
        let moved = old.last_transition_time != new.last_transition_time;
        assert!(!moved || old.status != new.status, "{} moved without a change", old.type_);
    }
    if terminal(after) {
        assert!(
            containers(after).all(|container| !container.ready || is_done(container)),
            "ready at the end"
        );
    }
}

fn is_done(container: &ContainerStatus) -> bool {
    container
        .state
        .as_ref()
        .is_some_and(|state| state.terminated.as_ref().is_some_and(|end| end.exit_code == 0))
}

pub(crate) fn the_last_status_is_terminal(last: Option<&PodStatus>) {
    let phase = last.and_then(|status| status.phase.as_deref());
    assert!(matches!(phase, Some("Succeeded" | "Failed")), "the end comes before a final status: {phase:?}");
}

pub(crate) fn a_record_says_all_of_the_status(before: &PodStatus, after: &PodStatus) {
    assert_eq!(before, after, "the status changed with the agent's restart");
}

pub(crate) fn all_run(world: &World) -> bool {
    let status = world.machine.status();
    let ready = status.conditions.iter().flatten().any(|each| each.type_ == "Ready" && each.status == "True");
    ready && !world.ending_told
}

/// Whether nothing will happen any more but probes: what runs is ready, nothing waits, and a main container runs.
pub(crate) fn only_probes_go_on(world: &World) -> bool {
    let status = world.machine.status();
    let runs = |each: &ContainerStatus| each.state.as_ref().is_some_and(|state| state.running.is_some());
    let waits = |each: &ContainerStatus| each.state.as_ref().is_some_and(|state| state.waiting.is_some());
    let mains = || status.container_statuses.iter().flatten();
    let still = containers(status).all(|each| !waits(each) && (!runs(each) || each.ready || is_init(each)));
    still && mains().any(runs) && !world.ending_told && world.wishes.is_empty() && world.mail.is_empty()
}

fn is_init(status: &ContainerStatus) -> bool {
    status.name.starts_with("init")
}

pub(crate) fn it_runs_or_has_ended(world: &World) {
    let phase = world.machine.status().phase.clone().unwrap_or_default();
    let running = world.containers.values().filter(|body| **body == Body::Running).count();
    let spec = world.pod.spec.as_ref().expect("a spec");
    let never_ends = spec.restart_policy.as_deref() == Some("Always") && !world.ending_told;
    match phase.as_str() {
        "Running" if never_ends => assert!(all_run(world), "it does not get ready: {:?}", world.machine),
        "Running" => {
            let waits =
                |each: &ContainerStatus| each.state.as_ref().is_some_and(|state| state.waiting.is_some());
            assert!(!containers(world.machine.status()).any(waits), "something waits: {:?}", world.machine);
        }
        "Succeeded" | "Failed" => {
            assert_eq!(running, 0, "something runs on after the end");
            assert!(!world.sandbox, "the sandbox is kept after the end");
            assert!(!never_ends, "{phase} under restartPolicy Always");
        }
        _ => panic!("it waits for nothing: {phase} {:?}", world.machine),
    }
}

pub(crate) fn nothing_is_left(world: &World) {
    assert!(world.finished, "it does not finish: {:?}", world.machine);
    assert!(world.containers.is_empty(), "containers are left: {:?}", world.containers);
    assert!(!world.sandbox && !world.volumes, "sandbox or volumes are left");
}

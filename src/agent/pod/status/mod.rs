//! The `PodStatus` that follows from a record.

pub(super) mod conditions;
pub(super) mod phase;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use self::conditions::Facts;
use self::phase::Circumstances;
use super::health;
use super::identity::Identity;
use super::interface::Host;
use super::record::{ContainerRecord, Ending, PodRecord, Run, RunState, Sandbox};
use super::spec::{self, Role};
use crate::time::WallTime;

/// Why a container whose end nobody saw is terminated.
pub(super) const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";
/// The code given to it, as the kubelet's.
pub(super) const STATUS_UNKNOWN_CODE: i32 = 137;
const NOT_LOCATED: &str = "The container could not be located when the pod was terminated";

/// A wall-clock reading as `metav1.Time` has it: whole seconds.
pub(super) fn time(wall: WallTime) -> Time {
    Time(jiff::Timestamp::from_second(wall.0.as_second()).unwrap_or(wall.0))
}

/// An end that nobody saw.
pub(super) fn unknown_end(id: Option<String>, started_at: Option<WallTime>) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: id.map(|id| format!("containerd://{id}")),
        exit_code: STATUS_UNKNOWN_CODE,
        reason: Some(STATUS_UNKNOWN.into()),
        message: Some(NOT_LOCATED.into()),
        started_at: started_at.map(time),
        ..ContainerStateTerminated::default()
    }
}

/// What the machine knows beside the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    /// The Pod is ending, and no container can run any more.
    pub(super) at_rest: bool,
    pub(super) identity: &'a Identity,
}

/// The status as it is now. Phase and conditions are brought up to date in the record.
pub(super) fn compose(
    pod: &Pod,
    host: &Host,
    record: &mut PodRecord,
    standing: Standing<'_>,
    now: WallTime,
) -> PodStatus {
    let Standing { at_rest, identity } = standing;
    let mut statuses = container_statuses(pod, record);
    let circumstances = Circumstances { at_rest, initialized: record.is_initialized(pod) };
    record.phase = next_phase(pod, record, &statuses, circumstances).to_owned();
    if phase::is_terminal(&record.phase) {
        settle(pod, &mut statuses);
    }
    let base = pod.status.clone().unwrap_or_default();
    let foreign: Vec<_> =
        base.conditions.into_iter().flatten().filter(|c| !conditions::is_owned(c)).collect();
    let sandbox = record.sandbox == Sandbox::Made;
    let facts =
        Facts { pod, statuses: &statuses, phase: &record.phase, sandbox, foreign: &foreign, identity };
    record.conditions = conditions::conditions(&facts, &record.conditions, &time(now));
    let conditions = foreign.into_iter().chain(record.conditions.iter().cloned()).collect();
    let (inits, mains): (Vec<_>, Vec<_>) =
        statuses.into_iter().partition(|status| is_of(pod, &status.name, is_init));
    let (ephemeral, mains): (Vec<_>, Vec<_>) =
        mains.into_iter().partition(|status| is_of(pod, &status.name, |role| role == Role::Ephemeral));
    let status = PodStatus {
        conditions: Some(conditions),
        init_container_statuses: (!inits.is_empty()).then_some(inits),
        container_statuses: Some(mains),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        observed_generation: pod.metadata.generation,
        start_time: Some(time(record.start_time)),
        ..pod.status.clone().unwrap_or_default()
    };
    with_addresses(pod, host, record, with_phase(pod, record, status))
}

fn is_of(pod: &Pod, name: &str, is: impl Fn(Role) -> bool) -> bool {
    spec::container(pod, name).is_some_and(|(role, _)| is(role))
}

fn is_init(role: Role) -> bool {
    matches!(role, Role::Init | Role::Sidecar)
}

/// The phase, which never leaves a terminal one, and which becomes terminal only when no container can run any more.
fn next_phase<'a>(
    pod: &Pod,
    record: &'a PodRecord,
    statuses: &[ContainerStatus],
    circumstances: Circumstances,
) -> &'a str {
    if phase::is_terminal(&record.phase) {
        return &record.phase;
    }
    if !circumstances.at_rest {
        let next = phase::phase(pod, statuses, circumstances);
        return if phase::is_terminal(next) { &record.phase } else { next };
    }
    match (&record.verdict, phase::phase(pod, statuses, circumstances)) {
        (Some(verdict), _) => &verdict.phase,
        (None, phase::SUCCEEDED) => phase::SUCCEEDED,
        (None, _) => phase::FAILED,
    }
}

fn with_phase(pod: &Pod, record: &PodRecord, status: PodStatus) -> PodStatus {
    let spoken = record.verdict.as_ref().filter(|verdict| verdict.phase == record.phase);
    let (reason, message) = match spoken {
        Some(verdict) => (verdict.reason.clone(), verdict.message.clone()),
        None if status.phase.as_deref() == Some(&record.phase) => (status.reason, status.message),
        None => (None, None),
    };
    let qos_class = status.qos_class.unwrap_or_else(|| spec::qos_class(pod).to_owned());
    PodStatus { phase: Some(record.phase.clone()), reason, message, qos_class: Some(qos_class), ..status }
}

fn with_addresses(pod: &Pod, host: &Host, record: &PodRecord, status: PodStatus) -> PodStatus {
    let ips = if spec::is_host_network(pod) && record.ips.is_empty() { &host.ips } else { &record.ips };
    let host_ips: Vec<HostIP> = host.ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect();
    let pod_ips: Vec<PodIP> = ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect();
    PodStatus {
        host_ip: host.ips.first().cloned(),
        host_ips: (!host_ips.is_empty()).then_some(host_ips),
        pod_ip: ips.first().cloned(),
        pod_ips: (!pod_ips.is_empty()).then_some(pod_ips),
        ..status
    }
}

/// Statuses of all containers, in the order of the spec.
fn container_statuses(pod: &Pod, record: &PodRecord) -> Vec<ContainerStatus> {
    let has_inits = spec::containers(pod).any(|(role, _)| is_init(role));
    let nothing_yet = if has_inits { "PodInitializing" } else { "ContainerCreating" };
    let none = ContainerRecord::default();
    spec::containers(pod)
        .map(|(role, container)| {
            let known = record.containers.get(&container.name).unwrap_or(&none);
            container_status(role, container, known, record.ending.as_ref(), nothing_yet)
        })
        .collect()
}

fn container_status(
    role: Role,
    container: &Container,
    known: &ContainerRecord,
    ending: Option<&Ending>,
    nothing_yet: &str,
) -> ContainerStatus {
    let run = known.run.as_ref();
    let pending = !health::is_up(role, container, known) && ending.is_none();
    let (state, last) = states(known, ending, pending, nothing_yet);
    let succeeded = state.terminated.as_ref().is_some_and(|end| end.exit_code == 0);
    ContainerStatus {
        name: container.name.clone(),
        image: run.map_or_else(|| spec::image(container), |run| &run.image).to_owned(),
        image_id: run.map(|run| run.image_id.clone()).unwrap_or_default(),
        container_id: run.map(Run::url),
        restart_count: run.map_or(0, |run| run.attempt as i32),
        started: Some(health::has_started(role, container, known)),
        ready: match role {
            Role::Init => succeeded,
            Role::Sidecar | Role::Main => health::is_ready(role, container, known),
            Role::Ephemeral => false,
        },
        state: Some(state),
        last_state: last.map(terminated),
        resources: container.resources.clone().filter(|_| run.is_some()),
        allocated_resources: container
            .resources
            .as_ref()
            .filter(|_| run.is_some())
            .and_then(|r| r.requests.clone()),
        ..ContainerStatus::default()
    }
}

/// What a container does now, and how the run before that ended. A container that is going to be started again waits,
/// and so does one whose postStart hook is `pending`; in an ending Pod none is.
fn states(
    known: &ContainerRecord,
    ending: Option<&Ending>,
    pending: bool,
    nothing_yet: &str,
) -> (ContainerState, Option<ContainerStateTerminated>) {
    let why = known.waiting.as_ref().filter(|_| ending.is_none());
    match (known.run.as_ref().map(|run| &run.state), why) {
        (Some(RunState::Running { .. }), why) if pending => {
            let reason = why.map_or(nothing_yet, |why| &why.reason);
            (waiting(reason, why.map(|why| why.message.as_str())), known.previous.clone())
        }
        (Some(RunState::Running { started_at, .. }), _) => {
            let running = ContainerStateRunning { started_at: Some(time(*started_at)) };
            (ContainerState { running: Some(running), ..ContainerState::default() }, known.previous.clone())
        }
        (Some(RunState::Ended { how, .. }), None) => (terminated(how.clone()), known.previous.clone()),
        (Some(RunState::Ended { how, .. }), Some(why)) => {
            (waiting(&why.reason, Some(&why.message)), Some(how.clone()))
        }
        (None, Some(why)) => (waiting(&why.reason, Some(&why.message)), known.previous.clone()),
        (None, None) => (waiting(nothing_yet, None), known.previous.clone()),
    }
}

fn waiting(reason: &str, message: Option<&str>) -> ContainerState {
    let message = message.filter(|message| !message.is_empty()).map(str::to_owned);
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn terminated(how: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(how), ..ContainerState::default() }
}

fn is_waiting(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_none_or(|state| state.waiting.is_some())
}

fn has_begun(status: &ContainerStatus) -> bool {
    status.last_state.is_some() || !is_waiting(status)
}

/// In a terminal phase a container that was never run, or whose run is forgotten, counts as failed: main containers when
/// the Pod has been initialized, init containers up to the last one that was begun.
fn settle(pod: &Pod, statuses: &mut [ContainerStatus]) {
    let inits = spec::containers(pod).filter(|(role, _)| is_init(*role)).count();
    let (inits, mains) = statuses.split_at_mut(inits);
    let last_done = inits.last().is_none_or(|status| status.ready);
    if last_done || mains.iter().any(has_begun) {
        mains.iter_mut().for_each(give_up);
    }
    let begun = inits.iter().rposition(has_begun).unwrap_or(0);
    inits.iter_mut().take(begun + 1).for_each(give_up);
}

fn give_up(status: &mut ContainerStatus) {
    if is_waiting(status) {
        status.state = Some(terminated(unknown_end(None, None)));
        status.started = Some(false);
        status.ready = false;
    }
}

//! The Pod's conditions, as the kubelet's.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::identity::Identity;
use super::super::spec::{self, Role};
use super::phase;

/// The conditions this machine owns; all others are kept as they are found in the object.
const OWNED: [&str; 5] =
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// The condition of a Pod that runs under an identity: whether its containers may start. While some run, it stays as
/// it was.
const IDENTITY: &str = "leasehold.dev/IdentityHeld";

/// Whether a condition is this machine's own.
pub(crate) fn is_owned(condition: &PodCondition) -> bool {
    OWNED.contains(&condition.type_.as_str()) || condition.type_ == IDENTITY
}

/// What a condition says, without its times.
#[derive(Clone, Debug, Default, PartialEq)]
struct Verdict {
    holds: bool,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    const TRUE: Self = Self { holds: true, reason: None, message: None };

    fn not(reason: &'static str, message: Option<String>) -> Self {
        Self { holds: false, reason: Some(reason), message }
    }
}

/// What the conditions follow from.
pub(crate) struct Facts<'a> {
    pub(crate) pod: &'a Pod,
    /// Of init and main containers.
    pub(crate) statuses: &'a [ContainerStatus],
    pub(crate) phase: &'a str,
    /// The sandbox is there.
    pub(crate) sandbox: bool,
    /// Conditions of others, for readiness gates.
    pub(crate) foreign: &'a [PodCondition],
    pub(super) identity: &'a Identity,
}

/// The owned conditions in upstream's order. A condition keeps its transition time from `old` unless its status changes.
pub(crate) fn conditions(facts: &Facts<'_>, old: &[PodCondition], now: &Time) -> Vec<PodCondition> {
    let containers = containers_ready(facts);
    let sandbox = Verdict { holds: facts.sandbox, ..Verdict::default() };
    let verdicts = [sandbox, initialized(facts), ready(facts, &containers), containers, Verdict::TRUE];
    let generation = facts.pod.metadata.generation;
    let mut all: Vec<PodCondition> = OWNED
        .into_iter()
        .zip(verdicts)
        .map(|(kind, verdict)| condition(kind, verdict, generation, old, now))
        .collect();
    let runs =
        facts.statuses.iter().any(|status| status.state.as_ref().is_some_and(|it| it.running.is_some()));
    all.extend(match facts.identity {
        Identity::None => None,
        Identity::Withheld(_) if runs => old.iter().find(|condition| condition.type_ == IDENTITY).cloned(),
        Identity::Held => Some(condition(IDENTITY, Verdict::TRUE, generation, old, now)),
        Identity::Withheld(hold) => {
            let verdict = Verdict::not(hold.reason, Some(hold.message.clone()));
            Some(condition(IDENTITY, verdict, generation, old, now))
        }
    });
    all
}

fn condition(
    kind: &str,
    verdict: Verdict,
    generation: Option<i64>,
    old: &[PodCondition],
    now: &Time,
) -> PodCondition {
    let status = if verdict.holds { "True" } else { "False" };
    let before = old.iter().find(|before| before.type_ == kind && before.status == status);
    let since = before.and_then(|before| before.last_transition_time.clone()).unwrap_or_else(|| now.clone());
    PodCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: verdict.reason.map(str::to_owned),
        message: verdict.message,
        observed_generation: generation,
        last_probe_time: None,
        last_transition_time: Some(since),
    }
}

/// A list as Go prints it: `[a b]`.
fn list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

/// `containers with unknown status: […], containers with KIND status: […]`, none when both are empty.
fn complaint(unknown: &[&str], kind: &str, wanting: &[&str]) -> Option<String> {
    let part = |kind: &str, names: &[&str]| {
        (!names.is_empty()).then(|| format!("containers with {kind} status: {}", list(names)))
    };
    let parts: Vec<String> = [part("unknown", unknown), part(kind, wanting)].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Splits the containers of some roles into those without a status and those whose status does not `suffice`.
fn wanting<'a>(
    facts: &Facts<'a>,
    roles: &[Role],
    suffice: impl Fn(Role, &ContainerStatus) -> bool,
) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut unknown, mut wanting) = (Vec::new(), Vec::new());
    for (role, container) in spec::containers(facts.pod).filter(|(role, _)| roles.contains(role)) {
        match facts.statuses.iter().find(|status| status.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !suffice(role, status) => wanting.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    (unknown, wanting)
}

fn containers_ready(facts: &Facts<'_>) -> Verdict {
    let (unknown, unready) = wanting(facts, &[Role::Sidecar, Role::Main], |_, status| status.ready);
    match facts.phase {
        phase::SUCCEEDED if unknown.is_empty() => Verdict::not("PodCompleted", None),
        phase::FAILED => Verdict::not("PodFailed", None),
        _ => match complaint(&unknown, "unready", &unready) {
            Some(message) => Verdict::not("ContainersNotReady", Some(message)),
            None => Verdict::TRUE,
        },
    }
}

fn ready(facts: &Facts<'_>, containers: &Verdict) -> Verdict {
    if !containers.holds {
        return containers.clone();
    }
    let gates = facts.pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    let open: Vec<String> =
        gates.iter().filter_map(|gate| closed(&gate.condition_type, facts.foreign)).collect();
    if open.is_empty() {
        Verdict::TRUE
    } else {
        Verdict::not("ReadinessGatesNotReady", Some(open.join(", ")))
    }
}

/// Why a readiness gate is not passed.
fn closed(gate: &str, foreign: &[PodCondition]) -> Option<String> {
    match foreign.iter().find(|condition| condition.type_ == gate) {
        None => Some(format!("corresponding condition of pod readiness gate \"{gate}\" does not exist.")),
        Some(condition) if condition.status == "True" => None,
        Some(condition) => Some(format!(
            "the status of pod readiness gate \"{gate}\" is not \"True\", but {}",
            condition.status
        )),
    }
}

fn initialized(facts: &Facts<'_>) -> Verdict {
    let (unknown, incomplete) = wanting(facts, &[Role::Init, Role::Sidecar], |role, status| match role {
        Role::Sidecar => status.started.unwrap_or(false),
        Role::Init | Role::Main | Role::Ephemeral => status.ready,
    });
    if facts.phase == phase::SUCCEEDED && unknown.is_empty() {
        return Verdict { reason: Some("PodCompleted"), ..Verdict::TRUE };
    }
    if main_started(facts) {
        return Verdict::TRUE;
    }
    match complaint(&unknown, "incomplete", &incomplete) {
        Some(message) => Verdict::not("ContainersNotInitialized", Some(message)),
        None => Verdict::TRUE,
    }
}

fn main_started(facts: &Facts<'_>) -> bool {
    spec::containers(facts.pod).filter(|(role, _)| *role == Role::Main).any(|(_, container)| {
        let status = facts.statuses.iter().find(|status| status.name == container.name);
        let state = status.and_then(|status| status.state.as_ref());
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn status(name: &str, ready: bool, state: &Value) -> ContainerStatus {
        let started = state.get("running").is_some();
        serde_json::from_value(
            json!({"name": name, "ready": ready, "started": started, "state": state, "image": "",
            "imageID": "", "restartCount": 0}),
        )
        .expect("a status")
    }

    fn time(text: &str) -> Time {
        Time(text.parse().expect("a time"))
    }

    fn read<'a>(found: &'a [PodCondition], kind: &str) -> (&'a str, &'a str, &'a str) {
        let condition = found.iter().find(|condition| condition.type_ == kind).expect("owned");
        let text = |field: &'a Option<String>| field.as_deref().unwrap_or_default();
        (&condition.status, text(&condition.reason), text(&condition.message))
    }

    #[test]
    fn conditions_say_what_upstream_says() {
        let pod: Pod = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
            "containers": [{"name": "a"}, {"name": "b"}],
            "readinessGates": [{"conditionType": "x/gate"}]}}))
        .expect("a Pod");
        let wait = json!({"waiting": {"reason": "PodInitializing"}});
        let run = json!({"running": {}});
        let done = json!({"terminated": {"exitCode": 0}});
        let now = time("2026-01-01T00:00:00Z");
        let of = |statuses: &[ContainerStatus], phase: &str, foreign: &[PodCondition]| {
            let identity = &Identity::None;
            conditions(&Facts { pod: &pod, statuses, phase, sandbox: true, foreign, identity }, &[], &now)
        };

        let waiting = [
            status("i", false, &wait),
            status("s", false, &wait),
            status("a", false, &wait),
            status("b", false, &wait),
        ];
        let found = of(&waiting, phase::PENDING, &[]);
        let message = "containers with incomplete status: [i s]";
        assert_eq!(read(&found, "Initialized"), ("False", "ContainersNotInitialized", message));
        let message = "containers with unready status: [s a b]";
        assert_eq!(read(&found, "Ready"), ("False", "ContainersNotReady", message));
        assert_eq!(read(&found, "ContainersReady"), ("False", "ContainersNotReady", message));
        assert_eq!(read(&found, "PodScheduled"), ("True", "", ""));
        assert_eq!(read(&found, "PodReadyToStartContainers"), ("True", "", ""));
        let order: Vec<&str> = found.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(order, OWNED);

        let found = of(&waiting[..3], phase::PENDING, &[]);
        let message = "containers with unknown status: [b], containers with unready status: [s a]";
        assert_eq!(read(&found, "Ready"), ("False", "ContainersNotReady", message));

        let running = [
            status("i", true, &done),
            status("s", true, &run),
            status("a", true, &run),
            status("b", true, &run),
        ];
        let found = of(&running, phase::RUNNING, &[]);
        assert_eq!(read(&found, "Initialized"), ("True", "", ""));
        assert_eq!(read(&found, "ContainersReady"), ("True", "", ""));
        let message = "corresponding condition of pod readiness gate \"x/gate\" does not exist.";
        assert_eq!(read(&found, "Ready"), ("False", "ReadinessGatesNotReady", message));
        let gate = |status: &str| PodCondition {
            type_: "x/gate".into(),
            status: status.into(),
            ..PodCondition::default()
        };
        let found = of(&running, phase::RUNNING, &[gate("Unknown")]);
        let message = "the status of pod readiness gate \"x/gate\" is not \"True\", but Unknown";
        assert_eq!(read(&found, "Ready"), ("False", "ReadinessGatesNotReady", message));
        assert_eq!(read(&of(&running, phase::RUNNING, &[gate("True")]), "Ready"), ("True", "", ""));

        let found = of(&running, phase::SUCCEEDED, &[]);
        assert_eq!(read(&found, "Initialized"), ("True", "PodCompleted", ""));
        assert_eq!(read(&found, "Ready"), ("False", "PodCompleted", ""));
        assert_eq!(read(&of(&waiting, phase::FAILED, &[]), "Ready"), ("False", "PodFailed", ""));

        let restarting = [
            status("i", false, &wait),
            status("s", false, &wait),
            status("a", true, &run),
            status("b", false, &done),
        ];
        let found = of(&restarting, phase::RUNNING, &[]);
        assert_eq!(read(&found, "Initialized"), ("True", "", ""), "a main container has run");
    }

    #[test]
    fn a_transition_time_moves_only_with_the_status() {
        let pod: Pod =
            serde_json::from_value(json!({"spec": {"containers": [{"name": "a"}]}})).expect("a Pod");
        let run = [status("a", true, &json!({"running": {}}))];
        let wait = [status("a", false, &json!({"waiting": {"reason": "ContainerCreating"}}))];
        let done = [status("a", false, &json!({"terminated": {"exitCode": 0}}))];
        let step = |old: &[PodCondition], statuses: &[ContainerStatus], phase: &str, now: &str| {
            let identity = &Identity::None;
            let facts = Facts { pod: &pod, statuses, phase, sandbox: true, foreign: &[], identity };
            conditions(&facts, old, &time(now))
        };
        let since = |found: &[PodCondition]| {
            let ready = found.iter().find(|condition| condition.type_ == "Ready").expect("owned");
            ready.last_transition_time.clone().expect("always set")
        };
        let first = step(&[], &wait, phase::PENDING, "2026-01-01T00:00:00Z");
        let second = step(&first, &run, phase::RUNNING, "2026-01-01T00:01:00Z");
        let third = step(&second, &run, phase::RUNNING, "2026-01-01T00:02:00Z");
        let fourth = step(&third, &done, phase::RUNNING, "2026-01-01T00:03:00Z");
        let fifth = step(&fourth, &done, phase::SUCCEEDED, "2026-01-01T00:04:00Z");
        let minutes: Vec<i8> = [first, second, third, fourth, fifth]
            .iter()
            .map(|found| since(found).0.to_zoned(jiff::tz::TimeZone::UTC).minute())
            .collect();
        assert_eq!(minutes, [0, 1, 1, 3, 3], "a new reason alone is no transition");
    }
}

//! What the machine reads from a Pod's spec, with upstream's defaults where a field is absent.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, LifecycleHandler, Pod, PodSpec, Probe, ResourceRequirements,
};

use super::ephemeral;
use super::interface::{HookKind, PullPolicy};
use super::probe::ProbeKind;
use crate::api::quantity::Quantity;

/// 30 s, upstream's default of `terminationGracePeriodSeconds`.
const GRACE_DEFAULT_SECONDS: i64 = 30;
/// `SIGTERM`.
const SIGTERM: i32 = 15;
/// `SIGKILL`.
pub(super) const SIGKILL: i32 = 9;

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: runs beside the main containers.
    Sidecar,
    /// One of `spec.containers`.
    Main,
    /// One of `spec.ephemeralContainers`.
    Ephemeral,
}

/// Init containers and sidecars in order, then the main containers, then the ephemeral ones.
pub(super) fn containers(pod: &Pod) -> impl DoubleEndedIterator<Item = (Role, &Container)> {
    let spec = pod.spec.as_ref();
    let inits = spec.and_then(|spec| spec.init_containers.as_deref()).unwrap_or_default();
    let mains = spec.map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let main_role =
        |name: &str| if ephemeral::is_ephemeral(pod, name) { Role::Ephemeral } else { Role::Main };
    inits.iter().map(|c| (init_role(c), c)).chain(mains.iter().map(move |c| (main_role(&c.name), c)))
}

/// A container of this Pod by its name.
pub(super) fn container<'a>(pod: &'a Pod, name: &str) -> Option<(Role, &'a Container)> {
    containers(pod).find(|(_, container)| container.name == name)
}

fn init_role(container: &Container) -> Role {
    match container.restart_policy.as_deref() {
        Some("Always") => Role::Sidecar,
        _ => Role::Init,
    }
}

/// `involvedObject.fieldPath` of a container.
pub(super) fn field_path(role: Role, name: &str) -> String {
    match role {
        Role::Main => format!("spec.containers{{{name}}}"),
        Role::Ephemeral => format!("spec.ephemeralContainers{{{name}}}"),
        Role::Init | Role::Sidecar => format!("spec.initContainers{{{name}}}"),
    }
}

/// Whether a run that ended with this code is followed by another: rules first, then the container's own policy, then
/// the Pod's. An init container that succeeded is done whatever the policy.
pub(super) fn restarts(pod: &Pod, role: Role, container: &Container, exit_code: i32) -> bool {
    let policy = container.restart_policy.as_deref();
    let by_rule = policy.is_some()
        && container.restart_policy_rules.iter().flatten().any(|rule| rule_matches(rule, exit_code));
    let pods = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    let by_policy = match policy.or(pods) {
        Some("Never") => false,
        Some("OnFailure") => exit_code != 0,
        _ => true,
    };
    match role {
        Role::Sidecar => true,
        Role::Init => exit_code != 0 && (by_rule || by_policy),
        Role::Main => by_rule || by_policy,
        Role::Ephemeral => false,
    }
}

fn rule_matches(rule: &ContainerRestartRule, exit_code: i32) -> bool {
    let Some(codes) = &rule.exit_codes else { return false };
    let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
    let holds = match codes.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    };
    holds && rule.action == "Restart"
}

/// The container's image reference, empty where none is given.
pub(super) fn image(container: &Container) -> &str {
    container.image.as_deref().unwrap_or_default()
}

/// `imagePullPolicy`; absent, it is `Always` for the tag `latest` and `IfNotPresent` otherwise.
pub(super) fn pull_policy(container: &Container) -> PullPolicy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => PullPolicy::Always,
        Some("Never") => PullPolicy::Never,
        Some("IfNotPresent") => PullPolicy::IfNotPresent,
        _ if is_latest(image(container)) => PullPolicy::Always,
        _ => PullPolicy::IfNotPresent,
    }
}

fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// Time from the stop signal to `SIGKILL`: of the deletion where there is one, of the spec otherwise.
pub(super) fn grace(pod: &Pod) -> Duration {
    let deletion = pod.metadata.deletion_grace_period_seconds;
    let spec = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let seconds = deletion.or(spec).unwrap_or(GRACE_DEFAULT_SECONDS);
    Duration::from_secs(seconds.try_into().unwrap_or(0))
}

/// Whether a container that was found ill is followed by another run, whatever it ends with.
pub(super) fn restarts_ill(pod: &Pod, role: Role, container: &Container) -> bool {
    let pods = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    role == Role::Sidecar || container.restart_policy.as_deref().or(pods) != Some("Never")
}

/// A probe of a container. What runs to its end is not probed.
pub(super) fn probe(role: Role, container: &Container, kind: ProbeKind) -> Option<&Probe> {
    if role == Role::Init {
        return None;
    }
    match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
    }
}

/// A hook of a container. What runs to its end has none.
pub(super) fn hook(role: Role, container: &Container, hook: HookKind) -> Option<&LifecycleHandler> {
    let lifecycle = container.lifecycle.as_ref().filter(|_| role != Role::Init)?;
    match hook {
        HookKind::PostStart => lifecycle.post_start.as_ref(),
        HookKind::PreStop => lifecycle.pre_stop.as_ref(),
    }
}

/// Time from the stop signal to `SIGKILL` for a container that a probe has condemned: the Pod's, unless the probe has
/// one of its own.
pub(super) fn grace_after(pod: &Pod, probe: Option<&Probe>) -> Duration {
    let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
    match own.filter(|_| pod.metadata.deletion_grace_period_seconds.is_none()) {
        Some(seconds) => Duration::from_secs(seconds.try_into().unwrap_or(0)),
        None => grace(pod),
    }
}

/// `activeDeadlineSeconds`.
pub(super) fn active_deadline(pod: &Pod) -> Option<Duration> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    Some(Duration::from_secs(seconds.try_into().unwrap_or(0)))
}

/// Whether the Pod is being deleted.
pub(super) fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether the Pod lives in the node's network namespace.
pub(super) fn is_host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false)
}

/// The signal that asks a container to stop: the spec's `lifecycle.stopSignal`, else the image's, else `SIGTERM`.
pub(super) fn stop_signal(container: Option<&Container>, image: Option<&str>) -> i32 {
    let spec = container.and_then(|c| c.lifecycle.as_ref()).and_then(|l| l.stop_signal.as_deref());
    spec.or(image).and_then(signal_number).unwrap_or(SIGTERM)
}

/// Linux signals by name, as in signal(7) for x86 and arm; the gaps have no name.
const SIGNALS: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// First and last real-time signal as glibc has them.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// A signal by number (`3`), name (`SIGQUIT`, `QUIT`) or real-time offset (`SIGRTMIN+3`, `SIGRTMAX-1`).
fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |rest: &str, sign| match rest {
        "" => Some(0),
        _ => rest.strip_prefix(sign)?.parse::<i32>().ok(),
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Some(RTMIN + offset(rest, '+')?).filter(|number| *number <= RTMAX);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return Some(RTMAX - offset(rest, '-')?).filter(|number| *number >= RTMIN);
    }
    SIGNALS.iter().position(|known| !known.is_empty() && *known == name).map(|number| number as i32)
}

/// `status.qosClass`, from the Pod's own resources where it has any, else from its containers'.
pub(super) fn qos_class(pod: &Pod) -> &'static str {
    if let Some(own) = pod.spec.as_ref().and_then(own_resources) {
        return class_of(Some(own));
    }
    let lasting = containers(pod).filter(|(role, _)| *role != Role::Ephemeral);
    let mut classes = lasting.map(|(_, container)| class_of(container.resources.as_ref()));
    let first = classes.next().unwrap_or("BestEffort");
    if classes.all(|class| class == first) { first } else { "Burstable" }
}

fn own_resources(spec: &PodSpec) -> Option<&ResourceRequirements> {
    spec.resources.as_ref().filter(|own| own.requests.is_some() || own.limits.is_some())
}

fn class_of(resources: Option<&ResourceRequirements>) -> &'static str {
    let amount = |limit: bool, name: &str| {
        let resources = resources?;
        let list = if limit { &resources.limits } else { &resources.requests };
        Quantity::parse(&list.as_ref()?.get(name)?.0).ok().filter(|amount| !amount.is_zero())
    };
    let pairs = ["cpu", "memory"].map(|name| (amount(false, name), amount(true, name)));
    if pairs.iter().all(|(request, limit)| request.is_none() && limit.is_none()) {
        return "BestEffort";
    }
    let guaranteed = |(request, limit): &(Option<Quantity>, Option<Quantity>)| {
        limit.is_some_and(|limit| request.is_none_or(|request| request == limit))
    };
    if pairs.iter().all(guaranteed) { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(spec: &Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a Pod")
    }

    fn one(container: &Value, policy: &str) -> (Pod, Container) {
        let pod = pod(&json!({"restartPolicy": policy, "containers": [container]}));
        let container = containers(&pod).next().expect("one").1.clone();
        (pod, container)
    }

    #[test]
    fn restart_policies_and_rules_decide_as_upstream() {
        let plain = json!({"name": "c"});
        let own = json!({"name": "c", "restartPolicy": "Never"});
        let rule = json!({"name": "c", "restartPolicy": "Never", "restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]});
        let not_in = json!({"name": "c", "restartPolicy": "Never", "restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [42]}}]});
        #[rustfmt::skip]
        let cases = [
            (&plain, "Always", Role::Main, 0, true), (&plain, "Always", Role::Main, 1, true),
            (&plain, "OnFailure", Role::Main, 0, false), (&plain, "OnFailure", Role::Main, 1, true),
            (&plain, "Never", Role::Main, 1, false), (&plain, "Never", Role::Sidecar, 0, true),
            (&plain, "Always", Role::Init, 0, false), (&plain, "Always", Role::Init, 1, true),
            (&plain, "Never", Role::Init, 1, false),
            (&own, "Always", Role::Main, 1, false),
            (&rule, "Always", Role::Main, 42, true), (&rule, "Always", Role::Main, 1, false),
            (&not_in, "Always", Role::Main, 42, false), (&not_in, "Always", Role::Main, 1, true),
        ];
        for (container, policy, role, code, expected) in cases {
            let (pod, read) = one(container, policy);
            assert_eq!(restarts(&pod, role, &read, code), expected, "{container} {policy} {role:?} {code}");
        }
    }

    #[test]
    fn signals_are_read_by_number_name_and_offset() {
        let cases = [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMIN", Some(34)),
            ("RTMAX-1", Some(63)),
            ("SIGRTMAX", Some(64)),
            ("0", None),
            ("65", None),
            ("SIG", None),
            ("", None),
            ("SIGRTMIN+99", None),
            ("SIGRTMIN3", None),
            ("SIGWINCH", Some(28)),
            ("SIGSYS", Some(31)),
        ];
        for (text, number) in cases {
            assert_eq!(signal_number(text), number, "{text}");
        }
        let (_, with) = one(&json!({"name": "c", "lifecycle": {"stopSignal": "SIGUSR1"}}), "Always");
        assert_eq!(stop_signal(Some(&with), Some("SIGQUIT")), 10);
        assert_eq!(stop_signal(None, Some("SIGQUIT")), 3);
        assert_eq!(stop_signal(None, Some("nonsense")), 15);
    }

    #[test]
    fn the_tag_latest_is_asked_for_each_time() {
        let cases = [
            ("nginx", PullPolicy::Always),
            ("nginx:latest", PullPolicy::Always),
            ("nginx:1", PullPolicy::IfNotPresent),
            ("reg:5000/nginx", PullPolicy::Always),
            ("reg:5000/nginx:2", PullPolicy::IfNotPresent),
            ("nginx@sha256:0123", PullPolicy::IfNotPresent),
        ];
        for (image, policy) in cases {
            let (_, container) = one(&json!({"name": "c", "image": image}), "Always");
            assert_eq!(pull_policy(&container), policy, "{image}");
        }
    }

    #[test]
    fn quality_of_service_follows_cpu_and_memory() {
        let full = json!({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1000m", "memory": "1024Mi"}});
        let limits = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let cpu = json!({"limits": {"cpu": "1"}});
        let other = json!({"limits": {"ephemeral-storage": "1Gi"}, "requests": {"cpu": "0"}});
        let cases = [
            (vec![full.clone()], "Guaranteed"),
            (vec![limits], "Guaranteed"),
            (vec![cpu], "Burstable"),
            (vec![json!({})], "BestEffort"),
            (vec![other], "BestEffort"),
            (vec![full.clone(), json!({})], "Burstable"),
            (vec![full.clone(), full], "Guaranteed"),
        ];
        for (resources, class) in cases {
            let list: Vec<Value> = resources.iter().map(|r| json!({"name": "c", "resources": r})).collect();
            assert_eq!(qos_class(&pod(&json!({"containers": list}))), class, "{resources:?}");
        }
    }
}

//! Performing one probe of a container.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, Probe};

use super::http::{Get, Place, Purpose, connect_to, port_number};
use super::{Hands, container, grpc, sandbox, uid};
use crate::agent::expansion::expand;
use crate::agent::pod::{ContainerRef, ProbeKind, ProbeOutcome, container_id};
use crate::driver::agent::execs::{Captured, Uncaptured, capture};

/// A probe that cannot be made is tried so many times at once, as the kubelet does.
const TRIES: usize = 3;

/// Probes once; again only if it cannot be told how the container is.
pub(super) async fn probe(
    hands: &Arc<Hands>,
    pod: &Arc<Pod>,
    run: &ContainerRef,
    kind: ProbeKind,
    ips: &[String],
) -> ProbeOutcome {
    let Some(container) = container(pod, &run.name) else {
        return ProbeOutcome::Unknown("the Pod has no such container".to_owned());
    };
    let probe = match kind {
        ProbeKind::Startup => &container.startup_probe,
        ProbeKind::Readiness => &container.readiness_probe,
        ProbeKind::Liveness => &container.liveness_probe,
    };
    let Some(probe) = probe else { return ProbeOutcome::Success };
    let mut outcome = once(hands, pod, run, container, probe, ips).await;
    for _ in 1..TRIES {
        if !matches!(outcome, ProbeOutcome::Unknown(_)) {
            break;
        }
        outcome = once(hands, pod, run, container, probe, ips).await;
    }
    outcome
}

async fn once(
    hands: &Arc<Hands>,
    pod: &Arc<Pod>,
    run: &ContainerRef,
    container: &Container,
    probe: &Probe,
    ips: &[String],
) -> ProbeOutcome {
    let timeout = probe.timeout_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let timeout = Duration::from_secs(timeout.filter(|seconds| *seconds > 0).unwrap_or(1));
    if let Some(exec) = &probe.exec {
        let command = static_command(exec.command.as_deref().unwrap_or_default(), container);
        let id = container_id(uid(pod), &run.name, run.attempt);
        return by_exec(hands, &id, command, timeout).await;
    }
    let place = match place(hands, pod, ips).await {
        Ok(place) => place,
        Err(why) => return ProbeOutcome::Unknown(why),
    };
    if let Some(action) = &probe.http_get {
        return match Get::new(action, container, &place, Purpose::Probe) {
            Ok(get) => by_http(&get, timeout).await,
            Err(why) => ProbeOutcome::Unknown(why),
        };
    }
    if let Some(action) = &probe.tcp_socket {
        let port = match port_number(&action.port, container) {
            Ok(port) => port,
            Err(why) => return ProbeOutcome::Unknown(why),
        };
        let own = action.host.as_deref().filter(|host| !host.is_empty());
        let namespace = place.namespace.as_deref().filter(|_| own.is_none());
        return match connect_to(namespace, own.unwrap_or(&place.ip), port, Some(timeout)).await {
            Ok(_) => ProbeOutcome::Success,
            Err(why) => ProbeOutcome::Failure(why),
        };
    }
    if let Some(action) = &probe.grpc {
        return match u16::try_from(action.port) {
            Ok(port) => {
                grpc::check(&place, port, action.service.as_deref().unwrap_or_default(), timeout).await
            }
            Err(_) => ProbeOutcome::Unknown(format!("invalid port number: {}", action.port)),
        };
    }
    ProbeOutcome::Unknown(format!("missing probe handler for {}", run.name))
}

/// Where the Pod is reached. Probes connect from within its own network, so that nothing that stands between Pods and
/// nodes has a part in how a container seems.
pub(super) async fn place(hands: &Arc<Hands>, pod: &Arc<Pod>, ips: &[String]) -> Result<Place, String> {
    let sandbox = sandbox(hands, pod).await.map_err(|error| error.to_string())?;
    let ip = ips.first().or(sandbox.ips.first()).cloned().ok_or("the Pod has no address")?;
    Ok(Place { namespace: sandbox.namespaces.net.clone(), ip })
}

/// `$(VAR)` by those of the container's variables whose values stand in the spec.
fn static_command(command: &[String], container: &Container) -> Vec<String> {
    let variables = container.env.iter().flatten();
    let values: BTreeMap<String, String> =
        variables.filter_map(|variable| Some((variable.name.clone(), variable.value.clone()?))).collect();
    command.iter().map(|word| expand(word, &values)).collect()
}

async fn by_exec(hands: &Arc<Hands>, id: &str, command: Vec<String>, timeout: Duration) -> ProbeOutcome {
    let line = command.join(" ");
    match capture(hands, id, command, Some(timeout)).await {
        Ok(Captured { code: 0, .. }) => ProbeOutcome::Success,
        Ok(Captured { output, .. }) => ProbeOutcome::Failure(output),
        Err(Uncaptured::TimedOut) => ProbeOutcome::Failure(format!(
            "command timed out: {line:?} timed out after {}s",
            timeout.as_secs()
        )),
        Err(Uncaptured::Failed(why)) => ProbeOutcome::Unknown(why),
    }
}

async fn by_http(get: &Get, timeout: Duration) -> ProbeOutcome {
    match get.perform(Some(timeout)).await {
        Ok(answer) if answer.status.is_success() => ProbeOutcome::Success,
        Ok(answer) if answer.status.is_redirection() => {
            ProbeOutcome::Warning(format!("Probe terminated redirects, Response body: {}", answer.body))
        }
        Ok(answer) => {
            ProbeOutcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status.as_u16()))
        }
        Err(why) => ProbeOutcome::Failure(why),
    }
}

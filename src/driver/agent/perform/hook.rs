//! Performing a hook of a container.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Pod};

use super::http::{Get, Purpose, is_plain_answer};
use super::probe::place;
use super::{Hands, container, namespace, uid};
use crate::agent::pod::{ContainerRef, HookKind, container_id};
use crate::driver::agent::execs::{Captured, Uncaptured, capture};

/// Runs a hook to its end. The failure is in upstream's words, for the container's status.
pub(super) async fn run(
    hands: &Arc<Hands>,
    pod: &Arc<Pod>,
    run: &ContainerRef,
    hook: HookKind,
    ips: &[String],
) -> Option<String> {
    let container = container(pod, &run.name)?;
    let lifecycle = container.lifecycle.as_ref()?;
    let handler = match hook {
        HookKind::PostStart => lifecycle.post_start.as_ref()?,
        HookKind::PreStop => lifecycle.pre_stop.as_ref()?,
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let whom = format!("Container {:?} in Pod \"{name}_{}({})\"", run.name, namespace(pod), uid(pod));
    let (what, failure) = if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let what = format!("Exec lifecycle hook ([{}])", command.join(" "));
        let id = container_id(uid(pod), &run.name, run.attempt);
        (what, by_exec(hands, &id, command).await)
    } else if let Some(action) = &handler.http_get {
        let what = format!("HTTP lifecycle hook ({})", action.path.as_deref().unwrap_or_default());
        (what, by_http(hands, pod, container, action, ips).await)
    } else if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.try_into().unwrap_or(0))).await;
        return None;
    } else {
        // The API has tcpSocket for old manifests' sake, and says that it fails.
        (
            "Cannot run handler:".to_owned(),
            Some("invalid handler: a hook needs exec, httpGet or sleep".to_owned()),
        )
    };
    let failure = failure?;
    tracing::warn!(pod = name, container = run.name, ?hook, failure, "a hook failed");
    Some(format!("{what} for {whom} failed - error: {failure}"))
}

async fn by_exec(hands: &Arc<Hands>, id: &str, command: Vec<String>) -> Option<String> {
    let line = command.join(" ");
    match capture(hands, id, command, None).await {
        Ok(Captured { code: 0, .. }) => None,
        Ok(Captured { code, output }) => {
            Some(format!("command '{line}' exited with {code}: {output}, message: {output:?}"))
        }
        Err(Uncaptured::Failed(why)) => Some(format!("{why}, message: \"\"")),
        Err(Uncaptured::TimedOut) => Some(format!("command {line:?} timed out, message: \"\"")),
    }
}

/// Any answer will do. A server that speaks no TLS is asked in plain text.
async fn by_http(
    hands: &Arc<Hands>,
    pod: &Arc<Pod>,
    container: &Container,
    action: &HTTPGetAction,
    ips: &[String],
) -> Option<String> {
    let place = match place(hands, pod, ips).await {
        Ok(place) => place,
        Err(why) => return Some(why),
    };
    let get = match Get::new(action, container, &place, Purpose::Hook) {
        Ok(get) => get,
        Err(why) => return Some(why),
    };
    match get.perform(None).await {
        Ok(_) => None,
        Err(why) if is_plain_answer(&why) => {
            let authority = get.authority();
            tracing::warn!(authority, "a hook by HTTPS got an answer in plain text, and is made by HTTP");
            get.in_plain_text().perform(None).await.err()
        }
        Err(why) => Some(why),
    }
}

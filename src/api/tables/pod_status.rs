//! What a Pod's READY, STATUS and RESTARTS say: one word out of the states of all containers.

use serde_json::Value;

use super::{items, number, or, since, text};
use crate::time::WallTime;

/// A Pod at a glance.
#[derive(Debug)]
pub(super) struct Summary {
    /// Containers that are ready, sidecars among them.
    pub(super) ready: usize,
    /// Containers there should be, sidecars among them.
    pub(super) containers: usize,
    /// E.g. `Running`, `Init:0/1`, `CrashLoopBackOff`, `Terminating`.
    pub(super) status: String,
    restarts: i64,
    /// When the last run ended before one that came after it.
    last_restart: String,
}

impl Summary {
    /// Looks at all containers of a Pod.
    pub(super) fn of(pod: &Value) -> Self {
        let sidecars =
            items(pod, "/spec/initContainers").iter().filter(|it| it["restartPolicy"] == "Always").count();
        let mut summary = Self {
            ready: 0,
            containers: items(pod, "/spec/containers").len() + sidecars,
            status: first_word(pod),
            restarts: 0,
            last_restart: String::new(),
        };
        let initializing = summary.look_at_init_containers(pod);
        if !initializing || is_true(pod, "Initialized") {
            summary.look_at_containers(pod);
        }
        if let Some(word) = word_of_the_end(pod) {
            summary.status = word.into();
        }
        summary
    }

    /// `3 (5m ago)`, or the number alone when nobody knows since when.
    pub(super) fn restarts(&self, now: WallTime) -> String {
        if self.restarts == 0 || self.last_restart.is_empty() {
            return self.restarts.to_string();
        }
        format!("{} ({} ago)", self.restarts, since(&self.last_restart, now))
    }

    fn count_restarts(&mut self, container: &Value) {
        self.restarts += number(container, "/restartCount");
        let ended = text(container, "/lastState/terminated/finishedAt");
        if WallTime::parse(ended) > WallTime::parse(&self.last_restart) {
            ended.clone_into(&mut self.last_restart);
        }
    }

    /// Whether one of them is still to finish; the first such gives its word.
    fn look_at_init_containers(&mut self, pod: &Value) -> bool {
        let statuses = items(pod, "/status/initContainerStatuses");
        for (done, container) in statuses.iter().enumerate() {
            self.count_restarts(container);
            if exit_code(container) == Some(0) {
                continue;
            }
            if is_sidecar(pod, container) && container["started"] == true {
                self.ready += usize::from(container["ready"] == true);
                continue;
            }
            let waiting = text(container, "/state/waiting/reason");
            let word = match end(container) {
                Some(word) => word,
                None if !matches!(waiting, "" | "PodInitializing") => waiting.into(),
                None => format!("{done}/{}", items(pod, "/spec/initContainers").len()),
            };
            self.status = format!("Init:{word}");
            return true;
        }
        false
    }

    /// Once the main containers count, restarts are theirs and the sidecars'.
    fn look_at_containers(&mut self, pod: &Value) {
        (self.restarts, self.last_restart) = (0, String::new());
        for container in items(pod, "/status/initContainerStatuses").iter().filter(|it| is_sidecar(pod, it)) {
            self.count_restarts(container);
        }
        let mut runs = false;
        for container in items(pod, "/status/containerStatuses").iter().rev() {
            self.count_restarts(container);
            let waiting = text(container, "/state/waiting/reason");
            if !waiting.is_empty() {
                self.status = waiting.into();
            } else if let Some(word) = end(container) {
                self.status = word;
            } else if container["ready"] == true && container.pointer("/state/running").is_some() {
                runs = true;
                self.ready += 1;
            }
        }
        if self.status == "Completed" && runs {
            self.status = if is_true(pod, "Ready") { "Running" } else { "NotReady" }.into();
        }
    }
}

/// Whether a condition of the Pod holds.
pub(super) fn is_true(pod: &Value, condition: &str) -> bool {
    items(pod, "/status/conditions")
        .iter()
        .find(|it| it["type"] == condition)
        .is_some_and(|it| it["status"] == "True")
}

/// Before any container is looked at: the Pod's own reason, else its phase.
fn first_word(pod: &Value) -> String {
    let gated = items(pod, "/status/conditions")
        .iter()
        .any(|it| it["type"] == "PodScheduled" && it["reason"] == "SchedulingGated");
    if gated {
        return "SchedulingGated".into();
    }
    or(text(pod, "/status/reason"), text(pod, "/status/phase")).into()
}

/// What counts over all containers once the Pod is being deleted.
fn word_of_the_end(pod: &Value) -> Option<&'static str> {
    pod.pointer("/metadata/deletionTimestamp").filter(|it| !it.is_null())?;
    if text(pod, "/status/reason") == "NodeLost" {
        return Some("Unknown");
    }
    (!matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")).then_some("Terminating")
}

fn is_sidecar(pod: &Value, status: &Value) -> bool {
    let spec = items(pod, "/spec/initContainers").iter().find(|it| it["name"] == status["name"]);
    spec.is_some_and(|it| it["restartPolicy"] == "Always")
}

fn exit_code(container: &Value) -> Option<i64> {
    container.pointer("/state/terminated").filter(|it| !it.is_null()).map(|it| number(it, "/exitCode"))
}

/// How a container ended, if it did: its reason, else its signal, else its exit code.
fn end(container: &Value) -> Option<String> {
    let code = exit_code(container)?;
    let reason = text(container, "/state/terminated/reason");
    let signal = number(container, "/state/terminated/signal");
    Some(match (reason, signal) {
        ("", 0) => format!("ExitCode:{code}"),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.into(),
    })
}

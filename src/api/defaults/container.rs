//! Containers, their environment, ports, probes and hooks.

use serde_json::{Map, Value};

use super::{field, field_or_new, fill, fill_zero, items};
use crate::api::image;

/// Where a container leaves its last words.
const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";

/// Defaults of one container of any list.
pub(super) fn container(container: &mut Map<String, Value>) {
    let reference = container.get("image").and_then(Value::as_str).unwrap_or_default();
    fill(container, "imagePullPolicy", pull_policy(reference));
    fill(container, "terminationMessagePath", TERMINATION_MESSAGE_PATH);
    fill(container, "terminationMessagePolicy", "File");
    fill(container, "resources", Map::new());
    items(container, "ports").for_each(|port| fill(port, "protocol", "TCP"));
    items(container, "env").filter_map(|variable| field(variable, "valueFrom")).for_each(source);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        field(container, name).into_iter().for_each(probe);
    }
    if let Some(lifecycle) = field(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            field(lifecycle, name).into_iter().for_each(http_get);
        }
    }
}

/// `Always` for what may move under its tag, else `IfNotPresent`.
pub(super) fn pull_policy(reference: &str) -> &'static str {
    if image::tag(reference) == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// A `fieldRef` or `resourceFieldRef`, of a variable or of a file of the downward API.
pub(super) fn source(source: &mut Map<String, Value>) {
    if let Some(reference) = field(source, "fieldRef") {
        fill(reference, "apiVersion", "v1");
    }
    if let Some(reference) = field(source, "resourceFieldRef") {
        fill(reference, "divisor", "0");
    }
    if let Some(reference) = field(source, "fileKeyRef") {
        fill(reference, "optional", false);
    }
}

fn probe(probe: &mut Map<String, Value>) {
    for (name, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        fill_zero(probe, name, value);
    }
    if let Some(grpc) = field(probe, "grpc") {
        fill(grpc, "service", "");
    }
    http_get(probe);
}

fn http_get(handler: &mut Map<String, Value>) {
    if let Some(action) = field(handler, "httpGet") {
        fill(action, "path", "/");
        fill(action, "scheme", "HTTP");
    }
}

/// Requests that are missing are those of the limits (Pods only, not templates).
pub(super) fn requests_from_limits(container: &mut Map<String, Value>) {
    let Some(resources) = field_or_new(container, "resources") else { return };
    let limits = field(resources, "limits").cloned().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    if let Some(requests) = field_or_new(resources, "requests") {
        limits.into_iter().for_each(|(name, quantity)| fill(requests, &name, quantity));
    }
}

/// In the host's network every port is a port of the host.
pub(super) fn host_ports(container: &mut Map<String, Value>) {
    for port in items(container, "ports") {
        if let Some(number) = port.get("containerPort").cloned() {
            fill_zero(port, "hostPort", number);
        }
    }
}

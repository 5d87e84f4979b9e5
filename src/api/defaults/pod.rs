//! Pod: the defaults of its spec, and what upstream's admission adds to Pods (never to templates).

use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::container::{host_ports, requests_from_limits};
use super::pod_level::pod_level_resources;
use super::pod_spec::pod_spec;
use super::{field, field_or_new, fill, items, spell};
use crate::api::pod_resources::qos_class;

/// Seconds for which a Pod stays on a node that is not ready or not reachable, unless it says otherwise.
const UNREADY_SECONDS: i64 = 300;
/// Taints of nodes that are down.
const DOWN_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// Defaults of a Pod.
pub fn pod(object: &mut Value) {
    spell("", "Pod", object);
    let Some(root) = object.as_object_mut() else { return };
    if let Some(spec) = field(root, "spec") {
        containers(spec);
        pod_level_resources(spec);
        fill(spec, "enableServiceLinks", true);
        admit(spec);
        pod_spec(spec);
    }
    mirror_ip(root);
    begin(object);
}

fn containers(spec: &mut Map<String, Value>) {
    let host_network = spec.get("hostNetwork").is_some_and(|it| *it == true);
    for list in ["initContainers", "containers"] {
        for container in items(spec, list) {
            requests_from_limits(container);
            if host_network {
                host_ports(container);
            }
        }
    }
}

fn admit(spec: &mut Map<String, Value>) {
    fill(spec, "serviceAccountName", spec.get("serviceAccount").cloned().unwrap_or_else(|| "default".into()));
    for taint in DOWN_TAINTS {
        if !tolerates(spec, taint) {
            let toleration = json!({
                "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": UNREADY_SECONDS,
            });
            fill(spec, "tolerations", Vec::<Value>::new());
            spec.get_mut("tolerations")
                .and_then(Value::as_array_mut)
                .into_iter()
                .for_each(|it| it.push(toleration.clone()));
        }
    }
}

/// Whether any toleration speaks of this taint's eviction, whatever it says.
fn tolerates(spec: &mut Map<String, Value>, taint: &str) -> bool {
    let says = |toleration: &Map<String, Value>, field: &str, wanted: &str| {
        toleration.get(field).and_then(Value::as_str).is_none_or(|it| it.is_empty() || it == wanted)
    };
    items(spec, "tolerations").any(|it| says(it, "key", taint) && says(it, "effect", "NoExecute"))
}

/// A new Pod is pending, and of the class that its requests and limits make it.
fn begin(object: &mut Value) {
    let has_class = object.pointer("/status/qosClass").is_some();
    let typed = if has_class { None } else { Pod::deserialize(&*object).ok() };
    let Some(status) = object.as_object_mut().and_then(|root| field_or_new(root, "status")) else { return };
    fill(status, "phase", "Pending");
    if let Some(pod) = typed {
        fill(status, "qosClass", qos_class(&pod).name());
    }
}

fn mirror_ip(root: &mut Map<String, Value>) {
    let Some(status) = field(root, "status") else { return };
    // The old and the new field of one fact: the first of the list is the single one.
    if let Some(ip) = status.get("podIP").filter(|ip| **ip != "").cloned()
        && status.get("podIPs").and_then(|ips| ips.get(0)).is_none_or(|first| first["ip"] != ip)
    {
        status.insert("podIPs".into(), json!([{ "ip": ip }]));
    }
    if let Some(ip) =
        status.get("podIPs").and_then(|ips| ips.get(0)).and_then(|first| first.get("ip")).cloned()
    {
        fill(status, "podIP", ip);
    }
}

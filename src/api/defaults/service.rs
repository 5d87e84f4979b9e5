//! Services and what stands behind them.

use serde_json::{Map, Value, json};

use super::{field, field_or_new, fill, items, spell};

/// Three hours, for a client that is to meet the same Pod again.
const AFFINITY_SECONDS: i64 = 10_800;

/// Service. What its addresses are is decided when it is written.
pub fn service(object: &mut Value) {
    spell("", "Service", object);
    let Some(root) = object.as_object_mut() else { return };
    if let Some(status) = field_or_new(root, "status") {
        fill(status, "loadBalancer", Map::new());
    }
    let Some(spec) = field_or_new(root, "spec") else { return };
    fill(spec, "sessionAffinity", "None");
    fill(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "None" {
        spec.remove("sessionAffinityConfig");
    }
    if spec["sessionAffinity"] == "ClientIP"
        && let Some(client) =
            field_or_new(spec, "sessionAffinityConfig").and_then(|it| field_or_new(it, "clientIP"))
    {
        fill(client, "timeoutSeconds", AFFINITY_SECONDS);
    }
    items(spec, "ports").for_each(port);
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if matches!(&*kind, "NodePort" | "LoadBalancer") {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(&*kind, "ClusterIP" | "NodePort" | "LoadBalancer") {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn port(port: &mut Map<String, Value>) {
    fill(port, "protocol", "TCP");
    let target = port.get("targetPort").cloned().unwrap_or_default();
    if target.is_null() || target == 0 || target == "" {
        let own = port.get("port").cloned().unwrap_or(json!(0));
        port.insert("targetPort".into(), own);
    }
}

/// Endpoints: ports are of TCP.
pub fn endpoints(object: &mut Value) {
    spell("", "Endpoints", object);
    let Some(root) = object.as_object_mut() else { return };
    for subset in items(root, "subsets") {
        items(subset, "ports").for_each(|port| fill(port, "protocol", "TCP"));
    }
}

/// `EndpointSlice`: ports are of TCP and have a name, if an empty one.
pub fn endpoint_slice(object: &mut Value) {
    spell("discovery.k8s.io", "EndpointSlice", object);
    let Some(root) = object.as_object_mut() else { return };
    fill(root, "endpoints", Vec::<Value>::new());
    for port in items(root, "ports") {
        fill(port, "name", "");
        fill(port, "protocol", "TCP");
    }
}

/// `NetworkPolicy`: it is about what comes in, and about what goes out where it says so.
pub fn network_policy(object: &mut Value) {
    spell("networking.k8s.io", "NetworkPolicy", object);
    let Some(spec) = object.as_object_mut().and_then(|root| field(root, "spec")) else { return };
    fill(spec, "podSelector", Map::new());
    let is_empty = spec.get("policyTypes").is_none_or(|it| it.as_array().is_some_and(Vec::is_empty));
    if is_empty {
        let goes_out = spec.get("egress").and_then(Value::as_array).is_some_and(|it| !it.is_empty());
        let types = if goes_out { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".into(), types);
    }
    for rules in ["ingress", "egress"] {
        for rule in items(spec, rules) {
            items(rule, "ports").for_each(|port| fill(port, "protocol", "TCP"));
        }
    }
}

/// Ingress: the status that upstream always writes.
pub fn ingress(object: &mut Value) {
    spell("networking.k8s.io", "Ingress", object);
    let Some(root) = object.as_object_mut() else { return };
    if let Some(status) = field_or_new(root, "status") {
        fill(status, "loadBalancer", Map::new());
    }
}

/// `IngressClass`: parameters are of the whole cluster.
pub fn ingress_class(object: &mut Value) {
    spell("networking.k8s.io", "IngressClass", object);
    let Some(spec) = object.as_object_mut().and_then(|root| field(root, "spec")) else { return };
    if let Some(parameters) = field(spec, "parameters") {
        fill(parameters, "scope", "Cluster");
    }
}

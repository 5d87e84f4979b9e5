//! Services, what stands behind them, and the `networking.k8s.io` kinds.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    AGE, NAME, NONE, age, count, items, labels, name, number, or, selector, text, text_column, wide,
};
use crate::api::kinds::Column;
use crate::time::WallTime;

/// Endpoints, ports and hosts are shown up to this many, the rest as a number.
const SHOWN_MAX: usize = 3;
/// What stands where an `EndpointSlice` says nothing.
const UNSET: &str = "<unset>";

/// `NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE`; wide: `SELECTOR`.
pub const SERVICE: &[Column] = &[
    NAME,
    text_column("Type", "How it is reached."),
    text_column("Cluster-IP", "The address it has inside the cluster."),
    text_column("External-IP", "The addresses it has outside the cluster."),
    text_column("Port(s)", "The ports it offers."),
    AGE,
    wide(text_column("Selector", "The labels of the Pods behind it.")),
];

/// Cells of [`SERVICE`].
pub fn service(object: &Value, now: WallTime) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/spec/type").into(),
        or(text(object, "/spec/clusterIP"), NONE).into(),
        external_address(object).into(),
        or(&ports(object), NONE).into(),
        age(object, now).into(),
        labels(object, "/spec/selector").into(),
    ]
}

fn external_address(service: &Value) -> String {
    let own = texts(items(service, "/spec/externalIPs"));
    match text(service, "/spec/type") {
        "ClusterIP" | "NodePort" => or(&own.join(","), NONE).into(),
        "LoadBalancer" => {
            let balanced = balancer(service);
            let all: Vec<&str> =
                [balanced.as_str()].into_iter().filter(|it| !it.is_empty()).chain(own).collect();
            or(&all.join(","), "<pending>").into()
        }
        "ExternalName" => text(service, "/spec/externalName").into(),
        _ => "<unknown>".into(),
    }
}

/// The addresses or names that a load balancer gave.
fn balancer(object: &Value) -> String {
    let given: BTreeSet<&str> = items(object, "/status/loadBalancer/ingress")
        .iter()
        .map(|ingress| or(text(ingress, "/ip"), text(ingress, "/hostname")))
        .filter(|address| !address.is_empty())
        .collect();
    given.into_iter().collect::<Vec<_>>().join(",")
}

fn ports(service: &Value) -> String {
    let shown = items(service, "/spec/ports").iter().map(|port| {
        let (own, protocol) = (number(port, "/port"), text(port, "/protocol"));
        match number(port, "/nodePort") {
            node @ 1.. => format!("{own}:{node}/{protocol}"),
            _ => format!("{own}/{protocol}"),
        }
    });
    shown.collect::<Vec<_>>().join(",")
}

fn texts(list: &[Value]) -> Vec<&str> {
    list.iter().filter_map(Value::as_str).collect()
}

/// `a,b,c + 2 more...`
fn some_of(all: &[String], nothing: &str) -> String {
    let shown = all.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(",");
    match all.len() {
        0 => nothing.into(),
        1..=SHOWN_MAX => shown,
        more => format!("{shown} + {} more...", more - SHOWN_MAX),
    }
}

/// `NAME ENDPOINTS AGE`
pub const ENDPOINTS: &[Column] =
    &[NAME, text_column("Endpoints", "Addresses and ports of what is ready."), AGE];

/// Cells of [`ENDPOINTS`].
pub fn endpoints(object: &Value, now: WallTime) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in items(object, "/subsets") {
        for port in items(subset, "/ports") {
            let port = number(port, "/port");
            let addresses = items(subset, "/addresses").iter().map(|address| text(address, "/ip"));
            all.extend(
                addresses.map(|ip| {
                    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
                }),
            );
        }
    }
    vec![name(object), some_of(&all, NONE).into(), age(object, now).into()]
}

/// `NAME ADDRESSTYPE PORTS ENDPOINTS AGE`
pub const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    text_column("AddressType", "The type of the addresses."),
    text_column("Ports", "The ports of every endpoint."),
    text_column("Endpoints", "The addresses of the endpoints."),
    AGE,
];

/// Cells of [`ENDPOINT_SLICE`].
pub fn endpoint_slice(object: &Value, now: WallTime) -> Vec<Value> {
    let port = |port: &Value| match port.get("port").and_then(Value::as_i64) {
        Some(number) => number.to_string(),
        None if port.get("name").is_some() => text(port, "/name").into(),
        None => "*".into(),
    };
    let ports: Vec<String> = items(object, "/ports").iter().map(port).collect();
    let addresses = items(object, "/endpoints").iter().flat_map(|it| texts(items(it, "/addresses")));
    let addresses: Vec<String> = addresses.map(str::to_owned).collect();
    vec![
        name(object),
        text(object, "/addressType").into(),
        some_of(&ports, UNSET).into(),
        some_of(&addresses, UNSET).into(),
        age(object, now).into(),
    ]
}

/// `NAME CLASS HOSTS ADDRESS PORTS AGE`
pub const INGRESS: &[Column] = &[
    NAME,
    text_column("Class", "Who is to act on it."),
    text_column("Hosts", "The hosts that requests are matched against before its rules."),
    text_column("Address", "Where requests come in."),
    text_column("Ports", "The ports on which requests come in."),
    AGE,
];

/// Cells of [`INGRESS`].
pub fn ingress(object: &Value, now: WallTime) -> Vec<Value> {
    let is_encrypted = count(object, "/spec/tls") > 0;
    vec![
        name(object),
        or(text(object, "/spec/ingressClassName"), NONE).into(),
        hosts(items(object, "/spec/rules")).into(),
        balancer(object).into(),
        if is_encrypted { "80, 443" } else { "80" }.into(),
        age(object, now).into(),
    ]
}

fn hosts(rules: &[Value]) -> String {
    let named = rules.iter().map(|rule| text(rule, "/host")).filter(|host| !host.is_empty());
    let named: Vec<&str> = named.take(SHOWN_MAX).collect();
    let shown = or(&named.join(","), "*").to_owned();
    let more = rules.len().saturating_sub(SHOWN_MAX);
    if named.len() == SHOWN_MAX && more > 0 { format!("{shown} + {more} more...") } else { shown }
}

/// `NAME CONTROLLER PARAMETERS AGE`
pub const INGRESS_CLASS: &[Column] = &[
    NAME,
    text_column("Controller", "Who acts on Ingresses of this class."),
    text_column("Parameters", "The object that says more to the controller."),
    AGE,
];

/// Cells of [`INGRESS_CLASS`].
pub fn ingress_class(object: &Value, now: WallTime) -> Vec<Value> {
    let part = |field: &str| text(object, &format!("/spec/parameters/{field}"));
    let parameters = match (object.pointer("/spec/parameters"), part("apiGroup")) {
        (None, _) => NONE.into(),
        (Some(_), "") => format!("{}/{}", part("kind"), part("name")),
        (Some(_), group) => format!("{}.{group}/{}", part("kind"), part("name")),
    };
    vec![name(object), text(object, "/spec/controller").into(), parameters.into(), age(object, now).into()]
}

/// `NAME POD-SELECTOR AGE`
pub const NETWORK_POLICY: &[Column] = &[NAME, text_column("Pod-Selector", "The Pods that it is about."), AGE];

/// Cells of [`NETWORK_POLICY`].
pub fn network_policy(object: &Value, now: WallTime) -> Vec<Value> {
    vec![name(object), selector(object, "/spec/podSelector").into(), age(object, now).into()]
}

//! Service. Which addresses it gets, and whether it may have those that it asks for, is decided when it is written.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::labels::labels;
use super::spot::{Errors, Spot};
use crate::api::names;
use crate::api::status::FieldError;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
pub(super) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
const REACH: [&str; 2] = ["Cluster", "Local"];
/// One day.
const AFFINITY_SECONDS_MAX: i64 = 86_400;
/// Where nodes serve their own API.
const NODE_PORT_OF_THE_NODE_API: i64 = 10_250;
const FOR_CLIENT_IP: &str = "when session affinity type is ClientIP";

/// All errors of a Service.
pub fn service(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    let kind = spec.at("type").text();
    let is_headless = spec.at("clusterIP").text() == "None";
    if spec.at("ports").is_empty() && !is_headless && kind != "ExternalName" {
        errors.required(&spec.at("ports"), "");
    }
    by_type(&spec, kind, is_headless, &mut errors);
    ports(&spec, kind, &mut errors);
    if spec.at("selector").is_set() {
        labels(&spec.at("selector"), &mut errors);
    }
    affinity(&spec, &mut errors);
    addresses(&spec, &mut errors);
    for address in spec.at("externalIPs").items() {
        external_address(&address, &mut errors);
    }
    errors.one_of(&spec.at("type"), &TYPES);
    traffic(&spec, kind, &mut errors);
    balancer(&spec, kind, &mut errors);
    errors.into_list()
}

fn by_type(spec: &Spot<'_>, kind: &str, is_headless: bool, errors: &mut Errors) {
    let first = spec.at("clusterIPs[0]").with(spec.at("clusterIP").value);
    match kind {
        "LoadBalancer" | "NodePort" if is_headless => {
            errors.invalid(&first, &format!("may not be set to 'None' for {kind} services"));
        }
        "LoadBalancer" => {
            for port in spec.at("ports").items().map(|it| it.at("port")) {
                if port.number() == Some(NODE_PORT_OF_THE_NODE_API) {
                    errors.invalid(&port, "may not expose port 10250 externally since it is used by kubelet");
                }
            }
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !spec.at(field).is_empty() {
                    errors.forbidden(&spec.at(field), "may not be set for ExternalName services");
                }
            }
            let name = spec.at("externalName");
            if name.is_empty() {
                errors.required(&name, "");
            } else {
                errors.faults(&name, names::dns1123_subdomain(name.text().trim_end_matches('.')));
            }
        }
        _ => {}
    }
}

fn ports(spec: &Spot<'_>, kind: &str, errors: &mut Errors) {
    let ports = spec.at("ports");
    let needs_names = ports.items().count() > 1;
    let mut taken = BTreeSet::new();
    for port in ports.items() {
        named(&port.at("name"), needs_names, &mut taken, errors);
        port_number(&port.at("port"), errors);
        errors.one_of(&port.at("protocol"), &PROTOCOLS);
        target(&port.at("targetPort"), errors);
        if port.at("appProtocol").is_set() {
            errors.faults(&port.at("appProtocol"), names::qualified_name(port.at("appProtocol").text()));
        }
    }
    let number = |port: &Spot<'_>, field: &str| port.at(field).number().unwrap_or(0);
    if kind == "ClusterIP" {
        for port in ports.items().filter(|port| number(port, "nodePort") != 0) {
            errors.forbidden(&port.at("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let (mut offered, mut on_node) = (BTreeSet::new(), BTreeSet::new());
    for port in ports.items() {
        let protocol = port.at("protocol").text();
        if !offered.insert((number(&port, "port"), protocol)) {
            let shown = json!({ "port": number(&port, "port"), "protocol": protocol });
            errors.duplicate_value(&port, shown);
        }
        let at_node = number(&port, "nodePort");
        if at_node != 0 && !on_node.insert((at_node, protocol)) {
            errors.duplicate(&port.at("nodePort"));
        }
    }
}

/// The name of one of several ports.
pub(super) fn named<'a>(
    name: &Spot<'a>,
    is_needed: bool,
    taken: &mut BTreeSet<&'a str>,
    errors: &mut Errors,
) {
    if name.is_empty() {
        if is_needed {
            errors.required(name, "");
        }
        return;
    }
    errors.faults(name, names::dns1123_label(name.text()));
    if !taken.insert(name.text()) {
        errors.duplicate(name);
    }
}

/// A port as a number.
pub(super) fn port_number(at: &Spot<'_>, errors: &mut Errors) {
    let number = at.number().unwrap_or(0);
    errors.faults_of(at, number, names::port_number(number));
}

fn target(at: &Spot<'_>, errors: &mut Errors) {
    match at.value {
        Value::String(name) => errors.faults(at, names::port_name(name)),
        Value::Number(_) => port_number(at, errors),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {}
    }
}

fn affinity(spec: &Spot<'_>, errors: &mut Errors) {
    errors.one_of(&spec.at("sessionAffinity"), &["ClientIP", "None"]);
    let config = spec.at("sessionAffinityConfig");
    match spec.at("sessionAffinity").text() {
        "ClientIP" => {
            let seconds = config.at("clientIP.timeoutSeconds");
            if !config.is_set() {
                errors.required(&config, FOR_CLIENT_IP);
            } else if !config.at("clientIP").is_set() {
                errors.required(&config.at("clientIP"), FOR_CLIENT_IP);
            } else if !seconds.is_set() {
                errors.required(&seconds, FOR_CLIENT_IP);
            } else if !(1..=AFFINITY_SECONDS_MAX).contains(&seconds.number().unwrap_or(0)) {
                errors.invalid(&seconds, "must be greater than 0 and less than 86400");
            }
        }
        "None" if config.is_set() => {
            errors.forbidden(&config, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn addresses(spec: &Spot<'_>, errors: &mut Errors) {
    errors.one_of_if_set(&spec.at("ipFamilyPolicy"), &POLICIES);
    let mut known = BTreeSet::new();
    for family in spec.at("ipFamilies").items() {
        errors.one_of(&family, &FAMILIES);
        if !known.insert(family.text()) {
            errors.duplicate(&family);
        }
    }
    let all = spec.at("clusterIPs");
    for (i, address) in all.items().enumerate() {
        if address.text() == "None" {
            if i > 0 || all.items().count() > 1 {
                errors.invalid(&all, "'None' must be the first and only value");
            }
        } else {
            errors.faults(&address, names::ip_address(address.text()));
        }
    }
    if all.items().count() > 2 {
        errors.invalid(&all, "may only hold up to 2 values");
    }
    if let Some(first) = all.items().next()
        && first.text() != spec.at("clusterIP").text()
    {
        errors.invalid(&all, "first value must match `clusterIP`");
    }
}

fn external_address(at: &Spot<'_>, errors: &mut Errors) {
    let faults = names::ip_address(at.text());
    if faults.is_empty() {
        special(at, errors);
    }
    errors.faults(at, faults);
}

/// Addresses that nobody else can reach.
pub(super) fn special(at: &Spot<'_>, errors: &mut Errors) {
    use core::net::IpAddr;
    let Ok(address) = at.text().parse::<IpAddr>() else { return };
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    let link_local_multicast = match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    for (is_bad, sentence) in [
        (address.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (link_local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ] {
        if is_bad {
            errors.invalid(at, sentence);
        }
    }
}

fn traffic(spec: &Spot<'_>, kind: &str, errors: &mut Errors) {
    let is_external = matches!(kind, "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && !spec.at("externalIPs").is_empty();
    let outside = spec.at("externalTrafficPolicy");
    if is_external {
        errors.one_of_if_set(&outside, &REACH);
        if matches!(kind, "NodePort" | "LoadBalancer") && outside.is_empty() {
            errors.required(&outside, "");
        }
    } else if !outside.is_empty() {
        errors.invalid(&outside, "may only be set for externally-accessible services");
    }
    if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") {
        errors.one_of(&spec.at("internalTrafficPolicy"), &REACH);
    }
    let distribution = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    errors.one_of_if_set(&spec.at("trafficDistribution"), &distribution);
}

fn balancer(spec: &Spot<'_>, kind: &str, errors: &mut Errors) {
    let ranges = spec.at("loadBalancerSourceRanges");
    if kind == "LoadBalancer" {
        for range in ranges.items() {
            errors.faults(&range, names::cidr(range.text().trim()));
        }
        if !spec.at("allocateLoadBalancerNodePorts").is_set() {
            errors.required(&spec.at("allocateLoadBalancerNodePorts"), "");
        }
        if spec.at("loadBalancerClass").is_set() {
            errors.faults(
                &spec.at("loadBalancerClass"),
                names::qualified_name(spec.at("loadBalancerClass").text()),
            );
        }
        return;
    }
    if !ranges.is_empty() {
        errors.forbidden(&ranges, "may only be used when `type` is 'LoadBalancer'");
    }
    for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if spec.at(field).is_set() {
            errors.forbidden(&spec.at(field), "may only be used when `type` is 'LoadBalancer'");
        }
    }
}

/// An address, once had, stays, as long as the Service is one that has an address.
pub fn service_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (new, old) = (Spot::root(new).at("spec"), Spot::root(old).at("spec"));
    let had = old.at("clusterIP").text();
    let has_none = |spec: &Spot<'_>| spec.at("type").text() == "ExternalName";
    if !had.is_empty() && !has_none(&new) && !has_none(&old) && new.at("clusterIP").text() != had {
        let all = new.at("clusterIPs");
        errors.invalid(&new.at("clusterIPs[0]").with(all.value), "may not change once set");
    }
    let is_balanced = |spec: &Spot<'_>| spec.at("type").text() == "LoadBalancer";
    if is_balanced(&new)
        && is_balanced(&old)
        && new.at("loadBalancerClass").value != old.at("loadBalancerClass").value
    {
        errors.invalid(&new.at("loadBalancerClass"), "may not change once set");
    }
    errors.into_list()
}

/// What a load balancer says it gave.
pub fn service_status(new: &Value, _: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    balancer_status(&Spot::root(new).at("status"), &mut errors);
    errors.into_list()
}

/// `status.loadBalancer`, of a Service or an Ingress.
pub(super) fn balancer_status(status: &Spot<'_>, errors: &mut Errors) {
    for ingress in status.at("loadBalancer.ingress").items() {
        let (ip, host) = (ingress.at("ip"), ingress.at("hostname"));
        if !ip.is_empty() {
            errors.faults(&ip, names::ip_address(ip.text()));
        }
        if !host.is_empty() {
            errors.faults(&host, names::dns1123_subdomain(host.text()));
            if names::ip_address(host.text()).is_empty() {
                errors.invalid(&host, "must be a DNS name, not an IP address");
            }
        }
    }
}

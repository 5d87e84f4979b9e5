//! Ingress, `IngressClass`, `NetworkPolicy`.

use serde_json::Value;

use super::labels::selector;
use super::service::{PROTOCOLS, balancer_status, port_number};
use super::spot::{Errors, Spot};
use crate::api::names;
use crate::api::status::FieldError;

const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
const CONTROLLER_BYTES_MAX: usize = 250;
const NO_PATH_PARTS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const NO_PATH_ENDS: [&str; 2] = ["/..", "/."];

/// All errors of an Ingress.
pub fn ingress(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    if spec.at("defaultBackend").is_set() {
        backend(&spec.at("defaultBackend"), &mut errors);
    }
    if spec.at("rules").is_empty() && !spec.at("defaultBackend").is_set() {
        errors.invalid(&spec, "either `defaultBackend` or `rules` must be specified");
    }
    for rule in spec.at("rules").items() {
        host(&rule.at("host"), &mut errors);
        if rule.at("http").is_set() {
            let paths = rule.at("http.paths");
            if paths.is_empty() {
                errors.required(&paths, "");
            }
            paths.items().for_each(|it| path(&it, &mut errors));
        }
    }
    for tls in spec.at("tls").items() {
        tls.at("hosts").items().for_each(|it| domain(&it, &mut errors));
        if !tls.at("secretName").is_empty() {
            errors.faults(&tls.at("secretName"), names::dns1123_subdomain(tls.at("secretName").text()));
        }
    }
    let class = spec.at("ingressClassName");
    if class.is_set() {
        errors.faults(&class, names::dns1123_subdomain(class.text()));
    }
    errors.into_list()
}

fn host(at: &Spot<'_>, errors: &mut Errors) {
    if at.is_empty() {
        return;
    }
    if names::ip_address(at.text()).is_empty() {
        errors.invalid(at, "must be a DNS name, not an IP address");
    }
    domain(at, errors);
}

/// A DNS name whose first label may be a star.
fn domain(at: &Spot<'_>, errors: &mut Errors) {
    let name = at.text().strip_prefix("*.").unwrap_or(at.text());
    errors.faults(at, names::dns1123_subdomain(name));
}

fn path(at: &Spot<'_>, errors: &mut Errors) {
    let (kind, path) = (at.at("pathType"), at.at("path"));
    let text = path.text();
    match kind.text() {
        "" if !kind.is_set() => errors.required(&kind, "pathType must be specified"),
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.invalid(&path, "must be an absolute path");
            }
            if !text.is_empty() {
                for part in NO_PATH_PARTS.iter().filter(|part| text.contains(**part)) {
                    errors.invalid(&path, &format!("must not contain '{part}'"));
                }
                for end in NO_PATH_ENDS.iter().filter(|end| text.ends_with(**end)) {
                    errors.invalid(&path, &format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.invalid(&path, "must be an absolute path");
            }
        }
        _ => errors.unsupported(&kind, &PATH_TYPES),
    }
    backend(&at.at("backend"), errors);
}

fn backend(at: &Spot<'_>, errors: &mut Errors) {
    let (service, resource) = (at.at("service"), at.at("resource"));
    match (service.is_set(), resource.is_set()) {
        (true, true) => errors.invalid_value(at, "", "cannot set both resource and service backends"),
        (false, true) => ["kind", "name"].iter().for_each(|it| errors.must_be_set(&resource.at(it))),
        (false, false) => errors.required(&service.at("name"), ""),
        (true, false) => {
            let name = service.at("name");
            if name.is_empty() {
                errors.required(&name, "");
            } else {
                errors.faults(&name, names::dns1035_label(name.text()));
            }
            let port = service.at("port");
            match (!port.at("name").is_empty(), port.at("number").number().unwrap_or(0) != 0) {
                (true, true) => errors.invalid(&port, "cannot set both port name & port number"),
                (true, false) => errors.faults(&port.at("name"), names::port_name(port.at("name").text())),
                (false, true) => port_number(&port.at("number"), errors),
                (false, false) => errors.required(&port, "port name or number is required"),
            }
        }
    }
}

/// What a load balancer says it gave.
pub fn ingress_status(new: &Value, _: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    balancer_status(&Spot::root(new).at("status"), &mut errors);
    errors.into_list()
}

/// All errors of an `IngressClass`.
pub fn ingress_class(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    let controller = spec.at("controller");
    if controller.text().len() > CONTROLLER_BYTES_MAX {
        errors.push(FieldError::too_long(controller.path(), CONTROLLER_BYTES_MAX));
    }
    match controller.text().split_once('/') {
        None if controller.is_empty() => errors.required(&controller, ""),
        None | Some((_, "")) => {
            errors.invalid(&controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
        Some((domain, _)) => errors.faults(&controller, names::dns1123_subdomain(domain)),
    }
    let parameters = spec.at("parameters");
    if parameters.is_set() {
        errors.must_be_set(&parameters.at("kind"));
        errors.must_be_set(&parameters.at("name"));
        errors.one_of(&parameters.at("scope"), &["Cluster", "Namespace"]);
        let namespace = parameters.at("namespace");
        match parameters.at("scope").text() {
            "Namespace" if namespace.is_empty() => {
                errors.required(&namespace, "`parameters.scope` is set to 'Namespace'");
            }
            "Cluster" if namespace.is_set() => {
                errors.forbidden(&namespace, "`parameters.scope` is set to 'Cluster'");
            }
            _ => {}
        }
    }
    errors.into_list()
}

/// A class is of one controller for good.
pub fn ingress_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.immutable(&Spot::root(new).at("spec.controller"), &Spot::root(old).at("spec.controller"));
    errors.into_list()
}

/// All errors of a `NetworkPolicy`.
pub fn network_policy(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    selector(&spec.at("podSelector"), &mut errors);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.at(rules).items() {
            rule.at("ports").items().for_each(|it| policy_port(&it, &mut errors));
            rule.at(peers).items().for_each(|it| peer(&it, &mut errors));
        }
    }
    let types = spec.at("policyTypes");
    if types.items().count() > 2 {
        errors.invalid(&types, "may not specify more than two policyTypes");
    }
    types.items().for_each(|it| errors.one_of(&it, &["Egress", "Ingress"]));
    errors.into_list()
}

fn policy_port(at: &Spot<'_>, errors: &mut Errors) {
    errors.one_of_if_set(&at.at("protocol"), &PROTOCOLS);
    let (port, end) = (at.at("port"), at.at("endPort"));
    match port.value {
        Value::Number(_) => {
            port_number(&port, errors);
            if end.is_set() {
                port_number(&end, errors);
                if end.number() < port.number() {
                    errors.invalid(&end, "must be greater than or equal to `port`");
                }
            }
        }
        Value::String(name) => {
            if end.is_set() {
                errors.invalid(&end, "may not be specified when `port` is non-numeric");
            }
            errors.faults(&port, names::port_name(name));
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            if end.is_set() {
                errors.invalid(&end, "may not be specified when `port` is not specified");
            }
        }
    }
}

fn peer(at: &Spot<'_>, errors: &mut Errors) {
    let (pods, namespaces, block) = (at.at("podSelector"), at.at("namespaceSelector"), at.at("ipBlock"));
    selector(&pods, errors);
    selector(&namespaces, errors);
    if block.is_set() {
        let range = block.at("cidr");
        if range.is_empty() {
            errors.required(&range, "");
        } else {
            errors.faults(&range, names::cidr(range.text()));
        }
        block.at("except").items().for_each(|it| errors.faults(&it, names::cidr(it.text())));
    }
    if block.is_set() && (pods.is_set() || namespaces.is_set()) {
        errors.forbidden(at, "may not specify both ipBlock and another peer");
    } else if !block.is_set() && !pods.is_set() && !namespaces.is_set() {
        errors.required(at, "must specify a peer");
    }
}

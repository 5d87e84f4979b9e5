//! `PodSpec`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::affinity::affinity;
use super::container::{containers, ephemeral_containers, init_containers};
use super::linux::operating_system;
use super::resources::{pod_resources, requirements};
use super::security::pod_security;
use super::spread::spread;
use super::toleration::tolerations;
use super::volume::volumes;
use crate::api::names;
use crate::api::validation::labels::labels;
use crate::api::validation::spot::{Errors, Spot};

/// Limits of the C library's resolver.
const NAMESERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

/// What the spec stands in.
pub(super) enum Home<'a> {
    /// A Pod.
    Pod {
        /// Its name, empty when it is still to be made up.
        name: &'a str,
    },
    /// The template of a workload.
    Template,
}

/// What containers are judged against.
pub(super) struct Around<'a> {
    /// Sources of the volumes that are right, by name.
    pub(super) volumes: BTreeMap<&'a str, &'a Value>,
    /// Names of `spec.resourceClaims`.
    pub(super) claims: BTreeSet<&'a str>,
    /// `terminationGracePeriodSeconds`
    pub(super) grace_seconds: Option<i64>,
    /// `restartPolicy`
    pub(super) restart_policy: &'a str,
    /// Whether the Pod shares the host's user namespace.
    pub(super) host_users: bool,
}

/// All errors of a spec.
pub(super) fn pod_spec(spec: &Spot<'_>, home: &Home<'_>, errors: &mut Errors) {
    let grace = spec.at("terminationGracePeriodSeconds");
    if !grace.is_set() {
        errors.required(&grace, "");
    }
    let around = Around {
        volumes: volumes(&spec.at("volumes"), home, errors),
        claims: resource_claims(&spec.at("resourceClaims"), errors),
        grace_seconds: grace.number(),
        restart_policy: spec.at("restartPolicy").text(),
        host_users: *spec.at("hostUsers").value != false,
    };
    containers(&spec.at("containers"), &around, errors);
    init_containers(&spec.at("initContainers"), &spec.at("containers"), &around, errors);
    ephemeral_containers(spec, &around, errors);
    pod_resources(spec, &around, errors);
    if spec.at("hostNetwork").is_true() {
        host_ports(spec, home, errors);
    }
    errors.one_of(&spec.at("restartPolicy"), &["Always", "OnFailure", "Never"]);
    errors.one_of(&spec.at("dnsPolicy"), &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    labels(&spec.at("nodeSelector"), errors);
    pod_security(spec, errors);
    affinity(&spec.at("affinity"), errors);
    dns_config(&spec.at("dnsConfig"), spec.at("dnsPolicy").text(), errors);
    for gate in spec.at("readinessGates").items() {
        let condition = gate.at("conditionType");
        errors.faults(&condition, names::qualified_name(condition.text()));
    }
    scheduling_gates(&spec.at("schedulingGates"), errors);
    spread(&spec.at("topologySpreadConstraints"), errors);
    host_users(spec, &around, errors);
    names_in(spec, errors);
    active_deadline(&spec.at("activeDeadlineSeconds"), errors);
    tolerations(&spec.at("tolerations"), errors);
    host_aliases(&spec.at("hostAliases"), errors);
    errors.one_of_if_set(&spec.at("preemptionPolicy"), &["PreemptLowerPriority", "Never"]);
    overhead(spec, errors);
    operating_system(spec, errors);
}

fn names_in(spec: &Spot<'_>, errors: &mut Errors) {
    let rules: [(&str, names::Rule); 6] = [
        ("serviceAccountName", names::dns1123_subdomain),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
    ];
    for (field, rule) in rules {
        let at = spec.at(field);
        if !at.is_empty() {
            errors.faults(&at, rule(at.text()));
        }
    }
}

fn active_deadline(at: &Spot<'_>, errors: &mut Errors) {
    if let Some(seconds) = at.number() {
        errors.faults(at, names::in_range(seconds, 1, i64::from(i32::MAX)));
    }
}

/// Overhead is judged as limits are, and told under their path.
fn overhead(spec: &Spot<'_>, errors: &mut Errors) {
    let at = spec.at("overhead");
    if at.is_set() {
        let as_limits = serde_json::json!({ "limits": at.value });
        requirements(
            &at.with(&as_limits),
            &BTreeSet::new(),
            super::resources::container_resource_name,
            errors,
        );
    }
}

fn resource_claims<'a>(at: &Spot<'a>, errors: &mut Errors) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for claim in at.items() {
        let name = claim.at("name");
        if name.is_empty() {
            errors.required(&name, "");
        } else if seen.insert(name.text()) {
            errors.faults(&name, names::dns1123_label(name.text()));
        } else {
            errors.duplicate(&name);
        }
        let sources = ["resourceClaimName", "resourceClaimTemplateName"].map(|field| claim.at(field));
        match sources.iter().filter(|it| it.is_set()).count() {
            0 => errors
                .invalid(&claim, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"),
            1 => {}
            _ => errors.invalid(
                &claim,
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
        }
        for source in sources.iter().filter(|it| it.is_set()) {
            errors.faults(source, names::dns1123_subdomain(source.text()));
        }
    }
    seen
}

/// In the host's network a port of the Pod is a port of the host. A template may leave it to the Pod.
fn host_ports(spec: &Spot<'_>, home: &Home<'_>, errors: &mut Errors) {
    for port in spec.at("containers").items().flat_map(|it| it.at("ports").items()) {
        let host = port.at("hostPort");
        let number = host.number().unwrap_or_default();
        let left_open = number == 0 && matches!(home, Home::Template);
        if !left_open && Some(number) != port.at("containerPort").number() {
            errors.invalid_value(&host, number, "must match `containerPort` when `hostNetwork` is true");
        }
    }
}

fn host_users(spec: &Spot<'_>, around: &Around<'_>, errors: &mut Errors) {
    if around.host_users {
        return;
    }
    for (field, told) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.at(field).is_true() {
            errors.forbidden(&spec.at(told), "when `pod.Spec.HostUsers` is false");
        }
    }
}

fn dns_config(at: &Spot<'_>, policy: &str, errors: &mut Errors) {
    let (servers, searches) = (at.at("nameservers"), at.at("searches"));
    if policy == "None" {
        if !at.is_set() {
            errors.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            errors.required(&servers, "must provide at least one DNS nameserver when `dnsPolicy` is None");
            return;
        }
    }
    if servers.items().count() > NAMESERVERS_MAX {
        errors.invalid(&servers, &format!("must not have more than {NAMESERVERS_MAX} nameservers"));
    }
    servers.items().for_each(|server| errors.faults(&server, names::ip_address(server.text())));
    if searches.items().count() > SEARCHES_MAX {
        errors.invalid(&searches, &format!("must not have more than {SEARCHES_MAX} search paths"));
    }
    let length: usize = searches.items().map(|it| it.text().len() + 1).sum();
    if length > SEARCH_BYTES_MAX + 1 {
        let detail = format!(
            "must not have more than {SEARCH_BYTES_MAX} characters (including spaces) in the search list"
        );
        errors.invalid(&searches, &detail);
    }
    for search in searches.items().filter(|it| it.text() != ".") {
        let name = search.text().strip_suffix('.').unwrap_or(search.text());
        errors.faults_of(&search, name, names::dns1123_subdomain_with_underscore(name));
    }
    for option in at.at("options").items().filter(|it| it.at("name").is_empty()) {
        errors.required(&option, "must not be empty");
    }
}

fn scheduling_gates(at: &Spot<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for gate in at.items() {
        let name = gate.at("name").text();
        errors.faults_of(&gate, name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate_value(&gate, name);
        }
    }
}

fn host_aliases(at: &Spot<'_>, errors: &mut Errors) {
    for alias in at.items() {
        let ip = alias.at("ip");
        errors.faults(&ip, names::ip_address(ip.text()));
        alias
            .at("hostnames")
            .items()
            .for_each(|host| errors.faults(&host, names::dns1123_subdomain(host.text())));
    }
}

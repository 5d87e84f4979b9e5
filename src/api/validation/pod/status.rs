//! What a write of a Pod's status may say.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::names;
use crate::api::status::FieldError;
use crate::api::validation::spot::{Errors, Spot};

/// Conditions that need no domain before their name.
const OWN_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];

/// All errors of a change of status (new, old).
pub fn pod_status(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (root, status) = (Spot::root(new), Spot::root(new).at("status"));
    let (old_root, was) = (Spot::root(old), Spot::root(old).at("status"));
    for (i, condition) in status.at("conditions").items().enumerate() {
        let kind = condition.at("type").text();
        if !OWN_CONDITIONS.contains(&kind) {
            // The path is upstream's.
            let told = root.at(&format!("metadata.conditions[{i}].Type"));
            errors.faults_of(&told, kind, names::qualified_name(kind));
        }
    }
    if root.at("spec.nodeName").value != old_root.at("spec.nodeName").value {
        errors.forbidden(&status.at("nodeName"), "may not be changed directly");
    }
    let nominated = status.at("nominatedNodeName");
    if nominated.value != was.at("nominatedNodeName").value && !nominated.is_empty() {
        errors.faults(&nominated, names::dns1123_subdomain(nominated.text()));
    }
    errors.immutable(&status.at("qosClass"), &was.at("qosClass"));
    let policy = old_root.at("spec.restartPolicy").text();
    let sidecars: Vec<&str> = old_root
        .at("spec.initContainers")
        .items()
        .filter(|it| it.at("restartPolicy").text() == "Always")
        .map(|it| it.at("name").text())
        .collect();
    for (list, policy, restartable) in [
        ("containerStatuses", policy, &[][..]),
        ("initContainerStatuses", policy, &sidecars[..]),
        ("ephemeralContainerStatuses", "Never", &[][..]),
    ] {
        stays_ended(&status.at(list), &was.at(list), policy, restartable, &mut errors);
    }
    ips(&status.at("podIPs"), &mut errors);
    host_ips(&status, &mut errors);
    errors.into_list()
}

/// A container that ended and is not to be restarted never runs again.
fn stays_ended(new: &Spot<'_>, old: &Spot<'_>, policy: &str, restartable: &[&str], errors: &mut Errors) {
    if policy == "Always" {
        return;
    }
    for was in old.items() {
        let (name, ended) = (was.at("name").text(), was.at("state.terminated"));
        let failed = ended.at("exitCode").number() != Some(0);
        if !ended.is_set() || (failed && policy == "OnFailure") || restartable.contains(&name) {
            continue;
        }
        let runs = new.items().any(|it| it.at("name").text() == name && !it.at("state.terminated").is_set());
        if runs {
            errors.forbidden(&was.at("state"), "may not be transitioned to non-terminated state");
        }
    }
}

fn host_ips(status: &Spot<'_>, errors: &mut Errors) {
    let list = status.at("hostIPs");
    let first = list.items().next();
    if let Some(first) = first.filter(|it| it.at("ip").text() != status.at("hostIP").text()) {
        errors.invalid(&first.at("ip"), "must be equal to `hostIP`");
    }
    ips(&list, errors);
}

/// At most one address of each family.
fn ips(at: &Spot<'_>, errors: &mut Errors) {
    let (mut seen, mut families) = (BTreeSet::new(), BTreeSet::new());
    for entry in at.items() {
        let ip = entry.at("ip").text();
        errors.faults_of(&entry, ip, names::ip_address(ip));
        families.insert(ip.contains(':'));
        if !seen.insert(ip) {
            errors.duplicate(&entry);
        }
    }
    if at.items().count() > families.len() {
        errors.invalid(at, "may specify no more than one IP for each IP family");
    }
}

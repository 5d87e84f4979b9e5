//! Containers: main, init and ephemeral.

use std::collections::BTreeSet;

use super::env::{env, env_from};
use super::mounts::{volume_devices, volume_mounts};
use super::probe::{lifecycle, probes};
use super::resources::{container_resource_name, requirements, resize_policy};
use super::security::container_security;
use super::spec::Around;
use super::untrimmed_image;
use crate::api::names;
use crate::api::validation::spot::{Errors, Spot};

/// How the image of a container or of a volume may be had.
pub(super) const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];
/// Protocols of ports.
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
/// What an ephemeral container must do without.
const NOT_EPHEMERAL: [&str; 6] =
    ["ports", "resources", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"];

/// `spec.containers`
pub(super) fn containers(at: &Spot<'_>, around: &Around<'_>, errors: &mut Errors) {
    if at.is_empty() {
        errors.required(at, "");
        return;
    }
    let mut seen = BTreeSet::new();
    for container in at.items() {
        common(&container, around, errors);
        unique(&container, &mut seen, errors);
        lifecycle(&container.at("lifecycle"), around, errors);
        probes(&container, errors);
        if container.at("restartPolicy").is_set() {
            errors.forbidden(&container.at("restartPolicy"), "may not be set for non-init containers");
        }
    }
    host_port_conflicts(at.items(), errors);
}

/// `spec.initContainers`: run one after the other, but for those that restart always and stay beside the Pod.
pub(super) fn init_containers(at: &Spot<'_>, main: &Spot<'_>, around: &Around<'_>, errors: &mut Errors) {
    let mut seen: BTreeSet<&str> = main.items().map(|it| it.at("name").text()).collect();
    for container in at.items() {
        common(&container, around, errors);
        let policy = container.at("restartPolicy");
        errors.one_of_if_set(&policy, &["Always"]);
        unique(&container, &mut seen, errors);
        host_port_conflicts(std::iter::once(container.clone()), errors);
        if policy.text() == "Always" {
            lifecycle(&container.at("lifecycle"), around, errors);
            probes(&container, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.at(field).is_set() {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(&container.at(field), detail);
            }
        }
    }
}

/// `spec.ephemeralContainers`
pub(super) fn ephemeral_containers(spec: &Spot<'_>, around: &Around<'_>, errors: &mut Errors) {
    let others: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| spec.at(list).items())
        .map(|it| it.at("name").text())
        .collect();
    let mut seen = others.clone();
    for container in spec.at("ephemeralContainers").items() {
        common(&container, around, errors);
        untrimmed_image(&container.at("image"), errors);
        unique(&container, &mut seen, errors);
        let target = container.at("targetContainerName");
        if !target.is_empty() && !others.contains(target.text()) {
            errors.not_found(&target);
        }
        for field in NOT_EPHEMERAL {
            if !container.at(field).is_empty() {
                errors.forbidden(&container.at(field), "cannot be set for an Ephemeral Container");
            }
        }
        for mount in container.at("volumeMounts").items() {
            for field in ["subPath", "subPathExpr"] {
                if !mount.at(field).is_empty() {
                    errors.forbidden(&mount.at(field), "cannot be set for an Ephemeral Container");
                }
            }
        }
    }
}

fn unique<'a>(container: &Spot<'a>, seen: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    let name = container.at("name");
    if !seen.insert(name.text()) && !name.is_empty() {
        errors.duplicate(&name);
    }
}

fn common(at: &Spot<'_>, around: &Around<'_>, errors: &mut Errors) {
    let name = at.at("name");
    if name.is_empty() {
        errors.required(&name, "");
    } else {
        errors.faults(&name, names::dns1123_label(name.text()));
    }
    errors.must_be_set(&at.at("image"));
    errors.one_of(&at.at("terminationMessagePolicy"), &["File", "FallbackToLogsOnError"]);
    ports(&at.at("ports"), errors);
    env(&at.at("env"), errors);
    env_from(&at.at("envFrom"), errors);
    volume_mounts(at, around, errors);
    volume_devices(at, around, errors);
    errors.one_of(&at.at("imagePullPolicy"), &PULL_POLICIES);
    requirements(&at.at("resources"), &around.claims, container_resource_name, errors);
    resize_policy(&at.at("resizePolicy"), around.restart_policy, errors);
    container_security(&at.at("securityContext"), around.host_users, errors);
}

fn ports(at: &Spot<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for port in at.items() {
        let name = port.at("name");
        if !name.is_empty() {
            let faults = names::port_name(name.text());
            if faults.is_empty() && !seen.insert(name.text()) {
                errors.duplicate(&name);
            }
            errors.faults(&name, faults);
        }
        let number = port.at("containerPort");
        match number.number() {
            None | Some(0) => errors.required(&number, ""),
            Some(value) => errors.faults(&number, names::port_number(value)),
        }
        if let Some(value) = port.at("hostPort").number().filter(|value| *value != 0) {
            errors.faults(&port.at("hostPort"), names::port_number(value));
        }
        errors.one_of(&port.at("protocol"), &PROTOCOLS);
    }
}

/// Ports of the host that several containers want.
fn host_port_conflicts<'a>(containers: impl Iterator<Item = Spot<'a>>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for port in containers.flat_map(|it| it.at("ports").items()) {
        let host = port.at("hostPort");
        if let Some(number) = host.number().filter(|number| *number != 0) {
            let key = format!("{}/{}/{number}", port.at("protocol").text(), port.at("hostIP").text());
            if !seen.insert(key.clone()) {
                errors.duplicate_value(&host, key);
            }
        }
    }
}

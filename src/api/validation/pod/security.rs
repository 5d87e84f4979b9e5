//! Security contexts of Pods and containers.

use std::collections::BTreeSet;

use crate::api::names;
use crate::api::status::FieldError;
use crate::api::validation::pod::files::descends;
use crate::api::validation::spot::{Errors, Spot};

/// Longest path less its end.
const PROFILE_BYTES_MAX: usize = 4095;
const SYSCTL_BYTES_MAX: usize = 253;
const SYSCTL_RULE: &str = "must have at most 253 characters and match regex \
     ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
/// Sysctls that belong to the IPC namespace.
const IPC_SYSCTLS: [&str; 4] = ["kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."];

/// `spec.securityContext`
pub(super) fn pod_security(spec: &Spot<'_>, errors: &mut Errors) {
    let at = spec.at("securityContext");
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(&at.at(field), errors);
    }
    at.at("supplementalGroups").items().for_each(|group| id(&group, errors));
    // The field stands in the spec, upstream tells it here.
    if spec.at("hostPID").is_true() && spec.at("shareProcessNamespace").is_true() {
        errors.invalid_value(
            &at.at("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    sysctls(spec, &at.at("sysctls"), errors);
    errors.one_of_if_set(&at.at("fsGroupChangePolicy"), &["Always", "OnRootMismatch"]);
    seccomp(&at.at("seccompProfile"), errors);
    app_armor(&at.at("appArmorProfile"), errors);
    errors.one_of_if_set(&at.at("supplementalGroupsPolicy"), &["Merge", "Strict"]);
    errors.one_of_if_set(&at.at("seLinuxChangePolicy"), &["MountOption", "Recursive"]);
}

/// `securityContext` of a container.
pub(super) fn container_security(at: &Spot<'_>, host_users: bool, errors: &mut Errors) {
    id(&at.at("runAsUser"), errors);
    id(&at.at("runAsGroup"), errors);
    let mount = at.at("procMount");
    errors.one_of_if_set(&mount, &["Default", "Unmasked"]);
    if host_users && mount.text() == "Unmasked" {
        errors.invalid(&mount, "`hostUsers` must be false to use `Unmasked`");
    }
    seccomp(&at.at("seccompProfile"), errors);
    if *at.at("allowPrivilegeEscalation").value == false {
        if at.at("privileged").is_true() {
            errors.invalid(at, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true");
        }
        if at.at("capabilities.add").items().any(|it| it.text() == "CAP_SYS_ADMIN") {
            errors.invalid(
                at,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    app_armor(&at.at("appArmorProfile"), errors);
}

fn id(at: &Spot<'_>, errors: &mut Errors) {
    if let Some(number) = at.number() {
        errors.faults(at, names::user_or_group_id(number));
    }
}

fn seccomp(at: &Spot<'_>, errors: &mut Errors) {
    if !at.is_set() {
        return;
    }
    let (kind, profile) = (at.at("type"), at.at("localhostProfile"));
    if kind.is_empty() {
        errors.required(&kind, "type is required when seccompProfile is set");
    } else {
        errors.one_of_if_set(&kind, &["Localhost", "RuntimeDefault", "Unconfined"]);
    }
    match (kind.text() == "Localhost", profile.is_set()) {
        (true, false) => errors.required(&profile, "must be set when seccomp type is Localhost"),
        (true, true) => descends(&profile, errors),
        (false, true) => {
            errors.invalid(&profile.with(at.value), "can only be set when seccomp type is Localhost");
        }
        (false, false) => {}
    }
}

fn app_armor(at: &Spot<'_>, errors: &mut Errors) {
    if !at.is_set() {
        return;
    }
    let (kind, profile) = (at.at("type"), at.at("localhostProfile"));
    match kind.text() {
        "" => errors.required(&kind, "type is required when appArmorProfile is set"),
        "Localhost" => local_profile(&profile, errors),
        "RuntimeDefault" | "Unconfined" if profile.is_set() => {
            errors.invalid(&profile, "can only be set when AppArmor type is Localhost");
        }
        "RuntimeDefault" | "Unconfined" => {}
        _ => errors.unsupported(&kind, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

fn local_profile(at: &Spot<'_>, errors: &mut Errors) {
    if at.text().trim() != at.text() {
        errors.invalid(at, "must not be padded with whitespace");
    } else if at.text().is_empty() {
        errors.required(at, "must be set when AppArmor type is Localhost");
    }
    if at.text().len() > PROFILE_BYTES_MAX {
        errors.push(FieldError::too_long(at.path(), PROFILE_BYTES_MAX));
    }
}

fn sysctls(spec: &Spot<'_>, at: &Spot<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for setting in at.items() {
        let name = setting.at("name");
        if name.is_empty() {
            errors.required(&name, "");
        } else if !is_sysctl(name.text()) {
            errors.invalid(&name, SYSCTL_RULE);
        } else if seen.contains(name.text()) {
            errors.duplicate(&name);
        }
        seen.insert(name.text());
        let dotted = name.text().replace('/', ".");
        if spec.at("hostNetwork").is_true() && dotted.starts_with("net.") {
            errors.invalid(&name, "may not be specified when 'hostNetwork' is true");
        } else if spec.at("hostIPC").is_true() && IPC_SYSCTLS.iter().any(|it| dotted.starts_with(it)) {
            errors.invalid(&name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let part = |part: &str| {
        let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(alphanumeric)
            && part.ends_with(alphanumeric)
            && part.chars().all(|c| alphanumeric(c) || c == '-' || c == '_')
    };
    name.len() <= SYSCTL_BYTES_MAX && name.split(['.', '/']).all(part)
}

//! `spec.os`, and what may then not be set.

use crate::api::validation::spot::{Errors, Spot};

/// Fields of the Pod's security context that Windows does not know.
const POD_NOT_WINDOWS: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
/// Fields of the spec that Windows does not know.
const SPEC_NOT_WINDOWS: [&str; 4] = ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"];
/// Fields of a container's security context that Windows does not know.
const CONTAINER_NOT_WINDOWS: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Whether what the spec says suits the operating system that it names.
pub(super) fn operating_system(spec: &Spot<'_>, errors: &mut Errors) {
    let os = spec.at("os");
    if !os.is_set() {
        return;
    }
    match os.at("name").text() {
        "" => errors.required(&os.at("name"), "cannot be empty"),
        "linux" => linux(spec, errors),
        "windows" => windows(spec, errors),
        name => errors.push(crate::api::status::FieldError::unsupported(
            os.path(),
            &name.into(),
            &["linux", "windows"],
        )),
    }
}

fn linux(spec: &Spot<'_>, errors: &mut Errors) {
    let contexts = std::iter::once(spec.at("securityContext")).chain(container_contexts(spec));
    for context in contexts.filter(|it| it.at("windowsOptions").is_set()) {
        errors.forbidden(&context.at("windowsOptions"), "windows options cannot be set for a linux pod");
    }
}

fn windows(spec: &Spot<'_>, errors: &mut Errors) {
    let of_pod = POD_NOT_WINDOWS.map(|field| spec.at("securityContext").at(field));
    let of_spec = SPEC_NOT_WINDOWS.map(|field| spec.at(field));
    let of_containers =
        container_contexts(spec).flat_map(|context| CONTAINER_NOT_WINDOWS.map(|field| context.at(field)));
    for at in of_pod.into_iter().chain(of_spec).chain(of_containers) {
        if at.is_set() && *at.value != false {
            errors.forbidden(&at, "cannot be set for a windows pod");
        }
    }
}

fn container_contexts<'a>(spec: &Spot<'a>) -> impl Iterator<Item = Spot<'a>> + use<'a> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].map(|list| spec.at(list));
    lists.into_iter().flat_map(|list| list.items()).map(|container| container.at("securityContext"))
}

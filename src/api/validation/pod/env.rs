//! Environment variables and where their values come from.

use crate::api::names;
use crate::api::quantity::Quantity;
use crate::api::validation::spot::{Errors, Spot};

/// Fields of the Pod that a variable may show.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that have keys.
const KEYED: [&str; 2] = ["metadata.annotations", "metadata.labels"];
/// Amounts of the container that a variable or a file may show.
const AMOUNTS: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const BYTE_DIVISORS: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
const SEVERAL: &str = "may not have more than one field specified at a time";

/// `env`
pub(super) fn env(at: &Spot<'_>, errors: &mut Errors) {
    for variable in at.items() {
        let name = variable.at("name");
        if name.is_empty() {
            errors.required(&name, "");
        } else {
            errors.faults(&name, names::env_var_name(name.text()));
        }
        if variable.at("valueFrom").is_set() {
            value_from(&variable, errors);
        }
    }
}

fn value_from(variable: &Spot<'_>, errors: &mut Errors) {
    let from = variable.at("valueFrom");
    let mut count = 0;
    for name in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let source = from.at(name);
        if !source.is_set() {
            continue;
        }
        count += 1;
        match name {
            "fieldRef" => field_ref(&source, &ENV_FIELDS, errors),
            "resourceFieldRef" => resource_field_ref(&source, false, errors),
            "fileKeyRef" => {
                for field in ["volumeName", "path", "key"] {
                    errors.must_be_set(&source.at(field));
                }
            }
            _ => key_selector(&source, errors),
        }
    }
    if count == 0 {
        let all = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid_value(&from, "", all);
    } else if !variable.at("value").is_empty() {
        errors.invalid_value(&from, "", "may not be specified when `value` is not empty");
    } else if count > 1 {
        errors.invalid_value(&from, "", SEVERAL);
    }
}

/// `envFrom`; upstream tells a wrong number of sources at the list.
pub(super) fn env_from(at: &Spot<'_>, errors: &mut Errors) {
    for entry in at.items() {
        let prefix = entry.at("prefix");
        if !prefix.is_empty() {
            errors.faults(&prefix, names::env_var_name(prefix.text()));
        }
        let sources = ["configMapRef", "secretRef"].map(|field| entry.at(field));
        for source in sources.iter().filter(|it| it.is_set()) {
            let name = source.at("name");
            if name.is_empty() {
                errors.required(&name, "");
            } else {
                errors.faults(&name, names::dns1123_subdomain(name.text()));
            }
        }
        match sources.iter().filter(|it| it.is_set()).count() {
            0 => errors.invalid_value(at, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid_value(at, "", SEVERAL),
        }
    }
}

fn key_selector(at: &Spot<'_>, errors: &mut Errors) {
    let (name, key) = (at.at("name"), at.at("key"));
    errors.faults(&name, names::dns1123_subdomain(name.text()));
    if key.is_empty() {
        errors.required(&key, "");
    } else {
        errors.faults(&key, names::config_map_key(key.text()));
    }
}

/// A field of the Pod, of a variable or of a file.
pub(super) fn field_ref(at: &Spot<'_>, fields: &[&str], errors: &mut Errors) {
    for field in ["apiVersion", "fieldPath"] {
        if at.at(field).is_empty() {
            errors.required(&at.at(field), "");
            return;
        }
    }
    let (version, path) = (at.at("apiVersion").text(), at.at("fieldPath"));
    if version != "v1" {
        errors.invalid(&path, &format!("error converting fieldPath: unsupported pod version: {version}"));
        return;
    }
    let text = path.text();
    match text.strip_suffix(']').and_then(|text| text.split_once("['")) {
        Some((field, key)) if KEYED.contains(&field) && key.ends_with('\'') => {
            let key = key.trim_end_matches('\'');
            let shown = if field == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
            errors.faults_of(at, shown.as_str(), names::qualified_name(&shown));
        }
        Some(_) => {
            errors.invalid(
                &path,
                &format!("error converting fieldPath: field label does not support subscript: {text}"),
            );
        }
        None if fields.contains(&text) => {}
        None if ENV_FIELDS.contains(&text) || KEYED.contains(&text) || text == "spec.restartPolicy" => {
            errors.unsupported(&path, fields);
        }
        None => {
            errors.invalid(&path, &format!("error converting fieldPath: field label not supported: {text}"));
        }
    }
}

/// An amount of a container; a file must name the container.
pub(super) fn resource_field_ref(at: &Spot<'_>, in_file: bool, errors: &mut Errors) {
    let resource = at.at("resource");
    let is_huge =
        ["limits.hugepages-", "requests.hugepages-"].iter().any(|it| resource.text().starts_with(it));
    if in_file && at.at("containerName").is_empty() {
        errors.required(&at.at("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&resource, "");
    } else if !is_huge && !AMOUNTS.contains(&resource.text()) {
        errors.unsupported(&resource, &AMOUNTS);
    }
    divisor(at, is_huge, errors);
}

fn divisor(at: &Spot<'_>, is_huge: bool, errors: &mut Errors) {
    let divisor = at.at("divisor").quantity().filter(|it| !it.is_zero()).as_ref().map(Quantity::to_string);
    let Some(divisor) = divisor else { return };
    let resource = at.at("resource").text();
    let (allowed, told, of) = match resource.split_once('.') {
        Some((_, "cpu")) => (&["1m", "1"][..], "1m and 1", "cpu"),
        Some((_, "memory")) => (&BYTE_DIVISORS[..], "", "memory"),
        Some((_, "ephemeral-storage")) => (&BYTE_DIVISORS[..], "", "local ephemeral storage"),
        _ if is_huge => (&BYTE_DIVISORS[..], "", "hugepages"),
        _ => return,
    };
    if !allowed.contains(&divisor.as_str()) {
        let told = if told.is_empty() { allowed.join(", ") } else { told.to_owned() };
        let detail = format!("only divisor's values {told} are supported with the {of} resource");
        errors.invalid_value(&at.at("divisor"), resource, &detail);
    }
}

//! Volumes whose files are made from objects: Secrets, ConfigMaps, the downward API, tokens, and their projections; and
//! the rules of paths.

use std::collections::BTreeSet;

use super::env::{field_ref, resource_field_ref};
use crate::api::names;
use crate::api::validation::labels::selector;
use crate::api::validation::spot::{Errors, Spot};

/// Fields of the Pod that a file may show.
const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
/// Ten minutes.
const TOKEN_SECONDS_MIN: i64 = 600;
/// 2^32 seconds.
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
const CONFLICT: &str = "conflicting duplicate paths";

/// A `secret` or `configMap` volume, whose object is named in this field.
pub(super) fn object_files(at: &Spot<'_>, name: &str, errors: &mut Errors) {
    errors.must_be_set(&at.at(name));
    mode(&at.at("defaultMode"), errors);
    at.at("items").items().for_each(|item| key_to_path(&item, errors));
}

/// A `downwardAPI` volume; upstream tells errors of its items without their index.
pub(super) fn downward_files(at: &Spot<'_>, errors: &mut Errors) {
    mode(&at.at("defaultMode"), errors);
    at.at("items").items().for_each(|item| downward_file(&at.with(item.value), errors));
}

/// A `projected` volume: its sources share one tree of paths.
pub(super) fn projected(at: &Spot<'_>, errors: &mut Errors) {
    mode(&at.at("defaultMode"), errors);
    let mut paths = BTreeSet::new();
    for source in at.at("sources").items() {
        let kinds = [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ];
        let given: Vec<(&str, Spot<'_>)> =
            kinds.iter().map(|kind| (*kind, source.at(kind))).filter(|(_, it)| it.is_set()).collect();
        for (kind, inner) in &given {
            match *kind {
                "secret" | "configMap" => projected_object(at, inner, &mut paths, errors),
                "downwardAPI" => projected_downward(at, inner, &mut paths, errors),
                "serviceAccountToken" => token(at, inner, errors),
                "clusterTrustBundle" => trust_bundle(at, inner, &mut paths, errors),
                _ => {}
            }
        }
        if given.len() > 1 {
            errors.forbidden(&source, "may not specify more than 1 volume type per source");
        }
    }
}

fn projected_object<'a>(whole: &Spot<'_>, at: &Spot<'a>, paths: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    errors.must_be_set(&at.at("name"));
    for item in at.at("items").items() {
        key_to_path(&item, errors);
        let path = item.at("path").text();
        if !path.is_empty() && !paths.insert(path) {
            errors.invalid_value(whole, at.at("name").text(), CONFLICT);
        }
    }
}

fn projected_downward<'a>(
    whole: &Spot<'_>,
    at: &Spot<'a>,
    paths: &mut BTreeSet<&'a str>,
    errors: &mut Errors,
) {
    for item in at.at("items").items() {
        downward_file(&at.with(item.value), errors);
        let path = item.at("path").text();
        if !path.is_empty() && !paths.insert(path) {
            errors.invalid_value(whole, path, CONFLICT);
        }
    }
}

fn token(whole: &Spot<'_>, at: &Spot<'_>, errors: &mut Errors) {
    let seconds = at.at("expirationSeconds");
    match seconds.number() {
        Some(..TOKEN_SECONDS_MIN) => {
            errors.invalid(&seconds, "may not specify a duration less than 10 minutes");
        }
        Some(number) if number > TOKEN_SECONDS_MAX => {
            errors.invalid(&seconds, "may not specify a duration larger than 2^32 seconds");
        }
        Some(_) | None => {}
    }
    let path = whole.at("path").with(at.at("path").value);
    errors.must_be_set(&path);
    local_path(&path, errors);
}

fn trust_bundle<'a>(whole: &Spot<'_>, at: &Spot<'a>, paths: &mut BTreeSet<&'a str>, errors: &mut Errors) {
    let (name, signer) = (at.at("name"), at.at("signerName"));
    match (name.is_set(), signer.is_set()) {
        (true, true) => errors.invalid(at, "only one of name and signerName may be used"),
        (false, false) => errors.required(at, "either name or signerName must be specified"),
        (true, false) => {
            if name.is_empty() {
                errors.required(&name, "must be a valid object name");
            }
            if at.at("labelSelector").is_set() {
                errors.invalid(&at.at("labelSelector"), "labelSelector must be unset if name is specified");
            }
        }
        (false, true) => {
            if signer.is_empty() {
                errors.required(&signer, "must be a valid signer name");
            }
            selector(&at.at("labelSelector"), errors);
        }
    }
    let path = at.at("path");
    errors.must_be_set(&path);
    local_path(&path, errors);
    if !paths.insert(path.text()) {
        errors.invalid_value(whole, path.text(), CONFLICT);
    }
}

fn key_to_path(at: &Spot<'_>, errors: &mut Errors) {
    errors.must_be_set(&at.at("key"));
    errors.must_be_set(&at.at("path"));
    local_path(&at.at("path"), errors);
    mode(&at.at("mode"), errors);
}

fn downward_file(at: &Spot<'_>, errors: &mut Errors) {
    errors.must_be_set(&at.at("path"));
    local_path(&at.at("path"), errors);
    let (field, amount) = (at.at("fieldRef"), at.at("resourceFieldRef"));
    if field.is_set() {
        field_ref(&field, &FILE_FIELDS, errors);
        if amount.is_set() {
            errors.invalid_value(
                at,
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            );
        }
    } else if amount.is_set() {
        resource_field_ref(&amount, true, errors);
    } else {
        errors.required(at, "one of fieldRef and resourceFieldRef is required");
    }
    mode(&at.at("mode"), errors);
}

fn mode(at: &Spot<'_>, errors: &mut Errors) {
    if at.number().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        errors.invalid(at, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

/// A path within a volume that does not look like one of the volume's own (`..data`).
fn local_path(at: &Spot<'_>, errors: &mut Errors) {
    descends(at, errors);
    let text = at.text();
    if text.starts_with("..") && text != ".." && !text.starts_with("../") {
        errors.invalid(at, "must not start with '..'");
    }
}

/// A relative path that never goes up.
pub(super) fn descends(at: &Spot<'_>, errors: &mut Errors) {
    if at.text().starts_with('/') {
        errors.invalid(at, "must be a relative path");
    }
    no_backsteps(at, errors);
}

/// A path that never goes up.
pub(in crate::api::validation) fn no_backsteps(at: &Spot<'_>, errors: &mut Errors) {
    if has_backsteps(at.text()) {
        errors.invalid(at, "must not contain '..'");
    }
}

/// Whether a path goes up anywhere.
pub(super) fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// The name of a CSI driver.
pub(in crate::api::validation) fn driver_name(at: &Spot<'_>, errors: &mut Errors) {
    errors.must_be_set(at);
    if at.text().len() > names::LABEL_BYTES_MAX {
        errors.push(crate::api::status::FieldError::too_long(at.path(), names::LABEL_BYTES_MAX));
    }
    for fault in names::dns1123_subdomain(&at.text().to_lowercase()) {
        errors.invalid(at, &fault);
    }
}

//! Volumes, claims on them, and their classes.

use serde_json::Value;

use super::labels::selector;
use super::persistent_source::{SOURCES, source};
use super::pod::{node_term, quantity};
use super::spot::{Errors, IMMUTABLE, Spot};
use crate::api::names;
use crate::api::quantity::Quantity;
use crate::api::status::FieldError;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const ALONE: &str = "may not use ReadWriteOncePod with other access modes";
/// All errors of a `PersistentVolume`.
pub fn persistent_volume(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    if spec.at("accessModes").is_empty() {
        errors.required(&spec.at("accessModes"), "");
    }
    access_modes(&spec, &mut errors);
    capacity(&spec.at("capacity"), &mut errors);
    errors.one_of_if_set(&spec.at("persistentVolumeReclaimPolicy"), &["Delete", "Recycle", "Retain"]);
    node_affinity(&spec.at("nodeAffinity"), &mut errors);
    source(&spec, Spot::root(object).at("metadata.name").text(), &mut errors);
    let policy = spec.at("persistentVolumeReclaimPolicy");
    let path = spec.at("hostPath.path").text();
    if policy.text() == "Recycle" && !path.is_empty() && path.split('/').all(|part| matches!(part, "" | "."))
    {
        errors.forbidden(&policy, "may not be 'recycle' for a hostPath mount of '/'");
    }
    class_name(&spec.at("storageClassName"), &mut errors);
    errors.one_of_if_set(&spec.at("volumeMode"), &VOLUME_MODES);
    attributes(&spec, &mut errors);
    errors.into_list()
}

fn attributes(spec: &Spot<'_>, errors: &mut Errors) {
    let class = spec.at("volumeAttributesClassName");
    if !class.is_set() {
        return;
    }
    if class.is_empty() {
        errors.required(&class, "an empty string is disallowed");
    }
    class_name(&class, errors);
    if !spec.at("csi").is_set() {
        errors.required(&spec.at("csi"), "has to be specified when using volumeAttributesClassName");
    }
}

fn access_modes(spec: &Spot<'_>, errors: &mut Errors) {
    let modes = spec.at("accessModes");
    for mode in modes.items().filter(|mode| !ACCESS_MODES.contains(&mode.text())) {
        errors.unsupported(&modes.with(mode.value), &ACCESS_MODES);
    }
    let (alone, shared): (Vec<_>, Vec<_>) = modes.items().partition(|it| it.text() == "ReadWriteOncePod");
    if !alone.is_empty() && !shared.is_empty() {
        errors.forbidden(&modes, ALONE);
    }
}

fn capacity(at: &Spot<'_>, errors: &mut Errors) {
    if at.is_empty() {
        errors.required(at, "");
    } else if !at.key("storage").is_set() || at.entries().count() > 1 {
        errors.unsupported(at, &["storage"]);
    }
    for (name, amount) in at.entries() {
        quantity(name, &amount, errors);
        if amount.quantity().is_some_and(|amount| amount <= Quantity::ZERO) {
            errors.invalid(&amount, "must be greater than zero");
        }
    }
}

fn node_affinity(at: &Spot<'_>, errors: &mut Errors) {
    if !at.is_set() {
        return;
    }
    let required = at.at("required");
    if !required.is_set() {
        errors.required(&required, "must specify required node constraints");
        return;
    }
    let terms = required.at("nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&terms, "must have at least one node selector term");
    }
    terms.items().for_each(|it| node_term(&it, true, errors));
}

fn class_name(at: &Spot<'_>, errors: &mut Errors) {
    if !at.is_empty() {
        errors.faults(at, names::dns1123_subdomain(at.text()));
    }
}

/// Where a volume comes from, and what it is, never changes.
pub fn persistent_volume_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let mut asked = new["spec"].clone();
    // A driver that was not given a Secret to grow the volume with may be given one.
    let had_none =
        old["spec"]["csi"].is_object() && old["spec"]["csi"]["controllerExpandSecretRef"].is_null();
    if let Some(driver) = asked.get_mut("csi").and_then(Value::as_object_mut).filter(|_| had_none) {
        driver.remove("controllerExpandSecretRef");
    }
    let (given, old) = (Spot::root(new).at("spec"), Spot::root(old).at("spec"));
    let asked = given.with(&asked);
    if SOURCES.iter().any(|(source, _)| asked.at(source).value != old.at(source).value) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.forbidden(&given.at("persistentvolumesource"), detail);
    }
    // These two paths are upstream's.
    let root = Spot::root(new);
    errors.immutable(&root.at("volumeMode").with(given.at("volumeMode").value), &old.at("volumeMode"));
    if old.at("nodeAffinity").is_set() {
        errors.immutable(
            &root.at("nodeAffinity").with(given.at("nodeAffinity").value),
            &old.at("nodeAffinity"),
        );
    }
    let class = given.at("volumeAttributesClassName");
    if old.at("volumeAttributesClassName").is_set() && !class.is_set() {
        errors.forbidden(&class, "update from non-nil value to nil is forbidden");
    }
    errors.into_list()
}

/// All errors of a `PersistentVolumeClaim`.
pub fn persistent_volume_claim(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    claim_spec(&spec, &mut errors);
    errors.into_list()
}

/// `spec` of a claim, or of one that is to be made.
pub(super) fn claim_spec(spec: &Spot<'_>, errors: &mut Errors) {
    if spec.at("selector").is_set() {
        selector(&spec.at("selector"), errors);
    }
    if spec.at("accessModes").is_empty() {
        errors.required(&spec.at("accessModes"), "at least 1 access mode is required");
    }
    access_modes(spec, errors);
    // The path without `requests` is upstream's.
    let storage = spec.at("resources").key("storage").with(spec.at("resources.requests.storage").value);
    match storage.quantity() {
        None => errors.required(&storage, ""),
        Some(size) if size <= Quantity::ZERO => errors.invalid(&storage, "must be greater than zero"),
        Some(_) => {}
    }
    class_name(&spec.at("storageClassName"), errors);
    errors.one_of_if_set(&spec.at("volumeMode"), &VOLUME_MODES);
    let source = spec.at("dataSource");
    if source.is_set() {
        errors.must_be_set(&source.at("name"));
        errors.must_be_set(&source.at("kind"));
        let (group, kind) = (source.at("apiGroup").text(), source.at("kind").text());
        if group.is_empty() && kind != "PersistentVolumeClaim" {
            errors.invalid_value(&source, kind, "");
        }
    }
}

/// A claim stays what it is: it gets a volume and a class once, and grows when it is bound.
pub fn persistent_volume_claim_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let is_bound = old["status"]["phase"] == "Bound";
    let mut asked = new["spec"].clone();
    if old["spec"]["volumeName"].as_str().unwrap_or_default().is_empty() {
        take(&mut asked, &old["spec"], "volumeName");
    }
    if !is_bound && old["spec"]["storageClassName"].is_null() {
        take(&mut asked, &old["spec"], "storageClassName");
    }
    if is_bound {
        take(&mut asked, &old["spec"], "volumeAttributesClassName");
        if asked["resources"].is_object() && old["spec"]["resources"].is_object() {
            take(&mut asked["resources"], &old["spec"]["resources"], "requests");
        }
    }
    let (new, old) = (Spot::root(new).at("spec"), Spot::root(old));
    if asked != *old.at("spec").value {
        errors.forbidden(
            &new,
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        );
    }
    let size = new.at("resources.requests.storage");
    let least = old.at("status.capacity.storage").quantity();
    if is_bound
        && size.quantity() < old.at("spec.resources.requests.storage").quantity()
        && size.quantity() < least
    {
        errors.forbidden(&size, "field can not be less than status.capacity");
    }
    errors.into_list()
}

/// Puts back what may differ.
fn take(into: &mut Value, from: &Value, field: &str) {
    if let Some(fields) = into.as_object_mut() {
        match from.get(field) {
            Some(value) => drop(fields.insert(field.into(), value.clone())),
            None => drop(fields.remove(field)),
        }
    }
}

/// All errors of a `StorageClass`.
pub fn storage_class(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    let provisioner = root.at("provisioner");
    if provisioner.is_empty() {
        errors.required(&provisioner, "");
    } else {
        errors.faults(&provisioner, names::qualified_name(&provisioner.text().to_lowercase()));
    }
    for (name, value) in root.at("parameters").entries() {
        if name.is_empty() {
            errors.invalid(&value, "field can not be empty.");
        }
    }
    errors.one_of_if_set(&root.at("reclaimPolicy"), &["Delete", "Retain"]);
    errors.one_of(&root.at("volumeBindingMode"), &["Immediate", "WaitForFirstConsumer"]);
    errors.into_list()
}

/// A class promises the same for good.
pub fn storage_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (new, old) = (Spot::root(new), Spot::root(old));
    for field in ["parameters", "provisioner", "reclaimPolicy"] {
        if new.at(field).value != old.at(field).value {
            errors.forbidden(&new.at(field), &format!("updates to {field} are forbidden."));
        }
    }
    if new.at("volumeBindingMode").value != old.at("volumeBindingMode").value {
        errors.invalid(&new.at("volumeBindingMode"), IMMUTABLE);
    }
    errors.into_list()
}

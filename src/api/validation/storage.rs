//! Volumes, claims on them, and their classes.

use serde_json::Value;

use super::labels::selector;
use super::pod::{node_term, quantity};
use super::spot::{Errors, IMMUTABLE, Spot};
use crate::api::names;
use crate::api::quantity::Quantity;
use crate::api::status::FieldError;

const ACCESS_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const ALONE: &str = "may not use ReadWriteOncePod with other access modes";
/// Where a volume may come from.
const SOURCES: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "csi",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "glusterfs",
    "hostPath",
    "iscsi",
    "local",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

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
    source(&spec, &mut errors);
    node_affinity(&spec.at("nodeAffinity"), &mut errors);
    class_name(&spec.at("storageClassName"), &mut errors);
    errors.one_of_if_set(&spec.at("volumeMode"), &VOLUME_MODES);
    errors.into_list()
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

fn source(spec: &Spot<'_>, errors: &mut Errors) {
    let mut given = SOURCES.iter().map(|name| spec.at(name)).filter(Spot::is_set);
    let Some(first) = given.next() else {
        errors.required(spec, "must specify a volume type");
        return;
    };
    for another in given {
        errors.forbidden(&another, "may not specify more than 1 volume type");
    }
    let needed: &[&str] = match first.path() {
        "spec.hostPath" | "spec.local" => &["path"],
        "spec.nfs" => &["server", "path"],
        "spec.iscsi" => &["targetPortal", "iqn"],
        "spec.csi" => &["driver", "volumeHandle"],
        _ => &[],
    };
    for field in needed {
        errors.must_be_set(&first.at(field));
    }
    let path = first.at("path");
    match first.path() {
        "spec.hostPath" | "spec.local" if path.text().split('/').any(|part| part == "..") => {
            errors.invalid(&path, "must not contain '..'");
        }
        "spec.nfs" if !path.is_empty() && !path.text().starts_with('/') => {
            errors.invalid(&path, "must be an absolute path");
        }
        _ => {}
    }
    if first.path() == "spec.local" && !spec.at("nodeAffinity").is_set() {
        errors.required(&spec.at("nodeAffinity"), "Local volume requires node affinity");
    }
    let policy = spec.at("persistentVolumeReclaimPolicy");
    if first.path() == "spec.hostPath" && path.text() == "/" && policy.text() == "Recycle" {
        errors.forbidden(&policy, "may not be 'recycle' for a hostPath mount of '/'");
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
    let (new, old) = (Spot::root(new).at("spec"), Spot::root(old).at("spec"));
    if SOURCES.iter().any(|source| new.at(source).value != old.at(source).value) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        errors.forbidden(&new.at("persistentvolumesource"), detail);
    }
    errors.immutable(&new.at("volumeMode"), &old.at("volumeMode"));
    if old.at("nodeAffinity").is_set() {
        errors.immutable(&new.at("nodeAffinity"), &old.at("nodeAffinity"));
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

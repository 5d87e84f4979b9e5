//! `metadata`: what the endpoint fills in, what clients may not change, and what is valid, in upstream's words.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::api::kinds::Kind;
use crate::api::names;
use crate::api::status::FieldError;
use crate::coordinator::rules;
use crate::time::WallTime;

/// Most bytes of all annotations together, as upstream.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;
/// Holds an object until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Holds an object until its dependents are set free.
pub const ORPHAN: &str = "orphan";

const IMMUTABLE: &str = "field is immutable";

/// `metadata.<field>` as text, empty when absent.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object["metadata"][field].as_str().unwrap_or_default()
}

pub(super) fn number(object: &Value, field: &str) -> Option<i64> {
    object["metadata"][field].as_i64()
}

pub(super) fn finalizers(object: &Value) -> Vec<String> {
    strings(&object["metadata"]["finalizers"]).map(str::to_owned).collect()
}

pub(super) fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    if finalizers.is_empty() {
        clear(object, "finalizers");
    } else {
        object["metadata"]["finalizers"] = finalizers.into();
    }
}

pub(super) fn is_terminating(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

pub(super) fn clear(object: &mut Value, field: &str) {
    fields(object).remove(field);
}

/// `metadata` as a map; made where it is missing.
pub(super) fn fields(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"].as_object_mut().expect("it is an object by now")
}

/// Takes from a new object what only the endpoint may say.
pub(super) fn wipe(object: &mut Value) {
    for field in ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        clear(object, field);
    }
}

pub(super) fn fill(object: &mut Value, uid: String, now: WallTime) {
    fields(object).insert("uid".into(), uid.into());
    fields(object).insert("creationTimestamp".into(), now.seconds().into());
}

/// What an update cannot change is what it was.
pub(super) fn preserve(new: &mut Value, old: &Value) {
    if text(new, "uid").is_empty() {
        carry(new, old, "uid");
    }
    carry(new, old, "creationTimestamp");
    carry(new, old, "generation");
    if is_terminating(old) {
        carry(new, old, "deletionTimestamp");
    }
    if number(new, "deletionGracePeriodSeconds").is_none() {
        carry(new, old, "deletionGracePeriodSeconds");
    }
}

pub(super) fn carry(new: &mut Value, old: &Value, field: &str) {
    match old["metadata"].get(field) {
        Some(value) => {
            fields(new).insert(field.into(), value.clone());
        }
        None => clear(new, field),
    }
}

/// A generation later, for kinds that count them.
pub(super) fn bump_generation(object: &mut Value) {
    if let Some(generation) = number(object, "generation").filter(|generation| *generation > 0) {
        object["metadata"]["generation"] = (generation + 1).into();
    }
}

/// Drops repeated owner references; tells the uids that stood twice, as a warning.
pub(super) fn remove_duplicate_owners(object: &mut Value) -> Option<String> {
    let owners = object.pointer_mut("/metadata/ownerReferences")?.as_array_mut()?;
    let (mut seen, mut twice) = (Vec::new(), Vec::new());
    owners.retain(|owner| {
        if seen.contains(owner) {
            twice.push(owner["uid"].as_str().unwrap_or_default().to_owned());
            return false;
        }
        seen.push(owner.clone());
        true
    });
    if twice.is_empty() {
        return None;
    }
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
         reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    ))
}

/// All errors of an object's metadata, its name already generated.
pub(super) fn validate(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let prefix = text(object, "generateName");
    if !prefix.is_empty() {
        errors.extend(invalid("metadata.generateName", prefix, &rules::prefix_faults(kind, prefix)));
    }
    let name = text(object, "name");
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        errors.extend(invalid("metadata.name", name, &rules::name_faults(kind, name)));
    }
    errors.extend(validate_namespace(kind, text(object, "namespace")));
    errors.extend(validate_contents(object));
    errors.extend(validate_finalizers(&object["metadata"]["finalizers"]));
    errors
}

/// All errors of what an update does to the metadata.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if is_terminating(old) {
        errors.extend(no_new_finalizers(new, old));
    }
    for field in
        ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"]
    {
        let value = &new["metadata"][field];
        if *value != old["metadata"][field] {
            errors.push(FieldError::invalid(format!("metadata.{field}"), value, IMMUTABLE));
        }
    }
    errors.extend(validate_contents(new));
    errors.extend(validate_finalizers(&new["metadata"]["finalizers"]));
    errors
}

fn validate_namespace(kind: &Kind, namespace: &str) -> Vec<FieldError> {
    match (kind.namespaced, namespace.is_empty()) {
        (true, true) => vec![FieldError::required("metadata.namespace", "")],
        (true, false) => invalid("metadata.namespace", namespace, &names::dns1123_label(namespace)),
        (false, true) => Vec::new(),
        (false, false) => vec![FieldError::forbidden("metadata.namespace", "not allowed on this type")],
    }
}

fn validate_contents(object: &Value) -> Vec<FieldError> {
    let metadata = &object["metadata"];
    let mut errors = Vec::new();
    for (key, value) in pairs(&metadata["labels"]) {
        errors.extend(invalid("metadata.labels", key, &names::qualified_name(key)));
        errors.extend(invalid("metadata.labels", value, &names::label_value(value)));
    }
    let mut annotation_bytes = 0;
    for (key, value) in pairs(&metadata["annotations"]) {
        annotation_bytes += key.len() + value.len();
        errors.extend(invalid("metadata.annotations", key, &names::qualified_name(&key.to_lowercase())));
    }
    if annotation_bytes > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long("metadata.annotations", ANNOTATIONS_BYTES_MAX));
    }
    errors.extend(validate_owners(&metadata["ownerReferences"]));
    errors
}

fn validate_owners(owners: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controller: Option<String> = None;
    for (i, owner) in owners.as_array().into_iter().flatten().enumerate() {
        let path = format!("metadata.ownerReferences[{i}]");
        errors.extend(validate_owner(owner, &path));
        if owner["controller"] != true {
            continue;
        }
        let part = |field: &str| owner[field].as_str().unwrap_or_default();
        let this = format!("{}/{}", part("kind"), part("name"));
        match &controller {
            None => controller = Some(this),
            Some(first) => errors.push(FieldError::invalid(
                "metadata.ownerReferences",
                owners,
                &format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and \
                     {this}"
                ),
            )),
        }
    }
    errors
}

fn validate_owner(owner: &Value, path: &str) -> Vec<FieldError> {
    let part = |field: &str| owner[field].as_str().unwrap_or_default();
    let mut errors = Vec::new();
    let version = part("apiVersion");
    if version.is_empty() {
        errors.push(FieldError::required(format!("{path}.apiVersion"), "must not be empty"));
    } else if version.matches('/').count() > 1 || version.ends_with('/') {
        let rule = "must be <group>/<version> or <version>";
        errors.push(FieldError::invalid(format!("{path}.apiVersion"), &version.into(), rule));
    }
    for field in ["kind", "name", "uid"] {
        if part(field).is_empty() {
            errors.push(FieldError::required(format!("{path}.{field}"), "must not be empty"));
        }
    }
    if (version, part("kind")) == ("v1", "Event") {
        errors.push(FieldError::invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner"));
    }
    errors
}

fn validate_finalizers(finalizers: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for finalizer in strings(finalizers) {
        errors.extend(invalid("metadata.finalizers", finalizer, &names::qualified_name(finalizer)));
    }
    let has = |wanted: &str| strings(finalizers).any(|finalizer| finalizer == wanted);
    if has(ORPHAN) && has(FOREGROUND) {
        let rule = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(FieldError::invalid("metadata.finalizers", finalizers, &rule));
    }
    errors
}

fn no_new_finalizers(new: &Value, old: &Value) -> Option<FieldError> {
    let old: BTreeSet<&str> = strings(&old["metadata"]["finalizers"]).collect();
    let new: BTreeSet<&str> = strings(&new["metadata"]["finalizers"]).collect();
    let added: Vec<String> = new.difference(&old).map(|finalizer| format!("{finalizer:?}")).collect();
    if added.is_empty() {
        return None;
    }
    Some(FieldError::forbidden(
        "metadata.finalizers",
        &format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        ),
    ))
}

fn invalid(path: &str, value: &str, faults: &[String]) -> Vec<FieldError> {
    faults.iter().map(|fault| FieldError::invalid(path, &value.into(), fault)).collect()
}

fn pairs(map: &Value) -> impl Iterator<Item = (&str, &str)> {
    let entries = map.as_object().into_iter().flatten();
    entries.map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

//! The kinds with little or nothing to add.

use serde_json::{Map, Value};

use super::{field, field_or_new, fill, spell};
use crate::api::model::encode_bytes;

/// The label by which namespaces are selected by name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// Namespace: its name as a label, the finalizer that keeps it until it is empty, phase `Active`.
pub fn namespace(object: &mut Value) {
    spell("", "Namespace", object);
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let ending = object.pointer("/metadata/deletionTimestamp").is_some();
    let Some(root) = object.as_object_mut() else { return };
    if !name.is_empty()
        && let Some(labels) = field(root, "metadata").and_then(|it| field_or_new(it, "labels"))
    {
        labels.insert(NAME_LABEL.into(), name.into());
    }
    if !ending && let Some(spec) = field_or_new(root, "spec") {
        fill(spec, "finalizers", vec!["kubernetes"]);
    }
    if let Some(status) = field_or_new(root, "status") {
        fill(status, "phase", "Active");
    }
}

/// Secret: type `Opaque`; `stringData` goes into `data`, over what is there.
pub fn secret(object: &mut Value) {
    spell("", "Secret", object);
    let Some(root) = object.as_object_mut() else { return };
    fill(root, "type", "Opaque");
    let texts = match root.remove("stringData") {
        Some(Value::Object(texts)) if texts.values().all(Value::is_string) => texts,
        Some(other) => {
            root.insert("stringData".into(), other);
            return;
        }
        None => return,
    };
    if !texts.is_empty()
        && let Some(data) = field_or_new(root, "data")
    {
        data.extend(texts.into_iter().map(|(key, text)| {
            let encoded = encode_bytes(text.as_str().unwrap_or_default().as_bytes());
            (key, encoded.into())
        }));
    }
}

/// Event: the fields that upstream always writes.
pub fn event(object: &mut Value) {
    spell("", "Event", object);
    let Some(root) = object.as_object_mut() else { return };
    fill(root, "source", Map::new());
    fill(root, "reportingComponent", "");
    fill(root, "reportingInstance", "");
}

/// `ConfigMap`: spelling only.
pub fn config_map(object: &mut Value) {
    spell("", "ConfigMap", object);
}

/// `ServiceAccount`: spelling only.
pub fn service_account(object: &mut Value) {
    spell("", "ServiceAccount", object);
}

/// `ControllerRevision`: spelling only, and never in its data.
pub fn controller_revision(object: &mut Value) {
    spell("apps", "ControllerRevision", object);
}

/// Lease: spelling only.
pub fn lease(object: &mut Value) {
    spell("coordination.k8s.io", "Lease", object);
}

//! What is particular to Namespaces: the phase, and `spec.finalizers`, which hold a namespace while it has contents.

use serde_json::{Value, json};

use crate::api::names;
use crate::api::status::FieldError;
use crate::coordinator::metadata;
use crate::coordinator::update::put_or_remove;
use crate::time::WallTime;

/// Held by whoever empties namespaces.
const KUBERNETES: &str = "kubernetes";

/// Besides what the client wants, every namespace is held until it is empty.
pub(super) fn prepare_new(namespace: &mut Value) {
    let finalizers = &mut spec(namespace)["finalizers"];
    let mut held = finalizers.as_array().cloned().unwrap_or_default();
    if !held.contains(&KUBERNETES.into()) {
        held.push(KUBERNETES.into());
    }
    *finalizers = held.into();
}

pub(super) fn keep_finalizers(new: &mut Value, old: &Value) {
    put_or_remove(spec(new), "finalizers", old["spec"]["finalizers"].clone());
}

pub(super) fn has_finalizers(namespace: &Value) -> bool {
    namespace["spec"]["finalizers"].as_array().is_some_and(|held| !held.is_empty())
}

/// The first DELETE: nothing new may come in, and whoever holds a finalizer begins to empty it.
pub(super) fn terminate(namespace: &mut Value, now: WallTime) {
    namespace["metadata"]["deletionTimestamp"] = now.seconds().into();
    if !namespace["status"].is_object() {
        namespace["status"] = json!({});
    }
    namespace["status"]["phase"] = "Terminating".into();
}

pub(super) fn validate_status(namespace: &Value) -> Option<FieldError> {
    let phase = &namespace["status"]["phase"];
    let (expected, when) = if metadata::is_terminating(namespace) {
        ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty")
    } else {
        ("Active", "may only be 'Active' if `deletionTimestamp` is empty")
    };
    let shown = json!(phase.as_str().unwrap_or_default());
    (phase != expected).then(|| FieldError::invalid("status.Phase", &shown, when))
}

pub(super) fn validate_finalizers(namespace: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let held = namespace["spec"]["finalizers"].as_array();
    for (i, finalizer) in held.into_iter().flatten().enumerate() {
        let faults = names::qualified_name(finalizer.as_str().unwrap_or_default());
        let path = format!("spec.finalizers[{i}]");
        errors.extend(faults.iter().map(|fault| FieldError::invalid(path.as_str(), finalizer, fault)));
    }
    errors
}

fn spec(namespace: &mut Value) -> &mut Value {
    if !namespace["spec"].is_object() {
        namespace["spec"] = json!({});
    }
    &mut namespace["spec"]
}

//! The parts of a Pod that are written by paths of their own: its ephemeral containers, and what its containers may use.

use serde_json::Value;

use crate::api::status::FieldError;
use crate::api::validation;
use crate::coordinator::metadata;
use crate::coordinator::update::put_or_remove;

/// All but the ephemeral containers is as it was.
pub(super) fn keep_all_but_ephemeral(new: &mut Value, old: &Value) {
    let ephemeral = new["spec"]["ephemeralContainers"].take();
    *new = with_metadata(new, old);
    put_or_remove(&mut new["spec"], "ephemeralContainers", ephemeral);
}

/// All but the resources of containers is as it was; containers go by their names.
pub(super) fn keep_all_but_resources(new: &mut Value, old: &Value) {
    let asked = new["spec"].take();
    *new = with_metadata(new, old);
    for list in ["containers", "initContainers"] {
        let Some(containers) = new["spec"][list].as_array_mut() else { continue };
        for container in containers {
            let same = |it: &&Value| it["name"] == container["name"];
            let Some(wanted) = asked[list].as_array().and_then(|list| list.iter().find(same)) else {
                continue;
            };
            for field in ["resources", "resizePolicy"] {
                put_or_remove(container, field, wanted[field].clone());
            }
        }
    }
}

/// The old object, of whose metadata only what says which object is meant comes from the new one.
fn with_metadata(new: &Value, old: &Value) -> Value {
    let mut kept = old.clone();
    for field in ["name", "namespace", "uid", "resourceVersion", "managedFields"] {
        metadata::carry(&mut kept, new, field);
    }
    kept
}

pub(super) fn ephemeral_errors(new: &Value, old: &Value) -> Vec<FieldError> {
    [validation::pod(new), validation::pod_ephemeral_containers(new, old)].concat()
}

pub(super) fn resize_errors(new: &Value, old: &Value) -> Vec<FieldError> {
    [validation::pod(new), validation::pod_resize(new, old)].concat()
}

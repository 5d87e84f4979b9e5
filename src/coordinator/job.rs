//! What is particular to Jobs: unless the user takes care of it, a new Job's Pods are labelled with its uid and name,
//! and it selects them by the uid.

use serde_json::{Map, Value, json};

use crate::coordinator::metadata;

const UID: &str = "batch.kubernetes.io/controller-uid";
const NAME: &str = "batch.kubernetes.io/job-name";
/// The names of these labels before they had a domain.
const OLD_UID: &str = "controller-uid";
const OLD_NAME: &str = "job-name";

pub(super) fn prepare_new(job: &mut Value) {
    if job["spec"]["manualSelector"] == true || !job["spec"]["template"].is_object() {
        return;
    }
    let uid = metadata::text(job, "uid").to_owned();
    let name = metadata::text(job, "name").to_owned();
    let template = &mut job["spec"]["template"];
    if let Some(labels) = map(metadata::fields(template), "labels") {
        for (label, value) in [(OLD_NAME, &name), (NAME, &name), (OLD_UID, &uid), (UID, &uid)] {
            labels.entry(label).or_insert_with(|| value.clone().into());
        }
    }
    let selector = &mut job["spec"]["selector"];
    if !selector.is_object() {
        *selector = json!({});
    }
    if let Some(labels) = selector.as_object_mut().and_then(|selector| map(selector, "matchLabels")) {
        labels.entry(UID).or_insert_with(|| uid.into());
    }
}

/// A map-valued field, made where it is missing.
fn map<'a>(fields: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    let field = fields.entry(name).or_insert_with(|| json!({}));
    if field.is_null() {
        *field = json!({});
    }
    field.as_object_mut()
}

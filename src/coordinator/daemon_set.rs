//! What is particular to DaemonSets: the count of template changes, which upstream keeps in an annotation.

use serde_json::{Value, json};

use crate::coordinator::metadata;
use crate::coordinator::update::same;

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

pub(super) fn prepare_new(daemon_set: &mut Value) {
    let stated = template_generation(daemon_set);
    annotate(daemon_set, stated.max(1));
}

pub(super) fn prepare_update(new: &mut Value, old: &Value) {
    let is_changed = !same(&new["spec"]["template"], &old["spec"]["template"]);
    annotate(new, template_generation(old) + i64::from(is_changed));
}

fn template_generation(daemon_set: &Value) -> i64 {
    let text = daemon_set["metadata"]["annotations"][TEMPLATE_GENERATION].as_str();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn annotate(daemon_set: &mut Value, generation: i64) {
    let annotations = metadata::fields(daemon_set).entry("annotations").or_insert_with(|| json!({}));
    annotations[TEMPLATE_GENERATION] = generation.to_string().into();
}

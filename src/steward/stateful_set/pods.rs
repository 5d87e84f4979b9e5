//! What a StatefulSet makes: its Pods, and for each the identity Lease that it will run under.

use serde_json::{Value, json};

use super::{REVISION_LABEL, claims};
use crate::lease::identity::wire;
use crate::steward::action::Action;
use crate::steward::children;
use crate::steward::object::{Object, id};

const NAME_LABEL: &str = "statefulset.kubernetes.io/pod-name";
const INDEX_LABEL: &str = "apps.kubernetes.io/pod-index";

/// The Pod of an ordinal, by a template of a revision.
pub(super) fn pod(set: &Object, template: &Value, revision: &str, ordinal: i64) -> Value {
    let name = format!("{}-{ordinal}", set.name());
    let mut pod = children::pod(template, set, &name);
    let labels = &mut pod["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    labels[NAME_LABEL] = name.as_str().into();
    labels[INDEX_LABEL] = ordinal.to_string().into();
    labels[REVISION_LABEL] = revision.into();
    pod["metadata"]["generateName"] = format!("{}-", set.name()).into();
    pod["spec"]["hostname"] = name.as_str().into();
    let service = set.text("/spec/serviceName");
    if !service.is_empty() {
        pod["spec"]["subdomain"] = service.into();
    }
    claims::mount(set, ordinal, &mut pod["spec"]);
    pod
}

/// The labels that a Pod must have to be the one of its ordinal, where it has them not.
pub(super) fn wrong_labels(pod: &Object, ordinal: i64) -> Option<Value> {
    let index = ordinal.to_string();
    let is_right = pod.label(NAME_LABEL) == Some(pod.name()) && pod.label(INDEX_LABEL) == Some(&index);
    (!is_right).then(|| json!({ NAME_LABEL: pod.name(), INDEX_LABEL: index }))
}

/// The identity of a Pod, held by nobody. It is made before the Pod, and only where there is none: a first start has
/// nobody to wait for.
pub(super) fn identity(namespace: &str, pod: &str) -> Action {
    let lease = wire::inert_of_pod(namespace, pod);
    let object = serde_json::to_value(lease).expect("a Lease is JSON");
    Action::Create { kind: id("coordination.k8s.io", "Lease"), object, told: None }
}

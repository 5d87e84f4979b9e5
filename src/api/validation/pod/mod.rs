//! Pod, and the Pod templates of workloads.

mod affinity;
mod container;
mod env;
mod files;
mod linux;
mod mounts;
mod parts;
mod probe;
mod resources;
mod security;
mod spec;
mod spread;
mod status;
mod toleration;
mod update;
mod volume;

pub(super) use affinity::node_term;
pub(super) use files::{driver_name, no_backsteps};
pub use parts::{pod_ephemeral_containers, pod_resize};
pub(super) use resources::{quantity, resource_name};
use serde_json::Value;
use spec::{Home, pod_spec};
pub use status::pod_status;
pub(super) use toleration::tolerations;
pub use update::pod_update;
pub(super) use volume::{fibre_channel, flex_options, flocker, host_path, is_iscsi_name, partition};

use super::labels::labels;
use super::spot::{Errors, Spot};
use crate::api::status::FieldError;

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const MIRROR: &str = "kubernetes.io/config.mirror";
/// All annotations of an object together: 256 KiB.
const ANNOTATIONS_BYTES_MAX: usize = 256 * 1024;

/// All errors of a Pod.
pub fn pod(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    let spec = root.at("spec");
    annotations(&root.at("metadata.annotations"), &spec, &mut errors);
    pod_spec(&spec, &Home::Pod { name: root.at("metadata.name").text() }, &mut errors);
    tokens_need_an_account(&spec, &mut errors);
    for list in ["containers", "initContainers"] {
        spec.at(list).items().for_each(|it| untrimmed_image(&it.at("image"), &mut errors));
    }
    errors.into_list()
}

/// What a Pod may come to have, but not bring along.
pub fn pod_create(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    if !spec.at("ephemeralContainers").is_empty() {
        errors.forbidden(&spec.at("ephemeralContainers"), "cannot be set on create");
    }
    if !spec.at("nodeName").is_empty() && !spec.at("schedulingGates").is_empty() {
        errors.forbidden(&spec.at("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    errors.into_list()
}

/// All errors of a `PodTemplateSpec`.
pub(super) fn template(at: &Spot<'_>, errors: &mut Errors) {
    let metadata = at.at("metadata");
    // Upstream leaves `metadata` out of the paths of labels and annotations here.
    labels(&at.at("labels").with(metadata.at("labels").value), errors);
    let notes = at.at("annotations").with(metadata.at("annotations").value);
    let size: usize = notes.entries().map(|(key, value)| key.len() + value.text().len()).sum();
    for (key, _) in notes.entries() {
        errors.faults_of(&notes, key, crate::api::names::qualified_name(&key.to_lowercase()));
    }
    if size > ANNOTATIONS_BYTES_MAX {
        errors.push(FieldError::too_long(notes.path(), ANNOTATIONS_BYTES_MAX));
    }
    let spec = at.at("spec");
    annotations(&notes, &spec, errors);
    pod_spec(&spec, &Home::Template, errors);
    if !spec.at("ephemeralContainers").is_empty() {
        errors.forbidden(&spec.at("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

/// Annotations that mean something.
fn annotations(at: &Spot<'_>, spec: &Spot<'_>, errors: &mut Errors) {
    if at.key(MIRROR).is_set() && spec.at("nodeName").is_empty() {
        errors.invalid(&at.key(MIRROR), "must set spec.nodeName if mirror pod annotation is set");
    }
    let cost = at.key(DELETION_COST);
    if cost.is_set() && !is_deletion_cost(cost.text()) {
        errors.invalid(&cost, "must be a 32bit integer");
    }
    for (key, profile) in at.entries() {
        if let Some(container) = key.strip_prefix(APP_ARMOR) {
            let known = ["initContainers", "containers", "ephemeralContainers"]
                .iter()
                .flat_map(|list| spec.at(list).items())
                .any(|it| it.at("name").text() == container);
            if !known {
                errors.invalid_value(&profile, container, "container not found");
            }
            let text = profile.text();
            if !matches!(text, "" | "runtime/default" | "unconfined") && !text.starts_with("localhost/") {
                errors.invalid(&profile, &format!("invalid AppArmor profile name: {text:?}"));
            }
        }
    }
}

/// No plus, no leading zeros: written back it must read the same.
fn is_deletion_cost(text: &str) -> bool {
    text.parse::<i32>().is_ok_and(|number| number.to_string() == text)
}

fn tokens_need_an_account(spec: &Spot<'_>, errors: &mut Errors) {
    if !spec.at("serviceAccountName").is_empty() {
        return;
    }
    for volume in spec.at("volumes").items() {
        for source in volume.at("projected").at("sources").items() {
            if source.at("serviceAccountToken").is_set() {
                let at = source.at("serviceAccountToken");
                errors.forbidden(&at, "must not be specified when serviceAccountName is not set");
            }
        }
    }
}

fn untrimmed_image(at: &Spot<'_>, errors: &mut Errors) {
    if at.text().trim() != at.text() {
        errors.invalid(at, "must not have leading or trailing whitespace");
    }
}

//! Validation with upstream's field paths and sentences. Objects come here after their defaults; metadata is judged by
//! the coordinator.

mod certificate;
mod cluster;
mod config;
mod daemon_set;
mod endpoints;
mod event;
mod labels;
mod network;
mod node;
mod persistent_source;
mod pod;
mod rbac;
mod service;
mod small;
mod spot;
mod storage;
mod workload;

pub use certificate::{certificate_signing_request, certificate_signing_request_update};
pub use cluster::{
    SYSTEM_CLASSES, limit_range, priority_class, priority_class_update, resource_quota,
    resource_quota_status, resource_quota_update, runtime_class, runtime_class_update,
};
pub use config::{config_map, config_map_update, secret, secret_update};
pub use daemon_set::{daemon_set, daemon_set_status, daemon_set_update};
pub use endpoints::{endpoint_slice, endpoint_slice_update, endpoints};
pub use event::{event, event_of_events, event_of_events_update};
pub use network::{ingress, ingress_class, ingress_class_update, ingress_status, network_policy};
pub use node::{node, node_status, node_update};
pub use pod::{pod, pod_create, pod_ephemeral_containers, pod_resize, pod_status, pod_update};
pub use rbac::{binding_update, cluster_role, cluster_role_binding, role, role_binding};
use serde_json::Value;
pub use service::{service, service_status, service_update};
pub use small::{controller_revision, controller_revision_update, lease};
use storage::claim_spec;
pub use storage::{
    persistent_volume, persistent_volume_claim, persistent_volume_claim_update, persistent_volume_update,
    storage_class, storage_class_update,
};
pub use workload::{
    cron_job, deployment, deployment_status, deployment_update, job, job_status, job_update,
    pod_disruption_budget, pod_disruption_budget_status, pod_template, replica_set, replica_set_status,
    replica_set_update, replication_controller, replication_controller_status, stateful_set,
    stateful_set_status, stateful_set_update,
};

use crate::api::status::FieldError;

/// For kinds with nothing to say beyond their types and their metadata.
pub fn none(_: &Value) -> Vec<FieldError> {
    Vec::new()
}

/// For kinds in which every field may change.
pub fn none_on_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "objects are written in place, as json!")]
mod tests;

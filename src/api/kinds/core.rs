//! Rows of the core group.

use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Event, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    PodTemplate, ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
};
use schemars::SchemaGenerator;

use super::Kind;
use crate::api::{defaults, fields, parts, tables, validation};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        short_names: &["cm"],
        defaults: defaults::config_map,
        validate: validation::config_map,
        validate_update: validation::config_map_update,
        columns: tables::CONFIG_MAP,
        cells: tables::config_map,
        ..Kind::plain("", "ConfigMap", "configmaps", SchemaGenerator::subschema_for::<ConfigMap>)
    },
    Kind {
        short_names: &["ep"],
        defaults: defaults::endpoints,
        validate: validation::endpoints,
        columns: tables::ENDPOINTS,
        cells: tables::endpoints,
        ..Kind::plain("", "Endpoints", "endpoints", SchemaGenerator::subschema_for::<Endpoints>)
    },
    Kind {
        short_names: &["ev"],
        defaults: defaults::event,
        validate: validation::event,
        fields: fields::event,
        columns: tables::EVENT,
        cells: tables::event,
        ..Kind::plain("", "Event", "events", SchemaGenerator::subschema_for::<Event>)
    },
    Kind {
        short_names: &["limits"],
        defaults: defaults::limit_range,
        validate: validation::limit_range,
        columns: tables::ROLE,
        cells: tables::role,
        ..Kind::plain("", "LimitRange", "limitranges", SchemaGenerator::subschema_for::<LimitRange>)
    },
    Kind {
        short_names: &["ns"],
        namespaced: false,
        has_status: true,
        defaults: defaults::namespace,
        fields: fields::namespace,
        columns: tables::NAMESPACE,
        cells: tables::namespace,
        parts: parts::NAMESPACE,
        ..Kind::plain("", "Namespace", "namespaces", SchemaGenerator::subschema_for::<Namespace>)
    },
    Kind {
        short_names: &["no"],
        namespaced: false,
        has_status: true,
        defaults: defaults::node,
        validate: validation::node,
        validate_update: validation::node_update,
        validate_status: validation::node_status,
        fields: fields::node,
        columns: tables::NODE,
        cells: tables::node,
        parts: parts::NODE,
        ..Kind::plain("", "Node", "nodes", SchemaGenerator::subschema_for::<Node>)
    },
    Kind {
        short_names: &["pv"],
        namespaced: false,
        has_status: true,
        defaults: defaults::persistent_volume,
        validate: validation::persistent_volume,
        validate_update: validation::persistent_volume_update,
        columns: tables::PERSISTENT_VOLUME,
        cells: tables::persistent_volume,
        ..Kind::plain(
            "",
            "PersistentVolume",
            "persistentvolumes",
            SchemaGenerator::subschema_for::<PersistentVolume>,
        )
    },
    Kind {
        short_names: &["pvc"],
        has_status: true,
        defaults: defaults::persistent_volume_claim,
        validate: validation::persistent_volume_claim,
        validate_update: validation::persistent_volume_claim_update,
        columns: tables::PERSISTENT_VOLUME_CLAIM,
        cells: tables::persistent_volume_claim,
        ..Kind::plain(
            "",
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            SchemaGenerator::subschema_for::<PersistentVolumeClaim>,
        )
    },
    Kind {
        short_names: &["po"],
        categories: &["all"],
        has_status: true,
        has_generation: true,
        defaults: defaults::pod,
        validate: validation::pod,
        validate_update: validation::pod_update,
        validate_status: validation::pod_status,
        fields: fields::pod,
        columns: tables::POD,
        cells: tables::pod,
        parts: parts::POD,
        ..Kind::plain("", "Pod", "pods", SchemaGenerator::subschema_for::<Pod>)
    },
    Kind {
        has_generation: true,
        defaults: defaults::pod_template,
        validate: validation::pod_template,
        columns: tables::POD_TEMPLATE,
        cells: tables::pod_template,
        ..Kind::plain("", "PodTemplate", "podtemplates", SchemaGenerator::subschema_for::<PodTemplate>)
    },
    Kind {
        short_names: &["rc"],
        categories: &["all"],
        has_status: true,
        has_generation: true,
        defaults: defaults::replication_controller,
        validate: validation::replication_controller,
        validate_status: validation::replication_controller_status,
        fields: fields::replicas,
        columns: tables::REPLICA_SET,
        cells: tables::replication_controller,
        parts: parts::SCALABLE,
        ..Kind::plain(
            "",
            "ReplicationController",
            "replicationcontrollers",
            SchemaGenerator::subschema_for::<ReplicationController>,
        )
    },
    Kind {
        short_names: &["quota"],
        has_status: true,
        validate: validation::resource_quota,
        validate_update: validation::resource_quota_update,
        validate_status: validation::resource_quota_status,
        columns: tables::RESOURCE_QUOTA,
        cells: tables::resource_quota,
        ..Kind::plain("", "ResourceQuota", "resourcequotas", SchemaGenerator::subschema_for::<ResourceQuota>)
    },
    Kind {
        defaults: defaults::secret,
        validate: validation::secret,
        validate_update: validation::secret_update,
        fields: fields::secret,
        columns: tables::SECRET,
        cells: tables::secret,
        ..Kind::plain("", "Secret", "secrets", SchemaGenerator::subschema_for::<Secret>)
    },
    Kind {
        short_names: &["svc"],
        categories: &["all"],
        has_status: true,
        parts: parts::SERVICE,
        defaults: defaults::service,
        validate: validation::service,
        validate_update: validation::service_update,
        validate_status: validation::service_status,
        fields: fields::service,
        columns: tables::SERVICE,
        cells: tables::service,
        ..Kind::plain("", "Service", "services", SchemaGenerator::subschema_for::<Service>)
    },
    Kind {
        short_names: &["sa"],
        defaults: defaults::service_account,
        columns: tables::SERVICE_ACCOUNT,
        cells: tables::service_account,
        parts: parts::SERVICE_ACCOUNT,
        ..Kind::plain(
            "",
            "ServiceAccount",
            "serviceaccounts",
            SchemaGenerator::subschema_for::<ServiceAccount>,
        )
    },
];

//! Rows of group `apps`.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use schemars::SchemaGenerator;

use super::Kind;
use crate::api::{defaults, fields, parts, tables, validation};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        defaults: defaults::controller_revision,
        validate: validation::controller_revision,
        validate_update: validation::controller_revision_update,
        columns: tables::CONTROLLER_REVISION,
        cells: tables::controller_revision,
        ..Kind::plain(
            "apps",
            "ControllerRevision",
            "controllerrevisions",
            SchemaGenerator::subschema_for::<ControllerRevision>,
        )
    },
    Kind {
        short_names: &["ds"],
        categories: &["all"],
        has_status: true,
        has_generation: true,
        defaults: defaults::daemon_set,
        validate: validation::daemon_set,
        validate_update: validation::daemon_set_update,
        validate_status: validation::daemon_set_status,
        columns: tables::DAEMON_SET,
        cells: tables::daemon_set,
        ..Kind::plain("apps", "DaemonSet", "daemonsets", SchemaGenerator::subschema_for::<DaemonSet>)
    },
    Kind {
        short_names: &["deploy"],
        categories: &["all"],
        has_status: true,
        has_generation: true,
        defaults: defaults::deployment,
        validate: validation::deployment,
        validate_update: validation::deployment_update,
        validate_status: validation::deployment_status,
        columns: tables::DEPLOYMENT,
        cells: tables::deployment,
        parts: parts::SCALABLE,
        ..Kind::plain("apps", "Deployment", "deployments", SchemaGenerator::subschema_for::<Deployment>)
    },
    Kind {
        short_names: &["rs"],
        categories: &["all"],
        has_status: true,
        has_generation: true,
        defaults: defaults::replica_set,
        validate: validation::replica_set,
        validate_update: validation::replica_set_update,
        validate_status: validation::replica_set_status,
        fields: fields::replicas,
        columns: tables::REPLICA_SET,
        cells: tables::replica_set,
        parts: parts::SCALABLE,
        ..Kind::plain("apps", "ReplicaSet", "replicasets", SchemaGenerator::subschema_for::<ReplicaSet>)
    },
    Kind {
        short_names: &["sts"],
        categories: &["all"],
        has_status: true,
        has_generation: true,
        defaults: defaults::stateful_set,
        validate: validation::stateful_set,
        validate_update: validation::stateful_set_update,
        validate_status: validation::stateful_set_status,
        columns: tables::STATEFUL_SET,
        cells: tables::stateful_set,
        parts: parts::SCALABLE,
        ..Kind::plain("apps", "StatefulSet", "statefulsets", SchemaGenerator::subschema_for::<StatefulSet>)
    },
];

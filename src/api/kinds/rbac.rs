//! Rows of group `rbac.authorization.k8s.io`.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use schemars::SchemaGenerator;

use super::Kind;
use crate::api::{defaults, tables, validation};

pub(super) const KINDS: &[Kind] = &[
    Kind {
        namespaced: false,
        validate: validation::cluster_role,
        columns: tables::ROLE,
        cells: tables::role,
        ..Kind::plain(
            "rbac.authorization.k8s.io",
            "ClusterRole",
            "clusterroles",
            SchemaGenerator::subschema_for::<ClusterRole>,
        )
    },
    Kind {
        namespaced: false,
        defaults: defaults::cluster_role_binding,
        validate: validation::cluster_role_binding,
        validate_update: validation::binding_update,
        columns: tables::ROLE_BINDING,
        cells: tables::role_binding,
        ..Kind::plain(
            "rbac.authorization.k8s.io",
            "ClusterRoleBinding",
            "clusterrolebindings",
            SchemaGenerator::subschema_for::<ClusterRoleBinding>,
        )
    },
    Kind {
        validate: validation::role,
        columns: tables::ROLE,
        cells: tables::role,
        ..Kind::plain("rbac.authorization.k8s.io", "Role", "roles", SchemaGenerator::subschema_for::<Role>)
    },
    Kind {
        defaults: defaults::role_binding,
        validate: validation::role_binding,
        validate_update: validation::binding_update,
        columns: tables::ROLE_BINDING,
        cells: tables::role_binding,
        ..Kind::plain(
            "rbac.authorization.k8s.io",
            "RoleBinding",
            "rolebindings",
            SchemaGenerator::subschema_for::<RoleBinding>,
        )
    },
];

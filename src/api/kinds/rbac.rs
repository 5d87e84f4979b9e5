//! Rows of group `rbac.authorization.k8s.io`.

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use schemars::SchemaGenerator;

use super::Kind;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        namespaced: false,
        ..Kind::plain(
            "rbac.authorization.k8s.io",
            "ClusterRole",
            "clusterroles",
            SchemaGenerator::subschema_for::<ClusterRole>,
        )
    },
    Kind {
        namespaced: false,
        ..Kind::plain(
            "rbac.authorization.k8s.io",
            "ClusterRoleBinding",
            "clusterrolebindings",
            SchemaGenerator::subschema_for::<ClusterRoleBinding>,
        )
    },
    Kind::plain("rbac.authorization.k8s.io", "Role", "roles", SchemaGenerator::subschema_for::<Role>),
    Kind::plain(
        "rbac.authorization.k8s.io",
        "RoleBinding",
        "rolebindings",
        SchemaGenerator::subschema_for::<RoleBinding>,
    ),
];

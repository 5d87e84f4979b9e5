//! Rows of group `storage.k8s.io`.

use k8s_openapi::api::storage::v1::StorageClass;
use schemars::SchemaGenerator;

use super::Kind;

pub(super) const KINDS: &[Kind] = &[Kind {
    short_names: &["sc"],
    namespaced: false,
    ..Kind::plain(
        "storage.k8s.io",
        "StorageClass",
        "storageclasses",
        SchemaGenerator::subschema_for::<StorageClass>,
    )
}];

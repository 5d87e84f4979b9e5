//! Rows of group `storage.k8s.io`.

use k8s_openapi::api::storage::v1::StorageClass;
use schemars::SchemaGenerator;

use super::Kind;
use crate::api::{defaults, tables, validation};

pub(super) const KINDS: &[Kind] = &[Kind {
    short_names: &["sc"],
    namespaced: false,
    defaults: defaults::storage_class,
    validate: validation::storage_class,
    validate_update: validation::storage_class_update,
    columns: tables::STORAGE_CLASS,
    cells: tables::storage_class,
    ..Kind::plain(
        "storage.k8s.io",
        "StorageClass",
        "storageclasses",
        SchemaGenerator::subschema_for::<StorageClass>,
    )
}];

//! The table of kinds. A kind is a row, not a module: everything the endpoint does with an object it does
//! through the functions and facts of its row.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Node, Pod, Secret, ServiceAccount};
use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use crate::api::status::FieldError;
use crate::api::{defaults, fields, tables, validation};
use crate::time::WallTime;

/// One column of a Table.
#[derive(Debug)]
pub struct Column {
    /// Header, as kubectl prints it in upper case.
    pub name: &'static str,
    /// `string`, `integer`, `date`, `boolean`.
    pub kind: &'static str,
    /// `name` for the name column, else empty.
    pub format: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: u8,
    /// Shown by clients that ask.
    pub description: &'static str,
}

/// One row of the registry.
pub struct Kind {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version, e.g. `v1`.
    pub version: &'static str,
    /// E.g. `DaemonSet`.
    pub kind: &'static str,
    /// E.g. `daemonsets`; also the resource name in paths.
    pub plural: &'static str,
    /// E.g. `daemonset`.
    pub singular: &'static str,
    /// E.g. `["ds"]`.
    pub short_names: &'static [&'static str],
    /// E.g. `["all"]`.
    pub categories: &'static [&'static str],
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Whether the kind has a `status` subresource (then the main resource ignores `status` on write).
    pub has_status: bool,
    /// Whether `metadata.generation` grows when `spec` changes.
    pub has_generation: bool,
    /// Its schema, with everything it refers to, put into a generator.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Fills defaults in place, as upstream's conversion does. Idempotent.
    pub defaults: fn(&mut Value),
    /// All errors of a new object (metadata is checked by the caller).
    pub validate: fn(&Value) -> Vec<FieldError>,
    /// All errors of a change (new, old): immutable fields. `validate` runs as well.
    pub validate_update: fn(&Value, &Value) -> Vec<FieldError>,
    /// All errors of a change of status (new, old).
    pub validate_status: fn(&Value, &Value) -> Vec<FieldError>,
    /// Fields that a field selector may name besides `metadata.name` and `metadata.namespace`, with their values.
    pub fields: fn(&Value) -> Vec<(&'static str, String)>,
    /// Columns of the Table.
    pub columns: &'static [Column],
    /// Cells of one object, in the order of `columns`.
    pub cells: fn(&Value, WallTime) -> Vec<Value>,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} {}", self.group, self.version, self.kind)
    }
}

impl Kind {
    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }
}

/// The row of a resource as paths name it, e.g. `("apps", "v1", "daemonsets")`.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|row| row.group == group && row.version == version && row.plural == plural)
}

/// The row of a kind as objects name it, e.g. `("apps", "v1", "DaemonSet")`.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|row| row.group == group && row.version == version && row.kind == kind)
}

pub use crate::api::model::decode_check;

/// Every kind the endpoint serves.
pub static KINDS: &[Kind] = &[
    Kind {
        group: "",
        version: "v1",
        kind: "Namespace",
        plural: "namespaces",
        singular: "namespace",
        short_names: &["ns"],
        categories: &[],
        namespaced: false,
        has_status: true,
        has_generation: false,
        schema: SchemaGenerator::subschema_for::<Namespace>,
        defaults: defaults::namespace,
        validate: validation::none,
        validate_update: validation::none_on_update,
        validate_status: validation::none_on_update,
        fields: fields::namespace,
        columns: tables::NAMESPACE,
        cells: tables::namespace,
    },
    Kind {
        group: "",
        version: "v1",
        kind: "Node",
        plural: "nodes",
        singular: "node",
        short_names: &["no"],
        categories: &[],
        namespaced: false,
        has_status: true,
        has_generation: false,
        schema: SchemaGenerator::subschema_for::<Node>,
        defaults: defaults::node,
        validate: validation::node,
        validate_update: validation::node_update,
        validate_status: validation::none_on_update,
        fields: fields::node,
        columns: tables::NODE,
        cells: tables::node,
    },
    Kind {
        group: "",
        version: "v1",
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short_names: &["po"],
        categories: &["all"],
        namespaced: true,
        has_status: true,
        has_generation: true,
        schema: SchemaGenerator::subschema_for::<Pod>,
        defaults: defaults::pod,
        validate: validation::pod,
        validate_update: validation::pod_update,
        validate_status: validation::pod_status,
        fields: fields::pod,
        columns: tables::POD,
        cells: tables::pod,
    },
    Kind {
        group: "",
        version: "v1",
        kind: "ConfigMap",
        plural: "configmaps",
        singular: "configmap",
        short_names: &["cm"],
        categories: &[],
        namespaced: true,
        has_status: false,
        has_generation: false,
        schema: SchemaGenerator::subschema_for::<ConfigMap>,
        defaults: defaults::config_map,
        validate: validation::config_map,
        validate_update: validation::config_map_update,
        validate_status: validation::none_on_update,
        fields: fields::none,
        columns: tables::CONFIG_MAP,
        cells: tables::config_map,
    },
    Kind {
        group: "",
        version: "v1",
        kind: "Secret",
        plural: "secrets",
        singular: "secret",
        short_names: &[],
        categories: &[],
        namespaced: true,
        has_status: false,
        has_generation: false,
        schema: SchemaGenerator::subschema_for::<Secret>,
        defaults: defaults::secret,
        validate: validation::secret,
        validate_update: validation::secret_update,
        validate_status: validation::none_on_update,
        fields: fields::secret,
        columns: tables::SECRET,
        cells: tables::secret,
    },
    Kind {
        group: "",
        version: "v1",
        kind: "Event",
        plural: "events",
        singular: "event",
        short_names: &["ev"],
        categories: &[],
        namespaced: true,
        has_status: false,
        has_generation: false,
        schema: SchemaGenerator::subschema_for::<Event>,
        defaults: defaults::event,
        validate: validation::event,
        validate_update: validation::none_on_update,
        validate_status: validation::none_on_update,
        fields: fields::event,
        columns: tables::EVENT,
        cells: tables::event,
    },
    Kind {
        group: "",
        version: "v1",
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short_names: &["sa"],
        categories: &[],
        namespaced: true,
        has_status: false,
        has_generation: false,
        schema: SchemaGenerator::subschema_for::<ServiceAccount>,
        defaults: defaults::service_account,
        validate: validation::none,
        validate_update: validation::none_on_update,
        validate_status: validation::none_on_update,
        fields: fields::none,
        columns: tables::SERVICE_ACCOUNT,
        cells: tables::service_account,
    },
    Kind {
        group: "apps",
        version: "v1",
        kind: "DaemonSet",
        plural: "daemonsets",
        singular: "daemonset",
        short_names: &["ds"],
        categories: &["all"],
        namespaced: true,
        has_status: true,
        has_generation: true,
        schema: SchemaGenerator::subschema_for::<DaemonSet>,
        defaults: defaults::daemon_set,
        validate: validation::daemon_set,
        validate_update: validation::daemon_set_update,
        validate_status: validation::daemon_set_status,
        fields: fields::none,
        columns: tables::DAEMON_SET,
        cells: tables::daemon_set,
    },
    Kind {
        group: "apps",
        version: "v1",
        kind: "ControllerRevision",
        plural: "controllerrevisions",
        singular: "controllerrevision",
        short_names: &[],
        categories: &[],
        namespaced: true,
        has_status: false,
        has_generation: false,
        schema: SchemaGenerator::subschema_for::<ControllerRevision>,
        defaults: defaults::controller_revision,
        validate: validation::controller_revision,
        validate_update: validation::controller_revision_update,
        validate_status: validation::none_on_update,
        fields: fields::none,
        columns: tables::CONTROLLER_REVISION,
        cells: tables::controller_revision,
    },
    Kind {
        group: "coordination.k8s.io",
        version: "v1",
        kind: "Lease",
        plural: "leases",
        singular: "lease",
        short_names: &[],
        categories: &[],
        namespaced: true,
        has_status: false,
        has_generation: false,
        schema: SchemaGenerator::subschema_for::<Lease>,
        defaults: defaults::lease,
        validate: validation::lease,
        validate_update: validation::none_on_update,
        validate_status: validation::none_on_update,
        fields: fields::none,
        columns: tables::LEASE,
        cells: tables::lease,
    },
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::arbitrary::{any_json, object};
    use crate::api::model::unknown_fields;

    #[test]
    fn a_row_is_found_by_its_path_and_by_its_kind() {
        for row in KINDS {
            let by_path = by_resource(row.group, row.version, row.plural).expect("every row has a path");
            let by_name = by_kind(row.group, row.version, row.kind).expect("every row has a kind");
            assert_eq!((by_path.kind, by_name.plural), (row.kind, row.plural));
        }
        assert!(by_resource("apps", "v1", "pods").is_none());
        assert!(by_kind("", "v2", "Pod").is_none());
    }

    /// The typed structs of the agent's side.
    fn decode(kind: &Kind, object: Value) -> Result<(), serde_json::Error> {
        fn of<T: serde::de::DeserializeOwned>(object: Value) -> Result<(), serde_json::Error> {
            serde_json::from_value::<T>(object).map(|_| ())
        }
        match kind.kind {
            "Namespace" => of::<Namespace>(object),
            "Node" => of::<Node>(object),
            "Pod" => of::<Pod>(object),
            "ConfigMap" => of::<ConfigMap>(object),
            "Secret" => of::<Secret>(object),
            "Event" => of::<Event>(object),
            "ServiceAccount" => of::<ServiceAccount>(object),
            "DaemonSet" => of::<DaemonSet>(object),
            "ControllerRevision" => of::<ControllerRevision>(object),
            "Lease" => of::<Lease>(object),
            other => panic!("{other} has no typed struct here"),
        }
    }

    proptest! {
        #[test]
        fn what_passes_the_check_reads_as_the_typed_struct_once_it_has_its_defaults(
            seed in any::<u64>(), row in 0..KINDS.len(),
        ) {
            let kind = &KINDS[row];
            let mut object = object(kind, seed);
            prop_assert_eq!(decode_check(kind, &object), Ok(()));
            prop_assert_eq!(unknown_fields(kind, &object), Vec::<String>::new());
            (kind.defaults)(&mut object);
            prop_assert_eq!(decode_check(kind, &object), Ok(()));
            if let Err(e) = decode(kind, object.clone()) {
                prop_assert!(false, "{}: {object}", e);
            }
            let once = object.clone();
            (kind.defaults)(&mut object);
            prop_assert_eq!(once, object);
        }

        #[test]
        fn no_object_makes_a_row_fail_badly(
            new in any_json(), old in any_json(), seed in any::<u64>(), row in 0..KINDS.len(),
        ) {
            let kind = &KINDS[row];
            let typed = object(kind, seed);
            let now = WallTime::parse("2026-01-02T03:04:05Z").expect("a time");
            for (new, old) in [(&new, &old), (&typed, &old), (&new, &typed), (&typed, &typed)] {
                let mut made = new.clone();
                (kind.defaults)(&mut made);
                let _ = (decode_check(kind, new), (kind.validate)(&made), (kind.validate_update)(&made, old));
                let _ = ((kind.validate_status)(&made, old), (kind.fields)(new));
                assert_eq!((kind.cells)(&made, now).len(), kind.columns.len());
            }
        }
    }
}

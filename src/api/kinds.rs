//! The table of kinds. A kind is a row, not a module: everything the endpoint does with an object it does
//! through the functions and facts of its row.

use serde_json::Value;

use crate::api::status::FieldError;
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
    /// Fills defaults in place, as upstream's conversion does. Idempotent.
    pub defaults: fn(&mut Value),
    /// All errors of a new object (metadata is checked by the caller).
    pub validate: fn(&Value) -> Vec<FieldError>,
    /// All errors of a change (new, old): immutable fields. `validate` runs as well.
    pub validate_update: fn(&Value, &Value) -> Vec<FieldError>,
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

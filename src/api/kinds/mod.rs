//! The table of kinds. A kind is a row, not a module: everything the endpoint does with an object it does
//! through the functions and facts of its row. The rows stand in one file per API group or few.

mod apps;
mod batch;
mod core;
mod extension;
mod network;
mod policy;
mod rbac;
mod review;
mod storage;

use schemars::{Schema, SchemaGenerator};
use serde_json::Value;

use crate::api::parts::Part;
use crate::api::status::FieldError;
use crate::api::{defaults, fields, tables, validation};
use crate::time::WallTime;

/// One column of a Table.
#[derive(Clone, Copy, Debug)]
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

/// A second form, in another group, of objects that another row stores.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The group of the row that stores them; version and kind are the same.
    pub stored_group: &'static str,
    /// From this form to the stored one, in place.
    pub to_stored: fn(&mut Value),
    /// From the stored form to this one, in place.
    pub from_stored: fn(&mut Value),
    /// The stored name of each field that a field selector names in this form.
    pub stored_fields: &'static [(&'static str, &'static str)],
}

/// One row of the registry.
#[derive(Clone, Copy)]
pub struct Kind {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version, e.g. `v1`.
    pub version: &'static str,
    /// E.g. `DaemonSet`.
    pub kind: &'static str,
    /// E.g. `daemonsets`; also the resource name in paths.
    pub plural: &'static str,
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
    /// What to warn of whoever writes such an object, when the field it concerns is not acted on; empty for nothing.
    pub warning: &'static str,
    /// Its subresources besides `status`.
    pub parts: &'static [Part],
    /// Set for a form of objects that another row stores. Then `validate` and `validate_update` judge the stored form
    /// of what comes by this one, new or changed; all else about the object is the other row's.
    pub form: Option<&'static Form>,
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
    /// A namespaced kind of version `v1` that asks for nothing: the rest of a row is said over it.
    pub(super) const fn plain(
        group: &'static str,
        kind: &'static str,
        plural: &'static str,
        schema: fn(&mut SchemaGenerator) -> Schema,
    ) -> Self {
        Self {
            group,
            version: "v1",
            kind,
            plural,
            short_names: &[],
            categories: &[],
            namespaced: true,
            has_status: false,
            has_generation: false,
            warning: "",
            parts: &[],
            form: None,
            schema,
            defaults: defaults::none,
            validate: validation::none,
            validate_update: validation::none_on_update,
            validate_status: validation::none_on_update,
            fields: fields::none,
            columns: tables::PLAIN,
            cells: tables::plain,
        }
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.into() } else { format!("{}/{}", self.group, self.version) }
    }

    /// E.g. `daemonset`.
    pub fn singular(&self) -> String {
        self.kind.to_lowercase()
    }

    /// Whether it is only asked: nothing of it is kept.
    pub fn is_review(&self) -> bool {
        review::REVIEWS.iter().any(|row| (row.group, row.kind) == (self.group, self.kind))
    }

    /// The group of the row that stores its objects.
    pub fn stored_group(&self) -> &'static str {
        self.form.map_or(self.group, |form| form.stored_group)
    }

    /// The row that stores its objects: itself, unless it is but a form of theirs.
    pub fn stored(&'static self) -> &'static Self {
        match self.form {
            None => self,
            Some(form) => {
                by_kind(form.stored_group, self.version, self.kind).expect("a form is of another row")
            }
        }
    }
}

/// The row of a resource as paths name it, e.g. `("apps", "v1", "daemonsets")`.
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    served().find(|row| row.group == group && row.version == version && row.plural == plural)
}

/// The row of a kind as objects name it, e.g. `("apps", "v1", "DaemonSet")`.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|row| row.group == group && row.version == version && row.kind == kind)
}

pub use crate::api::model::decode_check;

/// Every kind that has a path: those that are kept, and those that are only asked.
pub fn served() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().chain(&review::REVIEWS)
}

/// Every kind the endpoint keeps objects of.
pub static KINDS: &[Kind] = &ALL;

const FILES: [&[Kind]; 8] = [
    core::KINDS,
    apps::KINDS,
    batch::KINDS,
    extension::KINDS,
    network::KINDS,
    policy::KINDS,
    rbac::KINDS,
    storage::KINDS,
];

static ALL: [Kind; count()] = joined();

const fn count() -> usize {
    let (mut count, mut file) = (0, 0);
    while file < FILES.len() {
        count += FILES[file].len();
        file += 1;
    }
    count
}

const fn joined() -> [Kind; count()] {
    let mut all = [core::KINDS[0]; count()];
    let (mut at, mut file) = (0, 0);
    while file < FILES.len() {
        let mut row = 0;
        while row < FILES[file].len() {
            all[at] = FILES[file][row];
            (at, row) = (at + 1, row + 1);
        }
        file += 1;
    }
    all
}

#[cfg(test)]
mod tests;

//! An object as a steward sees it: its metadata typed, the rest as JSON, so that no field of a newer release is lost on
//! the way from a template to a Pod.

use std::collections::BTreeMap;
use std::ops::Index;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde_json::{Value, json};

use crate::api::kinds::{KINDS, Kind};

/// A kind's row in the table of kinds.
pub type KindId = usize;

/// The row of a kind that leasehold serves, of version `v1`.
pub fn id(group: &str, kind: &str) -> KindId {
    find(group, kind).expect("a kind of the table")
}

/// The row of a kind in any of its versions, if leasehold knows it.
pub fn find(group: &str, kind: &str) -> Option<KindId> {
    KINDS.iter().position(|row| row.group == group && row.kind == kind && row.form.is_none())
}

/// The row that an owner reference names.
pub fn of_reference(reference: &OwnerReference) -> Option<KindId> {
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    find(group, &reference.kind)
}

/// See the module.
#[derive(Debug)]
pub struct Object {
    /// Which kind.
    pub kind: KindId,
    /// Its metadata.
    pub meta: ObjectMeta,
    /// Everything else. Empty where only the metadata is watched.
    pub data: Value,
}

/// Which object, at which version: what a write rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its kind.
    pub kind: KindId,
    /// Its namespace, empty for cluster-scoped ones.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The version that was seen.
    pub version: String,
}

static NOTHING: Value = Value::Null;
static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();

impl Index<&str> for Object {
    type Output = Value;
    fn index(&self, field: &str) -> &Value {
        self.data.get(field).unwrap_or(&NOTHING)
    }
}

impl Object {
    /// An object out of its JSON; none when its metadata are none.
    pub fn read(kind: KindId, mut raw: Value) -> Option<Self> {
        let meta = serde_json::from_value(raw.get_mut("metadata")?.take()).ok()?;
        raw.as_object_mut()?.remove("metadata");
        Some(Self { kind, meta, data: raw })
    }

    /// Its row in the table.
    pub fn row(&self) -> &'static Kind {
        &KINDS[self.kind]
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// Its namespace, empty for cluster-scoped ones.
    pub fn namespace(&self) -> &str {
        self.meta.namespace.as_deref().unwrap_or_default()
    }

    /// Its UID.
    pub fn uid(&self) -> &str {
        self.meta.uid.as_deref().unwrap_or_default()
    }

    /// Its version.
    pub fn version(&self) -> &str {
        self.meta.resource_version.as_deref().unwrap_or_default()
    }

    /// What a write to it rests on.
    pub fn target(&self) -> Target {
        Target {
            kind: self.kind,
            namespace: self.namespace().to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            version: self.version().to_owned(),
        }
    }

    /// Its labels.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        self.meta.labels.as_ref().unwrap_or(&NO_LABELS)
    }

    /// One of its labels.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels().get(name).map(String::as_str)
    }

    /// One of its annotations.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.meta.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// Whether it is being deleted.
    pub fn is_ending(&self) -> bool {
        self.meta.deletion_timestamp.is_some()
    }

    /// Whether it holds this finalizer.
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.meta.finalizers.iter().flatten().any(|have| have == finalizer)
    }

    /// Its owners.
    pub fn owners(&self) -> &[OwnerReference] {
        self.meta.owner_references.as_deref().unwrap_or_default()
    }

    /// The owner that controls it.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owners().iter().find(|owner| owner.controller == Some(true))
    }

    /// Whether the object with this UID controls it.
    pub fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|owner| owner.uid == uid)
    }

    /// A whole number at a path like `/spec/replicas`.
    pub fn number(&self, path: &str) -> Option<i64> {
        self.data.pointer(path)?.as_i64()
    }

    /// A text at a path, empty where there is none.
    pub fn text(&self, path: &str) -> &str {
        self.data.pointer(path).and_then(Value::as_str).unwrap_or_default()
    }

    /// The reference by which it controls what it makes.
    pub fn controls(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.row().api_version(),
            kind: self.row().kind.to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }

    /// Its JSON, metadata included.
    pub fn whole(&self) -> Value {
        let mut whole = if self.data.is_object() { self.data.clone() } else { json!({}) };
        whole["metadata"] = serde_json::to_value(&self.meta).unwrap_or_default();
        whole
    }
}

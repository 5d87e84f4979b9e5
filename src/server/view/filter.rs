//! Which objects a list or a watch is about.

use crate::api::kinds::Kind;
use crate::api::selectors::{FieldSelector, Selector, SelectorError};
use crate::api::status::Status;
use crate::coordinator::state::{Change, Object};

/// The fields by which most watches are narrow: who watches one object, or one node's Pods, is found without asking
/// everybody; of several that one request names, the first here counts.
const INDEXED_FIELDS: [&str; 3] = ["metadata.name", "status.nominatedNodeName", "spec.nodeName"];

/// One of the indexed fields, and the value that a watcher demands of it.
pub(super) type IndexEntry = (&'static str, String);

/// Selectors and namespace of one request.
#[derive(Clone, Debug)]
pub struct Filter {
    namespace: Option<String>,
    labels: Selector,
    fields: FieldSelector,
}

/// What a change is for one watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// It has come into view.
    Added,
    /// It has changed within view.
    Modified,
    /// It has gone, or out of view.
    Deleted,
}

impl EventType {
    /// As the wire says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

impl Filter {
    /// Everything of the kind, in one namespace or (none) in all.
    pub fn all(namespace: Option<&str>) -> Self {
        Self {
            namespace: namespace.map(str::to_owned),
            labels: Selector::everything(),
            fields: FieldSelector::default(),
        }
    }

    /// Reads the two query parameters.
    pub fn parse(
        kind: &Kind,
        namespace: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
    ) -> Result<Self, Status> {
        let refused = |e: SelectorError| Status::bad_request(e.to_string());
        let labels = Selector::parse(labels.unwrap_or_default()).map_err(refused)?;
        let mut fields = FieldSelector::parse(fields.unwrap_or_default()).map_err(refused)?;
        let offered: Vec<&str> =
            (kind.fields)(&serde_json::Value::Null).into_iter().map(|(name, _)| name).collect();
        fields.check(&offered).map_err(refused)?;
        if let Some(form) = kind.form {
            fields.rename(form.stored_fields);
        }
        Ok(Self { namespace: namespace.map(str::to_owned), labels, fields })
    }

    /// Whether it may be about this object.
    pub fn admits(&self, object: &Object) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| namespace == &*object.key.namespace)
            && self.labels.matches(&object.labels)
            && self.fields.matches(|field| field_of(object, field))
    }

    /// What a change is for a watcher with this filter, if anything.
    pub fn event_type(&self, change: &Change) -> Option<EventType> {
        let before = change.before.as_deref().is_some_and(|object| self.admits(object));
        let after = change.after.as_deref().is_some_and(|object| self.admits(object));
        match (before, after) {
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        }
    }

    /// Whether there are no selectors (the number of further items may then be told).
    pub fn has_no_selectors(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// The namespace it is confined to.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// The one name it is about, if it names one.
    pub fn exact_name(&self) -> Option<&str> {
        self.fields.exact("metadata.name")
    }

    /// The indexed field that it pins down, if any.
    pub(super) fn index_entry(&self) -> Option<IndexEntry> {
        INDEXED_FIELDS.into_iter().find_map(|field| Some((field, self.fields.exact(field)?.to_owned())))
    }
}

/// The index entries under which watchers of this object may stand.
pub(super) fn index_entries(object: &Object) -> impl Iterator<Item = IndexEntry> {
    INDEXED_FIELDS.into_iter().filter_map(|field| Some((field, field_of(object, field)?.to_owned())))
}

fn field_of<'a>(object: &'a Object, field: &str) -> Option<&'a str> {
    match field {
        "metadata.name" => Some(&object.key.name),
        "metadata.namespace" => Some(&object.key.namespace),
        _ => object.fields.iter().find(|(name, _)| *name == field).map(|(_, value)| value.as_str()),
    }
}

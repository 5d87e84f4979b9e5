//! `metadata.managedFields`: who owns which paths.

use serde_json::{Value, json};

use super::Writer;
use super::set::Set;

/// Most entries of operation Update, as upstream.
pub(super) const UPDATERS_MAX: usize = 10;
/// The manager of entries that were merged to keep within [`UPDATERS_MAX`].
const ANCIENT: &str = "ancient-changes";

/// How a manager came by its fields. In the order in which entries are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Apply, Self::Update].into_iter().find(|operation| operation.name() == name)
    }
}

/// What one manager owns by one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) operation: Operation,
    pub(super) api_version: String,
    pub(super) subresource: String,
    /// When it last changed something, in RFC 3339.
    pub(super) time: Option<String>,
    pub(super) fields: Set,
}

impl Entry {
    pub(super) fn new(writer: &Writer<'_>, operation: Operation, fields: Set) -> Self {
        Self {
            manager: writer.manager.to_owned(),
            operation,
            api_version: writer.kind.api_version(),
            subresource: writer.subresource.to_owned(),
            time: None,
            fields,
        }
    }

    /// Who this is. An applier stays the same when it goes to another version of the API, an updater does not.
    fn identity(&self) -> (&str, Operation, &str, &str) {
        let version = if self.operation == Operation::Apply { "" } else { &self.api_version };
        (&self.manager, self.operation, version, &self.subresource)
    }

    fn decode(entry: &Value) -> Option<Self> {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        let read = Self {
            manager: text("manager"),
            operation: Operation::parse(entry["operation"].as_str()?)?,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: entry["time"].as_str().map(str::to_owned),
            fields: Set::decode(entry.get("fieldsV1").unwrap_or(&json!({})))?,
        };
        (entry["fieldsType"] == "FieldsV1" && !read.api_version.is_empty()).then_some(read)
    }

    fn encode(&self) -> Value {
        let mut entry = json!({
            "manager": self.manager,
            "operation": self.operation.name(),
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.encode(),
        });
        if let Some(time) = &self.time {
            entry["time"] = time.clone().into();
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.clone().into();
        }
        entry
    }
}

/// All owners of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Managed(pub(super) Vec<Entry>);

impl Managed {
    /// None when it is malformed.
    pub(super) fn decode(list: &Value) -> Option<Self> {
        let mut managed = Self::default();
        if list.is_null() {
            return Some(managed);
        }
        for entry in list.as_array()? {
            managed.put(Entry::decode(entry)?);
        }
        Some(managed)
    }

    /// None when nobody owns anything.
    pub(super) fn encode(&self) -> Option<Value> {
        let mut list: Vec<Value> = self.0.iter().map(Entry::encode).collect();
        sort(&mut list);
        (!list.is_empty()).then(|| list.into())
    }

    /// The entry of the same owner, taken out.
    pub(super) fn take(&mut self, like: &Entry) -> Option<Entry> {
        let place = self.0.iter().position(|entry| entry.identity() == like.identity())?;
        Some(self.0.remove(place))
    }

    pub(super) fn put(&mut self, entry: Entry) {
        self.take(&entry);
        self.0.push(entry);
    }

    /// Forgets who owns nothing any more.
    pub(super) fn tidy(&mut self) {
        self.0.retain(|entry| !entry.fields.is_empty());
    }

    /// Merges the oldest updaters until there are few enough.
    pub(super) fn cap(&mut self) {
        let is_updater = |entry: &Entry| entry.operation == Operation::Update;
        let mut excess = self.0.iter().filter(|e| is_updater(e)).count().saturating_sub(UPDATERS_MAX);
        if excess == 0 {
            return;
        }
        self.0.sort_by(|a, b| (&a.time, a.identity()).cmp(&(&b.time, b.identity())));
        let (mut kept, mut ancient): (Vec<Entry>, Vec<Entry>) = (Vec::new(), Vec::new());
        for entry in std::mem::take(&mut self.0) {
            let bucket = ancient.iter_mut().find(|bucket| bucket.api_version == entry.api_version);
            match bucket {
                _ if !is_updater(&entry) || (excess == 0 && entry.manager != ANCIENT) => kept.push(entry),
                // The first of a version only becomes a bucket once there is a second to merge into it.
                None => ancient.push(entry),
                Some(bucket) => {
                    bucket.fields.union(&entry.fields);
                    bucket.time = entry.time;
                    ANCIENT.clone_into(&mut bucket.manager);
                    bucket.subresource.clear();
                    excess = excess.saturating_sub(1);
                }
            }
        }
        self.0 = kept;
        self.0.extend(ancient);
    }
}

/// Puts written entries in upstream's order.
pub(super) fn sort(entries: &mut [Value]) {
    let key = |entry: &Value| {
        let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        (text("operation"), text("time"), text("manager"), text("apiVersion"), text("subresource"))
    };
    entries.sort_by_cached_key(key);
}

//! Ownership by creates, updates and patches: whoever changes a field has it.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::Writer;
use super::compare::Comparison;
use super::entries::{Entry, Managed, Operation, sort};
use super::schema::SCHEMA;
use super::set::Set;
use crate::time::WallTime;

/// What belongs to the endpoint, and so to no manager.
pub(super) static NOBODYS: LazyLock<Set> = LazyLock::new(|| {
    let fields = json!({
        "f:apiVersion": {},
        "f:kind": {},
        "f:metadata": {
            ".": {}, "f:name": {}, "f:namespace": {}, "f:creationTimestamp": {}, "f:selfLink": {}, "f:uid": {},
            "f:clusterName": {}, "f:generation": {}, "f:managedFields": {}, "f:resourceVersion": {},
        },
    });
    Set::decode(&fields).expect("well-formed")
});

/// Says in a new object that `writer` set everything in it, save a status that the kind does not take here.
pub fn record_new(writer: &Writer<'_>, new: &mut Value, now: WallTime) {
    let claimed = take(new);
    let managed = if is_reset(&claimed) { None } else { Managed::decode(&claimed) };
    let empty = json!({});
    let mut changes = compare(writer, &empty, new);
    if writer.kind.has_status {
        changes.each(|set| set.cut("f:status"));
    }
    put(new, absorb(managed.unwrap_or_default(), &changes, writer, now).encode());
}

/// Says in `new`, which is about to replace `old`, that `writer` set what differs.
///
/// A client may bring other entries than the object has, or reset them with `[{}]`. An object whose writers were never
/// recorded stays so until something is applied to it.
pub fn record(writer: &Writer<'_>, new: &mut Value, old: &Value, now: WallTime) {
    let claimed = take(new);
    let live = &old["metadata"]["managedFields"];
    let is_unclaimed = claimed.is_null() || claimed == *live || !writer.subresource.is_empty();
    if is_unclaimed {
        put(new, record_over(writer, live, new, old, now));
        return;
    }
    let managed = if is_reset(&claimed) {
        Managed::default()
    } else {
        let claimed = Managed::decode(&claimed).filter(|claimed| !claimed.0.is_empty());
        claimed.or_else(|| Managed::decode(live)).unwrap_or_default()
    };
    if managed.0.is_empty() {
        return;
    }
    put(new, absorb(managed, &compare(writer, old, new), writer, now).encode());
}

/// The entries of an object after a write by somebody who left them as they were.
fn record_over(writer: &Writer<'_>, live: &Value, new: &Value, old: &Value, now: WallTime) -> Option<Value> {
    let entries = live.as_array().filter(|entries| !entries.is_empty())?;
    let changes = compare(writer, old, new);
    let taken = changes.taken();
    if taken.is_empty() && changes.removed.is_empty() {
        return Some(live.clone());
    }
    if changes.removed.is_empty() && is_settled(writer, &taken, entries) {
        return Some(renewed(writer, entries, now));
    }
    absorb(Managed::decode(live)?, &changes, writer, now).encode()
}

/// Whether `taken` is all the writer's already and nobody else's, so that its entry stays as it is but for the time.
fn is_settled(writer: &Writer<'_>, taken: &Set, entries: &[Value]) -> bool {
    entries.iter().any(|entry| is_entry_of(writer, entry))
        && entries.iter().all(|entry| {
            let fields = &entry["fieldsV1"];
            if is_entry_of(writer, entry) { taken.is_within(fields) } else { !taken.touches(fields) }
        })
}

fn is_entry_of(writer: &Writer<'_>, entry: &Value) -> bool {
    let text = |field: &str| entry[field].as_str().unwrap_or_default();
    let (group, version) = (writer.kind.group, writer.kind.version);
    let is_version = text("apiVersion").strip_prefix(group).is_some_and(|rest| {
        if group.is_empty() { rest == version } else { rest.strip_prefix('/') == Some(version) }
    });
    text("manager") == writer.manager
        && text("operation") == "Update"
        && text("subresource") == writer.subresource
        && is_version
}

fn renewed(writer: &Writer<'_>, entries: &[Value], now: WallTime) -> Value {
    let mut entries = entries.to_vec();
    for entry in entries.iter_mut().filter(|entry| is_entry_of(writer, entry)) {
        entry["time"] = now.seconds().into();
    }
    if entries.len() > 1 {
        sort(&mut entries);
    }
    entries.into()
}

/// Gives the writer what it changed and takes that from everybody else.
pub(super) fn absorb(
    mut managed: Managed,
    changes: &Comparison,
    writer: &Writer<'_>,
    now: WallTime,
) -> Managed {
    let taken = changes.taken();
    let version = writer.kind.api_version();
    let mut mine = Entry::new(writer, Operation::Update, taken.clone());
    if let Some(before) = managed.take(&mine) {
        let mut fields = before.fields;
        fields.subtract(&changes.removed);
        mine.fields.union(&fields);
        mine.time = before.time;
    }
    managed.0.retain(|entry| entry.api_version == version);
    for entry in &mut managed.0 {
        entry.fields.subtract(&taken);
        entry.fields.subtract(&changes.removed);
    }
    if !taken.is_empty() {
        mine.time = Some(now.seconds());
    }
    managed.0.push(mine);
    managed.tidy();
    managed.cap();
    managed
}

/// What differs and can belong to somebody.
pub(super) fn compare(writer: &Writer<'_>, old: &Value, new: &Value) -> Comparison {
    let mut changes = Comparison::of(SCHEMA.root(writer.kind), old, new);
    changes.each(|set| set.subtract(&NOBODYS));
    changes
}

/// Takes `metadata.managedFields` out of an object, null where there is none.
pub(super) fn take(object: &mut Value) -> Value {
    let metadata = object.get_mut("metadata").and_then(Value::as_object_mut);
    metadata.and_then(|metadata| metadata.remove("managedFields")).unwrap_or(Value::Null)
}

pub(super) fn put(object: &mut Value, entries: Option<Value>) {
    let Some(entries) = entries else { return };
    if !object["metadata"].is_object() {
        object["metadata"] = Map::new().into();
    }
    object["metadata"]["managedFields"] = entries;
}

/// `[{}]` forgets all owners.
fn is_reset(claimed: &Value) -> bool {
    matches!(claimed.as_array().map(Vec::as_slice), Some([only]) if only.as_object().is_some_and(Map::is_empty))
}

/// Where only the times of entries differ, nothing does: then `new` gets the times of `old`.
pub fn keep_times(new: &mut Value, old: &Value) {
    let (mine, theirs) = (&new["metadata"]["managedFields"], &old["metadata"]["managedFields"]);
    let timeless = |entries: &Value| -> Vec<Value> {
        let mut entries = entries.as_array().cloned().unwrap_or_default();
        for entry in &mut entries {
            entry["time"] = Value::Null;
        }
        sort(&mut entries);
        entries
    };
    if mine == theirs || timeless(mine) != timeless(theirs) {
        return;
    }
    let before = std::mem::replace(&mut new["metadata"]["managedFields"], theirs.clone());
    if new != old {
        new["metadata"]["managedFields"] = before;
    }
}

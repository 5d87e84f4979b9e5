//! Server-side apply.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Writer;
use super::compare::Comparison;
use super::entries::{Entry, Managed, Operation};
use super::merge::{merge, without};
use super::paths::{faults, paths, take_nulls, with_declared};
use super::record::{NOBODYS, absorb, compare, put, take};
use super::schema::{Node, SCHEMA};
use super::set::Set;
use crate::api::kinds::Kind;
use crate::api::model;
use crate::api::status::Status;
use crate::time::WallTime;

/// Where kubectl's client-side apply keeps what it applied last.
pub(super) const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// kubectl's own manager, which takes over from client-side apply.
const KUBECTL: &str = "kubectl";
/// Owns what was there before anything was applied to an object whose writers were never recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// Most bytes of all annotations together, as upstream.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;

/// A configuration to apply.
#[derive(Clone, Copy, Debug)]
pub struct Applied<'a> {
    /// What the applier wants, whole.
    pub configuration: &'a Value,
    /// What of it this subresource takes.
    pub part: &'a Value,
    /// Whether fields of others are taken from them.
    pub force: bool,
}

/// One field that somebody else owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Who, as people read it, e.g. `"kubectl" using apps/v1`.
    pub with: String,
    /// E.g. `.spec.replicas`.
    pub field: String,
}

/// Why a configuration was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyError {
    /// It says what nobody may say: 400.
    BadRequest(String),
    /// It does not suit its type: upstream answers with 500 and no reason.
    Untypable(String),
    /// Others own what it would change: 409.
    Conflicts(Vec<Conflict>),
}

impl From<ApplyError> for Status {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::BadRequest(message) => Self::bad_request(message),
            ApplyError::Untypable(message) => Self::new(500, "", message),
            ApplyError::Conflicts(conflicts) => {
                let causes: Vec<Value> = conflicts
                    .iter()
                    .map(|conflict| {
                        json!({
                            "reason": "FieldManagerConflict",
                            "message": format!("conflict with {}", conflict.with),
                            "field": conflict.field,
                        })
                    })
                    .collect();
                let details = json!({ "causes": causes });
                Self { details, ..Self::new(409, "Conflict", conflict_message(&conflicts)) }
            }
        }
    }
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [Conflict { with, field }] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {with}: {field}");
    }
    let mut by_owner: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Conflict { with, field } in conflicts {
        by_owner.entry(with).or_default().push(field);
    }
    let lines = by_owner.iter().flat_map(|(with, fields)| {
        let fields = fields.iter().map(|field| format!("- {field}"));
        std::iter::once(format!("conflicts with {with}:")).chain(fields)
    });
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.collect::<Vec<_>>().join("\n"))
}

/// The object after the configuration was applied to it; `live` is an empty object where there is none yet.
pub fn apply(
    writer: &Writer<'_>,
    live: &Value,
    applied: Applied<'_>,
    now: WallTime,
) -> Result<Value, ApplyError> {
    check(writer.kind, applied.configuration)?;
    let mut live = live.clone();
    let Some(mut managed) = Managed::decode(&take(&mut live)) else {
        return Err(ApplyError::Untypable("failed to decode managed fields".into()));
    };
    if managed.0.is_empty() {
        managed = before_first_apply(writer, &live, now);
    }
    let attempt = Attempt { writer, live: &live, part: applied.part, now };
    let mut result = attempt.run(managed.clone(), applied.force);
    if writer.manager == KUBECTL
        && let Err(conflicts) = result
    {
        result = attempt.take_over(managed, &conflicts);
    }
    let mut object = result.map_err(|conflicts| {
        let conflicts = conflicts.iter().flat_map(|conflict| {
            let with = conflict.shown();
            let fields = conflict.fields.shown().into_iter();
            fields.map(move |field| Conflict { with: with.clone(), field })
        });
        ApplyError::Conflicts(conflicts.collect())
    })?;
    if writer.manager == KUBECTL {
        keep_last_applied(&mut object, applied.configuration);
    }
    Ok(object)
}

/// Whether a configuration is one of this kind.
pub fn check(kind: &Kind, configuration: &Value) -> Result<(), ApplyError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, name) = (text(&configuration["apiVersion"]), text(&configuration["kind"]));
    if (api_version.as_str(), name.as_str()) != (&kind.api_version(), kind.kind) {
        return Err(ApplyError::BadRequest(format!(
            "invalid object type: {}, Kind={name}",
            qualified(&api_version)
        )));
    }
    if !configuration["metadata"]["managedFields"].is_null() {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".into()));
    }
    let faults = faults(SCHEMA.root(kind), configuration);
    if faults.is_empty() {
        return Ok(());
    }
    let metadata = &configuration["metadata"];
    let (namespace, object) = (text(&metadata["namespace"]), text(&metadata["name"]));
    let faults =
        if faults.len() == 1 { faults[0].clone() } else { format!("errors:\n  {}", faults.join("\n  ")) };
    Err(ApplyError::Untypable(format!(
        "failed to create typed patch object ({namespace}/{object}; {}, Kind={name}): {faults}",
        qualified(&api_version)
    )))
}

/// An API version with its slash, which upstream's texts have for the core group too.
pub fn qualified(api_version: &str) -> String {
    if api_version.contains('/') { api_version.to_owned() } else { format!("/{api_version}") }
}

/// Everything that is there belongs to one name that says so.
fn before_first_apply(writer: &Writer<'_>, live: &Value, now: WallTime) -> Managed {
    let before = Writer { manager: BEFORE_FIRST_APPLY, ..*writer };
    let mut changes = compare(writer, &json!({}), live);
    changes.each(|set| {
        if writer.subresource.is_empty() && writer.kind.has_status {
            set.cut("f:status");
        }
    });
    absorb(Managed::default(), &changes, &before, now)
}

struct Attempt<'a> {
    writer: &'a Writer<'a>,
    live: &'a Value,
    part: &'a Value,
    now: WallTime,
}

impl Attempt<'_> {
    /// The object with its new owners, or whom the applier would rob of what.
    fn run(&self, mut managed: Managed, force: bool) -> Result<Value, Vec<Entry>> {
        let node = SCHEMA.root(self.writer.kind);
        let mut part = self.part.clone();
        let mut mine = Entry::new(self.writer, Operation::Apply, paths(node, &part));
        let cleared = take_nulls(node, &mut part);
        model::canonicalise(self.writer.kind, &mut part);
        let before = managed.take(&mine);
        mine.time = before.as_ref().and_then(|before| before.time.clone());

        let merged = merge(node, Some(self.live), Some(&part)).unwrap_or_else(|| json!({}));
        let mut object = without(node, &merged, &cleared);
        if let Some(before) = before.filter(|before| before.api_version == mine.api_version) {
            object = prune(node, &object, &before.fields, &managed, &mine.fields);
        }
        model::canonicalise(self.writer.kind, &mut object);

        let mut changes = Comparison::of(node, self.live, &object);
        let nulled = changes.removed.intersection(&cleared);
        changes.removed.subtract(&nulled);
        changes.modified.union(&nulled);
        let taken = changes.taken();
        managed.0.retain(|entry| entry.api_version == mine.api_version);
        let conflicts: Vec<Entry> = managed.0.iter().filter_map(|entry| entry.robbed(&taken)).collect();
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        for entry in &mut managed.0 {
            entry.fields.subtract(&taken);
            entry.fields.subtract(&changes.removed);
        }
        mine.fields.subtract(&NOBODYS);
        if object != *self.live {
            mine.time = Some(self.now.seconds());
        }
        managed.put(mine);
        managed.tidy();
        put(&mut object, managed.encode());
        Ok(object)
    }

    /// kubectl takes without asking what its own client-side apply set and nobody has changed since.
    fn take_over(&self, managed: Managed, conflicts: &[Entry]) -> Result<Value, Vec<Entry>> {
        let own = self.last_applied().unwrap_or_default();
        let left: Vec<Entry> = conflicts
            .iter()
            .cloned()
            .map(|mut conflict| {
                conflict.fields.subtract(&own);
                conflict
            })
            .filter(|conflict| !conflict.fields.is_empty())
            .collect();
        if left.is_empty() { self.run(managed, true) } else { Err(left) }
    }

    /// What client-side apply set and is still as it set it.
    fn last_applied(&self) -> Option<Set> {
        let text = self.live["metadata"]["annotations"][LAST_APPLIED].as_str()?;
        let mut last: Value = serde_json::from_str(text).ok()?;
        let node = SCHEMA.root(self.writer.kind);
        if last["apiVersion"] != self.writer.kind.api_version() || !faults(node, &last).is_empty() {
            return None;
        }
        model::canonicalise(self.writer.kind, &mut last);
        let mut own = paths(node, &last);
        let changes = Comparison::of(node, &last, self.live);
        own.subtract(&changes.taken());
        own.subtract(&changes.removed);
        Some(own)
    }
}

impl Entry {
    /// Itself with only those of its fields that are taken from it, if any are.
    fn robbed(&self, taken: &Set) -> Option<Entry> {
        let fields = self.fields.intersection(taken);
        (!fields.is_empty()).then(|| Entry { fields, ..self.clone() })
    }

    /// As people read it in a conflict.
    fn shown(&self) -> String {
        let door = if self.subresource.is_empty() {
            String::new()
        } else {
            format!(" with subresource {:?}", self.subresource)
        };
        match self.operation {
            Operation::Apply => format!("{:?}{door}", self.manager),
            Operation::Update => format!("{:?}{door} using {}", self.manager, self.api_version),
        }
    }
}

/// `object` without what its applier set `before` and neither sets now (`mine`) nor anybody else owns.
fn prune(node: &'static Node, object: &Value, before: &Set, managed: &Managed, mine: &Set) -> Value {
    let before = with_declared(node, before);
    let mut owned = mine.clone();
    managed.0.iter().for_each(|entry| owned.union(&entry.fields));
    let owned = with_declared(node, &owned);
    let there = with_declared(node, &paths(node, object));
    let left = |value: &Value| with_declared(node, &paths(node, value));

    // What is owned comes back first, with what it stands in.
    let mut kept = left(&without(node, object, &before));
    kept.union(&owned);
    let mut gone = there.clone();
    gone.subtract(&kept);
    let pruned = without(node, object, &gone);
    // Then what would only go because it stands in something that goes.
    let mut gone = there;
    gone.subtract(&left(&pruned));
    without(node, object, &gone.intersection(&before))
}

/// While client-side apply's annotation is there, it says what was applied.
fn keep_last_applied(object: &mut Value, configuration: &Value) {
    let annotation =
        |object: &Value| object["metadata"]["annotations"][LAST_APPLIED].as_str().map(str::to_owned);
    if annotation(object).is_none_or(|text| text.is_empty()) {
        return;
    }
    let mut configuration = configuration.clone();
    if let Some(annotations) =
        configuration.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut)
    {
        annotations.remove(LAST_APPLIED);
    }
    let Some(annotations) = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else {
        return;
    };
    annotations.insert(LAST_APPLIED.to_owned(), format!("{configuration}\n").into());
    let bytes: usize =
        annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > ANNOTATIONS_BYTES_MAX {
        annotations.remove(LAST_APPLIED);
    }
}

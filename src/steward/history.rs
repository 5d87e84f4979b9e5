//! The revisions (`ControllerRevision`) of a DaemonSet or StatefulSet: one per template that was ever current, the current one with
//! the highest number.

use std::sync::Arc;

use serde_json::{Value, json};

use super::action::{Action, Told};
use super::object::{Object, id};
use crate::api::hash::{canonical, revision_data};

/// `apps/v1` default of `revisionHistoryLimit`.
const LIMIT: i64 = 10;

/// Longest prefix of a revision's name, as upstream's.
const PREFIX_BYTES_MAX: usize = 223;

/// One owner and its revisions.
#[derive(Debug)]
pub struct History<'a> {
    /// Whose.
    pub owner: &'a Object,
    /// Hash of its template.
    pub hash: &'a str,
    /// Label of its revisions with that hash.
    pub label: &'static str,
    /// The revisions it controls.
    pub revisions: &'a [Arc<Object>],
}

/// What becomes of the current template.
#[derive(Debug)]
pub enum Current {
    /// It has this revision.
    Kept(Arc<Object>),
    /// It is being given a revision of this name and number.
    Made {
        /// The revision's name.
        name: String,
        /// The action that makes it, or gives an older revision its new number.
        action: Box<Action>,
    },
    /// Another template has its name: `status.collisionCount` is to grow.
    Collision,
}

impl Current {
    /// The current revision's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Kept(revision) => revision.name(),
            Self::Made { name, .. } => name,
            Self::Collision => "",
        }
    }
}

impl History<'_> {
    /// The current template's revision.
    pub fn current(&self) -> Current {
        let data = canonical(&revision_data(&self.owner["spec"]["template"]));
        let same = |revision: &&Arc<Object>| canonical(&revision["data"]) == data;
        let highest = self.revisions.iter().map(|revision| number(&revision)).max().unwrap_or_default();
        let name = self.name();
        match self.revisions.iter().filter(same).max_by_key(number) {
            Some(current) if number(&current) == highest => Current::Kept(current.clone()),
            Some(current) => Current::Made {
                name: current.name().to_owned(),
                action: Box::new(Action::Patch {
                    of: current.target(),
                    part: "",
                    change: json!({ "revision": highest + 1 }),
                    told: None,
                }),
            },
            None if self.revisions.iter().any(|revision| revision.name() == name) => Current::Collision,
            None => {
                let action = Box::new(self.create(&name, highest + 1));
                Current::Made { name, action }
            }
        }
    }

    fn name(&self) -> String {
        let mut prefix = self.owner.name().to_owned();
        prefix.truncate(PREFIX_BYTES_MAX);
        format!("{prefix}-{}", self.hash)
    }

    fn create(&self, name: &str, number: i64) -> Action {
        let template = &self.owner["spec"]["template"];
        let mut labels = template["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        labels.insert(self.label.to_owned(), self.hash.into());
        let mut metadata = json!({
            "name": name,
            "namespace": self.owner.namespace(),
            "labels": labels,
            "ownerReferences": [self.owner.controls()],
        });
        if let Some(annotations) = &self.owner.meta.annotations {
            metadata["annotations"] = json!(annotations);
        }
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": metadata,
            "data": revision_data(template),
            "revision": number,
        });
        let told = Told {
            success: "",
            message: String::new(),
            failure: "FailedCreate",
            prefix: "Error creating revision: ".into(),
        };
        Action::Create { kind: id("apps", "ControllerRevision"), object, told: Some(told) }
    }

    /// Deletes the oldest of those that are not the current one beyond the limit, except those `in_use`; whether these
    /// count towards the limit, the caller says.
    pub fn trim(&self, current: &str, in_use: impl Fn(&Object) -> bool, used_count: bool) -> Vec<Action> {
        let limit = self.owner.number("/spec/revisionHistoryLimit").unwrap_or(LIMIT);
        let mut old: Vec<_> = self.revisions.iter().filter(|revision| revision.name() != current).collect();
        if !used_count {
            old.retain(|revision| !in_use(revision));
        }
        old.sort_by_key(|revision| (number(revision), revision.name().to_owned()));
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
        let unused = old.into_iter().filter(|revision| !in_use(revision)).take(surplus);
        unused
            .map(|revision| Action::Delete { of: revision.target(), propagation: None, told: None })
            .collect()
    }
}

/// A revision's number.
pub fn number(revision: &&Arc<Object>) -> i64 {
    revision.number("/revision").unwrap_or_default()
}

/// The template that a revision keeps, as it was written.
pub fn template(revision: &Object) -> Value {
    let mut template = revision["data"]["spec"]["template"].clone();
    if let Some(fields) = template.as_object_mut() {
        fields.remove("$patch");
    }
    template
}

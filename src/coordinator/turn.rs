//! One command at work: what all verbs share.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::kinds::Kind;
use crate::api::status::Status;
use crate::coordinator::command::{Body, Outcome, Reply};
use crate::coordinator::state::{Draft, Key, Object};
use crate::time::WallTime;

/// The draft and what every verb needs to know.
pub(super) struct Turn<'d, 's> {
    pub(super) draft: &'d mut Draft<'s>,
    pub(super) kind: &'static Kind,
    pub(super) namespace: &'d str,
    pub(super) dry_run: bool,
    pub(super) now: WallTime,
}

impl Turn<'_, '_> {
    pub(super) fn key(&self, name: &str) -> Key {
        Key::new(self.kind, self.namespace, name)
    }

    pub(super) fn not_found(&self, name: &str) -> Status {
        Status::not_found(self.kind.group, self.kind.plural, name)
    }

    pub(super) fn conflict(&self, name: &str, why: &str) -> Status {
        Status::conflict(self.kind.group, self.kind.plural, name, why)
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<Object>, Status> {
        self.draft.get(&self.key(name)).ok_or_else(|| self.not_found(name))
    }

    /// Writes a version; a dry run only shows it, at the version it would replace.
    pub(super) fn put(&mut self, value: Value, outcome: Outcome, replaced: u64) -> Reply {
        let revision = if self.dry_run { replaced } else { self.draft.next_revision() };
        let object = Arc::new(Object::encode(self.kind, value, revision));
        if !self.dry_run {
            self.draft.put(object.clone());
        }
        Reply { outcome, body: Body::Object(object), warnings: Vec::new() }
    }

    /// Takes an object away; watchers hear of `last`.
    pub(super) fn remove(&mut self, last: Value, replaced: u64) -> Arc<Object> {
        let revision = if self.dry_run { replaced } else { self.draft.next_revision() };
        let object = Arc::new(Object::encode(self.kind, last, revision));
        if !self.dry_run {
            let key = object.key.clone();
            self.draft.remove(&key, object.clone());
        }
        object
    }

    /// The Status of success that a removal answers with.
    pub(super) fn success(&self, name: &str, uid: &str) -> Body {
        let mut details = json!({ "name": name, "kind": self.kind.plural, "uid": uid });
        if !self.kind.group.is_empty() {
            details["group"] = self.kind.group.into();
        }
        Body::Status(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
        }))
    }
}

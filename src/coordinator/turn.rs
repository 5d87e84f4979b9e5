//! One command at work: what all verbs share.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::kinds::Kind;
use crate::api::status::{FieldError, Status};
use crate::coordinator::command::{Body, Command, Entropy, Intended, Outcome, Reply, Written};
use crate::coordinator::state::{Draft, Key, Object};
use crate::time::WallTime;

/// What every verb needs.
pub(super) struct Turn<'a, 's> {
    pub(super) draft: &'a mut Draft<'s>,
    pub(super) command: &'a Command,
    pub(super) now: WallTime,
    pub(super) entropy: &'a mut dyn Entropy,
    pub(super) warnings: Vec<String>,
}

impl Turn<'_, '_> {
    /// The row that stores the object.
    pub(super) fn kind(&self) -> &'static Kind {
        self.command.kind.stored()
    }

    /// The row by which the client speaks of it.
    pub(super) fn spoken(&self) -> &'static Kind {
        self.command.kind
    }

    /// The namespace that the path names, empty for cluster-scoped kinds.
    pub(super) fn namespace(&self) -> &str {
        if self.kind().namespaced { &self.command.namespace } else { "" }
    }

    pub(super) fn key(&self, name: &str) -> Key {
        Key::new(self.kind(), self.namespace(), name)
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<Object>, Status> {
        self.draft.get(&self.key(name)).ok_or_else(|| self.not_found(name))
    }

    pub(super) fn not_found(&self, name: &str) -> Status {
        Status::not_found(self.spoken().group, self.spoken().plural, name)
    }

    pub(super) fn conflict(&self, name: &str, why: &str) -> Status {
        Status::conflict(self.spoken().group, self.spoken().plural, name, why)
    }

    pub(super) fn forbidden(&self, name: &str, why: &str) -> Status {
        Status::forbidden(self.spoken().group, self.spoken().plural, name, why)
    }

    pub(super) fn refuse_errors(&self, name: &str, errors: &[FieldError]) -> Result<(), Status> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(self.spoken().group, self.spoken().kind, name, errors))
    }

    /// Asks whoever looks at writes for the one who asked.
    pub(super) fn ask_guard(
        &self,
        name: &str,
        part: Written,
        old: Option<&Value>,
        new: Option<&Value>,
    ) -> Result<(), Status> {
        let Some(guard) = &self.command.guard else { return Ok(()) };
        let intended = Intended { kind: self.kind(), namespace: self.namespace(), name, part, old, new };
        guard.check(&intended, self.draft)
    }

    /// Writes a version. A dry run only shows it, at the version it would replace.
    pub(super) fn put(&mut self, value: Value, outcome: Outcome, replaced: u64) -> Reply {
        let object = Arc::new(Object::encode(self.kind(), value, self.revision(replaced)));
        if !self.command.dry_run {
            self.draft.put(object.clone());
        }
        done(outcome, Body::Object(object))
    }

    /// Writes a version of an object of another kind, on the way.
    pub(super) fn put_other(&mut self, kind: &'static Kind, value: Value, replaced: u64) {
        let object = Arc::new(Object::encode(kind, value, self.revision(replaced)));
        if !self.command.dry_run {
            self.draft.put(object);
        }
    }

    /// Takes an object away; watchers hear of `last`.
    pub(super) fn remove(&mut self, last: Value, replaced: u64) -> Arc<Object> {
        let object = Arc::new(Object::encode(self.kind(), last, self.revision(replaced)));
        if !self.command.dry_run {
            let key = object.key.clone();
            self.draft.remove(&key, object.clone());
        }
        object
    }

    fn revision(&self, replaced: u64) -> u64 {
        if self.command.dry_run { replaced } else { self.draft.next_revision() }
    }

    /// The Status of success that a removal answers with.
    pub(super) fn success(&self, object: &Object) -> Body {
        let mut details = json!({ "name": &*object.key.name, "kind": self.kind().plural, "uid": object.uid });
        if !self.spoken().group.is_empty() {
            details["group"] = self.spoken().group.into();
        }
        Body::Status(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
        }))
    }
}

pub(super) fn done(outcome: Outcome, body: Body) -> Reply {
    Reply { outcome, body, warnings: Vec::new() }
}

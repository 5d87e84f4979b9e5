//! Who owns which fields after a write, and server-side apply ([`crate::api::managed`]).

use serde_json::{Value, json};

use crate::api::kinds::Kind;
use crate::api::managed::{self, Applied, Writer};
use crate::api::model;
use crate::api::status::Status;
use crate::coordinator::body::check_name;
use crate::coordinator::command::{Action, Reply, Subresource};
use crate::coordinator::metadata;
use crate::coordinator::turn::Turn;

/// The manager of writes whose client has no name.
const UNKNOWN: &str = "unknown";

impl Turn<'_, '_> {
    /// Makes the writer the owner of everything in a new object.
    pub(super) fn own_new(&self, new: &mut Value) {
        if !self.is_apply() {
            managed::record_new(&self.writer(Subresource::Main), new, self.now);
        }
    }

    /// Makes the writer the owner of what it changes.
    pub(super) fn own_changes(&self, new: &mut Value, old: &Value, subresource: Subresource) {
        if self.is_apply() {
            managed::keep_times(new, old);
        } else {
            managed::record(&self.writer(subresource), new, old, self.now);
        }
    }

    /// PATCH with a configuration: the object is made, or made to agree with it.
    pub(super) fn apply(
        &mut self,
        name: &str,
        subresource: Subresource,
        configuration: &Value,
        force: bool,
        not_to_be_made: Option<&Status>,
    ) -> Result<Reply, Status> {
        if subresource == Subresource::Scale {
            return self.apply_scale(name, configuration, force);
        }
        let current = self.draft.get(&self.key(name));
        if current.is_none() {
            if subresource != Subresource::Main {
                return Err(self.not_found(name));
            }
            if let Some(refusal) = not_to_be_made {
                return Err(refusal.clone());
            }
        }
        let stored = self.as_stored(configuration)?;
        let configuration = stored.as_ref().unwrap_or(configuration);
        let old = current.as_ref().map_or_else(|| json!({}), |current| current.value());
        let part = self.part(configuration, subresource);
        let applied = Applied { configuration, part: &part, force };
        let mut new = managed::apply(&self.writer(subresource), &old, applied, self.now)?;
        check_types(self.kind(), &new, configuration)?;
        self.finish(&mut new)?;
        check_name(&new, name)?;
        let Some(current) = current else {
            self.refuse_uid(name, &new)?;
            return self.create_decoded(new);
        };
        self.replace(&current, &old, new, subresource)
    }

    /// A configuration in a form that is not the stored one, in the stored one.
    fn as_stored(&self, configuration: &Value) -> Result<Option<Value>, Status> {
        let Some(form) = self.spoken().form else { return Ok(None) };
        managed::check(self.spoken(), configuration)?;
        let mut stored = configuration.clone();
        (form.to_stored)(&mut stored);
        Ok(Some(stored))
    }

    /// What a configuration says of the part of the object that the path names.
    pub(super) fn part(&self, configuration: &Value, subresource: Subresource) -> Value {
        let mut part = configuration.clone();
        if let Some(fields) = part.as_object_mut() {
            let is_common = |field: &str| matches!(field, "apiVersion" | "kind" | "metadata");
            match subresource {
                Subresource::Main if self.kind().has_status => drop(fields.remove("status")),
                Subresource::Main => {}
                Subresource::Status | Subresource::Approval => {
                    fields.retain(|field, _| is_common(field) || field == "status");
                }
                Subresource::Finalize
                | Subresource::EphemeralContainers
                | Subresource::Resize
                | Subresource::Scale => fields.retain(|field, _| is_common(field) || field == "spec"),
            }
        }
        part
    }

    fn refuse_uid(&self, name: &str, new: &Value) -> Result<(), Status> {
        match metadata::text(new, "uid") {
            "" => Ok(()),
            uid => {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                Err(self.conflict(name, &why))
            }
        }
    }

    fn is_apply(&self) -> bool {
        matches!(self.command.action, Action::Apply { .. })
    }

    pub(super) fn writer(&self, subresource: Subresource) -> Writer<'_> {
        let manager = if self.command.manager.is_empty() { UNKNOWN } else { &self.command.manager };
        Writer { kind: self.kind(), manager, subresource: subresource.name() }
    }
}

/// Whether what was made of an object by a configuration still is of its kind.
pub(super) fn check_types(kind: &Kind, new: &Value, configuration: &Value) -> Result<(), Status> {
    model::decode_check(kind, new).map_err(|why| {
        let (namespace, name) =
            (metadata::text(configuration, "namespace"), metadata::text(configuration, "name"));
        let of =
            format!("{namespace}/{name}; {}, Kind={}", managed::qualified(&kind.api_version()), kind.kind);
        Status::new(500, "", format!("failed to convert new typed object ({of}) to object: {why}"))
    })
}

//! What clients send, made fit to be stored: of the right kind and types, and in canonical form.

use serde_json::Value;

use crate::api::kinds::Kind;
use crate::api::model;
use crate::api::patch::{DEPTH_MAX, Patch};
use crate::api::status::{FieldError, Status};
use crate::coordinator::command::FieldValidation;
use crate::coordinator::metadata;
use crate::coordinator::turn::Turn;

impl Turn<'_, '_> {
    /// Reads the body of a POST or PUT.
    pub(super) fn decode(&mut self, body: &Value) -> Result<Value, Status> {
        let mut value = body.clone();
        check_type(self.spoken(), &value)?;
        model::decode_check(self.spoken(), &value).map_err(Status::bad_request)?;
        self.finish(&mut value)?;
        Ok(value)
    }

    /// Reads what a patch made of an object.
    pub(super) fn decode_patched(
        &mut self,
        mut value: Value,
        old: &Value,
        patch: &Patch,
    ) -> Result<Value, Status> {
        let unfit = |value: &Value, why: &str| {
            let error = FieldError::invalid("patch", &patch.shown(value).into(), why);
            Status::invalid("", "", "", &[error])
        };
        check_type(self.spoken(), &value)?;
        model::decode_check(self.spoken(), &value).map_err(|why| unfit(&value, &why))?;
        let found = self.unknown_fields(&value, old);
        if self.command.field_validation == FieldValidation::Strict && !found.is_empty() {
            return Err(unfit(&value, &format!("strict decoding error: {}", found.join(", "))));
        }
        self.warnings.extend(found);
        self.finish(&mut value)?;
        Ok(value)
    }

    /// The stored object as the client speaks of it.
    pub(super) fn as_spoken(&self, stored: &Value) -> Value {
        let mut value = stored.clone();
        if let Some(form) = self.spoken().form {
            (form.from_stored)(&mut value);
        }
        value
    }

    /// Those that were not there before.
    fn unknown_fields(&self, value: &Value, old: &Value) -> Vec<String> {
        if self.command.field_validation == FieldValidation::Ignore {
            return Vec::new();
        }
        let mut found = model::unknown_fields(self.spoken(), value);
        if !found.is_empty() {
            let before = model::unknown_fields(self.spoken(), old);
            found.retain(|fault| !before.contains(fault));
        }
        found
    }

    pub(super) fn finish(&mut self, value: &mut Value) -> Result<(), Status> {
        if is_deeper(value, DEPTH_MAX) {
            return Err(Status::bad_request(format!("the object is nested deeper than {DEPTH_MAX} levels")));
        }
        model::canonicalise(self.spoken(), value);
        value["apiVersion"] = self.spoken().api_version().into();
        value["kind"] = self.spoken().kind.into();
        if let Some(form) = self.spoken().form {
            (form.to_stored)(value);
        }
        self.check_namespace(value)?;
        self.warnings.extend(metadata::remove_duplicate_owners(value));
        Ok(())
    }

    /// The namespace of the object is the path's, whether it says so or not.
    pub(super) fn check_namespace(&self, value: &mut Value) -> Result<(), Status> {
        let (stated, asked) = (metadata::text(value, "namespace"), self.namespace());
        if asked.is_empty() {
            metadata::clear(value, "namespace");
        } else if stated.is_empty() {
            metadata::fields(value).insert("namespace".into(), asked.into());
        } else if stated != asked {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        Ok(())
    }
}

/// Whether lists and maps are nested deeper than so many levels. What is stored is read again, with that bound.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let below = |value: &Value| levels == 0 || is_deeper(value, levels - 1);
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(below),
        Value::Object(fields) => levels == 0 || fields.values().any(below),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What the object says of its type, if anything, is true.
pub(super) fn check_type(kind: &Kind, value: &Value) -> Result<(), Status> {
    if !value.is_object() {
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): not a JSON object",
            kind.kind
        )));
    }
    let expected = kind.api_version();
    let said = |field: &str| value[field].as_str().filter(|text| !text.is_empty());
    match (said("apiVersion"), said("kind")) {
        (Some(version), _) if version != expected => Err(Status::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        ))),
        (_, Some(other)) if other != kind.kind => Err(Status::bad_request(format!(
            "{other} in version {:?} cannot be handled as a {}: the kinds differ",
            kind.version, kind.kind
        ))),
        _ => Ok(()),
    }
}

/// The name of the object is the path's.
pub(super) fn check_name(value: &Value, name: &str) -> Result<(), Status> {
    match metadata::text(value, "name") {
        same if same == name => Ok(()),
        "" => Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        other => Err(Status::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({name})"
        ))),
    }
}

//! Validation with upstream's field paths and sentences.

use serde_json::Value;

use crate::api::status::FieldError;

/// For kinds with nothing to say beyond their types.
pub fn none(_: &Value) -> Vec<FieldError> {
    Vec::new()
}

/// For kinds in which every field may change.
pub fn none_on_update(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}

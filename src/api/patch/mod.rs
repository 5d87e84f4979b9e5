//! The patches that the API understands: JSON patch, merge patch, strategic merge patch. PURE.

use serde_json::Value;

use crate::api::status::Status;

/// `application/json-patch+json`
pub const JSON_PATCH: &str = "application/json-patch+json";
/// `application/merge-patch+json`
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// `application/strategic-merge-patch+json`
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// Most operations of one JSON patch, as kube-apiserver.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;

/// A decoded patch.
#[derive(Clone, Debug, PartialEq)]
pub enum Patch {
    /// RFC 6902.
    Json(json_patch::Patch),
    /// RFC 7386.
    Merge(Value),
    /// Merge by the keys of the kind.
    Strategic(Value),
}

impl Patch {
    /// Reads a patch of this media type (without parameters).
    pub fn parse(media_type: &str, body: &[u8]) -> Result<Self, Status> {
        match media_type {
            JSON_PATCH => parse_json_patch(body),
            MERGE_PATCH => Ok(Self::Merge(parse_value(body)?)),
            STRATEGIC_PATCH => Ok(Self::Strategic(parse_value(body)?)),
            _ => Err(Status::new(
                415,
                "UnsupportedMediaType",
                format!(
                    "the body of the request was in an unknown format - accepted media types include: \
                     {JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC_PATCH}"
                ),
            )),
        }
    }
}

fn parse_value(body: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(body).map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))
}

fn parse_json_patch(body: &[u8]) -> Result<Patch, Status> {
    let patch: json_patch::Patch = serde_json::from_slice(body)
        .map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
    if patch.0.len() > JSON_PATCH_OPERATIONS_MAX {
        return Err(Status::new(
            413,
            "RequestEntityTooLarge",
            format!(
                "The allowed maximum operations in a JSON patch is {JSON_PATCH_OPERATIONS_MAX}, got {}",
                patch.0.len()
            ),
        ));
    }
    Ok(Patch::Json(patch))
}

//! Requests' bodies: read within bounds and decoded before the writer sees them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use serde_json::Value;

use super::negotiate::Sent;
use super::query::Query;
use crate::api::protobuf::{self, ProtobufError};
use crate::api::status::Status;
use crate::coordinator::FieldValidation;
use crate::server::listen::RequestBody;

/// Longest body, as kube-apiserver's.
pub const BODY_MAX: usize = 3 << 20;
/// A body that has not arrived whole by then is given up.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// So much of a body that is too long is still read, so that the client gets to read the refusal.
const DRAIN_MAX: usize = 16 << 20;

/// Reads the body whole.
pub async fn read(body: RequestBody) -> Result<Bytes, Status> {
    tokio::time::timeout(BODY_TIMEOUT, collect(body)).await.unwrap_or_else(|_| {
        let seconds = BODY_TIMEOUT.as_secs();
        Err(Status::new(408, "Timeout", format!("the request's body did not arrive within {seconds} s")))
    })
}

async fn collect(mut body: RequestBody) -> Result<Bytes, Status> {
    let expected = body.size_hint().exact().unwrap_or(0) as usize;
    let mut read = BytesMut::with_capacity(expected.min(BODY_MAX));
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Status::bad_request(format!("the request's body was cut short: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        size += data.len();
        if size <= BODY_MAX {
            read.extend_from_slice(&data);
        }
        if size > DRAIN_MAX {
            break;
        }
    }
    if size > BODY_MAX {
        let message = format!("Request entity too large: limit is {BODY_MAX}");
        return Err(Status::new(413, "RequestEntityTooLarge", message));
    }
    Ok(read.freeze())
}

/// What becomes of fields that the kind does not have, or that are there twice.
pub fn field_validation(query: &Query) -> Result<FieldValidation, Status> {
    match query.get("fieldValidation") {
        None | Some("Warn") => Ok(FieldValidation::Warn),
        Some("Ignore") => Ok(FieldValidation::Ignore),
        Some("Strict") => Ok(FieldValidation::Strict),
        Some(other) => Err(Status::bad_request(format!(
            "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
        ))),
    }
}

/// Decodes a configuration to apply, which is YAML, and so JSON too.
pub fn configuration(body: &[u8]) -> Result<Value, Status> {
    let unreadable = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let looks_like_json = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let as_json = looks_like_json.then(|| serde_json::from_slice(body).ok()).flatten();
    let value: Value = match as_json {
        Some(value) => value,
        None => std::str::from_utf8(body)
            .map_err(|e| e.to_string())
            .and_then(|text| serde_saphyr::from_str(text).map_err(|e| e.to_string()))
            .map_err(unreadable)?,
    };
    if value.is_object() { Ok(value) } else { Err(unreadable("it is no mapping".into())) }
}

/// Decodes a tree of any kind.
pub fn tree(body: &[u8], encoding: Sent, expected: &str) -> Result<Value, Status> {
    let unrecognized = |format: &str, detail: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {expected}): couldn't get version/kind; {format} \
             parse error: {detail}"
        ))
    };
    let value: Value = match encoding {
        Sent::Json => serde_json::from_slice(body).map_err(|e| unrecognized("json", e.to_string())),
        Sent::Yaml => std::str::from_utf8(body)
            .map_err(|e| unrecognized("yaml", e.to_string()))
            .and_then(|text| serde_saphyr::from_str(text).map_err(|e| unrecognized("yaml", e.to_string()))),
        Sent::Protobuf => protobuf::decode(body).map_err(|e| match e {
            ProtobufError::Malformed(why) => unrecognized("protobuf", why),
            ProtobufError::Unsupported { .. } => Status::new(415, "UnsupportedMediaType", e.to_string()),
        }),
    }?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(unrecognized("json", "cannot unmarshal into Go value of type struct".into()))
    }
}

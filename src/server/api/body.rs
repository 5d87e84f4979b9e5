//! Requests' bodies: read within bounds, decoded, and judged before the writer sees them.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use serde_json::Value;

use super::negotiate::Encoding;
use super::query::Query;
use super::route::Target;
use crate::api::kinds::Kind;
use crate::api::model;
use crate::api::status::Status;

/// Longest body, as kube-apiserver's.
pub const BODY_MAX: usize = 3 << 20;
/// A body that has not arrived whole by then is given up.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// So much of a body that is too long is still read, so that the client gets to read the refusal.
const DRAIN_MAX: usize = 16 << 20;

/// Reads the body whole.
pub async fn read(body: Incoming) -> Result<Bytes, Status> {
    tokio::time::timeout(BODY_TIMEOUT, collect(body)).await.unwrap_or_else(|_| {
        let seconds = BODY_TIMEOUT.as_secs();
        Err(Status::new(408, "Timeout", format!("the request's body did not arrive within {seconds} s")))
    })
}

async fn collect(mut body: Incoming) -> Result<Bytes, Status> {
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    fn parse(query: &Query) -> Result<Self, Status> {
        match query.get("fieldValidation") {
            None | Some("Warn") => Ok(Self::Warn),
            Some("Ignore") => Ok(Self::Ignore),
            Some("Strict") => Ok(Self::Strict),
            Some(other) => Err(Status::bad_request(format!(
                "fieldValidation: Unsupported value: {other:?}: supported values: \"Ignore\", \"Strict\", \"Warn\""
            ))),
        }
    }
}

/// An object as it came, and what the client is to be told of it.
#[derive(Debug)]
pub struct Decoded {
    /// The object.
    pub value: Value,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

/// Decodes a tree of any kind.
pub fn tree(body: &[u8], encoding: Encoding, expected: &str) -> Result<Value, Status> {
    let unrecognized = |format: &str, detail: String| {
        Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {expected}): couldn't get version/kind; {format} \
             parse error: {detail}"
        ))
    };
    let value: Value = match encoding {
        Encoding::Json => serde_json::from_slice(body).map_err(|e| unrecognized("json", e.to_string())),
        Encoding::Yaml => std::str::from_utf8(body)
            .map_err(|e| unrecognized("yaml", e.to_string()))
            .and_then(|text| serde_saphyr::from_str(text).map_err(|e| unrecognized("yaml", e.to_string()))),
    }?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(unrecognized("json", "cannot unmarshal into Go value of type struct".into()))
    }
}

/// Decodes an object of the target's kind, and holds it against the path.
pub fn object(body: &[u8], encoding: Encoding, target: &Target, query: &Query) -> Result<Decoded, Status> {
    let validation = FieldValidation::parse(query)?;
    let kind = target.kind;
    let mut value = tree(body, encoding, kind.kind)?;
    check_type(kind, &value)?;
    value["apiVersion"] = kind.api_version().into();
    value["kind"] = kind.kind.into();
    model::decode_check(kind, &value).map_err(Status::bad_request)?;
    let warnings = odd_fields(kind, &value, body, encoding, validation)?;
    check_place(target, &mut value)?;
    Ok(Decoded { value, warnings })
}

fn odd_fields(
    kind: &Kind,
    value: &Value,
    body: &[u8],
    encoding: Encoding,
    validation: FieldValidation,
) -> Result<Vec<String>, Status> {
    if validation == FieldValidation::Ignore {
        return Ok(Vec::new());
    }
    let mut odd = match encoding {
        Encoding::Json => model::duplicate_fields(body),
        Encoding::Yaml => Vec::new(),
    };
    odd.extend(model::unknown_fields(kind, value));
    if validation == FieldValidation::Strict && !odd.is_empty() {
        let (name, version) = (kind.kind, kind.version);
        return Err(Status::bad_request(format!(
            "{name} in version {version:?} cannot be handled as a {name}: strict decoding error: {}",
            odd.join(", ")
        )));
    }
    Ok(odd)
}

/// Kind and version may be left out: the path says them.
fn check_type(kind: &Kind, value: &Value) -> Result<(), Status> {
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let (found_kind, found_version) = (text("kind"), text("apiVersion"));
    let expected = kind.api_version();
    if !found_version.is_empty() && found_version != expected {
        return Err(Status::bad_request(format!(
            "the API version in the data ({found_version}) does not match the expected API version ({expected})"
        )));
    }
    if !found_kind.is_empty() && found_kind != kind.kind {
        let version = kind.version;
        return Err(Status::bad_request(format!(
            "{found_kind} in version {version:?} cannot be handled as a {}: converting ({version}.{found_kind}) to \
             ({version}.{}): unknown conversion",
            kind.kind, kind.kind
        )));
    }
    Ok(())
}

/// Namespace and name of the body must be the path's, where both say them.
fn check_place(target: &Target, value: &mut Value) -> Result<(), Status> {
    let metadata = &mut value["metadata"];
    let text = |field: &str| metadata[field].as_str().unwrap_or_default().to_owned();
    let (namespace, name) = (text("namespace"), text("name"));
    if !namespace.is_empty() && namespace != target.namespace_text() {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    match &target.name {
        Some(asked) if name.is_empty() => metadata["name"] = asked.as_str().into(),
        Some(asked) if name != *asked => {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({asked})"
            )));
        }
        Some(_) | None => {}
    }
    Ok(())
}

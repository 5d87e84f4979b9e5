//! The patches that the API understands: JSON patch, merge patch, strategic merge patch. PURE.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::api::status::Status;

mod json;
mod strategic;
#[cfg(test)]
mod strategic_tests;

/// `application/json-patch+json`
pub const JSON_PATCH: &str = "application/json-patch+json";
/// `application/merge-patch+json`
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// `application/strategic-merge-patch+json`
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// `application/apply-patch+yaml`: a configuration for server-side apply ([`crate::api::managed`]), and no [`Patch`].
pub const APPLY_PATCH: &str = "application/apply-patch+yaml";
/// Most operations of one JSON patch, as kube-apiserver.
pub const JSON_PATCH_OPERATIONS_MAX: usize = 10_000;
/// Most bytes that the copy operations of one JSON patch may copy, as kube-apiserver.
pub const JSON_PATCH_COPIED_BYTES_MAX: usize = 3 << 20;
/// Deepest nesting that a JSON patch may build. `serde_json` reads 127 levels, and what is stored is read again.
pub const DEPTH_MAX: usize = 127;

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

/// Why a patch cannot be applied. The text is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// It cannot be read, or says what no patch can say: 400.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// It does not suit the object: 422.
    #[error("{0}")]
    Unprocessable(Cow<'static, str>),
    /// It asks for more than a bound allows: 413.
    #[error("Request entity too large: {0}")]
    TooLarge(Cow<'static, str>),
}

impl PatchError {
    const BAD_PRIMITIVE_LIST: Self = Self::Malformed(Cow::Borrowed("invalid patch format of primitive list"));
    const BAD_RETAIN_KEYS: Self = Self::Malformed(Cow::Borrowed("invalid patch format of retainKeys"));
    const BAD_ELEMENT_ORDER: Self =
        Self::Malformed(Cow::Borrowed("invalid patch format of setElementOrder list"));

    fn malformed(text: String) -> Self {
        Self::Malformed(Cow::Owned(text))
    }
}

impl From<PatchError> for Status {
    fn from(error: PatchError) -> Self {
        match &error {
            PatchError::Malformed(text) => Self::bad_request(text.clone()),
            PatchError::TooLarge(_) => Self::new(413, "RequestEntityTooLarge", error.to_string()),
            PatchError::Unprocessable(text) => {
                let message = "the server rejected our request due to an error in our request";
                let mut status = Self::new(422, "Invalid", message);
                status.details = json!({ "causes": [{ "message": text, "field": "patch" }] });
                status
            }
        }
    }
}

impl Patch {
    /// Reads a patch of this media type (without parameters).
    pub fn parse(media_type: &str, body: &[u8]) -> Result<Self, Status> {
        let unreadable = |e: serde_json::Error| Status::bad_request(format!("error decoding patch: {e}"));
        match media_type {
            JSON_PATCH => {
                let patch: json_patch::Patch = serde_json::from_slice(body).map_err(unreadable)?;
                json::check_length(&patch)?;
                Ok(Self::Json(patch))
            }
            MERGE_PATCH => Ok(Self::Merge(serde_json::from_slice(body).map_err(unreadable)?)),
            STRATEGIC_PATCH => Ok(Self::Strategic(serde_json::from_slice(body).map_err(unreadable)?)),
            _ => Err(Status::new(
                415,
                "UnsupportedMediaType",
                format!(
                    "the body of the request was in an unknown format - accepted media types include: \
                     {JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC_PATCH}, {APPLY_PATCH}"
                ),
            )),
        }
    }

    /// The object after the patch. `kind` names its type in the table of merge keys.
    pub fn apply(&self, mut object: Value, kind: &str) -> Result<Value, PatchError> {
        match self {
            Self::Json(patch) => json::apply(object, patch),
            Self::Merge(patch) if !patch.is_object() => Err(not_an_object()),
            Self::Merge(patch) => {
                json_patch::merge(&mut object, patch);
                Ok(object)
            }
            Self::Strategic(Value::Object(patch)) => {
                let Value::Object(fields) = object else { return Err(not_an_object()) };
                strategic::merge(fields, patch.clone(), kind).map(Value::Object)
            }
            Self::Strategic(_) => Err(not_an_object()),
        }
    }
}

impl Patch {
    /// How upstream shows, in errors, a patch or what it made.
    pub fn shown(&self, patched: &Value) -> String {
        match self {
            Self::Json(_) | Self::Merge(_) => patched.to_string(),
            Self::Strategic(patch) => strategic::go_text(patch),
        }
    }
}

fn not_an_object() -> PatchError {
    PatchError::Malformed("Invalid JSON Patch".into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// JSON of every shape, a few levels deep, with the names that patches give a meaning.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3i64).prop_map(Value::from),
            "[ab]|delete|replace|merge".prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("name"),
            Just("spec"),
            Just("metadata"),
            Just("containers"),
            Just("env"),
            Just("finalizers"),
            Just("volumes"),
            Just("$patch"),
            Just("$retainKeys"),
            Just("$setElementOrder/containers"),
            Just("$setElementOrder/finalizers"),
            Just("$setElementOrder"),
            Just("$deleteFromPrimitiveList/finalizers"),
        ];
        leaf.prop_recursive(5, 48, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..4)
                    .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_merge_patch_applied_twice_does_no_more(object in any_json(), patch in any_json()) {
            prop_assume!(patch.is_object());
            let patch = Patch::Merge(patch);
            let once = patch.apply(object, "Pod").expect("merge patches never fail");
            prop_assert_eq!(patch.apply(once.clone(), "Pod"), Ok(once));
        }

        #[test]
        fn no_json_makes_a_strategic_merge_panic(object in any_json(), patch in any_json()) {
            let _ = Patch::Strategic(patch).apply(object, "Pod");
        }

        #[test]
        fn what_a_strategic_merge_writes_holds_no_directives(object in any_json(), patch in any_json()) {
            let dirty = object.to_string().contains('$');
            if let Ok(merged) = Patch::Strategic(patch).apply(object, "Pod") {
                prop_assert!(dirty || !merged.to_string().contains('$'), "{merged}");
            }
        }

        #[test]
        fn no_bytes_make_the_parser_panic(body in "[\\[\\]{}:,\"0-9a-z/ ]{0,40}") {
            for media_type in [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, "text/plain"] {
                let _ = Patch::parse(media_type, body.as_bytes());
            }
        }
    }

    #[test]
    fn a_merge_patch_removes_with_null_and_replaces_lists() {
        let patch =
            Patch::parse(MERGE_PATCH, br#"{"a":{"b":null,"c":[2]},"d":{"e":{"f":null}}}"#).expect("valid");
        let merged = patch.apply(json!({ "a": { "b": 1, "c": [1], "x": 1 } }), "ConfigMap");
        assert_eq!(merged, Ok(json!({ "a": { "c": [2], "x": 1 }, "d": { "e": {} } })));
    }

    #[test]
    fn patches_that_are_no_patches_are_refused() {
        for (media_type, body, code) in [
            (MERGE_PATCH, "{", 400),
            (STRATEGIC_PATCH, "nope", 400),
            (JSON_PATCH, "{}", 400),
            (JSON_PATCH, r#"[{"op":"spin","path":"/a"}]"#, 400),
            (JSON_PATCH, r#"[{"op":"add","path":"a","value":1}]"#, 400),
            ("application/yaml", "{}", 415),
        ] {
            assert_eq!(Patch::parse(media_type, body.as_bytes()).map_err(|s| s.code), Err(code), "{body}");
        }
        for patch in [Patch::Merge(json!([1])), Patch::Strategic(json!("a"))] {
            assert_eq!(
                patch.apply(json!({}), "Pod"),
                Err(PatchError::Malformed("Invalid JSON Patch".into()))
            );
        }
    }
}

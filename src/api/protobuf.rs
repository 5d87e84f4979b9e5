//! Bodies in Kubernetes' protobuf form, which kubectl sends for what it makes from typed structs (`kubectl create
//! deployment`, leases, evictions), and typed clients for all they write.
//!
//! Only reading, of every kind that is served. Field numbers are those of upstream's wire format ([`messages`]); what
//! stands in a field is told by the schemas. A field that is not known is refused unless it is empty, so that nothing
//! is lost. Answers are JSON, which all such clients accept.

mod messages;
mod read;
mod wire;
#[cfg(any(test, fuzzing))]
pub mod write;

use serde_json::{Map, Value};

use self::wire::{Raw, each_field, malformed};
use crate::api::kinds::served;
use crate::api::model::{MODEL, Shape};
use crate::api::parts::WIRE_KINDS;

/// `application/vnd.kubernetes.protobuf`
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// Every group and version has this kind, and it is the same in all.
const DELETE_OPTIONS: (&str, &str) = ("DeleteOptions", "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions");

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// It breaks the wire format, or holds what this kind does not have.
    #[error("{0}")]
    Malformed(String),
    /// This kind is not served.
    #[error("{kind} of {api_version} cannot be read from protobuf; send application/json")]
    Unsupported {
        /// From the envelope.
        api_version: String,
        /// From the envelope.
        kind: String,
    },
}

/// Reads a whole body.
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body
        .strip_prefix(MAGIC)
        .ok_or_else(|| malformed("provided data does not appear to be a protobuf message"))?;
    let Envelope { api_version, kind, raw, is_encoded } = open(envelope)?;
    if is_encoded {
        return Err(malformed("a content encoding inside protobuf is not understood"));
    }
    let Some(index) = message(&api_version, &kind) else {
        return Err(ProtobufError::Unsupported { api_version, kind });
    };
    let mut object = Map::new();
    read::fields(raw, messages::of(index), &kind, &mut object)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

#[derive(Default)]
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
    is_encoded: bool,
}

fn open(body: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let mut found = Envelope::default();
    each_field(body, "Unknown", |number, raw| {
        match (number, raw) {
            (1, Raw::Bytes(bytes)) => each_field(bytes, "TypeMeta", |number, raw| {
                match (number, raw) {
                    (1, Raw::Bytes(bytes)) => found.api_version = read::text(bytes, "apiVersion")?,
                    (2, Raw::Bytes(bytes)) => found.kind = read::text(bytes, "kind")?,
                    _ => {}
                }
                Ok(())
            })?,
            (2, Raw::Bytes(bytes)) => found.raw = bytes,
            (3, raw) => found.is_encoded = !raw.is_zero(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

/// The type of the model that a kind's objects have.
fn message(api_version: &str, kind: &str) -> Option<usize> {
    if kind == DELETE_OPTIONS.0 {
        return MODEL.types().iter().position(|of| &*of.name == DELETE_OPTIONS.1);
    }
    let row = served()
        .chain(WIRE_KINDS.iter().copied())
        .find(|row| row.kind == kind && row.api_version() == api_version)?;
    match MODEL.root(row) {
        Shape::Struct(index) => Some(*index),
        Shape::Text
        | Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Int32
        | Shape::Int64
        | Shape::Float
        | Shape::Bool
        | Shape::Quantity
        | Shape::IntOrString
        | Shape::Raw
        | Shape::List(_)
        | Shape::Map(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::write::{bytes, number};
    use super::*;
    use crate::api::arbitrary;
    use crate::api::kinds::Kind;
    use crate::api::model::canonicalise;

    fn body(api_version: &str, kind: &str, object: &[u8]) -> Vec<u8> {
        let type_meta = [bytes(1, api_version), bytes(2, kind)].concat();
        [MAGIC.to_vec(), bytes(1, type_meta), bytes(2, object), bytes(3, ""), bytes(4, "")].concat()
    }

    #[test]
    fn a_config_map_as_kubectl_sends_it() {
        let empty_time = bytes(8, "");
        let metadata =
            [bytes(1, "a"), bytes(2, ""), bytes(3, "ns"), bytes(5, ""), number(7, 0), empty_time].concat();
        let pair = |key: &str, value: &str| [bytes(1, key), bytes(2, value)].concat();
        let object = [
            bytes(1, metadata),
            bytes(2, pair("k", "v")),
            bytes(2, pair("empty", "")),
            bytes(3, pair("bin", "\u{1}\u{2}")),
            number(4, 0),
        ]
        .concat();
        assert_eq!(
            decode(&body("v1", "ConfigMap", &object)),
            Ok(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "namespace": "ns" },
                "data": { "k": "v", "empty": "" }, "binaryData": { "bin": "AQI=" }, "immutable": false,
            }))
        );
    }

    #[test]
    fn times_owners_and_managed_fields_are_read() {
        let owner = [bytes(1, "Node"), bytes(3, "n"), bytes(4, "u"), bytes(5, "v1"), number(6, 1)].concat();
        let time = [number(1, 1_767_323_045), number(2, 120_000_000)].concat();
        let managed = [bytes(1, "m"), bytes(4, &time), bytes(7, bytes(1, r#"{"f:a":{}}"#))].concat();
        let metadata = [bytes(1, "l"), bytes(13, owner), bytes(14, "x/y"), bytes(17, managed)].concat();
        let spec = [bytes(1, "h"), number(2, 20), bytes(4, &time)].concat();
        let object = [bytes(1, metadata), bytes(2, spec)].concat();
        assert_eq!(
            decode(&body("coordination.k8s.io/v1", "Lease", &object)),
            Ok(json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {
                    "name": "l", "finalizers": ["x/y"],
                    "ownerReferences": [{ "kind": "Node", "name": "n", "uid": "u", "apiVersion": "v1", "controller": true }],
                    "managedFields": [{ "manager": "m", "time": "2026-01-02T03:04:05Z", "fieldsV1": { "f:a": {} } }],
                },
                "spec": {
                    "holderIdentity": "h", "leaseDurationSeconds": 20, "renewTime": "2026-01-02T03:04:05.120000Z",
                },
            }))
        );
    }

    #[test]
    fn a_grace_of_zero_is_not_lost() {
        let options = [number(1, 0), bytes(4, "Background"), bytes(5, "All")].concat();
        let read = decode(&body("meta.k8s.io/v1", "DeleteOptions", &options)).expect("valid");
        assert_eq!(
            (&read["gracePeriodSeconds"], &read["propagationPolicy"], &read["dryRun"]),
            (&json!(0), &json!("Background"), &json!(["All"]))
        );
    }

    #[test]
    fn what_is_not_known_is_refused_rather_than_lost() {
        for (body, error) in [
            (
                body("v1", "ConfigMap", &number(9, 1)),
                "ConfigMap: field 9 is not known; send application/json",
            ),
            (body("v1", "ConfigMap", &number(2, 1)), "data: the wire type does not fit"),
            (body("v1", "ConfigMap", &bytes(1, [0x0a, 0x7f])), "metadata: the message is cut short"),
            (body("v1", "ConfigMap", &bytes(1, bytes(1, [0xff]))), "name: the text is not UTF-8"),
            (body("v1", "Frog", &[]), "Frog of v1 cannot be read from protobuf; send application/json"),
            (b"{}".to_vec(), "provided data does not appear to be a protobuf message"),
        ] {
            assert_eq!(decode(&body).map_err(|e| e.to_string()), Err(error.to_owned()));
        }
    }

    /// Where a field is left out, and where it is empty, is not told apart.
    fn without_empty(value: &Value) -> Value {
        let is_empty = |value: &Value| {
            [json!(null), json!(""), json!(0), json!(false), json!([]), json!({})].contains(value)
        };
        match value {
            Value::Array(items) => items.iter().map(without_empty).collect(),
            Value::Object(fields) => {
                let kept = fields.iter().map(|(name, item)| (name.clone(), without_empty(item)));
                Value::Object(kept.filter(|(_, item)| !is_empty(item)).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }

    #[test]
    fn numbers_quantities_and_inline_messages_of_a_deployment() {
        let quantity = |text: &str| bytes(1, text);
        let probe = [
            bytes(
                1,
                bytes(
                    2,
                    [bytes(1, "/"), bytes(2, [number(1, 1), number(2, 0), bytes(3, "http")].concat())]
                        .concat(),
                ),
            ),
            number(2, 0),
        ]
        .concat();
        let limits = bytes(1, [bytes(1, "cpu"), bytes(2, quantity("500m"))].concat());
        let container =
            [bytes(1, "c"), bytes(2, "i"), bytes(8, limits), bytes(10, probe), number(16, 0)].concat();
        let volume = [bytes(1, "v"), bytes(2, bytes(2, ""))].concat();
        let groups = [number(4, 5), bytes(4, [6, 7])].concat();
        let pod =
            [bytes(1, volume), bytes(2, container), bytes(3, ""), number(4, 0), bytes(14, groups)].concat();
        let template = [bytes(1, bytes(8, "")), bytes(2, pod)].concat();
        let surge = bytes(2, [number(1, 0), number(2, 3), bytes(3, "")].concat());
        let spec = [
            number(1, 0),
            bytes(2, ""),
            bytes(3, template),
            bytes(4, [bytes(1, ""), bytes(2, surge)].concat()),
            number(5, 0),
        ]
        .concat();
        assert_eq!(
            decode(&body("apps/v1", "Deployment", &[bytes(2, spec), bytes(3, number(1, 0))].concat())),
            Ok(json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "status": {},
                "spec": {
                    "replicas": 0, "selector": {},
                    "template": {
                        "metadata": {},
                        "spec": {
                            "volumes": [{ "name": "v", "emptyDir": {} }],
                            "containers": [{
                                "name": "c", "image": "i", "resources": { "limits": { "cpu": "500m" } },
                                "livenessProbe": { "httpGet": { "path": "/", "port": "http" } },
                            }],
                            "terminationGracePeriodSeconds": 0,
                            "securityContext": { "supplementalGroups": [5, 6, 7] },
                        },
                    },
                    "strategy": { "rollingUpdate": { "maxSurge": 3 } },
                },
            }))
        );
    }

    #[test]
    fn what_this_version_does_not_know_is_let_pass_while_it_is_empty() {
        let object = [bytes(1, bytes(1, "a")), number(99, 0), bytes(98, "")].concat();
        assert!(decode(&body("v1", "Pod", &object)).is_ok());
        assert!(decode(&body("v1", "Pod", &bytes(98, "x"))).is_err());
    }

    #[test]
    fn options_of_a_deletion_are_of_every_group() {
        for version in ["v1", "meta.k8s.io/v1", "apps/v1"] {
            assert!(decode(&body(version, "DeleteOptions", &[])).is_ok(), "{version}");
        }
    }

    /// What an object inside another is goes without saying.
    fn without_inner_types(object: &mut Value) {
        let mut inner: Vec<&mut Value> = Vec::new();
        for (name, field) in object.as_object_mut().into_iter().flatten() {
            match name.as_str() {
                "deleteOptions" => inner.push(field),
                "spec" => inner.extend(
                    field.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut).into_iter().flatten(),
                ),
                _ => {}
            }
        }
        for fields in inner.into_iter().filter_map(Value::as_object_mut) {
            fields.retain(|name, _| !["apiVersion", "kind"].contains(&&**name));
        }
    }

    fn every_kind() -> impl Strategy<Value = &'static Kind> {
        prop::sample::select(served().chain(WIRE_KINDS.iter().copied()).collect::<Vec<_>>())
    }

    proptest! {
        #[test]
        fn every_kind_comes_back_as_it_was_written(kind in every_kind(), seed in any::<u64>()) {
            let mut object = arbitrary::object(kind, seed);
            canonicalise(kind, &mut object);
            without_inner_types(&mut object);
            let once = decode(&write::body(MODEL.root(kind), &object)).expect("valid");
            prop_assert_eq!(without_empty(&once), without_empty(&object));
            let twice = decode(&write::body(MODEL.root(kind), &once)).expect("valid");
            prop_assert_eq!(once, twice);
        }

        #[test]
        fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..64), kind in "ConfigMap|Lease|Namespace") {
            let _ = decode(&tail);
            let _ = decode(&body("v1", &kind, &tail));
            let _ = decode(&[MAGIC.to_vec(), tail].concat());
        }
    }
}

//! Bodies in Kubernetes' protobuf form, which kubectl sends for what it makes from typed structs
//! (`kubectl create configmap`, `secret`, `namespace`, `serviceaccount`, leases, bindings, evictions).
//!
//! Only reading, and only the kinds whose messages stand below; field numbers are those of upstream's wire format.
//! A field that is not known here is refused, so that nothing is lost. Answers are JSON, which all such clients accept.

mod access;

use prost::encoding::{WireType, decode_key, decode_varint};
use serde_json::{Map, Value};

use crate::api::model::encode_bytes;
use crate::time::WallTime;

/// `application/vnd.kubernetes.protobuf`
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every such body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Why a body cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// It breaks the wire format, or holds what this kind does not have.
    #[error("{0}")]
    Malformed(String),
    /// This kind is read from JSON and YAML only.
    #[error("{kind} of {api_version} cannot be read from protobuf; send application/json")]
    Unsupported {
        /// From the envelope.
        api_version: String,
        /// From the envelope.
        kind: String,
    },
}

/// What a field holds.
#[derive(Clone, Copy)]
enum Shape {
    /// Left out when empty.
    Text,
    /// Base64 in JSON.
    Bytes,
    Bool,
    Int,
    /// Left out when zero.
    Count,
    Time,
    MicroTime,
    /// A message whose only field is JSON text.
    Json,
    Struct(&'static [Field]),
    List(&'static Shape),
    Map(&'static Shape),
}

type Field = (u32, &'static str, Shape);

use Shape::{Bool, Bytes, Count, Int, Json, List, MicroTime, Struct, Text, Time};

const TEXTS: Shape = List(&Text);
const TEXT_MAP: Shape = Shape::Map(&Text);
const BYTES_MAP: Shape = Shape::Map(&Bytes);

const ENVELOPE: &[Field] = &[
    (1, "typeMeta", Struct(&[(1, "apiVersion", Text), (2, "kind", Text)])),
    (2, "raw", Bytes),
    (3, "contentEncoding", Text),
    (4, "contentType", Text),
];

const OWNER: Shape = Struct(&[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Bool),
    (7, "blockOwnerDeletion", Bool),
]);

const MANAGED_FIELDS: Shape = Struct(&[
    (1, "manager", Text),
    (2, "operation", Text),
    (3, "apiVersion", Text),
    (4, "time", Time),
    (6, "fieldsType", Text),
    (7, "fieldsV1", Json),
    (8, "subresource", Text),
]);

const METADATA: Field = (
    1,
    "metadata",
    Struct(&[
        (1, "name", Text),
        (2, "generateName", Text),
        (3, "namespace", Text),
        (4, "selfLink", Text),
        (5, "uid", Text),
        (6, "resourceVersion", Text),
        (7, "generation", Count),
        (8, "creationTimestamp", Time),
        (9, "deletionTimestamp", Time),
        (10, "deletionGracePeriodSeconds", Int),
        (11, "labels", TEXT_MAP),
        (12, "annotations", TEXT_MAP),
        (13, "ownerReferences", List(&OWNER)),
        (14, "finalizers", TEXTS),
        (17, "managedFields", List(&MANAGED_FIELDS)),
    ]),
);

const OBJECT_REFERENCE: Shape = Struct(&[
    (1, "kind", Text),
    (2, "namespace", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "resourceVersion", Text),
    (7, "fieldPath", Text),
]);

const DELETE_OPTIONS: &[Field] = &[
    (1, "gracePeriodSeconds", Int),
    (2, "preconditions", Struct(&[(1, "uid", Text), (2, "resourceVersion", Text)])),
    (3, "orphanDependents", Bool),
    (4, "propagationPolicy", Text),
    (5, "dryRun", TEXTS),
    (6, "ignoreStoreReadErrorWithClusterBreakingPotential", Bool),
];

const LEASE_SPEC: Shape = Struct(&[
    (1, "holderIdentity", Text),
    (2, "leaseDurationSeconds", Int),
    (3, "acquireTime", MicroTime),
    (4, "renewTime", MicroTime),
    (5, "leaseTransitions", Int),
    (6, "strategy", Text),
    (7, "preferredHolder", Text),
]);

fn message(api_version: &str, kind: &str) -> Option<&'static [Field]> {
    Some(match (api_version, kind) {
        ("v1", "Namespace") => &[
            METADATA,
            (2, "spec", Struct(&[(1, "finalizers", TEXTS)])),
            (3, "status", Struct(&[(1, "phase", Text)])),
        ],
        ("v1", "ConfigMap") => {
            &[METADATA, (2, "data", TEXT_MAP), (3, "binaryData", BYTES_MAP), (4, "immutable", Bool)]
        }
        ("v1", "Secret") => &[
            METADATA,
            (2, "data", BYTES_MAP),
            (3, "type", Text),
            (4, "stringData", TEXT_MAP),
            (5, "immutable", Bool),
        ],
        ("v1", "ServiceAccount") => &[
            METADATA,
            (2, "secrets", List(&OBJECT_REFERENCE)),
            (3, "imagePullSecrets", List(&Struct(&[(1, "name", Text)]))),
            (4, "automountServiceAccountToken", Bool),
        ],
        ("v1", "Binding") => &[METADATA, (2, "target", OBJECT_REFERENCE)],
        ("v1" | "meta.k8s.io/v1", "DeleteOptions") => DELETE_OPTIONS,
        ("coordination.k8s.io/v1", "Lease") => &[METADATA, (2, "spec", LEASE_SPEC)],
        ("policy/v1", "Eviction") => &[METADATA, (2, "deleteOptions", Struct(DELETE_OPTIONS))],
        (
            "authentication.k8s.io/v1"
            | "authorization.k8s.io/v1"
            | "certificates.k8s.io/v1"
            | "rbac.authorization.k8s.io/v1",
            _,
        ) => {
            return access::message(kind);
        }
        _ => return None,
    })
}

/// Reads a whole body.
pub fn decode(body: &[u8]) -> Result<Value, ProtobufError> {
    let envelope = body
        .strip_prefix(MAGIC)
        .ok_or_else(|| malformed("provided data does not appear to be a protobuf message"))?;
    let mut found = Envelope::default();
    each_field(envelope, ENVELOPE, "Unknown", |name, _, raw| {
        match (name, raw) {
            ("typeMeta", Raw::Bytes(bytes)) => {
                let type_meta = structure(bytes, type_meta_fields(), "TypeMeta")?;
                let text =
                    |field: &str| type_meta.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                (found.api_version, found.kind) = (text("apiVersion"), text("kind"));
            }
            ("raw", Raw::Bytes(bytes)) => found.raw = bytes.to_vec(),
            ("contentEncoding", Raw::Bytes(bytes)) => found.is_encoded = !bytes.is_empty(),
            _ => {}
        }
        Ok(())
    })?;
    if found.is_encoded {
        return Err(malformed("a content encoding inside protobuf is not understood"));
    }
    let Envelope { api_version, kind, raw, .. } = found;
    let Some(fields) = message(&api_version, &kind) else {
        return Err(ProtobufError::Unsupported { api_version, kind });
    };
    let mut object = structure(&raw, fields, &kind)?;
    object.insert("apiVersion".into(), api_version.into());
    object.insert("kind".into(), kind.into());
    Ok(Value::Object(object))
}

#[derive(Default)]
struct Envelope {
    api_version: String,
    kind: String,
    raw: Vec<u8>,
    is_encoded: bool,
}

fn type_meta_fields() -> &'static [Field] {
    match ENVELOPE[0].2 {
        Struct(fields) => fields,
        Text | Bytes | Bool | Int | Count | Time | MicroTime | Json | List(_) | Shape::Map(_) => &[],
    }
}

/// A field as it stands on the wire.
#[derive(Clone, Copy)]
enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn structure(
    bytes: &[u8],
    fields: &'static [Field],
    name: &str,
) -> Result<Map<String, Value>, ProtobufError> {
    let mut object = Map::new();
    each_field(bytes, fields, name, |field, shape, raw| {
        match shape {
            List(of) => {
                let item = value(*of, raw, field)?;
                let list = object.entry(field).or_insert_with(|| Value::Array(Vec::new()));
                list.as_array_mut().expect("only this arm fills it").push(item.unwrap_or_else(|| "".into()));
            }
            Shape::Map(of) => {
                let (key, item) = entry(*of, raw, field)?;
                let map = object.entry(field).or_insert_with(|| Value::Object(Map::new()));
                map.as_object_mut().expect("only this arm fills it").insert(key, item);
            }
            single @ (Text | Bytes | Bool | Int | Count | Time | MicroTime | Json | Struct(_)) => {
                match value(single, raw, field)? {
                    Some(value) => object.insert(field.into(), value),
                    None => object.remove(field),
                };
            }
        }
        Ok(())
    })?;
    Ok(object)
}

/// Goes through the fields of a message in the order of the wire.
fn each_field<'a>(
    mut bytes: &'a [u8],
    fields: &'static [Field],
    name: &str,
    mut take: impl FnMut(&'static str, Shape, Raw<'a>) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    while !bytes.is_empty() {
        let (number, wire) = decode_key(&mut bytes).map_err(|e| malformed(&format!("{name}: {e}")))?;
        let (_, field, shape) = fields.iter().find(|(known, ..)| *known == number).ok_or_else(|| {
            malformed(&format!("{name}: field {number} is not known; send application/json"))
        })?;
        let raw = raw(&mut bytes, wire, field)?;
        take(field, *shape, raw)?;
    }
    Ok(())
}

fn raw<'a>(bytes: &mut &'a [u8], wire: WireType, field: &str) -> Result<Raw<'a>, ProtobufError> {
    let number = match wire {
        WireType::Varint | WireType::LengthDelimited => {
            decode_varint(bytes).map_err(|e| malformed(&format!("{field}: {e}")))?
        }
        WireType::SixtyFourBit | WireType::ThirtyTwoBit | WireType::StartGroup | WireType::EndGroup => {
            return Err(malformed(&format!("{field}: wire type {wire:?} is not in use")));
        }
    };
    if wire == WireType::Varint {
        return Ok(Raw::Number(number));
    }
    let length = usize::try_from(number).unwrap_or(usize::MAX);
    let (taken, rest) = bytes
        .split_at_checked(length)
        .ok_or_else(|| malformed(&format!("{field}: the message is cut short")))?;
    *bytes = rest;
    Ok(Raw::Bytes(taken))
}

/// One value; none where JSON would leave it out.
fn value(shape: Shape, raw: Raw<'_>, field: &str) -> Result<Option<Value>, ProtobufError> {
    Ok(match (shape, raw) {
        (Text, Raw::Bytes(bytes)) => {
            Some(text(bytes, field)?).filter(|text| !text.is_empty()).map(Value::from)
        }
        (Bytes, Raw::Bytes(bytes)) => Some(encode_bytes(bytes).into()),
        (Bool, Raw::Number(number)) => Some((number != 0).into()),
        (Int, Raw::Number(number)) => Some((number as i64).into()),
        (Count, Raw::Number(number)) => (number != 0).then(|| (number as i64).into()),
        (Time, Raw::Bytes(bytes)) => time(bytes, field)?.map(|time| time.seconds().into()),
        (MicroTime, Raw::Bytes(bytes)) => time(bytes, field)?.map(|time| time.micros().into()),
        (Json, Raw::Bytes(bytes)) => json(bytes, field)?,
        (Struct(fields), Raw::Bytes(bytes)) => Some(Value::Object(structure(bytes, fields, field)?)),
        _ => return Err(malformed(&format!("{field}: the wire type does not fit"))),
    })
}

fn entry(of: Shape, raw: Raw<'_>, field: &str) -> Result<(String, Value), ProtobufError> {
    let Raw::Bytes(bytes) = raw else {
        return Err(malformed(&format!("{field}: the wire type does not fit")));
    };
    let (mut key, mut item) = (String::new(), Value::from(""));
    each_field(bytes, &[(1, "key", Text), (2, "value", Text)], field, |part, _, raw| {
        match (part, raw) {
            ("key", Raw::Bytes(bytes)) => key = text(bytes, field)?,
            _ => item = value(of, raw, field)?.unwrap_or_else(|| "".into()),
        }
        Ok(())
    })?;
    Ok((key, item))
}

fn time(bytes: &[u8], field: &str) -> Result<Option<WallTime>, ProtobufError> {
    let (mut seconds, mut nanos) = (None, 0);
    each_field(bytes, &[(1, "seconds", Int), (2, "nanos", Int)], field, |part, _, raw| {
        match (part, raw) {
            ("seconds", Raw::Number(number)) => seconds = Some(number as i64),
            ("nanos", Raw::Number(number)) => nanos = number as i32,
            _ => return Err(malformed(&format!("{field}: the wire type does not fit"))),
        }
        Ok(())
    })?;
    let Some(seconds) = seconds else { return Ok(None) };
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|e| malformed(&format!("{field}: {e}")))?;
    Ok(Some(WallTime(time)))
}

fn json(bytes: &[u8], field: &str) -> Result<Option<Value>, ProtobufError> {
    let mut found = None;
    each_field(bytes, &[(1, "Raw", Bytes)], field, |_, _, raw| {
        let Raw::Bytes(bytes) = raw else {
            return Err(malformed(&format!("{field}: the wire type does not fit")));
        };
        found = Some(serde_json::from_slice(bytes).map_err(|e| malformed(&format!("{field}: {e}")))?);
        Ok(())
    })?;
    Ok(found)
}

fn text(bytes: &[u8], field: &str) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| malformed(&format!("{field}: the text is not UTF-8")))
}

fn malformed(why: &str) -> ProtobufError {
    ProtobufError::Malformed(why.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::{encode_key, encode_varint};
    use serde_json::json;

    use super::*;

    fn number(field: u32, value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        encode_key(field, WireType::Varint, &mut out);
        encode_varint(value, &mut out);
        out
    }

    fn bytes(field: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        encode_key(field, WireType::LengthDelimited, &mut out);
        encode_varint(value.as_ref().len() as u64, &mut out);
        out.extend_from_slice(value.as_ref());
        out
    }

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
            (body("v1", "ConfigMap", &bytes(1, [0x0a, 0x7f])), "name: the message is cut short"),
            (body("v1", "ConfigMap", &bytes(1, bytes(1, [0xff]))), "name: the text is not UTF-8"),
            (body("v1", "Pod", &[]), "Pod of v1 cannot be read from protobuf; send application/json"),
            (b"{}".to_vec(), "provided data does not appear to be a protobuf message"),
        ] {
            assert_eq!(decode(&body).map_err(|e| e.to_string()), Err(error.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..64), kind in "ConfigMap|Lease|Namespace") {
            let _ = decode(&tail);
            let _ = decode(&body("v1", &kind, &tail));
            let _ = decode(&[MAGIC.to_vec(), tail].concat());
        }
    }
}

//! A v2 document as gnostic's messages (`openapi.v2.Document`), as far as documents made here use them.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::Value;

/// `openapi.v2.Document`
pub(super) fn document(document: &Value) -> Vec<u8> {
    let info = [text(1, &document["info"]["title"]), text(2, &document["info"]["version"])].concat();
    let paths = named(2, &document["paths"], item);
    let definitions = named(1, &document["definitions"], schema);
    [text(1, &document["swagger"]), bytes(2, &info), bytes(8, &paths), bytes(9, &definitions)].concat()
}

/// `PathItem`
fn item(item: &Value) -> Vec<u8> {
    let verbs =
        [("get", 2), ("put", 3), ("post", 4), ("delete", 5), ("options", 6), ("head", 7), ("patch", 8)];
    let operations = verbs.iter().filter(|(verb, _)| item[verb].is_object());
    let mut out: Vec<u8> =
        operations.flat_map(|(verb, number)| bytes(*number, &operation(&item[verb]))).collect();
    out.extend(parameters(9, &item["parameters"]));
    out
}

/// `Operation`
fn operation(operation: &Value) -> Vec<u8> {
    let responses = named(1, &operation["responses"], |response| {
        let answer = response.get("schema");
        let schema = answer.map(|answer| bytes(2, &bytes(1, &schema(answer)))).unwrap_or_default();
        bytes(1, &[text(1, &response["description"]), schema].concat())
    });
    [
        texts(1, &operation["tags"]),
        text(5, &operation["operationId"]),
        texts(6, &operation["produces"]),
        texts(7, &operation["consumes"]),
        parameters(8, &operation["parameters"]),
        bytes(9, &responses),
        extensions(13, operation),
    ]
    .concat()
}

/// `repeated ParametersItem`, each a `Parameter` with a body or, below `NonBodyParameter`, of a query or a path.
fn parameters(number: u32, list: &Value) -> Vec<u8> {
    let list = list.as_array().into_iter().flatten();
    list.flat_map(|parameter| {
        let inner = match parameter["in"].as_str() {
            Some("body") => bytes(1, &body_parameter(parameter)),
            Some("path") => bytes(2, &bytes(4, &plain_parameter(parameter, 5, 19))),
            _ => bytes(2, &bytes(3, &plain_parameter(parameter, 6, 20))),
        };
        bytes(number, &bytes(1, &inner))
    })
    .collect()
}

/// `BodyParameter`
fn body_parameter(parameter: &Value) -> Vec<u8> {
    [
        text(2, &parameter["name"]),
        text(3, &parameter["in"]),
        flag(4, &parameter["required"]),
        bytes(5, &schema(&parameter["schema"])),
    ]
    .concat()
}

/// `QueryParameterSubSchema` and `PathParameterSubSchema`, which have `type` and `unique_items` in different places.
fn plain_parameter(parameter: &Value, kind: u32, unique: u32) -> Vec<u8> {
    [
        flag(1, &parameter["required"]),
        text(2, &parameter["in"]),
        text(3, &parameter["description"]),
        text(4, &parameter["name"]),
        text(kind, &parameter["type"]),
        flag(unique, &parameter["uniqueItems"]),
    ]
    .concat()
}

/// `Schema`
fn schema(of: &Value) -> Vec<u8> {
    let mut out = [text(1, &of["$ref"]), text(2, &of["format"]), text(4, &of["description"])].concat();
    if let Some(default) = of.get("default") {
        out.extend(bytes(5, &any(default)));
    }
    out.extend(texts(19, &of["required"]));
    match &of["additionalProperties"] {
        Value::Bool(_) => out.extend(bytes(21, &flag(2, &of["additionalProperties"]))),
        Value::Object(_) => out.extend(bytes(21, &bytes(1, &schema(&of["additionalProperties"])))),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {}
    }
    if of["type"].is_string() {
        out.extend(bytes(22, &text(1, &of["type"])));
    }
    if of["items"].is_object() {
        out.extend(bytes(23, &bytes(1, &schema(&of["items"]))));
    }
    if of["properties"].is_object() {
        out.extend(bytes(25, &named(1, &of["properties"], schema)));
    }
    out.extend(extensions(31, of));
    out
}

/// A map as a list of names with values.
fn named(number: u32, map: &Value, encode: impl Fn(&Value) -> Vec<u8>) -> Vec<u8> {
    let map = map.as_object().into_iter().flatten();
    map.flat_map(|(name, value)| {
        bytes(number, &[bytes(1, name.as_bytes()), bytes(2, &encode(value))].concat())
    })
    .collect()
}

/// Fields beginning `x-`.
fn extensions(number: u32, of: &Value) -> Vec<u8> {
    let fields = of.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-"));
    fields
        .flat_map(|(name, value)| bytes(number, &[bytes(1, name.as_bytes()), bytes(2, &any(value))].concat()))
        .collect()
}

/// `Any`: the value as YAML, of which JSON is a part.
fn any(value: &Value) -> Vec<u8> {
    bytes(2, value.to_string().as_bytes())
}

fn texts(number: u32, list: &Value) -> Vec<u8> {
    list.as_array().into_iter().flatten().flat_map(|item| text(number, item)).collect()
}

fn text(number: u32, value: &Value) -> Vec<u8> {
    value.as_str().map(|text| bytes(number, text.as_bytes())).unwrap_or_default()
}

fn flag(number: u32, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    if value == true {
        encode_key(number, WireType::Varint, &mut out);
        encode_varint(1, &mut out);
    }
    out
}

fn bytes(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 6);
    encode_key(number, WireType::LengthDelimited, &mut out);
    encode_varint(value.len() as u64, &mut out);
    out.extend_from_slice(value);
    out
}

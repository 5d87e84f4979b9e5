use serde_json::Value;

use super::*;

/// Every value of this key, at any depth.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(key));
            fields.values().for_each(|inner| all(inner, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_reference_leads_to_a_definition_and_nothing_of_v3_is_left() {
    let document = document();
    let mut targets = Vec::new();
    all(&document, "$ref", &mut targets);
    assert!(targets.len() > 1000);
    for target in targets {
        let name = target.as_str().and_then(|it| it.strip_prefix(DEFINITIONS)).expect("a definition");
        assert!(document["definitions"][name].is_object(), "{name}");
    }
    for key in ["allOf", "oneOf", "requestBody", "content"] {
        let mut left = Vec::new();
        all(&document["paths"], key, &mut left);
        assert!(left.is_empty(), "{key}: {left:?}");
    }
}

#[test]
fn older_kubectl_finds_kinds_by_their_mark_and_sees_that_fields_are_validated_by_the_server() {
    let document = document();
    let set = &document["definitions"]["io.k8s.api.apps.v1.DaemonSet"];
    assert_eq!(set["x-kubernetes-group-version-kind"][0]["kind"], "DaemonSet");
    assert_eq!(set["properties"]["spec"]["$ref"], "#/definitions/io.k8s.api.apps.v1.DaemonSetSpec");
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/daemonsets/{name}"]["patch"];
    let takes = |name: &str| {
        patch["parameters"].as_array().into_iter().flatten().find(|it| it["name"] == name).cloned()
    };
    assert_eq!(takes("fieldValidation").expect("there")["type"], "string");
    assert_eq!(takes("body").expect("there")["in"], "body");
    let int_or_string = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
    assert_eq!(document["definitions"][int_or_string]["type"], "string");
}

/// A message's fields, as their numbers and contents; numbers have no content.
fn fields(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
    use prost::encoding::{WireType, decode_key, decode_varint};
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (number, kind) = decode_key(&mut bytes).expect("a key");
        let length = decode_varint(&mut bytes).expect("a number");
        let length = if kind == WireType::LengthDelimited { length } else { 0 };
        let (content, rest) = bytes.split_at(usize::try_from(length).expect("fits"));
        found.push((number, content));
        bytes = rest;
    }
    found
}

fn first(message: &[u8], number: u32) -> &[u8] {
    fields(message).into_iter().find(|(found, _)| *found == number).expect("the field is there").1
}

#[test]
fn the_messages_say_what_the_document_says() {
    let (document, encoded) = (document(), encoded());
    assert_eq!(first(&encoded, 1), b"2.0");
    for (of, (outer, inner)) in [("paths", (8, 2)), ("definitions", (9, 1))] {
        let names: Vec<&[u8]> = fields(first(&encoded, outer))
            .into_iter()
            .map(|(number, named)| {
                assert_eq!(number, inner);
                first(named, 1)
            })
            .collect();
        let expected = document[of].as_object().expect("a map").keys().map(String::as_bytes);
        assert_eq!(names, expected.collect::<Vec<_>>(), "{of}");
    }
    let namespace = fields(first(&encoded, 9))
        .into_iter()
        .map(|(_, named)| named)
        .find(|named| first(named, 1) == b"io.k8s.api.core.v1.Namespace")
        .expect("a definition");
    let extension = first(first(namespace, 2), 31);
    assert_eq!(first(extension, 1), b"x-kubernetes-group-version-kind");
    assert_eq!(first(first(extension, 2), 2), br#"[{"group":"","kind":"Namespace","version":"v1"}]"#);
}

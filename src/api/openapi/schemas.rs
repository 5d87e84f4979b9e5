//! `components.schemas`: k8s-openapi's schemas, with what they lack.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, ListMeta, Status};
use serde_json::{Map, Value, json};

use super::lists::{List, is_atomic_field, is_atomic_type, list};
use super::{group_version_kind, reference, schema_name};
use crate::api::kinds::Kind;
use crate::api::parts::Face;
use crate::api::{merge_keys, model};

/// Where the types of all objects stand.
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Types whose `name` upstream does not demand, though k8s-openapi does.
const NAMED_AT_WILL: [&str; 8] = [
    "ConfigMapEnvSource",
    "ConfigMapKeySelector",
    "ConfigMapProjection",
    "ConfigMapVolumeSource",
    "LocalObjectReference",
    "SecretEnvSource",
    "SecretKeySelector",
    "SecretProjection",
];

/// The schemas of these kinds, of their lists, and of everything they refer to.
pub(super) fn schemas(kinds: &[&Kind]) -> Map<String, Value> {
    let mut generator = model::generator();
    let carried: Vec<&Kind> = kinds
        .iter()
        .flat_map(|kind| kind.parts)
        .filter(|it| it.face != Face::Node)
        .filter_map(|it| it.kind)
        .collect();
    for kind in kinds.iter().chain(&carried) {
        (kind.schema)(&mut generator);
    }
    generator.subschema_for::<ListMeta>();
    generator.subschema_for::<Status>();
    generator.subschema_for::<DeleteOptions>();
    let mut schemas = generator.take_definitions(true);
    for (name, schema) in &mut schemas {
        let owner = name.rsplit('.').next().unwrap_or_default();
        complete(owner, schema);
    }
    for kind in kinds {
        let name = schema_name(kind);
        schemas[&name]["x-kubernetes-group-version-kind"] = vec![group_version_kind(kind, kind.kind)].into();
        if !kind.is_review() {
            schemas.insert(format!("{name}List"), list_schema(kind));
        }
    }
    for kind in carried {
        schemas[&schema_name(kind)]["x-kubernetes-group-version-kind"] =
            vec![group_version_kind(kind, kind.kind)].into();
    }
    schemas.insert(
        format!("{META}.Patch"),
        json!({ "type": "object", "description": "A patch in one of the formats of its media type." }),
    );
    schemas
}

/// The reference to a type of all objects, e.g. `Status`.
pub(super) fn meta(name: &str) -> Value {
    reference(&format!("{META}.{name}"))
}

fn list_schema(kind: &Kind) -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "description": format!("A list of objects of kind {}.", kind.kind),
        "type": "object",
        "properties": {
            "apiVersion": text("The version of the schema of this list."),
            "kind": text("The kind of this list."),
            "metadata": { "allOf": [meta("ListMeta")], "default": {}, "description": "The list's own metadata." },
            "items": {
                "description": "The objects.",
                "type": "array",
                "items": { "allOf": [reference(&schema_name(kind))], "default": {} },
            },
        },
        "required": ["items"],
        "x-kubernetes-group-version-kind": [group_version_kind(kind, &format!("{}List", kind.kind))],
    })
}

fn complete(owner: &str, schema: &mut Value) {
    match owner {
        "Quantity" => one_of(schema, &["string", "number"]),
        "IntOrString" => {
            one_of(schema, &["integer", "string"]);
            schema["format"] = "int-or-string".into();
        }
        _ if is_atomic_type(owner) => schema["x-kubernetes-map-type"] = "atomic".into(),
        _ => {}
    }
    demand_less(owner, schema);
    for (name, field) in schema["properties"].as_object_mut().into_iter().flatten() {
        mark(owner, name, field);
        wrap(field);
    }
}

/// Takes back what k8s-openapi demands and upstream does not.
fn demand_less(owner: &str, schema: &mut Value) {
    let Some(required) = schema["required"].as_array_mut() else { return };
    required.retain(|field| {
        let at_will =
            field == "metadata" && owner != "Event" || field == "name" && NAMED_AT_WILL.contains(&owner);
        !at_will
    });
    if required.is_empty()
        && let Some(fields) = schema.as_object_mut()
    {
        fields.remove("required");
    }
}

fn one_of(schema: &mut Value, types: &[&str]) {
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("x-kubernetes-int-or-string");
    }
    schema["oneOf"] = types.iter().map(|name| json!({ "type": name })).collect();
}

/// Says how the value of a field is merged.
fn mark(owner: &str, name: &str, field: &mut Value) {
    if field["type"] == "array" {
        match list(owner, name) {
            List::Atomic => field["x-kubernetes-list-type"] = "atomic".into(),
            List::Set => field["x-kubernetes-list-type"] = "set".into(),
            List::Map(keys) => {
                field["x-kubernetes-list-type"] = "map".into();
                field["x-kubernetes-list-map-keys"] = keys.into();
            }
        }
    }
    if is_atomic_field(owner, name) {
        field["x-kubernetes-map-type"] = "atomic".into();
    }
    if let Some(row) = merge_keys::field(owner, name) {
        if let Some(strategy) = row.patch_strategy() {
            field["x-kubernetes-patch-strategy"] = strategy.into();
        }
        if let Some(key) = row.merge_key() {
            field["x-kubernetes-patch-merge-key"] = key.into();
        }
    }
}

/// `OpenAPI` 3.0 ignores what stands beside a `$ref`, so the reference goes into an `allOf`.
fn wrap(field: &mut Value) {
    if let Some(target) = field.as_object_mut().and_then(|fields| fields.remove("$ref")) {
        field["allOf"] = json!([{ "$ref": target }]);
    }
    for inner in ["items", "additionalProperties"] {
        if field[inner].is_object() {
            wrap(&mut field[inner]);
        }
    }
}

use serde_json::{Value, json};

use super::*;
use crate::api::kinds::KINDS;
use crate::api::merge_keys;

fn read(path: &str) -> Value {
    serde_json::from_slice(&document(path).expect("the document is there")).expect("it is JSON")
}

fn schema<'a>(document: &'a Value, name: &str) -> &'a Value {
    &document["components"]["schemas"][name]
}

/// Every value of this key, at any depth.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if name == key {
                    found.push(inner);
                }
                all(inner, key, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all(item, key, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_index_names_every_document_with_its_hash() {
    let index = index();
    let paths = index["paths"].as_object().expect("paths");
    assert!(paths.contains_key("api/v1") && paths.contains_key("apis/events.k8s.io/v1"));
    for (path, entry) in paths {
        let hash = hash(path).expect("every document has a hash");
        assert_eq!(entry["serverRelativeURL"], format!("/openapi/v3/{path}?hash={hash}"));
        assert_eq!(hash, digest(&document(path).expect("made twice it is the same")));
    }
    assert_eq!((document("apis/batch/v2"), hash("apis/batch/v2")), (None, None));
}

#[test]
fn every_reference_leads_to_a_schema() {
    for path in group_versions() {
        let document = read(&path);
        let mut targets = Vec::new();
        all(&document, "$ref", &mut targets);
        assert!(targets.len() > 20, "{path}");
        for target in targets {
            let pointer =
                target.as_str().and_then(|it| it.strip_prefix('#')).expect("a reference into the document");
            assert!(document.pointer(pointer).is_some(), "{path}: {target}");
        }
    }
}

#[test]
fn each_kind_and_its_list_bear_the_mark_by_which_kubectl_finds_them() {
    for kind in KINDS {
        let document = read(&group_version(kind));
        let name = schema_name(kind);
        let mark =
            |kind_name: String| json!([{ "group": kind.group, "version": kind.version, "kind": kind_name }]);
        assert_eq!(schema(&document, &name)["x-kubernetes-group-version-kind"], mark(kind.kind.into()));
        let list = schema(&document, &format!("{name}List"));
        assert_eq!(list["x-kubernetes-group-version-kind"], mark(format!("{}List", kind.kind)));
    }
}

#[test]
fn lists_say_how_they_are_merged() {
    let document = read("apis/apps/v1");
    let spec = schema(&document, "io.k8s.api.core.v1.PodSpec");
    let containers = &spec["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(
        containers["items"],
        json!({ "allOf": [{ "$ref": "#/components/schemas/io.k8s.api.core.v1.Container" }] })
    );
    assert_eq!(spec["properties"]["volumes"]["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(spec["properties"]["tolerations"]["x-kubernetes-list-type"], "atomic");
    assert_eq!(spec["properties"]["nodeSelector"]["x-kubernetes-map-type"], "atomic");
    let ports = &schema(&document, "io.k8s.api.core.v1.Container")["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    let selector = schema(&document, "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector");
    assert_eq!(selector["x-kubernetes-map-type"], "atomic");
}

#[test]
fn references_keep_their_description_beside_them() {
    let document = read("apis/apps/v1");
    let template = &schema(&document, "io.k8s.api.apps.v1.DaemonSetSpec")["properties"]["template"];
    assert_eq!(
        template["allOf"],
        json!([{ "$ref": "#/components/schemas/io.k8s.api.core.v1.PodTemplateSpec" }])
    );
    assert!(template["description"].as_str().is_some_and(|it| !it.is_empty()));
    assert!(template.get("$ref").is_none());
}

#[test]
fn only_what_upstream_demands_is_required() {
    let document = read("api/v1");
    let required = |name: &str| schema(&document, &format!("io.k8s.api.core.v1.{name}"))["required"].clone();
    assert_eq!(required("Pod"), Value::Null);
    assert_eq!(required("LocalObjectReference"), Value::Null);
    assert_eq!(required("ConfigMapKeySelector"), json!(["key"]));
    assert_eq!(required("PodSpec"), json!(["containers"]));
    assert_eq!(required("Event"), json!(["involvedObject", "metadata"]));
}

#[test]
fn numbers_with_suffixes_and_ports_are_text_or_number() {
    let document = read("api/v1");
    let quantity = schema(&document, "io.k8s.apimachinery.pkg.api.resource.Quantity");
    assert_eq!(quantity["oneOf"], json!([{ "type": "string" }, { "type": "number" }]));
    let port = schema(&document, "io.k8s.apimachinery.pkg.util.intstr.IntOrString");
    assert_eq!(port["oneOf"], json!([{ "type": "integer" }, { "type": "string" }]));
    assert_eq!(port["format"], "int-or-string");
}

#[test]
fn patches_take_the_parameters_that_kubectl_looks_for() {
    for kind in KINDS {
        let document = read(&group_version(kind));
        let home = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let path = format!("/{}{home}/{}/{{name}}", group_version(kind), kind.plural);
        let patch = &document["paths"][&path]["patch"];
        assert_eq!(patch["x-kubernetes-action"], "patch", "{path}");
        assert_eq!(patch["x-kubernetes-group-version-kind"], group_version_kind(kind, kind.kind));
        let names: Vec<&str> = patch["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .filter_map(|it| it["name"].as_str())
            .collect();
        assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    }
}

#[test]
fn no_two_operations_have_the_same_id() {
    for path in group_versions() {
        let document = read(&path);
        let mut ids = Vec::new();
        all(&document["paths"], "operationId", &mut ids);
        let mut names: Vec<&str> = ids.iter().filter_map(|it| it.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{path}");
    }
}

#[test]
fn the_tables_of_merge_keys_and_list_types_name_fields_that_exist() {
    let documents: Vec<Value> = group_versions().iter().map(|path| read(path)).collect();
    let find = |owner: &str| {
        documents.iter().find_map(|document| {
            let schemas = document["components"]["schemas"].as_object()?;
            schemas
                .iter()
                .find(|(name, _)| name.rsplit('.').next() == Some(owner))
                .map(|(_, schema)| schema.clone())
        })
    };
    let mut checked = 0;
    for (owner, fields) in merge_keys::types() {
        let Some(schema) = find(owner) else { continue };
        for field in fields {
            assert!(
                schema["properties"].get(field.name).is_some(),
                "{owner}.{} of the merge keys",
                field.name
            );
            checked += 1;
        }
    }
    for (owner, field) in lists::rows() {
        let Some(schema) = find(owner) else { continue };
        assert!(schema["properties"].get(field).is_some(), "{owner}.{field} of the list types");
        checked += 1;
    }
    assert!(checked > 60, "{checked}");
}

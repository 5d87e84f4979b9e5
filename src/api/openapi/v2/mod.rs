//! The one `OpenAPI` v2 document (Swagger) of all kinds: kubectl before 1.29 asks for it on `apply` and `explain`, as
//! do other older clients. Made on demand from the v3 documents' parts, as JSON or in gnostic's protobuf form.

mod wire;

use serde_json::{Map, Value, json};

use super::{API_VERSION, paths, schemas};
use crate::api::absent;
use crate::api::kinds::{Kind, served};
use crate::api::model::SCHEMAS;

/// Media type of the document in protobuf.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Where types stand in a v2 document.
const DEFINITIONS: &str = "#/definitions/";

/// The body of `/openapi/v2`, some megabytes of JSON.
pub fn document() -> Value {
    let kinds: Vec<&'static Kind> = served().collect();
    let mut routes = paths::paths(&kinds);
    routes.extend(absent::all().map(paths::of_absent));
    let paths: Map<String, Value> = routes.into_iter().map(|(path, item)| (path, self::item(item))).collect();
    let definitions: Map<String, Value> =
        schemas::schemas(&kinds).into_iter().map(|(name, schema)| (name, self::schema(schema))).collect();
    json!({
        "swagger": "2.0",
        "info": { "title": super::TITLE, "version": API_VERSION },
        "paths": paths,
        "definitions": definitions,
    })
}

/// The same in protobuf.
pub fn encoded() -> Vec<u8> {
    wire::document(&document())
}

/// A schema without what v2 does not know: references stand for themselves, and of several types one.
fn schema(mut schema: Value) -> Value {
    let Some(fields) = schema.as_object_mut() else { return schema };
    if let Some(Value::Array(all)) = fields.remove("allOf")
        && let [Value::Object(only)] = &all[..]
    {
        fields.extend(only.clone());
        fields.remove("default");
    }
    if fields.remove("oneOf").is_some() {
        fields.insert("type".into(), "string".into());
    }
    if let Some(Value::String(target)) = fields.get_mut("$ref")
        && let Some(name) = target.rsplit_once(SCHEMAS).map(|(_, name)| name.trim_start_matches('/'))
    {
        *target = format!("{DEFINITIONS}{name}");
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(value) = fields.get_mut(inner).filter(|value| value.is_object()) {
            *value = self::schema(value.take());
        }
    }
    for (_, property) in fields.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        *property = self::schema(property.take());
    }
    schema
}

fn item(mut item: Value) -> Value {
    for (name, part) in item.as_object_mut().into_iter().flatten() {
        *part = match name.as_str() {
            "parameters" => parameters(part.take()),
            _ => operation(part.take()),
        };
    }
    item
}

/// What it takes in its body is one parameter more; media types stand beside it.
fn operation(mut operation: Value) -> Value {
    let Some(fields) = operation.as_object_mut() else { return operation };
    let mut takes = fields.remove("parameters").map_or_else(|| json!([]), parameters);
    if let Some(mut body) = fields.remove("requestBody") {
        let content = body["content"].take();
        let content = content.as_object().cloned().unwrap_or_default();
        let media: Vec<&String> = content.keys().collect();
        fields.insert("consumes".into(), json!(media));
        if let (Some(of), Some(takes)) = (content.values().next(), takes.as_array_mut()) {
            let required = body["required"] == true;
            takes.push(json!({
                "name": "body", "in": "body", "required": required, "schema": schema(of["schema"].clone()),
            }));
        }
    }
    fields.insert("parameters".into(), takes);
    let mut media = Vec::new();
    for (_, response) in fields.get_mut("responses").and_then(Value::as_object_mut).into_iter().flatten() {
        let content = response.as_object_mut().and_then(|response| response.remove("content"));
        for (name, of) in content.as_ref().and_then(Value::as_object).into_iter().flatten() {
            media.push(name.clone());
            response["schema"] = schema(of["schema"].clone());
        }
    }
    fields.insert("produces".into(), json!(media));
    operation
}

/// The type of a parameter stands in itself.
fn parameters(mut list: Value) -> Value {
    for parameter in list.as_array_mut().into_iter().flatten() {
        if let Some(fields) = parameter.as_object_mut()
            && let Some(Value::Object(of)) = fields.remove("schema")
        {
            fields.extend(of);
        }
    }
    list
}

#[cfg(test)]
mod tests;

//! JSON patches: a valid object or a refusal, and the same again when nothing differs.

use crate::api::patch::{JSON_PATCH, Patch};
use crate::coordinator::{Action, Subresource};
use serde_json::{Value, json};

/// One run.
pub fn run(data: &[u8]) {
    let mut data = data;
    let Some((mut endpoint, kind, form)) = super::choose(&mut data) else { return };
    let text = if form % 2 == 0 {
        data.to_vec()
    } else {
        let change = super::change(kind, super::number(&mut data));
        json!(operations("", &change, form)).to_string().into_bytes()
    };
    let Ok(patch) = Patch::parse(JSON_PATCH, &text) else { return };
    let action = Action::Patch { name: "x".into(), subresource: Subresource::Main, patch };
    if endpoint.act(kind, action).is_ok() {
        endpoint.is_settled(kind, "x");
    }
}

/// The operations that put each leaf of a change where it belongs.
fn operations(path: &str, change: &Value, form: u8) -> Vec<Value> {
    match change {
        Value::Object(fields) if !fields.is_empty() => fields
            .iter()
            .flat_map(|(name, inner)| {
                let name = name.replace('~', "~0").replace('/', "~1");
                operations(&format!("{path}/{name}"), inner, form)
            })
            .collect(),
        Value::Null => vec![json!({ "op": "remove", "path": path })],
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            match form % 5 {
                0 | 1 => vec![json!({ "op": "add", "path": path, "value": change })],
                2 => vec![json!({ "op": "replace", "path": path, "value": change })],
                3 => vec![json!({ "op": "copy", "from": "/metadata/name", "path": path })],
                _ => vec![json!({ "op": "move", "from": path, "path": "/metadata/annotations" })],
            }
        }
    }
}

//! Strategic merge patches: a valid object or a refusal.

use crate::api::patch::{Patch, STRATEGIC_PATCH};
use crate::coordinator::{Action, Subresource};
use serde_json::{Value, json};

/// One run.
pub fn run(data: &[u8]) {
    let mut data = data;
    let Some((mut endpoint, kind, form)) = super::choose(&mut data) else { return };
    let text = if form % 2 == 0 {
        data.to_vec()
    } else {
        let mut change = super::change(kind, super::number(&mut data));
        direct(&mut change, form >> 1);
        change.to_string().into_bytes()
    };
    let Ok(patch) = Patch::parse(STRATEGIC_PATCH, &text) else { return };
    let action = Action::Patch { name: "x".into(), subresource: Subresource::Main, patch };
    if endpoint.act(kind, action).is_ok() {
        endpoint.is_settled(kind, "x");
    }
}

/// Puts a directive into the innermost map.
fn direct(change: &mut Value, form: u8) {
    match change {
        Value::Object(fields) => {
            if fields.len() == 1
                && let Some(inner) = fields.values_mut().next()
                && (inner.is_object() || inner.is_array())
            {
                return direct(inner, form);
            }
            let first = fields.keys().next().cloned().unwrap_or_default();
            let (name, value) = match form % 6 {
                0 => ("$patch".into(), json!("replace")),
                1 => ("$patch".into(), json!("delete")),
                2 => ("$retainKeys".into(), json!([first])),
                3 => (format!("$setElementOrder/{first}"), json!(["a", { "name": "a" }])),
                4 => (format!("$deleteFromPrimitiveList/{first}"), json!(["a"])),
                _ => return,
            };
            fields.insert(name, value);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| direct(item, form)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

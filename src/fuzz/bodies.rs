//! Bodies of POST: JSON, YAML and protobuf. What is taken is kept as it can be read, and comes back the same in each form.

use super::{Endpoint, object};
use crate::api::kinds::{Kind, by_kind, served};
use crate::api::model::MODEL;
use crate::api::{arbitrary, protobuf};
use crate::coordinator::Action;
use crate::server::api::body;
use crate::server::api::negotiate::{Encoding, Sent};
use crate::server::api::reply::{Payload, Reply};
use serde_json::{Value, json};

/// One run.
pub fn run(data: &[u8]) {
    let Some((form, mut rest)) = data.split_first() else { return };
    let read = match form % 5 {
        0 => body::tree(rest, Sent::Json, "Pod"),
        1 => body::tree(rest, Sent::Yaml, "Pod"),
        2 => body::tree(rest, Sent::Protobuf, "Pod"),
        3 => body::configuration(rest),
        _ => {
            let kinds: Vec<&'static Kind> = served().collect();
            let seed = super::number(&mut rest);
            Ok(arbitrary::object(kinds[seed as usize % kinds.len()], seed))
        }
    };
    let Ok(value) = read else { return };
    comes_back_in_yaml(&value);
    let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let Some(kind) = by_kind(group, version, &kind) else { return };
    let mut endpoint = Endpoint::start();
    let Ok(made) = endpoint.act(kind, Action::Create { body: value }) else { return };
    let Some(made) = object(&made) else { return };
    comes_back_in_yaml(&made);
    comes_back_in_protobuf(kind.stored(), &made);
    endpoint.is_settled(kind.stored(), made["metadata"]["name"].as_str().unwrap_or_default());
}

fn comes_back_in_yaml(value: &Value) {
    let Payload::Whole(text) = Reply::value(200, value, Encoding::Yaml).payload else {
        panic!("a whole body")
    };
    let read = body::tree(&text, Sent::Yaml, "Pod").unwrap_or_else(|e| panic!("{e:?}\n{value}\n{text:?}"));
    assert_eq!(&read, value, "{text:?}");
}

fn comes_back_in_protobuf(kind: &Kind, value: &Value) {
    let there_and_back = |value: &Value| {
        protobuf::decode(&protobuf::write::body(MODEL.root(kind), value))
            .unwrap_or_else(|e| panic!("{e}\n{value}"))
    };
    let once = there_and_back(value);
    assert_eq!(without_empty(&once), without_empty(value));
    assert_eq!(there_and_back(&once), once);
}

/// Unknown fields and inner types are not in messages, and what is empty is not told from what is not there.
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

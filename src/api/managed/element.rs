//! One step of a path, in the spelling of `FieldsV1`: `f:NAME` a field or key of a map, `k:{KEYS}` an element of a list
//! of structs, `v:VALUE` an element of a set, `i:NUMBER` a position.
//!
//! Elements are kept as this text, in its one canonical form, so that a set read from an object needs no second form.

use std::fmt::Write as _;

use serde_json::Value;

use crate::api::openapi::lists::{List, key_default};

/// The text of an element.
pub(super) type Element = Box<str>;

pub(super) fn of_field(name: &str) -> Element {
    format!("f:{name}").into()
}

/// The element by which a list knows this item; else why it cannot, in upstream's words.
pub(super) fn of_item(list: List, item: &Value) -> Result<Element, String> {
    match list {
        List::Map(keys) => of_struct(keys, item),
        List::Set | List::Atomic => of_scalar(item),
    }
}

fn of_struct(keys: &[&str], item: &Value) -> Result<Element, String> {
    let Value::Object(fields) = item else {
        let what = if item.is_null() { "a null element" } else { "non-map elements" };
        return Err(format!("associative list with keys may not have {what}"));
    };
    let mut found: Vec<(&str, String)> = Vec::with_capacity(keys.len());
    for key in keys {
        match (fields.get(*key), key_default(key)) {
            (Some(value), _) => found.push((key, value.to_string())),
            (None, Some(default)) => found.push((key, Value::from(default).to_string())),
            (None, None) => {}
        }
    }
    if found.is_empty() {
        let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values \
             for any key fields)",
            keys.join(" ")
        ));
    }
    found.sort_unstable();
    Ok(of_keys(&found))
}

fn of_keys(keys: &[(&str, String)]) -> Element {
    let mut text = String::from("k:{");
    for (i, (name, value)) in keys.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(text, "{comma}{}:{value}", Value::from(*name)).expect("writing to a string");
    }
    text.push('}');
    text.into()
}

fn of_scalar(item: &Value) -> Result<Element, String> {
    let why = match item {
        Value::Bool(_) | Value::Number(_) | Value::String(_) => return Ok(format!("v:{item}").into()),
        Value::Object(_) => "associative list without keys has an element that's a map type",
        Value::Array(_) => "not supported: associative list with lists as elements",
        Value::Null => "associative list without keys has an element that's an explicit null",
    };
    Err(why.to_owned())
}

/// The canonical form of an element that a client wrote; none for what this version does not know.
pub(super) fn read(text: &str) -> Option<Element> {
    let (sort, rest) = text.split_at_checked(2)?;
    match sort {
        "f:" => Some(text.into()),
        "k:" => {
            let fields: serde_json::Map<String, Value> = serde_json::from_str(rest).ok()?;
            let mut keys: Vec<(&str, String)> =
                fields.iter().map(|(name, value)| (name.as_str(), value.to_string())).collect();
            keys.sort_unstable();
            Some(of_keys(&keys))
        }
        "v:" => serde_json::from_str::<Value>(rest).ok().map(|value| format!("v:{value}").into()),
        "i:" => rest.parse::<i64>().ok().map(|position| format!("i:{position}").into()),
        _ => None,
    }
}

/// As paths show it to people: `.spec`, `[name="a"]`, `[="a"]`, `[0]`.
pub(super) fn shown(element: &str) -> String {
    let (sort, rest) = element.split_at_checked(2).unwrap_or(("", element));
    match sort {
        "f:" => format!(".{rest}"),
        "v:" => format!("[={rest}]"),
        "k:" => {
            let fields: serde_json::Map<String, Value> = serde_json::from_str(rest).unwrap_or_default();
            let keys: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => format!("[{rest}]"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_are_known_by_their_keys_or_by_themselves() {
        const PORT: List = List::Map(&["containerPort", "protocol"]);
        const NAME: List = List::Map(&["name"]);
        for (list, item, element) in [
            (NAME, json!({ "name": "a", "image": "x" }), Ok("k:{\"name\":\"a\"}")),
            (
                PORT,
                json!({ "protocol": "UDP", "containerPort": 53 }),
                Ok("k:{\"containerPort\":53,\"protocol\":\"UDP\"}"),
            ),
            (PORT, json!({ "containerPort": 80 }), Ok("k:{\"containerPort\":80,\"protocol\":\"TCP\"}")),
            (List::Set, json!("x\"y"), Ok("v:\"x\\\"y\"")),
            (List::Set, json!(3), Ok("v:3")),
            (NAME, json!(null), Err("associative list with keys may not have a null element")),
            (NAME, json!("a"), Err("associative list with keys may not have non-map elements")),
            (
                NAME,
                json!({}),
                Err(
                    "associative list with keys has an element that omits all key fields [\"name\"] (and doesn't have \
                     default values for any key fields)",
                ),
            ),
            (List::Set, json!({}), Err("associative list without keys has an element that's a map type")),
            (
                List::Set,
                json!(null),
                Err("associative list without keys has an element that's an explicit null"),
            ),
        ] {
            assert_eq!(of_item(list, &item).as_deref().map_err(String::as_str), element, "{item}");
        }
    }

    #[test]
    fn what_clients_write_is_read_in_one_form() {
        for (text, element) in [
            ("f:spec", Some("f:spec")),
            ("f:", Some("f:")),
            (
                "k:{ \"protocol\": \"TCP\", \"containerPort\": 80 }",
                Some("k:{\"containerPort\":80,\"protocol\":\"TCP\"}"),
            ),
            ("v: \"a\"", Some("v:\"a\"")),
            ("i:07", Some("i:7")),
            ("k:[]", None),
            ("v:", None),
            ("i:x", None),
            ("z:new", None),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(read(text).as_deref(), element, "{text}");
        }
    }

    #[test]
    fn people_see_paths() {
        for (element, text) in [
            ("f:spec", ".spec"),
            ("k:{\"containerPort\":80,\"protocol\":\"TCP\"}", "[containerPort=80,protocol=\"TCP\"]"),
            ("v:\"a\"", "[=\"a\"]"),
            ("i:3", "[3]"),
        ] {
            assert_eq!(shown(element), text);
        }
    }
}

//! What `fieldValidation=Strict` refuses and `Warn` tells: fields nobody knows, and fields given twice.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{MODEL, Shape};
use crate::api::kinds::Kind;

/// Most findings told at once, as upstream.
const FINDINGS_MAX: usize = 100;

/// One sentence per field of `object` that `kind` does not have: `unknown field "spec.foo"`.
pub fn unknown_fields(kind: &Kind, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    search(MODEL.root(kind), object, "", &mut found);
    found
}

fn search(shape: &Shape, value: &Value, path: &str, found: &mut Vec<String>) {
    match (shape, value) {
        (Shape::Struct(index), Value::Object(fields)) => {
            for (name, value) in fields {
                let path = join(path, name);
                match MODEL.of(*index).fields.get(name.as_str()) {
                    Some(shape) => search(shape, value, &path, found),
                    None => tell(format!("unknown field \"{path}\""), found),
                }
            }
        }
        (Shape::Map(of), Value::Object(items)) => {
            items.iter().for_each(|(name, item)| search(of, item, &join(path, name), found));
        }
        (Shape::List(of), Value::Array(items)) => {
            items.iter().enumerate().for_each(|(i, item)| search(of, item, &format!("{path}[{i}]"), found));
        }
        _ => {}
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn tell(sentence: String, found: &mut Vec<String>) {
    if found.len() < FINDINGS_MAX {
        found.push(sentence);
    }
}

/// One sentence per key that an object of this JSON text has more than once: `duplicate field "spec.foo"`. Text that is
/// no JSON has none.
pub fn duplicate_fields(json: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(json);
    if (Place { path: String::new(), found: &mut found }).deserialize(&mut reader).is_err() {
        return Vec::new();
    }
    found
}

/// A place in the text, and what was found so far.
struct Place<'a> {
    path: String,
    found: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut i = 0;
        let Self { path, found } = self;
        while items.next_element_seed(Place { path: format!("{path}[{i}]"), found: &mut *found })?.is_some() {
            i += 1;
        }
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Self { path, found } = self;
        let mut seen = BTreeSet::new();
        while let Some(Key(name)) = entries.next_key()? {
            let path = join(&path, &name);
            if !seen.insert(name) {
                tell(format!("duplicate field \"{path}\""), found);
            }
            entries.next_value_seed(Place { path, found: &mut *found })?;
        }
        Ok(())
    }
}

struct Key(String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        String::deserialize(reader).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::kinds::by_kind;

    #[test]
    fn a_field_nobody_knows_is_named_with_its_path() {
        let daemon_set = by_kind("apps", "v1", "DaemonSet").unwrap();
        let object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "a", "labels": { "any": "x" } },
            "specc": {},
            "spec": { "template": { "spec": { "containers": [{ "name": "a" }, { "name": "b", "imagee": "x" }] } }, "foo": 1 },
        });
        assert_eq!(
            unknown_fields(daemon_set, &object),
            [
                "unknown field \"spec.foo\"",
                "unknown field \"spec.template.spec.containers[1].imagee\"",
                "unknown field \"specc\"",
            ]
        );
    }

    #[test]
    fn free_keys_and_raw_data_are_never_unknown() {
        let config_map = by_kind("", "v1", "ConfigMap").unwrap();
        assert_eq!(unknown_fields(config_map, &json!({ "data": { "x": "y" } })), Vec::<String>::new());
        let revision = by_kind("apps", "v1", "ControllerRevision").unwrap();
        assert_eq!(
            unknown_fields(revision, &json!({ "data": { "spec": { "x": 1 } } })),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_key_given_twice_is_found_at_any_depth() {
        let text = br#"{"a":1,"b":[{"c":1,"c":{"d":null,"d":true}}],"a":"x"}"#;
        assert_eq!(
            duplicate_fields(text),
            ["duplicate field \"b[0].c\"", "duplicate field \"b[0].c.d\"", "duplicate field \"a\""]
        );
        assert!(duplicate_fields(b"{\"a\":1.5,\"b\":-1}").is_empty());
        assert!(duplicate_fields(b"{\"a\":1,\"a\"").is_empty());
    }

    #[test]
    fn not_more_than_a_hundred_findings_are_told() {
        let object = Value::Object((0..200).map(|i| (format!("f{i}"), json!(1))).collect());
        assert_eq!(unknown_fields(by_kind("", "v1", "Pod").unwrap(), &object).len(), 100);
    }
}

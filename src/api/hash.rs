//! Hashes of what users wrote: the revision hash of a Pod template, and short names made of them. PURE.
//!
//! A revision hash is taken of the template **as it is stored**, in a canonical form, never of a typed struct: a
//! newer leasehold that knows more fields must not find another hash and restart every Pod.

use std::fmt::Write as _;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// Kubernetes' alphabet for generated names: no vowels and no look-alikes, so that no words appear.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
/// Letters of a name's hash: 27^10 is 47 bits, so that 10,000 nodes collide once in four million DaemonSets.
const NAME_HASH_LETTERS: usize = 10;

/// Fields that Go's encoder writes even when they are empty. A client written in Go that reads an object and writes
/// it back adds them, which must not count as a change.
const WRITTEN_THOUGH_EMPTY: [&str; 2] = ["metadata", "resources"];

/// JSON in one form only: keys sorted, nothing between the tokens, no nulls and none of the empty objects that Go's
/// encoder adds.
pub fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(&mut text, value);
    text
}

fn write_canonical(text: &mut String, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(key, value)| counts(key, value)).collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            text.push('{');
            for (i, (key, value)) in fields.into_iter().enumerate() {
                let comma = if i == 0 { "" } else { "," };
                let _ = write!(text, "{comma}{}:", Value::from(key.as_str()));
                write_canonical(text, value);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                write_canonical(text, item);
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            let _ = write!(text, "{value}");
        }
    }
}

/// Whether a field says anything.
fn counts(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(fields) if WRITTEN_THOUGH_EMPTY.contains(&key) => {
            fields.iter().any(|(k, v)| counts(k, v))
        }
        Value::String(text) => !(key == "divisor" && text == "0"),
        Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// The revision hash of a Pod template, as it stands in the label `controller-revision-hash`: FNV-1a in 32 bits,
/// safely encoded, at most ten letters. `collision_count` is that of the owner's status.
pub fn template_hash(template: &Value, collision_count: Option<i32>) -> String {
    let mut bytes = canonical(template).into_bytes();
    if let Some(count) = collision_count.filter(|count| *count != 0) {
        bytes.extend_from_slice(&count.to_le_bytes());
    }
    safe_encode(&fnv1a(&bytes).to_string())
}

/// 32-bit FNV-1a.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Each byte as a letter of Kubernetes' alphabet for generated names.
fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| char::from(ALPHABET[usize::from(byte) % ALPHABET.len()])).collect()
}

/// Ten letters that depend on every part and on where the parts end.
pub fn name_hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    let mut number = digest.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let mut letters = String::with_capacity(NAME_HASH_LETTERS);
    for _ in 0..NAME_HASH_LETTERS {
        letters.push(char::from(ALPHABET[(number % 27) as usize]));
        number /= 27;
    }
    letters
}

/// What a ControllerRevision of this template carries: a strategic merge patch that brings the template back, as
/// `kubectl rollout undo` sends it.
pub fn revision_data(template: &Value) -> Value {
    let mut template: Value = serde_json::from_str(&canonical(template)).expect("canonical JSON is JSON");
    if let Value::Object(fields) = &mut template {
        fields.insert("$patch".to_owned(), "replace".into());
    }
    json!({ "spec": { "template": template } })
}

/// A workload object with a Pod template, typed, beside the JSON it was read from, of which its revision hash is
/// taken. Reads and writes as that JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<T> {
    /// The object as this leasehold understands it.
    pub object: T,
    /// The object as it is stored, with fields that this leasehold does not know.
    raw: Value,
    /// Hash of its template.
    revision: String,
}

impl<T: DeserializeOwned> Stored<T> {
    /// Reads an object.
    pub fn read(raw: Value) -> Result<Self, serde_json::Error> {
        let object = T::deserialize(&raw)?;
        let collisions = raw["status"]["collisionCount"].as_i64().and_then(|count| i32::try_from(count).ok());
        let revision = template_hash(&raw["spec"]["template"], collisions);
        Ok(Self { object, raw, revision })
    }
}

impl<T> Stored<T> {
    /// The template as it is stored.
    pub fn template(&self) -> &Value {
        &self.raw["spec"]["template"]
    }

    /// The template's revision hash.
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Stored<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<T> Serialize for Stored<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.raw.serialize(serializer)
    }
}

impl k8s_openapi::Resource for Stored<DaemonSet> {
    const API_VERSION: &'static str = <DaemonSet as k8s_openapi::Resource>::API_VERSION;
    const GROUP: &'static str = <DaemonSet as k8s_openapi::Resource>::GROUP;
    const KIND: &'static str = <DaemonSet as k8s_openapi::Resource>::KIND;
    const VERSION: &'static str = <DaemonSet as k8s_openapi::Resource>::VERSION;
    const URL_PATH_SEGMENT: &'static str = <DaemonSet as k8s_openapi::Resource>::URL_PATH_SEGMENT;
    type Scope = k8s_openapi::NamespaceResourceScope;
}

impl k8s_openapi::Metadata for Stored<DaemonSet> {
    type Ty = ObjectMeta;
    fn metadata(&self) -> &ObjectMeta {
        &self.object.metadata
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.object.metadata
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template() -> Value {
        json!({
            "metadata": { "labels": { "app": "exporter" } },
            "spec": { "containers": [{ "name": "a", "image": "b:1", "env": [{ "name": "X", "value": "ü\n" }] }] },
        })
    }

    #[test]
    fn the_hash_of_a_template_never_changes_between_releases() {
        assert_eq!(template_hash(&template(), None), "7cf98656db");
        assert_eq!(template_hash(&template(), Some(0)), template_hash(&template(), None));
        assert_eq!(template_hash(&template(), Some(1)), "78f55f8d7f");
    }

    #[test]
    fn fnv_and_the_alphabet_are_those_of_upstream() {
        assert_eq!(fnv1a(b""), 0x811c_9dc5);
        assert_eq!(fnv1a(b"foobar"), 0xbf9c_f968);
        assert_eq!(safe_encode("0123456789"), "456789bcdf");
    }

    #[test]
    fn what_a_go_client_adds_when_it_writes_an_object_back_changes_no_hash() {
        let mut written = template();
        written["metadata"]["creationTimestamp"] = Value::Null;
        written["spec"]["containers"][0]["resources"] = json!({});
        assert_eq!(template_hash(&written, None), template_hash(&template(), None));
        let bare = json!({ "spec": { "containers": [] } });
        let with_metadata =
            json!({ "metadata": { "creationTimestamp": null }, "spec": { "containers": [] } });
        assert_eq!(template_hash(&with_metadata, None), template_hash(&bare, None));
    }

    #[test]
    fn empty_objects_that_mean_something_change_the_hash() {
        let mut with = template();
        with["spec"]["volumes"] = json!([{ "name": "v", "emptyDir": {} }]);
        let mut without = template();
        without["spec"]["volumes"] = json!([{ "name": "v" }]);
        assert_ne!(template_hash(&with, None), template_hash(&without, None));
    }

    #[test]
    fn a_field_that_this_release_does_not_know_changes_the_hash_and_is_kept() {
        let raw = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "a" },
            "spec": { "selector": {}, "template": { "spec": { "containers": [], "fromTheFuture": 1 } } },
        });
        let stored: Stored<DaemonSet> = serde_json::from_value(raw.clone()).expect("a DaemonSet");
        assert_eq!(serde_json::to_value(&stored).expect("JSON"), raw);
        assert_eq!(stored.revision(), template_hash(&raw["spec"]["template"], None));
        let without = json!({ "spec": { "containers": [] } });
        assert_ne!(stored.revision(), template_hash(&without, None));
        assert_eq!(stored.object.metadata.name.as_deref(), Some("a"));
    }

    #[test]
    fn names_depend_on_every_part_and_on_where_the_parts_end() {
        assert_eq!(name_hash(&["a", "b"]).len(), NAME_HASH_LETTERS);
        assert_eq!(name_hash(&["a", "b"]), name_hash(&["a", "b"]));
        assert_ne!(name_hash(&["ab", ""]), name_hash(&["a", "b"]));
        assert_ne!(name_hash(&["a", "b", ""]), name_hash(&["a", "b"]));
    }

    #[test]
    fn revision_data_is_a_patch_that_replaces_the_template() {
        let data = revision_data(
            &json!({ "metadata": { "creationTimestamp": null }, "spec": { "containers": [] } }),
        );
        assert_eq!(
            data,
            json!({ "spec": { "template": { "$patch": "replace", "spec": { "containers": [] } } } })
        );
    }

    proptest! {
        #[test]
        fn the_order_of_keys_changes_no_hash(keys in proptest::collection::vec("[a-z]{1,4}", 0..8)) {
            let forwards: serde_json::Map<_, _> = keys.iter().map(|k| (k.clone(), json!(k.len()))).collect();
            let backwards: serde_json::Map<_, _> = keys.iter().rev().map(|k| (k.clone(), json!(k.len()))).collect();
            prop_assert_eq!(canonical(&Value::Object(forwards)), canonical(&Value::Object(backwards)));
        }
    }
}

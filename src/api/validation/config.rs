//! `ConfigMap` and Secret.

use serde_json::Value;

use super::spot::{Errors, Spot};
use crate::api::model::decode_bytes;
use crate::api::names;
use crate::api::status::FieldError;

/// Most bytes of all values together: 1 MiB.
const CONTENT_BYTES_MAX: usize = 1024 * 1024;
const FROZEN: &str = "field is immutable when `immutable` is set";

/// All errors of a `ConfigMap`.
pub fn config_map(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    let (data, binary) = (root.at("data"), root.at("binaryData"));
    let mut size = 0;
    for (key, value) in data.entries() {
        key_faults(&value, key, &mut errors);
        if binary.key(key).is_set() {
            errors.invalid_value(&value, key, "duplicate of key present in binaryData");
        }
        size += value.text().len();
    }
    for (key, value) in binary.entries() {
        key_faults(&value, key, &mut errors);
        size += byte_count(&value);
    }
    if size > CONTENT_BYTES_MAX {
        errors.push(FieldError::too_long("", CONTENT_BYTES_MAX));
    }
    errors.into_list()
}

/// Nothing of an immutable `ConfigMap` may change but its metadata.
pub fn config_map_update(new: &Value, old: &Value) -> Vec<FieldError> {
    frozen(new, old, &["data", "binaryData"]).into_list()
}

/// All errors of a Secret.
pub fn secret(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    let data = root.at("data");
    let mut size = 0;
    for (key, value) in data.entries() {
        key_faults(&value, key, &mut errors);
        size += byte_count(&value);
    }
    if size > CONTENT_BYTES_MAX {
        errors.push(FieldError::too_long("data", CONTENT_BYTES_MAX));
    }
    contents(&root, &data, &mut errors);
    errors.into_list()
}

/// The type may never change, and nothing of an immutable Secret but its metadata.
pub fn secret_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = frozen(new, old, &["data"]);
    errors.immutable(&Spot::root(new).at("type"), &Spot::root(old).at("type"));
    errors.into_list()
}

/// What each well-known type must hold.
fn contents(root: &Spot<'_>, data: &Spot<'_>, errors: &mut Errors) {
    match root.at("type").text() {
        "kubernetes.io/service-account-token" => {
            errors.must_be_set(&root.at("metadata.annotations").key("kubernetes.io/service-account.name"));
        }
        "kubernetes.io/dockercfg" => json_object(&data.key(".dockercfg"), errors),
        "kubernetes.io/dockerconfigjson" => json_object(&data.key(".dockerconfigjson"), errors),
        "kubernetes.io/basic-auth" => {
            let keys = ["username", "password"].map(|key| data.key(key));
            if !keys.iter().any(Spot::is_set) {
                for key in &keys {
                    errors.required(key, "");
                }
            }
        }
        "kubernetes.io/ssh-auth" => errors.must_be_set(&data.key("ssh-privatekey")),
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"].map(|key| data.key(key)).iter().filter(|key| !key.is_set()) {
                errors.required(key, "");
            }
        }
        _ => {}
    }
}

fn json_object(at: &Spot<'_>, errors: &mut Errors) {
    if !at.is_set() {
        errors.required(at, "");
        return;
    }
    let bytes = decode_bytes(at.text()).unwrap_or_default();
    if let Err(e) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
        errors.invalid_value(at, "<secret contents redacted>", &e.to_string());
    }
}

fn key_faults(at: &Spot<'_>, key: &str, errors: &mut Errors) {
    errors.faults_of(at, key, names::config_map_key(key));
}

fn byte_count(at: &Spot<'_>) -> usize {
    decode_bytes(at.text()).map_or(0, |bytes| bytes.len())
}

fn frozen(new: &Value, old: &Value, fields: &[&str]) -> Errors {
    let mut errors = Errors::default();
    let (new, old) = (Spot::root(new), Spot::root(old));
    if old.at("immutable").is_true() {
        if !new.at("immutable").is_true() {
            errors.forbidden(&new.at("immutable"), FROZEN);
        }
        for field in fields {
            let (new, old) = (new.at(field), old.at(field));
            if new.value != old.value && !(new.is_empty() && old.is_empty()) {
                errors.forbidden(&new, FROZEN);
            }
        }
    }
    errors
}

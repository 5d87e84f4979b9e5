//! Each case: what is given, and every error it must get, as `path: sentence`.

mod containers;
mod jobs;
mod kinds;
mod pods;
mod updates;
mod volumes;
mod workloads;

use serde_json::{Value, json};

use crate::api::kinds::{Kind, by_kind, decode_check};
use crate::api::status::FieldError;

fn kind(group: &str, name: &str) -> &'static Kind {
    by_kind(group, "v1", name).expect("a known kind")
}

fn told(errors: Vec<FieldError>) -> Vec<String> {
    errors.into_iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
}

/// The errors of a new object, after its defaults.
fn errors(group: &str, name: &str, mut object: Value) -> Vec<String> {
    let kind = kind(group, name);
    decode_check(kind, &object).expect("the case has the right types");
    (kind.defaults)(&mut object);
    let mut errors = (kind.validate)(&object);
    if (group, name) == ("", "Pod") {
        errors.extend(crate::api::validation::pod_create(&object));
    }
    told(errors)
}

/// The errors of a change.
fn update_errors(group: &str, name: &str, mut new: Value, mut old: Value) -> Vec<String> {
    let kind = kind(group, name);
    (kind.defaults)(&mut old);
    (kind.defaults)(&mut new);
    told((kind.validate_update)(&new, &old))
}

fn merged(mut base: Value, over: Value) -> Value {
    for (name, value) in over.as_object().cloned().unwrap_or_default() {
        base[name] = value;
    }
    base
}

/// A right Pod with other fields in its spec.
fn pod_of(spec: Value) -> Value {
    let base = json!({ "containers": [{ "name": "a", "image": "busybox" }] });
    json!({ "metadata": { "name": "p", "namespace": "default" }, "spec": merged(base, spec) })
}

/// Errors of a Pod, without the `spec.` before their paths.
fn pod(spec: Value) -> Vec<String> {
    strip("spec.", errors("", "Pod", pod_of(spec)))
}

/// Errors of a Pod's only container, without what stands before its fields.
fn container(container: Value) -> Vec<String> {
    let base = json!({ "name": "a", "image": "busybox" });
    let volumes = json!([
        { "name": "v", "emptyDir": {} },
        { "name": "claim", "persistentVolumeClaim": { "claimName": "c" } },
        { "name": "pic", "image": { "reference": "a:1" } },
    ]);
    strip("containers[0].", pod(json!({ "containers": [merged(base, container)], "volumes": volumes })))
}

/// Errors of a Pod's only volume, without what stands before its fields.
fn volume(volume: Value) -> Vec<String> {
    let volume = merged(json!({ "name": "v" }), volume);
    strip("volumes[0].", pod(json!({ "volumes": [volume] })))
}

fn strip(prefix: &str, errors: Vec<String>) -> Vec<String> {
    errors.into_iter().map(|it| it.strip_prefix(prefix).map(String::from).unwrap_or(it)).collect()
}

fn check(judge: fn(Value) -> Vec<String>, cases: Vec<(Value, &[&str])>) {
    for (given, expected) in cases {
        assert_eq!(judge(given.clone()), expected, "{given}");
    }
}

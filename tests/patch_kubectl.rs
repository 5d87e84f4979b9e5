//! Strategic merge patches, compared with what the real kubectl makes of the same object and patch
//! (`kubectl patch --local`, which is the library that kube-apiserver uses).

use std::process::Command;

use leasehold::api::patch::Patch;
use serde_json::{Value, json};

/// What kubectl makes of it, none where it refuses.
fn by_kubectl(object: &Value, patch: &Value) -> Option<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("object.json");
    std::fs::write(&file, object.to_string()).expect("written");
    let output = Command::new("kubectl")
        .args(["patch", "--local", "--type=strategic", "-o", "json", "-p", &patch.to_string(), "-f"])
        .arg(&file)
        .env("KUBECONFIG", "/dev/null")
        .output()
        .expect("kubectl runs");
    output.status.success().then(|| stored(serde_json::from_slice(&output.stdout).expect("JSON")))
}

/// What decoding into upstream's types would leave of it: no nulls in maps and no directives.
fn stored(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(key, value)| !value.is_null() && !key.starts_with('$'));
            kept.map(|(key, value)| (key, stored(value))).collect()
        }
        Value::Array(items) => items.into_iter().map(stored).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

fn compare(object: &Value, patch: &Value) {
    let kind = object["kind"].as_str().expect("a kind");
    let ours = Patch::Strategic(patch.clone()).apply(object.clone(), kind).ok();
    assert_eq!(ours, by_kubectl(object, patch), "{patch} on {object}");
}

fn pod(spec: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p", "finalizers": ["a/a", "b/b"] }, "spec": spec })
}

#[test]
fn strategic_merges_agree_with_kubectl() {
    if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
        eprintln!("skipped: there is no kubectl");
        return;
    }
    let live = pod(&json!({
        "containers": [
            { "name": "a", "image": "i:1", "env": [{ "name": "X", "value": "1" }, { "name": "Y" }], "args": ["1", "2"] },
            { "name": "b", "image": "i:1", "ports": [{ "containerPort": 80 }, { "containerPort": 81 }] },
            { "name": "injected", "image": "i:9" },
        ],
        "volumes": [{ "name": "v", "hostPath": { "path": "/a" } }],
        "tolerations": [{ "key": "a" }, { "key": "b" }],
        "nodeSelector": { "x": "1", "y": "1" },
    }));
    for patch in [
        json!({ "spec": { "containers": [{ "name": "b", "image": "i:2" }] } }),
        json!({ "spec": { "containers": [{ "name": "c", "image": "i:3", "command": null }] } }),
        json!({ "spec": { "containers": [{ "name": "a", "$patch": "delete" }, { "name": "z", "$patch": "delete" }] } }),
        json!({ "spec": { "containers": [{ "name": "c" }, { "$patch": "replace" }] } }),
        json!({ "spec": { "containers": [{ "image": "i:2" }] } }),
        json!({ "spec": { "containers": null, "nodeSelector": null } }),
        json!({ "spec": {
            "$setElementOrder/containers": [{ "name": "b" }, { "name": "c" }, { "name": "a" }],
            "containers": [{ "name": "c", "image": "i" }],
        } }),
        json!({ "spec": {
            "$setElementOrder/containers": [{ "name": "a" }, { "name": "b" }],
            "containers": [{ "name": "b" }, { "name": "a" }],
        } }),
        json!({ "spec": {
            "$setElementOrder/containers": [{ "name": "a" }],
            "containers": [
                {
                    "name": "a",
                    "$setElementOrder/env": [{ "name": "Z" }, { "name": "Y" }],
                    "env": [{ "name": "Z", "value": "3" }, { "name": "X", "$patch": "delete" }],
                    "$deleteFromPrimitiveList/args": ["1"],
                },
                { "name": "b", "$patch": "delete" },
            ],
        } }),
        json!({ "spec": { "volumes": [{ "name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {} }] } }),
        json!({ "spec": { "volumes": [{ "name": "v", "$retainKeys": ["name"], "emptyDir": {} }] } }),
        json!({ "spec": { "volumes": [{ "name": "v", "emptyDir": {} }] } }),
        json!({ "spec": { "tolerations": [{ "key": "c" }] } }),
        json!({ "spec": { "nodeSelector": { "$patch": "replace", "z": "1" } } }),
        json!({ "spec": { "nodeSelector": { "$patch": "delete" } } }),
        json!({ "spec": { "nodeSelector": { "$patch": "spin" } } }),
        json!({ "metadata": { "finalizers": ["c/c"], "$setElementOrder/finalizers": ["c/c", "b/b"] } }),
        json!({ "metadata": { "$deleteFromPrimitiveList/finalizers": ["a/a"] } }),
        json!({ "spec": { "securityContext": { "runAsUser": null, "seLinuxOptions": { "user": null } } } }),
        json!({ "spec": { "hostAliases": [{ "ip": "1.1.1.1", "hostnames": ["h"] }] } }),
    ] {
        compare(&live, &patch);
    }
    let node = json!({
        "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n" },
        "status": {
            "addresses": [{ "type": "InternalIP", "address": "1.1.1.1" }, { "type": "Hostname", "address": "n" }],
            "conditions": [{ "type": "Ready", "status": "False" }],
        },
    });
    compare(
        &node,
        &json!({ "status": {
            "$setElementOrder/conditions": [{ "type": "DiskPressure" }, { "type": "Ready" }],
            "addresses": [{ "type": "InternalIP", "address": "2.2.2.2" }],
            "conditions": [{ "type": "DiskPressure", "status": "False" }, { "type": "Ready", "status": "True" }],
        } }),
    );
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "s" },
        "secrets": [{ "name": "a" }], "imagePullSecrets": [{ "name": "a" }],
    });
    compare(&account, &json!({ "secrets": [{ "name": "b" }], "imagePullSecrets": [{ "name": "b" }] }));
}

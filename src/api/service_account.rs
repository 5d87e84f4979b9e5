//! What a Pod gets of its ServiceAccount when it is made: a volume with a token for the API, and the account's secrets
//! for pulling images. As upstream's admission does it; the node does the same to the Pods it makes itself.

use serde_json::{Value, json};

/// Where containers find the token, the authority's certificate and their namespace.
pub const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// How the volume's name begins.
pub const VOLUME_PREFIX: &str = "kube-api-access-";
/// The ConfigMap of every namespace with the certificate of the cluster's authority.
pub const ROOT_CA: &str = "kube-root-ca.crt";
/// The account of a Pod that names none.
pub const DEFAULT_ACCOUNT: &str = "default";
/// How long the token is asked for: an hour, and seven seconds by which it is known, as upstream's.
const TOKEN_SECONDS: i64 = 3607;

/// Name of the Pod's account.
pub fn account_of(pod: &Value) -> &str {
    let stated = pod["spec"]["serviceAccountName"].as_str().filter(|name| !name.is_empty());
    stated.unwrap_or(DEFAULT_ACCOUNT)
}

/// Whether the Pod is to find a token: it says so itself, or else its account does; where neither speaks, it is.
pub fn mounts_token(pod: &Value, account: &Value) -> bool {
    let stated = pod["spec"]["automountServiceAccountToken"].as_bool();
    stated.or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true)
}

/// Gives a new Pod what its account has for it. `suffix` ends the volume's name.
pub fn admit(pod: &mut Value, account: &Value, suffix: &str) {
    if mounts_token(pod, account) {
        mount_token(pod, suffix);
    }
    let has_none = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    if has_none(&pod["spec"]["imagePullSecrets"]) && !has_none(&account["imagePullSecrets"]) {
        pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
}

/// Mounts the token in every container that has nothing mounted in its place.
fn mount_token(pod: &mut Value, suffix: &str) {
    let there = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let there = there.filter_map(|volume| volume["name"].as_str()).find(|name| is_token_volume(name));
    let (name, is_there) = match there {
        Some(name) => (name.to_owned(), true),
        None => (format!("{VOLUME_PREFIX}{suffix}"), false),
    };
    let mut is_used = false;
    for list in ["initContainers", "containers"] {
        let containers = pod["spec"].get_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            is_used |= mount_in(container, &name);
        }
    }
    if is_used && !is_there {
        push(&mut pod["spec"], "volumes", token_volume(&name));
    }
}

/// Whether the volume is one that admission made.
pub fn is_token_volume(name: &str) -> bool {
    name.starts_with(VOLUME_PREFIX)
}

fn mount_in(container: &mut Value, volume: &str) -> bool {
    let mounts = container["volumeMounts"].as_array().into_iter().flatten();
    if mounts.clone().any(|mount| mount["mountPath"] == TOKEN_DIRECTORY) {
        return mounts.clone().any(|mount| mount["name"] == volume);
    }
    let mount = json!({ "name": volume, "readOnly": true, "mountPath": TOKEN_DIRECTORY });
    push(container, "volumeMounts", mount);
    true
}

fn push(object: &mut Value, list: &str, item: Value) {
    let Some(fields) = object.as_object_mut() else { return };
    let list = fields.entry(list).or_insert_with(|| json!([]));
    if list.is_null() {
        *list = json!([]);
    }
    if let Some(items) = list.as_array_mut() {
        items.push(item);
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "defaultMode": 0o644,
            "sources": [
                { "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
                { "configMap": { "name": ROOT_CA, "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [{
                    "path": "namespace",
                    "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" },
                }] } },
            ],
        },
    })
}

/// The Pod without what [`admit`] mounted.
pub fn without_token(pod: &mut Value) {
    let Some(spec) = pod["spec"].as_object_mut() else { return };
    let is_made = |name: &Value| name.as_str().is_some_and(is_token_volume);
    retain(spec, "volumes", |volume| !is_made(&volume["name"]));
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            retain(container, "volumeMounts", |mount| {
                !(is_made(&mount["name"]) && mount["mountPath"] == TOKEN_DIRECTORY)
            });
        }
    }
}

/// Keeps some items of a list; a list that loses its last one is taken away.
fn retain(object: &mut serde_json::Map<String, Value>, list: &str, keep: impl Fn(&Value) -> bool) {
    let Some(items) = object.get_mut(list).and_then(Value::as_array_mut) else { return };
    items.retain(keep);
    if items.is_empty() {
        object.remove(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &Value) -> Value {
        json!({ "metadata": { "name": "p" }, "spec": spec })
    }

    #[test]
    fn the_pods_word_on_the_token_counts_before_the_accounts_and_silence_means_yes() {
        let (yes, no, silent) = (json!(true), json!(false), Value::Null);
        let cases = [
            (&silent, &silent, true),
            (&silent, &no, false),
            (&silent, &yes, true),
            (&no, &yes, false),
            (&yes, &no, true),
        ];
        for (of_pod, of_account, expected) in cases {
            let pod = pod(&json!({ "automountServiceAccountToken": of_pod }));
            let account = json!({ "automountServiceAccountToken": of_account });
            assert_eq!(mounts_token(&pod, &account), expected, "{of_pod} {of_account}");
        }
    }

    #[test]
    fn every_container_finds_the_token_unless_something_else_is_mounted_there() {
        let own = json!({ "name": "own", "mountPath": TOKEN_DIRECTORY });
        let mut pod = pod(&json!({
            "initContainers": [{ "name": "i" }],
            "containers": [{ "name": "a" }, { "name": "b", "volumeMounts": [own] }],
        }));
        let before = pod.clone();
        admit(&mut pod, &json!({ "imagePullSecrets": [{ "name": "s" }] }), "abcde");
        let mount =
            json!([{ "name": "kube-api-access-abcde", "readOnly": true, "mountPath": TOKEN_DIRECTORY }]);
        assert_eq!(pod["spec"]["initContainers"][0]["volumeMounts"], mount);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"], mount);
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"], json!([own]));
        let volume = &pod["spec"]["volumes"][0];
        assert_eq!(volume["projected"]["defaultMode"], 420);
        assert_eq!(volume["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"], 3607);
        assert_eq!(pod["spec"]["imagePullSecrets"], json!([{ "name": "s" }]));

        let once = pod.clone();
        admit(&mut pod, &Value::Null, "fghij");
        assert_eq!(pod, once, "a Pod that has the volume gets no other");
        without_token(&mut pod);
        pod["spec"].as_object_mut().unwrap().remove("imagePullSecrets");
        assert_eq!(pod, before);
    }

    #[test]
    fn a_pod_that_wants_no_token_or_has_its_own_everywhere_gets_no_volume() {
        let mut none =
            pod(&json!({ "automountServiceAccountToken": false, "containers": [{ "name": "a" }] }));
        let mut own = pod(&json!({ "containers": [
            { "name": "a", "volumeMounts": [{ "name": "own", "mountPath": TOKEN_DIRECTORY }] },
        ] }));
        for pod in [&mut none, &mut own] {
            let before = pod.clone();
            admit(pod, &json!({}), "abcde");
            assert_eq!(*pod, before);
        }
    }
}

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::api::arbitrary::any_json;
use crate::api::kinds::{KINDS, Kind, by_kind};

fn defaulted(group: &str, kind: &str, mut object: Value) -> Value {
    let row = by_kind(group, "v1", kind).expect("a known kind");
    (row.defaults)(&mut object);
    let once = object.clone();
    (row.defaults)(&mut object);
    assert_eq!(object, once, "twice is as once");
    object
}

fn pod(spec: Value) -> Value {
    defaulted("", "Pod", json!({ "metadata": { "name": "a" }, "spec": spec }))["spec"].take()
}

fn container(container: Value) -> Value {
    pod(json!({ "containers": [container] }))["containers"][0].take()
}

fn volume(volume: Value) -> Value {
    pod(json!({ "volumes": [volume] }))["volumes"][0].take()
}

fn daemon_set(spec: Value) -> Value {
    defaulted("apps", "DaemonSet", json!({ "metadata": { "name": "a" }, "spec": spec }))["spec"].take()
}

#[test]
fn a_bare_pod_becomes_what_kube_apiserver_makes_of_it() {
    let object = defaulted(
        "",
        "Pod",
        json!({ "metadata": { "name": "a" }, "spec": { "containers": [{ "name": "a", "image": "busybox" }] } }),
    );
    assert_eq!(
        object,
        json!({
            "metadata": { "name": "a" },
            "spec": {
                "containers": [{
                    "name": "a", "image": "busybox", "imagePullPolicy": "Always", "resources": {},
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                }],
                "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {},
                "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler",
                "enableServiceLinks": true, "serviceAccountName": "default", "serviceAccount": "default",
                "tolerations": [
                    { "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
                    { "key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 },
                ],
            },
            "status": { "phase": "Pending", "qosClass": "BestEffort" },
        })
    );
}

#[test]
fn a_new_pod_is_pending_and_has_its_class_and_keeps_both() {
    let limits = json!({ "limits": { "cpu": 1, "memory": "1Gi" } });
    let spec = json!({ "containers": [{ "name": "a", "image": "b", "resources": limits }] });
    let status = |object: Value| defaulted("", "Pod", object)["status"].take();
    assert_eq!(status(json!({ "spec": spec })), json!({ "phase": "Pending", "qosClass": "Guaranteed" }));
    let told = json!({ "phase": "Running", "qosClass": "Burstable" });
    assert_eq!(status(json!({ "spec": spec, "status": told })), told);
}

#[test]
fn what_the_user_said_is_never_overwritten() {
    let spec = json!({
        "containers": [{
            "name": "a", "image": "busybox", "imagePullPolicy": "Never", "resources": { "limits": { "cpu": "2" }, "requests": { "cpu": "1" } },
            "terminationMessagePath": "/x", "terminationMessagePolicy": "FallbackToLogsOnError",
            "ports": [{ "containerPort": 1, "hostPort": 1, "protocol": "UDP" }],
            "livenessProbe": {
                "httpGet": { "port": 1, "path": "/x", "scheme": "HTTPS" },
                "timeoutSeconds": 2, "periodSeconds": 3, "successThreshold": 4, "failureThreshold": 5,
            },
        }],
        "dnsPolicy": "Default", "restartPolicy": "Never", "securityContext": { "runAsUser": 1 },
        "terminationGracePeriodSeconds": 0, "schedulerName": "x", "enableServiceLinks": false,
        "serviceAccountName": "x", "serviceAccount": "x", "priority": 7, "preemptionPolicy": "Never",
        "tolerations": [{ "operator": "Exists" }],
        "volumes": [
            { "name": "a", "secret": { "secretName": "x", "defaultMode": 0 } },
            { "name": "b", "hostPath": { "path": "/", "type": "Directory" } },
        ],
    });
    assert_eq!(pod(spec.clone()), spec);
}

#[test]
fn the_pull_policy_follows_the_tag() {
    for (image, policy) in [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("host:5000/a", "Always"),
        ("a:1", "IfNotPresent"),
        ("Not A Reference", "IfNotPresent"),
        ("a@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "IfNotPresent"),
    ] {
        assert_eq!(container(json!({ "image": image }))["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn probes_and_hooks_get_their_numbers_paths_and_schemes() {
    let made = container(json!({
        "livenessProbe": { "httpGet": { "port": 80 } },
        "readinessProbe": { "exec": { "command": ["true"] }, "periodSeconds": 0 },
        "startupProbe": { "grpc": { "port": 80 } },
        "lifecycle": { "preStop": { "httpGet": { "port": 80 } } },
    }));
    assert_eq!(
        made["livenessProbe"],
        json!({
            "httpGet": { "port": 80, "path": "/", "scheme": "HTTP" },
            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
        })
    );
    assert_eq!(made["readinessProbe"]["periodSeconds"], 10);
    assert_eq!(made["startupProbe"]["grpc"], json!({ "port": 80, "service": "" }));
    assert_eq!(made["lifecycle"]["preStop"]["httpGet"], json!({ "port": 80, "path": "/", "scheme": "HTTP" }));
}

#[test]
fn environment_sources_name_their_version_and_divisor() {
    let made = container(json!({ "env": [
        { "name": "A", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        { "name": "B", "valueFrom": { "resourceFieldRef": { "resource": "limits.cpu" } } },
        { "name": "C", "value": "" },
    ] }));
    assert_eq!(made["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(made["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
    assert_eq!(made["env"][2], json!({ "name": "C", "value": "" }));
}

#[test]
fn ports_are_tcp_and_in_the_hosts_network_ports_of_the_host() {
    let ports = json!([{ "containerPort": 80 }, { "containerPort": 81, "hostPort": 82, "protocol": "UDP" }]);
    let spec = json!({ "containers": [{ "ports": ports }], "initContainers": [{ "ports": ports }] });
    let own = pod(spec.clone());
    assert_eq!(own["containers"][0]["ports"][0], json!({ "containerPort": 80, "protocol": "TCP" }));
    let mut host = spec;
    host["hostNetwork"] = true.into();
    let shared = pod(host.clone());
    for list in ["containers", "initContainers"] {
        assert_eq!(
            shared[list][0]["ports"][0],
            json!({ "containerPort": 80, "hostPort": 80, "protocol": "TCP" })
        );
        assert_eq!(
            shared[list][0]["ports"][1],
            json!({ "containerPort": 81, "hostPort": 82, "protocol": "UDP" })
        );
    }
    let template = daemon_set(json!({ "template": { "spec": host } }));
    let port = &template["template"]["spec"]["containers"][0]["ports"][0];
    assert_eq!(
        *port,
        json!({ "containerPort": 80, "protocol": "TCP" }),
        "templates leave host ports to the Pod"
    );
}

#[test]
fn every_volume_source_gets_its_own() {
    for (given, made) in [
        (json!({ "name": "v" }), json!({ "name": "v", "emptyDir": {} })),
        (
            json!({ "secret": { "secretName": "a" } }),
            json!({ "secret": { "secretName": "a", "defaultMode": 420 } }),
        ),
        (
            json!({ "configMap": { "name": "a" } }),
            json!({ "configMap": { "name": "a", "defaultMode": 420 } }),
        ),
        (json!({ "hostPath": { "path": "/a" } }), json!({ "hostPath": { "path": "/a", "type": "" } })),
        (
            json!({ "downwardAPI": { "items": [{ "path": "a", "fieldRef": { "fieldPath": "metadata.name" } }] } }),
            json!({ "downwardAPI": { "defaultMode": 420, "items": [{ "path": "a", "fieldRef": { "fieldPath": "metadata.name", "apiVersion": "v1" } }] } }),
        ),
        (
            json!({ "projected": { "sources": [
                { "serviceAccountToken": { "path": "t" } },
                { "downwardAPI": { "items": [{ "path": "a", "resourceFieldRef": { "resource": "limits.cpu", "containerName": "a" } }] } },
                { "configMap": { "name": "a" } },
            ] } }),
            json!({ "projected": { "defaultMode": 420, "sources": [
                { "serviceAccountToken": { "path": "t", "expirationSeconds": 3600 } },
                { "downwardAPI": { "items": [{ "path": "a", "resourceFieldRef": { "resource": "limits.cpu", "containerName": "a", "divisor": "0" } }] } },
                { "configMap": { "name": "a" } },
            ] } }),
        ),
        (
            json!({ "image": { "reference": "a:1" } }),
            json!({ "image": { "reference": "a:1", "pullPolicy": "IfNotPresent" } }),
        ),
        (
            json!({ "ephemeral": { "volumeClaimTemplate": { "spec": {} } } }),
            json!({ "ephemeral": { "volumeClaimTemplate": { "spec": { "volumeMode": "Filesystem" } } } }),
        ),
        (json!({ "iscsi": { "iqn": "a" } }), json!({ "iscsi": { "iqn": "a", "iscsiInterface": "default" } })),
        (json!({ "emptyDir": { "sizeLimit": "1024Mi" } }), json!({ "emptyDir": { "sizeLimit": "1Gi" } })),
        (json!({ "nfs": { "server": "a", "path": "/" } }), json!({ "nfs": { "server": "a", "path": "/" } })),
    ] {
        assert_eq!(volume(given.clone()), made, "{given}");
    }
}

#[test]
fn requests_follow_limits_in_pods_but_not_in_templates() {
    let resources = json!({ "limits": { "cpu": 1, "memory": "1024Mi" }, "requests": { "cpu": "0.5" } });
    let made = container(json!({ "resources": resources }));
    assert_eq!(made["resources"]["requests"], json!({ "cpu": "500m", "memory": "1Gi" }));
    let template =
        daemon_set(json!({ "template": { "spec": { "containers": [{ "resources": resources }] } } }));
    let in_template = &template["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(
        *in_template,
        json!({ "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "500m" } })
    );
}

#[test]
fn amounts_of_the_whole_pod_follow_from_its_containers() {
    let amounts = |cpu: &str| json!({ "requests": { "cpu": cpu } });
    let spec = pod(json!({
        "resources": { "limits": { "cpu": "4", "memory": "1Gi" } },
        "containers": [{ "resources": amounts("1") }, { "resources": amounts("500m") }],
        "initContainers": [
            { "resources": amounts("250m"), "restartPolicy": "Always" },
            { "resources": amounts("3") },
        ],
    }));
    assert_eq!(spec["resources"]["requests"], json!({ "cpu": "3250m", "memory": "1Gi" }));
    let untouched = pod(json!({ "containers": [{ "resources": amounts("1") }] }));
    assert!(untouched.get("resources").is_none());
}

#[test]
fn tolerations_of_dead_nodes_are_added_once_and_only_where_none_speaks_of_them() {
    let keys = |tolerations: Value| -> Vec<String> {
        let spec = pod(json!({ "tolerations": tolerations }));
        let list = spec["tolerations"].as_array().cloned().unwrap_or_default();
        list.iter()
            .map(|it| format!("{}={}", it["key"].as_str().unwrap_or("*"), it["tolerationSeconds"]))
            .collect()
    };
    let not_ready = "node.kubernetes.io/not-ready";
    assert_eq!(keys(json!(null)).len(), 2);
    assert_eq!(keys(json!([{ "operator": "Exists" }])), ["*=null"]);
    assert_eq!(
        keys(json!([{ "key": not_ready, "operator": "Exists", "effect": "NoExecute" }])),
        ["node.kubernetes.io/not-ready=null", "node.kubernetes.io/unreachable=300"]
    );
    assert_eq!(keys(json!([{ "key": not_ready, "operator": "Exists", "effect": "NoSchedule" }])).len(), 3);
    let template = daemon_set(json!({ "template": { "spec": {} } }));
    assert!(template["template"]["spec"].get("tolerations").is_none());
}

#[test]
fn the_old_name_of_the_service_account_is_still_heard() {
    for (spec, name) in [
        (json!({ "serviceAccount": "old" }), "old"),
        (json!({ "serviceAccount": "old", "serviceAccountName": "new" }), "new"),
        (json!({}), "default"),
    ] {
        let made = pod(spec);
        assert_eq!((&made["serviceAccount"], &made["serviceAccountName"]), (&json!(name), &json!(name)));
    }
    let template = daemon_set(json!({ "template": { "spec": {} } }));
    assert!(template["template"]["spec"].get("serviceAccountName").is_none());
}

#[test]
fn a_daemon_set_rolls_one_by_one_and_keeps_ten_revisions() {
    let object = defaulted("apps", "DaemonSet", json!({ "spec": {} }));
    assert_eq!(
        object,
        json!({
            "spec": {
                "revisionHistoryLimit": 10,
                "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 } },
            },
            "status": { "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0 },
        })
    );
    let on_delete =
        daemon_set(json!({ "updateStrategy": { "type": "OnDelete" }, "revisionHistoryLimit": 0 }));
    assert_eq!(on_delete, json!({ "updateStrategy": { "type": "OnDelete" }, "revisionHistoryLimit": 0 }));
    let surge = daemon_set(
        json!({ "updateStrategy": { "rollingUpdate": { "maxSurge": "10%", "maxUnavailable": 0 } } }),
    );
    assert_eq!(surge["updateStrategy"]["rollingUpdate"], json!({ "maxSurge": "10%", "maxUnavailable": 0 }));
}

#[test]
fn a_namespace_carries_its_name_as_a_label_and_its_finalizer_until_it_ends() {
    let made = defaulted("", "Namespace", json!({ "metadata": { "name": "a", "labels": { "x": "y" } } }));
    assert_eq!(made["metadata"]["labels"], json!({ "x": "y", "kubernetes.io/metadata.name": "a" }));
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(made["status"]["phase"], "Active");
    let ending = defaulted(
        "",
        "Namespace",
        json!({ "metadata": { "name": "a", "deletionTimestamp": "2026-01-02T03:04:05Z" }, "spec": { "finalizers": [] } }),
    );
    assert_eq!(ending["spec"]["finalizers"], json!([]));
}

#[test]
fn a_secret_is_opaque_and_its_texts_go_over_its_data() {
    let made = defaulted(
        "",
        "Secret",
        json!({ "data": { "a": "b2xk", "b": "a2VwdA==" }, "stringData": { "a": "new", "c": "ü" } }),
    );
    assert_eq!(made, json!({ "type": "Opaque", "data": { "a": "bmV3", "b": "a2VwdA==", "c": "w7w=" } }));
    assert_eq!(defaulted("", "Secret", json!({ "type": "x" }))["type"], "x");
}

#[test]
fn a_node_can_allocate_what_it_has_unless_it_says_less() {
    let made =
        defaulted("", "Node", json!({ "status": { "capacity": { "cpu": 8, "memory": "1048576Ki" } } }));
    assert_eq!(made["status"]["allocatable"], json!({ "cpu": "8", "memory": "1Gi" }));
    let less =
        defaulted("", "Node", json!({ "status": { "capacity": { "cpu": 8 }, "allocatable": { "cpu": 7 } } }));
    assert_eq!(less["status"]["allocatable"], json!({ "cpu": "7" }));
    let block = defaulted("", "Node", json!({ "spec": { "podCIDR": "10.0.0.0/24" } }));
    assert_eq!(block["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
    let blocks = defaulted("", "Node", json!({ "spec": { "podCIDRs": ["10.0.0.0/24", "fd00::/64"] } }));
    assert_eq!(blocks["spec"]["podCIDR"], "10.0.0.0/24");
}

#[test]
fn the_single_pod_ip_is_the_first_of_the_list() {
    let made = |status: Value| defaulted("", "Pod", json!({ "status": status }))["status"].take();
    assert_eq!(made(json!({ "podIP": "10.0.0.1" }))["podIPs"], json!([{ "ip": "10.0.0.1" }]));
    assert_eq!(made(json!({ "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }] }))["podIP"], "10.0.0.1");
}

/// Puts an unknown field into every object of a value.
fn sprinkle(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(sprinkle);
            fields.insert("future".into(), json!({ "kept": [1, null, "x"] }));
        }
        Value::Array(items) => items.iter_mut().for_each(sprinkle),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn count_sprinkles(value: &Value) -> usize {
    match value {
        Value::Object(fields) => {
            usize::from(fields.get("future") == Some(&json!({ "kept": [1, null, "x"] })))
                + fields.values().map(count_sprinkles).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(count_sprinkles).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[test]
fn fields_of_the_future_are_kept_wherever_they_stand() {
    let mut object = json!({
        "metadata": { "name": "a", "ownerReferences": [{}] },
        "spec": {
            "containers": [{ "env": [{}], "ports": [{}], "livenessProbe": { "httpGet": {} }, "resources": { "claims": [{}] } }],
            "volumes": [{ "secret": {} }, { "projected": { "sources": [{ "configMap": {} }] } }],
            "tolerations": [{}], "affinity": { "nodeAffinity": {} }, "securityContext": {},
        },
        "status": { "containerStatuses": [{ "state": {} }] },
    });
    sprinkle(&mut object);
    let before = count_sprinkles(&object);
    assert!(before > 15);
    assert_eq!(count_sprinkles(&defaulted("", "Pod", object)), before);
}

proptest! {
    #[test]
    fn defaults_are_idempotent_on_anything_and_never_fail(object in any_json(), row in 0..KINDS.len()) {
        let kind: &Kind = &KINDS[row];
        let mut once = object;
        (kind.defaults)(&mut once);
        let mut twice = once.clone();
        (kind.defaults)(&mut twice);
        prop_assert_eq!(once, twice);
    }
}

use super::*;
use crate::api::model::encode_bytes;

fn daemon_set(spec: Value) -> Vec<String> {
    let base = json!({
        "selector": { "matchLabels": { "app": "a" } },
        "template": { "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "a", "image": "x" }] } },
    });
    strip(
        "spec.",
        errors("apps", "DaemonSet", json!({ "metadata": { "name": "d" }, "spec": merged(base, spec) })),
    )
}

fn with_template(over: Value) -> Value {
    let base = json!({ "containers": [{ "name": "a", "image": "x" }] });
    json!({ "template": { "metadata": { "labels": { "app": "a" } }, "spec": merged(base, over) } })
}

#[test]
fn a_daemon_set_selects_the_pods_of_its_template() {
    check(
        daemon_set,
        vec![
            (json!({}), &[]),
            (
                json!({ "selector": { "matchLabels": { "app": "b" } } }),
                &[
                    "template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({ "selector": {} }),
                &["selector: Invalid value: {}: empty selector is invalid for daemonset"],
            ),
            (
                json!({ "selector": null }),
                &[
                    "template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                json!({ "selector": { "matchExpressions": [{ "key": "app", "operator": "In" }] } }),
                &[
                    "selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
                ],
            ),
        ],
    );
}

#[test]
fn the_pods_of_a_daemon_set_always_run() {
    check(
        daemon_set,
        vec![
            (
                with_template(json!({ "restartPolicy": "Never" })),
                &["template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
            ),
            (
                with_template(json!({ "activeDeadlineSeconds": 5 })),
                &[
                    "template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
                ],
            ),
            (
                with_template(
                    json!({ "containers": [{ "name": "a", "image": "x", "ports": [{ "containerPort": 1, "hostPort": 2 }] }], "hostNetwork": true }),
                ),
                &[
                    "template.spec.containers[0].ports[0].hostPort: Invalid value: 2: must match `containerPort` when `hostNetwork` is true",
                ],
            ),
            (
                with_template(
                    json!({ "containers": [{ "name": "a", "image": "x", "ports": [{ "containerPort": 1 }] }], "hostNetwork": true }),
                ),
                &[],
            ),
            (
                with_template(json!({ "ephemeralContainers": [{ "name": "e", "image": "x" }] })),
                &[
                    "template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",
                ],
            ),
        ],
    );
}

#[test]
fn a_daemon_set_rolls_by_surge_or_by_unavailability_but_not_by_both() {
    let rolling = |unavailable: Value, surge: Value| json!({ "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": unavailable, "maxSurge": surge } } });
    check(
        daemon_set,
        vec![
            (rolling(json!("30%"), json!(0)), &[]),
            (rolling(json!(0), json!("10%")), &[]),
            (
                rolling(json!(0), json!("0%")),
                &[
                    "updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
                ],
            ),
            (
                rolling(json!(1), json!(1)),
                &[
                    "updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
                ],
            ),
            (
                rolling(json!("101%"), json!(0)),
                &[
                    "updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
                ],
            ),
            (
                rolling(json!(-1), json!(0)),
                &[
                    "updateStrategy.rollingUpdate.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                json!({ "updateStrategy": { "type": "Sometimes" } }),
                &[
                    "updateStrategy: Unsupported value: {\"type\":\"Sometimes\"}: supported values: \"RollingUpdate\", \"OnDelete\"",
                ],
            ),
            (json!({ "updateStrategy": { "type": "OnDelete" } }), &[]),
            (
                json!({ "minReadySeconds": -1, "revisionHistoryLimit": -1 }),
                &[
                    "minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
                    "revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
        ],
    );
    let found = daemon_set(rolling(json!("x"), json!(1)));
    assert!(
        found[0].contains("a valid percent string must be a numeric string followed by an ending '%'"),
        "{found:?}"
    );
}

#[test]
fn labels_and_annotations_of_a_template_can_be_such() {
    let found = daemon_set(json!({
        "template": {
            "metadata": { "labels": { "app": "a", "x": "-" }, "annotations": { "a/b/c": "" } },
            "spec": { "containers": [{ "name": "a", "image": "x" }] },
        },
    }));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("template.labels: Invalid value: \"-\": a valid label must"));
    assert!(found[1].starts_with("template.annotations: Invalid value: \"a/b/c\": a valid label key must"));
}

#[test]
fn config_maps_have_file_names_as_keys_and_at_most_a_mebibyte() {
    let config_map = |object: Value| errors("", "ConfigMap", object);
    assert_eq!(
        config_map(json!({ "data": { "a.txt": "x" }, "binaryData": { "b": "eA==" } })),
        Vec::<String>::new()
    );
    assert_eq!(
        config_map(json!({ "data": { "..": "x" } })),
        ["data[..]: Invalid value: \"..\": must not be '..'"]
    );
    assert_eq!(
        config_map(json!({ "data": { "a": "x" }, "binaryData": { "a": "eA==" } })),
        ["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"]
    );
    let half = "x".repeat(512 * 1024);
    let full = json!({ "data": { "a": half }, "binaryData": { "b": encode_bytes(half.as_bytes()) } });
    assert_eq!(config_map(full.clone()), Vec::<String>::new());
    let over = merged(full, json!({ "data": { "a": half, "c": "x" } }));
    assert_eq!(config_map(over), [": Too long: may not be more than 1048576 bytes"]);
}

#[test]
fn secrets_of_known_types_hold_what_their_users_need() {
    let secret = |kind: &str, data: Value| errors("", "Secret", json!({ "type": kind, "stringData": data }));
    assert_eq!(secret("Opaque", json!({ "a": "b" })), Vec::<String>::new());
    assert_eq!(
        secret("kubernetes.io/tls", json!({})),
        ["data[tls.crt]: Required value", "data[tls.key]: Required value"]
    );
    assert_eq!(secret("kubernetes.io/tls", json!({ "tls.crt": "", "tls.key": "" })), Vec::<String>::new());
    assert_eq!(
        secret("kubernetes.io/basic-auth", json!({})),
        ["data[username]: Required value", "data[password]: Required value"]
    );
    assert_eq!(secret("kubernetes.io/ssh-auth", json!({})), ["data[ssh-privatekey]: Required value"]);
    assert_eq!(
        secret("kubernetes.io/dockerconfigjson", json!({})),
        ["data[.dockerconfigjson]: Required value"]
    );
    let broken = secret("kubernetes.io/dockerconfigjson", json!({ ".dockerconfigjson": "{" }));
    assert!(
        broken[0].starts_with("data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": ")
    );
    assert_eq!(
        secret("kubernetes.io/service-account-token", json!({})),
        ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]
    );
    let big = secret("Opaque", json!({ "a": "x".repeat(1024 * 1024 + 1) }));
    assert_eq!(big, ["data: Too long: may not be more than 1048576 bytes"]);
}

#[test]
fn leases_last_and_count() {
    let lease = |spec: Value| strip("spec.", errors("coordination.k8s.io", "Lease", json!({ "spec": spec })));
    assert_eq!(
        lease(json!({ "leaseDurationSeconds": 20, "leaseTransitions": 0, "holderIdentity": "n" })),
        Vec::<String>::new()
    );
    assert_eq!(
        lease(json!({ "leaseDurationSeconds": 0, "leaseTransitions": -1 })),
        [
            "leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            "leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
    assert_eq!(
        lease(json!({ "preferredHolder": "x" })),
        ["preferredHolder: Forbidden: may only be specified if `strategy` is defined"]
    );
    assert_eq!(
        lease(json!({ "strategy": "x" })),
        ["strategy.strategy: Unsupported value: \"x\": supported values: \"OldestEmulationVersion\""]
    );
}

#[test]
fn nodes_have_taints_once_and_amounts_that_can_be() {
    let node = |object: Value| errors("", "Node", object);
    let taint = json!({ "key": "a", "value": "b", "effect": "NoSchedule" });
    assert_eq!(node(json!({ "spec": { "taints": [taint] } })), Vec::<String>::new());
    assert_eq!(
        node(json!({ "spec": { "taints": [taint, { "key": "a", "effect": "NoSchedule" }] } })),
        [
            "metadata.taints[1]: Duplicate value: {\"effect\":\"NoSchedule\",\"key\":\"a\"}: taints must be unique by key and effect pair"
        ]
    );
    assert_eq!(
        node(json!({ "spec": { "taints": [{ "key": "a", "effect": "Go" }, { "key": "b" }] } })),
        [
            "metadata.taints[0].effect: Unsupported value: \"Go\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            "metadata.taints[1].effect: Required value",
        ]
    );
    assert_eq!(
        node(json!({ "status": { "capacity": { "cpu": "-1", "pods": "1500m" }, "allocatable": {} } })),
        [
            "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
            "status.capacity.pods: Invalid value: 1500m: must be an integer",
        ]
    );
    assert_eq!(
        node(json!({ "spec": { "podCIDRs": ["10.0.0.0/8", "10.1.0.0/8"] } })),
        [
            "spec.podCIDRs: Invalid value: [\"10.0.0.0/8\",\"10.1.0.0/8\"]: may specify no more than one CIDR for each IP family"
        ]
    );
    let address = json!({ "type": "InternalIP", "address": "1.2.3.4" });
    assert_eq!(
        node(json!({ "status": { "addresses": [address, address] } })),
        ["status.addresses[1]: Duplicate value: {\"address\":\"1.2.3.4\",\"type\":\"InternalIP\"}"]
    );
}

#[test]
fn events_stand_in_the_namespace_of_what_they_are_about() {
    let event = |namespace: &str, about: &str, more: Value| {
        let base = json!({ "metadata": { "namespace": namespace }, "involvedObject": { "kind": "Pod", "namespace": about } });
        errors("", "Event", merged(base, more))
    };
    assert_eq!(event("a", "a", json!({})), Vec::<String>::new());
    assert_eq!(event("default", "", json!({})), Vec::<String>::new());
    assert_eq!(
        event("a", "b", json!({})),
        ["involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"]
    );
    assert_eq!(
        event("a", "", json!({})),
        ["involvedObject.namespace: Invalid value: \"\": does not match event.namespace"]
    );
    let new = json!({ "eventTime": "2026-01-02T03:04:05.000000Z", "reportingComponent": "x", "reportingInstance": "y", "action": "z", "reason": "r" });
    assert_eq!(event("a", "b", new), Vec::<String>::new());
    let bare =
        event("a", "a", json!({ "eventTime": "2026-01-02T03:04:05.000000Z", "reportingComponent": "x" }));
    assert_eq!(
        bare,
        ["reportingInstance: Required value", "action: Required value", "reason: Required value"]
    );
    let wordy = json!({ "eventTime": "2026-01-02T03:04:05.000000Z", "reportingComponent": "x", "reportingInstance": "y", "action": "z", "reason": "r", "message": "x".repeat(1025) });
    assert_eq!(event("a", "a", wordy), ["message: Invalid value: \"\": can have at most 1024 characters"]);
}

#[test]
fn a_revision_has_data_and_a_number() {
    let revision = |object: Value| errors("apps", "ControllerRevision", object);
    assert_eq!(revision(json!({ "data": {}, "revision": 0 })), Vec::<String>::new());
    assert_eq!(
        revision(json!({ "revision": -1 })),
        [
            "data: Required value: data is mandatory",
            "revision: Invalid value: -1: must be greater than or equal to 0"
        ]
    );
}

#[test]
fn the_status_of_a_node_has_no_negative_amounts() {
    let node = json!({ "metadata": { "name": "n" }, "status": { "allocatable": { "cpu": "-1" } } });
    let found = told((kind("", "Node").validate_status)(&node, &json!({})));
    assert_eq!(found, ["status.allocatable.cpu: Invalid value: \"-1\": must be greater than or equal to 0"]);
}

//! What strategic merge patches do, as tables: object, patch, result. Objects are Pods' specs unless a kind is named.

use serde_json::{Value, json};

use super::{Patch, PatchError};

fn spec(object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let merged = Patch::Strategic(json!({ "spec": patch })).apply(json!({ "spec": object }), "Pod")?;
    Ok(merged["spec"].clone())
}

fn check(cases: &[(&str, Value, Value, Value)]) {
    for (what, object, patch, expected) in cases {
        assert_eq!(spec(object, patch).as_ref(), Ok(expected), "{what}");
    }
}

fn check_refused(cases: &[(&str, Value, Value, &str)]) {
    for (what, object, patch, error) in cases {
        let refused = spec(object, patch).expect_err(what);
        assert_eq!(refused.to_string(), *error, "{what}");
    }
}

#[test]
fn maps_are_merged_key_by_key() {
    check(&[
        ("a field is added", json!({ "a": 1 }), json!({ "b": 2 }), json!({ "a": 1, "b": 2 })),
        ("a field is changed", json!({ "a": 1, "b": 1 }), json!({ "a": 2 }), json!({ "a": 2, "b": 1 })),
        ("null removes", json!({ "a": 1, "b": 1 }), json!({ "a": null }), json!({ "b": 1 })),
        ("null on nothing does nothing", json!({ "b": 1 }), json!({ "a": null }), json!({ "b": 1 })),
        (
            "nested maps merge",
            json!({ "nodeSelector": { "x": "1", "y": "1" } }),
            json!({ "nodeSelector": { "x": null, "z": "2" } }),
            json!({ "nodeSelector": { "y": "1", "z": "2" } }),
        ),
        (
            "nulls of a new map are dropped",
            json!({}),
            json!({ "securityContext": { "runAsUser": null, "fsGroup": 1, "seLinuxOptions": { "user": null } } }),
            json!({ "securityContext": { "fsGroup": 1, "seLinuxOptions": {} } }),
        ),
        ("another type replaces", json!({ "a": { "b": 1 } }), json!({ "a": [1] }), json!({ "a": [1] })),
        ("an empty patch changes nothing", json!({ "a": 1 }), json!({}), json!({ "a": 1 })),
        (
            "unknown fields merge as maps and replace as lists",
            json!({ "future": { "deep": { "a": 1 }, "list": [1, 2] } }),
            json!({ "future": { "deep": { "b": 2 }, "list": [3] } }),
            json!({ "future": { "deep": { "a": 1, "b": 2 }, "list": [3] } }),
        ),
    ]);
}

#[test]
fn a_map_can_be_replaced_or_emptied_by_directive() {
    check(&[
        (
            "replace",
            json!({ "nodeSelector": { "x": "1" }, "a": 1 }),
            json!({ "nodeSelector": { "$patch": "replace", "y": "2" } }),
            json!({ "nodeSelector": { "y": "2" }, "a": 1 }),
        ),
        (
            "delete empties a map that is there",
            json!({ "nodeSelector": { "x": "1" } }),
            json!({ "nodeSelector": { "$patch": "delete" } }),
            json!({ "nodeSelector": {} }),
        ),
        (
            "delete of a map that is not there makes none",
            json!({}),
            json!({ "nodeSelector": { "$patch": "delete" } }),
            json!({}),
        ),
        (
            "replace at the top keeps nothing",
            json!({ "a": 1, "b": 2 }),
            json!({ "$patch": "replace", "c": 3, "d": null }),
            json!({ "c": 3 }),
        ),
    ]);
    check_refused(&[
        (
            "an unknown directive",
            json!({}),
            json!({ "$patch": "spin", "a": 1 }),
            "unknown patch type: spin in map: map[$patch:spin a:1]",
        ),
        (
            "merge is no directive of maps",
            json!({ "a": { "b": 1 } }),
            json!({ "a": { "$patch": "merge" } }),
            "unknown patch type: merge in map: map[$patch:merge]",
        ),
    ]);
}

#[test]
fn containers_are_matched_by_name() {
    let two = json!({ "containers": [{ "name": "a", "image": "i:1" }, { "name": "b", "image": "i:1" }] });
    check(&[
        (
            "one is changed in place",
            two.clone(),
            json!({ "containers": [{ "name": "b", "image": "i:2" }] }),
            json!({ "containers": [{ "name": "a", "image": "i:1" }, { "name": "b", "image": "i:2" }] }),
        ),
        (
            "one is added, before those that the patch does not name",
            two.clone(),
            json!({ "containers": [{ "name": "c", "image": "i:3", "command": null }] }),
            json!({ "containers": [
                { "name": "c", "image": "i:3" }, { "name": "a", "image": "i:1" }, { "name": "b", "image": "i:1" },
            ] }),
        ),
        (
            "one is deleted",
            two.clone(),
            json!({ "containers": [{ "name": "a", "$patch": "delete" }] }),
            json!({ "containers": [{ "name": "b", "image": "i:1" }] }),
        ),
        (
            "a deletion of what is not there is no error",
            two.clone(),
            json!({ "containers": [{ "name": "z", "$patch": "delete" }] }),
            two.clone(),
        ),
        (
            "one is deleted, one changed, one added",
            two.clone(),
            json!({ "containers": [
                { "name": "a", "$patch": "delete" }, { "name": "b", "tty": true }, { "name": "c" },
            ] }),
            json!({ "containers": [{ "name": "b", "image": "i:1", "tty": true }, { "name": "c" }] }),
        ),
        (
            "replace keeps only what the patch has",
            two.clone(),
            json!({ "containers": [{ "name": "c" }, { "$patch": "replace" }] }),
            json!({ "containers": [{ "name": "c" }] }),
        ),
        (
            "a list that was not there",
            json!({}),
            json!({ "containers": [{ "name": "c" }] }),
            json!({ "containers": [{ "name": "c" }] }),
        ),
        (
            "a deletion in a list that was not there leaves no trace",
            json!({}),
            json!({ "containers": [{ "name": "a", "$patch": "delete" }] }),
            json!({ "containers": [] }),
        ),
        (
            "two empty lists",
            json!({ "containers": [] }),
            json!({ "containers": [] }),
            json!({ "containers": [] }),
        ),
        ("null removes the list", two, json!({ "containers": null }), json!({})),
    ]);
}

#[test]
fn lists_in_elements_have_their_own_keys() {
    let object = json!({ "containers": [{
        "name": "a",
        "env": [{ "name": "X", "value": "1" }, { "name": "Y", "valueFrom": { "fieldRef": { "fieldPath": "f" } } }],
        "ports": [{ "containerPort": 80, "name": "http" }],
        "volumeMounts": [{ "mountPath": "/m", "name": "v" }],
        "args": ["1", "2"],
    }] });
    check(&[(
        "all at once",
        object,
        json!({ "containers": [{
            "name": "a",
            "env": [{ "name": "Y", "value": "2", "valueFrom": null }, { "name": "X", "$patch": "delete" }],
            "ports": [{ "containerPort": 80, "protocol": "TCP" }, { "containerPort": 81 }],
            "volumeMounts": [{ "mountPath": "/m", "readOnly": true }],
            "args": ["3"],
        }] }),
        json!({ "containers": [{
            "name": "a",
            "env": [{ "name": "Y", "value": "2" }],
            "ports": [{ "containerPort": 80, "name": "http", "protocol": "TCP" }, { "containerPort": 81 }],
            "volumeMounts": [{ "mountPath": "/m", "name": "v", "readOnly": true }],
            "args": ["3"],
        }] }),
    )]);
}

#[test]
fn tolerations_have_no_key_and_are_replaced() {
    check(&[
        (
            "replaced",
            json!({ "tolerations": [{ "key": "a" }, { "key": "b" }] }),
            json!({ "tolerations": [{ "key": "b", "operator": "Exists", "value": null }] }),
            json!({ "tolerations": [{ "key": "b", "operator": "Exists" }] }),
        ),
        (
            "image pull secrets are matched by name",
            json!({ "imagePullSecrets": [{ "name": "a" }] }),
            json!({ "imagePullSecrets": [{ "name": "b" }] }),
            json!({ "imagePullSecrets": [{ "name": "b" }, { "name": "a" }] }),
        ),
    ]);
}

#[test]
fn an_element_needs_its_merge_key() {
    check_refused(&[
        (
            "in the patch",
            json!({ "containers": [{ "name": "a" }] }),
            json!({ "containers": [{ "image": "i", "tty": true }] }),
            "map: map[image:i tty:true] does not contain declared merge key: name",
        ),
        (
            "in a deletion",
            json!({ "containers": [{ "name": "a" }] }),
            json!({ "containers": [{ "$patch": "delete" }] }),
            "map: map[$patch:delete] does not contain declared merge key: name",
        ),
        (
            "in an order",
            json!({ "containers": [{ "name": "a" }] }),
            json!({ "$setElementOrder/containers": [{ "image": "i" }], "containers": [{ "name": "a" }] }),
            "map: map[image:i] does not contain declared merge key: name",
        ),
        (
            "merging is no directive of elements",
            json!({ "containers": [{ "name": "a" }] }),
            json!({ "containers": [{ "name": "a", "$patch": "merge" }] }),
            "merging lists cannot yet be specified in the patch",
        ),
        (
            "elements of several types",
            json!({ "containers": [{ "name": "a" }] }),
            json!({ "containers": ["a"] }),
            "list element types are not identical: [[map[name:a]] [a]]",
        ),
        (
            "lists of lists",
            json!({ "containers": [{ "name": "a" }] }),
            json!({ "containers": [["a"]] }),
            "lists of lists are not supported",
        ),
    ]);
}

#[test]
fn set_element_order_orders_and_keeps_what_others_added_in_its_place() {
    let names = |list: &[&str]| -> Value { list.iter().map(|name| json!({ "name": name })).collect() };
    for (what, live, patch, order, expected) in [
        ("an order alone", &["a", "b", "c"][..], &[][..], &["c", "a", "b"][..], &["c", "a", "b"][..]),
        ("an addition in the middle", &["a", "c"], &["b"], &["a", "b", "c"], &["a", "b", "c"]),
        ("an addition at the front", &["b", "c"], &["a"], &["a", "b", "c"], &["a", "b", "c"]),
        ("someone else's stays behind its neighbour", &["a", "x", "b"], &[], &["a", "b"], &["a", "x", "b"]),
        ("someone else's at the front", &["x", "a", "b"], &["c"], &["a", "b", "c"], &["x", "a", "b", "c"]),
        ("someone else's at the end", &["a", "b", "x"], &["c"], &["a", "b", "c"], &["a", "b", "c", "x"]),
        ("someone else's between reversed ones", &["a", "x", "b"], &[], &["b", "a"], &["x", "b", "a"]),
        (
            "several of someone else's keep their order",
            &["x", "a", "y", "b", "z"],
            &[],
            &["a", "b"],
            &["x", "a", "y", "b", "z"],
        ),
        ("a list that was not there", &[], &["b", "a"], &["b", "a"], &["b", "a"]),
        ("more in the order than there is", &["a"], &[], &["z", "a"], &["a"]),
    ] {
        let mut change = json!({ "$setElementOrder/containers": names(order) });
        if !patch.is_empty() {
            change["containers"] = names(patch);
        }
        let merged = spec(&json!({ "containers": names(live) }), &change).expect(what);
        assert_eq!(merged, json!({ "containers": names(expected) }), "{what}");
    }
}

#[test]
fn set_element_order_goes_with_deletions_and_changes() {
    check(&[
        (
            "delete and add",
            json!({ "containers": [{ "name": "a", "image": "1" }, { "name": "b" }, { "name": "x" }] }),
            json!({
                "$setElementOrder/containers": [{ "name": "c" }, { "name": "a" }],
                "containers": [{ "name": "c" }, { "name": "a", "image": "2" }, { "name": "b", "$patch": "delete" }],
            }),
            json!({ "containers": [{ "name": "c" }, { "name": "a", "image": "2" }, { "name": "x" }] }),
        ),
        (
            "orders nest",
            json!({ "containers": [{ "name": "a", "env": [{ "name": "X" }, { "name": "Y" }] }] }),
            json!({
                "$setElementOrder/containers": [{ "name": "a" }],
                "containers": [{
                    "name": "a",
                    "$setElementOrder/env": [{ "name": "Z" }, { "name": "Y" }, { "name": "X" }],
                    "env": [{ "name": "Z", "value": "1" }],
                }],
            }),
            json!({ "containers": [{ "name": "a", "env": [{ "name": "Z", "value": "1" }, { "name": "Y" }, { "name": "X" }] }] }),
        ),
        (
            "an order of a list that nobody has",
            json!({}),
            json!({ "$setElementOrder/containers": [{ "name": "a" }] }),
            json!({}),
        ),
        (
            "an order in a new element is not stored",
            json!({ "containers": [] }),
            json!({ "containers": [{ "name": "a", "$setElementOrder/env": [{ "name": "X" }], "env": [{ "name": "X" }] }] }),
            json!({ "containers": [{ "name": "a", "env": [{ "name": "X" }] }] }),
        ),
        (
            "a list that is replaced",
            json!({ "tolerations": [{ "key": "a" }] }),
            json!({ "$setElementOrder/tolerations": [], "tolerations": [{ "key": "b" }] }),
            json!({ "tolerations": [{ "key": "b" }] }),
        ),
    ]);
    check_refused(&[
        (
            "order and patch disagree",
            json!({ "containers": [{ "name": "a" }, { "name": "b" }] }),
            json!({
                "$setElementOrder/containers": [{ "name": "a" }, { "name": "b" }],
                "containers": [{ "name": "b" }, { "name": "a" }],
            }),
            "The order in patch list:\n[map[name:b] map[name:a]]\n doesn't match $setElementOrder list:\n\
             [map[name:a] map[name:b]]\n",
        ),
        (
            "the patch has more than the order",
            json!({ "containers": [{ "name": "a" }] }),
            json!({ "$setElementOrder/containers": [{ "name": "a" }], "containers": [{ "name": "b" }] }),
            "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
        (
            "the order is no list",
            json!({}),
            json!({ "$setElementOrder/containers": "a" }),
            "expected a []interface {}, but received a string",
        ),
        (
            "the patch is no list",
            json!({}),
            json!({ "$setElementOrder/containers": [], "containers": { "a": 1 } }),
            "expected a []interface {}, but received a map[string]interface {}",
        ),
        (
            "the directive names no list",
            json!({}),
            json!({ "$setElementOrder": [] }),
            "invalid patch format of setElementOrder list",
        ),
    ]);
}

#[test]
fn finalizers_are_a_set_and_are_deleted_by_directive() {
    for (what, live, patch, expected) in [
        ("added", json!(["a"]), json!({ "finalizers": ["b"] }), json!(["b", "a"])),
        ("added twice", json!(["a"]), json!({ "finalizers": ["a", "b", "b"] }), json!(["a", "b"])),
        (
            "deleted",
            json!(["a", "b", "a"]),
            json!({ "$deleteFromPrimitiveList/finalizers": ["a", "z"] }),
            json!(["b"]),
        ),
        (
            "deleted, added and ordered",
            json!(["a", "b"]),
            json!({
                "$deleteFromPrimitiveList/finalizers": ["a"],
                "$setElementOrder/finalizers": ["c", "b"],
                "finalizers": ["c"],
            }),
            json!(["c", "b"]),
        ),
        (
            "deleted from nothing",
            json!(null),
            json!({ "$deleteFromPrimitiveList/finalizers": ["a"] }),
            json!(null),
        ),
        (
            "ordered among others",
            json!(["x", "a", "b"]),
            json!({ "$setElementOrder/finalizers": ["b", "a"] }),
            json!(["x", "b", "a"]),
        ),
    ] {
        let mut object = json!({ "metadata": {} });
        if !live.is_null() {
            object["metadata"]["finalizers"] = live;
        }
        let merged = Patch::Strategic(json!({ "metadata": patch })).apply(object, "ConfigMap").expect(what);
        assert_eq!(merged["metadata"]["finalizers"], expected, "{what}");
    }
    let bad = Patch::Strategic(json!({ "metadata": { "$deleteFromPrimitiveList": ["a"] } }));
    assert_eq!(
        bad.apply(json!({ "metadata": {} }), "Pod").map_err(|e| e.to_string()),
        Err("invalid patch format of primitive list".into())
    );
}

#[test]
fn scalars_are_deleted_from_lists_of_any_strategy() {
    check(&[(
        "args",
        json!({ "containers": [{ "name": "a", "args": ["1", "2", "3"] }] }),
        json!({ "containers": [{ "name": "a", "$deleteFromPrimitiveList/args": ["2"] }] }),
        json!({ "containers": [{ "name": "a", "args": ["1", "3"] }] }),
    )]);
}

#[test]
fn retain_keys_clears_the_other_arm_of_a_union() {
    check(&[
        (
            "a volume changes its source",
            json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/a" } }] }),
            json!({ "volumes": [{ "name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {} }] }),
            json!({ "volumes": [{ "name": "v", "emptyDir": {} }] }),
        ),
        (
            "without the directive both stay",
            json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/a" } }] }),
            json!({ "volumes": [{ "name": "v", "emptyDir": {} }] }),
            json!({ "volumes": [{ "name": "v", "hostPath": { "path": "/a" }, "emptyDir": {} }] }),
        ),
        (
            "nulls and directives need not be named",
            json!({ "volumes": [{ "name": "v", "x": ["1", "2"], "y": 1 }] }),
            json!({ "volumes": [{
                "name": "v", "$retainKeys": ["name", "x"], "$deleteFromPrimitiveList/x": ["1"], "y": null,
            }] }),
            json!({ "volumes": [{ "name": "v", "x": ["2"] }] }),
        ),
    ]);
    check_refused(&[
        (
            "a field that is not retained",
            json!({ "volumes": [{ "name": "v" }] }),
            json!({ "volumes": [{ "name": "v", "$retainKeys": ["name"], "emptyDir": {} }] }),
            "invalid patch format of retainKeys",
        ),
        (
            "no list",
            json!({ "volumes": [{ "name": "v" }] }),
            json!({ "volumes": [{ "name": "v", "$retainKeys": "name" }] }),
            "invalid patch format of retainKeys",
        ),
    ]);
    let deployment =
        json!({ "spec": { "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1 } } } });
    let patch = json!({ "spec": { "strategy": { "$retainKeys": ["type"], "type": "Recreate" } } });
    assert_eq!(
        Patch::Strategic(patch).apply(deployment, "Deployment"),
        Ok(json!({ "spec": { "strategy": { "type": "Recreate" } } }))
    );
}

#[test]
fn templates_inside_workloads_merge_like_pods() {
    let container = |image: &str| json!({ "containers": [{ "name": "a", "image": image }, { "name": "b" }] });
    let patch = json!({ "containers": [{ "name": "a", "image": "2" }] });
    for (kind, object, patch, expected) in [
        (
            "DaemonSet",
            json!({ "spec": { "template": { "spec": container("1") } } }),
            json!({ "spec": { "template": { "spec": patch } } }),
            json!({ "spec": { "template": { "spec": container("2") } } }),
        ),
        (
            "CronJob",
            json!({ "spec": { "jobTemplate": { "spec": { "template": { "spec": container("1") } } } } }),
            json!({ "spec": { "jobTemplate": { "spec": { "template": { "spec": patch } } } } }),
            json!({ "spec": { "jobTemplate": { "spec": { "template": { "spec": container("2") } } } } }),
        ),
    ] {
        assert_eq!(Patch::Strategic(patch).apply(object, kind), Ok(expected), "{kind}");
    }
}

#[test]
fn conditions_merge_by_type_as_the_node_writes_them() {
    let pod = json!({ "status": {
        "conditions": [{ "type": "Ready", "status": "False" }, { "type": "PodScheduled", "status": "True" }],
        "podIPs": [{ "ip": "10.0.0.1" }],
        "containerStatuses": [{ "name": "a", "restartCount": 0 }],
    } });
    let patch = json!({ "status": {
        "$setElementOrder/conditions": [{ "type": "Ready" }, { "type": "PodScheduled" }],
        "$setElementOrder/podIPs": [{ "ip": "10.0.0.2" }],
        "conditions": [{ "type": "Ready", "status": "True" }],
        "podIPs": [{ "$patch": "delete", "ip": "10.0.0.1" }, { "ip": "10.0.0.2" }],
        "containerStatuses": [{ "name": "a", "restartCount": 1 }],
    } });
    assert_eq!(
        Patch::Strategic(patch).apply(pod, "Pod"),
        Ok(json!({ "status": {
            "conditions": [{ "type": "Ready", "status": "True" }, { "type": "PodScheduled", "status": "True" }],
            "podIPs": [{ "ip": "10.0.0.2" }],
            "containerStatuses": [{ "name": "a", "restartCount": 1 }],
        } }))
    );
}

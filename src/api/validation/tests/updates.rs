use super::*;

fn change(old: Value, new: Value) -> Vec<String> {
    strip("spec.", update_errors("", "Pod", pod_of(new), pod_of(old)))
}

#[test]
fn a_pod_keeps_its_spec_but_for_images_deadlines_and_more_tolerations() {
    let image =
        |image: &str| json!({ "containers": [{ "name": "a", "image": image, "imagePullPolicy": "Never" }] });
    assert_eq!(change(image("a:1"), image("a:2")), Vec::<String>::new());
    assert_eq!(change(json!({}), json!({ "activeDeadlineSeconds": 5 })), Vec::<String>::new());
    assert_eq!(
        change(json!({}), json!({ "tolerations": [{ "key": "new", "operator": "Exists" }] })),
        Vec::<String>::new()
    );
    let found = change(json!({}), json!({ "hostname": "x" }));
    assert_eq!(
        found,
        ["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
          `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
          tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n  \
          spec.hostname: null -> \"x\""]
    );
}

#[test]
fn what_upstream_takes_for_the_same_is_no_change() {
    let old = json!({ "nodeSelector": {}, "volumes": [], "containers": [{ "name": "a", "image": "x", "resources": { "limits": { "cpu": "1000m" } } }] });
    let new = json!({ "containers": [{ "name": "a", "image": "x", "resources": { "limits": { "cpu": 1 } } }], "imagePullSecrets": [] });
    assert_eq!(change(old, new), Vec::<String>::new());
}

#[test]
fn containers_neither_come_nor_go() {
    let two = json!({ "containers": [{ "name": "a", "image": "x" }, { "name": "b", "image": "x" }] });
    assert_eq!(
        change(json!({}), two),
        ["containers: Forbidden: pod updates may not add or remove containers"]
    );
    let init = json!({ "initContainers": [{ "name": "i", "image": "x" }] });
    assert_eq!(
        change(init, json!({})),
        ["initContainers: Forbidden: pod updates may not add or remove containers"]
    );
}

#[test]
fn a_deadline_only_comes_nearer() {
    let deadline = |seconds: i64| json!({ "activeDeadlineSeconds": seconds });
    assert_eq!(change(deadline(5), deadline(4)), Vec::<String>::new());
    assert_eq!(
        change(deadline(4), deadline(5)),
        ["activeDeadlineSeconds: Invalid value: 5: must be less than or equal to previous value"]
    );
    assert_eq!(
        change(deadline(4), json!({})),
        ["activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value"]
    );
}

#[test]
fn tolerations_stay_but_their_times_may_change() {
    let with = |seconds: i64| json!({ "tolerations": [{ "key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds }] });
    assert_eq!(change(with(1), with(2)), Vec::<String>::new());
    assert_eq!(
        change(with(1), json!({})),
        ["tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
    );
}

#[test]
fn gates_only_open_and_a_gated_pod_may_become_choosier() {
    let gated = |names: &[&str], more: Value| {
        let gates: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        merged(json!({ "schedulingGates": gates }), more)
    };
    assert_eq!(change(gated(&["a", "b"], json!({})), gated(&["a"], json!({}))), Vec::<String>::new());
    assert_eq!(
        change(gated(&["a"], json!({})), gated(&["a", "b"], json!({}))),
        ["schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'"]
    );
    let zone = |zone: &str| json!({ "nodeSelector": { "zone": zone } });
    assert_eq!(change(gated(&["a"], json!({})), gated(&["a"], zone("x"))), Vec::<String>::new());
    assert_eq!(
        change(gated(&["a"], zone("x")), gated(&["a"], zone("y"))),
        [
            "nodeSelector: Invalid value: {\"zone\":\"y\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        ]
    );
    assert!(change(json!({}), zone("x"))[0].contains("pod updates may not change fields other than"));
    let terms = |keys: &[&str]| {
        let expressions: Vec<Value> =
            keys.iter().map(|key| json!({ "key": key, "operator": "Exists" })).collect();
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": expressions }] } } } })
    };
    assert_eq!(change(gated(&["a"], json!({})), gated(&["a"], terms(&["x"]))), Vec::<String>::new());
    assert_eq!(change(gated(&["a"], terms(&["x"])), gated(&["a"], terms(&["x", "y"]))), Vec::<String>::new());
    let found = change(gated(&["a"], terms(&["x"])), gated(&["a"], terms(&["y"])));
    assert!(found[0].ends_with("only additions are allowed (no mutations or deletions)"), "{found:?}");
}

#[test]
fn a_negative_grace_period_may_become_one() {
    let grace = |seconds: i64| json!({ "terminationGracePeriodSeconds": seconds });
    assert_eq!(change(grace(-5), grace(1)), Vec::<String>::new());
    assert!(change(grace(30), grace(1))[0].contains("spec.terminationGracePeriodSeconds: 30 -> 1"));
}

#[test]
fn the_mirror_annotation_stays_as_it_is() {
    let with = |annotations: Value| {
        let mut pod = pod_of(json!({ "nodeName": "n" }));
        pod["metadata"]["annotations"] = annotations;
        pod
    };
    let mirror = json!({ "kubernetes.io/config.mirror": "x" });
    assert_eq!(
        update_errors("", "Pod", with(json!({})), with(mirror.clone())),
        [
            "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not remove or update mirror pod annotation"
        ]
    );
    assert_eq!(
        update_errors("", "Pod", with(mirror), with(json!({}))),
        ["metadata.annotations[kubernetes.io/config.mirror]: Forbidden: may not add mirror pod annotation"]
    );
}

#[test]
fn a_daemon_sets_selector_never_changes() {
    let of = |app: &str| json!({ "spec": { "selector": { "matchLabels": { "app": app } } } });
    assert_eq!(update_errors("apps", "DaemonSet", of("a"), of("a")), Vec::<String>::new());
    assert_eq!(
        update_errors("apps", "DaemonSet", of("b"), of("a")),
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"]
    );
}

#[test]
fn what_is_immutable_stays() {
    let frozen = |data: Value| json!({ "immutable": true, "data": data });
    assert_eq!(
        update_errors("", "ConfigMap", frozen(json!({ "a": "b" })), frozen(json!({ "a": "b" }))),
        Vec::<String>::new()
    );
    assert_eq!(
        update_errors("", "ConfigMap", json!({ "data": { "a": "c" } }), frozen(json!({ "a": "b" }))),
        [
            "immutable: Forbidden: field is immutable when `immutable` is set",
            "data: Forbidden: field is immutable when `immutable` is set",
        ]
    );
    assert_eq!(
        update_errors("", "ConfigMap", frozen(json!({ "a": "c" })), json!({ "data": { "a": "b" } })),
        Vec::<String>::new()
    );
    assert_eq!(
        update_errors("", "Secret", frozen(json!({ "a": "Yg==" })), frozen(json!({ "a": "Yw==" }))),
        ["data: Forbidden: field is immutable when `immutable` is set"]
    );
    assert_eq!(
        update_errors("", "Secret", json!({ "type": "x" }), json!({})),
        ["type: Invalid value: \"x\": field is immutable"]
    );
    assert_eq!(
        update_errors(
            "apps",
            "ControllerRevision",
            json!({ "data": { "a": 1 } }),
            json!({ "data": { "a": 2 } })
        ),
        ["data: Invalid value: {\"a\":1}: field is immutable"]
    );
}

#[test]
fn what_was_given_to_a_node_stays() {
    let node = |spec: Value| json!({ "spec": spec });
    assert_eq!(
        update_errors("", "Node", node(json!({ "podCIDR": "10.0.0.0/24" })), node(json!({}))),
        Vec::<String>::new()
    );
    assert_eq!(
        update_errors(
            "",
            "Node",
            node(json!({ "podCIDR": "10.0.1.0/24" })),
            node(json!({ "podCIDR": "10.0.0.0/24" }))
        ),
        ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"]
    );
    assert_eq!(
        update_errors("", "Node", node(json!({ "providerID": "b" })), node(json!({ "providerID": "a" }))),
        ["spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid"]
    );
}

#[test]
fn a_pods_status_keeps_to_its_rules() {
    let status = |policy: &str, new: Value, old: Value| {
        let object = |status: Value| json!({ "spec": { "restartPolicy": policy }, "status": status });
        strip("status.", told((kind("", "Pod").validate_status)(&object(new), &object(old))))
    };
    let ended =
        json!({ "containerStatuses": [{ "name": "a", "state": { "terminated": { "exitCode": 0 } } }] });
    let runs = json!({ "containerStatuses": [{ "name": "a", "state": { "running": {} } }] });
    assert_eq!(status("Always", runs.clone(), ended.clone()), Vec::<String>::new());
    for policy in ["Never", "OnFailure"] {
        assert_eq!(
            status(policy, runs.clone(), ended.clone()),
            ["containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
        );
    }
    let failed =
        json!({ "containerStatuses": [{ "name": "a", "state": { "terminated": { "exitCode": 1 } } }] });
    assert_eq!(status("OnFailure", runs, failed), Vec::<String>::new());
    assert_eq!(
        status("Always", json!({ "qosClass": "Burstable" }), json!({ "qosClass": "BestEffort" })),
        ["qosClass: Invalid value: \"Burstable\": field is immutable"]
    );
    assert_eq!(
        status("Always", json!({ "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "x" }] }), json!({})),
        [
            "podIPs[1]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"x\"}]: may specify no more than one IP for each IP family",
        ]
    );
    assert_eq!(
        status("Always", json!({ "hostIP": "1.2.3.4", "hostIPs": [{ "ip": "1.2.3.5" }] }), json!({})),
        ["hostIPs[0].ip: Invalid value: \"1.2.3.5\": must be equal to `hostIP`"]
    );
    assert_eq!(
        status(
            "Always",
            json!({ "nominatedNodeName": "n1", "podIPs": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }] }),
            json!({})
        ),
        Vec::<String>::new()
    );
}

#[test]
fn the_counts_of_a_daemon_set_are_not_negative() {
    let status = |new: Value, old: Value| {
        told((kind("apps", "DaemonSet").validate_status)(
            &json!({ "status": new }),
            &json!({ "status": old }),
        ))
    };
    assert_eq!(
        status(json!({ "numberReady": -1 }), json!({})),
        ["status.numberReady: Invalid value: -1: must be greater than or equal to 0"]
    );
    assert_eq!(
        status(json!({ "collisionCount": 1 }), json!({ "collisionCount": 2 })),
        ["status.collisionCount: Invalid value: 1: cannot be decremented"]
    );
}

//! Deployment, `ReplicaSet`, `StatefulSet`, `ReplicationController`, `PodTemplate` and `PodDisruptionBudget`.

use super::*;

const UNSUITED: &str = "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not match template `labels`";

pub(super) fn template(over: Value) -> Value {
    let spec = merged(json!({ "containers": [{ "name": "a", "image": "x" }] }), over);
    json!({ "metadata": { "labels": { "app": "a" } }, "spec": spec })
}

fn whole(spec: Value) -> Value {
    let base = json!({
        "selector": { "matchLabels": { "app": "a" } },
        "template": template(json!({})),
    });
    json!({ "metadata": { "name": "w", "namespace": "default" }, "spec": merged(base, spec) })
}

fn check_spec(group: &str, kind: &str, cases: Vec<(Value, &[&str])>) {
    for (spec, expected) in cases {
        assert_eq!(errors(group, kind, whole(spec.clone())), expected, "{kind} {spec}");
    }
}

fn check_status(group: &str, kind_name: &str, cases: Vec<(Value, Value, &[&str])>) {
    for (new, old, expected) in cases {
        let object = |status: &Value| json!({ "status": status });
        let errors = told((kind(group, kind_name).validate_status)(&object(&new), &object(&old)));
        assert_eq!(errors, expected, "{kind_name} {new}");
    }
}

fn check_update(group: &str, kind: &str, cases: Vec<(Value, Value, &[&str])>) {
    for (new, old, expected) in cases {
        let errors = update_errors(group, kind, whole(new.clone()), whole(old));
        assert_eq!(errors, expected, "{kind} {new}");
    }
}

#[test]
fn kinds_that_keep_pods_running_share_the_rules_of_their_templates() {
    for (kind, named) in
        [("Deployment", "ReplicaSet"), ("ReplicaSet", "ReplicaSet"), ("StatefulSet", "StatefulSet")]
    {
        let deadline = format!(
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in {named} is not Supported"
        );
        check_spec(
            "apps",
            kind,
            vec![
                (json!({}), &[]),
                (json!({ "replicas": 0 }), &[]),
                (
                    json!({ "replicas": -1 }),
                    &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
                ),
                (
                    json!({ "minReadySeconds": -1 }),
                    &["spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"],
                ),
                (json!({ "selector": { "matchLabels": { "app": "b" } } }), &[UNSUITED]),
                (json!({ "selector": null }), &["spec.selector: Required value", UNSUITED]),
                (
                    json!({ "selector": { "matchExpressions": [{ "key": "app", "operator": "In", "values": ["a"] }] } }),
                    &[],
                ),
                (
                    json!({ "template": template(json!({ "restartPolicy": "OnFailure" })) }),
                    &[
                        "spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\"",
                    ],
                ),
                (json!({ "template": template(json!({ "activeDeadlineSeconds": 5 })) }), &[&deadline]),
                (
                    json!({ "template": template(json!({ "containers": [] })) }),
                    &["spec.template.spec.containers: Required value"],
                ),
            ],
        );
    }
}

#[test]
fn an_empty_selector_is_refused_by_the_name_of_the_kind() {
    for (kind, named) in
        [("Deployment", "deployment"), ("ReplicaSet", "deployment"), ("StatefulSet", "statefulset")]
    {
        let told = format!("spec.selector: Invalid value: {{}}: empty selector is invalid for {named}");
        check_spec("apps", kind, vec![(json!({ "selector": {} }), &[&told])]);
    }
}

#[test]
fn a_deployment_replaces_its_pods_within_bounds() {
    let rolling = |bounds: Value| json!({ "strategy": { "rollingUpdate": bounds } });
    check_spec(
        "apps",
        "Deployment",
        vec![
            (json!({ "strategy": { "type": "Recreate" } }), &[]),
            (
                json!({ "strategy": { "type": "Recreate", "rollingUpdate": { "maxSurge": 1 } } }),
                &[
                    "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
                ],
            ),
            (
                json!({ "strategy": { "type": "Fast" } }),
                &[
                    "spec.strategy: Unsupported value: {\"type\":\"Fast\"}: supported values: \"Recreate\", \"RollingUpdate\"",
                ],
            ),
            (rolling(json!({ "maxUnavailable": "25%", "maxSurge": "150%" })), &[]),
            (
                rolling(json!({ "maxUnavailable": 0, "maxSurge": "0%" })),
                &[
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
                ],
            ),
            (
                rolling(json!({ "maxUnavailable": "101%" })),
                &[
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
                ],
            ),
            (
                rolling(json!({ "maxSurge": -1 })),
                &[
                    "spec.strategy.rollingUpdate.maxSurge: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                rolling(json!({ "maxSurge": "1" })),
                &[
                    "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"1\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                ],
            ),
            (
                json!({ "progressDeadlineSeconds": 10, "minReadySeconds": 10 }),
                &["spec.progressDeadlineSeconds: Invalid value: 10: must be greater than minReadySeconds"],
            ),
            (
                json!({ "revisionHistoryLimit": -1 }),
                &["spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({ "replicas": 2, "template": template(json!({ "volumes": [{ "name": "v", "gcePersistentDisk": { "pdName": "d" } }] })) }),
                &[
                    "spec.template.spec.volumes[0].gcePersistentDisk.readOnly: Invalid value: false: must be true for replicated pods > 1; GCE PD can only be mounted on multiple machines if it is read-only",
                ],
            ),
        ],
    );
}

#[test]
fn the_selector_of_a_deployment_or_replica_set_never_changes() {
    for kind in ["Deployment", "ReplicaSet"] {
        check_update(
            "apps",
            kind,
            vec![
                (json!({ "replicas": 3 }), json!({}), &[]),
                (
                    json!({ "selector": { "matchLabels": { "app": "b" } } }),
                    json!({}),
                    &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"b\"}}: field is immutable"],
                ),
                (
                    json!({ "selector": { "matchLabels": { "app": "a" }, "matchExpressions": [] } }),
                    json!({}),
                    &[],
                ),
            ],
        );
    }
}

#[test]
fn a_status_counts_no_part_above_the_whole() {
    check_status(
        "apps",
        "Deployment",
        vec![
            (
                json!({ "replicas": 2, "updatedReplicas": 2, "readyReplicas": 1, "availableReplicas": 1 }),
                json!({}),
                &[],
            ),
            (
                json!({ "replicas": 1, "updatedReplicas": 2, "readyReplicas": -1 }),
                json!({}),
                &[
                    "status.readyReplicas: Invalid value: -1: must be greater than or equal to 0",
                    "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas",
                    "status.availableReplicas: Invalid value: 0: cannot be greater than readyReplicas",
                ],
            ),
            (
                json!({ "replicas": 2, "availableReplicas": 1 }),
                json!({}),
                &["status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas"],
            ),
            (
                json!({ "collisionCount": 1 }),
                json!({ "collisionCount": 2 }),
                &["status.collisionCount: Invalid value: 1: cannot be decremented"],
            ),
            (
                json!({}),
                json!({ "collisionCount": 2 }),
                &["status.collisionCount: Invalid value: 0: cannot be decremented"],
            ),
        ],
    );
    check_status(
        "apps",
        "StatefulSet",
        vec![
            (json!({ "replicas": 1, "currentReplicas": 1, "updateRevision": "x" }), json!({}), &[]),
            (
                json!({ "replicas": 1, "readyReplicas": 0, "availableReplicas": 1 }),
                json!({}),
                &["status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas"],
            ),
            (
                json!({ "replicas": 0, "currentReplicas": 1 }),
                json!({}),
                &["status.currentReplicas: Invalid value: 1: cannot be greater than status.replicas"],
            ),
        ],
    );
    for (group, kind) in [("apps", "ReplicaSet"), ("", "ReplicationController")] {
        check_status(
            group,
            kind,
            vec![
                (json!({ "replicas": 1, "fullyLabeledReplicas": 1 }), json!({}), &[]),
                (
                    json!({ "replicas": 0, "fullyLabeledReplicas": 1 }),
                    json!({}),
                    &[
                        "status.fullyLabeledReplicas: Invalid value: 1: cannot be greater than status.replicas",
                    ],
                ),
                (
                    json!({ "replicas": 0, "observedGeneration": -1 }),
                    json!({}),
                    &["status.observedGeneration: Invalid value: -1: must be greater than or equal to 0"],
                ),
            ],
        );
    }
}

#[test]
fn a_stateful_set_says_how_it_treats_its_pods_and_claims() {
    check_spec(
        "apps",
        "StatefulSet",
        vec![
            (
                json!({ "podManagementPolicy": "Parallel", "serviceName": "db", "ordinals": { "start": 3 } }),
                &[],
            ),
            (
                json!({ "podManagementPolicy": "Random" }),
                &[
                    "spec.podManagementPolicy: Invalid value: \"Random\": must be 'OrderedReady' or 'Parallel'",
                ],
            ),
            (
                json!({ "updateStrategy": { "type": "OnDelete", "rollingUpdate": { "partition": 1 } } }),
                &[
                    "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'RollingUpdate'",
                ],
            ),
            (
                json!({ "updateStrategy": { "type": "Sometimes" } }),
                &[
                    "spec.updateStrategy: Invalid value: {\"type\":\"Sometimes\"}: must be 'RollingUpdate' or 'OnDelete'",
                ],
            ),
            (
                json!({ "updateStrategy": { "rollingUpdate": { "partition": -1, "maxUnavailable": 0 } } }),
                &[
                    "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
                ],
            ),
            (
                json!({ "updateStrategy": { "rollingUpdate": { "maxUnavailable": "120%" } } }),
                &[
                    "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: \"120%\": must not be greater than 100%",
                ],
            ),
            (
                json!({ "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete", "whenScaled": "Keep" } }),
                &[
                    "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Keep\": supported values: \"Retain\", \"Delete\"",
                ],
            ),
            (
                json!({ "ordinals": { "start": -1 } }),
                &["spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                json!({ "serviceName": "a.b" }),
                &["spec.serviceName: Invalid value: \"a.b\": must not contain dots"],
            ),
        ],
    );
}

#[test]
fn the_claims_of_a_stateful_set_are_volumes_of_its_pods() {
    let mounting = template(json!({
        "containers": [{ "name": "a", "image": "x", "volumeMounts": [{ "name": "data", "mountPath": "/d" }] }],
    }));
    let claim = json!({ "metadata": { "name": "data" }, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } },
    } });
    check_spec(
        "apps",
        "StatefulSet",
        vec![
            (json!({ "template": mounting, "volumeClaimTemplates": [claim] }), &[]),
            (
                json!({ "template": mounting }),
                &["spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\""],
            ),
        ],
    );
}

#[test]
fn what_identities_hang_on_never_changes() {
    const FIXED: &str = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                         'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' \
                         are forbidden";
    check_update(
        "apps",
        "StatefulSet",
        vec![
            (json!({ "replicas": 9, "ordinals": { "start": 1 }, "minReadySeconds": 3 }), json!({}), &[]),
            (json!({ "revisionHistoryLimit": 3, "updateStrategy": { "type": "OnDelete" } }), json!({}), &[]),
            (json!({ "template": template(json!({ "hostNetwork": true })) }), json!({}), &[]),
            (json!({ "serviceName": "b" }), json!({ "serviceName": "a" }), &[FIXED]),
            (json!({ "podManagementPolicy": "Parallel" }), json!({}), &[FIXED]),
            (json!({ "selector": { "matchLabels": { "app": "b" } } }), json!({}), &[FIXED]),
            (json!({ "volumeClaimTemplates": [{ "metadata": { "name": "v" } }] }), json!({}), &[FIXED]),
            (json!({ "volumeClaimTemplates": [] }), json!({}), &[]),
        ],
    );
}

#[test]
fn a_replication_controller_selects_by_a_map_that_its_template_may_give() {
    let controller = |spec: Value| {
        errors("", "ReplicationController", json!({ "metadata": { "name": "r" }, "spec": spec }))
    };
    for (spec, expected) in [
        (json!({ "template": template(json!({})) }), &[][..]),
        (json!({ "selector": { "app": "a" }, "template": template(json!({})) }), &[]),
        (json!({ "selector": { "app": "b" }, "template": template(json!({})) }), &[UNSUITED]),
        (json!({ "selector": { "app": "a" } }), &["spec.template: Required value"]),
        (json!({}), &["spec.selector: Required value", "spec.template: Required value"]),
        (
            json!({ "replicas": -1, "template": template(json!({ "activeDeadlineSeconds": 1 })) }),
            &[
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicationController is not Supported",
            ],
        ),
    ] {
        assert_eq!(controller(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn a_pod_template_may_be_of_any_restart_policy() {
    let object = |over: Value| json!({ "metadata": { "name": "t" }, "template": template(over) });
    assert!(errors("", "PodTemplate", object(json!({ "restartPolicy": "Never" }))).is_empty());
    assert_eq!(
        errors("", "PodTemplate", object(json!({ "containers": null }))),
        ["template.spec.containers: Required value"]
    );
}

#[test]
fn a_disruption_budget_has_one_bound() {
    let budget = |spec: Value| {
        errors("policy", "PodDisruptionBudget", json!({ "metadata": { "name": "b" }, "spec": spec }))
    };
    for (spec, expected) in [
        (json!({ "minAvailable": 1, "selector": { "matchLabels": { "a": "b" } } }), &[][..]),
        (json!({ "maxUnavailable": "50%", "selector": {} }), &[]),
        (json!({}), &[]),
        (
            json!({ "minAvailable": 1, "maxUnavailable": 1 }),
            &[
                "spec: Invalid value: {\"maxUnavailable\":1,\"minAvailable\":1}: minAvailable and maxUnavailable cannot be both set",
            ],
        ),
        (
            json!({ "minAvailable": -1 }),
            &["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            json!({ "maxUnavailable": "101%" }),
            &["spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"],
        ),
        (
            json!({ "unhealthyPodEvictionPolicy": "Never" }),
            &[
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Never\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
            ],
        ),
        (
            json!({ "selector": { "matchExpressions": [{ "key": "a", "operator": "In" }] } }),
            &[
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ],
        ),
    ] {
        assert_eq!(budget(spec.clone()), expected, "{spec}");
    }
    check_status(
        "policy",
        "PodDisruptionBudget",
        vec![
            (json!({ "disruptionsAllowed": 1 }), json!({}), &[]),
            (
                json!({ "disruptionsAllowed": -1 }),
                json!({}),
                &["status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0"],
            ),
        ],
    );
}

#[test]
fn claims_of_a_set_are_right_before_its_first_pod() {
    let claim =
        |spec: Value| json!({ "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": spec }] });
    let right =
        json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    check_spec(
        "apps",
        "StatefulSet",
        vec![
            (claim(right.clone()), &[]),
            (
                claim(json!({})),
                &[
                    "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
                    "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value",
                ],
            ),
            (
                claim(merged(right, json!({ "volumeMode": "Tape" }))),
                &[
                    "spec.volumeClaimTemplates[0].spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \
                 \"Filesystem\"",
                ],
            ),
        ],
    );
}

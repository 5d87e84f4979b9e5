use super::*;

#[test]
fn a_small_pod_is_right() {
    assert_eq!(pod(json!({})), Vec::<String>::new());
}

#[test]
fn a_pod_with_everything_in_its_place_is_right() {
    let spec = json!({
        "nodeName": "n1", "hostNetwork": true, "hostPID": true, "dnsPolicy": "ClusterFirstWithHostNet",
        "serviceAccountName": "x", "priorityClassName": "system-node-critical", "runtimeClassName": "gvisor",
        "hostname": "h", "subdomain": "s", "activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 0,
        "nodeSelector": { "kubernetes.io/os": "linux" },
        "imagePullSecrets": [{ "name": "s" }],
        "tolerations": [{ "operator": "Exists" }, { "key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": -1 }],
        "hostAliases": [{ "ip": "1.2.3.4", "hostnames": ["a.b"] }],
        "dnsConfig": { "nameservers": ["1.1.1.1"], "searches": [".", "a_b.c."], "options": [{ "name": "ndots", "value": "2" }] },
        "readinessGates": [{ "conditionType": "x.dev/ready" }],
        "os": { "name": "linux" },
        "securityContext": { "runAsUser": 0, "fsGroup": 1, "supplementalGroups": [1], "seccompProfile": { "type": "RuntimeDefault" } },
        "volumes": [{ "name": "v", "hostPath": { "path": "/", "type": "Directory" } }],
        "initContainers": [
            { "name": "i", "image": "a", "command": ["x"] },
            { "name": "side", "image": "a", "restartPolicy": "Always", "livenessProbe": { "exec": { "command": ["x"] } } },
        ],
        "containers": [{
            "name": "a", "image": "busybox", "ports": [{ "name": "http", "containerPort": 80 }],
            "env": [{ "name": "A", "value": "b" }, { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
            "resources": { "limits": { "cpu": "1", "memory": "1Gi", "nvidia.com/gpu": 1 }, "requests": { "cpu": "500m" } },
            "volumeMounts": [{ "name": "v", "mountPath": "/host", "readOnly": true, "mountPropagation": "HostToContainer" }],
            "livenessProbe": { "httpGet": { "port": "http" } },
            "securityContext": { "privileged": true, "capabilities": { "add": ["SYS_TIME"] } },
        }],
    });
    assert_eq!(pod(spec), Vec::<String>::new());
}

#[test]
fn containers_are_there_and_have_names_of_their_own() {
    check(
        pod,
        vec![
            (json!({ "containers": [] }), &["containers: Required value"]),
            (json!({ "containers": null }), &["containers: Required value"]),
            (
                json!({ "containers": [{ "name": "a", "image": "x" }, { "name": "a", "image": "x" }] }),
                &["containers[1].name: Duplicate value: \"a\""],
            ),
            (
                json!({ "initContainers": [{ "name": "a", "image": "x" }] }),
                &["initContainers[0].name: Duplicate value: \"a\""],
            ),
            (json!({ "containers": [{ "image": "x" }] }), &["containers[0].name: Required value"]),
            (json!({ "containers": [{ "name": "a" }] }), &["containers[0].image: Required value"]),
            (
                json!({ "containers": [{ "name": "a", "image": " x" }] }),
                &["containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace"],
            ),
        ],
    );
    let upper = pod(json!({ "containers": [{ "name": "A", "image": "x" }] }));
    assert!(
        upper[0].starts_with(
            "containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of"
        )
    );
}

#[test]
fn policies_are_one_of_the_known_words() {
    check(
        pod,
        vec![
            (
                json!({ "restartPolicy": "Sometimes" }),
                &[
                    "restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
                ],
            ),
            (
                json!({ "dnsPolicy": "x" }),
                &[
                    "dnsPolicy: Unsupported value: \"x\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
                ],
            ),
            (
                json!({ "preemptionPolicy": "x" }),
                &[
                    "preemptionPolicy: Unsupported value: \"x\": supported values: \"PreemptLowerPriority\", \"Never\"",
                ],
            ),
            (
                json!({ "os": { "name": "beos" } }),
                &["os: Unsupported value: \"beos\": supported values: \"linux\", \"windows\""],
            ),
        ],
    );
}

#[test]
fn numbers_stay_in_their_ranges() {
    check(
        pod,
        vec![
            (
                json!({ "activeDeadlineSeconds": 0 }),
                &["activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
            ),
            (
                json!({ "securityContext": { "runAsUser": -1 } }),
                &[
                    "securityContext.runAsUser: Invalid value: -1: must be between 0 and 4294967295, inclusive",
                ],
            ),
            (
                json!({ "securityContext": { "supplementalGroups": [0, -5] } }),
                &[
                    "securityContext.supplementalGroups[1]: Invalid value: -5: must be between 0 and 4294967295, inclusive",
                ],
            ),
        ],
    );
}

#[test]
fn names_in_the_spec_are_names() {
    for field in
        ["serviceAccountName", "nodeName", "hostname", "subdomain", "priorityClassName", "runtimeClassName"]
    {
        let found = pod(json!({ field: "Not_A_Name" }));
        assert_eq!(found.len(), 1, "{field}: {found:?}");
        assert!(
            found[0].starts_with(&format!("{field}: Invalid value: \"Not_A_Name\": a lowercase RFC 1123"))
        );
    }
    assert_eq!(
        pod(json!({ "hostname": "a.b" })),
        ["hostname: Invalid value: \"a.b\": must not contain dots"]
    );
}

#[test]
fn the_labels_of_a_node_selector_can_be_labels() {
    let found = pod(json!({ "nodeSelector": { "a/b/c": "-" } }));
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("nodeSelector: Invalid value: \"a/b/c\": a valid label key must"));
    assert!(found[1].starts_with("nodeSelector: Invalid value: \"-\": a valid label must"));
}

#[test]
fn tolerations_make_sense() {
    check(
        pod,
        vec![
            (
                json!({ "tolerations": [{ "value": "x" }] }),
                &[
                    "tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                ],
            ),
            (
                json!({ "tolerations": [{ "key": "a", "operator": "Exists", "value": "x" }] }),
                &[
                    "tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
                ],
            ),
            (
                json!({ "tolerations": [{ "key": "a", "operator": "In" }] }),
                &[
                    "tolerations[0].operator: Unsupported value: \"In\": supported values: \"Equal\", \"Exists\"",
                ],
            ),
            (
                json!({ "tolerations": [{ "key": "a", "tolerationSeconds": 1, "effect": "NoSchedule" }] }),
                &[
                    "tolerations[0].effect: Invalid value: \"NoSchedule\": effect must be 'NoExecute' when `tolerationSeconds` is set",
                ],
            ),
            (
                json!({ "tolerations": [{ "key": "a", "effect": "Never" }] }),
                &[
                    "tolerations[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                ],
            ),
        ],
    );
}

#[test]
fn resolvers_take_what_the_c_library_takes() {
    check(
        pod,
        vec![
            (
                json!({ "dnsPolicy": "None" }),
                &["dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
            ),
            (
                json!({ "dnsPolicy": "None", "dnsConfig": {} }),
                &[
                    "dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
                ],
            ),
            (
                json!({ "dnsConfig": { "nameservers": ["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"] } }),
                &[
                    "dnsConfig.nameservers: Invalid value: [\"1.1.1.1\",\"1.1.1.2\",\"1.1.1.3\",\"1.1.1.4\"]: must not have more than 3 nameservers",
                ],
            ),
            (
                json!({ "dnsConfig": { "nameservers": ["x"] } }),
                &[
                    "dnsConfig.nameservers[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
            (
                json!({ "dnsConfig": { "options": [{ "value": "1" }] } }),
                &["dnsConfig.options[0]: Required value: must not be empty"],
            ),
        ],
    );
    let many = vec!["a"; 33];
    assert!(
        pod(json!({ "dnsConfig": { "searches": many } }))[0]
            .ends_with("must not have more than 32 search paths")
    );
    let long = vec!["a".repeat(200); 11];
    let found = pod(json!({ "dnsConfig": { "searches": long } }));
    assert!(
        found[0].ends_with("must not have more than 2048 characters (including spaces) in the search list")
    );
}

#[test]
fn affinity_is_spelled_right() {
    let node = |requirement: Value| {
        json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{ "matchExpressions": [requirement] }] } } } })
    };
    let place = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    for (requirement, expected) in [
        (
            json!({ "key": "a", "operator": "In" }),
            ".values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (
            json!({ "key": "a", "operator": "Exists", "values": ["x"] }),
            ".values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ),
        (
            json!({ "key": "a", "operator": "Gt", "values": ["1", "2"] }),
            ".values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'",
        ),
        (
            json!({ "key": "a", "operator": "Like" }),
            ".operator: Invalid value: \"Like\": not a valid selector operator",
        ),
        (
            json!({ "key": "a", "operator": "In", "values": ["-"] }),
            ".values[0]: Invalid value: \"-\": a valid label must be an empty string or consist of",
        ),
        (json!({ "operator": "Exists" }), ".key: Invalid value: \"\": name part must be non-empty"),
    ] {
        let found = pod(node(requirement.clone()));
        assert!(
            found[0].starts_with(&format!("{place}[0].matchExpressions[0]{expected}")),
            "{requirement}: {found:?}"
        );
    }
    check(
        pod,
        vec![
            (
                json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [] } } } }),
                &[
                    "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
                ],
            ),
            (
                json!({ "affinity": { "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 101, "preference": {} }] } } }),
                &[
                    "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 101: must be in the range 1-100",
                ],
            ),
            (
                json!({ "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{ "matchFields": [{ "key": "metadata.uid", "operator": "In", "values": ["x"] }] }] } } } }),
                &[
                    "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"metadata.uid\": not a valid field selector key",
                ],
            ),
            (
                json!({ "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "topologyKey": "" }] } } }),
                &[
                    "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
                    "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must be non-empty",
                    "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: \"\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                ],
            ),
            (
                json!({ "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [
                    { "topologyKey": "a", "matchLabelKeys": ["x"], "mismatchLabelKeys": ["x"], "labelSelector": {} }] } } }),
                &[
                    "affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].matchLabelKeys[0]: Invalid value: \"x\": exists in both matchLabelKeys and mismatchLabelKeys",
                ],
            ),
        ],
    );
}

#[test]
fn spread_constraints_are_positive_known_and_not_repeated() {
    let good = json!({ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule" });
    check(
        pod,
        vec![
            (json!({ "topologySpreadConstraints": [good] }), &[]),
            (
                json!({ "topologySpreadConstraints": [good, good] }),
                &[
                    "topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, DoNotSchedule}\"",
                ],
            ),
            (
                json!({ "topologySpreadConstraints": [{ "maxSkew": 0, "whenUnsatisfiable": "x" }] }),
                &[
                    "topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                    "topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
                    "topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"x\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
                ],
            ),
            (
                json!({ "topologySpreadConstraints": [{ "maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2 }] }),
                &[
                    "topologySpreadConstraints[0].minDomains: Invalid value: 2: can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
                ],
            ),
        ],
    );
}

#[test]
fn the_hosts_namespaces_have_their_rules() {
    check(
        pod,
        vec![
            (
                json!({ "hostNetwork": true, "containers": [{ "name": "a", "image": "x", "ports": [{ "containerPort": 80, "hostPort": 81 }] }] }),
                &[
                    "containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
                ],
            ),
            (
                json!({ "hostUsers": false, "hostNetwork": true, "hostPID": true, "hostIPC": true }),
                &[
                    "hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false",
                    "HostPID: Forbidden: when `pod.Spec.HostUsers` is false",
                    "HostIPC: Forbidden: when `pod.Spec.HostUsers` is false",
                ],
            ),
            (
                json!({ "hostPID": true, "shareProcessNamespace": true }),
                &[
                    "securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
                ],
            ),
            (
                json!({ "hostNetwork": true, "securityContext": { "sysctls": [{ "name": "net.ipv4.ip_forward", "value": "1" }] } }),
                &[
                    "securityContext.sysctls[0].name: Invalid value: \"net.ipv4.ip_forward\": may not be specified when 'hostNetwork' is true",
                ],
            ),
        ],
    );
}

#[test]
fn sysctls_profiles_and_contexts_are_spelled_right() {
    check(
        pod,
        vec![
            (
                json!({ "securityContext": { "sysctls": [{ "name": "a", "value": "" }, { "name": "a", "value": "" }, { "value": "" }] } }),
                &[
                    "securityContext.sysctls[1].name: Duplicate value: \"a\"",
                    "securityContext.sysctls[2].name: Required value",
                ],
            ),
            (
                json!({ "securityContext": { "seccompProfile": { "type": "Localhost" } } }),
                &[
                    "securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
                ],
            ),
            (
                json!({ "securityContext": { "seccompProfile": { "type": "Localhost", "localhostProfile": "../x" } } }),
                &[
                    "securityContext.seccompProfile.localhostProfile: Invalid value: \"../x\": must not contain '..'",
                ],
            ),
            (
                json!({ "securityContext": { "seccompProfile": {} } }),
                &[
                    "securityContext.seccompProfile.type: Required value: type is required when seccompProfile is set",
                ],
            ),
            (
                json!({ "securityContext": { "appArmorProfile": { "type": "Localhost", "localhostProfile": " x" } } }),
                &[
                    "securityContext.appArmorProfile.localhostProfile: Invalid value: \" x\": must not be padded with whitespace",
                ],
            ),
            (
                json!({ "securityContext": { "fsGroupChangePolicy": "x" } }),
                &[
                    "securityContext.fsGroupChangePolicy: Unsupported value: \"x\": supported values: \"Always\", \"OnRootMismatch\"",
                ],
            ),
        ],
    );
    let found = pod(json!({ "securityContext": { "sysctls": [{ "name": "A", "value": "" }] } }));
    assert!(found[0].contains("must have at most 253 characters and match regex"));
}

#[test]
fn what_windows_does_not_know_is_forbidden_there() {
    let found =
        pod(json!({ "os": { "name": "windows" }, "hostPID": true, "securityContext": { "runAsUser": 1 } }));
    assert_eq!(
        found,
        [
            "securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
            "hostPID: Forbidden: cannot be set for a windows pod"
        ]
    );
    let found = pod(json!({ "os": { "name": "linux" }, "securityContext": { "windowsOptions": {} } }));
    assert_eq!(
        found,
        ["securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod"]
    );
}

#[test]
fn annotations_that_mean_something_mean_it() {
    let with = |annotations: Value| {
        let mut pod = pod_of(json!({}));
        pod["metadata"]["annotations"] = annotations;
        errors("", "Pod", pod)
    };
    assert_eq!(
        with(json!({ "controller.kubernetes.io/pod-deletion-cost": "+1" })),
        [
            "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+1\": must be a 32bit integer"
        ]
    );
    assert_eq!(with(json!({ "controller.kubernetes.io/pod-deletion-cost": "-10" })), Vec::<String>::new());
    assert_eq!(
        with(json!({ "kubernetes.io/config.mirror": "x" })),
        [
            "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is set"
        ]
    );
    assert_eq!(
        with(json!({ "container.apparmor.security.beta.kubernetes.io/b": "strict" })),
        [
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/b]: Invalid value: \"b\": container not found",
            "metadata.annotations[container.apparmor.security.beta.kubernetes.io/b]: Invalid value: \"strict\": invalid AppArmor profile name: \"strict\"",
        ]
    );
}

#[test]
fn gates_claims_and_ephemeral_containers() {
    check(
        pod,
        vec![
            (
                json!({ "schedulingGates": [{ "name": "a.dev/x" }, { "name": "a.dev/x" }] }),
                &["schedulingGates[1]: Duplicate value: \"a.dev/x\""],
            ),
            (
                json!({ "schedulingGates": [{ "name": "x" }], "nodeName": "n" }),
                &["nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
            ),
            (
                json!({ "resourceClaims": [{ "name": "a" }] }),
                &[
                    "resourceClaims[0]: Invalid value: {\"name\":\"a\"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
                ],
            ),
            (
                json!({ "ephemeralContainers": [{ "name": "e", "image": "x", "targetContainerName": "nobody", "ports": [{ "containerPort": 1 }] }] }),
                &[
                    "ephemeralContainers[0].targetContainerName: Not found: \"nobody\"",
                    "ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
                    "ephemeralContainers: Forbidden: cannot be set on create",
                ],
            ),
        ],
    );
}

#[test]
fn the_pod_as_a_whole_asks_for_at_least_what_its_containers_ask_for() {
    check(
        pod,
        vec![
            (
                json!({
                    "resources": { "requests": { "cpu": "1" }, "limits": { "cpu": "1" } },
                    "containers": [{ "name": "a", "image": "x", "resources": { "requests": { "cpu": "2" }, "limits": { "cpu": "2" } } }],
                }),
                &[
                    "resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
                    "containers[0].resources.limits[cpu]: Invalid value: \"2\": must be less than or equal to pod limits of 1",
                ],
            ),
            (
                json!({ "resources": { "limits": { "nvidia.com/gpu": 1 } } }),
                &[
                    "resources.limits[nvidia.com/gpu]: Unsupported value: \"nvidia.com/gpu\": supported values: \"cpu\", \"hugepages-\", \"memory\"",
                ],
            ),
        ],
    );
}

use super::*;

#[test]
fn ports_have_numbers_names_and_protocols() {
    check(
        container,
        vec![
            (json!({ "ports": [{ "name": "http" }] }), &["ports[0].containerPort: Required value"]),
            (
                json!({ "ports": [{ "containerPort": 65536 }] }),
                &["ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive"],
            ),
            (
                json!({ "ports": [{ "containerPort": 1, "hostPort": -1 }] }),
                &["ports[0].hostPort: Invalid value: -1: must be between 1 and 65535, inclusive"],
            ),
            (
                json!({ "ports": [{ "containerPort": 1, "protocol": "ICMP" }] }),
                &[
                    "ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                ],
            ),
            (
                json!({ "ports": [{ "containerPort": 1, "name": "a" }, { "containerPort": 2, "name": "a" }] }),
                &["ports[1].name: Duplicate value: \"a\""],
            ),
            (
                json!({ "ports": [{ "containerPort": 1, "name": "12" }] }),
                &["ports[0].name: Invalid value: \"12\": must contain at least one letter (a-z)"],
            ),
            (
                json!({ "ports": [{ "containerPort": 1, "hostPort": 1 }, { "containerPort": 2, "hostPort": 1 }] }),
                &["ports[1].hostPort: Duplicate value: \"TCP//1\""],
            ),
            (
                json!({ "ports": [{ "containerPort": 1, "hostPort": 1 }, { "containerPort": 1, "hostPort": 1, "protocol": "UDP" }] }),
                &[],
            ),
        ],
    );
}

#[test]
fn two_containers_cannot_have_one_port_of_the_host() {
    let container =
        |name: &str| json!({ "name": name, "image": "x", "ports": [{ "containerPort": 1, "hostPort": 9 }] });
    assert_eq!(
        pod(json!({ "containers": [container("a"), container("b")] })),
        ["containers[1].ports[0].hostPort: Duplicate value: \"TCP//9\""]
    );
    let after = json!({ "initContainers": [container("i"), container("j")], "containers": [container("a")] });
    assert_eq!(pod(after), Vec::<String>::new(), "init containers run one after the other");
}

#[test]
fn variables_have_names_and_one_source() {
    let from = |source: Value| json!({ "env": [{ "name": "A", "valueFrom": source }] });
    check(
        container,
        vec![
            (json!({ "env": [{ "value": "x" }] }), &["env[0].name: Required value"]),
            (
                json!({ "env": [{ "name": "A=B" }] }),
                &[
                    "env[0].name: Invalid value: \"A=B\": a valid environment variable name must consist only of printable ASCII characters other than '='",
                ],
            ),
            (
                from(json!({})),
                &[
                    "env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
                ],
            ),
            (
                json!({ "env": [{ "name": "A", "value": "x", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }] }),
                &["env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"],
            ),
            (
                from(
                    json!({ "secretKeyRef": { "name": "s", "key": "k" }, "configMapKeyRef": { "name": "s", "key": "k" } }),
                ),
                &[
                    "env[0].valueFrom: Invalid value: \"\": may not have more than one field specified at a time",
                ],
            ),
            (
                from(json!({ "secretKeyRef": { "name": "s" } })),
                &["env[0].valueFrom.secretKeyRef.key: Required value"],
            ),
            (
                from(json!({ "fieldRef": { "fieldPath": "metadata.x" } })),
                &[
                    "env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.x\": error converting fieldPath: field label not supported: metadata.x",
                ],
            ),
            (
                from(json!({ "fieldRef": { "fieldPath": "metadata.labels" } })),
                &[
                    "env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"metadata.labels\": supported values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
                ],
            ),
            (from(json!({ "fieldRef": { "fieldPath": "metadata.labels['app']" } })), &[]),
            (
                from(json!({ "fieldRef": { "fieldPath": "metadata.name['app']" } })),
                &[
                    "env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.name['app']\": error converting fieldPath: field label does not support subscript: metadata.name['app']",
                ],
            ),
            (from(json!({ "fieldRef": {} })), &["env[0].valueFrom.fieldRef.fieldPath: Required value"]),
            (from(json!({ "resourceFieldRef": { "resource": "limits.cpu", "divisor": "1m" } })), &[]),
            (
                from(json!({ "resourceFieldRef": { "resource": "limits.cpu", "divisor": "1Mi" } })),
                &[
                    "env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
                ],
            ),
            (
                from(json!({ "resourceFieldRef": { "resource": "limits.gpu" } })),
                &[
                    "env[0].valueFrom.resourceFieldRef.resource: Unsupported value: \"limits.gpu\": supported values: \"limits.cpu\", \"limits.ephemeral-storage\", \"limits.memory\", \"requests.cpu\", \"requests.ephemeral-storage\", \"requests.memory\"",
                ],
            ),
            (
                json!({ "envFrom": [{ "prefix": "p" }] }),
                &["envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"],
            ),
            (
                json!({ "envFrom": [{ "configMapRef": {} }] }),
                &["envFrom[0].configMapRef.name: Required value"],
            ),
        ],
    );
}

#[test]
fn mounts_name_volumes_that_exist_at_paths_of_their_own() {
    check(
        container,
        vec![
            (
                json!({ "volumeMounts": [{ "name": "x", "mountPath": "/a" }] }),
                &["volumeMounts[0].name: Not found: \"x\""],
            ),
            (
                json!({ "volumeMounts": [{ "name": "v", "mountPath": "/a" }, { "name": "v", "mountPath": "/a" }] }),
                &["volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique"],
            ),
            (json!({ "volumeMounts": [{ "name": "v" }] }), &["volumeMounts[0].mountPath: Required value"]),
            (
                json!({ "volumeMounts": [{ "name": "v", "mountPath": "/a", "subPath": "/b" }] }),
                &["volumeMounts.subPath: Invalid value: \"/b\": must be a relative path"],
            ),
            (
                json!({ "volumeMounts": [{ "name": "v", "mountPath": "/a", "subPath": "a/../b" }] }),
                &["volumeMounts.subPath: Invalid value: \"a/../b\": must not contain '..'"],
            ),
            (
                json!({ "volumeMounts": [{ "name": "v", "mountPath": "/a", "subPath": "a", "subPathExpr": "b" }] }),
                &[
                    "volumeMounts[0].subPathExpr: Invalid value: \"b\": subPathExpr and subPath are mutually exclusive",
                ],
            ),
            (
                json!({ "volumeMounts": [{ "name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional" }] }),
                &[
                    "volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
                ],
            ),
            (
                json!({ "volumeMounts": [{ "name": "v", "mountPath": "/a", "recursiveReadOnly": "Enabled" }] }),
                &["volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true"],
            ),
            (
                json!({ "volumeMounts": [{ "name": "pic", "mountPath": "/a", "subPath": "x" }] }),
                &["volumeMounts[0].subPath: Invalid value: \"x\": not allowed in image volume sources"],
            ),
            (
                json!({ "volumeDevices": [{ "name": "v", "devicePath": "/dev/a" }] }),
                &[
                    "volumeDevices[0].name: Invalid value: \"v\": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                ],
            ),
            (
                json!({ "volumeDevices": [{ "name": "claim", "devicePath": "/x" }], "volumeMounts": [{ "name": "claim", "mountPath": "/y" }] }),
                &[
                    "volumeMounts[0].name: Invalid value: \"claim\": must not already exist in volumeDevices",
                    "volumeDevices[0].name: Invalid value: \"claim\": must not already exist in volumeMounts",
                ],
            ),
        ],
    );
}

#[test]
fn probes_have_one_handler_and_sane_numbers() {
    check(
        container,
        vec![
            (json!({ "livenessProbe": {} }), &["livenessProbe: Required value: must specify a handler type"]),
            (
                json!({ "livenessProbe": { "exec": { "command": ["x"] }, "tcpSocket": { "port": 1 } } }),
                &["livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
            ),
            (json!({ "livenessProbe": { "exec": {} } }), &["livenessProbe.exec.command: Required value"]),
            (
                json!({ "livenessProbe": { "httpGet": { "port": 0 } } }),
                &["livenessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive"],
            ),
            (
                json!({ "livenessProbe": { "httpGet": { "port": "x", "scheme": "FTP" } } }),
                &[
                    "livenessProbe.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\"",
                ],
            ),
            (
                json!({ "livenessProbe": { "tcpSocket": { "port": "1" } } }),
                &[
                    "livenessProbe.tcpSocket.port: Invalid value: \"1\": must contain at least one letter (a-z)",
                ],
            ),
            (
                json!({ "livenessProbe": { "tcpSocket": { "port": 1 }, "successThreshold": 2 } }),
                &["livenessProbe.successThreshold: Invalid value: 2: must be 1"],
            ),
            (json!({ "readinessProbe": { "tcpSocket": { "port": 1 }, "successThreshold": 2 } }), &[]),
            (
                json!({ "readinessProbe": { "grpc": { "port": 1 }, "terminationGracePeriodSeconds": 1 } }),
                &[
                    "readinessProbe.terminationGracePeriodSeconds: Invalid value: 1: must not be set for readinessProbes",
                ],
            ),
            (
                json!({ "startupProbe": { "tcpSocket": { "port": 1 }, "periodSeconds": -1, "terminationGracePeriodSeconds": 0 } }),
                &[
                    "startupProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
                    "startupProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
                ],
            ),
            (
                json!({ "lifecycle": { "preStop": { "sleep": { "seconds": 31 } } } }),
                &[
                    "lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
                ],
            ),
            (
                json!({ "lifecycle": { "postStart": {} } }),
                &["lifecycle.postStart: Required value: must specify a handler type"],
            ),
            (
                json!({ "livenessProbe": { "httpGet": { "port": 1, "httpHeaders": [{ "name": "a b", "value": "" }] } } }),
                &[
                    "livenessProbe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
                ],
            ),
        ],
    );
}

#[test]
fn requests_stay_within_limits_and_resources_have_known_names() {
    let resources =
        |limits: Value, requests: Value| json!({ "resources": { "limits": limits, "requests": requests } });
    check(
        container,
        vec![
            (
                resources(json!({ "cpu": "1" }), json!({ "cpu": "2" })),
                &["resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1"],
            ),
            (
                resources(json!({ "nvidia.com/gpu": 2 }), json!({ "nvidia.com/gpu": 1 })),
                &["resources.requests: Invalid value: \"1\": must be equal to nvidia.com/gpu limit of 2"],
            ),
            (
                resources(json!(null), json!({ "nvidia.com/gpu": 1 })),
                &["resources.limits: Required value: Limit must be set for non overcommitable resources"],
            ),
            (
                resources(json!({ "memory": "-1" }), json!({ "memory": "-1" })),
                &[
                    "resources.limits[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
                    "resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
                ],
            ),
            (
                resources(json!({ "nvidia.com/gpu": "500m" }), json!({ "nvidia.com/gpu": "500m" })),
                &[
                    "resources.limits[nvidia.com/gpu]: Invalid value: 500m: must be an integer",
                    "resources.requests[nvidia.com/gpu]: Invalid value: 500m: must be an integer",
                ],
            ),
            (
                resources(json!(null), json!({ "gpu": "1" })),
                &[
                    "resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource type or fully qualified",
                    "resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
                ],
            ),
            (
                resources(json!(null), json!({ "pods": "1" })),
                &[
                    "resources.requests[pods]: Invalid value: \"pods\": must be a standard resource for containers",
                ],
            ),
            (
                resources(json!({ "hugepages-2Mi": "2Mi" }), json!(null)),
                &["resources: Forbidden: HugePages require cpu or memory"],
            ),
            (
                resources(json!({ "hugepages-2Mi": "3Mi", "cpu": "1" }), json!({ "hugepages-2Mi": "3Mi" })),
                &[
                    "resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                    "resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                ],
            ),
            (
                json!({ "resources": { "claims": [{ "name": "a" }] } }),
                &[
                    "resources.claims[0]: Not found: \"a\": must be one of the names in pod.spec.resourceClaims which is empty",
                ],
            ),
            (
                json!({ "resizePolicy": [{ "resourceName": "disk", "restartPolicy": "NotRequired" }] }),
                &["resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\""],
            ),
        ],
    );
}

#[test]
fn policies_of_containers_are_known_words() {
    check(
        container,
        vec![
            (
                json!({ "imagePullPolicy": "Maybe" }),
                &[
                    "imagePullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
                ],
            ),
            (
                json!({ "terminationMessagePolicy": "x" }),
                &[
                    "terminationMessagePolicy: Unsupported value: \"x\": supported values: \"File\", \"FallbackToLogsOnError\"",
                ],
            ),
            (
                json!({ "restartPolicy": "Always" }),
                &["restartPolicy: Forbidden: may not be set for non-init containers"],
            ),
        ],
    );
}

#[test]
fn security_contexts_do_not_contradict_themselves() {
    check(
        container,
        vec![
            (
                json!({ "securityContext": { "privileged": true, "allowPrivilegeEscalation": false } }),
                &[
                    "securityContext: Invalid value: {\"allowPrivilegeEscalation\":false,\"privileged\":true}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
                ],
            ),
            (
                json!({ "securityContext": { "procMount": "Unmasked" } }),
                &[
                    "securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
                ],
            ),
            (
                json!({ "securityContext": { "runAsGroup": 4_294_967_296_i64 } }),
                &[
                    "securityContext.runAsGroup: Invalid value: 4294967296: must be between 0 and 4294967295, inclusive",
                ],
            ),
        ],
    );
}

#[test]
fn init_containers_have_no_probes_unless_they_stay() {
    let init = |container: Value| {
        pod(json!({ "initContainers": [merged(json!({ "name": "i", "image": "x" }), container)] }))
    };
    let probe = json!({ "exec": { "command": ["x"] } });
    assert_eq!(
        init(json!({ "readinessProbe": probe, "lifecycle": {} })),
        [
            "initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
            "initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ]
    );
    assert_eq!(init(json!({ "readinessProbe": probe, "restartPolicy": "Always" })), Vec::<String>::new());
    assert_eq!(
        init(json!({ "restartPolicy": "Never" })),
        ["initContainers[0].restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""]
    );
}

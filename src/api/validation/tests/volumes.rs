use super::*;

#[test]
fn a_volume_has_a_name_of_its_own_and_one_source() {
    check(
        volume,
        vec![
            (json!({}), &[]),
            (
                json!({ "emptyDir": {}, "secret": { "secretName": "s" } }),
                &["secret: Forbidden: may not specify more than 1 volume type"],
            ),
            (json!({ "name": "", "emptyDir": {} }), &["name: Required value"]),
            (
                json!({ "emptyDir": { "sizeLimit": "-1" } }),
                &["emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity"],
            ),
        ],
    );
    let twice = json!([{ "name": "v", "emptyDir": {} }, { "name": "v", "emptyDir": {} }]);
    assert_eq!(pod(json!({ "volumes": twice })), ["volumes[1].name: Duplicate value: \"v\""]);
}

#[test]
fn paths_of_the_host_do_not_go_up() {
    check(
        volume,
        vec![
            (json!({ "hostPath": { "path": "/a", "type": "" } }), &[]),
            (json!({ "hostPath": {} }), &["hostPath.path: Required value"]),
            (
                json!({ "hostPath": { "path": "/a/../b" } }),
                &["hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
            ),
            (
                json!({ "hostPath": { "path": "/a", "type": "Dir" } }),
                &[
                    "hostPath.type: Unsupported value: \"Dir\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
                ],
            ),
        ],
    );
}

#[test]
fn files_made_from_objects_have_keys_paths_and_modes() {
    check(
        volume,
        vec![
            (json!({ "secret": {} }), &["secret.secretName: Required value"]),
            (json!({ "configMap": {} }), &["configMap.name: Required value"]),
            (
                json!({ "configMap": { "name": "c", "defaultMode": 0o1000 } }),
                &[
                    "configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                ],
            ),
            (
                json!({ "secret": { "secretName": "s", "items": [{ "path": "/a", "mode": -1 }] } }),
                &[
                    "secret.items[0].key: Required value",
                    "secret.items[0].path: Invalid value: \"/a\": must be a relative path",
                    "secret.items[0].mode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive",
                ],
            ),
            (
                json!({ "secret": { "secretName": "s", "items": [{ "key": "k", "path": "..data" }] } }),
                &["secret.items[0].path: Invalid value: \"..data\": must not start with '..'"],
            ),
            (
                json!({ "downwardAPI": { "items": [{ "path": "a" }] } }),
                &["downwardAPI: Required value: one of fieldRef and resourceFieldRef is required"],
            ),
            (
                json!({ "downwardAPI": { "items": [{ "path": "a", "fieldRef": { "fieldPath": "spec.nodeName" } }] } }),
                &[
                    "downwardAPI.fieldRef.fieldPath: Unsupported value: \"spec.nodeName\": supported values: \"metadata.annotations\", \"metadata.labels\", \"metadata.name\", \"metadata.namespace\", \"metadata.uid\"",
                ],
            ),
            (
                json!({ "downwardAPI": { "items": [{ "path": "a", "resourceFieldRef": { "resource": "limits.cpu" } }] } }),
                &["downwardAPI.resourceFieldRef.containerName: Required value"],
            ),
            (
                json!({ "downwardAPI": { "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }] } }),
                &[],
            ),
        ],
    );
}

#[test]
fn projections_share_one_tree_of_paths() {
    let item = json!([{ "key": "k", "path": "p" }]);
    check(
        volume,
        vec![
            (
                json!({ "projected": { "sources": [{ "secret": { "name": "s", "items": item } }, { "configMap": { "name": "c", "items": item } }] } }),
                &["projected: Invalid value: \"c\": conflicting duplicate paths"],
            ),
            (
                json!({ "projected": { "sources": [{ "secret": { "name": "s" }, "configMap": { "name": "c" } }] } }),
                &["projected.sources[0]: Forbidden: may not specify more than 1 volume type per source"],
            ),
            (
                json!({ "projected": { "sources": [{ "serviceAccountToken": { "path": "t", "expirationSeconds": 599 } }] } }),
                &[
                    "projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
                ],
            ),
            (
                json!({ "projected": { "sources": [{ "serviceAccountToken": {} }] } }),
                &["projected.path: Required value"],
            ),
            (
                json!({ "projected": { "sources": [{ "secret": {} }] } }),
                &["projected.sources[0].secret.name: Required value"],
            ),
            (
                json!({ "projected": { "sources": [{ "clusterTrustBundle": { "path": "ca" } }] } }),
                &[
                    "projected.sources[0].clusterTrustBundle: Required value: either name or signerName must be specified",
                ],
            ),
        ],
    );
}

#[test]
fn network_volumes_say_where_they_are() {
    check(
        volume,
        vec![
            (
                json!({ "nfs": { "server": "s", "path": "a" } }),
                &["nfs.path: Invalid value: \"a\": must be an absolute path"],
            ),
            (json!({ "nfs": { "path": "/" } }), &["nfs.server: Required value"]),
            (json!({ "persistentVolumeClaim": {} }), &["persistentVolumeClaim.claimName: Required value"]),
            (
                json!({ "csi": {} }),
                &[
                    "csi.driver: Required value",
                    "csi.driver: Invalid value: \"\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                ],
            ),
            (
                json!({ "iscsi": { "targetPortal": "t", "iqn": "x", "lun": 300 } }),
                &[
                    "iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
                    "iscsi.lun: Invalid value: 300: must be between 0 and 255, inclusive",
                ],
            ),
            (
                json!({ "fc": { "targetWWNs": ["a"], "wwids": ["b"] } }),
                &[
                    "fc.targetWWNs: Invalid value: [\"a\"]: targetWWNs and wwids can not be specified simultaneously",
                    "fc.lun: Required value: lun is required if targetWWNs is specified",
                ],
            ),
            (json!({ "image": { "reference": "" } }), &["image.reference: Required value"]),
            (json!({ "ephemeral": {} }), &["ephemeral.volumeClaimTemplate: Required value"]),
            (
                json!({ "ephemeral": { "volumeClaimTemplate": { "spec": { "accessModes": ["RWO"] } } } }),
                &[
                    "ephemeral.volumeClaimTemplate.spec.accessModes: Unsupported value: \"RWO\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                    "ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
                ],
            ),
        ],
    );
}

#[test]
fn a_claim_to_be_made_for_the_pod_cannot_be_used_as_its_own() {
    let template = json!({ "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
    let volumes = json!([
        { "name": "scratch", "ephemeral": { "volumeClaimTemplate": template } },
        { "name": "v", "persistentVolumeClaim": { "claimName": "p-scratch" } },
    ]);
    assert_eq!(
        pod(json!({ "volumes": volumes })),
        [
            "volumes[1].persistentVolumeClaim.claimName: Invalid value: \"p-scratch\": must not reference a PVC that gets created for an ephemeral volume"
        ]
    );
}

#[test]
fn a_mount_of_a_wrong_volume_is_not_found() {
    let found = pod(json!({
        "volumes": [{ "name": "v", "secret": {} }],
        "containers": [{ "name": "a", "image": "x", "volumeMounts": [{ "name": "v", "mountPath": "/a" }] }],
    }));
    assert_eq!(
        found,
        [
            "volumes[0].secret.secretName: Required value",
            "containers[0].volumeMounts[0].name: Not found: \"v\""
        ]
    );
}

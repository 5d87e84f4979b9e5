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

/// Errors of a `PersistentVolume` with this source.
fn persistent(source: Value) -> Vec<String> {
    let base = json!({ "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" } });
    let volume = json!({ "metadata": { "name": "v" }, "spec": merged(base, source) });
    strip("spec.", errors("", "PersistentVolume", volume))
}

#[test]
fn a_persistent_volume_has_one_source_and_that_one_right() {
    let iqn = "iqn.2001-04.com.example:storage.disk1";
    let affinity = json!({ "required": { "nodeSelectorTerms": [
        { "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": ["n"] }] },
    ] } });
    check(
        persistent,
        vec![
            (json!({}), &["spec: Required value: must specify a volume type"]),
            (
                json!({ "nfs": { "server": "s", "path": "/a" }, "cephfs": {} }),
                &["cephFS: Forbidden: may not specify more than 1 volume type"],
            ),
            (json!({ "hostPath": { "path": "" } }), &["hostPath.path: Required value"]),
            (
                json!({ "hostPath": { "path": "/a/..", "type": "Disk" } }),
                &[
                    "hostPath.path: Invalid value: \"/a/..\": must not contain '..'",
                    "hostPath.type: Unsupported value: \"Disk\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \
                 \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
                ],
            ),
            (
                json!({ "hostPath": { "path": "//." }, "persistentVolumeReclaimPolicy": "Recycle" }),
                &[
                    "persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
                ],
            ),
            (json!({ "local": { "path": "/a" }, "nodeAffinity": affinity }), &[]),
            (
                json!({ "local": { "path": "" } }),
                &[
                    "local.path: Required value",
                    "nodeAffinity: Required value: Local volume requires node affinity",
                ],
            ),
            (
                json!({ "gcePersistentDisk": { "pdName": "", "partition": 256 } }),
                &[
                    "persistentDisk.pdName: Required value",
                    "persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive",
                ],
            ),
            (
                json!({ "nfs": { "server": "", "path": "a" } }),
                &["nfs.server: Required value", "nfs.path: Invalid value: \"a\": must be an absolute path"],
            ),
            (json!({ "iscsi": { "targetPortal": "1.2.3.4", "iqn": iqn, "lun": 0 } }), &[]),
            (
                json!({ "iscsi": {
                "targetPortal": "", "iqn": "iqn.20-4.x", "lun": 256, "chapAuthSession": true, "initiatorName": "x",
            } }),
                &[
                    "iscsi.targetPortal: Required value",
                    "iscsi.iqn: Invalid value: \"iqn.20-4.x\": must be valid format",
                    "iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
                    "iscsi.secretRef: Required value",
                    "iscsi.initiatorname: Invalid value: \"x\": must be valid format",
                ],
            ),
            (
                json!({ "quobyte": { "registry": "a:1,b", "volume": "" } }),
                &[
                    "quobyte.registry: Invalid value: \"a:1,b\": must be a host:port pair or multiple pairs separated by commas",
                    "quobyte.volume: Required value",
                ],
            ),
            (
                json!({ "azureDisk": { "diskName": "d", "diskURI": "x", "kind": "Managed", "cachingMode": "Some" } }),
                &[
                    "azureDisk.cachingMode: Unsupported value: \"Some\": supported values: \"None\", \"ReadOnly\", \"ReadWrite\"",
                    "azureDisk.diskURI: Unsupported value: \"x\": supported values: \
                 \"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}\"",
                ],
            ),
            (
                json!({ "storageos": { "volumeName": "A_", "secretRef": { "name": "s" } } }),
                &[
                    "storageos.volumeName: Invalid value: \"A_\": a lowercase RFC 1123 label must consist of lower case \
                 alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or \
                 '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                    "storageos.secretRef.namespace: Required value",
                ],
            ),
            (
                json!({ "cinder": { "volumeID": "v", "secretRef": {} } }),
                &["cinder.secretRef.name: Required value", "cinder.secretRef.namespace: Required value"],
            ),
            (
                json!({ "csi": { "driver": "d.example", "volumeHandle": "", "nodeStageSecretRef": {}, "nodeExpandSecretRef": { "name": "s" } } }),
                &["csi.volumeHandle: Required value", "csi.nodeExpandSecretRef.namespace: Required value"],
            ),
            (
                json!({ "nfs": { "server": "s", "path": "/a" }, "volumeAttributesClassName": "" }),
                &[
                    "volumeAttributesClassName: Required value: an empty string is disallowed",
                    "csi: Required value: has to be specified when using volumeAttributesClassName",
                ],
            ),
        ],
    );
}

#[test]
fn the_source_of_a_persistent_volume_stays() {
    let volume = |csi: Value, over: Value| {
        let driver = merged(json!({ "driver": "d.example", "volumeHandle": "h" }), csi);
        json!({ "metadata": { "name": "v" }, "spec": merged(json!({ "csi": driver }), over) })
    };
    let update = |new, old| update_errors("", "PersistentVolume", new, old);
    let secret = json!({ "controllerExpandSecretRef": { "name": "s", "namespace": "n" } });
    let (none, plain) = (json!({}), volume(json!({}), json!({})));
    assert!(update(volume(secret.clone(), none.clone()), plain.clone()).is_empty(), "it may come");
    let immutable =
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation";
    assert_eq!(update(plain.clone(), volume(secret, none.clone())), [immutable], "it may not go");
    assert_eq!(update(volume(json!({ "volumeHandle": "i" }), none.clone()), plain.clone()), [immutable]);
    assert_eq!(
        update(volume(none.clone(), json!({ "volumeMode": "Block" })), plain.clone()),
        ["volumeMode: Invalid value: \"Block\": field is immutable"]
    );
    let class = volume(none, json!({ "volumeAttributesClassName": "c" }));
    assert_eq!(
        update(plain, class),
        ["spec.volumeAttributesClassName: Forbidden: update from non-nil value to nil is forbidden"]
    );
}

#[test]
fn names_of_iscsi_nodes_have_three_forms() {
    for (name, is_valid) in [
        ("iqn.2001-04.com.example", true),
        ("iqn.2001-04.com.example:storage:diskarrays-sn-a8675309", true),
        ("iqn.2001-04.com.example:", false),
        ("iqn.2001-04.com.example:a b", false),
        ("iqn.2001.04.com", false),
        ("iqn.2001-04.", false),
        ("iqn.é", false),
        ("eui.02004567A425678D", true),
        ("eui.02004567A425678", false),
        ("naa.62004567BA64678D0123456789ABCDEF", true),
        ("wwn.1", false),
    ] {
        assert_eq!(crate::api::validation::pod::is_iscsi_name(name), is_valid, "{name}");
    }
}

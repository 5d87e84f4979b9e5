//! Volumes of class `leasehold.dev/local`: a directory on the node that has claimed the first Pod of the claim. The
//! object is made here; its name follows from the claim's UID, so that it is made once however often that is tried.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::{tell, volumes};
use crate::api::storage::{
    DIRECTORY, LOCAL_PROVISIONER, NODE_LABEL, PROVISIONED_BY, PROVISIONER, SELECTED_NODE, VOLUME_PROTECTION,
    node_label,
};
use crate::placement::volumes::matching;
use crate::steward::action::{self, Action, Told};
use crate::steward::object::Object;

/// The label by which a volume says where it is.
const HOST_NAME: &str = "kubernetes.io/hostname";

/// What makes a volume for the claim on the node, or why there will be none.
pub(super) fn provision(
    claim: &Object,
    class: &StorageClass,
    node: &Node,
) -> Result<Vec<Vec<Action>>, String> {
    if claim.text("/spec/volumeMode") == "Block" {
        return Err(format!("{LOCAL_PROVISIONER} makes no block volumes"));
    }
    if claim["spec"]["dataSource"].is_object() || claim["spec"]["dataSourceRef"].is_object() {
        return Err(format!("{LOCAL_PROVISIONER} cannot fill a volume from a data source"));
    }
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let directory = matching::directory(node)
        .ok_or_else(|| format!("node {name} keeps no volumes: it has not said where"))?;
    let mut waves = vec![vec![tell(
        false,
        "Provisioning",
        format!(
            "External provisioner is provisioning volume for claim \"{}/{}\"",
            claim.namespace(),
            claim.name()
        ),
    )]];
    let annotations = json!({ PROVISIONER: LOCAL_PROVISIONER, SELECTED_NODE: name });
    let is_selected = claim.annotation(SELECTED_NODE) == Some(name)
        && claim.annotation(PROVISIONER) == Some(LOCAL_PROVISIONER);
    if !is_selected {
        waves.push(vec![action::metadata(claim, &json!({ "annotations": annotations }))]);
    }
    waves.push(vec![creation(claim, class, node, directory)]);
    Ok(waves)
}

fn creation(claim: &Object, class: &StorageClass, node: &Node, directory: &str) -> Action {
    let name = format!("pvc-{}", claim.uid());
    let node_name = node.metadata.name.as_deref().unwrap_or_default();
    let host = node.metadata.labels.as_ref().and_then(|labels| labels.get(HOST_NAME));
    let host = host.map_or(node_name, String::as_str);
    let told = Told {
        success: "ProvisioningSucceeded",
        message: format!("Successfully provisioned volume {name}"),
        failure: "ProvisioningFailed",
        prefix: format!("failed to provision volume with StorageClass {:?}: ", class_name(class)),
    };
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": name,
            "labels": { NODE_LABEL: node_label(node_name) },
            "annotations": { PROVISIONED_BY: LOCAL_PROVISIONER },
            "finalizers": [VOLUME_PROTECTION, DIRECTORY],
        },
        "spec": {
            "capacity": { "storage": claim["spec"]["resources"]["requests"]["storage"] },
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
            "storageClassName": class_name(class),
            "volumeMode": "Filesystem",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim.namespace(),
                "name": claim.name(),
                "uid": claim.uid(),
            },
            "local": { "path": format!("{}/{name}", directory.trim_end_matches('/')) },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": HOST_NAME, "operator": "In", "values": [host] },
            ] }] } },
        },
    });
    if let Some(options) = class.mount_options.as_ref().filter(|options| !options.is_empty()) {
        object["spec"]["mountOptions"] = Value::from(options.clone());
    }
    Action::Create { kind: volumes(), object, told: Some(told) }
}

fn class_name(class: &StorageClass) -> &str {
    class.metadata.name.as_deref().unwrap_or_default()
}

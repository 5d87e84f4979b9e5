//! What every cluster has from its first start on.

use serde_json::json;

use super::writer::Writer;
use crate::api::kinds::{self, Kind};
use crate::api::service_account::{DEFAULT_ACCOUNT, ROOT_CA};
use crate::api::storage::{DEFAULT_CLASS, LOCAL_CLASS, LOCAL_PROVISIONER};
use crate::api::validation::SYSTEM_CLASSES;
use crate::coordinator::{Action, Command, Entropy, INITIAL_NAMESPACES};
use crate::driver::entropy::SystemEntropy;
use crate::lease::shard::MONITOR;
use crate::lease::shard::wire::{self, Count};

/// Who makes it, as `metadata.managedFields` names it.
const MANAGER: &str = "leasehold-coordinator";

/// Gives `kube-system` the cluster's uid, by which people tell clusters apart.
struct ClusterUid<'a>(&'a str);

impl Entropy for ClusterUid<'_> {
    fn uid(&mut self) -> String {
        self.0.to_owned()
    }

    fn suffix(&mut self) -> String {
        SystemEntropy.suffix()
    }
}

/// What the first objects are made of.
pub(super) struct First<'a> {
    pub(super) cluster_uid: &'a str,
    pub(super) ca_pem: &'a str,
}

impl First<'_> {
    /// Makes what is missing.
    pub(super) fn write(&self, writer: &mut Writer, steward_shards: u32) -> Result<(), String> {
        let is_new = writer.view.get(row("", "Namespace")?, "", wire::NAMESPACE).is_none();
        for name in INITIAL_NAMESPACES {
            self.namespace(writer, name)?;
        }
        // Later a Lease that is absent was lost: somebody may believe in it, and who stewards makes it anew.
        if is_new {
            shards(writer, steward_shards)?;
        }
        system_classes(writer)?;
        local_class(writer)
    }

    fn namespace(&self, writer: &mut Writer, name: &str) -> Result<(), String> {
        let namespace = row("", "Namespace")?;
        let body = json!({ "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } } });
        if name == "kube-system" {
            create(writer, namespace, "", name, body, &mut ClusterUid(self.cluster_uid))?;
        } else {
            create(writer, namespace, "", name, body, &mut SystemEntropy)?;
        }
        let body = json!({ "metadata": { "name": "default", "namespace": name } });
        create(writer, row("", "ServiceAccount")?, name, DEFAULT_ACCOUNT, body, &mut SystemEntropy)?;
        let metadata = json!({ "name": ROOT_CA, "namespace": name });
        let body = json!({ "metadata": metadata, "data": { "ca.crt": self.ca_pem } });
        create(writer, row("", "ConfigMap")?, name, ROOT_CA, body, &mut SystemEntropy)
    }
}

fn row(group: &str, kind: &str) -> Result<&'static Kind, String> {
    kinds::by_kind(group, "v1", kind).ok_or_else(|| format!("no kind {kind} is served"))
}

/// The stewards' shards, held by nobody; the first says how many there are.
fn shards(writer: &mut Writer, shards: u32) -> Result<(), String> {
    let count = Count { shards, rules: wire::RULES_VERSION };
    for shard in 0..shards {
        let lease = if shard == MONITOR { wire::first(shard, count) } else { wire::inert(shard) };
        let body = serde_json::to_value(&lease).map_err(|e| e.to_string())?;
        let kind = row("coordination.k8s.io", "Lease")?;
        create(writer, kind, wire::NAMESPACE, &wire::name(shard), body, &mut SystemEntropy)?;
    }
    Ok(())
}

/// The class of volumes that are a directory on a node, for claims that name none.
fn local_class(writer: &mut Writer) -> Result<(), String> {
    let kind = row("storage.k8s.io", "StorageClass")?;
    let body = json!({
        "metadata": { "name": LOCAL_CLASS, "annotations": { DEFAULT_CLASS: "true" } },
        "provisioner": LOCAL_PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    });
    create(writer, kind, "", LOCAL_CLASS, body, &mut SystemEntropy)
}

/// The priority classes that manifests everywhere count on.
fn system_classes(writer: &mut Writer) -> Result<(), String> {
    let kind = row("scheduling.k8s.io", "PriorityClass")?;
    for (name, value) in SYSTEM_CLASSES {
        let description = match name {
            "system-node-critical" => "For system Pods that must stay on the node where they are.",
            _ => "For system Pods that the cluster must have, on whichever node.",
        };
        let body = json!({ "metadata": { "name": name }, "value": value, "description": description });
        create(writer, kind, "", name, body, &mut SystemEntropy)?;
    }
    Ok(())
}

fn create(
    writer: &mut Writer,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
    body: serde_json::Value,
    entropy: &mut dyn Entropy,
) -> Result<(), String> {
    if writer.view.get(kind, namespace, name).is_some() {
        return Ok(());
    }
    let mut command = Command::new(kind, namespace, Action::Create { body });
    MANAGER.clone_into(&mut command.manager);
    let answers = writer.commit(&[&command], entropy).map_err(|e| e.to_string())?;
    answers.into_iter().try_for_each(|answer| match answer {
        Ok(_) => Ok(()),
        Err(status) => Err(format!("{} {name}: {}", kind.kind, status.message)),
    })
}

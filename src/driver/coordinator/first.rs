//! What every cluster has from its first start on.

use serde_json::json;

use super::writer::Writer;
use crate::api::kinds::{self, Kind};
use crate::api::service_account::{DEFAULT_ACCOUNT, ROOT_CA};
use crate::api::validation::SYSTEM_CLASSES;
use crate::coordinator::{Action, Command, Entropy, INITIAL_NAMESPACES};
use crate::driver::entropy::SystemEntropy;

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

/// Makes what is missing.
pub(super) fn write(writer: &mut Writer, cluster_uid: &str, ca_pem: &str) -> Result<(), String> {
    let row = |kind| kinds::by_kind("", "v1", kind).ok_or_else(|| format!("no kind {kind} is served"));
    let (namespace, account, config_map) = (row("Namespace")?, row("ServiceAccount")?, row("ConfigMap")?);
    for name in INITIAL_NAMESPACES {
        let body = json!({ "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } } });
        if name == "kube-system" {
            create(writer, namespace, "", name, body, &mut ClusterUid(cluster_uid))?;
        } else {
            create(writer, namespace, "", name, body, &mut SystemEntropy)?;
        }
        let body = json!({ "metadata": { "name": "default", "namespace": name } });
        create(writer, account, name, DEFAULT_ACCOUNT, body, &mut SystemEntropy)?;
        let metadata = json!({ "name": ROOT_CA, "namespace": name });
        let body = json!({ "metadata": metadata, "data": { "ca.crt": ca_pem } });
        create(writer, config_map, name, ROOT_CA, body, &mut SystemEntropy)?;
    }
    system_classes(writer)
}

/// The priority classes that manifests everywhere count on.
fn system_classes(writer: &mut Writer) -> Result<(), String> {
    let kind =
        kinds::by_kind("scheduling.k8s.io", "v1", "PriorityClass").ok_or("no PriorityClass is served")?;
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

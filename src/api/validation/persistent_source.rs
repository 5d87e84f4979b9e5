//! Where a `PersistentVolume` comes from: one source, and that one right.

use super::pod::{
    driver_name, fibre_channel, flex_options, flocker, host_path, is_iscsi_name, no_backsteps, partition,
};
use super::spot::{Errors, Spot};
use crate::api::names;

/// All sources in upstream's order, with the texts and lists that each must have.
pub(super) const SOURCES: [(&str, &[&str]); 22] = [
    ("hostPath", &[]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("nfs", &["server", "path"]),
    ("rbd", &["monitors", "image"]),
    ("quobyte", &[]),
    ("cephfs", &["monitors"]),
    ("iscsi", &["targetPortal"]),
    ("cinder", &["volumeID"]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("local", &["path"]),
    ("storageos", &["volumeName"]),
    ("csi", &[]),
];
/// The Secrets that a CSI driver may be given.
const CSI_SECRETS: [&str; 4] = [
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
];
const QUOBYTE_REGISTRY: &str = "must be a host:port pair or multiple pairs separated by commas";

/// All errors of the source in `spec`, which is that of the volume of this name.
pub(super) fn source(spec: &Spot<'_>, name: &str, errors: &mut Errors) {
    let mut given =
        SOURCES.iter().map(|(kind, needed)| (*kind, *needed, spec.at(kind))).filter(|(.., at)| at.is_set());
    let Some((kind, needed, at)) = given.next() else {
        errors.required(spec, "must specify a volume type");
        return;
    };
    // The path is upstream's.
    let at = if kind == "gcePersistentDisk" { spec.at("persistentDisk").with(at.value) } else { at };
    for field in needed {
        errors.must_be_set(&at.at(field));
    }
    particular(kind, &at, name, errors);
    if kind == "local" && !spec.at("nodeAffinity").is_set() {
        errors.required(&spec.at("nodeAffinity"), "Local volume requires node affinity");
    }
    for (kind, _, another) in given {
        let another = if kind == "cephfs" { spec.at("cephFS") } else { another };
        errors.forbidden(&another, "may not specify more than 1 volume type");
    }
}

fn particular(kind: &str, at: &Spot<'_>, name: &str, errors: &mut Errors) {
    match kind {
        "hostPath" => host_path(at, errors),
        "local" if !at.at("path").is_empty() => no_backsteps(&at.at("path"), errors),
        "gcePersistentDisk" | "awsElasticBlockStore" => partition(&at.at("partition"), errors),
        "glusterfs" => {
            let namespace = at.at("endpointsNamespace");
            if namespace.is_set() {
                errors.faults(&namespace, names::dns1123_label(namespace.text()));
            }
        }
        "flocker" => flocker(at, errors),
        "nfs" if !at.at("path").text().starts_with('/') => {
            errors.invalid(&at.at("path"), "must be an absolute path");
        }
        "quobyte" => quobyte(at, errors),
        "iscsi" => iscsi(at, name, errors),
        "cinder" => secret(&at.at("secretRef"), errors),
        "fc" => fibre_channel(at, errors),
        "flexVolume" => flex_options(&at.at("options"), errors),
        "azureFile" if at.at("secretNamespace").is_set() => errors.must_be_set(&at.at("secretNamespace")),
        "azureDisk" => azure_disk(at, errors),
        "storageos" => {
            for label in ["volumeName", "volumeNamespace"].map(|field| at.at(field)) {
                if !label.is_empty() {
                    errors.faults(&label, names::dns1123_label(label.text()));
                }
            }
            secret(&at.at("secretRef"), errors);
        }
        "csi" => csi(at, errors),
        _ => {}
    }
}

fn secret(at: &Spot<'_>, errors: &mut Errors) {
    if at.is_set() {
        errors.must_be_set(&at.at("name"));
        errors.must_be_set(&at.at("namespace"));
    }
}

fn quobyte(at: &Spot<'_>, errors: &mut Errors) {
    let (registry, tenant) = (at.at("registry"), at.at("tenant"));
    let is_pair = |pair: &str| {
        pair.rsplit_once(':').is_some_and(|(host, _)| !host.contains(':') || host.starts_with('['))
    };
    if registry.is_empty() {
        errors.required(&registry, QUOBYTE_REGISTRY);
    } else if tenant.text().len() > 64 {
        errors.required(&tenant, "must be a UUID and may not exceed a length of 64 characters");
    } else {
        for _ in registry.text().split(',').filter(|pair| !is_pair(pair)) {
            errors.invalid(&registry, QUOBYTE_REGISTRY);
        }
    }
    errors.must_be_set(&at.at("volume"));
}

fn iscsi(at: &Spot<'_>, name: &str, errors: &mut Errors) {
    let (portal, initiator) = (at.at("targetPortal"), at.at("initiatorName"));
    if initiator.is_set() && name.len() + 1 + portal.text().len() > 64 {
        errors.invalid(
            &at.at("targetportal").with(portal.value),
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is \
             specified.",
        );
    }
    errors.must_be_set(&at.at("iqn"));
    if !at.at("iqn").is_empty() && !is_iscsi_name(at.at("iqn").text()) {
        errors.invalid(&at.at("iqn"), "must be valid format");
    }
    let lun = at.at("lun");
    errors.faults(&lun, names::in_range(lun.number().unwrap_or_default(), 0, 255));
    let asks = at.at("chapAuthDiscovery").is_true() || at.at("chapAuthSession").is_true();
    if asks && !at.at("secretRef").is_set() {
        errors.required(&at.at("secretRef"), "");
    }
    if at.at("secretRef").is_set() {
        errors.must_be_set(&at.at("secretRef.name"));
    }
    if initiator.is_set() && !is_iscsi_name(initiator.text()) {
        errors.invalid(&at.at("initiatorname").with(initiator.value), "must be valid format");
    }
}

fn azure_disk(at: &Spot<'_>, errors: &mut Errors) {
    let (kind, uri) = (at.at("kind"), at.at("diskURI"));
    errors.one_of_if_set(&at.at("cachingMode"), &["None", "ReadOnly", "ReadWrite"]);
    errors.one_of_if_set(&kind, &["Dedicated", "Managed", "Shared"]);
    let (start, form) = if kind.text() == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    if kind.is_set() && !uri.text().starts_with(start) {
        errors.unsupported(&uri, &[form]);
    }
}

fn csi(at: &Spot<'_>, errors: &mut Errors) {
    driver_name(&at.at("driver"), errors);
    errors.must_be_set(&at.at("volumeHandle"));
    for secret in CSI_SECRETS.map(|field| at.at(field)).into_iter().filter(Spot::is_set) {
        let (name, namespace) = (secret.at("name"), secret.at("namespace"));
        errors.must_be_set(&name);
        if !name.is_empty() {
            errors.faults(&name, names::dns1123_subdomain(name.text()));
        }
        errors.must_be_set(&namespace);
        if !namespace.is_empty() {
            errors.faults(&namespace, names::dns1123_label(namespace.text()));
        }
    }
}

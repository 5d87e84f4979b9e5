//! Volumes: one source each, and that one right.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::container::PULL_POLICIES;
use super::files::{descends, downward_files, driver_name, no_backsteps, object_files, projected};
use super::spec::Home;
use crate::api::names;
use crate::api::quantity::Quantity;
use crate::api::validation::claim_spec;
use crate::api::validation::spot::{Errors, Spot};

/// All sources, in upstream's order, with the texts that each must have.
const SOURCES: [(&str, &[&str]); 30] = [
    ("emptyDir", &[]),
    ("hostPath", &[]),
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("secret", &[]),
    ("nfs", &["server", "path"]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &["monitors", "image"]),
    ("cinder", &["volumeID"]),
    ("cephfs", &["monitors"]),
    ("quobyte", &["registry", "volume"]),
    ("downwardAPI", &[]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("configMap", &[]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("storageos", &["volumeName"]),
    ("projected", &[]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("csi", &[]),
    ("ephemeral", &["volumeClaimTemplate"]),
    ("image", &[]),
];
/// What a path of the host may have to be.
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// All errors of a list of volumes; answers those that are right, by name.
pub(super) fn volumes<'a>(
    at: &Spot<'a>,
    home: &Home<'_>,
    errors: &mut Errors,
) -> BTreeMap<&'a str, &'a Value> {
    let mut right = BTreeMap::new();
    let made = claims_to_be_made(at, home);
    for volume in at.items() {
        let before = errors.count();
        let name = volume.at("name");
        source(&volume, home, errors);
        if name.is_empty() {
            errors.required(&name, "");
        } else {
            errors.faults(&name, names::dns1123_label(name.text()));
        }
        if right.contains_key(name.text()) {
            errors.duplicate(&name);
        }
        if errors.count() == before {
            right.insert(name.text(), volume.value);
        }
        let claim = volume.at("persistentVolumeClaim.claimName");
        if made.contains(claim.text()) {
            errors.invalid(&claim, "must not reference a PVC that gets created for an ephemeral volume");
        }
    }
    right
}

fn claims_to_be_made(at: &Spot<'_>, home: &Home<'_>) -> BTreeSet<String> {
    let Home::Pod { name } = home else { return BTreeSet::new() };
    let ephemeral = at.items().filter(|volume| !name.is_empty() && volume.at("ephemeral").is_set());
    ephemeral.map(|volume| format!("{name}-{}", volume.at("name").text())).collect()
}

fn source(volume: &Spot<'_>, home: &Home<'_>, errors: &mut Errors) {
    let mut given =
        SOURCES.iter().map(|(kind, texts)| (*kind, *texts, volume.at(kind))).filter(|(.., it)| it.is_set());
    match given.next() {
        None => errors.required(volume, "must specify a volume type"),
        Some((kind, texts, at)) => {
            for text in texts {
                errors.must_be_set(&at.at(text));
            }
            particular(kind, &at, volume, home, errors);
        }
    }
    given.for_each(|(.., other)| errors.forbidden(&other, "may not specify more than 1 volume type"));
}

fn particular(kind: &str, at: &Spot<'_>, volume: &Spot<'_>, home: &Home<'_>, errors: &mut Errors) {
    match kind {
        "emptyDir" => {
            let limit = at.at("sizeLimit");
            if limit.quantity().is_some_and(Quantity::is_negative) {
                errors.forbidden(&limit, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => host_path(at, errors),
        "gitRepo" => descends(&at.at("directory"), errors),
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            partition(&at.at("partition"), errors);
        }
        "secret" => object_files(at, "secretName", errors),
        "configMap" => object_files(at, "name", errors),
        "downwardAPI" => downward_files(at, errors),
        "projected" => projected(at, errors),
        "nfs" if !at.at("path").text().starts_with('/') => {
            errors.invalid(&at.at("path"), "must be an absolute path");
        }
        "iscsi" => iscsi(at, volume, errors),
        "flocker" => flocker(at, errors),
        "fc" => fibre_channel(at, errors),
        "cinder" | "csi" => secret_reference(kind, at, errors),
        "flexVolume" => flex_options(&at.at("options"), errors),
        "ephemeral" => ephemeral(at, volume, home, errors),
        "image" => {
            if matches!(home, Home::Pod { .. }) {
                errors.must_be_set(&at.at("reference"));
            }
            errors.one_of(&at.at("pullPolicy"), &PULL_POLICIES);
        }
        _ => {}
    }
}

/// A path of the host.
pub(in crate::api::validation) fn host_path(at: &Spot<'_>, errors: &mut Errors) {
    let path = at.at("path");
    if path.is_empty() {
        errors.required(&path, "");
        return;
    }
    no_backsteps(&path, errors);
    errors.one_of_if_set(&at.at("type"), &HOST_PATH_TYPES);
}

/// A partition of a disk.
pub(in crate::api::validation) fn partition(at: &Spot<'_>, errors: &mut Errors) {
    if at.number().is_some_and(|number| !(0..=255).contains(&number)) {
        errors.invalid(at, "must be between 1 and 255, inclusive");
    }
}

/// Whether a name of an iSCSI node has one of the three forms.
pub(in crate::api::validation) fn is_iscsi_name(name: &str) -> bool {
    let alphanumeric = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_authority = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let is_unique = |c: char| !matches!(c, ',' | ';' | '*' | '&' | '$' | '|') && !c.is_whitespace();
    if let Some(rest) = name.strip_prefix("iqn.") {
        // iqn.YYYY-MM.AUTHORITY[:UNIQUE]
        let (whole, unique) = rest.split_once(':').map_or((rest, None), |(a, b)| (a, Some(b)));
        let parts = whole.get(..4).zip(whole.get(4..5)).zip(whole.get(5..7)).zip(whole.get(7..8));
        return parts.is_some_and(|(((year, dash), month), dot)| {
            digits(year) && dash == "-" && digits(month) && dot == "."
        }) && whole.len() > 8
            && whole.bytes().skip(8).all(is_authority)
            && unique.is_none_or(|unique| !unique.is_empty() && unique.chars().all(is_unique));
    }
    let long = [("eui.", 16), ("naa.", 32)];
    long.iter().any(|(prefix, length)| {
        name.strip_prefix(prefix).is_some_and(|rest| rest.len() == *length && alphanumeric(rest))
    })
}

fn iscsi(at: &Spot<'_>, volume: &Spot<'_>, errors: &mut Errors) {
    let known = |name: &str| ["iqn", "eui", "naa"].iter().any(|prefix| name.starts_with(prefix));
    for (at, shown) in [(at.at("iqn"), at.at("iqn")), (at.at("initiatorName"), at.at("initiatorname"))] {
        if at.is_empty() {
            continue;
        }
        if !known(at.text()) {
            let detail = "must be valid format starting with iqn, eui, or naa";
            errors.invalid(&shown.with(at.value), detail);
        } else if !is_iscsi_name(at.text()) {
            errors.invalid(&shown.with(at.value), "must be valid format");
        }
    }
    let lun = at.at("lun");
    errors.faults(&lun, names::in_range(lun.number().unwrap_or_default(), 0, 255));
    let asks = at.at("chapAuthDiscovery").is_true() || at.at("chapAuthSession").is_true();
    if asks && !at.at("secretRef").is_set() {
        errors.required(&at.at("secretRef"), "");
    }
    let name = volume.at("name");
    if at.at("initiatorName").is_set() && name.text().len() + 1 + at.at("targetPortal").text().len() > 64 {
        errors.invalid(
            &name,
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is \
             specified.",
        );
    }
}

/// A Flocker dataset, by name or UUID.
pub(in crate::api::validation) fn flocker(at: &Spot<'_>, errors: &mut Errors) {
    let (name, uuid) = (at.at("datasetName"), at.at("datasetUUID"));
    match (name.is_empty(), uuid.is_empty()) {
        (true, true) => errors.required(at, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            errors.invalid_value(
                at,
                "resource",
                "datasetName and datasetUUID can not be specified simultaneously",
            );
        }
        (true, false) | (false, true) => {}
    }
    if name.text().contains('/') {
        errors.invalid(&name, "must not contain '/'");
    }
}

/// Fibre Channel, by targets or by ids.
pub(in crate::api::validation) fn fibre_channel(at: &Spot<'_>, errors: &mut Errors) {
    let (targets, ids, lun) = (at.at("targetWWNs"), at.at("wwids"), at.at("lun"));
    match (targets.is_empty(), ids.is_empty()) {
        (true, true) => errors.required(&targets, "must specify either targetWWNs or wwids, but not both"),
        (false, false) => {
            errors.invalid(&targets, "targetWWNs and wwids can not be specified simultaneously");
        }
        (true, false) | (false, true) => {}
    }
    if !targets.is_empty() {
        match lun.number() {
            None => errors.required(&lun, "lun is required if targetWWNs is specified"),
            Some(number) => errors.faults(&lun, names::in_range(number, 0, 255)),
        }
    }
}

fn secret_reference(kind: &str, at: &Spot<'_>, errors: &mut Errors) {
    let reference = at.at(if kind == "csi" { "nodePublishSecretRef" } else { "secretRef" });
    if kind == "csi" {
        driver_name(&at.at("driver"), errors);
    }
    if reference.is_set() {
        errors.must_be_set(&reference.at("name"));
    }
}

/// Options of a flex volume, of no namespace that is reserved.
pub(in crate::api::validation) fn flex_options(at: &Spot<'_>, errors: &mut Errors) {
    for (key, option) in at.entries() {
        let space = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
        if key.contains('/') && (space.ends_with(".kubernetes.io") || space.ends_with(".k8s.io")) {
            errors.invalid_value(&option, key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn ephemeral(at: &Spot<'_>, volume: &Spot<'_>, home: &Home<'_>, errors: &mut Errors) {
    let spec = at.at("volumeClaimTemplate").at("spec");
    if at.at("volumeClaimTemplate").is_set() {
        claim_spec(&spec, errors);
    }
    if let Home::Pod { name } = home
        && !name.is_empty()
        && !volume.at("name").is_empty()
    {
        let claim = format!("{name}-{}", volume.at("name").text());
        for fault in names::dns1123_subdomain(&claim) {
            errors.invalid(&volume.at("name"), &format!("PVC name {claim:?}: {fault}"));
        }
    }
}

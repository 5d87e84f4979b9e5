//! Volumes.

use serde_json::{Map, Value};

use super::container::{pull_policy, source};
use super::{field, fill, items};

/// 0644, for files made from ConfigMaps, Secrets and the downward API.
const FILE_MODE: i64 = 0o644;
/// One hour.
const TOKEN_SECONDS: i64 = 3_600;

/// Texts that upstream gives to sources of network volumes: source, field, text.
const TEXTS: [(&str, &str, &str); 9] = [
    ("iscsi", "iscsiInterface", "default"),
    ("rbd", "pool", "rbd"),
    ("rbd", "user", "admin"),
    ("rbd", "keyring", "/etc/ceph/keyring"),
    ("azureDisk", "cachingMode", "ReadWrite"),
    ("azureDisk", "kind", "Shared"),
    ("azureDisk", "fsType", "ext4"),
    ("scaleIO", "storageMode", "ThinProvisioned"),
    ("scaleIO", "fsType", "xfs"),
];

/// Defaults of one volume. Without any source it is an `emptyDir`.
pub(super) fn volume(volume: &mut Map<String, Value>) {
    if !volume.iter().any(|(name, value)| name != "name" && !value.is_null()) {
        volume.insert("emptyDir".into(), Map::new().into());
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(files) = field(volume, name) {
            fill(files, "defaultMode", FILE_MODE);
        }
    }
    for (name, at, text) in TEXTS {
        if let Some(network) = field(volume, name) {
            fill(network, at, text);
        }
    }
    if let Some(disk) = field(volume, "azureDisk") {
        fill(disk, "readOnly", false);
    }
    if let Some(path) = field(volume, "hostPath") {
        fill(path, "type", "");
    }
    if let Some(downward) = field(volume, "downwardAPI") {
        items(downward, "items").for_each(source);
    }
    if let Some(projected) = field(volume, "projected") {
        items(projected, "sources").for_each(projection);
    }
    if let Some(image) = field(volume, "image") {
        let policy = pull_policy(image.get("reference").and_then(Value::as_str).unwrap_or_default());
        fill(image, "pullPolicy", policy);
    }
    let claim = field(volume, "ephemeral").and_then(|it| field(it, "volumeClaimTemplate"));
    if let Some(spec) = claim.and_then(|it| field(it, "spec")) {
        fill(spec, "volumeMode", "Filesystem");
    }
}

fn projection(of: &mut Map<String, Value>) {
    if let Some(downward) = field(of, "downwardAPI") {
        items(downward, "items").for_each(source);
    }
    if let Some(token) = field(of, "serviceAccountToken") {
        fill(token, "expirationSeconds", TOKEN_SECONDS);
    }
}

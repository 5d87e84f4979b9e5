//! Volumes, claims on them, and their classes.

use serde_json::Value;

use super::{AGE, NAME, age, or, text, text_column, wide};
use crate::api::kinds::Column;
use crate::time::WallTime;

const UNSET: &str = "<unset>";
/// Where the class stood before it had a field.
const CLASS_ANNOTATION: &str = "/metadata/annotations/volume.beta.kubernetes.io~1storage-class";
/// What marks the class that claims without one get.
const DEFAULT_CLASS: [&str; 2] = [
    "/metadata/annotations/storageclass.kubernetes.io~1is-default-class",
    "/metadata/annotations/storageclass.beta.kubernetes.io~1is-default-class",
];

const ACCESS_MODES: Column = text_column("Access Modes", "How it may be mounted.");
const CLASS: Column = text_column("StorageClass", "The class it belongs to.");
const ATTRIBUTES: Column = text_column("VolumeAttributesClass", "The class of its changeable attributes.");
const MODE: Column = wide(text_column("VolumeMode", "Whether it is a file system or a bare device."));

/// `NAME CAPACITY ACCESS MODES RECLAIM POLICY STATUS CLAIM STORAGECLASS VOLUMEATTRIBUTESCLASS REASON AGE`; wide:
/// `VOLUMEMODE`.
pub const PERSISTENT_VOLUME: &[Column] = &[
    NAME,
    text_column("Capacity", "How much it holds."),
    ACCESS_MODES,
    text_column("Reclaim Policy", "What becomes of it when its claim is gone."),
    text_column("Status", "Whether it is claimed."),
    text_column("Claim", "Who has claimed it."),
    CLASS,
    ATTRIBUTES,
    text_column("Reason", "Why it is in this state."),
    AGE,
    MODE,
];

/// Cells of [`PERSISTENT_VOLUME`].
pub fn persistent_volume(object: &Value, now: WallTime) -> Vec<Value> {
    let claim = match object.pointer("/spec/claimRef") {
        Some(claim) => format!("{}/{}", text(claim, "/namespace"), text(claim, "/name")),
        None => String::new(),
    };
    vec![
        super::name(object),
        text(object, "/spec/capacity/storage").into(),
        access_modes(object, "/spec/accessModes").into(),
        text(object, "/spec/persistentVolumeReclaimPolicy").into(),
        phase(object).into(),
        claim.into(),
        class(object).into(),
        or(text(object, "/spec/volumeAttributesClassName"), UNSET).into(),
        text(object, "/status/reason").into(),
        age(object, now).into(),
        or(text(object, "/spec/volumeMode"), UNSET).into(),
    ]
}

/// `NAME STATUS VOLUME CAPACITY ACCESS MODES STORAGECLASS VOLUMEATTRIBUTESCLASS AGE`; wide: `VOLUMEMODE`.
pub const PERSISTENT_VOLUME_CLAIM: &[Column] = &[
    NAME,
    text_column("Status", "Whether it has a volume."),
    text_column("Volume", "The volume it has."),
    text_column("Capacity", "How much that volume holds."),
    ACCESS_MODES,
    CLASS,
    ATTRIBUTES,
    AGE,
    MODE,
];

/// Cells of [`PERSISTENT_VOLUME_CLAIM`].
pub fn persistent_volume_claim(object: &Value, now: WallTime) -> Vec<Value> {
    let volume = text(object, "/spec/volumeName");
    let (capacity, modes) = match volume {
        "" => (String::new(), String::new()),
        _ => (
            or(text(object, "/status/capacity/storage"), "0").to_owned(),
            access_modes(object, "/status/accessModes"),
        ),
    };
    vec![
        super::name(object),
        phase(object).into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(object).into(),
        or(text(object, "/spec/volumeAttributesClassName"), UNSET).into(),
        age(object, now).into(),
        or(text(object, "/spec/volumeMode"), UNSET).into(),
    ]
}

/// `NAME PROVISIONER RECLAIMPOLICY VOLUMEBINDINGMODE ALLOWVOLUMEEXPANSION AGE`
pub const STORAGE_CLASS: &[Column] = &[
    NAME,
    text_column("Provisioner", "Who makes its volumes."),
    text_column("ReclaimPolicy", "What becomes of its volumes when their claims are gone."),
    text_column("VolumeBindingMode", "When a claim gets its volume."),
    text_column("AllowVolumeExpansion", "Whether its volumes may grow."),
    AGE,
];

/// Cells of [`STORAGE_CLASS`].
pub fn storage_class(object: &Value, now: WallTime) -> Vec<Value> {
    let is_default = DEFAULT_CLASS.iter().any(|annotation| text(object, annotation) == "true");
    let name = text(object, "/metadata/name");
    vec![
        if is_default { format!("{name} (default)") } else { name.into() }.into(),
        text(object, "/provisioner").into(),
        or(text(object, "/reclaimPolicy"), "Delete").into(),
        or(text(object, "/volumeBindingMode"), "Immediate").into(),
        (object.pointer("/allowVolumeExpansion") == Some(&Value::Bool(true))).into(),
        age(object, now).into(),
    ]
}

fn phase(object: &Value) -> &str {
    let is_ending = object.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string);
    if is_ending { "Terminating" } else { text(object, "/status/phase") }
}

fn class(object: &Value) -> &str {
    or(text(object, CLASS_ANNOTATION), text(object, "/spec/storageClassName"))
}

/// `RWO,ROX,RWX,RWOP`, in this order.
fn access_modes(object: &Value, pointer: &str) -> String {
    let modes = super::items(object, pointer);
    let names = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let shown = names.iter().filter(|(mode, _)| modes.iter().any(|it| it == mode)).map(|(_, short)| *short);
    shown.collect::<Vec<_>>().join(",")
}

//! The operating system.

use super::machine::os_release;
use super::{Feature, Root, label_value};

pub(super) fn features(root: &Root) -> Vec<Feature> {
    let release = os_release(root);
    let mut features = Vec::new();
    for key in ["ID", "VERSION_ID"] {
        features
            .extend(release.get(key).map(|value| (format!("system-os_release.{key}"), label_value(value))));
    }
    if let Some(version) = release.get("VERSION_ID") {
        let (major, minor) = version.split_once('.').unwrap_or((version, ""));
        for (part, number) in [("major", major), ("minor", minor)] {
            if !number.is_empty() {
                features.push((format!("system-os_release.VERSION_ID.{part}"), label_value(number)));
            }
        }
    }
    features
}

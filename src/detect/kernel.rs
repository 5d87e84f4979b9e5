//! Kernel version and configuration.

use super::{Feature, Root, label_value, yes};

pub(super) fn features(root: &Root) -> Vec<Feature> {
    let mut features = Vec::new();
    let release = root.text("/proc/sys/kernel/osrelease").unwrap_or_default();
    if !release.is_empty() {
        features.push(("kernel-version.full".to_owned(), label_value(&release)));
        let numbers: Vec<&str> =
            release.split(|c: char| !c.is_ascii_digit()).filter(|n| !n.is_empty()).collect();
        for (name, number) in ["major", "minor", "revision"].iter().zip(numbers) {
            features.push((format!("kernel-version.{name}"), number.to_owned()));
        }
    }
    features.extend(configured(root, &release));
    if root.text("/sys/fs/selinux/enforce").as_deref() == Some("1") {
        features.push(yes("kernel-selinux.enabled"));
    }
    features
}

/// The options that Node Feature Discovery looks at by default, from the first configuration that is there.
fn configured(root: &Root, release: &str) -> Vec<Feature> {
    const OPTIONS: [&str; 4] = ["NO_HZ", "NO_HZ_IDLE", "NO_HZ_FULL", "PREEMPT"];
    let places = [
        format!("/usr/lib/modules/{release}/config"),
        format!("/lib/modules/{release}/build/.config"),
        format!("/boot/config-{release}"),
    ];
    let Some(text) = compressed(root).or_else(|| places.iter().find_map(|place| root.text(place))) else {
        return Vec::new();
    };
    let set = |option: &str| {
        let wanted = format!("CONFIG_{option}=");
        text.lines()
            .find_map(|line| line.strip_prefix(&wanted))
            .is_some_and(|value| matches!(value, "y" | "m"))
    };
    OPTIONS
        .iter()
        .filter(|option| set(option))
        .map(|option| yes(&format!("kernel-config.{option}")))
        .collect()
}

fn compressed(root: &Root) -> Option<String> {
    use std::io::Read as _;
    let file = std::fs::File::open(root.path("/proc/config.gz")).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
    Some(text)
}

//! NUMA, swap, persistent memory.

use super::{Feature, Root, yes};

pub(super) fn features(root: &Root) -> Vec<Feature> {
    let mut features = Vec::new();
    let nodes = root.names("/sys/devices/system/node");
    if nodes.iter().filter(|name| is_numbered(name, "node")).count() > 1 {
        features.push(yes("memory-numa"));
    }
    if root.text("/proc/swaps").is_some_and(|swaps| swaps.lines().count() > 1) {
        features.push(yes("memory-swap"));
    }
    let devices = root.names("/sys/bus/nd/devices");
    let kind =
        |device: &String| root.text(&format!("/sys/bus/nd/devices/{device}/devtype")).unwrap_or_default();
    if devices.iter().any(|device| !kind(device).is_empty()) {
        features.push(yes("memory-nv.present"));
    }
    if devices.iter().any(|device| kind(device) == "nd_dax") {
        features.push(yes("memory-nv.dax"));
    }
    features
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

//! Network devices.

use super::{Feature, Root, yes};

pub(super) fn features(root: &Root) -> Vec<Feature> {
    let devices = root.names("/sys/class/net");
    let any = |file: &str| {
        let count = |device: &String| root.number(&format!("/sys/class/net/{device}/device/{file}"));
        devices.iter().filter_map(count).any(|count| count > 0)
    };
    let table = [("sriov_totalvfs", "network-sriov.capable"), ("sriov_numvfs", "network-sriov.configured")];
    table.iter().filter(|(file, _)| any(file)).map(|(_, name)| yes(name)).collect()
}

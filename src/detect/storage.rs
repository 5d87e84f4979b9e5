//! Block devices.

use super::{Feature, Root, yes};

pub(super) fn features(root: &Root) -> Vec<Feature> {
    let solid = |device: &String| root.number(&format!("/sys/block/{device}/queue/rotational")) == Some(0);
    if root.names("/sys/block").iter().any(solid) {
        vec![yes("storage-nonrotationaldisk")]
    } else {
        Vec::new()
    }
}

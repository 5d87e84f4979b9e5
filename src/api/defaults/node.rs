//! Node.

use serde_json::Value;

use super::{field, fill, spell};

/// Defaults of a Node.
pub fn node(object: &mut Value) {
    spell("", "Node", object);
    let Some(root) = object.as_object_mut() else { return };
    if let Some(status) = field(root, "status")
        && let Some(capacity) = status.get("capacity").cloned()
    {
        fill(status, "allocatable", capacity);
    }
    if let Some(spec) = field(root, "spec") {
        // The old and the new field of one fact: the first of the list is the single one.
        if let Some(block) = spec.get("podCIDR").filter(|block| **block != "").cloned()
            && spec.get("podCIDRs").and_then(|blocks| blocks.get(0)) != Some(&block)
        {
            spec.insert("podCIDRs".into(), vec![block].into());
        }
        if let Some(first) = spec.get("podCIDRs").and_then(|blocks| blocks.get(0)).cloned() {
            fill(spec, "podCIDR", first);
        }
    }
}

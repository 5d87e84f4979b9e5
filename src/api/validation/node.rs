//! Node.

use std::collections::BTreeSet;

use serde_json::Value;

use super::labels::{EFFECTS, label_name};
use super::pod::quantity;
use super::spot::{Errors, Spot};
use crate::api::names;
use crate::api::status::FieldError;

/// All errors of a Node.
pub fn node(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    // Upstream tells errors of taints under `metadata`, where taints once were.
    taints(&root.at("metadata.taints").with(root.at("spec.taints").value), &mut errors);
    for list in ["status.capacity", "status.allocatable"] {
        for (name, amount) in root.at(list).entries() {
            quantity(name, &root.at(&format!("{list}.{name}")).with(amount.value), &mut errors);
        }
    }
    pod_cidrs(&root.at("spec.podCIDRs"), &mut errors);
    addresses(&root.at("status.addresses"), &mut errors);
    errors.into_list()
}

/// A status is held to the same rules as the whole Node: else the next write of its spec would fail for it.
pub fn node_status(new: &Value, _: &Value) -> Vec<FieldError> {
    node(new)
}

/// What was once assigned to a Node stays.
pub fn node_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (new, old) = (Spot::root(new).at("spec"), Spot::root(old).at("spec"));
    for (field, detail) in [
        ("podCIDRs", "node updates may not change podCIDR except from \"\" to valid"),
        ("providerID", "node updates may not change providerID except from \"\" to valid"),
    ] {
        if !old.at(field).is_empty() && old.at(field).value != new.at(field).value {
            errors.forbidden(&new.at(field), detail);
        }
    }
    errors.into_list()
}

fn taints(at: &Spot<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for taint in at.items() {
        let (key, value, effect) = (taint.at("key"), taint.at("value"), taint.at("effect"));
        label_name(&key, errors);
        let faults = names::label_value(value.text());
        if !faults.is_empty() {
            errors.invalid(&value, &faults.join(";"));
        }
        errors.one_of(&effect, &EFFECTS);
        if !seen.insert((key.text(), effect.text())) {
            let mut error = FieldError::duplicate(taint.path(), taint.value);
            error.message += ": taints must be unique by key and effect pair";
            errors.push(error);
        }
    }
}

fn pod_cidrs(at: &Spot<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    let mut families = BTreeSet::new();
    for block in at.items() {
        errors.faults(&block, names::cidr(block.text()));
        families.insert(block.text().contains(':'));
        if !seen.insert(block.text()) {
            errors.duplicate(&block);
        }
    }
    if at.items().count() > families.len() {
        errors.invalid(at, "may specify no more than one CIDR for each IP family");
    }
}

fn addresses(at: &Spot<'_>, errors: &mut Errors) {
    let mut seen = Vec::new();
    for address in at.items() {
        if seen.contains(&address.value) {
            errors.duplicate(&address);
        }
        seen.push(address.value);
    }
}

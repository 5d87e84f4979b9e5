//! Affinity to nodes and to other Pods.

use super::spread::{label_keys, repeated_keys};
use crate::api::names;
use crate::api::validation::labels::{label_name, selector};
use crate::api::validation::spot::{Errors, Spot};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const NO_OPERATOR: &str = "not a valid selector operator";

/// `spec.affinity`
pub(super) fn affinity(at: &Spot<'_>, errors: &mut Errors) {
    let nodes = at.at("nodeAffinity");
    if nodes.at(REQUIRED).is_set() {
        let terms = nodes.at(REQUIRED).at("nodeSelectorTerms");
        if terms.is_empty() {
            errors.required(&terms, "must have at least one node selector term");
        }
        terms.items().for_each(|it| node_term(&it, true, errors));
    }
    for preference in nodes.at(PREFERRED).items() {
        weight(&preference, errors);
        node_term(&preference.at("preference"), false, errors);
    }
    for pods in ["podAffinity", "podAntiAffinity"].map(|field| at.at(field)) {
        pods.at(REQUIRED).items().for_each(|it| pod_term(&it, errors));
        for preference in pods.at(PREFERRED).items() {
            weight(&preference, errors);
            pod_term(&preference.at("podAffinityTerm"), errors);
        }
    }
}

fn weight(at: &Spot<'_>, errors: &mut Errors) {
    let weight = at.at("weight").number().unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.invalid_value(&at.at("weight"), weight, "must be in the range 1-100");
    }
}

/// A term of a node selector. Values that no label can have are refused where they would keep the Pod from every node.
pub(in crate::api::validation) fn node_term(at: &Spot<'_>, required: bool, errors: &mut Errors) {
    at.at("matchExpressions").items().for_each(|it| node_requirement(&it, required, errors));
    at.at("matchFields").items().for_each(|it| node_field(&it, errors));
}

fn node_requirement(at: &Spot<'_>, required: bool, errors: &mut Errors) {
    let (operator, values) = (at.at("operator"), at.at("values"));
    match operator.text() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.items().count() != 1 => {
            errors.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        _ => errors.invalid(&operator, NO_OPERATOR),
    }
    label_name(&at.at("key"), errors);
    if required {
        values.items().for_each(|value| errors.faults(&value, names::label_value(value.text())));
    }
}

fn node_field(at: &Spot<'_>, errors: &mut Errors) {
    let (operator, values, key) = (at.at("operator"), at.at("values"), at.at("key"));
    match operator.text() {
        "In" | "NotIn" if values.items().count() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&values, detail);
        }
        "In" | "NotIn" => {}
        _ => errors.invalid(&operator, NO_OPERATOR),
    }
    if key.text() == "metadata.name" {
        values.items().for_each(|value| errors.faults(&value, names::dns1123_subdomain(value.text())));
    } else {
        errors.invalid(&key, "not a valid field selector key");
    }
}

fn pod_term(at: &Spot<'_>, errors: &mut Errors) {
    selector(&at.at("labelSelector"), errors);
    selector(&at.at("namespaceSelector"), errors);
    for space in at.at("namespaces").items() {
        errors.faults_of(&at.at("namespace"), space.text(), names::dns1123_label(space.text()));
    }
    label_keys(&at.at("matchLabelKeys"), &at.at("labelSelector"), errors);
    label_keys(&at.at("mismatchLabelKeys"), &at.at("labelSelector"), errors);
    repeated_keys(at, errors);
    let topology = at.at("topologyKey");
    if topology.is_empty() {
        errors.required(&topology, "can not be empty");
    }
    label_name(&topology, errors);
}

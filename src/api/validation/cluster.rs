//! `LimitRange`, `ResourceQuota`, `PriorityClass`, `RuntimeClass`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::labels::labels;
use super::pod::{quantity, resource_name, tolerations};
use super::spot::{Errors, Spot};
use crate::api::names;
use crate::api::quantity::Quantity;
use crate::api::status::FieldError;

/// Highest priority that people may give.
const PRIORITY_MAX: i64 = 1_000_000_000;
/// Classes whose names begin so are upstream's own.
const SYSTEM: &str = "system-";
/// The classes that every cluster has, with their priorities.
pub const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
/// What a quota may count by a name without a slash.
const QUOTA_NAMES: [&str; 20] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
    "storage",
];
const SCOPES: [&str; 7] = [
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

/// All errors of a `LimitRange`.
pub fn limit_range(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let mut taken = BTreeSet::new();
    for limit in Spot::root(object).at("spec.limits").items() {
        let kind = limit.at("type");
        if kind.text().contains('/') {
            errors.faults(&kind, names::qualified_name(kind.text()));
        } else {
            errors.one_of(&kind, &["Container", "PersistentVolumeClaim", "Pod"]);
        }
        if !taken.insert(kind.text()) {
            errors.duplicate(&kind);
        }
        amounts(&limit, &mut errors);
    }
    errors.into_list()
}

fn amounts(limit: &Spot<'_>, errors: &mut Errors) {
    let kind = limit.at("type").text();
    let mut known = BTreeSet::new();
    for field in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
        if kind == "Pod" && field.starts_with("default") && !limit.at(field).is_empty() {
            errors.forbidden(&limit.at(field), "may not be specified when `type` is 'Pod'");
            continue;
        }
        for (name, amount) in limit.at(field).entries() {
            resource_name(&amount, name, errors);
            quantity(name, &amount, errors);
            known.insert(name);
        }
    }
    if kind == "PersistentVolumeClaim"
        && ["min", "max"].iter().all(|it| !limit.at(it).key("storage").is_set())
    {
        errors
            .required(limit, "either minimum or maximum storage value is required, but neither was provided");
    }
    for name in known {
        in_order(limit, name, errors);
    }
}

/// Minimum ≤ default request ≤ default ≤ maximum.
fn in_order(limit: &Spot<'_>, name: &str, errors: &mut Errors) {
    let of = |field: &str| limit.at(field).key(name);
    for (field, low, low_name, high, high_name) in [
        ("min", "min", "min", "max", "max"),
        ("defaultRequest", "min", "min", "defaultRequest", "default request"),
        ("defaultRequest", "defaultRequest", "default request", "max", "max"),
        ("defaultRequest", "defaultRequest", "default request", "default", "default limit"),
        ("default", "min", "min", "default", "default"),
        ("default", "default", "default", "max", "max"),
    ] {
        let (Some(less), Some(more)) = (of(low).quantity(), of(high).quantity()) else { continue };
        if less > more {
            let detail = format!("{low_name} value {less} is greater than {high_name} value {more}");
            errors.invalid(&of(field), &detail);
        }
    }
    let ratio = of("maxLimitRequestRatio");
    if let Some(amount) = ratio.quantity()
        && amount < Quantity::from_units(1)
    {
        errors.invalid(&ratio, &format!("ratio {amount} is less than 1"));
    }
}

/// All errors of a `ResourceQuota`.
pub fn resource_quota(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let spec = Spot::root(object).at("spec");
    hard(&spec.at("hard"), &mut errors);
    let scopes = spec.at("scopes");
    if scopes.items().any(|scope| !SCOPES.contains(&scope.text())) {
        errors.invalid(&scopes, "unsupported scope");
    }
    let has = |scope: &str| scopes.items().any(|it| it.text() == scope);
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if has(one) && has(other) {
            errors.invalid(&scopes, "conflicting scopes");
        }
    }
    for requirement in spec.at("scopeSelector.matchExpressions").items() {
        if !SCOPES.contains(&requirement.at("scopeName").text()) {
            errors.invalid(&requirement.at("scopeName"), "unsupported scope");
        }
        let values = requirement.at("values");
        match requirement.at("operator").text() {
            "In" | "NotIn" if values.is_empty() => {
                let detail =
                    "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(&values, detail);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail =
                    "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector";
                errors.invalid(&values, detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(&requirement.at("operator"), "not a valid selector operator"),
        }
    }
    errors.into_list()
}

fn hard(at: &Spot<'_>, errors: &mut Errors) {
    for (name, amount) in at.entries() {
        let faults = names::qualified_name(name);
        let is_known = name.contains('/') || name.contains("hugepages-") || QUOTA_NAMES.contains(&name);
        if faults.is_empty() && !is_known {
            errors.invalid_value(&amount, name, "must be a standard resource for quota");
        }
        errors.faults_of(&amount, name, faults);
        quantity(name, &amount, errors);
    }
}

/// The scopes of a quota never change.
pub fn resource_quota_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.immutable(&Spot::root(new).at("spec.scopes"), &Spot::root(old).at("spec.scopes"));
    errors.into_list()
}

/// What a quota says is used.
pub fn resource_quota_status(new: &Value, _: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let status = Spot::root(new).at("status");
    hard(&status.at("hard"), &mut errors);
    hard(&status.at("used"), &mut errors);
    errors.into_list()
}

/// All errors of a `PriorityClass`.
pub fn priority_class(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    let (name, value) = (root.at("metadata.name"), root.at("value").number().unwrap_or(0));
    if name.text().starts_with(SYSTEM) {
        if let Some(why) = no_system_class(&root, value) {
            let detail = format!(
                "priority class names with '{SYSTEM}' prefix are reserved for system use only. error: {why}"
            );
            errors.forbidden(&name, &detail);
        }
    } else if value > PRIORITY_MAX {
        let detail = format!("maximum allowed value of a user defined priority is {PRIORITY_MAX}");
        errors.forbidden(&root.at("value"), &detail);
    }
    errors.one_of_if_set(&root.at("preemptionPolicy"), &["Never", "PreemptLowerPriority"]);
    errors.into_list()
}

fn no_system_class(root: &Spot<'_>, value: i64) -> Option<String> {
    let name = root.at("metadata.name").text();
    let Some((_, own)) = SYSTEM_CLASSES.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if value != *own {
        return Some(format!("value of {name} PriorityClass must be {own}"));
    }
    root.at("globalDefault").is_true().then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

/// A class gives the same priority for good.
pub fn priority_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (new, old) = (Spot::root(new), Spot::root(old));
    if new.at("value").value != old.at("value").value {
        errors.forbidden(&new.at("value"), "may not be changed in an update.");
    }
    errors.immutable(&new.at("preemptionPolicy"), &old.at("preemptionPolicy"));
    errors.into_list()
}

/// All errors of a `RuntimeClass`.
pub fn runtime_class(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    errors.faults(&root.at("handler"), names::dns1123_label(root.at("handler").text()));
    for (name, amount) in root.at("overhead.podFixed").entries() {
        resource_name(&amount, name, &mut errors);
        quantity(name, &amount, &mut errors);
    }
    labels(&root.at("scheduling.nodeSelector"), &mut errors);
    tolerations(&root.at("scheduling.tolerations"), &mut errors);
    errors.into_list()
}

/// The handler never changes.
pub fn runtime_class_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.immutable(&Spot::root(new).at("handler"), &Spot::root(old).at("handler"));
    errors.into_list()
}

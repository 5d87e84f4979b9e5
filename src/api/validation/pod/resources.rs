//! Requests and limits, of containers and of the Pod as a whole.

use std::collections::BTreeSet;

use super::spec::Around;
use crate::api::defaults::container_amounts;
use crate::api::names;
use crate::api::quantity::Quantity;
use crate::api::status::FieldError;
use crate::api::validation::spot::{Errors, NEGATIVE, Spot};

/// Resources counted in whole things, besides extended ones.
const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
/// Unprefixed resources besides those and huge pages.
const MEASURED: [&str; 11] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];
const HUGE: &str = "hugepages-";

/// `resources` of a container or of a Pod. `name_rule` says which resources may be named there.
pub(super) fn requirements(
    at: &Spot<'_>,
    claims: &BTreeSet<&str>,
    name_rule: fn(&Spot<'_>, &str, &mut Errors),
    errors: &mut Errors,
) {
    let (limits, requests) = (at.at("limits"), at.at("requests"));
    for (name, amount) in limits.entries() {
        one(name, &amount, name_rule, errors);
    }
    for (name, amount) in requests.entries() {
        one(name, &amount, name_rule, errors);
        within_limit(name, &amount, &limits, &requests, errors);
    }
    let names: BTreeSet<&str> = limits.entries().chain(requests.entries()).map(|(name, _)| name).collect();
    let has_base = names.contains("cpu") || names.contains("memory");
    if !has_base && names.iter().any(|name| name.starts_with(HUGE)) {
        errors.forbidden(at, "HugePages require cpu or memory");
    }
    resource_claims(&at.at("claims"), claims, errors);
}

fn one(name: &str, amount: &Spot<'_>, name_rule: fn(&Spot<'_>, &str, &mut Errors), errors: &mut Errors) {
    name_rule(amount, name, errors);
    quantity(name, amount, errors);
    if let (Some(size), Some(quantity)) = (name.strip_prefix(HUGE), amount.quantity())
        && !is_multiple(quantity, size)
    {
        errors.invalid(amount, &format!("{quantity} is not positive integer multiple of {name}"));
    }
}

fn is_multiple(quantity: Quantity, page: &str) -> bool {
    Quantity::parse(page)
        .is_ok_and(|page| page > Quantity::ZERO && page.is_integer() && quantity.value() % page.value() == 0)
}

fn within_limit(name: &str, amount: &Spot<'_>, limits: &Spot<'_>, requests: &Spot<'_>, errors: &mut Errors) {
    let shared = is_overcommit_allowed(name);
    let (Some(wanted), limit) = (amount.quantity(), limits.key(name).quantity()) else { return };
    match limit {
        Some(limit) if wanted != limit && !shared => {
            errors.invalid_value(
                requests,
                wanted.to_string(),
                &format!("must be equal to {name} limit of {limit}"),
            );
        }
        Some(limit) if wanted > limit => {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.invalid_value(requests, wanted.to_string(), &detail);
        }
        None if !shared => errors.required(limits, "Limit must be set for non overcommitable resources"),
        Some(_) | None => {}
    }
}

/// An amount: not negative, and whole where things are counted.
pub(in crate::api::validation) fn quantity(name: &str, at: &Spot<'_>, errors: &mut Errors) {
    let Some(quantity) = at.quantity() else { return };
    if quantity.is_negative() {
        errors.invalid(at, NEGATIVE);
    }
    let whole = COUNTED.contains(&name) || is_extended(name);
    if whole && !quantity.is_integer() {
        errors.push(FieldError {
            reason: "FieldValueInvalid",
            field: at.path().to_owned(),
            message: format!("Invalid value: {quantity}: must be an integer"),
        });
    }
}

/// What a container may ask for.
pub(super) fn container_resource_name(at: &Spot<'_>, name: &str, errors: &mut Errors) {
    resource_name(at, name, errors);
    if !name.contains('/') {
        if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with(HUGE) {
            errors.invalid_value(at, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid_value(at, name, "doesn't follow extended resource name standard");
    }
}

/// What a Pod as a whole may ask for.
fn pod_resource_name(at: &Spot<'_>, name: &str, errors: &mut Errors) {
    let before = errors.count();
    resource_name(at, name, errors);
    if errors.count() == before && !matches!(name, "cpu" | "memory") && !name.starts_with(HUGE) {
        errors.push(FieldError::unsupported(at.path(), &name.into(), &["cpu", "hugepages-", "memory"]));
    }
}

pub(in crate::api::validation) fn resource_name(at: &Spot<'_>, name: &str, errors: &mut Errors) {
    let faults = names::qualified_name(name);
    let known = COUNTED.contains(&name)
        || MEASURED.contains(&name)
        || name.strip_prefix("requests.").unwrap_or(name).starts_with(HUGE);
    if faults.is_empty() && !name.contains('/') && !known {
        errors.invalid_value(at, name, "must be a standard resource type or fully qualified");
    }
    errors.faults_of(at, name, faults);
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_overcommit_allowed(name: &str) -> bool {
    is_native(name) && !name.starts_with(HUGE)
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

fn resource_claims(at: &Spot<'_>, known: &BTreeSet<&str>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for claim in at.items() {
        let (name, request) = (claim.at("name").text(), claim.at("request"));
        if name.is_empty() {
            errors.required(&claim, "");
            continue;
        }
        let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{}", request.text()) };
        if !request.is_empty() {
            errors.faults(&request, names::dns1123_label(request.text()));
        }
        let whole_after_part =
            request.is_empty() && seen.iter().any(|it: &String| it.starts_with(&format!("{name}/")));
        if seen.contains(name) || whole_after_part || !seen.insert(key.clone()) {
            errors.duplicate_value(&claim, key);
        }
        if !known.contains(name) {
            let mut error = FieldError::not_found(claim.path(), &name.into());
            error.message += ": must be one of the names in pod.spec.resourceClaims";
            error.message += if known.is_empty() { " which is empty" } else { ": " };
            error.message += &known.iter().copied().collect::<Vec<_>>().join(", ");
            errors.push(error);
        }
    }
}

/// `resizePolicy` of a container.
pub(super) fn resize_policy(at: &Spot<'_>, restart_policy: &str, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for policy in at.items() {
        let (resource, restart) = (policy.at("resourceName"), policy.at("restartPolicy"));
        if !seen.insert(resource.text()) {
            errors.duplicate_value(&policy, resource.text());
        }
        // Upstream tells these errors at the list, without the index.
        errors.one_of(&at.with(resource.value), &["cpu", "memory"]);
        errors.one_of(&at.with(restart.value), &["NotRequired", "RestartContainer"]);
        if restart_policy == "Never" && restart.text() != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.invalid_value(at, restart.text(), detail);
        }
    }
}

/// `spec.resources`: at least what the containers ask for together, and no container may use more.
pub(super) fn pod_resources(spec: &Spot<'_>, around: &Around<'_>, errors: &mut Errors) {
    let at = spec.at("resources");
    if !at.is_set() {
        return;
    }
    if at.at("claims").is_set() {
        errors.forbidden(&at.at("claims"), "claims cannot be set for Resources at pod-level");
    }
    requirements(&at, &around.claims, pod_resource_name, errors);
    let Some(fields) = spec.value.as_object() else { return };
    let requests = at.at("requests");
    for (name, wanted) in container_amounts(fields, "requests") {
        let given = requests.key(&name);
        let quantity = given.quantity().unwrap_or(Quantity::ZERO);
        if wanted > quantity {
            let detail = format!("must be greater than or equal to aggregate container requests of {wanted}");
            errors.invalid_value(&given, quantity.to_string(), &detail);
        }
    }
    for container in spec.at("containers").items() {
        limits_within(&container, &at, errors);
    }
}

fn limits_within(container: &Spot<'_>, whole: &Spot<'_>, errors: &mut Errors) {
    for (name, limit) in container.at("resources.limits").entries() {
        if let (Some(own), Some(most)) = (limit.quantity(), whole.at("limits").key(name).quantity())
            && own > most
        {
            let detail = format!("must be less than or equal to pod limits of {most}");
            errors.invalid_value(&limit, own.to_string(), &detail);
        }
    }
}

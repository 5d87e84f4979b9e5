//! Roles and their bindings.

use serde_json::Value;

use super::labels::selector;
use super::spot::{Errors, Spot};
use crate::api::names;
use crate::api::status::FieldError;

const GROUP: &str = "rbac.authorization.k8s.io";

/// All errors of a Role.
pub fn role(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    Spot::root(object).at("rules").items().for_each(|it| rule(&it, true, &mut errors));
    errors.into_list()
}

/// All errors of a `ClusterRole`.
pub fn cluster_role(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    root.at("rules").items().for_each(|it| rule(&it, false, &mut errors));
    if root.at("aggregationRule").is_set() {
        let selectors = root.at("aggregationRule.clusterRoleSelectors");
        if selectors.is_empty() {
            errors.required(
                &selectors,
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            );
        }
        selectors.items().for_each(|it| selector(&it, &mut errors));
    }
    errors.into_list()
}

fn rule(at: &Spot<'_>, is_namespaced: bool, errors: &mut Errors) {
    if at.at("verbs").is_empty() {
        errors.required(&at.at("verbs"), "verbs must contain at least one value");
    }
    let paths = at.at("nonResourceURLs");
    if !paths.is_empty() {
        if is_namespaced {
            errors.invalid(&paths, "namespaced rules cannot apply to non-resource URLs");
        }
        if ["apiGroups", "resources", "resourceNames"].iter().any(|field| !at.at(field).is_empty()) {
            errors.invalid(&paths, "rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if at.at("apiGroups").is_empty() {
        errors.required(&at.at("apiGroups"), "resource rules must supply at least one api group");
    }
    if at.at("resources").is_empty() {
        errors.required(&at.at("resources"), "resource rules must supply at least one resource");
    }
}

/// All errors of a `RoleBinding`.
pub fn role_binding(object: &Value) -> Vec<FieldError> {
    binding(object, true, &["Role", "ClusterRole"])
}

/// All errors of a `ClusterRoleBinding`.
pub fn cluster_role_binding(object: &Value) -> Vec<FieldError> {
    binding(object, false, &["ClusterRole"])
}

fn binding(object: &Value, is_namespaced: bool, kinds: &[&str]) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(object);
    let role = root.at("roleRef");
    if role.at("apiGroup").text() != GROUP {
        errors.unsupported(&role.at("apiGroup"), &[GROUP]);
    }
    if !kinds.contains(&role.at("kind").text()) {
        errors.unsupported(&role.at("kind"), kinds);
    }
    if role.at("name").is_empty() {
        errors.required(&role.at("name"), "");
    } else {
        errors.faults(&role.at("name"), names::path_segment(role.at("name").text()));
    }
    root.at("subjects").items().for_each(|it| subject(&it, is_namespaced, &mut errors));
    errors.into_list()
}

fn subject(at: &Spot<'_>, is_namespaced: bool, errors: &mut Errors) {
    let (name, group) = (at.at("name"), at.at("apiGroup"));
    if name.is_empty() {
        errors.required(&name, "");
    }
    match at.at("kind").text() {
        "ServiceAccount" => {
            if !name.is_empty() {
                errors.faults(&name, names::dns1123_subdomain(name.text()));
            }
            if !group.is_empty() {
                errors.unsupported(&group, &[""]);
            }
            if !is_namespaced && at.at("namespace").is_empty() {
                errors.required(&at.at("namespace"), "");
            }
        }
        "User" | "Group" => {
            if group.text() != GROUP {
                errors.unsupported(&group, &[GROUP]);
            }
        }
        _ => errors.unsupported(&at.at("kind"), &["ServiceAccount", "User", "Group"]),
    }
}

/// A binding is of one role for good.
pub fn binding_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if new["roleRef"] != old["roleRef"] {
        errors.invalid(&Spot::root(new).at("roleRef"), "cannot change roleRef");
    }
    errors.into_list()
}

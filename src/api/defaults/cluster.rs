//! Volumes and claims, roles, ranges, and classes.

use serde_json::{Map, Value};

use super::{field, field_or_new, fill, items, spell};

const RBAC: &str = "rbac.authorization.k8s.io";

/// `PersistentVolume`: pending, kept when its claim is gone, a file system.
pub fn persistent_volume(object: &mut Value) {
    spell("", "PersistentVolume", object);
    let Some(root) = object.as_object_mut() else { return };
    if let Some(status) = field_or_new(root, "status") {
        fill(status, "phase", "Pending");
    }
    let Some(spec) = field_or_new(root, "spec") else { return };
    fill(spec, "persistentVolumeReclaimPolicy", "Retain");
    fill(spec, "volumeMode", "Filesystem");
    if let Some(path) = field(spec, "hostPath")
        && !path.contains_key("type")
    {
        path.insert("type".into(), "".into());
    }
}

/// `PersistentVolumeClaim`: pending, and for a file system.
pub fn persistent_volume_claim(object: &mut Value) {
    spell("", "PersistentVolumeClaim", object);
    let Some(root) = object.as_object_mut() else { return };
    if let Some(status) = field_or_new(root, "status") {
        fill(status, "phase", "Pending");
    }
    if let Some(spec) = field_or_new(root, "spec") {
        fill(spec, "volumeMode", "Filesystem");
    }
}

/// `StorageClass`: its volumes go with their claims, and are bound at once.
pub fn storage_class(object: &mut Value) {
    spell("storage.k8s.io", "StorageClass", object);
    let Some(root) = object.as_object_mut() else { return };
    fill(root, "reclaimPolicy", "Delete");
    fill(root, "volumeBindingMode", "Immediate");
}

/// `LimitRange`: for containers, the default limit is the maximum, the default request that limit or the minimum.
pub fn limit_range(object: &mut Value) {
    spell("", "LimitRange", object);
    let Some(spec) = object.as_object_mut().and_then(|root| field(root, "spec")) else { return };
    for limit in items(spec, "limits").filter(|it| it.get("type").is_some_and(|kind| kind == "Container")) {
        for (into, from) in [("default", "max"), ("defaultRequest", "default"), ("defaultRequest", "min")] {
            let source = limit.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
            if source.is_empty() {
                continue;
            }
            if let Some(amounts) = field_or_new(limit, into) {
                source.into_iter().for_each(|(name, amount)| fill(amounts, &name, amount));
            }
        }
    }
}

/// `PriorityClass`: its Pods may displace others.
pub fn priority_class(object: &mut Value) {
    spell("scheduling.k8s.io", "PriorityClass", object);
    let Some(root) = object.as_object_mut() else { return };
    fill(root, "value", 0);
    fill(root, "preemptionPolicy", "PreemptLowerPriority");
}

/// `RoleBinding`
pub fn role_binding(object: &mut Value) {
    binding("RoleBinding", object);
}

/// `ClusterRoleBinding`
pub fn cluster_role_binding(object: &mut Value) {
    binding("ClusterRoleBinding", object);
}

/// Groups that go without saying.
fn binding(kind: &str, object: &mut Value) {
    spell(RBAC, kind, object);
    let Some(root) = object.as_object_mut() else { return };
    if let Some(role) = field(root, "roleRef") {
        fill(role, "apiGroup", RBAC);
    }
    items(root, "subjects").for_each(subject);
}

fn subject(subject: &mut Map<String, Value>) {
    if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
        fill(subject, "apiGroup", RBAC);
    }
}

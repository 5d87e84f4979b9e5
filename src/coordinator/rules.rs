//! Where kinds differ in what a write may do, as upstream's strategies have it.

use crate::api::kinds::Kind;
use crate::api::names::{self, Faults};

/// Namespaces that exist from the start and cannot be deleted. Upstream protects the first three; the last two hold the
/// sessions and the leases that keep the cluster together.
pub const INITIAL_NAMESPACES: [&str; 5] =
    ["default", "kube-system", "kube-public", "kube-node-lease", "leasehold-system"];

pub(super) fn is(kind: &Kind, group: &str, name: &str) -> bool {
    kind.group == group && kind.kind == name
}

pub(super) fn is_event(kind: &Kind) -> bool {
    is(kind, "", "Event") || is(kind, "events.k8s.io", "Event")
}

fn is_lease(kind: &Kind) -> bool {
    is(kind, "coordination.k8s.io", "Lease")
}

/// What is wrong with an object's name.
pub(super) fn name_faults(kind: &Kind, name: &str) -> Faults {
    match (kind.group, kind.kind) {
        ("", "Namespace") | ("apps", "StatefulSet") => names::dns1123_label(name),
        ("", "Service") => names::dns1035_label(name),
        ("rbac.authorization.k8s.io" | "certificates.k8s.io", _) => names::path_segment(name),
        _ => names::dns1123_subdomain(name),
    }
}

/// What is wrong with a `generateName`, to which characters will be appended. Upstream judges it by what stands before
/// a last hyphen and the character before that.
pub(super) fn prefix_faults(kind: &Kind, prefix: &str) -> Faults {
    match prefix.strip_suffix('-') {
        Some(stem) if !stem.is_empty() => {
            let last = stem.char_indices().next_back().map_or(0, |(start, _)| start);
            name_faults(kind, &format!("{}a", &stem[..last]))
        }
        _ => name_faults(kind, prefix),
    }
}

/// PUT may create it.
pub(super) fn is_created_by_update(kind: &Kind) -> bool {
    is_lease(kind) || is_event(kind)
}

/// An update without resourceVersion overwrites whatever is there.
pub(super) fn is_updated_unconditionally(kind: &Kind) -> bool {
    !is_lease(kind) && !is(kind, "policy", "PodDisruptionBudget")
}

/// A change of annotations is a change of what is asked for.
pub(super) fn annotations_are_intent(kind: &Kind) -> bool {
    is(kind, "apps", "Deployment")
}

/// DELETE answers with the object instead of a Status.
pub(super) fn returns_deleted(kind: &Kind) -> bool {
    let names =
        ["Namespace", "Pod", "ServiceAccount", "Service", "PersistentVolume", "PersistentVolumeClaim"];
    kind.group.is_empty() && names.contains(&kind.kind)
}

/// A new object may bring its status.
pub(super) fn keeps_status_on_create(kind: &Kind) -> bool {
    is(kind, "", "Node")
}

/// The garbage collector deals with it, so that its finalizers may be set.
pub(super) fn is_collected(kind: &Kind) -> bool {
    !is_event(kind)
}

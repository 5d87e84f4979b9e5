//! What becomes of a DaemonSet's dependants when it is deleted, as the finalizer says that the deletion left behind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Finalizer of a deletion that leaves the dependants alone.
const ORPHAN: &str = "orphan";

/// Finalizer of a deletion that waits for the dependants.
const FOREGROUND: &str = "foregroundDeletion";

/// How the deletion of an owner goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is not being deleted, or not in a way that concerns its dependants.
    None,
    /// Take the owner out of the dependants' owner references.
    Orphan,
    /// Delete the dependants.
    DeleteDependants,
    /// Nothing is left to do: remove this finalizer.
    Release(&'static str),
}

/// What is to be done next for an owner with this metadata, which has so many dependants.
pub fn ending(owner: &ObjectMeta, dependants: usize) -> Ending {
    let has = |finalizer: &str| owner.finalizers.iter().flatten().any(|have| have == finalizer);
    if owner.deletion_timestamp.is_none() {
        return Ending::None;
    }
    match (has(ORPHAN), has(FOREGROUND), dependants) {
        (true, _, 0) => Ending::Release(ORPHAN),
        (true, _, _) => Ending::Orphan,
        (false, true, 0) => Ending::Release(FOREGROUND),
        (false, true, _) => Ending::DeleteDependants,
        (false, false, _) => Ending::None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_owner_goes_when_its_dependants_are_orphaned_or_gone() {
        let owner = |finalizer: &str| -> ObjectMeta {
            serde_json::from_value(
                json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x", finalizer] }),
            )
            .expect("metadata")
        };
        let table = [
            ("orphan", 2, Ending::Orphan),
            ("orphan", 0, Ending::Release("orphan")),
            ("foregroundDeletion", 1, Ending::DeleteDependants),
            ("foregroundDeletion", 0, Ending::Release("foregroundDeletion")),
            ("y", 0, Ending::None),
        ];
        for (finalizer, dependants, expected) in table {
            assert_eq!(ending(&owner(finalizer), dependants), expected, "{finalizer} {dependants}");
        }
        assert_eq!(ending(&ObjectMeta::default(), 3), Ending::None);
    }
}

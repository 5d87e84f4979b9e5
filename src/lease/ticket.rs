//! Tickets: the right to replace a DaemonSet's Pod on one node. PURE.
//!
//! A ticket is a Lease in the DaemonSet's namespace, controlled by the DaemonSet, in one of as many slots as the rollout may
//! have Pods unavailable. It is issued by being made, labelled with its holder so that each node watches its own, and is
//! given back by being deleted: by its holder when the new Pod is available, by the steward when the node is none of the
//! DaemonSet's any more, by an operator with `kubectl delete lease`, and with the DaemonSet itself.

use std::fmt::Write as _;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sha2::{Digest as _, Sha256};

/// Label: which node holds it ([`label_of`]).
pub const HOLDER_LABEL: &str = "leasehold.dev/holder";
/// Label that says what kind of Lease it is.
pub const KIND_LABEL: &str = "leasehold.dev/kind";
/// Its value for tickets.
pub const KIND: &str = "ticket";

/// Longest value of a label.
const LABEL_BYTES_MAX: usize = 63;

/// Name of the ticket in a slot.
pub fn name(daemon_set_uid: &str, slot: u64) -> String {
    format!("ticket-{daemon_set_uid}-{slot}")
}

/// The slot that a name names.
pub fn slot(name: &str) -> Option<u64> {
    name.strip_prefix("ticket-")?.rsplit_once('-')?.1.parse().ok()
}

/// What [`HOLDER_LABEL`] says of a node: its name, or a hash where that is too long for a label.
pub fn label_of(node: &str) -> String {
    if node.len() <= LABEL_BYTES_MAX {
        return node.to_owned();
    }
    let digest = Sha256::digest(node.as_bytes());
    digest.iter().take(16).fold("node-".to_owned(), |mut label, byte| {
        let _ = write!(label, "{byte:02x}");
        label
    })
}

/// UID of the DaemonSet whose ticket this is; none where it is no ticket.
pub fn daemon_set(metadata: &ObjectMeta) -> Option<&str> {
    let is_ticket = metadata.labels.as_ref()?.get(KIND_LABEL).is_some_and(|kind| kind == KIND);
    let owner = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
    (is_ticket && owner.kind == "DaemonSet").then_some(owner.uid.as_str())
}

/// Who holds it.
pub fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_slot_and_labels_are_never_too_long() {
        assert_eq!(slot(&name("0b5c-77", 12)), Some(12));
        assert_eq!(slot("steward-00"), None);
        assert_eq!(label_of("rack7-n1"), "rack7-n1");
        let long = "n".repeat(200);
        assert!(label_of(&long).len() <= 63 && label_of(&long) != label_of(&"n".repeat(201)));
    }
}

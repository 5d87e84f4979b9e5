//! Names that volumes, claims and classes go by: upstream's annotations and finalizers, and those of volumes that are a
//! directory on a node.

/// Annotation of the class for claims that name none.
pub const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// The same, as it was once called; upstream still honours it.
pub const DEFAULT_CLASS_BETA: &str = "storageclass.beta.kubernetes.io/is-default-class";
/// Annotation by which claims and volumes named their class before there was a field.
pub const CLASS_BETA: &str = "volume.beta.kubernetes.io/storage-class";
/// Annotation of a claim whose binding is whole; what is missing of its volume since is lost.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Annotation of what a steward has bound, and may unbind.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// Annotation of a volume that was made for a claim: by whom.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Annotation of a claim that waits for a volume to be made: by whom.
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// Annotation of a claim: the node on which its first consumer is.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Finalizer of a claim while Pods may use it.
pub const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
/// Finalizer of a volume while it is bound.
pub const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";
/// Provisioner of classes whose volumes are never made for a claim.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// Provisioner of volumes that are a directory on the node that claims the first consumer.
pub const LOCAL_PROVISIONER: &str = "leasehold.dev/local";
/// The class of such volumes that every cluster has from the start.
pub const LOCAL_CLASS: &str = "local";
/// Annotation of a Node: below which directory it keeps such volumes. A node without it has none.
pub const VOLUMES_DIR: &str = "leasehold.dev/volumes-dir";
/// Finalizer of such a volume: its node has yet to let go of the directory.
pub const DIRECTORY: &str = "leasehold.dev/directory";
/// Label of such a volume: the node that has it, so that this node hears of its own.
pub const NODE_LABEL: &str = "leasehold.dev/node";

/// How a node's name is written in [`NODE_LABEL`]: as it is, or as its digest where it is too long for a label.
pub fn node_label(node: &str) -> String {
    use std::fmt::Write as _;

    use sha2::{Digest, Sha256};
    const LABEL_BYTES_MAX: usize = 63;
    if node.len() <= LABEL_BYTES_MAX {
        return node.to_owned();
    }
    Sha256::digest(node.as_bytes()).iter().take(20).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_name_is_too_long_for_a_label_is_known_by_its_digest() {
        assert_eq!(node_label("n1.example"), "n1.example");
        let long = "n".repeat(64);
        assert_eq!(node_label(&long).len(), 40);
        assert_ne!(node_label(&long), node_label(&"m".repeat(64)));
    }
}

//! Labels of a container in containerd, which name its run.

/// Runtime UID of its Pod.
pub(in crate::driver::agent) const POD_UID: &str = "io.kubernetes.pod.uid";
/// Name of its Pod.
pub(in crate::driver::agent) const POD_NAME: &str = "io.kubernetes.pod.name";
/// Namespace of its Pod.
pub(in crate::driver::agent) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Its name in the Pod.
pub(in crate::driver::agent) const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Which run of it this is.
pub(in crate::driver::agent) const ATTEMPT: &str = "leasehold.dev/attempt";
/// Image reference as in the Pod's spec.
pub(in crate::driver::agent) const IMAGE: &str = "leasehold.dev/image";
/// What `imageID` says.
pub(in crate::driver::agent) const IMAGE_ID: &str = "leasehold.dev/image-id";

//! Ephemeral containers: what people add to a running Pod to look into it. Each is run once, gates nothing, and is
//! restarted never.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};

/// The Pod with its ephemeral containers among the main ones, where everything that runs is found in one list. What
/// they are is still told by `spec.ephemeralContainers`.
pub fn with_ephemeral(pod: Arc<Pod>) -> Arc<Pod> {
    let ephemeral = listed(&pod);
    if ephemeral.is_empty() {
        return pod;
    }
    let added: Vec<Container> = ephemeral.iter().filter_map(as_container).collect();
    let mut whole = (*pod).clone();
    if let Some(spec) = &mut whole.spec {
        let known = |container: &Container| spec.containers.iter().any(|other| other.name == container.name);
        let added: Vec<Container> = added.into_iter().filter(|container| !known(container)).collect();
        spec.containers.extend(added);
    }
    Arc::new(whole)
}

/// They have the fields of other containers, and one more.
fn as_container(ephemeral: &EphemeralContainer) -> Option<Container> {
    serde_json::from_value(serde_json::to_value(ephemeral).ok()?).ok()
}

fn listed(pod: &Pod) -> &[EphemeralContainer] {
    pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_deref()).unwrap_or_default()
}

/// Whether a container was added to the running Pod.
pub(super) fn is_ephemeral(pod: &Pod, name: &str) -> bool {
    listed(pod).iter().any(|ephemeral| ephemeral.name == name)
}

/// The container whose processes an ephemeral one wants to see.
pub(super) fn target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let ephemeral = listed(pod).iter().find(|ephemeral| ephemeral.name == name)?;
    ephemeral.target_container_name.as_deref().filter(|target| !target.is_empty())
}

//! Which Pods are a DaemonSet's: those that name it as their controller, and those without a controller that its
//! selector matches, which it adopts. One whose labels have left the selector is released.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;

use super::{Action, DaemonSets, prototype};
use crate::api::hash::Stored;
use crate::api::selectors::Selector;

/// UID of the DaemonSet that controls a Pod; of a controller of another kind, its kind and UID, which is no DaemonSet's
/// UID. None: nobody controls it.
pub(super) fn controller(pod: &Pod) -> Option<String> {
    let owners = pod.metadata.owner_references.as_deref().unwrap_or_default();
    let controller = owners.iter().find(|owner| owner.controller == Some(true))?;
    if controller.kind == "DaemonSet" && controller.api_version.starts_with("apps/") {
        Some(controller.uid.clone())
    } else {
        Some(format!("{} {}", controller.kind, controller.uid))
    }
}

/// Whether what [`controller`] says is the UID of a DaemonSet.
pub(super) fn is_uid(owner: &str) -> bool {
    !owner.is_empty() && !owner.contains(' ')
}

/// The selector, unless it selects everything or cannot be read.
pub(super) fn selector(set: &Stored<DaemonSet>) -> Option<Selector> {
    let object = &set.object.spec.as_ref()?.selector;
    Selector::from_object(Some(object)).ok().filter(|selector| !selector.is_everything())
}

impl DaemonSets {
    /// Asks for the changes of owner references that the selector wants, each once.
    pub(super) fn reconcile_ownership(&mut self, owner: &str, actions: &mut Vec<Action>) {
        let Some(hosting) = self.sets.get(owner).filter(|hosting| hosting.untouchable().is_none()) else {
            return;
        };
        let pods = |owner: &str, wanted: bool| -> Vec<String> {
            let uids = self.owned.get(owner).into_iter().flatten();
            let staying = |pod: &&Arc<Pod>| pod.metadata.deletion_timestamp.is_none();
            uids.filter(|uid| !self.changing_hands.contains(*uid))
                .filter(|uid| {
                    self.pods.get(*uid).filter(staying).is_some_and(|pod| hosting.selects(pod) == wanted)
                })
                .cloned()
                .collect()
        };
        let (adopted, released) = (pods("", true), pods(owner, false));
        let reference = prototype::owner(&hosting.set);
        self.changing_hands.extend(adopted.iter().chain(&released).cloned());
        actions.extend(
            adopted.into_iter().map(|uid| Action::AdoptPod { uid, owner: Box::new(reference.clone()) }),
        );
        actions
            .extend(released.into_iter().map(|uid| Action::ReleasePod { uid, owner_uid: owner.to_owned() }));
    }
}

//! Taints of a node against tolerations of a Pod. `tolerationSeconds` is not looked at here: it says how long a
//! running Pod may stay, not whether one may come.

use k8s_openapi::api::core::v1::{Node, PodSpec, Taint, Toleration};

use crate::placement::Reason;

/// What a taint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// No new Pod comes.
    NoSchedule,
    /// New Pods rather go elsewhere: never a reason to stay away.
    PreferNoSchedule,
    /// No new Pod comes, and running ones leave.
    NoExecute,
}

impl Effect {
    /// As it stands in the API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}

/// Whether the toleration covers the taint. An absent effect covers every effect, an empty key with `Exists` every
/// key; the operator defaults to `Equal`. An operator that is not known covers nothing.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key, value) = (text(&toleration.effect), text(&toleration.key), text(&toleration.value));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match text(&toleration.operator).as_str() {
        "" | "Equal" => value == taint.value.clone().unwrap_or_default(),
        "Exists" => true,
        _ => false,
    }
}

/// The node's taints of these effects that no toleration covers.
pub fn untolerated(node: &Node, tolerations: &[Toleration], effects: &[Effect]) -> Vec<Reason> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    taints
        .iter()
        .filter(|taint| effects.iter().any(|effect| effect.name() == taint.effect))
        .filter(|taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint)))
        .map(|taint| Reason::UntoleratedTaint {
            key: taint.key.clone(),
            value: taint.value.clone().unwrap_or_default(),
            effect: taint.effect.clone(),
        })
        .collect()
}

/// How many taints of the node would rather have the Pod go elsewhere.
pub(super) fn shunned(spec: &PodSpec, node: &Node) -> usize {
    untolerated(node, spec.tolerations.as_deref().unwrap_or_default(), &[Effect::PreferNoSchedule]).len()
}

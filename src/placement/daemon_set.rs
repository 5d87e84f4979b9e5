//! Whether a node hosts a DaemonSet: upstream's two answers (should run, should keep running), with reasons, and the
//! tolerations that every DaemonSet Pod has beside its own.
//!
//! Room is not part of these answers: a Pod that does not fit is still *desired* here, as upstream counts it.

use k8s_openapi::api::core::v1::{Node, PodSpec, Toleration};

use crate::placement::{Effect, Reason, UNSCHEDULABLE_TAINT, affinity, untolerated, wrong_name};

/// Key and effect of the taints that every DaemonSet Pod tolerates.
const TOLERATED: [(&str, Effect); 6] = [
    ("node.kubernetes.io/not-ready", Effect::NoExecute),
    ("node.kubernetes.io/unreachable", Effect::NoExecute),
    ("node.kubernetes.io/disk-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/memory-pressure", Effect::NoSchedule),
    ("node.kubernetes.io/pid-pressure", Effect::NoSchedule),
    (UNSCHEDULABLE_TAINT, Effect::NoSchedule),
];

/// Tolerated besides by Pods on the host's network.
const TOLERATED_ON_HOST_NETWORK: (&str, Effect) =
    ("node.kubernetes.io/network-unavailable", Effect::NoSchedule);

/// What a node answers to a DaemonSet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why no Pod of it should come here; empty: one should.
    pub reasons: Vec<Reason>,
    /// Whether one that is already here may stay.
    pub may_stay: bool,
}

impl Verdict {
    /// Whether one should be here.
    pub fn should_run(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Judges the Pod template of a DaemonSet on a node. A cordon counts for nothing; a taint `NoSchedule` keeps new
/// Pods away and lets the present one stay; everything else ends it.
pub fn verdict(template: &PodSpec, node: &Node) -> Verdict {
    let mut reasons: Vec<Reason> =
        wrong_name(template, node).into_iter().chain(affinity::mismatch(template, node)).collect();
    let tolerations = tolerations(template);
    let evicting = untolerated(node, &tolerations, &[Effect::NoExecute]);
    let may_stay = reasons.is_empty() && evicting.is_empty();
    reasons.extend(evicting);
    reasons.extend(untolerated(node, &tolerations, &[Effect::NoSchedule]));
    Verdict { reasons, may_stay }
}

/// The template's tolerations and those that every DaemonSet Pod has.
pub fn tolerations(template: &PodSpec) -> Vec<Toleration> {
    let mut tolerations = template.tolerations.clone().unwrap_or_default();
    let host_network = template.host_network == Some(true);
    let added = TOLERATED.into_iter().chain(host_network.then_some(TOLERATED_ON_HOST_NETWORK));
    for (key, effect) in added {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.name().to_owned()),
            ..Default::default()
        };
        // One of the template's that differs only in its seconds gives way: the Pod stays for good.
        match tolerations.iter_mut().find(|own| same_taint(own, &toleration)) {
            Some(own) => *own = toleration,
            None => tolerations.push(toleration),
        }
    }
    tolerations
}

fn same_taint(a: &Toleration, b: &Toleration) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    [(&a.key, &b.key), (&a.effect, &b.effect), (&a.operator, &b.operator), (&a.value, &b.value)]
        .iter()
        .all(|(a, b)| text(a) == text(b))
}

//! Which Pods run under identities, and what their containers are told of it. PURE.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Pod;

use super::pod::Hold;
use crate::lease::fence::gate::Shut;
use crate::lease::fence::holder::Closed;
use crate::lease::fence::{FAILOVER_ANNOTATION, Failover};
use crate::lease::identity::holdings::Wanted;
use crate::lease::identity::name;
use crate::lease::session::SessionId;

/// The variable with the epoch: the fencing token.
pub const EPOCH_VARIABLE: &str = "LEASEHOLD_EPOCH";
/// The file with the epoch, in each container.
pub const EPOCH_FILE: &str = "/run/leasehold/epoch";

/// The identity of a Pod that must not run twice: one whose controller is a StatefulSet.
pub fn of(pod: &Pod) -> Option<String> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let of_set = owners.any(|owner| owner.controller == Some(true) && owner.kind == "StatefulSet");
    let (namespace, own) = (pod.metadata.namespace.as_deref()?, pod.metadata.name.as_deref()?);
    of_set.then(|| name(namespace, own))
}

/// What the Pod asks for that runs under this identity. `is_tied`: its volumes are on this node alone.
pub fn wanted(pod: &Pod, identity: String, is_tied: bool) -> Wanted {
    let annotations = pod.metadata.annotations.as_ref();
    let wish = annotations.and_then(|all| all.get(FAILOVER_ANNOTATION)).map(String::as_str);
    Wanted {
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        names: BTreeSet::from([identity.clone()]),
        identity,
        fenced: !is_tied && Failover::of_annotation(wish) != Failover::Never,
        may_run: false,
        has_run: false,
    }
}

/// Why no container may start, as the Pod says it. `node` is this one.
pub fn shut(why: &Shut, identity: &str, node: &str) -> Hold {
    let (reason, by_others) = match why {
        Shut::NoSession => ("NoSession", false),
        Shut::Unread => ("Unknown", false),
        Shut::HeldBy(holder) if holder.is_empty() => ("Free", false),
        Shut::HeldBy(holder) => {
            let own = holder.parse::<SessionId>().is_ok_and(|session| session.node == node);
            ("HeldElsewhere", !own)
        }
        Shut::HeldFor(_) => ("HeldForAnotherPod", true),
        Shut::Unarmed => ("Unguarded", false),
        Shut::Alive(_) => ("EarlierPodAlive", true),
    };
    Hold { reason, message: format!("{identity}: {why}"), by_others }
}

/// The same for what the fence says.
pub fn closed(why: Closed, identity: &str) -> Hold {
    let reason = match why {
        Closed::NoSession => "NoSession",
        Closed::Unguarded => "Unguarded",
        Closed::Fenced => "Fenced",
    };
    Hold { reason, message: format!("{identity}: {why}"), by_others: false }
}

/// Before anything is known.
pub fn unknown(identity: &str) -> Hold {
    shut(&Shut::Unread, identity, "")
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

    use super::*;

    fn pod(kind: &str, controller: bool, failover: Option<&str>) -> Pod {
        let owner = OwnerReference {
            kind: kind.to_owned(),
            controller: Some(controller),
            ..OwnerReference::default()
        };
        Pod {
            metadata: ObjectMeta {
                namespace: Some("default".to_owned()),
                name: Some("web-0".to_owned()),
                uid: Some("u".to_owned()),
                owner_references: Some(vec![owner]),
                annotations: failover.map(|wish| [(FAILOVER_ANNOTATION.to_owned(), wish.to_owned())].into()),
                ..ObjectMeta::default()
            },
            ..Pod::default()
        }
    }

    #[test]
    fn pods_of_stateful_sets_run_under_an_identity_and_are_fenced_unless_tied_or_left_to_people() {
        for (kind, controller, failover, tied, fenced) in [
            ("StatefulSet", true, None, false, Some(true)),
            ("StatefulSet", true, Some("reset"), false, Some(true)),
            ("StatefulSet", true, Some("never"), false, Some(false)),
            ("StatefulSet", true, Some("nver"), false, Some(false)),
            ("StatefulSet", true, None, true, Some(false)),
            ("StatefulSet", false, None, false, None),
            ("ReplicaSet", true, None, false, None),
            ("DaemonSet", true, None, true, None),
        ] {
            let pod = pod(kind, controller, failover);
            let found = of(&pod).map(|identity| wanted(&pod, identity, tied));
            assert_eq!(found.as_ref().map(|wanted| wanted.fenced), fenced, "{kind} {failover:?} {tied}");
            assert!(found.is_none_or(|wanted| wanted.identity == "default.web-0"));
        }
    }

    #[test]
    fn a_pod_says_who_holds_what_it_waits_for_and_only_others_are_worth_an_event() {
        let held = shut(&Shut::HeldBy("n2/u/3".to_owned()), "default.web-0", "n1");
        assert_eq!(held.message, "default.web-0: the identity is held by n2/u/3");
        assert!(held.by_others && !shut(&Shut::HeldBy("n1/u/3".to_owned()), "x", "n1").by_others);
        assert!(!shut(&Shut::HeldBy(String::new()), "x", "n1").by_others);
    }
}

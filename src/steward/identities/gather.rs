//! What a steward's view knows of one identity.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::witness::GOOD_FOR;
use super::{Asks, Case, Seat, is_tied, plan, revoked};
use crate::lease::identity::wire;
use crate::lease::wire as leases;
use crate::steward::action::{Action, Plan};
use crate::steward::nodes::Fate;
use crate::steward::object::{Object, id};
use crate::steward::stateful_set;
use crate::steward::table::Moment;
use crate::steward::view::View;
use crate::steward::view::lives::{has_identity, identity, node_of};
use crate::time::Instant;

/// What is to be done for a Lease; nothing for one that is no identity.
pub fn care_for(view: &mut View, uid: &str, moment: &Moment<'_>) -> Option<Plan> {
    let object = view.get(id("coordination.k8s.io", "Lease"), uid)?;
    let Some(lease) = identity(&object) else { return Some(Plan::default()) };
    let named = wire::pod(&lease).and_then(|(namespace, pod)| view.by_name(id("", "Pod"), namespace, pod));
    let named = named.filter(|pod| has_identity(pod));
    let held_for = view.get(id("", "Pod"), wire::pod_uid(&lease));
    let pod = held_for.or(named);
    let seat = seat(view, &lease, (uid, pod.as_deref()), moment.now);
    let is_in_doubt = matches!(seat, Seat::Doubtful { .. } | Seat::Left { .. });
    let tied = is_in_doubt && pod.as_ref().is_some_and(|pod| is_tied(pod, view));
    let told = view.lives.told.get(uid).cloned();
    let braked = view.is_braked();
    let case = Case { object: &object, lease, pod, tied, braked, seat, told: told.as_deref() };
    let (plan, kept) = plan(&case);
    let new = plan.waves.iter().flatten().find_map(|action| {
        let Action::TellOf { reason: "IdentityKept", message, .. } = action else { return None };
        Some(message.clone())
    });
    match (kept, new) {
        (Some(_), Some(message)) => drop(view.lives.told.insert(uid.to_owned(), message)),
        (Some(_), None) => {}
        (None, _) => drop(view.lives.told.remove(uid)),
    }
    Some(plan)
}

fn seat(view: &mut View, lease: &Lease, (uid, pod): (&str, Option<&Object>), now: Instant) -> Seat {
    if !leases::holder(lease).is_empty() {
        view.lives.no_longer("idle", uid);
        return taken(view, lease, now);
    }
    if let Some(pod) = pod {
        view.lives.no_longer("idle", uid);
        let Some(node) = node_of(pod).filter(|node| view.fate(node) != Fate::Fine) else {
            return Seat::Empty;
        };
        let (empty, fate) = (view.lives.witnesses.is_empty(node, now), view.fate(node));
        let asks = if empty == Some(true) { Asks::default() } else { ask(view, node, now) };
        return Seat::Left { node: node.to_owned(), empty, fate, asks };
    }
    let wanted = wire::pod(lease).is_none_or(|(namespace, pod)| {
        set_of(view, namespace, pod).is_some_and(|set| stateful_set::wants(&set, pod))
            || view.has_claims_of(namespace, pod)
    });
    if wanted || wire::is_recreated(lease) {
        view.lives.no_longer("idle", uid);
        return Seat::Empty;
    }
    Seat::Idle(view.lives.for_long("idle", uid, now))
}

fn taken(view: &mut View, lease: &Lease, now: Instant) -> Seat {
    let Some(session) = wire::session(lease) else { return Seat::Taken };
    let fate = view.fate(&session.node);
    if fate == Fate::Fine {
        return Seat::Taken;
    }
    let (standing, is_held) =
        (view.lives.witnesses.standing(&session, now), view.lives.witnesses.is_held(&session));
    let is_over = standing.is_some_and(|standing| standing != crate::lease::identity::Standing::Alive);
    let asks = if is_over { Asks::default() } else { ask(view, &session.node, now) };
    Seat::Doubtful { session, standing, is_held, fate, asks }
}

/// How more is found out about a node: one asks for all that is on it.
pub(in crate::steward) fn ask(view: &mut View, node: &str, now: Instant) -> Asks {
    let witnesses = &mut view.lives.witnesses;
    if witnesses.exists(node, now).is_some() {
        let actions = if witnesses.lacks_lease(node, now) { vec![revoked(node)] } else { Vec::new() };
        return Asks { actions, again: Some(GOOD_FOR) };
    }
    if witnesses.ask(node, now) {
        return Asks { actions: vec![Action::Witness(node.to_owned())], again: None };
    }
    Asks { actions: Vec::new(), again: Some(Duration::from_secs(2)) }
}

fn set_of(view: &View, namespace: &str, pod: &str) -> Option<std::sync::Arc<Object>> {
    view.by_name(id("apps", "StatefulSet"), namespace, pod.rsplit_once('-')?.0)
}

/// An identity goes with the StatefulSet of its Pod: in whose shard it is.
pub(in crate::steward) fn owner(view: &View, object: &Object) -> Option<OwnerReference> {
    let lease = identity(object)?;
    let (namespace, pod) = wire::pod(&lease)?;
    set_of(view, namespace, pod).map(|set| set.controls())
}

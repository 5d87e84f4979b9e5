//! The identities' other side: freed when the session that holds them is over and the fence was as strong as the workload
//! asks, or when people vouch for the node; after that the Pod it was held for is dead, and is removed. PURE.
//!
//! ```text
//!   held, node lost ──▶ ask how the session stands ──▶ free, or tell why not
//!   free, its Pod on a lost node ──▶ ask whether anybody holds the node's session ──▶ remove the Pod
//!   free, no Pod, no claims, not wanted, for a while ──▶ delete the Lease
//! ```
//!
//! The rules, each with the place that keeps it:
//! - A session is over only by a consistent read of its own Lease ([`witness`]), never because it was not heard of.
//! - Every write is a compare-and-swap on the version that was judged.
//! - People's word (the taint `node.kubernetes.io/out-of-service`) counts where the session is not seen to be held.
//! - While the brake is drawn nothing is freed and no Pod is removed, people's word apart.
//! - A Lease in place of one that was lost frees nothing: whoever takes it waits.
//! - A Lease stays as long as there are claims of its Pod: the epoch goes on with the data.

pub mod account;
mod gather;
mod tied;
pub mod witness;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

use super::action::{self, Action, Plan};
use super::nodes::Fate;
use super::object::{Object, id};
use crate::lease::fence::{FAILOVER_ANNOTATION, Failover};
use crate::lease::identity::{self, Kept, Standing, wire};
use crate::lease::session::SessionId;
use crate::lease::wire as leases;

pub use gather::care_for;
pub(super) use gather::{ask, owner};
pub use tied::is_tied;
pub use witness::{Witness, Witnesses};

/// How long nobody must have wanted an identity before its Lease is deleted: the watches of several kinds do not keep
/// step.
const IDLE: Duration = Duration::from_secs(30);

/// One identity, and all that it hangs on.
#[derive(Debug)]
pub struct Case<'a> {
    /// Its Lease.
    pub object: &'a Object,
    /// The same, typed.
    pub lease: Lease,
    /// The Pod that it is held for, or that has its name.
    pub pod: Option<Arc<Object>>,
    /// That Pod's volumes are on its node.
    pub tied: bool,
    /// The monitor's brake is drawn.
    pub braked: bool,
    /// How it stands.
    pub seat: Seat,
    /// Why it is kept, as was told last.
    pub told: Option<&'a str>,
}

/// Who sits in it.
#[derive(Clone, Debug)]
pub enum Seat {
    /// A session, of a node that is not called lost; or something that is no session.
    Taken,
    /// A session of a node that is lost or gone.
    Doubtful {
        /// It.
        session: SessionId,
        /// How it stands; none: that has to be read.
        standing: Option<Standing>,
        /// It is seen to be held.
        is_held: bool,
        /// How it stands with its node.
        fate: Fate,
        /// What has to be done to know more.
        asks: Asks,
    },
    /// Nobody, and its Pod is bound to a node that is lost or gone.
    Left {
        /// The node.
        node: String,
        /// Whether nobody holds that node's session; none: that has to be read.
        empty: Option<bool>,
        /// How it stands with the node.
        fate: Fate,
        /// What has to be done to know more.
        asks: Asks,
    },
    /// Nobody, and its Pod is not bound, or to a node that lives.
    Empty,
    /// Nobody, and there is no such Pod, nor claims of it, and no StatefulSet that wants it; for so long.
    Idle(Duration),
}

/// How more is found out about a node.
#[derive(Clone, Debug, Default)]
pub struct Asks {
    /// By these actions.
    pub actions: Vec<Action>,
    /// By thinking again after this.
    pub again: Option<Duration>,
}

impl Asks {
    fn plan(self, plan: &mut Plan) {
        plan.then(self.actions);
        if let Some(again) = self.again {
            plan.wake_after(again);
        }
    }
}

/// What is to be done, and why the identity is kept from whoever waits for it.
pub fn plan(case: &Case<'_>) -> (Plan, Option<Kept>) {
    let mut plan = Plan::default();
    let mut kept = None;
    match case.seat.clone() {
        Seat::Taken | Seat::Empty => {}
        Seat::Doubtful { session, standing, is_held, fate, asks } => {
            kept = doubtful(case, &session, (standing, is_held, fate), asks, &mut plan);
        }
        Seat::Left { node, empty, fate, asks } => left(case, &node, (empty, fate), asks, &mut plan),
        Seat::Idle(_) if case.object.is_ending() => plan.then(vec![release(case.object)]),
        Seat::Idle(since) if since >= IDLE => {
            let of = case.object.target();
            plan.then(vec![Action::Delete { of, propagation: None, told: None }]);
            plan.then(vec![release(case.object)]);
        }
        Seat::Idle(since) => plan.wake_after(IDLE.saturating_sub(since)),
    }
    (plan, kept)
}

fn doubtful(
    case: &Case<'_>,
    session: &SessionId,
    (standing, is_held, fate): (Option<Standing>, bool, Fate),
    asks: Asks,
    plan: &mut Plan,
) -> Option<Kept> {
    let out_of_service = fate.is_out_of_service() && standing.is_some() && !is_held;
    let judged = identity::Case {
        standing: standing.unwrap_or(Standing::Alive),
        wish: wish(case.pod.as_deref()),
        tied: case.tied,
        braked: case.braked,
        out_of_service,
    };
    match identity::free(&case.lease, judged) {
        Ok(freed) => {
            let why = match judged.standing {
                Standing::GivenBack => "was given back",
                Standing::Over => "is over",
                Standing::Alive => "is of a node that is out of service",
            };
            plan.then(vec![write(case, &freed)]);
            let message = format!("Session {session} {why}: another node may take the Pod's identity");
            plan.then(tell(case, false, "IdentityFreed", message));
            None
        }
        Err(Kept::Alive | Kept::Free) => {
            asks.plan(plan);
            None
        }
        Err(kept) => {
            let message = format!("The Pod's identity stays with session {session}: {kept}");
            if case.told != Some(message.as_str()) {
                plan.then(tell(case, true, "IdentityKept", message));
            }
            Some(kept)
        }
    }
}

/// The Pod of an identity that nobody holds, on a node whose session nobody holds, is dead.
fn left(case: &Case<'_>, node: &str, (empty, fate): (Option<bool>, Fate), asks: Asks, plan: &mut Plan) {
    let Some(pod) = &case.pod else { return };
    // What never ran there is not moved against its owner's will.
    let was_held = wire::pod_uid(&case.lease) == pod.uid();
    let stays = case.tied || wish(Some(pod)) == Failover::Never;
    let is_vouched_for = fate.is_out_of_service();
    if wire::is_recreated(&case.lease) || (stays && !was_held || case.braked) && !is_vouched_for {
        return;
    }
    if empty != Some(true) {
        return asks.plan(plan);
    }
    plan.then(vec![Action::Remove(pod.target())]);
    let message = format!(
        "Pod {}/{} is dead: nobody holds its identity, and node {node} is lost",
        pod.namespace(),
        pod.name()
    );
    plan.then(tell(case, false, "DeadPodRemoved", message));
}

/// What a Pod asks of a fence.
pub fn wish(pod: Option<&Object>) -> Failover {
    Failover::of_annotation(pod.and_then(|pod| pod.annotation(FAILOVER_ANNOTATION)))
}

/// The Lease as it is to be, by compare-and-swap.
fn write(case: &Case<'_>, lease: &Lease) -> Action {
    let old = serde_json::to_value(&case.lease).unwrap_or_default();
    let new = serde_json::to_value(lease).unwrap_or_default();
    let change = action::change(&old, &new).unwrap_or_else(|| json!({}));
    Action::Patch { of: case.object.target(), part: "", change, told: None }
}

fn release(object: &Object) -> Action {
    let kept: Vec<&String> =
        object.meta.finalizers.iter().flatten().filter(|have| *have != wire::FINALIZER).collect();
    let kept = if kept.is_empty() { Value::Null } else { json!(kept) };
    action::metadata(object, &json!({ "finalizers": kept }))
}

fn tell(case: &Case<'_>, warning: bool, reason: &'static str, message: String) -> Vec<Action> {
    let of = case.pod.as_ref().map(|pod| pod.target());
    of.map(|of| Action::TellOf { of, warning, reason, message }).into_iter().collect()
}

/// The Lease of a node's session in place of one that is not there: it may be held, and nobody is to believe in it later.
pub(super) fn revoked(node: &str) -> Action {
    let duration = crate::lease::timings::SessionTimings::default().duration;
    let object = serde_json::to_value(leases::revoked(node, duration)).unwrap_or_default();
    Action::Create { kind: id("coordination.k8s.io", "Lease"), object, told: None }
}

#[cfg(test)]
mod tests;

//! What the agent does so that nothing with an identity runs without it or outlives the session: performs what the
//! machines of `lease::identity::holdings` and `lease::fence::holder` want, and keeps a guard.
//!
//! One task owns both machines. What one finds out the other is told: that the guard has acknowledged a Pod, that its
//! identity is held, or is not any more. A Pod's own machine is told whether its containers may start.

mod identities;
mod keeper;
mod leases;
mod link;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{OwnedRwLockReadGuard, mpsc, oneshot};
use tokio::time::timeout;

pub(super) use keeper::{Keeper, Means};

use crate::agent::identity;
use crate::driver::watches::Seen;
use crate::lease::fence::holder::Input;
use crate::lease::identity::holdings::{self, Wanted};
use crate::lease::session::SessionId;
use crate::time::Instant;

/// How long a start waits at the door; its Pod is told when the door opens.
const OPENING: Duration = Duration::from_secs(3);
/// How long the guard may take to let go of a Pod before its removal is tried again.
const RELEASE: Duration = Duration::from_secs(5);
/// Kubernetes' default of `terminationGracePeriodSeconds`.
const GRACE_SECONDS: i64 = 30;

/// Lets one container of a Pod with an identity start.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The epoch of its identity.
    pub(super) epoch: i32,
    /// Held until the start is over: meanwhile the Pod's cgroup is not thawed.
    _permit: OwnedRwLockReadGuard<()>,
}

/// What the keeper hears.
#[derive(Debug)]
enum Order {
    /// The fence's machine is told.
    Hear(Input),
    /// That of the identities is.
    Identity(holdings::Input),
    /// A Pod with an identity is here.
    Wanted(Wanted, Duration),
    /// What the session is now.
    Session(Option<(SessionId, Instant)>),
    /// A write of an identity's Lease was accepted, or not: whose claim, its number, the highest version before.
    Wrote(holdings::Input, u64),
    /// The list of this number is whole, and the store is looked at.
    Sure(u64),
    /// Everything is to be fenced.
    FenceAll(oneshot::Sender<()>),
    /// A Pod's cgroup is about to be removed.
    Release(String, oneshot::Sender<()>),
    /// A container of this Pod is about to start. It needs an identity where this says so, or where it has had one.
    Admit(String, bool, oneshot::Sender<Option<Admitted>>),
    /// Why not.
    Why(String, oneshot::Sender<Option<String>>),
}

/// A handle on the keeper.
#[derive(Clone, Debug)]
pub(super) struct Fencing {
    orders: mpsc::UnboundedSender<Order>,
}

impl Fencing {
    /// A Pod with an identity is hosted here.
    pub(super) fn wanted(&self, pod: &Pod, wanted: Wanted) {
        let spec = pod.spec.as_ref();
        let grace = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(GRACE_SECONDS);
        let grace = Duration::from_secs(grace.max(0).unsigned_abs());
        self.send(Order::Wanted(wanted, grace));
    }

    /// Containers of a Pod that is not hosted here were found.
    pub(super) fn found(&self, namespace: &str, name: &str, uid: &str) {
        let identity = crate::lease::identity::name(namespace, name);
        self.send(Order::Identity(holdings::Input::Found { identity, uid: uid.to_owned() }));
    }

    /// What earlier agents have left is known, or removed.
    pub(super) fn settled(&self) {
        self.send(Order::Identity(holdings::Input::Settled));
    }

    /// The session is held until then, or not held.
    pub(super) fn session(&self, session: Option<(SessionId, Instant)>) {
        self.send(Order::Session(session));
    }

    /// Stops whatever must not outlive the session; returns when it is seen dead.
    pub(super) async fn fence_all(&self) {
        let (done, fenced) = oneshot::channel();
        self.send(Order::FenceAll(done));
        if fenced.await.is_err() {
            // The agent ends; nothing may be concluded.
            std::future::pending::<()>().await;
        }
    }

    /// Waits a while until a container of this Pod may start. None for a Pod that runs under no identity: one that was
    /// released by its StatefulSet does so to its end.
    pub(super) async fn admit(&self, pod: &Pod) -> Result<Option<Admitted>, String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let (answer, admitted) = oneshot::channel();
        self.send(Order::Admit(uid.clone(), identity::of(pod).is_some(), answer));
        match timeout(OPENING, admitted).await {
            Ok(Ok(admitted)) => Ok(admitted),
            Ok(Err(_)) => Err("the agent stops".to_owned()),
            Err(_) => {
                Err(self.why_not(&uid).await.unwrap_or_else(|| "a start of it is under way".to_owned()))
            }
        }
    }

    /// Why no container of this Pod may start now, if so.
    pub(super) async fn why_not(&self, uid: &str) -> Option<String> {
        let (answer, why) = oneshot::channel();
        self.send(Order::Why(uid.to_owned(), answer));
        why.await.unwrap_or_else(|_| Some("the agent stops".to_owned()))
    }

    /// Has the guard forget a Pod whose containers are gone, before its cgroup is removed, and gives its identities back.
    pub(super) async fn release(&self, uid: &str) -> Result<(), String> {
        let (answer, released) = oneshot::channel();
        self.send(Order::Release(uid.to_owned(), answer));
        match timeout(RELEASE, released).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err("the guard has not let go of the Pod yet".to_owned()),
        }
    }

    fn send(&self, order: Order) {
        // The keeper lives as long as the agent.
        let _ = self.orders.send(order);
    }
}

/// Starts a keeper.
pub(super) fn start(means: Means) -> Fencing {
    let (orders, heard) = mpsc::unbounded_channel();
    let own: mpsc::Receiver<Seen<Lease>> = leases::watch_own(&means);
    let keeper = Keeper::new(means, Arc::new(orders.clone()));
    tokio::spawn(keeper.run(heard, own));
    Fencing { orders }
}

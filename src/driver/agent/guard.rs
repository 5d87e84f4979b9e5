//! What the agent does so that nothing with an identity outlives the session: performs what the machine of
//! `lease::fence::holder` wants, and keeps a guard.
//!
//! Until identities are claimed, a Pod of a StatefulSet that is bound here counts as one with an identity.

mod keeper;
mod link;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{OwnedRwLockReadGuard, mpsc, oneshot};
use tokio::time::timeout;

pub(super) use keeper::{Keeper, Means};

use crate::lease::fence::holder::Input;
use crate::lease::session::SessionId;
use crate::time::Instant;

/// How long a start waits for the Pod to be opened before it says why it cannot.
const OPENING: Duration = Duration::from_secs(3);
/// How long the guard may take to let go of a Pod before its removal is tried again.
const RELEASE: Duration = Duration::from_secs(5);
/// Kubernetes' default of `terminationGracePeriodSeconds`.
const GRACE_SECONDS: i64 = 30;

/// Held by a start that is under way: meanwhile the Pod's cgroup is not thawed.
pub(super) type Permit = Option<OwnedRwLockReadGuard<()>>;

/// What the keeper hears.
#[derive(Debug)]
enum Order {
    /// The machine is told.
    Hear(Input),
    /// Everything is to be fenced.
    FenceAll(oneshot::Sender<()>),
    /// A Pod's cgroup is about to be removed.
    Release(String, oneshot::Sender<()>),
    /// A container of this Pod is about to start.
    Admit(String, oneshot::Sender<Permit>),
    /// Why not.
    Why(String, oneshot::Sender<String>),
}

/// A handle on the keeper.
#[derive(Clone, Debug)]
pub(super) struct Fencing {
    orders: mpsc::UnboundedSender<Order>,
}

impl Fencing {
    /// A Pod is hosted here. One with an identity is guarded before anything of it starts.
    pub(super) fn wanted(&self, pod: &Pod) {
        if !has_identity(pod) {
            return;
        }
        let spec = pod.spec.as_ref();
        let grace = spec.and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(GRACE_SECONDS);
        let grace = Duration::from_secs(grace.max(0).unsigned_abs());
        self.hear(Input::Wanted { uid: pod.metadata.uid.clone().unwrap_or_default(), grace });
    }

    /// The session is held until then, or not held.
    pub(super) fn session(&self, session: Option<(SessionId, Instant)>) {
        self.hear(Input::Session(session));
    }

    /// Stops whatever must not outlive the session; returns when it is seen dead.
    pub(super) async fn fence_all(&self) {
        let (done, fenced) = oneshot::channel();
        let _ = self.orders.send(Order::FenceAll(done));
        if fenced.await.is_err() {
            // The agent ends; nothing may be concluded.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until containers of this Pod may start; the permit is kept until the start is over.
    pub(super) async fn admit(&self, pod: &Pod) -> Result<Permit, String> {
        if !has_identity(pod) {
            return Ok(None);
        }
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let (answer, admitted) = oneshot::channel();
        let _ = self.orders.send(Order::Admit(uid.clone(), answer));
        match timeout(OPENING, admitted).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err("the agent stops".to_owned()),
            Err(_) => {
                let (answer, why) = oneshot::channel();
                let _ = self.orders.send(Order::Why(uid, answer));
                Err(why.await.unwrap_or_else(|_| "the agent stops".to_owned()))
            }
        }
    }

    /// Has the guard forget a Pod whose containers are gone, before its cgroup is removed.
    pub(super) async fn release(&self, uid: &str) -> Result<(), String> {
        let (answer, released) = oneshot::channel();
        let _ = self.orders.send(Order::Release(uid.to_owned(), answer));
        match timeout(RELEASE, released).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err("the guard has not let go of the Pod yet".to_owned()),
        }
    }

    fn hear(&self, input: Input) {
        // The keeper lives as long as the agent.
        let _ = self.orders.send(Order::Hear(input));
    }
}

/// Starts a keeper.
pub(super) fn start(means: Means) -> Fencing {
    let (orders, heard) = mpsc::unbounded_channel();
    let keeper = Keeper::new(means, Arc::new(orders.clone()));
    tokio::spawn(keeper.run(heard));
    Fencing { orders }
}

fn has_identity(pod: &Pod) -> bool {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    let of_set = owners.any(|owner| owner.controller == Some(true) && owner.kind == "StatefulSet");
    of_set && pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())
}

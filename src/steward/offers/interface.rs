//! What is to be written about a Pod, and how that ended.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodCondition};

/// A write of a Pod's status, for its resourceVersion as it is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The Pod.
    pub pod: Arc<Pod>,
    /// Whom it is offered to.
    pub nomination: Nomination,
    /// Replaces its condition `PodScheduled`, and is worth an Event.
    pub condition: Option<PodCondition>,
}

/// What becomes of `status.nominatedNodeName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    /// It is offered to nobody, and stays so.
    Keep,
    /// The offer is taken back.
    Clear,
    /// It is offered to this node.
    To(String),
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It was done; the Pod as it is now.
    Done(Arc<Pod>),
    /// The Pod is another one by now: the watch has news, or will.
    Conflict,
    /// Nobody knows whether it was done.
    Failed,
}

//! What probes and hooks have found of a run. It is durable: the agent's restart flips nothing.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Container;
use serde::{Deserialize, Serialize};

use super::interface::HookKind;
use super::probe::ProbeKind;
use super::record::ContainerRecord;
use super::spec::{self, Role};
use crate::time::Instant;

/// What is known of a run's health.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Health {
    found: BTreeSet<Finding>,
    /// It must end.
    pub(super) doom: Option<Doom>,
}

/// Something that holds of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Finding {
    /// Its postStart hook has done its work.
    Greeted,
    /// Its startup probe has succeeded.
    Started,
    /// Its readiness probe says that it is ready.
    Ready,
    /// Its preStop hook has ended, well or not.
    Warned,
}

/// A run that must end for what was found of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Doom {
    pub(super) why: Why,
    /// When its grace is over.
    pub(super) kill_at: Instant,
}

/// What condemns a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    /// Its startup probe.
    Startup,
    /// Its liveness probe.
    Liveness,
    /// Its postStart hook failed.
    PostStart,
}

impl Health {
    /// Of a run that nobody has asked anything.
    pub(super) fn unasked() -> Self {
        Self::of_status(true, true)
    }

    /// What the object says of a run that this node has no record of. One that shows as running has been greeted.
    pub(super) fn of_status(started: bool, ready: bool) -> Self {
        let mut health = Self::default();
        health.set(Finding::Greeted, true);
        health.set(Finding::Started, started);
        health.set(Finding::Ready, ready);
        health
    }

    /// Whether it holds.
    pub(super) fn has(&self, finding: Finding) -> bool {
        self.found.contains(&finding)
    }

    /// It holds, or does not any more.
    pub(super) fn set(&mut self, finding: Finding, holds: bool) {
        if holds {
            self.found.insert(finding);
        } else {
            self.found.remove(&finding);
        }
    }
}

/// Whether a container runs and its postStart hook has done its work.
pub(super) fn is_up(role: Role, container: &Container, known: &ContainerRecord) -> bool {
    let hooked = spec::hook(role, container, HookKind::PostStart).is_some();
    known.running().is_some_and(|run| !hooked || run.health.has(Finding::Greeted))
}

/// Whether a container is up and its startup probe, if it has one, has succeeded.
pub(super) fn has_started(role: Role, container: &Container, known: &ContainerRecord) -> bool {
    let probed = spec::probe(role, container, ProbeKind::Startup).is_some();
    is_up(role, container, known)
        && known.running().is_some_and(|run| !probed || run.health.has(Finding::Started))
}

/// Whether a container has started and its readiness probe, if it has one, says that it is ready.
pub(super) fn is_ready(role: Role, container: &Container, known: &ContainerRecord) -> bool {
    let probed = spec::probe(role, container, ProbeKind::Readiness).is_some();
    has_started(role, container, known)
        && known.running().is_some_and(|run| !probed || run.health.has(Finding::Ready))
}

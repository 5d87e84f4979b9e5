//! Who may replace its Pod: the tickets of a DaemonSet's rollout.
//!
//! - There are as many tickets as Pods may be unavailable (or, where a second Pod comes first, as it may have more):
//!   `maxUnavailable` or `maxSurge`, a percentage of the eligible nodes.
//! - A node whose Pod is of the newest revision, not ready, and without a ticket, takes up one as well: a release that goes
//!   bad after its ticket was given back stops the rollout too.
//! - A node that is down gets none; one that goes down while it holds one keeps it.
//! - Pods that are of no use go first, then by the nodes' names.
//! - A ticket is taken back from nodes that are gone or none of the DaemonSet's any more, and from all where the
//!   DaemonSet is updated by hand.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::Tally;
use crate::lease::ticket;
use crate::steward::action::{Action, Told};
use crate::steward::children::{self, Rounding};
use crate::steward::object::{Object, id};

/// How many tickets there are: none where people replace the Pods by hand. A surge stands in place of `maxUnavailable`.
pub fn budget(set: &Object, eligible: i64) -> i64 {
    if set.text("/spec/updateStrategy/type") == "OnDelete" {
        return 0;
    }
    let rolling = &set["spec"]["updateStrategy"]["rollingUpdate"];
    let told = |field: &str| children::scaled(&rolling[field], eligible, Rounding::Up).unwrap_or_default();
    let surge = told("maxSurge");
    if surge > 0 {
        return surge;
    }
    let unavailable = if rolling["maxUnavailable"].is_null() { 1 } else { told("maxUnavailable") };
    unavailable.max(1)
}

fn holder(ticket: &Object) -> &str {
    ticket.text("/spec/holderIdentity")
}

/// Takes tickets back and issues new ones.
pub(super) fn tickets(set: &Object, tally: &Tally, leases: &[Arc<Object>]) -> Vec<Action> {
    let mut tickets: Vec<(u64, &Arc<Object>)> = leases
        .iter()
        .filter(|lease| ticket::daemon_set(&lease.meta).is_some() && !lease.is_ending())
        .filter_map(|lease| Some((ticket::slot(lease.name())?, lease)))
        .collect();
    tickets.sort_by_key(|(slot, _)| *slot);
    let budget = budget(set, tally.desired());
    let (mut actions, mut slots, mut holders) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for (slot, ticket) in tickets {
        if budget > 0 && tally.is_eligible(holder(ticket)) && holders.insert(holder(ticket)) {
            slots.insert(slot);
        } else {
            actions.push(Action::Delete { of: ticket.target(), propagation: None, told: None });
        }
    }
    let broken = tally.unready().filter(|node| !holders.contains(node)).count();
    let free = usize::try_from(budget).unwrap_or_default().saturating_sub(slots.len() + broken);
    let asked = tally.outdated().filter(|node| !holders.contains(node)).take(free);
    let free_slots = (0..).filter(|slot| !slots.contains(slot));
    actions.extend(asked.zip(free_slots).map(|(node, slot)| issue(set, node, slot)));
    actions
}

fn issue(set: &Object, node: &str, slot: u64) -> Action {
    let object = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": ticket::name(set.uid(), slot),
            "namespace": set.namespace(),
            "labels": { ticket::KIND_LABEL: ticket::KIND, ticket::HOLDER_LABEL: ticket::label_of(node) },
            "ownerReferences": [set.controls()],
        },
        "spec": { "holderIdentity": node },
    });
    let told = Told {
        success: "",
        message: String::new(),
        failure: "FailedCreate",
        prefix: "Error issuing a ticket: ".into(),
    };
    Action::Create { kind: id("coordination.k8s.io", "Lease"), object, told: Some(told) }
}

/// One node's part of a rollout, for people.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// Whether its agent lives.
    pub is_up: bool,
    /// Whether its Pod is of the newest revision.
    pub is_current: bool,
    /// Whether it holds a ticket.
    pub has_ticket: bool,
    /// Who holds tickets, of how many there are.
    pub holders: &'a [String],
    /// How many there are; none where Pods are replaced by hand.
    pub budget: i64,
}

impl Standing<'_> {
    /// Why the node's Pod is not of the newest revision yet, or what is still to come; none where there is nothing to
    /// say.
    pub fn sentence(&self) -> Option<String> {
        match (self.is_current, self.has_ticket) {
            (true, false) => None,
            (true, true) => Some("holds a ticket until its new Pod is available".into()),
            (false, true) if self.is_up => Some("replaces its Pod: it holds a ticket".into()),
            (false, true) => Some("is down, and keeps the ticket that it held".into()),
            (false, false) if self.budget == 0 => {
                Some("keeps its Pod until somebody deletes it (OnDelete)".into())
            }
            (false, false) if !self.is_up => {
                Some("is down: it takes no ticket, and the rollout does not wait for it".into())
            }
            (false, false) => Some(self.waiting()),
        }
    }

    fn waiting(&self) -> String {
        if self.holders.is_empty() {
            return "waits for a ticket".into();
        }
        let (out, all) = (self.holders.len(), self.budget);
        format!("waits for a ticket: {out} of {all} held by {}", self.holders.join(", "))
    }
}

//! The tickets that this node holds: at most one for each DaemonSet. They survive edits, so that the newest revision comes
//! under the ticket that is there, and the coordinator's absence.

use k8s_openapi::api::coordination::v1::Lease;

use super::{DaemonSets, Ticket};
use crate::lease::ticket;

impl DaemonSets {
    /// A ticket of this node, new or changed.
    pub fn ticket_changed(&mut self, lease: &Lease) {
        let Some(set) = ticket::daemon_set(&lease.metadata) else { return };
        if ticket::holder(lease) != self.node_name || lease.metadata.deletion_timestamp.is_some() {
            return self.ticket_gone(lease.metadata.uid.as_deref().unwrap_or_default());
        }
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        let metadata = &lease.metadata;
        let held = Ticket {
            namespace: text(&metadata.namespace),
            name: text(&metadata.name),
            uid: text(&metadata.uid),
        };
        self.tickets.insert(set.to_owned(), held);
        self.dirty.insert(set.to_owned());
    }

    /// A ticket is this node's no more.
    pub fn ticket_gone(&mut self, uid: &str) {
        self.returning.remove(uid);
        let sets = self.tickets.iter().filter(|(_, ticket)| ticket.uid == uid);
        let sets: Vec<String> = sets.map(|(set, _)| set.clone()).collect();
        for set in sets {
            self.tickets.remove(&set);
            self.dirty.insert(set);
        }
    }

    /// UIDs of the tickets that this node holds.
    pub fn tickets(&self) -> Vec<String> {
        self.tickets.values().map(|ticket| ticket.uid.clone()).collect()
    }
}

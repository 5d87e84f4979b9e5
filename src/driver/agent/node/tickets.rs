//! The tickets that this node holds, as the coordinator says, and giving them back.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};

use super::NodeLoop;
use crate::agent::daemon_set::Ticket;
use crate::driver::watches::Seen;

/// Pause before a ticket is given back again that the coordinator could not take.
const RETRY: Duration = Duration::from_secs(1);

/// A list of tickets in progress.
#[derive(Debug, Default)]
pub(super) struct TicketList {
    seen: Option<BTreeSet<String>>,
}

impl NodeLoop {
    pub(super) fn hear_tickets(&mut self, seen: Seen<Lease>) {
        match seen {
            Seen::Restarted => self.ticket_list.seen = Some(BTreeSet::new()),
            Seen::Listed(lease) | Seen::Applied(lease) => {
                if let Some(seen) = &mut self.ticket_list.seen {
                    seen.insert(lease.metadata.uid.clone().unwrap_or_default());
                }
                self.daemon_sets.ticket_changed(&lease);
            }
            Seen::Deleted(lease) => {
                self.daemon_sets.ticket_gone(lease.metadata.uid.as_deref().unwrap_or_default());
            }
            Seen::Complete => {
                let seen = self.ticket_list.seen.take().unwrap_or_default();
                for uid in self.daemon_sets.tickets().iter().filter(|uid| !seen.contains(*uid)) {
                    self.daemon_sets.ticket_gone(uid);
                }
            }
            Seen::Lost(why) => tracing::debug!(why, "tickets cannot be watched"),
        }
    }

    /// Deletes the Lease; that it is gone the watch says.
    pub(super) fn give_back(&self, ticket: Ticket) {
        let api: Api<Lease> = Api::namespaced(self.hands.client.clone(), &ticket.namespace);
        tokio::spawn(async move {
            let preconditions = Preconditions { uid: Some(ticket.uid), resource_version: None };
            let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            loop {
                match api.delete(&ticket.name, &params).await {
                    Ok(_) => return tracing::info!(ticket = ticket.name, "gave a ticket back"),
                    // It is gone, or another node's by now.
                    Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return,
                    Err(error) => {
                        tracing::warn!(%error, ticket = ticket.name, "a ticket could not be given back");
                        tokio::time::sleep(RETRY).await;
                    }
                }
            }
        });
    }
}

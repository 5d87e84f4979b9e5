//! Which containers' logs are still being written, for those who follow them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::logs;

/// Logs by container id; a log that is not here is complete.
#[derive(Debug, Default)]
pub(super) struct OpenLogs(Mutex<BTreeMap<String, watch::Sender<bool>>>);

impl OpenLogs {
    /// The log process writes this container's output.
    pub(super) fn opened(&self, id: &str) {
        self.logs().entry(id.to_owned()).or_insert_with(|| watch::channel(true).0);
    }

    /// True as long as more may come.
    pub(super) fn writing(&self, id: &str) -> watch::Receiver<bool> {
        self.logs().get(id).map_or_else(|| watch::channel(false).1, watch::Sender::subscribe)
    }

    /// Has the log process write what is left and close the log.
    pub(super) async fn close(&self, process: &logs::Client, id: &str) {
        if let Err(error) = process.close(id).await {
            tracing::warn!(%error, id, "a container's log was not closed");
        }
        if let Some(writing) = self.logs().remove(id) {
            writing.send_replace(false);
        }
    }

    fn logs(&self) -> MutexGuard<'_, BTreeMap<String, watch::Sender<bool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

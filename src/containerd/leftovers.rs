//! What processes of this program that are no more have left in containerd.

use std::collections::BTreeSet;

use containerd_client::services::v1::snapshots::{Info, Kind, ListSnapshotsRequest, RemoveSnapshotRequest};
use containerd_client::services::v1::{DeleteRequest, ListRequest};

use super::error::absent_is_fine;
use super::images::{LEASE_PREFIX, OWNER, UNPACK_PREFIX};
use super::{Runtime, RuntimeError, SNAPSHOTTER, owner};

impl Runtime {
    /// Removes snapshots that belong to no container, and leases whose process is gone, with all that only they kept.
    /// Containers are not touched: to whom they belong says [`Runtime::list`].
    pub async fn remove_leftovers(&self) -> Result<(), RuntimeError> {
        // Snapshots are listed first: the record of a container stands before its snapshot.
        let snapshots = self.active_snapshots().await?;
        let owned: BTreeSet<String> =
            self.records().await?.into_iter().map(|container| container.snapshot_key).collect();
        for snapshot in snapshots {
            // What is being unpacked is kept by a lease, and goes with it.
            if !owned.contains(&snapshot.name) && !snapshot.name.starts_with(UNPACK_PREFIX) {
                tracing::info!(snapshot = snapshot.name, "a snapshot without a container is removed");
                self.remove_snapshot(&snapshot.name).await?;
            }
        }
        self.remove_dead_leases().await
    }

    async fn active_snapshots(&self) -> Result<Vec<Info>, RuntimeError> {
        let request = ListSnapshotsRequest { snapshotter: SNAPSHOTTER.into(), filters: Vec::new() };
        let mut stream =
            self.connection().snapshots().list(self.connection().request(request)).await?.into_inner();
        let mut found = Vec::new();
        while let Some(message) = stream.message().await? {
            found.extend(message.info.into_iter().filter(|info| info.kind() != Kind::Committed));
        }
        Ok(found)
    }

    /// Removes a root filesystem. One that is gone is no error.
    pub(super) async fn remove_snapshot(&self, name: &str) -> Result<(), RuntimeError> {
        let request = RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: name.into() };
        let answer = self.connection().snapshots().remove(self.connection().request(request)).await;
        absent_is_fine(answer.map(drop).map_err(RuntimeError::from))
    }

    async fn remove_dead_leases(&self) -> Result<(), RuntimeError> {
        let request = self.connection().request(ListRequest::default());
        let leases = self.connection().leases().list(request).await?.into_inner().leases;
        for lease in leases.into_iter().filter(|lease| lease.id.starts_with(LEASE_PREFIX)) {
            if lease.labels.get(OWNER).is_some_and(|name| owner::is_alive(name)) {
                continue;
            }
            tracing::info!(lease = lease.id, "a lease without a process is removed");
            let request = self.connection().request(DeleteRequest { id: lease.id, sync: true });
            absent_is_fine(
                self.connection().leases().delete(request).await.map(drop).map_err(RuntimeError::from),
            )?;
        }
        Ok(())
    }
}

//! Layers into snapshots.

use std::sync::atomic::{AtomicU32, Ordering};

use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};

use super::content::ImageLease;
use super::layout::{ConfigFile, Descriptor, Manifest, chain_ids};
use crate::containerd::error::absent_is_fine;
use crate::containerd::{Runtime, RuntimeError, SNAPSHOTTER};

/// Begins the names of snapshots that a layer is being unpacked into.
pub(in crate::containerd) const UNPACK_PREFIX: &str = "leasehold-unpack-";

impl Runtime {
    /// Whether an image's root filesystem is there.
    pub(super) async fn is_unpacked(&self, chain_id: &str) -> Result<bool, RuntimeError> {
        if chain_id.is_empty() {
            return Ok(true);
        }
        let request = StatSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key: chain_id.into() };
        let answer = self.connection().snapshots().stat(self.connection().request(request)).await;
        Ok(absent_is_fine(answer.map(|_| Some(())).map_err(RuntimeError::from))?.is_some())
    }

    /// Makes the snapshots of all layers that are not there; `told` hears of each layer done.
    pub(super) async fn unpack(
        &self,
        lease: &ImageLease,
        manifest: &Manifest,
        config: &ConfigFile,
        told: &(dyn Fn(usize) + Send + Sync),
    ) -> Result<(), RuntimeError> {
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let counts = (manifest.layers.len(), diff_ids.len());
            let message = format!("the manifest names {} layers, the config {} diff ids", counts.0, counts.1);
            return Err(RuntimeError::Corrupt(message));
        }
        let mut parent = String::new();
        for (i, chain_id) in chain_ids(diff_ids).into_iter().enumerate() {
            if !self.is_unpacked(&chain_id).await? {
                self.unpack_layer(lease, &manifest.layers[i], &diff_ids[i], &parent, &chain_id).await?;
            }
            told(i);
            parent = chain_id;
        }
        Ok(())
    }

    /// Unpacks under a name of its own, so that two at work on one layer do not meet; the second commit is no news.
    async fn unpack_layer(
        &self,
        lease: &ImageLease,
        layer: &Descriptor,
        diff_id: &str,
        parent: &str,
        chain_id: &str,
    ) -> Result<(), RuntimeError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let turn = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let key = format!("{UNPACK_PREFIX}{}-{}-{chain_id}", turn.0, turn.1);
        let done = self.unpack_into(lease, layer, diff_id, parent, &key).await;
        let committed = match done {
            Ok(()) => self.commit_snapshot(lease, &key, chain_id).await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(()) => Ok(()),
            Err(error) => {
                let request = RemoveSnapshotRequest { snapshotter: SNAPSHOTTER.into(), key };
                let _ = self.connection().snapshots().remove(self.connection().request(request)).await;
                if matches!(error, RuntimeError::AlreadyExists(_)) { Ok(()) } else { Err(error) }
            }
        }
    }

    async fn unpack_into(
        &self,
        lease: &ImageLease,
        layer: &Descriptor,
        diff_id: &str,
        parent: &str,
        key: &str,
    ) -> Result<(), RuntimeError> {
        let prepare = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: key.into(),
            parent: parent.into(),
            ..PrepareSnapshotRequest::default()
        };
        let prepared = self.connection().snapshots().prepare(self.leased(lease, prepare)).await?;
        let apply = ApplyRequest {
            diff: Some(layer.to_containerd()),
            mounts: prepared.into_inner().mounts,
            ..ApplyRequest::default()
        };
        let applied = self.connection().diff().apply(self.leased_patiently(lease, apply)).await?;
        let digest = applied.into_inner().applied.unwrap_or_default().digest;
        if digest != diff_id {
            let message = format!("layer {} unpacks to {digest}, the config says {diff_id}", layer.digest);
            return Err(RuntimeError::Corrupt(message));
        }
        Ok(())
    }

    async fn commit_snapshot(&self, lease: &ImageLease, key: &str, name: &str) -> Result<(), RuntimeError> {
        let request = CommitSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            name: name.into(),
            key: key.into(),
            ..CommitSnapshotRequest::default()
        };
        self.connection().snapshots().commit(self.leased(lease, request)).await?;
        Ok(())
    }
}

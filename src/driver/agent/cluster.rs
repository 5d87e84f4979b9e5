//! Whether the coordinator is the one this node knows: the same cluster, and not an older state of it.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::disk::{Disk, DiskError};

const FILE: &str = "cluster.json";

/// Pause between questions that nobody answers.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The cluster as this node last knew it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// UID of the namespace `kube-system`, empty before the first contact.
    uid: String,
    /// The highest resourceVersion seen.
    resource_version: u64,
}

/// What the node remembers of its cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    disk: Disk,
    known: Mutex<Known>,
    /// How often it was found to be another, or an older state of it.
    regressions: watch::Sender<u64>,
}

impl Cluster {
    /// Reads what the disk remembers.
    pub(super) fn recall(disk: &Disk) -> Result<Self, DiskError> {
        let known = disk.read(Path::new(FILE))?.unwrap_or_default();
        Ok(Self { disk: disk.clone(), known: Mutex::new(known), regressions: watch::channel(0).0 })
    }

    /// Changes whenever the coordinator was found to be another, or an older state of itself.
    pub(super) fn regressions(&self) -> watch::Receiver<u64> {
        self.regressions.subscribe()
    }

    /// The highest resourceVersion seen.
    pub(super) fn highest(&self) -> u64 {
        self.known.lock().expect("no holder of this lock panics").resource_version
    }

    /// A write that left when `floor` was the highest version seen was accepted as this one: an older state of the
    /// cluster gives lower ones.
    pub(super) fn wrote(&self, resource_version: u64, floor: u64) {
        let mut known = self.known.lock().expect("no holder of this lock panics");
        if resource_version <= floor {
            known.resource_version = resource_version;
            self.regressions.send_modify(|count| *count += 1);
        }
        known.resource_version = known.resource_version.max(resource_version);
        self.keep(&known);
    }

    /// Takes note of an object's resourceVersion.
    pub(super) fn saw(&self, resource_version: Option<&str>) {
        let Some(version) = resource_version.and_then(|text| text.parse().ok()) else { return };
        let mut known = self.known.lock().expect("no holder of this lock panics");
        if version > known.resource_version {
            known.resource_version = version;
            self.keep(&known);
        }
    }

    /// Asks, until somebody answers, whether the coordinator's state is a later one of the cluster this node knows.
    /// The first cluster ever met becomes the known one; so does another one, after it has been told apart once.
    pub(super) async fn is_the_same(&self, client: &Client) -> bool {
        loop {
            match ask(client).await {
                Ok(Some(now)) => return self.compare(now),
                Ok(None) => tracing::warn!("the coordinator has no namespace kube-system"),
                Err(error) => tracing::debug!(%error, "the coordinator does not say which cluster it is"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn compare(&self, now: Known) -> bool {
        let mut known = self.known.lock().expect("no holder of this lock panics");
        let same =
            known.uid.is_empty() || (known.uid == now.uid && known.resource_version <= now.resource_version);
        if !same {
            self.regressions.send_modify(|count| *count += 1);
        }
        if !same || known.uid.is_empty() {
            *known = now;
            self.keep(&known);
        }
        same
    }

    fn keep(&self, known: &Known) {
        if let Err(error) = self.disk.put_later(Path::new(FILE), known) {
            tracing::error!(%error, "the cluster could not be kept on disk");
        }
    }
}

async fn ask(client: &Client) -> kube::Result<Option<Known>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let list = namespaces.list(&ListParams::default().fields("metadata.name=kube-system")).await?;
    let resource_version =
        list.metadata.resource_version.and_then(|text| text.parse().ok()).unwrap_or_default();
    let uid = list.items.into_iter().next().and_then(|namespace| namespace.metadata.uid);
    Ok(uid.map(|uid| Known { uid, resource_version }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(uid: &str, resource_version: u64) -> Known {
        Known { uid: uid.into(), resource_version }
    }

    #[test]
    fn an_older_state_or_another_cluster_is_told_apart_once() {
        let dir = tempfile::tempdir().expect("temp dir");
        let disk = Disk::open(dir.path()).expect("opens");
        let cluster = Cluster::recall(&disk).expect("nothing there yet");
        assert!(cluster.compare(known("a", 5)), "the first cluster met is the known one");
        cluster.saw(Some("9"));
        assert!(cluster.compare(known("a", 9)));
        cluster.wrote(10, 9);
        assert_eq!((cluster.highest(), *cluster.regressions().borrow()), (10, 0));
        cluster.wrote(8, 10);
        assert_eq!((cluster.highest(), *cluster.regressions().borrow()), (8, 1));
        cluster.saw(Some("9"));
        assert!(!cluster.compare(known("a", 8)), "restored from a backup");
        assert!(cluster.compare(known("a", 8)));
        assert!(!cluster.compare(known("b", 100)), "another cluster");
        disk.settle();
        assert_eq!(*Cluster::recall(&disk).expect("kept").known.lock().expect("free"), known("b", 100));
    }
}

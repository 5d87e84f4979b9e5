//! What the disk remembers of a time before this process.

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;

use super::seen::{DAEMON_SETS_DIR, NODE_FILE};
use super::{NodeLoop, pod_file, record_file};
use crate::agent::pod::PodRecord;
use crate::api::hash::Stored;
use crate::driver::agent::hosted::{Hosted, Kept, Remote};

impl NodeLoop {
    /// The Pods this node hosted. Those of DaemonSets go on by themselves; after a reboot all others wait until the
    /// coordinator still has them.
    pub(super) fn recall_pods(&mut self) {
        for uid in self.hands.disk.names(Path::new("hosted")) {
            match self.hands.disk.read::<Kept>(&pod_file(&uid)) {
                Ok(Some(kept)) => self.recall_pod(uid, kept),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "a Pod on disk cannot be read"),
            }
        }
    }

    fn recall_pod(&mut self, uid: String, kept: Kept) {
        if let Remote::Known { uid: remote } = &kept.remote {
            self.by_remote.insert(remote.clone(), uid.clone());
            self.hands.tokens.bind(&uid, remote);
        }
        let owners = kept.pod.metadata.owner_references.iter().flatten();
        let of_daemon_set = owners.clone().any(|o| o.controller == Some(true) && o.kind == "DaemonSet");
        if self.hands.rebooted && !of_daemon_set && !kept.finished {
            self.waiting_for_list.insert(uid, kept);
            return;
        }
        let record = self.recall_record(&uid);
        let (pod, tied, identity) = (Arc::new(kept.pod), kept.tied, kept.identity);
        let machine = self.machine(&pod, record);
        let mut hosted = Hosted::new(pod.clone(), machine, kept.remote);
        (hosted.finished, hosted.tied) = (kept.finished, tied);
        hosted.identity.clone_from(&identity);
        let is_over = kept.finished;
        if !kept.finished {
            self.daemon_sets.pod_changed(&pod);
        }
        self.hosted.insert(uid.clone(), hosted);
        match identity.filter(|_| !is_over) {
            Some(own) => self.see_to(&uid, &own, true),
            None => self.identify(&uid, true),
        }
    }

    pub(super) fn recall_record(&self, uid: &str) -> Option<PodRecord> {
        self.hands.disk.read(&record_file(uid)).unwrap_or_else(|error| {
            tracing::error!(%error, "a Pod's record cannot be read; its history begins anew");
            None
        })
    }

    pub(super) fn recall_node_and_daemon_sets(&mut self) {
        // What this process has heard itself may still be on its way to the disk.
        self.hands.disk.settle();
        if !self.node_known {
            match self.hands.disk.read::<Node>(Path::new(NODE_FILE)) {
                Ok(Some(node)) => {
                    let node = self.hands.registrar.description().relabel(&node);
                    self.daemon_sets.node_changed(&node);
                    self.hands.know_node(&node);
                    self.node_known = true;
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "the Node on disk cannot be read"),
            }
        }
        for name in self.hands.disk.names(Path::new(DAEMON_SETS_DIR)) {
            match self.hands.disk.read::<Stored<DaemonSet>>(&Path::new(DAEMON_SETS_DIR).join(&name)) {
                Ok(Some(set)) => {
                    self.known_daemon_sets.insert(set.object.metadata.uid.clone().unwrap_or_default());
                    self.daemon_sets.daemon_set_changed(Arc::new(set));
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "a DaemonSet on disk cannot be read"),
            }
        }
    }

    /// Pods that waited for the coordinator's list and are not in it are gone.
    pub(super) fn drop_waiting(&mut self) {
        let gone: Vec<String> = std::mem::take(&mut self.waiting_for_list).into_keys().collect();
        for uid in gone {
            if let Err(error) = std::fs::remove_dir_all(self.hands.disk.root().join(super::pod_dir(&uid))) {
                tracing::error!(%error, uid, "a Pod's directory could not be removed");
            }
        }
    }
}

//! What the coordinator's watches say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};

use super::{Input, NodeLoop};
use crate::agent::pod;
use crate::api::hash::Stored;
use crate::driver::agent::claims;
use crate::driver::agent::hosted::{Remote, runtime_uid};
use crate::driver::service;
use crate::driver::watches::Seen;
use crate::{placement, steward};

/// Where the node's own object is remembered.
pub(super) const NODE_FILE: &str = "cache/node.json";

/// Where DaemonSets are remembered.
pub(super) const DAEMON_SETS_DIR: &str = "cache/daemonsets";

impl NodeLoop {
    pub(super) fn hear_node(&mut self, seen: Seen<Node>) {
        match seen {
            Seen::Listed(node) | Seen::Applied(node) => self.know_node(&node),
            // A Node that was deleted registers itself again.
            Seen::Deleted(_) => self.hands.registrar.again(),
            Seen::Restarted => {}
            Seen::Complete => self.coordinator_lost = false,
            Seen::Lost(why) if !self.coordinator_lost && !service::is_stopping() => {
                self.coordinator_lost = true;
                tracing::warn!(why, "the coordinator is away; what runs goes on");
            }
            Seen::Lost(why) => tracing::debug!(why, "the coordinator is still away"),
        }
    }

    pub(super) fn know_node(&mut self, node: &Node) {
        self.node_known = true;
        self.hands.cluster.saw(node.metadata.resource_version.as_deref());
        if steward::nodes::is_called_lost(node) {
            self.hands.registrar.again();
        }
        let node = &placement::of_itself(node);
        self.daemon_sets.node_changed(node);
        self.remember(Path::new(NODE_FILE), node);
        self.hands.know_node(node);
        let known = claims::advertised(node);
        self.hands
            .adverts
            .send_if_modified(|advert| std::mem::replace(&mut advert.known, known.clone()) != known);
    }

    pub(super) fn hear_daemon_sets(&mut self, seen: Seen<Stored<DaemonSet>>) {
        match seen {
            Seen::Restarted => self.daemon_sets_list.seen = Some(BTreeSet::new()),
            Seen::Listed(set) | Seen::Applied(set) => {
                let uid = set.object.metadata.uid.clone().unwrap_or_default();
                if let Some(seen) = &mut self.daemon_sets_list.seen {
                    seen.insert(uid.clone());
                }
                self.hands.cluster.saw(set.object.metadata.resource_version.as_deref());
                self.remember(&daemon_set_file(&uid), &*set);
                self.known_daemon_sets.insert(uid);
                self.daemon_sets.daemon_set_changed(Arc::from(set));
            }
            Seen::Complete => {
                let seen = self.daemon_sets_list.seen.take().unwrap_or_default();
                let owners = self.daemon_sets.unknown_owners();
                let known = self.known_daemon_sets.iter().chain(&owners);
                let absent: Vec<String> = known.filter(|uid| !seen.contains(*uid)).cloned().collect();
                self.daemon_sets_list.whole = true;
                if !absent.is_empty() {
                    self.check_absence(Vec::new(), absent);
                }
            }
            Seen::Deleted(set) => {
                self.forget_daemon_set(&set.object.metadata.uid.clone().unwrap_or_default());
            }
            Seen::Lost(why) => tracing::debug!(why, "DaemonSets cannot be watched"),
        }
    }

    fn forget_daemon_set(&mut self, uid: &str) {
        self.known_daemon_sets.remove(uid);
        self.daemon_sets.daemon_set_gone(uid);
        self.hands.disk.remove_later(&daemon_set_file(uid));
    }

    pub(super) fn hear_pods(&mut self, seen: Seen<Pod>) {
        match seen {
            Seen::Restarted => {
                self.pods_list.seen = Some(BTreeSet::new());
                self.claims.list_begins();
            }
            Seen::Listed(pod) | Seen::Applied(pod) => {
                if let Some(seen) = &mut self.pods_list.seen {
                    seen.insert(pod.metadata.uid.clone().unwrap_or_default());
                }
                self.hear_pod(&pod);
            }
            Seen::Complete => {
                let seen = self.pods_list.seen.take().unwrap_or_default();
                let absent = self.by_remote.iter().filter(|(remote, _)| !seen.contains(*remote));
                let absent: Vec<String> = absent.map(|(_, uid)| uid.clone()).collect();
                self.pods_list.whole = true;
                self.arrivals
                    .retain(|_, pod| pod.metadata.uid.as_ref().is_some_and(|uid| seen.contains(uid)));
                for uid in self.claims.list_is_whole() {
                    self.daemon_sets.free(&uid);
                }
                self.drop_waiting();
                self.remove_strays();
                let owners = self.daemon_sets.unknown_owners();
                let owners = if self.daemon_sets_list.whole { owners } else { Vec::new() };
                if !absent.is_empty() || !owners.is_empty() {
                    self.check_absence(absent, owners);
                }
            }
            Seen::Deleted(pod) => {
                let remote = pod.metadata.uid.clone().unwrap_or_default();
                self.arrivals.retain(|_, arrival| arrival.metadata.uid.as_ref() != Some(&remote));
                if let Some(uid) = self.by_remote.get(&remote).cloned() {
                    self.object_gone(&uid);
                }
            }
            Seen::Lost(why) => tracing::debug!(why, "Pods cannot be watched"),
        }
    }

    fn hear_pod(&mut self, seen: &Pod) {
        self.hands.cluster.saw(seen.metadata.resource_version.as_deref());
        // An object that is known keeps its Pod, also when it has lost its owner.
        let known = seen.metadata.uid.as_ref().and_then(|remote| self.by_remote.get(remote));
        let uid = known.cloned().unwrap_or_else(|| runtime_uid(seen));
        if let Some(kept) = self.waiting_for_list.remove(&uid) {
            let record = self.recall_record(&uid);
            self.host(&uid, &Arc::new(kept.pod), record, kept.remote);
        }
        let Some(hosted) = self.hosted.get_mut(&uid) else {
            return self.hear_new_pod(&uid, seen);
        };
        if hosted.remote == Remote::Unmirrored {
            return self.mirrored(&uid, seen);
        }
        hosted.contradict(seen);
        let changed = hosted.merge(seen);
        // One that a StatefulSet has adopted runs under an identity from now on.
        self.identify(&uid, true);
        if let Some(pod) = changed {
            self.keep(&uid);
            self.daemon_sets.pod_changed(&pod);
            self.feed(&uid, pod::Input::PodChanged(pod));
        }
        self.write_next(&uid);
    }

    /// A Pod that this node does not host yet. One that has run its course is not run again.
    fn hear_new_pod(&mut self, uid: &str, seen: &Pod) {
        let phase = seen.status.as_ref().and_then(|status| status.phase.as_deref());
        let over = matches!(phase, Some("Succeeded" | "Failed"));
        if over && seen.metadata.deletion_timestamp.is_none() {
            return;
        }
        if self.claims.has_claimed(uid) {
            self.host_bound(uid, seen);
        } else {
            self.arrivals.insert(uid.to_owned(), Arc::new(seen.clone()));
        }
    }

    /// The object of a Pod is gone for certain.
    fn object_gone(&mut self, uid: &str) {
        if let Some(hosted) = self.hosted.get_mut(uid) {
            hosted.remote = Remote::Gone;
            self.by_remote.retain(|_, runtime| runtime != uid);
            self.feed(uid, pod::Input::PodGone);
            self.forget_if_done(uid);
        }
    }

    /// Nothing is concluded from absence before it is sure that the coordinator is the one that knew these objects.
    pub(super) fn check_absence(&self, pods: Vec<String>, daemon_sets: Vec<String>) {
        let (hands, inputs) = (self.hands.clone(), self.inputs.clone());
        tokio::spawn(async move {
            let same_cluster = hands.cluster.is_the_same(&hands.client).await;
            let _ = inputs.send(Input::Absent { same_cluster, pods, daemon_sets }).await;
        });
    }

    pub(super) fn absent(&mut self, same_cluster: bool, pods: Vec<String>, daemon_sets: Vec<String>) {
        if !same_cluster {
            tracing::warn!(
                "the coordinator has an older or another state; nothing is stopped. If this node is to begin anew, run \
                 `leasehold reset`"
            );
        }
        for uid in pods {
            if same_cluster {
                self.object_gone(&uid);
            } else if let Some(hosted) = self.hosted.get_mut(&uid) {
                hosted.remote = Remote::Unmirrored;
                self.by_remote.retain(|_, runtime| *runtime != uid);
                self.write_next(&uid);
            }
        }
        if same_cluster {
            for uid in daemon_sets {
                self.forget_daemon_set(&uid);
            }
        }
    }

    fn remember<T: serde::Serialize>(&self, file: &Path, object: &T) {
        if let Err(error) = self.hands.disk.put_later(file, object) {
            tracing::error!(%error, "an object could not be kept on disk");
        }
    }
}

fn daemon_set_file(uid: &str) -> PathBuf {
    Path::new(DAEMON_SETS_DIR).join(format!("{uid}.json"))
}

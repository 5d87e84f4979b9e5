//! All nodes and what is placed on them, as those see it who look at more than one: the steward and `explain`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::placement::{Demand, Room};

/// One node and what it hosts. Pods are counted also where the node itself is not known (any more).
#[derive(Clone, Debug, Default)]
pub struct Site {
    node: Option<Arc<Node>>,
    room: Room,
    pods: BTreeSet<String>,
}

impl Site {
    /// What it has left.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// UIDs of the Pods that are placed here.
    pub fn pods(&self) -> impl Iterator<Item = &str> {
        self.pods.iter().map(String::as_str)
    }
}

/// A Pod that is bound or nominated to a node.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The node's name.
    pub node: String,
    /// The Pod.
    pub pod: Arc<Pod>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    sites: BTreeMap<String, Site>,
    placed: BTreeMap<String, Placed>,
}

impl Cluster {
    /// A node, new or changed.
    pub fn node_changed(&mut self, node: &Arc<Node>) {
        let site = self.sites.entry(node.metadata.name.clone().unwrap_or_default()).or_default();
        site.room.set_allocatable(node);
        site.room.set_advertised(node);
        site.node = Some(node.clone());
    }

    /// A node is gone. What was placed there stays counted until its Pods are gone as well.
    pub fn node_gone(&mut self, name: &str) {
        if let Some(site) = self.sites.get_mut(name) {
            site.node = None;
            if site.pods.is_empty() {
                self.sites.remove(name);
            }
        }
    }

    /// Counts a Pod on a node; no longer where it was counted before.
    pub fn place(&mut self, uid: &str, pod: &Arc<Pod>, node: &str) {
        if let Some(placed) = self.placed.get_mut(uid).filter(|placed| placed.node == node)
            && placed.pod.metadata.generation.is_some()
            && placed.pod.metadata.generation == pod.metadata.generation
        {
            placed.pod = pod.clone();
            return;
        }
        self.remove(uid);
        let site = self.sites.entry(node.to_owned()).or_default();
        site.room.bind(uid, pod.spec.as_ref().map(Demand::of).unwrap_or_default());
        site.pods.insert(uid.to_owned());
        self.placed.insert(uid.to_owned(), Placed { node: node.to_owned(), pod: pod.clone() });
    }

    /// Counts a Pod nowhere. Where it was counted.
    pub fn remove(&mut self, uid: &str) -> Option<String> {
        let Placed { node, .. } = self.placed.remove(uid)?;
        if let Some(site) = self.sites.get_mut(&node) {
            site.room.release(uid);
            site.pods.remove(uid);
            if site.node.is_none() && site.pods.is_empty() {
                self.sites.remove(&node);
            }
        }
        Some(node)
    }

    /// A node that is known, with its site.
    pub fn site(&self, name: &str) -> Option<(&Arc<Node>, &Site)> {
        let site = self.sites.get(name)?;
        Some((site.node.as_ref()?, site))
    }

    /// All nodes that are known, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Arc<Node>, &Site)> {
        self.sites.iter().filter_map(|(name, site)| Some((name.as_str(), site.node.as_ref()?, site)))
    }

    /// How many nodes are known.
    pub fn node_count(&self) -> usize {
        self.nodes().count()
    }

    /// Where a Pod is placed.
    pub fn placed(&self, uid: &str) -> Option<&Placed> {
        self.placed.get(uid)
    }

    /// All Pods that are placed, by UID.
    pub fn all_placed(&self) -> impl Iterator<Item = (&str, &Placed)> {
        self.placed.iter().map(|(uid, placed)| (uid.as_str(), placed))
    }
}

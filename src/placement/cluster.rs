//! All nodes and what is placed on them, as those see it who look at more than one: the steward and `explain`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::placement::{Demand, Room, inter_pod, volumes};

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
    /// UIDs of placed Pods that keep others away from where they are.
    repelling: BTreeSet<String>,
    /// How many Pods of a controller, by its UID, are on each node.
    siblings: BTreeMap<String, BTreeMap<String, usize>>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    claims: BTreeMap<(String, String), Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<String, Arc<PersistentVolume>>,
    /// Names of volumes that are not bound.
    unbound: BTreeSet<String>,
    classes: BTreeMap<String, Arc<StorageClass>>,
    /// UIDs of placed Pods that use a claim.
    users: BTreeMap<(String, String), BTreeSet<String>>,
}

/// What it is told.
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
        if inter_pod::repels(pod) {
            self.repelling.insert(uid.to_owned());
        }
        for claim in used(pod) {
            self.users.entry(claim).or_default().insert(uid.to_owned());
        }
        if let Some(owner) = controller(pod) {
            *self.siblings.entry(owner).or_default().entry(node.to_owned()).or_default() += 1;
        }
        self.placed.insert(uid.to_owned(), Placed { node: node.to_owned(), pod: pod.clone() });
    }

    /// Counts a Pod where it is bound, or where it is offered; one that has ended nowhere.
    pub fn count(&mut self, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let bound = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let offered = pod.status.as_ref().and_then(|status| status.nominated_node_name.as_deref());
        let node = [bound, offered].into_iter().flatten().find(|name| !name.is_empty());
        match node.filter(|_| !matches!(phase, Some("Succeeded" | "Failed"))) {
            Some(node) => self.place(uid, pod, node),
            None => drop(self.remove(uid)),
        }
    }

    /// Counts a Pod nowhere. Where it was counted.
    pub fn remove(&mut self, uid: &str) -> Option<String> {
        let Placed { node, pod } = self.placed.remove(uid)?;
        if let Some(site) = self.sites.get_mut(&node) {
            site.room.release(uid);
            site.pods.remove(uid);
            if site.node.is_none() && site.pods.is_empty() {
                self.sites.remove(&node);
            }
        }
        self.repelling.remove(uid);
        for claim in used(&pod) {
            let Some(users) = self.users.get_mut(&claim) else { continue };
            users.remove(uid);
            if users.is_empty() {
                self.users.remove(&claim);
            }
        }
        if let Some(owner) = controller(&pod)
            && let Some(counts) = self.siblings.get_mut(&owner)
        {
            if let Some(count) = counts.get_mut(&node) {
                *count = count.saturating_sub(1);
            }
            counts.retain(|_, count| *count > 0);
            if counts.is_empty() {
                self.siblings.remove(&owner);
            }
        }
        Some(node)
    }

    /// A namespace, new or changed.
    pub fn namespace_changed(&mut self, namespace: &Namespace) {
        let metadata = &namespace.metadata;
        let name = metadata.name.clone().unwrap_or_default();
        self.namespaces.insert(name, metadata.labels.clone().unwrap_or_default());
    }

    /// A namespace is gone.
    pub fn namespace_gone(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// A claim on a volume, new or changed.
    pub fn claim_changed(&mut self, claim: &Arc<PersistentVolumeClaim>) {
        let metadata = &claim.metadata;
        let place =
            (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
        self.claims.insert(place, claim.clone());
    }

    /// A claim is gone.
    pub fn claim_gone(&mut self, namespace: &str, name: &str) {
        self.claims.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// A volume, new or changed.
    pub fn volume_changed(&mut self, volume: &Arc<PersistentVolume>) {
        let name = volume.metadata.name.clone().unwrap_or_default();
        let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Bound" | "Released" | "Failed")) {
            self.unbound.remove(&name);
        } else {
            self.unbound.insert(name.clone());
        }
        self.volumes.insert(name, volume.clone());
    }

    /// A volume is gone.
    pub fn volume_gone(&mut self, name: &str) {
        self.volumes.remove(name);
        self.unbound.remove(name);
    }

    /// A class of volumes, new or changed.
    pub fn class_changed(&mut self, class: &Arc<StorageClass>) {
        self.classes.insert(class.metadata.name.clone().unwrap_or_default(), class.clone());
    }

    /// A class of volumes is gone.
    pub fn class_gone(&mut self, name: &str) {
        self.classes.remove(name);
    }
}

/// What it tells.
impl Cluster {
    /// A node that is known, with its site.
    pub fn site(&self, name: &str) -> Option<(&Arc<Node>, &Site)> {
        let site = self.sites.get(name)?;
        Some((site.node.as_ref()?, site))
    }

    /// All nodes that are known, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Arc<Node>, &Site)> {
        self.sites.iter().filter_map(|(name, site)| Some((name.as_str(), site.node.as_ref()?, site)))
    }

    /// Where a Pod is placed.
    pub fn placed(&self, uid: &str) -> Option<&Placed> {
        self.placed.get(uid)
    }

    /// A Pod of this controller on this node.
    pub(super) fn pod_of(&self, owner: &str, node: &str) -> Option<&str> {
        let mut pods = self.sites.get(node)?.pods.iter();
        let of_owner = |uid: &&String| {
            self.placed.get(*uid).and_then(|placed| controller(&placed.pod)).is_some_and(|it| it == owner)
        };
        pods.find(of_owner).map(String::as_str)
    }

    /// All Pods that are placed on nodes that are known, with their nodes.
    pub(super) fn all_placed(&self) -> impl Iterator<Item = (&str, &Placed, &Node)> {
        self.placed.iter().filter_map(|(uid, placed)| self.with_node(uid, placed))
    }

    /// Those of them that keep others away.
    pub(super) fn repelling(&self) -> impl Iterator<Item = (&str, &Placed, &Node)> {
        self.repelling.iter().filter_map(|uid| self.with_node(uid, self.placed.get(uid)?))
    }

    fn with_node<'a>(&'a self, uid: &'a str, placed: &'a Placed) -> Option<(&'a str, &'a Placed, &'a Node)> {
        Some((uid, placed, self.site(&placed.node)?.0.as_ref()))
    }

    /// How many Pods of the same controller are on each node.
    pub(super) fn siblings(&self, pod: &Pod) -> Option<&BTreeMap<String, usize>> {
        self.siblings.get(&controller(pod)?)
    }

    /// A namespace's labels.
    pub(super) fn namespace(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)
    }

    pub(super) fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(&(namespace.to_owned(), name.to_owned()))
    }

    /// Nodes of the Pods, besides this one, that use a claim.
    pub(super) fn nodes_of_claim(
        &self,
        namespace: &str,
        name: &str,
        besides: &Pod,
    ) -> impl Iterator<Item = &str> {
        let users = self.users.get(&(namespace.to_owned(), name.to_owned()));
        let own = besides.metadata.uid.clone().unwrap_or_default();
        let others = users.into_iter().flatten().filter(move |uid| **uid != own);
        others.filter_map(|uid| self.placed.get(uid).map(|placed| placed.node.as_str()))
    }

    pub(super) fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(name)
    }

    /// Volumes that are not bound, by name.
    pub(super) fn unbound_volumes(&self) -> impl Iterator<Item = &Arc<PersistentVolume>> {
        self.unbound.iter().filter_map(|name| self.volumes.get(name))
    }

    pub(super) fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.get(name)
    }
}

/// Namespace and name of the claims that a Pod uses.
fn used(pod: &Pod) -> impl Iterator<Item = (String, String)> {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    volumes::claims(pod).into_iter().map(move |name| (namespace.clone(), name))
}

/// UID of the Pod's controller.
fn controller(pod: &Pod) -> Option<String> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true)).map(|owner| owner.uid.clone())
}

//! Which node's Pods use which objects: an index, kept as Pods and volumes change. What a change costs follows from
//! what that Pod uses, not from how many there are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::api::storage::{NODE_LABEL, node_label};

/// Namespace and name.
type Place = (String, String);

/// An object that Pods use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Used {
    /// A Secret.
    Secret(String, String),
    /// A ConfigMap.
    ConfigMap(String, String),
    /// A claim on a volume.
    Claim(String, String),
    /// A service account.
    Account(String, String),
}

/// What is known of one Pod.
#[derive(Debug, Default)]
struct OnePod {
    node: String,
    nominated: String,
    uses: BTreeSet<Used>,
}

/// The index.
#[derive(Debug, Default)]
pub struct Graph {
    pods: BTreeMap<Place, OnePod>,
    /// How many Pods of each node use an object.
    users: BTreeMap<Used, BTreeMap<String, usize>>,
    /// The claim that a volume is bound to.
    volumes: BTreeMap<String, Place>,
    /// The node that keeps a volume, as its label says.
    keepers: BTreeMap<String, String>,
    /// Accounts that the templates of DaemonSets name; a node reads them before it makes its Pod.
    accounts: BTreeMap<Place, BTreeSet<String>>,
    /// The account that a DaemonSet's template names.
    daemon_sets: BTreeMap<Place, String>,
}

/// The kinds that the index is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Pods.
    Pod,
    /// Volumes.
    Volume,
    /// DaemonSets.
    DaemonSet,
}

impl Part {
    /// By group and kind; none for kinds that are no part of this.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        match (group, kind) {
            ("", "Pod") => Some(Self::Pod),
            ("", "PersistentVolume") => Some(Self::Volume),
            ("apps", "DaemonSet") => Some(Self::DaemonSet),
            _ => None,
        }
    }
}

impl Graph {
    /// Takes up a new object or version.
    pub fn put(&mut self, part: Part, namespace: &str, name: &str, value: &Value) {
        let place = (namespace.to_owned(), name.to_owned());
        match part {
            Part::Pod => self.put_pod(place, value),
            Part::Volume => {
                let claim = &value["spec"]["claimRef"];
                let text = |field: &str| claim[field].as_str().unwrap_or_default().to_owned();
                let keeper = value["metadata"]["labels"][NODE_LABEL].as_str().map(str::to_owned);
                match keeper {
                    Some(keeper) => drop(self.keepers.insert(place.1.clone(), keeper)),
                    None => drop(self.keepers.remove(&place.1)),
                }
                self.volumes.insert(place.1, (text("namespace"), text("name")));
            }
            Part::DaemonSet => {
                self.remove(part, namespace, name);
                let account = account_of(&value["spec"]["template"]["spec"]);
                let at = (namespace.to_owned(), account.clone());
                self.accounts.entry(at).or_default().insert(name.to_owned());
                self.daemon_sets.insert(place, account);
            }
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, part: Part, namespace: &str, name: &str) {
        let place = (namespace.to_owned(), name.to_owned());
        match part {
            Part::Pod => self.remove_pod(&place),
            Part::Volume => {
                self.volumes.remove(name);
                self.keepers.remove(name);
            }
            Part::DaemonSet => {
                let Some(account) = self.daemon_sets.remove(&place) else { return };
                let at = (namespace.to_owned(), account);
                if let Some(sets) = self.accounts.get_mut(&at) {
                    sets.remove(name);
                    if sets.is_empty() {
                        self.accounts.remove(&at);
                    }
                }
            }
        }
    }

    fn put_pod(&mut self, place: Place, pod: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let node = text(&pod["spec"]["nodeName"]);
        let nominated = text(&pod["status"]["nominatedNodeName"]);
        let uses = if node.is_empty() { BTreeSet::new() } else { uses(&place.0, pod) };
        let same = self.pods.get(&place).is_some_and(|known| known.node == node && known.uses == uses);
        if same {
            self.pods.entry(place).or_default().nominated = nominated;
            return;
        }
        self.remove_pod(&place);
        for used in &uses {
            *self.users.entry(used.clone()).or_default().entry(node.clone()).or_default() += 1;
        }
        self.pods.insert(place, OnePod { node, nominated, uses });
    }

    fn remove_pod(&mut self, place: &Place) {
        let Some(pod) = self.pods.remove(place) else { return };
        for used in pod.uses {
            let Some(nodes) = self.users.get_mut(&used) else { continue };
            if let Some(count) = nodes.get_mut(&pod.node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&pod.node);
                }
            }
            if nodes.is_empty() {
                self.users.remove(&used);
            }
        }
    }

    /// Whether a Pod of the node uses the object.
    pub fn uses(&self, node: &str, used: &Used) -> bool {
        self.users.get(used).is_some_and(|nodes| nodes.contains_key(node))
    }

    /// Whether a Pod of the node uses a claim on the volume.
    pub fn uses_volume(&self, node: &str, volume: &str) -> bool {
        let claim = self.volumes.get(volume);
        claim.is_some_and(|(namespace, name)| self.uses(node, &Used::Claim(namespace.clone(), name.clone())))
    }

    /// Whether the volume is a directory on the node.
    pub fn keeps_volume(&self, node: &str, volume: &str) -> bool {
        self.keepers.get(volume).is_some_and(|keeper| *keeper == node_label(node))
    }

    /// Whether the Pod is bound to the node, or offered to it.
    pub fn has_pod(&self, node: &str, namespace: &str, name: &str) -> bool {
        let pod = self.pods.get(&(namespace.to_owned(), name.to_owned()));
        pod.is_some_and(|pod| pod.node == node || (pod.node.is_empty() && pod.nominated == node))
    }

    /// Whether a DaemonSet's Pods are of this account.
    pub fn is_daemon_account(&self, namespace: &str, name: &str) -> bool {
        self.accounts.contains_key(&(namespace.to_owned(), name.to_owned()))
    }
}

fn account_of(spec: &Value) -> String {
    let stated = spec["serviceAccountName"].as_str().filter(|name| !name.is_empty());
    stated.unwrap_or(crate::api::service_account::DEFAULT_ACCOUNT).to_owned()
}

/// Everything that a Pod refers to.
fn uses(namespace: &str, pod: &Value) -> BTreeSet<Used> {
    let spec = &pod["spec"];
    let mut found = Finder { namespace, uses: BTreeSet::new() };
    found.uses.insert(Used::Account(namespace.to_owned(), account_of(spec)));
    for reference in list(&spec["imagePullSecrets"]) {
        found.secret(&reference["name"]);
    }
    for containers in ["initContainers", "containers", "ephemeralContainers"] {
        for container in list(&spec[containers]) {
            found.container(container);
        }
    }
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    for volume in list(&spec["volumes"]) {
        found.volume(name, volume);
    }
    found.uses
}

struct Finder<'a> {
    namespace: &'a str,
    uses: BTreeSet<Used>,
}

impl Finder<'_> {
    fn container(&mut self, container: &Value) {
        for source in list(&container["envFrom"]) {
            self.config_map(&source["configMapRef"]["name"]);
            self.secret(&source["secretRef"]["name"]);
        }
        for variable in list(&container["env"]) {
            self.config_map(&variable["valueFrom"]["configMapKeyRef"]["name"]);
            self.secret(&variable["valueFrom"]["secretKeyRef"]["name"]);
        }
    }

    fn volume(&mut self, pod: &str, volume: &Value) {
        self.config_map(&volume["configMap"]["name"]);
        self.secret(&volume["secret"]["secretName"]);
        self.claim(volume["persistentVolumeClaim"]["claimName"].as_str());
        if volume["ephemeral"].is_object() {
            let name = volume["name"].as_str().unwrap_or_default();
            self.claim(Some(&format!("{pod}-{name}")));
        }
        for source in list(&volume["projected"]["sources"]) {
            self.config_map(&source["configMap"]["name"]);
            self.secret(&source["secret"]["name"]);
        }
        for driver in ["azureFile", "cephfs", "csi", "flexVolume", "iscsi", "rbd", "scaleIO", "storageos"] {
            let source = &volume[driver];
            self.secret(&source["secretName"]);
            self.secret(&source["secretRef"]["name"]);
            self.secret(&source["nodePublishSecretRef"]["name"]);
        }
    }

    fn secret(&mut self, name: &Value) {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            self.uses.insert(Used::Secret(self.namespace.to_owned(), name.to_owned()));
        }
    }

    fn config_map(&mut self, name: &Value) {
        if let Some(name) = name.as_str().filter(|name| !name.is_empty()) {
            self.uses.insert(Used::ConfigMap(self.namespace.to_owned(), name.to_owned()));
        }
    }

    fn claim(&mut self, name: Option<&str>) {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            self.uses.insert(Used::Claim(self.namespace.to_owned(), name.to_owned()));
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

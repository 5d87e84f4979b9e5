//! This node's Node object: registered at start, refreshed when something about the node changes, never by the clock.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec,
    NodeStatus, NodeSwapStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::agent::pressure::Standing;
use crate::api::storage::VOLUMES_DIR;
use crate::detect::Facts;
use crate::server::api::nodes::CERTIFICATE;
use crate::time::WallTime;

/// Annotation with the keys of the labels that the agent itself made, so that it removes those that lapse and no others.
const LABELS_ANNOTATION: &str = "leasehold.dev/labels";

/// Most images reported, as the kubelet's nodeStatusMaxImages.
const IMAGES_MAX: usize = 50;

/// Memory kept free for the system when nothing else is said: the kubelet's default hard eviction threshold.
const MEMORY_KEPT_BYTES: u64 = 100 << 20;

/// All that the Node object says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Description {
    /// Node name.
    pub(super) name: String,
    /// Addresses, the preferred first.
    pub(super) ips: Vec<IpAddr>,
    /// Port of the node's endpoint.
    pub(super) port: u16,
    /// SHA-256 of its certificate, hexadecimal.
    pub(super) certificate_sha256: String,
    /// Labels given by flag.
    pub(super) labels: BTreeMap<String, String>,
    /// Taints to register with.
    pub(super) taints: Vec<Taint>,
    /// Below which directory it keeps volumes.
    pub(super) volumes_dir: String,
    /// Most Pods.
    pub(super) pods_max: u32,
    /// What the machine is.
    pub(super) facts: Facts,
    /// Size of the file system under the data directory, bytes.
    pub(super) storage_bytes: u64,
    /// containerd's version, or why it cannot be reached.
    pub(super) runtime: Result<String, String>,
    /// Why Pods with a network of their own cannot start here.
    pub(super) network_unavailable: Option<String>,
    /// What the machine runs short of.
    pub(super) pressure: Standing,
    /// Images here: names and bytes, largest first.
    pub(super) images: Vec<(Vec<String>, u64)>,
}

impl Description {
    /// Labels that the agent owns: facts, well-known names, flags (which win).
    fn owned_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.facts.labels.clone();
        labels.insert("kubernetes.io/hostname".into(), self.name.clone());
        labels.extend(self.labels.clone());
        labels
    }

    fn annotations(&self) -> BTreeMap<String, String> {
        let keys: Vec<String> = self.owned_labels().into_keys().collect();
        BTreeMap::from([
            (LABELS_ANNOTATION.to_owned(), keys.join(",")),
            (CERTIFICATE.to_owned(), self.certificate_sha256.clone()),
            (VOLUMES_DIR.to_owned(), self.volumes_dir.clone()),
        ])
    }

    fn capacity(&self) -> BTreeMap<String, Quantity> {
        let machine = &self.facts.machine;
        let mut capacity = BTreeMap::from([
            ("cpu".to_owned(), Quantity(machine.cpu_count.to_string())),
            ("memory".to_owned(), Quantity(format!("{}Ki", machine.memory_bytes / 1024))),
            ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", self.storage_bytes / 1024))),
            ("pods".to_owned(), Quantity(self.pods_max.to_string())),
        ]);
        for (size, bytes) in &machine.huge_pages_bytes {
            capacity.insert(format!("hugepages-{}", binary(*size)), Quantity(binary(*bytes)));
        }
        capacity
    }

    /// Capacity less what the system keeps: 100 MiB of memory, huge pages, a tenth of the storage (the kubelet's
    /// default hard eviction thresholds).
    fn allocatable(&self) -> BTreeMap<String, Quantity> {
        let machine = &self.facts.machine;
        let huge: u64 = machine.huge_pages_bytes.values().sum();
        let memory = machine.memory_bytes.saturating_sub(MEMORY_KEPT_BYTES + huge);
        let mut allocatable = self.capacity();
        allocatable.insert("memory".into(), Quantity(format!("{}Ki", memory / 1024)));
        let storage = self.storage_bytes / 10 * 9;
        allocatable.insert("ephemeral-storage".into(), Quantity(storage.to_string()));
        allocatable
    }

    fn conditions(&self, now: WallTime) -> Vec<NodeCondition> {
        let pressure = |kind: &str, stands: bool, short: [&str; 2], ample: [&str; 2]| {
            let [reason, message] = if stands { short } else { ample };
            condition(kind, stands, reason, message, now)
        };
        let mut conditions = vec![
            pressure(
                "MemoryPressure",
                self.pressure.memory,
                ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
                ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
            ),
            pressure(
                "DiskPressure",
                self.pressure.disk,
                ["KubeletHasDiskPressure", "kubelet has disk pressure"],
                ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
            ),
            pressure(
                "PIDPressure",
                self.pressure.pid,
                ["KubeletHasInsufficientPID", "kubelet has insufficient PID available"],
                ["KubeletHasSufficientPID", "kubelet has sufficient PID available"],
            ),
        ];
        conditions.push(match &self.network_unavailable {
            None => {
                condition("NetworkUnavailable", false, "NetworkReady", "network configuration found", now)
            }
            Some(why) => condition("NetworkUnavailable", true, "NoNetworkConfiguration", why, now),
        });
        conditions.push(match &self.runtime {
            Ok(_) => condition("Ready", true, "KubeletReady", "the agent runs and reaches containerd", now),
            Err(why) => {
                condition("Ready", false, "ContainerRuntimeNotReady", &format!("containerd: {why}"), now)
            }
        });
        conditions
    }

    fn info(&self) -> NodeSystemInfo {
        let machine = &self.facts.machine;
        NodeSystemInfo {
            architecture: machine.architecture.clone(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: match &self.runtime {
                Ok(version) => format!("containerd://{version}"),
                Err(_) => "containerd://unknown".into(),
            },
            kernel_version: machine.kernel_version.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: concat!("v1.36.0-leasehold.", env!("CARGO_PKG_VERSION")).into(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".into(),
            os_image: machine.os_image.clone(),
            swap: Some(NodeSwapStatus { capacity: Some(machine.swap_bytes as i64) }),
            system_uuid: machine.system_uuid.clone(),
        }
    }

    fn addresses(&self) -> Vec<NodeAddress> {
        let address = |kind: &str, address: String| NodeAddress { type_: kind.into(), address };
        let mut addresses: Vec<NodeAddress> =
            self.ips.iter().map(|ip| address("InternalIP", ip.to_string())).collect();
        addresses.push(address("Hostname", self.name.clone()));
        addresses
    }

    fn status(&self, now: WallTime) -> NodeStatus {
        NodeStatus {
            addresses: Some(self.addresses()),
            allocatable: Some(self.allocatable()),
            capacity: Some(self.capacity()),
            conditions: Some(self.conditions(now)),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(self.port) }),
            }),
            images: Some(
                self.images
                    .iter()
                    .take(IMAGES_MAX)
                    .map(|(names, bytes)| ContainerImage {
                        names: Some(names.clone()),
                        size_bytes: Some(*bytes as i64),
                    })
                    .collect(),
            ),
            node_info: Some(self.info()),
            ..NodeStatus::default()
        }
    }

    /// The Node as it is first registered, and as the node takes itself to be while it has never met a coordinator.
    pub(super) fn node(&self, now: WallTime) -> Node {
        Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(self.owned_labels()),
                annotations: Some(self.annotations()),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: Some(self.taints.clone()).filter(|taints| !taints.is_empty()),
                ..NodeSpec::default()
            }),
            status: Some(self.status(now)),
        }
    }

    /// The labels that the agent owns, put onto the Node as `known`: lapsed ones go, foreign ones stay.
    pub(super) fn relabel(&self, known: &Node) -> Node {
        let mut node = known.clone();
        let owned = self.owned_labels();
        let labels = node.metadata.labels.get_or_insert_default();
        for key in lapsed(known, &owned) {
            labels.remove(&key);
        }
        labels.extend(owned);
        node
    }
}

/// Keys that the agent once made and makes no more.
fn lapsed(known: &Node, owned: &BTreeMap<String, String>) -> Vec<String> {
    let annotation = known.metadata.annotations.as_ref().and_then(|a| a.get(LABELS_ANNOTATION));
    let keys = annotation.map(String::as_str).unwrap_or_default();
    keys.split(',').filter(|key| !key.is_empty() && !owned.contains_key(*key)).map(str::to_owned).collect()
}

fn condition(kind: &str, status: bool, reason: &str, message: &str, now: WallTime) -> NodeCondition {
    NodeCondition {
        type_: kind.into(),
        status: if status { "True" } else { "False" }.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_heartbeat_time: Some(Time(now.0)),
        last_transition_time: Some(Time(now.0)),
    }
}

/// A size in the largest binary unit that divides it, e.g. `2Mi`.
fn binary(bytes: u64) -> String {
    let units = [(1_u64 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    units
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| bytes.to_string(), |(unit, suffix)| format!("{}{suffix}", bytes / unit))
}

/// Brings the Node object in line with `description`, making it where it is absent. `now` is written for people.
/// Answers with the object as the coordinator has it then, and whether it was made just now.
pub(super) async fn register(
    client: &Client,
    description: &Description,
    now: WallTime,
) -> kube::Result<(Node, bool)> {
    let nodes: Api<Node> = Api::all(client.clone());
    let Some(known) = nodes.get_opt(&description.name).await? else {
        let mut node = description.node(now);
        let status = node.status.take();
        let (made, was_made) = match nodes.create(&PostParams::default(), &node).await {
            Ok(made) => (made, true),
            Err(kube::Error::Api(refusal)) if refusal.reason == "AlreadyExists" => {
                (nodes.get(&description.name).await?, false)
            }
            Err(error) => return Err(error),
        };
        let mut full = made.clone();
        full.status = status;
        return Ok((patch_status(&nodes, description, &made, &full).await?, was_made));
    };
    let metadata = metadata_patch(&known, description);
    let mut current = known.clone();
    if !metadata.is_null() {
        let patch = json!({ "metadata": metadata });
        current = nodes.patch(&description.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    let mut wanted = current.clone();
    wanted.status = Some(description.status(now));
    Ok((patch_status(&nodes, description, &current, &wanted).await?, false))
}

/// Labels and annotations that differ, as a merge patch; null when none does.
fn metadata_patch(known: &Node, description: &Description) -> Value {
    let owned = description.owned_labels();
    let empty = BTreeMap::new();
    let have = known.metadata.labels.as_ref().unwrap_or(&empty);
    let mut labels: BTreeMap<String, Option<String>> = owned
        .iter()
        .filter(|(k, v)| have.get(*k) != Some(v))
        .map(|(k, v)| (k.clone(), Some(v.clone())))
        .collect();
    labels.extend(lapsed(known, &owned).into_iter().filter(|k| have.contains_key(k)).map(|k| (k, None)));
    let have = known.metadata.annotations.as_ref().unwrap_or(&empty);
    let annotations: BTreeMap<String, String> =
        description.annotations().into_iter().filter(|(k, v)| have.get(k) != Some(v)).collect();
    if labels.is_empty() && annotations.is_empty() {
        return Value::Null;
    }
    json!({ "labels": labels, "annotations": annotations })
}

/// Writes the status where it differs from what is known; transition times move only with the status.
async fn patch_status(
    nodes: &Api<Node>,
    description: &Description,
    known: &Node,
    wanted: &Node,
) -> kube::Result<Node> {
    let mut status = wanted.status.clone().unwrap_or_default();
    let before = known.status.clone().unwrap_or_default();
    for condition in status.conditions.iter_mut().flatten() {
        let old = before.conditions.iter().flatten().find(|old| old.type_ == condition.type_);
        if let Some(old) = old.filter(|old| old.status == condition.status) {
            condition.last_transition_time.clone_from(&old.last_transition_time);
            if old.reason == condition.reason && old.message == condition.message {
                condition.last_heartbeat_time.clone_from(&old.last_heartbeat_time);
            }
        }
    }
    let same = |a: &NodeStatus, b: &NodeStatus| {
        let own = |s: &NodeStatus| {
            (
                s.addresses.clone(),
                s.allocatable.clone(),
                s.capacity.clone(),
                s.images.clone(),
                s.node_info.clone(),
            )
        };
        let kept = a.conditions.iter().flatten().all(|c| b.conditions.iter().flatten().any(|o| o == c));
        own(a) == own(b) && kept && a.daemon_endpoints == b.daemon_endpoints
    };
    if same(&status, &before) {
        return Ok(known.clone());
    }
    let patch = json!({ "status": status });
    nodes.patch_status(&description.name, &PatchParams::default(), &Patch::Strategic(&patch)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        let mut facts = Facts::default();
        facts.machine.cpu_count = 128;
        facts.machine.memory_bytes = 256 << 30;
        facts.machine.huge_pages_bytes = BTreeMap::from([(1 << 30, 32 << 30)]);
        facts.labels.insert("feature.node.kubernetes.io/pci-0302_10de.present".into(), "true".into());
        Description {
            name: "n1".into(),
            ips: vec!["10.0.0.1".parse().expect("an address")],
            port: 10250,
            certificate_sha256: "ab".into(),
            labels: BTreeMap::from([("rack".into(), "r7".into())]),
            taints: Vec::new(),
            pods_max: 110,
            volumes_dir: "/var/lib/leasehold/agent/volumes".into(),
            facts,
            storage_bytes: 1000 << 20,
            runtime: Ok("1.6.20".into()),
            network_unavailable: None,
            pressure: Standing::default(),
            images: Vec::new(),
        }
    }

    #[test]
    fn allocatable_memory_leaves_out_huge_pages_and_what_the_system_keeps() {
        let node = description().node(WallTime(jiff::Timestamp::UNIX_EPOCH));
        let status = node.status.expect("described");
        let capacity = status.capacity.expect("described");
        assert_eq!(capacity["hugepages-1Gi"].0, "32Gi");
        assert_eq!(capacity["memory"].0, format!("{}Ki", 256 * 1024 * 1024));
        let kept = (224 * 1024 - 100) * 1024;
        assert_eq!(status.allocatable.expect("described")["memory"].0, format!("{kept}Ki"));
    }

    #[test]
    fn a_lapsed_fact_takes_its_label_along_and_leaves_those_of_people() {
        let now = WallTime(jiff::Timestamp::UNIX_EPOCH);
        let mut known = description().node(now);
        known.metadata.labels.get_or_insert_default().insert("team".into(), "blue".into());
        let mut gone = description();
        gone.facts.labels.clear();
        let labels = gone.relabel(&known).metadata.labels.expect("labelled");
        assert!(!labels.contains_key("feature.node.kubernetes.io/pci-0302_10de.present"));
        assert_eq!(labels["team"], "blue");
        assert_eq!(
            metadata_patch(&known, &gone)["labels"]["feature.node.kubernetes.io/pci-0302_10de.present"],
            Value::Null
        );
        assert!(metadata_patch(&known, &description()).is_null());
    }
}

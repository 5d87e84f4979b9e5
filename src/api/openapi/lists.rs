//! How server-side apply sees the lists and maps of each type (`listType`, `listMapKey`, `mapType` and `structType` in
//! `k8s.io/api` and `k8s.io/apimachinery`), as rows. A list without a row is atomic: whoever sets it owns it whole.
//!
//! How *strategic merge patch* sees them is another table with other keys: [`crate::api::merge_keys`].

/// What one owner may hold of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// The whole.
    Atomic,
    /// Single values.
    Set,
    /// Single elements, told apart by these fields.
    Map(&'static [&'static str]),
}

/// The list in a field of a type; types go by their last name, e.g. `("PodSpec", "containers")`.
pub fn list(owner: &str, field: &str) -> List {
    if SETS.contains(&(owner, field)) {
        return List::Set;
    }
    MAPS.iter()
        .find(|(of, name, _)| (*of, *name) == (owner, field))
        .map_or(List::Atomic, |(_, _, keys)| List::Map(keys))
}

/// Whether the map or struct in a field has one owner as a whole.
pub fn is_atomic_field(owner: &str, field: &str) -> bool {
    ATOMIC_FIELDS.contains(&(owner, field))
}

/// Whether objects of this type have one owner as a whole, wherever they stand.
pub fn is_atomic_type(name: &str) -> bool {
    ATOMIC_TYPES.contains(&name)
}

const NAME: &[&str] = &["name"];
const TYPE: &[&str] = &["type"];
const PORT: &[&str] = &["containerPort", "protocol"];

static MAPS: &[(&str, &str, &[&str])] = &[
    ("ObjectMeta", "ownerReferences", &["uid"]),
    ("PodSpec", "volumes", NAME),
    ("PodSpec", "initContainers", NAME),
    ("PodSpec", "containers", NAME),
    ("PodSpec", "ephemeralContainers", NAME),
    ("PodSpec", "imagePullSecrets", NAME),
    ("PodSpec", "hostAliases", &["ip"]),
    ("PodSpec", "topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("PodSpec", "schedulingGates", NAME),
    ("PodSpec", "resourceClaims", NAME),
    ("Container", "ports", PORT),
    ("Container", "env", NAME),
    ("Container", "volumeMounts", &["mountPath"]),
    ("Container", "volumeDevices", &["devicePath"]),
    ("EphemeralContainer", "ports", PORT),
    ("EphemeralContainer", "env", NAME),
    ("EphemeralContainer", "volumeMounts", &["mountPath"]),
    ("EphemeralContainer", "volumeDevices", &["devicePath"]),
    ("ResourceRequirements", "claims", NAME),
    ("PodStatus", "conditions", TYPE),
    ("PodStatus", "podIPs", &["ip"]),
    ("PodStatus", "resourceClaimStatuses", NAME),
    ("ContainerStatus", "volumeMounts", &["mountPath"]),
    ("ContainerStatus", "allocatedResourcesStatus", NAME),
    ("ResourceStatus", "resources", &["resourceID"]),
    ("NamespaceStatus", "conditions", TYPE),
    ("NodeStatus", "conditions", TYPE),
    ("NodeStatus", "addresses", TYPE),
    ("ServiceAccount", "secrets", NAME),
    ("ServiceSpec", "ports", &["port", "protocol"]),
    ("ServiceStatus", "conditions", TYPE),
    ("PersistentVolumeClaimStatus", "conditions", TYPE),
    ("ReplicationControllerStatus", "conditions", TYPE),
    ("DaemonSetStatus", "conditions", TYPE),
    ("DeploymentStatus", "conditions", TYPE),
    ("ReplicaSetStatus", "conditions", TYPE),
    ("StatefulSetStatus", "conditions", TYPE),
    ("PodDisruptionBudgetStatus", "conditions", TYPE),
    ("CertificateSigningRequestStatus", "conditions", TYPE),
];

static SETS: &[(&str, &str)] = &[
    ("ObjectMeta", "finalizers"),
    ("NodeSpec", "podCIDRs"),
    ("ContainerRestartRuleOnExitCodes", "values"),
    ("PodFailurePolicyOnExitCodesRequirement", "values"),
    ("UncountedTerminatedPods", "failed"),
    ("UncountedTerminatedPods", "succeeded"),
];

static ATOMIC_FIELDS: &[(&str, &str)] = &[
    ("PodSpec", "nodeSelector"),
    ("ServiceSpec", "selector"),
    ("ReplicationControllerSpec", "selector"),
    ("Scheduling", "nodeSelector"),
];

static ATOMIC_TYPES: &[&str] = &[
    "ConfigMapKeySelector",
    "EndpointAddress",
    "EndpointPort",
    "FileKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ResourceFieldSelector",
    "ScopeSelector",
    "SecretKeySelector",
    "SecretReference",
    "TopologySelectorTerm",
    "TypedLocalObjectReference",
];

/// Every field that has a row.
#[cfg(test)]
pub(super) fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let maps = MAPS.iter().map(|(owner, field, _)| (*owner, *field));
    maps.chain(SETS.iter().copied()).chain(ATOMIC_FIELDS.iter().copied())
}

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

/// Whether the struct in a field has several owners though its type is atomic elsewhere.
pub fn is_granular_field(owner: &str, field: &str) -> bool {
    GRANULAR_FIELDS.contains(&(owner, field))
}

/// Whether upstream's types write this struct or list even when it is empty, so that its mere presence is nobody's.
pub fn is_always_there(owner: &str, field: &str) -> bool {
    let row = ALWAYS_THERE.iter().find(|(name, _)| *name == field);
    row.is_some_and(|(_, owners)| owners.is_empty() || owners.contains(&owner))
}

/// What a key of list elements is when an element does not say.
pub fn key_default(key: &str) -> Option<&'static str> {
    (key == "protocol").then_some("TCP")
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
    ("PodStatus", "nodeAllocatableResourceClaimStatuses", &["resourceClaimName"]),
    ("HorizontalPodAutoscalerStatus", "conditions", TYPE),
    ("CertificateSigningRequestStatus", "conditions", TYPE),
    ("ComponentStatus", "conditions", TYPE),
    ("ServiceCIDRStatus", "conditions", TYPE),
    ("PodDisruptionBudgetStatus", "conditions", TYPE),
    ("CSINodeSpec", "drivers", NAME),
];

static SETS: &[(&str, &str)] = &[
    ("ObjectMeta", "finalizers"),
    ("NodeSpec", "podCIDRs"),
    ("ContainerRestartRuleOnExitCodes", "values"),
    ("NodeAllocatableResourceClaimStatus", "containers"),
    ("PodFailurePolicyOnExitCodesRequirement", "values"),
    ("UncountedTerminatedPods", "failed"),
    ("UncountedTerminatedPods", "succeeded"),
    ("Endpoint", "addresses"),
    ("CSIDriverSpec", "volumeLifecycleModes"),
];

static ATOMIC_FIELDS: &[(&str, &str)] = &[
    ("PodSpec", "nodeSelector"),
    ("ServiceSpec", "selector"),
    ("ReplicationControllerSpec", "selector"),
    ("Scheduling", "nodeSelector"),
];

/// Fields whose type is atomic elsewhere.
static GRANULAR_FIELDS: &[(&str, &str)] = &[("PersistentVolumeSpec", "claimRef")];

/// Structs that upstream's types always write, be they empty, in the types that have them (none: in all types).
static ALWAYS_THERE: &[(&str, &[&str])] = &[
    ("metadata", &[]),
    ("spec", &[]),
    ("status", &[]),
    (
        "template",
        &["DaemonSetSpec", "DeploymentSpec", "ReplicaSetSpec", "StatefulSetSpec", "JobSpec", "PodTemplate"],
    ),
    ("strategy", &["DeploymentSpec"]),
    ("updateStrategy", &[]),
    ("jobTemplate", &[]),
    ("resources", &["Container", "EphemeralContainer", "PersistentVolumeClaimSpec"]),
    ("podSelector", &["NetworkPolicySpec"]),
    ("loadBalancer", &["ServiceStatus", "IngressStatus"]),
    ("daemonEndpoints", &["NodeStatus"]),
    ("kubeletEndpoint", &["NodeDaemonEndpoints"]),
    ("nodeInfo", &["NodeStatus"]),
    ("state", &["ContainerStatus"]),
    ("lastState", &["ContainerStatus"]),
    ("source", &["Event", "VolumeAttachmentSpec"]),
    ("deprecatedSource", &["Event"]),
    ("involvedObject", &["Event"]),
    ("regarding", &["Event"]),
    ("roleRef", &[]),
    ("scaleTargetRef", &["HorizontalPodAutoscalerSpec"]),
    ("backend", &["HTTPIngressPath"]),
    ("port", &["IngressServiceBackend"]),
    ("conditions", &["Endpoint"]),
    ("preference", &["PreferredSchedulingTerm"]),
    ("podAffinityTerm", &["WeightedPodAffinityTerm"]),
    // Lists.
    ("containers", &["PodSpec"]),
    ("rules", &["Role", "ClusterRole"]),
    ("endpoints", &["EndpointSlice"]),
    ("drivers", &["CSINodeSpec"]),
];

static ATOMIC_TYPES: &[&str] = &[
    "ConfigMapKeySelector",
    "CrossVersionObjectReference",
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
    "RoleRef",
    "ScopeSelector",
    "SecretKeySelector",
    "SecretReference",
    "ServiceBackendPort",
    "Subject",
    "TopologySelectorTerm",
    "TypedLocalObjectReference",
];

/// Every field that has a row.
#[cfg(test)]
pub(super) fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    let maps = MAPS.iter().map(|(owner, field, _)| (*owner, *field));
    maps.chain(SETS.iter().copied()).chain(ATOMIC_FIELDS.iter().copied())
}

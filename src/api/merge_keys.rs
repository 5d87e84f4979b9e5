//! How a strategic merge patch treats the lists and structs of each type: the patch strategies and merge keys of
//! upstream's types (`patchStrategy` and `patchMergeKey` in `k8s.io/api`), as rows.
//!
//! Used by [`crate::api::patch`] to merge, and by the `OpenAPI` documents (`x-kubernetes-patch-strategy`,
//! `x-kubernetes-patch-merge-key`), from which kubectl computes its patches: both must say the same.
//! A field without a row: a list is replaced, a map is merged key by key.

/// How the value of one field is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// A struct or map, merged field by field; here only because something below it has a row.
    Struct,
    /// A struct whose patch replaces it.
    ReplacedStruct,
    /// A struct merged under a `$retainKeys` directive (a discriminated union).
    RetainedStruct,
    /// A list that is replaced; here only because something below it has a row.
    ReplacedList,
    /// A list of structs, matched by this field.
    ListBy(&'static str),
    /// A list of structs, matched by this field, each merged under a `$retainKeys` directive.
    RetainedListBy(&'static str),
    /// A list of scalars, merged as a set.
    Set,
}

/// One field of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// JSON name.
    pub name: &'static str,
    /// How its value is merged.
    pub strategy: Strategy,
    /// Type of the value, or of the list's elements; empty when nothing below it has a row.
    pub holds: &'static str,
}

impl Field {
    /// `x-kubernetes-patch-strategy`, none where upstream has no such tag.
    pub fn patch_strategy(&self) -> Option<&'static str> {
        match self.strategy {
            Strategy::Struct | Strategy::ReplacedList => None,
            Strategy::ReplacedStruct => Some("replace"),
            Strategy::RetainedStruct => Some("retainKeys"),
            Strategy::ListBy(_) | Strategy::Set => Some("merge"),
            Strategy::RetainedListBy(_) => Some("merge,retainKeys"),
        }
    }

    /// `x-kubernetes-patch-merge-key`, none where upstream has no such tag.
    pub fn merge_key(&self) -> Option<&'static str> {
        match self.strategy {
            Strategy::ListBy(key) | Strategy::RetainedListBy(key) => Some(key),
            Strategy::Struct
            | Strategy::ReplacedStruct
            | Strategy::RetainedStruct
            | Strategy::ReplacedList
            | Strategy::Set => None,
        }
    }
}

/// The row of a field; types go by their last name, e.g. `("PodSpec", "containers")`, an object's by its kind.
pub fn field(owner: &str, name: &str) -> Option<&'static Field> {
    if name == "metadata" && !TYPES.iter().any(|(known, _)| *known == owner) {
        return Some(&METADATA);
    }
    fields(owner).iter().find(|field| field.name == name)
}

/// All rows of a type.
pub fn fields(owner: &str) -> &'static [Field] {
    TYPES.iter().find(|(known, _)| *known == owner).map_or(&[], |(_, fields)| fields)
}

/// Every type that has rows.
pub fn types() -> impl Iterator<Item = (&'static str, &'static [Field])> {
    TYPES.iter().copied()
}

const fn inner(name: &'static str, holds: &'static str) -> Field {
    Field { name, strategy: Strategy::Struct, holds }
}

const fn items(name: &'static str, holds: &'static str) -> Field {
    Field { name, strategy: Strategy::ReplacedList, holds }
}

const fn list(name: &'static str, key: &'static str, holds: &'static str) -> Field {
    Field { name, strategy: Strategy::ListBy(key), holds }
}

const fn retained(name: &'static str, key: &'static str, holds: &'static str) -> Field {
    Field { name, strategy: Strategy::RetainedListBy(key), holds }
}

const fn set(name: &'static str) -> Field {
    Field { name, strategy: Strategy::Set, holds: "" }
}

const METADATA: Field = inner("metadata", "ObjectMeta");
const CONDITIONS: Field = list("conditions", "type", "");
const TEMPLATE: Field = inner("template", "PodTemplateSpec");

const CONTAINER: &[Field] = &[
    list("ports", "containerPort", ""),
    list("env", "name", ""),
    list("volumeMounts", "mountPath", ""),
    list("volumeDevices", "devicePath", ""),
];

static TYPES: &[(&str, &[Field])] = &[
    ("ObjectMeta", &[list("ownerReferences", "uid", ""), set("finalizers")]),
    ("Pod", &[METADATA, inner("spec", "PodSpec"), inner("status", "PodStatus")]),
    ("PodTemplate", &[METADATA, TEMPLATE]),
    ("PodTemplateSpec", &[METADATA, inner("spec", "PodSpec")]),
    (
        "PodSpec",
        &[
            retained("volumes", "name", "Volume"),
            list("initContainers", "name", "Container"),
            list("containers", "name", "Container"),
            list("ephemeralContainers", "name", "EphemeralContainer"),
            list("imagePullSecrets", "name", ""),
            list("hostAliases", "ip", ""),
            list("topologySpreadConstraints", "topologyKey", ""),
            list("schedulingGates", "name", ""),
            retained("resourceClaims", "name", ""),
        ],
    ),
    ("Container", CONTAINER),
    ("EphemeralContainer", CONTAINER),
    ("Volume", &[inner("ephemeral", "EphemeralVolumeSource")]),
    ("EphemeralVolumeSource", &[inner("volumeClaimTemplate", "PersistentVolumeClaimTemplate")]),
    ("PersistentVolumeClaimTemplate", &[METADATA]),
    (
        "PodStatus",
        &[
            CONDITIONS,
            list("hostIPs", "ip", ""),
            list("podIPs", "ip", ""),
            retained("resourceClaimStatuses", "name", ""),
            items("initContainerStatuses", "ContainerStatus"),
            items("containerStatuses", "ContainerStatus"),
            items("ephemeralContainerStatuses", "ContainerStatus"),
        ],
    ),
    (
        "ContainerStatus",
        &[list("volumeMounts", "mountPath", ""), list("allocatedResourcesStatus", "name", "")],
    ),
    ("Namespace", &[METADATA, inner("status", "NamespaceStatus")]),
    ("NamespaceStatus", &[CONDITIONS]),
    ("Node", &[METADATA, inner("spec", "NodeSpec"), inner("status", "NodeStatus")]),
    ("NodeSpec", &[set("podCIDRs")]),
    ("NodeStatus", &[CONDITIONS, list("addresses", "type", "")]),
    ("ServiceAccount", &[METADATA, list("secrets", "name", "")]),
    ("Service", &[METADATA, inner("spec", "ServiceSpec"), inner("status", "ServiceStatus")]),
    ("ServiceSpec", &[list("ports", "port", "")]),
    ("ServiceStatus", &[CONDITIONS]),
    ("PersistentVolumeClaim", &[METADATA, inner("status", "PersistentVolumeClaimStatus")]),
    ("PersistentVolumeClaimStatus", &[CONDITIONS]),
    (
        "ReplicationController",
        &[
            METADATA,
            inner("spec", "ReplicationControllerSpec"),
            inner("status", "ReplicationControllerStatus"),
        ],
    ),
    ("ReplicationControllerSpec", &[TEMPLATE]),
    ("ReplicationControllerStatus", &[CONDITIONS]),
    ("DaemonSet", &[METADATA, inner("spec", "DaemonSetSpec"), inner("status", "DaemonSetStatus")]),
    ("DaemonSetSpec", &[TEMPLATE]),
    ("DaemonSetStatus", &[CONDITIONS]),
    ("Deployment", &[METADATA, inner("spec", "DeploymentSpec"), inner("status", "DeploymentStatus")]),
    (
        "DeploymentSpec",
        &[TEMPLATE, Field { name: "strategy", strategy: Strategy::RetainedStruct, holds: "" }],
    ),
    ("DeploymentStatus", &[CONDITIONS]),
    ("ReplicaSet", &[METADATA, inner("spec", "ReplicaSetSpec"), inner("status", "ReplicaSetStatus")]),
    ("ReplicaSetSpec", &[TEMPLATE]),
    ("ReplicaSetStatus", &[CONDITIONS]),
    ("StatefulSet", &[METADATA, inner("spec", "StatefulSetSpec"), inner("status", "StatefulSetStatus")]),
    ("StatefulSetSpec", &[TEMPLATE, items("volumeClaimTemplates", "PersistentVolumeClaim")]),
    ("StatefulSetStatus", &[CONDITIONS]),
    ("Job", &[METADATA, inner("spec", "JobSpec"), inner("status", "JobStatus")]),
    ("JobSpec", &[TEMPLATE]),
    ("JobStatus", &[CONDITIONS]),
    ("CronJob", &[METADATA, inner("spec", "CronJobSpec")]),
    ("CronJobSpec", &[inner("jobTemplate", "JobTemplateSpec")]),
    ("JobTemplateSpec", &[METADATA, inner("spec", "JobSpec")]),
    (
        "PodDisruptionBudget",
        &[METADATA, inner("spec", "PodDisruptionBudgetSpec"), inner("status", "PodDisruptionBudgetStatus")],
    ),
    ("PodDisruptionBudgetSpec", &[Field { name: "selector", strategy: Strategy::ReplacedStruct, holds: "" }]),
    ("PodDisruptionBudgetStatus", &[CONDITIONS]),
    ("CSINode", &[METADATA, inner("spec", "CSINodeSpec")]),
    ("CSINodeSpec", &[list("drivers", "name", "")]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_a_field_holds_has_rows() {
        for (owner, fields) in types() {
            for field in fields.iter().filter(|field| !field.holds.is_empty()) {
                assert!(
                    !super::fields(field.holds).is_empty(),
                    "{owner}.{} holds {}",
                    field.name,
                    field.holds
                );
            }
        }
    }

    #[test]
    fn no_type_and_no_field_has_two_rows() {
        for (i, (owner, fields)) in TYPES.iter().enumerate() {
            assert!(TYPES[..i].iter().all(|(other, _)| other != owner), "{owner}");
            for (j, field) in fields.iter().enumerate() {
                assert!(fields[..j].iter().all(|other| other.name != field.name), "{owner}.{}", field.name);
            }
        }
    }

    #[test]
    fn kinds_without_rows_of_their_own_still_merge_their_metadata() {
        assert_eq!(field("ConfigMap", "metadata").map(|f| f.holds), Some("ObjectMeta"));
        assert_eq!(field("ConfigMap", "data"), None);
        assert_eq!(field("ObjectMeta", "metadata"), None);
    }
}

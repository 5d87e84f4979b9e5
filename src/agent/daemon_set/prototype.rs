//! The Pod that a node makes of a DaemonSet for itself.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};

use crate::api::hash::{Stored, name_hash};
use crate::api::validation::SYSTEM_CLASSES;
use crate::placement::{Demand, daemon_set};
use crate::time::WallTime;

/// Label with the revision hash of the template that a Pod was made of.
pub const REVISION_LABEL: &str = "controller-revision-hash";
/// Label with the count of template changes, for readers of old.
const GENERATION_LABEL: &str = "pod-template-generation";
/// The DaemonSet's annotation with that count.
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";
/// Annotation: how many Pods this node made for the DaemonSet before this one, as far as it remembers.
pub(super) const ATTEMPT_ANNOTATION: &str = "leasehold.dev/attempt";
/// A Pod's name is the host name of its containers, which has at most 63 bytes.
const NAME_BYTES_MAX: usize = 63;

/// What all Pods of one revision of a DaemonSet on one node have in common.
#[derive(Clone, Debug)]
pub(super) struct Prototype {
    pod: Pod,
    demand: Demand,
}

impl Prototype {
    /// The Pod of this DaemonSet on this node, with the defaults that the API gives to Pods.
    pub(super) fn new(set: &Stored<DaemonSet>, node: &str) -> Self {
        let pod = with_defaults(bound(set, node));
        let demand = pod.spec.as_ref().map(Demand::of).unwrap_or_default();
        Self { pod, demand }
    }

    /// What it takes of the node.
    pub(super) fn demand(&self) -> &Demand {
        &self.demand
    }

    /// How important it is: `spec.priority`, or by its class where that is built in.
    pub(super) fn priority(&self) -> i32 {
        let Some(spec) = &self.pod.spec else { return 0 };
        let class = spec.priority_class_name.as_deref().unwrap_or_default();
        let built_in = || SYSTEM_CLASSES.iter().find(|(name, _)| *name == class);
        spec.priority.or_else(|| built_in()?.1.try_into().ok()).unwrap_or(0)
    }

    /// One Pod. Its name follows from DaemonSet, node, revision and attempt, so that a creation that was repeated
    /// after a crash meets itself, and one for another revision or attempt meets nobody.
    pub(super) fn make(&self, set: &Stored<DaemonSet>, uid: String, attempt: u32, wall: WallTime) -> Pod {
        let mut pod = self.pod.clone();
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let owner = set.object.metadata.uid.as_deref().unwrap_or_default();
        let hash = name_hash(&[owner, &node, set.revision(), &attempt.to_string()]);
        let metadata = &mut pod.metadata;
        metadata.name = Some(name(set.object.metadata.name.as_deref().unwrap_or_default(), &hash));
        metadata.uid = Some(uid);
        metadata.creation_timestamp = Some(Time(wall.0));
        metadata
            .annotations
            .get_or_insert_default()
            .insert(ATTEMPT_ANNOTATION.to_owned(), attempt.to_string());
        pod
    }
}

/// `BASE-HASH` in at most 63 bytes.
fn name(base: &str, hash: &str) -> String {
    let mut end = base.len().min(NAME_BYTES_MAX - hash.len() - 1);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}-{hash}", base[..end].trim_end_matches(['-', '.']))
}

fn bound(set: &Stored<DaemonSet>, node: &str) -> Pod {
    let template = set.object.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut spec = template.spec.unwrap_or_default();
    spec.tolerations = Some(daemon_set::tolerations(&spec));
    spec.affinity = Some(pinned(spec.affinity.take(), node));
    spec.node_name = Some(node.to_owned());
    let given = template.metadata.unwrap_or_default();
    let own = &set.object.metadata;
    let mut labels = given.labels.unwrap_or_default();
    labels.insert(REVISION_LABEL.to_owned(), set.revision().to_owned());
    if let Some(generation) = template_generation(set) {
        labels.insert(GENERATION_LABEL.to_owned(), generation.to_string());
    }
    let metadata = ObjectMeta {
        generate_name: own.name.as_ref().map(|name| format!("{name}-")),
        namespace: own.namespace.clone(),
        labels: Some(labels),
        annotations: given.annotations,
        finalizers: given.finalizers,
        owner_references: Some(vec![owner(set)]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: Some(spec), status: None }
}

/// The defaults of the API. A template that the API would refuse as a Pod stays as it is, and is refused there.
fn with_defaults(pod: Pod) -> Pod {
    let defaulted = serde_json::to_value(&pod).and_then(|mut value| {
        crate::api::defaults::pod(&mut value);
        serde_json::from_value(value)
    });
    defaulted.unwrap_or(pod)
}

/// The reference by which the DaemonSet owns its Pods.
pub(super) fn owner(set: &Stored<DaemonSet>) -> OwnerReference {
    let own = &set.object.metadata;
    OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "DaemonSet".to_owned(),
        name: own.name.clone().unwrap_or_default(),
        uid: own.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn template_generation(set: &Stored<DaemonSet>) -> Option<i64> {
    set.object.metadata.annotations.as_ref()?.get(GENERATION_ANNOTATION)?.parse().ok()
}

/// The affinity with its requirement of nodes replaced by this one node, by name, as upstream pins daemon Pods.
fn pinned(affinity: Option<Affinity>, node: &str) -> Affinity {
    let mut affinity = affinity.unwrap_or_default();
    let this_node = NodeSelectorRequirement {
        key: "metadata.name".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: None, match_fields: Some(vec![this_node]) };
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    node_affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
    affinity
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn set(template: &Value) -> Stored<DaemonSet> {
        Stored::read(json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {
                "name": "exporter", "namespace": "monitoring", "uid": "d1",
                "annotations": { GENERATION_ANNOTATION: "3" },
            },
            "spec": { "selector": { "matchLabels": { "app": "exporter" } }, "template": template },
        }))
        .expect("a DaemonSet")
    }

    fn simple() -> Stored<DaemonSet> {
        set(&json!({
            "metadata": { "labels": { "app": "exporter" }, "annotations": { "a": "b" } },
            "spec": {
                "hostNetwork": true,
                "affinity": { "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "gpu", "operator": "Exists" }] }],
                    },
                    "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 1, "preference": {} }],
                } },
                "containers": [{ "name": "c", "image": "x", "ports": [{ "containerPort": 9100 }], "resources": { "limits": { "cpu": "1" } } }],
            },
        }))
    }

    fn wall() -> WallTime {
        WallTime::parse("2026-03-01T12:00:00Z").expect("a time")
    }

    fn make(set: &Stored<DaemonSet>, node: &str, attempt: u32) -> Value {
        let pod = Prototype::new(set, node).make(set, "u1".to_owned(), attempt, wall());
        serde_json::to_value(pod).expect("JSON")
    }

    #[test]
    fn a_daemon_pod_is_bound_owned_labelled_and_pinned_as_upstreams() {
        let set = simple();
        let pod = make(&set, "n1", 0);
        let metadata = &pod["metadata"];
        assert_eq!(
            metadata["labels"],
            json!({
                "app": "exporter", "controller-revision-hash": set.revision(), "pod-template-generation": "3",
            })
        );
        assert_eq!(metadata["annotations"], json!({ "a": "b", "leasehold.dev/attempt": "0" }));
        assert_eq!(
            metadata["ownerReferences"],
            json!([{
                "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "exporter", "uid": "d1",
                "controller": true, "blockOwnerDeletion": true,
            }])
        );
        assert_eq!(
            (&metadata["namespace"], &metadata["generateName"], &metadata["uid"]),
            (&json!("monitoring"), &json!("exporter-"), &json!("u1"))
        );
        assert_eq!(metadata["creationTimestamp"], "2026-03-01T12:00:00Z");
        assert_eq!(pod["spec"]["nodeName"], "n1");
        let affinity = &pod["spec"]["affinity"]["nodeAffinity"];
        assert_eq!(
            affinity["requiredDuringSchedulingIgnoredDuringExecution"],
            json!({ "nodeSelectorTerms": [{ "matchFields": [
                { "key": "metadata.name", "operator": "In", "values": ["n1"] },
            ] }] })
        );
        assert_eq!(affinity["preferredDuringSchedulingIgnoredDuringExecution"][0]["weight"], 1);
        let tolerations = pod["spec"]["tolerations"].as_array().expect("a list");
        assert_eq!(tolerations.len(), 7);
        assert!(tolerations.iter().all(|toleration| toleration.get("tolerationSeconds").is_none()));
    }

    #[test]
    fn a_daemon_pod_has_the_defaults_of_the_api_before_the_api_has_seen_it() {
        let pod = make(&simple(), "n1", 0);
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["resources"]["requests"]["cpu"], "1");
        assert_eq!(container["ports"][0]["hostPort"], 9100);
        assert_eq!(pod["spec"]["serviceAccountName"], "default");
        assert_eq!(pod["status"]["phase"], "Pending");
    }

    #[test]
    fn names_meet_only_themselves_and_are_host_names() {
        let one = simple();
        let name = |set: &Stored<DaemonSet>, node: &str, attempt: u32| {
            make(set, node, attempt)["metadata"]["name"].as_str().expect("a name").to_owned()
        };
        assert_eq!(name(&one, "n1", 0), name(&one, "n1", 0));
        assert!(name(&one, "n1", 0).starts_with("exporter-"));
        let other_template = set(&json!({ "spec": { "containers": [] } }));
        let names =
            [name(&one, "n1", 0), name(&one, "n1", 1), name(&one, "n2", 0), name(&other_template, "n1", 0)];
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        for base in ["a".repeat(253), format!("{}.{}", "b".repeat(51), "c".repeat(100)), "x".to_owned()] {
            let long = super::name(&base, "0123456789");
            assert!(long.len() <= 63 && !long.contains(".-") && !long.contains("--"), "{long}");
        }
    }
}

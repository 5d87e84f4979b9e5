//! What a node may write: looks at the content of its writes, as upstream's admission of the same name does. PURE.
//!
//! Beyond upstream a node makes Pods of its own: of a live DaemonSet, bound to itself, and true to that DaemonSet's
//! template; and it takes Pods that have been offered to it.

mod identities;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::api::status::Status;
use crate::api::storage::{DIRECTORY, NODE_LABEL, node_label};
use crate::api::{defaults, kinds, service_account};
use crate::coordinator::command::{Guard, Intended, Subresource, Written};
use crate::coordinator::rules::is;
use crate::coordinator::state::{Draft, Key, Object};
use crate::coordinator::update::same;
use crate::coordinator::{metadata, state};
use crate::lease::ticket;

/// Where nodes keep their sessions.
const SESSIONS: &str = "kube-node-lease";
/// Label with the hash of the revision that a DaemonSet's Pod was made of.
const REVISION_LABEL: &str = "controller-revision-hash";
const GENERATION_LABEL: &str = "pod-template-generation";
/// Annotations of our own.
const OWN_PREFIX: &str = "leasehold.dev/";
/// Labels of `kubernetes.io` that a node may give itself: those of the kubelet.
const NODE_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "node.kubernetes.io/windows-build",
];
/// Domains of labels that a node may give itself: the kubelet's, and that of the hardware that it finds.
const NODE_DOMAINS: [&str; 3] = ["kubelet.kubernetes.io", "node.kubernetes.io", "feature.node.kubernetes.io"];

/// Stands for one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRestriction {
    /// Its name.
    pub node: String,
}

impl Guard for NodeRestriction {
    fn check(&self, write: &Intended<'_>, draft: &Draft<'_>) -> Result<(), Status> {
        let kind = write.kind;
        let why = if is(kind, "", "Pod") {
            self.pod(write, draft)
        } else if is(kind, "", "Node") {
            self.node(write)
        } else if is(kind, "coordination.k8s.io", "Lease") {
            self.lease(write, draft)
        } else if is(kind, "", "PersistentVolume") {
            self.volume(write)
        } else {
            Ok(())
        };
        why.map_err(|why| Status::forbidden(kind.group, kind.plural, write.name, &why))
    }
}

impl NodeRestriction {
    fn is_ours(&self, pod: &Value) -> bool {
        pod["spec"]["nodeName"] == self.node.as_str()
    }

    fn is_offered(&self, pod: &Value) -> bool {
        let is_free = pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty);
        is_free && pod["status"]["nominatedNodeName"] == self.node.as_str()
    }

    fn pod(&self, write: &Intended<'_>, draft: &Draft<'_>) -> Result<(), String> {
        let node = &self.node;
        match (write.part, write.old, write.new) {
            (Written::Binding, Some(old), Some(new)) => {
                if self.is_ours(new) && self.is_offered(old) {
                    return Ok(());
                }
                Err(format!("node {node:?} can only bind pods that are nominated to it, and to itself"))
            }
            (Written::Part(Subresource::Main), None, Some(new)) => self.create(new, write.namespace, draft),
            (Written::Part(Subresource::Main), Some(old), None) => {
                let why = format!("node {node:?} can only delete pods with spec.nodeName set to itself");
                if self.is_ours(old) { Ok(()) } else { Err(why) }
            }
            (Written::Part(Subresource::Main), Some(old), Some(new)) => {
                self.change_owners(old, new, write.namespace, draft)
            }
            (Written::Part(Subresource::Status), Some(old), Some(new)) => {
                if self.is_offered(old) {
                    return self.decline(old, new);
                }
                if !self.is_ours(old) {
                    return Err(format!(
                        "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                    ));
                }
                if same(&old["metadata"]["labels"], &new["metadata"]["labels"]) {
                    return Ok(());
                }
                Err(format!("node {node:?} cannot update labels through pod status"))
            }
            _ => Err(format!("node {node:?} may not do this")),
        }
    }

    /// Of a Pod that it is offered, a node gives the offer back and says why; nothing else.
    fn decline(&self, old: &Value, new: &Value) -> Result<(), String> {
        let rest = |pod: &Value| {
            let mut pod = pod.clone();
            for field in ["managedFields", "resourceVersion"] {
                metadata::clear(&mut pod, field);
            }
            if let Some(status) = pod["status"].as_object_mut() {
                status.remove("nominatedNodeName");
            }
            if let Some(conditions) = pod["status"]["conditions"].as_array_mut() {
                conditions.retain(|condition| condition["type"] != "PodScheduled");
                if conditions.is_empty() {
                    pod["status"]["conditions"] = Value::Null;
                }
            }
            pod
        };
        let nominated = new["status"]["nominatedNodeName"].as_str().unwrap_or_default();
        let is_given_back = nominated.is_empty() || nominated == self.node;
        if is_given_back && same(&rest(old), &rest(new)) {
            return Ok(());
        }
        Err(format!("node {:?} can only decline pods that are nominated to it", self.node))
    }

    /// A Pod of a DaemonSet, as the DaemonSet says.
    fn create(&self, pod: &Value, namespace: &str, draft: &Draft<'_>) -> Result<(), String> {
        let node = &self.node;
        if !self.is_ours(pod) {
            return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
        }
        let owners = pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
        let [owner] = owners else {
            return Err(format!(
                "node {node:?} can only create pods with a single owner reference set to a DaemonSet"
            ));
        };
        let set = daemon_set(owner, namespace, draft).ok_or_else(|| {
            format!(
                "node {node:?} can only create pods with an owner reference set to a DaemonSet that is there"
            )
        })?;
        let set = set.value();
        if metadata::is_terminating(&set) {
            return Err(format!(
                "node {node:?} can only create pods of a DaemonSet that is not being deleted"
            ));
        }
        let templates = [Some(set["spec"]["template"].clone()), revision(pod, &set, namespace, draft)];
        if templates.into_iter().flatten().any(|template| self.is_made_of(pod, &template)) {
            return Ok(());
        }
        Err(format!(
            "node {node:?} can only create pods that match the template of DaemonSet {:?}",
            metadata::text(&set, "name")
        ))
    }

    /// Whether the Pod is what a node makes of the template.
    fn is_made_of(&self, pod: &Value, template: &Value) -> bool {
        let mut expected = json!({ "metadata": { "name": "x" }, "spec": template["spec"] });
        defaults::pod(&mut expected);
        let (mut pod_spec, mut expected) = (comparable(pod), comparable(&expected));
        // What belongs to the making of a DaemonSet's Pod: the node itself, and what it tolerates in addition.
        let tolerations = |spec: &mut Value| {
            let taken = spec.as_object_mut().and_then(|spec| spec.remove("tolerations"));
            taken.and_then(|list| list.as_array().cloned()).unwrap_or_default()
        };
        let (given, asked) = (tolerations(&mut pod_spec), tolerations(&mut expected));
        // One of the template's that every daemon tolerates for good loses its seconds.
        let has = |one: &Value| {
            given.iter().any(|given| given == one || (is_of_every_daemon(one) && given["key"] == one["key"]))
        };
        let is_tolerant =
            asked.iter().all(has) && given.iter().all(|one| asked.contains(one) || is_of_every_daemon(one));
        pin(&mut expected, &self.node);
        pin(&mut pod_spec, &self.node);
        is_tolerant && same(&pod_spec, &expected) && has_its_labels(pod, template)
    }

    /// A node adopts and releases the Pods it runs; all else of them it leaves as it is.
    fn change_owners(
        &self,
        old: &Value,
        new: &Value,
        namespace: &str,
        draft: &Draft<'_>,
    ) -> Result<(), String> {
        let node = &self.node;
        if !self.is_ours(old) {
            return Err(format!("node {node:?} can only update pods with spec.nodeName set to itself"));
        }
        let rest = |pod: &Value| {
            let mut pod = pod.clone();
            for field in ["ownerReferences", "managedFields", "resourceVersion", "generation"] {
                metadata::clear(&mut pod, field);
            }
            pod
        };
        if !same(&rest(old), &rest(new)) {
            return Err(format!("node {node:?} can only update the owner references of its pods"));
        }
        let owners = |pod: &Value| pod["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        let before = owners(old);
        let added = owners(new).into_iter().filter(|owner| !before.contains(owner));
        for owner in added {
            if daemon_set(&owner, namespace, draft).is_none() {
                return Err(format!("node {node:?} can only give its pods to a DaemonSet that is there"));
            }
        }
        Ok(())
    }

    fn node(&self, write: &Intended<'_>) -> Result<(), String> {
        let node = &self.node;
        if write.name != node {
            return Err(format!("node {node:?} is not allowed to modify node {:?}", write.name));
        }
        let Some(new) = write.new else {
            return Err(format!("node {node:?} is not allowed to delete node {:?}", write.name));
        };
        let Some(old) = write.old else {
            let forbidden = forbidden_labels(new, &Value::Null);
            if forbidden.is_empty() {
                return Ok(());
            }
            return Err(format!("node {node:?} is not allowed to set the following labels: {forbidden}"));
        };
        if !same(&new["spec"]["taints"], &old["spec"]["taints"]) {
            return Err(format!("node {node:?} is not allowed to modify taints"));
        }
        let forbidden = forbidden_labels(new, old);
        if forbidden.is_empty() {
            Ok(())
        } else {
            Err(format!("is not allowed to modify labels: {forbidden}"))
        }
    }

    /// Whether it gives a ticket of a rollout back that it holds.
    fn gives_back(&self, write: &Intended<'_>) -> bool {
        let Some(old) = write.old.filter(|_| write.new.is_none()) else { return false };
        let labels = &old["metadata"]["labels"];
        labels[ticket::KIND_LABEL] == ticket::KIND && old["spec"]["holderIdentity"] == self.node.as_str()
    }

    /// Of a volume that is a directory on this node, it says that the directory is gone; nothing else.
    fn volume(&self, write: &Intended<'_>) -> Result<(), String> {
        let why = format!("node {:?} can only let go of volumes that it keeps", self.node);
        let (Written::Part(Subresource::Main), Some(old), Some(new)) = (write.part, write.old, write.new)
        else {
            return Err(why);
        };
        let rest = |volume: &Value| {
            let mut volume = volume.clone();
            for field in ["managedFields", "resourceVersion"] {
                metadata::clear(&mut volume, field);
            }
            if let Some(finalizers) = volume["metadata"]["finalizers"].as_array_mut() {
                finalizers.retain(|finalizer| finalizer != DIRECTORY);
            }
            volume
        };
        let is_kept_here = old["metadata"]["labels"][NODE_LABEL] == node_label(&self.node);
        if is_kept_here && metadata::is_terminating(old) && same(&rest(new), &rest(old)) {
            return Ok(());
        }
        Err(why)
    }

    fn lease(&self, write: &Intended<'_>, draft: &Draft<'_>) -> Result<(), String> {
        if self.gives_back(write) {
            return Ok(());
        }
        if write.namespace == identities::NAMESPACE {
            return identities::check(&self.node, write, draft);
        }
        if write.namespace != SESSIONS {
            return Err(format!("can only access leases in the {SESSIONS:?} system namespace"));
        }
        if write.name != self.node {
            return Err("can only access node lease with the same name as the requesting node".into());
        }
        Ok(())
    }

    /// A node's tokens are for Pods that it runs: the request for one, with the Pod that it names, if there is one.
    pub fn token_request(&self, request: &Value, pod: Option<&Value>) -> Result<(), String> {
        let bound = &request["spec"]["boundObjectRef"];
        let text = |field: &str| bound[field].as_str().unwrap_or_default();
        if text("apiVersion") != "v1" || text("kind") != "Pod" || text("name").is_empty() {
            return Err("node requested token not bound to a pod".into());
        }
        if text("uid").is_empty() {
            return Err("node requested token with a pod binding without a uid".into());
        }
        let Some(pod) = pod else { return Err(format!("pods {:?} not found", text("name"))) };
        if metadata::text(pod, "uid") != text("uid") {
            return Err(format!(
                "the UID in the bound object reference ({}) does not match the UID in record. The object might have \
                 been deleted and then recreated",
                text("uid")
            ));
        }
        if self.is_ours(pod) {
            return Ok(());
        }
        Err("node requested token bound to a pod scheduled on a different node".into())
    }
}

/// The DaemonSet that an owner reference names as the controller, by its uid.
fn daemon_set(owner: &Value, namespace: &str, draft: &Draft<'_>) -> Option<std::sync::Arc<Object>> {
    let is_daemon = owner["kind"] == "DaemonSet" && owner["apiVersion"] == "apps/v1";
    if !is_daemon || owner["controller"] != true {
        return None;
    }
    let kind = kinds::by_kind("apps", "v1", "DaemonSet")?;
    let found = draft.get(&Key::new(kind, namespace, owner["name"].as_str()?))?;
    (Some(found.uid.as_str()) == owner["uid"].as_str()).then_some(found)
}

/// The template of the revision that the Pod says it was made of, if that is one of this DaemonSet's.
fn revision(pod: &Value, set: &Value, namespace: &str, draft: &Draft<'_>) -> Option<Value> {
    let hash = pod["metadata"]["labels"][REVISION_LABEL].as_str()?;
    let kind = kinds::by_kind("apps", "v1", "ControllerRevision")?;
    let name = format!("{}-{hash}", metadata::text(set, "name"));
    let found = draft.get(&state::Key::new(kind, namespace, &name))?.value();
    let owners = found["metadata"]["ownerReferences"].as_array()?;
    let uid = metadata::text(set, "uid");
    owners.iter().any(|owner| owner["uid"] == uid).then(|| found["data"]["spec"]["template"].clone())
}

/// A Pod's spec without what its making adds: where it runs, its token, and what follows from its priority class.
fn comparable(pod: &Value) -> Value {
    let mut pod = pod.clone();
    service_account::without_token(&mut pod);
    let mut spec = pod["spec"].take();
    if let Some(fields) = spec.as_object_mut() {
        for added in ["nodeName", "priority", "preemptionPolicy", "imagePullSecrets", "hostname"] {
            fields.remove(added);
        }
    }
    spec
}

/// The requirement of nodes replaced by this one node, by name.
fn pin(spec: &mut Value, node: &str) {
    let Some(spec) = spec.as_object_mut() else { return };
    let affinity = spec.entry("affinity").or_insert_with(|| json!({}));
    if !affinity["nodeAffinity"].is_object() {
        affinity["nodeAffinity"] = json!({});
    }
    affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = node.into();
}

/// A toleration that every DaemonSet's Pod is given.
fn is_of_every_daemon(toleration: &Value) -> bool {
    let key = toleration["key"].as_str().unwrap_or_default();
    key.starts_with("node.kubernetes.io/") && toleration["operator"] == "Exists"
}

/// Labels and annotations are the template's, and those that the making adds.
fn has_its_labels(pod: &Value, template: &Value) -> bool {
    let own = |key: &str| key == REVISION_LABEL || key == GENERATION_LABEL || key.starts_with(OWN_PREFIX);
    ["labels", "annotations"].into_iter().all(|field| {
        let (of_pod, of_template) = (&pod["metadata"][field], &template["metadata"][field]);
        let given = of_pod.as_object().into_iter().flatten();
        let asked = of_template.as_object().into_iter().flatten();
        asked.into_iter().all(|(key, value)| &of_pod[key.as_str()] == value || own(key))
            && given.into_iter().all(|(key, value)| &of_template[key.as_str()] == value || own(key))
    })
}

/// Keys of labels that differ and that a node may not give itself, separated by commas.
fn forbidden_labels(new: &Value, old: &Value) -> String {
    let (new, old) = (&new["metadata"]["labels"], &old["metadata"]["labels"]);
    let keys = |labels: &Value| -> BTreeSet<String> {
        labels.as_object().into_iter().flat_map(|labels| labels.keys().cloned()).collect()
    };
    let all: BTreeSet<String> = keys(new).union(&keys(old)).cloned().collect();
    let differs = |key: &&String| new[key.as_str()] != old[key.as_str()];
    let found: Vec<String> = all.iter().filter(differs).filter(|key| is_forbidden(key)).cloned().collect();
    found.join(", ")
}

fn is_forbidden(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| domain == parent || domain.ends_with(&format!(".{parent}"));
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    let is_reserved = within("kubernetes.io") || within("k8s.io");
    is_reserved && !NODE_LABELS.contains(&label) && !NODE_DOMAINS.iter().any(|own| within(own))
}

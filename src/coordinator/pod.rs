//! What is particular to Pods: the first status, binding, and the time that a Pod is given to end.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::kinds::Kind;
use crate::api::names;
use crate::api::pod_resources::qos_class;
use crate::api::status::{FieldError, Status};
use crate::coordinator::command::{Body, Outcome, Reply, Written};
use crate::coordinator::delete::Ending;
use crate::coordinator::metadata;
use crate::coordinator::rules::is;
use crate::coordinator::turn::{Turn, done};
use crate::time::WallTime;

/// Kinds that name their Pods after themselves.
const NAMESAKES: [(&str, &str); 5] = [
    ("", "ReplicationController"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("batch", "CronJob"),
    ("batch", "Job"),
];

/// A name that is no DNS label makes an odd host name.
pub(super) fn warning(kind: &Kind, name: &str) -> Option<String> {
    let what = if is(kind, "", "Pod") {
        "the Pod's hostname"
    } else if NAMESAKES.contains(&(kind.group, kind.kind)) {
        "Pod names and hostnames"
    } else {
        return None;
    };
    let faults = names::dns1123_label(name);
    (!faults.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            faults.join(" ")
        )
    })
}

/// A new Pod is pending, or waits at a gate; its quality of service is fixed for life.
pub(super) fn prepare_new(pod: &mut Value, now: WallTime) -> Result<(), Status> {
    let typed = Pod::deserialize(&*pod).map_err(Status::internal)?;
    pod["status"] = json!({ "phase": "Pending", "qosClass": qos_class(&typed).name() });
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        let condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        });
        set_condition(pod, condition, now);
    }
    Ok(())
}

/// A node writes status, and not what else it read long ago.
pub(super) fn prepare_status(new: &mut Value, old: &Value) {
    metadata::carry(new, old, "ownerReferences");
    metadata::carry(new, old, "deletionTimestamp");
    for field in ["qosClass", "observedGeneration"] {
        let kept = &old["status"][field];
        if new["status"][field].is_null() && !kept.is_null() {
            new["status"][field] = kept.clone();
        }
    }
}

/// What a DELETE does to a Pod: it is given time, or less time than before, never more.
pub(super) fn begin_ending(pod: &mut Value, asked_seconds: Option<i64>, now: WallTime) -> Ending {
    let asked_seconds = asked_seconds.map(at_least_one_if_negative);
    if metadata::is_terminating(pod) {
        return shorten(pod, asked_seconds, now);
    }
    let seconds = grace_seconds(pod, asked_seconds);
    set_deadline(pod, later(now, seconds), seconds);
    metadata::bump_generation(pod);
    Ending::Graceful
}

fn shorten(pod: &mut Value, asked_seconds: Option<i64>, now: WallTime) -> Ending {
    let given = metadata::number(pod, "deletionGracePeriodSeconds").map_or(0, at_least_one_if_negative);
    if given == 0 {
        return Ending::Plain;
    }
    let Some(mut seconds) = asked_seconds.filter(|asked| *asked < given) else { return Ending::Pending };
    let deadline = WallTime::parse(metadata::text(pod, "deletionTimestamp")).unwrap_or(now);
    let mut deadline = later(deadline, seconds - given);
    if deadline < now {
        deadline = now;
        // It was asked for grace, so the node still has the last word.
        seconds = seconds.min(1);
    }
    set_deadline(pod, deadline, seconds);
    Ending::Graceful
}

/// Nobody needs to end a Pod that no node has, or that has ended.
fn grace_seconds(pod: &Value, asked_seconds: Option<i64>) -> i64 {
    let is_bound = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    let has_ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if !is_bound || has_ended {
        return 0;
    }
    let stated = || pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(0);
    at_least_one_if_negative(asked_seconds.unwrap_or_else(stated))
}

fn at_least_one_if_negative(seconds: i64) -> i64 {
    if seconds < 0 { 1 } else { seconds }
}

pub(super) fn has_time_left(pod: &Value) -> bool {
    metadata::number(pod, "deletionGracePeriodSeconds").is_some_and(|seconds| seconds > 0)
}

fn set_deadline(pod: &mut Value, deadline: WallTime, seconds: i64) {
    pod["metadata"]["deletionTimestamp"] = deadline.seconds().into();
    pod["metadata"]["deletionGracePeriodSeconds"] = seconds.into();
}

fn later(time: WallTime, seconds: i64) -> WallTime {
    WallTime(time.0.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX))
}

/// Sets a condition of the generation that is there; its transition time changes only with its status.
pub(super) fn set_condition(pod: &mut Value, mut condition: Value, now: WallTime) {
    if let Some(generation) = metadata::number(pod, "generation") {
        condition["observedGeneration"] = generation.into();
    }
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    if !pod["status"]["conditions"].is_array() {
        pod["status"]["conditions"] = json!([]);
    }
    let conditions = pod["status"]["conditions"].as_array_mut().expect("it is a list by now");
    let there = conditions.iter_mut().find(|there| there["type"] == condition["type"]);
    let since = there.as_ref().filter(|there| there["status"] == condition["status"]);
    let since = since.map_or(Value::Null, |there| there["lastTransitionTime"].clone());
    condition["lastTransitionTime"] = if since.is_null() { now.seconds().into() } else { since };
    match there {
        Some(there) => *there = condition,
        None => conditions.push(condition),
    }
}

impl Turn<'_, '_> {
    /// POST of `pods/NAME/binding`: exactly one node gets the Pod.
    pub(super) fn bind(&mut self, name: &str, binding: &Value) -> Result<Reply, Status> {
        if !is(self.kind(), "", "Pod") {
            return Err(self.not_found(name));
        }
        let node = check_binding(name, self.namespace(), binding)?;
        let current = self.find(name)?;
        let version = current.resource_version.to_string();
        for (field, asked, found) in [
            ("UID", metadata::text(binding, "uid"), &current.uid),
            ("ResourceVersion", metadata::text(binding, "resourceVersion"), &version),
        ] {
            if !asked.is_empty() && asked != found {
                let why = format!(
                    "Precondition failed: {field} in precondition: {asked}, {field} in object meta: {found}"
                );
                return Err(self.conflict(name, &why));
            }
        }
        let mut pod = current.value();
        if let Some(why) = why_not_bindable(name, &pod) {
            return Err(Status::conflict("", "pods/binding", name, &why));
        }
        let old = pod.clone();
        pod["spec"]["nodeName"] = node.into();
        copy_annotations(&mut pod, binding);
        copy_labels(&mut pod, binding);
        set_condition(&mut pod, json!({ "type": "PodScheduled", "status": "True" }), self.now);
        if let Some(status) = pod["status"].as_object_mut() {
            status.remove("nominatedNodeName");
        }
        self.ask_guard(name, Written::Binding, Some(&old), Some(&pod))?;
        self.put(pod, Outcome::Updated, current.resource_version);
        Ok(done(
            Outcome::Created,
            Body::Status(json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
            })),
        ))
    }
}

/// The node that a Binding names.
fn check_binding<'b>(name: &str, namespace: &str, binding: &'b Value) -> Result<&'b str, Status> {
    if metadata::text(binding, "name") != name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    let stated = metadata::text(binding, "namespace");
    if !stated.is_empty() && stated != namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let target = &binding["target"];
    let mut errors = Vec::new();
    if !matches!(target["kind"].as_str().unwrap_or_default(), "" | "Node") {
        errors.push(FieldError::unsupported("target.kind", &target["kind"], &["Node", "<empty>"]));
    }
    let node = target["name"].as_str().unwrap_or_default();
    if node.is_empty() {
        errors.push(FieldError::required("target.name", ""));
    }
    if errors.is_empty() { Ok(node) } else { Err(Status::invalid("", "Binding", name, &errors)) }
}

fn why_not_bindable(name: &str, pod: &Value) -> Option<String> {
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if metadata::is_terminating(pod) {
        Some(format!("pod {name} is being deleted, cannot be assigned to a host"))
    } else if !node.is_empty() {
        Some(format!("pod {name} is already assigned to node {node:?}"))
    } else if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        Some(format!("pod {name} has non-empty .spec.schedulingGates"))
    } else {
        None
    }
}

/// Labels tell of the node what the Pod does not say itself.
fn copy_labels(pod: &mut Value, binding: &Value) {
    let Some(labels) = binding["metadata"]["labels"].as_object() else { return };
    let there = metadata::fields(pod).entry("labels").or_insert_with(|| json!({}));
    for (key, value) in labels.iter().filter(|(_, value)| value.is_string()) {
        if there[key].is_null() {
            there[key] = value.clone();
        }
    }
}

fn copy_annotations(pod: &mut Value, binding: &Value) {
    let Some(annotations) = binding["metadata"]["annotations"].as_object() else { return };
    let there = metadata::fields(pod).entry("annotations").or_insert_with(|| json!({}));
    for (key, value) in annotations.iter().filter(|(_, value)| value.is_string()) {
        there[key] = value.clone();
    }
}

//! The Pods of a Job: how they are made, their indexes, and which go first.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::TRACKING;
use crate::steward::action::Action;
use crate::steward::children;
use crate::steward::object::{Object, id};
use crate::time::WallTime;

/// Annotation and label with a Pod's completion index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// A Pod's completion index.
pub(super) fn index(pod: &Object) -> Option<i64> {
    pod.annotation(INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// What makes a Pod of the Job; `number` gives its name.
pub(super) fn creation(job: &Object, number: u64, index: Option<i64>) -> Action {
    let prefix = match index {
        Some(index) => format!("{}-{index}", job.name()),
        None => job.name().to_owned(),
    };
    let name = children::name(&prefix, job.uid(), number);
    let mut pod = children::pod(&job["spec"]["template"], job, &name);
    let metadata = &mut pod["metadata"];
    metadata["generateName"] = children::generate_name(&prefix).into();
    let mut finalizers = metadata["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|have| have == TRACKING) {
        finalizers.push(TRACKING.into());
    }
    metadata["finalizers"] = finalizers.into();
    if let Some(index) = index {
        for field in ["annotations", "labels"] {
            if !metadata[field].is_object() {
                metadata[field] = json!({});
            }
            metadata[field][INDEX] = index.to_string().into();
        }
        pod["spec"]["hostname"] = format!("{}-{index}", job.name()).into();
        for field in ["initContainers", "containers"] {
            for container in pod["spec"][field].as_array_mut().into_iter().flatten() {
                tell_index(container);
            }
        }
    }
    Action::Create { kind: id("", "Pod"), object: pod, told: Some(children::told_created(&name)) }
}

fn tell_index(container: &mut Value) {
    let mut variables = container["env"].as_array().cloned().unwrap_or_default();
    if variables.iter().any(|variable| variable["name"] == INDEX_VARIABLE) {
        return;
    }
    let path = format!("metadata.labels['{INDEX}']");
    variables.push(json!({ "name": INDEX_VARIABLE, "valueFrom": { "fieldRef": { "fieldPath": path } } }));
    container["env"] = variables.into();
}

/// Restarts of all its containers.
pub(super) fn restarts(pod: &Object) -> i64 {
    let of = |field: &str| -> i64 {
        let all = pod["status"][field].as_array().into_iter().flatten();
        all.filter_map(|status| status["restartCount"].as_i64()).sum()
    };
    of("initContainerStatuses") + of("containerStatuses")
}

/// When a Pod ended: when its last container did, or else when it was deleted or ceased to be ready.
pub(super) fn ended_at(pod: &Object) -> Option<WallTime> {
    let containers = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let ends = containers.filter_map(|status| status["state"]["terminated"]["finishedAt"].as_str());
    let last = ends.filter_map(WallTime::parse).map(|time| time.0).max();
    let deleted = pod.meta.deletion_timestamp.as_ref().map(|time| time.0);
    let unready = || {
        let conditions = pod["status"]["conditions"].as_array()?;
        let ready = conditions.iter().find(|one| one["type"] == "Ready")?;
        WallTime::parse(ready["lastTransitionTime"].as_str()?).map(|time| time.0)
    };
    last.or(deleted).or_else(unready).map(WallTime)
}

/// Active Pods that are too many: of an indexed Job those without a good index and all but the best of each, and then
/// the least of the rest until `count` go.
pub(super) fn to_go(completions: Option<i64>, active: &[Arc<Object>], count: usize) -> Vec<Arc<Object>> {
    let mut going = Vec::new();
    let mut rest: Vec<Arc<Object>> = active.to_vec();
    rest.sort_by(|a, b| children::least_first(a, b));
    if let Some(completions) = completions {
        let mut best: BTreeMap<i64, Arc<Object>> = BTreeMap::new();
        for pod in rest {
            match index(&pod).filter(|index| *index < completions) {
                Some(index) => going.extend(best.insert(index, pod)),
                None => going.push(pod),
            }
        }
        rest = best.into_values().collect();
        rest.sort_by(|a, b| children::least_first(a, b));
    }
    let more = count.saturating_sub(going.len());
    going.extend(rest.into_iter().take(more));
    going
}

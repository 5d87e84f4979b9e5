//! The workload kinds besides `DaemonSet`, and what stands around them.

use serde_json::{Map, Value};

use super::pod_spec::pod_spec;
use super::{field, field_or_new, fill, items, spell};

type Fields = Map<String, Value>;

/// Old revisions kept of a Deployment or `StatefulSet`.
const REVISION_HISTORY: i64 = 10;
/// Ten minutes without progress and a Deployment counts as stuck.
const PROGRESS_SECONDS: i64 = 600;
/// Failed Pods after which a Job has failed.
const BACKOFF_LIMIT: i64 = 6;

/// Defaults of a Deployment and of its template.
pub fn deployment(object: &mut Value) {
    let Some((root, _)) = begin("apps", "Deployment", object, &[]) else { return };
    let Some(spec) = field_or_new(root, "spec") else { return };
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", REVISION_HISTORY);
    fill(spec, "progressDeadlineSeconds", PROGRESS_SECONDS);
    if let Some(strategy) = field_or_new(spec, "strategy") {
        fill(strategy, "type", "RollingUpdate");
        if strategy.get("type").is_some_and(|it| it == "RollingUpdate")
            && let Some(rolling) = field_or_new(strategy, "rollingUpdate")
        {
            fill(rolling, "maxUnavailable", "25%");
            fill(rolling, "maxSurge", "25%");
        }
    }
    template(spec);
}

/// Defaults of a `ReplicaSet` and of its template.
pub fn replica_set(object: &mut Value) {
    let Some((root, _)) = begin("apps", "ReplicaSet", object, &["replicas"]) else { return };
    let Some(spec) = field_or_new(root, "spec") else { return };
    fill(spec, "replicas", 1);
    template(spec);
}

/// Defaults of a `StatefulSet`, of its template and of its claims.
pub fn stateful_set(object: &mut Value) {
    let counts = ["replicas", "availableReplicas"];
    let Some((root, _)) = begin("apps", "StatefulSet", object, &counts) else { return };
    let Some(spec) = field_or_new(root, "spec") else { return };
    fill(spec, "podManagementPolicy", "OrderedReady");
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", REVISION_HISTORY);
    if let Some(strategy) = field_or_new(spec, "updateStrategy") {
        fill(strategy, "type", "RollingUpdate");
        if strategy.get("type").is_some_and(|it| it == "RollingUpdate")
            && let Some(rolling) = field_or_new(strategy, "rollingUpdate")
        {
            fill(rolling, "partition", 0);
        }
    }
    if let Some(retention) = field_or_new(spec, "persistentVolumeClaimRetentionPolicy") {
        fill(retention, "whenDeleted", "Retain");
        fill(retention, "whenScaled", "Retain");
    }
    items(spec, "volumeClaimTemplates").for_each(claim_template);
    template(spec);
}

fn claim_template(claim: &mut Map<String, Value>) {
    claim.insert("apiVersion".into(), "v1".into());
    claim.insert("kind".into(), "PersistentVolumeClaim".into());
    if let Some(spec) = field(claim, "spec") {
        fill(spec, "volumeMode", "Filesystem");
    }
    if let Some(status) = field_or_new(claim, "status") {
        fill(status, "phase", "Pending");
    }
}

/// Defaults of a Job and of its template.
pub fn job(object: &mut Value) {
    let Some((root, labels)) = begin("batch", "Job", object, &[]) else { return };
    if let Some(labels) = labels {
        label(root, labels);
    }
    let Some(spec) = field_or_new(root, "spec") else { return };
    if spec.get("parallelism").is_none_or(Value::is_null) {
        fill(spec, "parallelism", 1);
        fill(spec, "completions", 1);
    }
    let per_index = spec.get("backoffLimitPerIndex").is_some_and(|it| !it.is_null());
    fill(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { BACKOFF_LIMIT });
    fill(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "manualSelector", false);
    let replaced = if field(spec, "podFailurePolicy").is_some() { "Failed" } else { "TerminatingOrFailed" };
    fill(spec, "podReplacementPolicy", replaced);
    failure_policy(spec);
    template(spec);
}

/// Defaults of a `CronJob` and of the template of its Jobs' Pods. The Jobs get theirs when they are made.
pub fn cron_job(object: &mut Value) {
    let Some((root, _)) = begin("batch", "CronJob", object, &[]) else { return };
    let Some(spec) = field_or_new(root, "spec") else { return };
    fill(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = field_or_new(spec, "jobTemplate").and_then(|it| field_or_new(it, "spec")) {
        failure_policy(job);
        template(job);
    }
}

/// Defaults of a `ReplicationController`, whose template's labels stand in for a selector and labels of its own.
pub fn replication_controller(object: &mut Value) {
    let Some((root, labels)) = begin("", "ReplicationController", object, &["replicas"]) else { return };
    if let Some(labels) = labels {
        label(root, labels.clone());
        if let Some(spec) = field_or_new(root, "spec")
            && spec.get("selector").and_then(Value::as_object).is_none_or(Map::is_empty)
        {
            spec.insert("selector".into(), labels.into());
        }
    }
    let Some(spec) = field_or_new(root, "spec") else { return };
    fill(spec, "replicas", 1);
    if spec.contains_key("template") {
        template(spec);
    }
}

/// Defaults of a `PodTemplate`.
pub fn pod_template(object: &mut Value) {
    spell("", "PodTemplate", object);
    if let Some(root) = object.as_object_mut() {
        template(root);
    }
}

/// A `PodDisruptionBudget` has none but its status' counts.
pub fn pod_disruption_budget(object: &mut Value) {
    let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
    begin("policy", "PodDisruptionBudget", object, &counts);
}

/// Puts an object in order and gives it a status with the counts that upstream always writes. Answers with it and the
/// labels of its template, if there are any.
fn begin<'a>(
    group: &str,
    kind: &str,
    object: &'a mut Value,
    counts: &[&str],
) -> Option<(&'a mut Fields, Option<Fields>)> {
    spell(group, kind, object);
    let labels = object.pointer("/spec/template/metadata/labels").and_then(Value::as_object);
    let labels = labels.filter(|labels| !labels.is_empty()).cloned();
    let root = object.as_object_mut()?;
    if let Some(status) = field_or_new(root, "status") {
        for count in counts {
            fill(status, count, 0);
        }
    }
    Some((root, labels))
}

/// Labels an object that has none.
fn label(root: &mut Map<String, Value>, labels: Map<String, Value>) {
    if let Some(metadata) = field_or_new(root, "metadata")
        && metadata.get("labels").and_then(Value::as_object).is_none_or(Map::is_empty)
    {
        metadata.insert("labels".into(), labels.into());
    }
}

fn template(owner: &mut Map<String, Value>) {
    let spec = field_or_new(owner, "template").and_then(|it| field_or_new(it, "spec"));
    spec.into_iter().for_each(pod_spec);
}

/// A condition in a rule is meant to be true.
fn failure_policy(job: &mut Map<String, Value>) {
    let Some(policy) = field(job, "podFailurePolicy") else { return };
    for rule in items(policy, "rules") {
        items(rule, "onPodConditions").for_each(|pattern| fill(pattern, "status", "True"));
    }
}

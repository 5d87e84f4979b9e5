//! The workload kinds besides `DaemonSet`, and what stands around them.

use serde_json::Value;

use super::{
    AGE, NAME, NONE, age, count, human_duration, items, labels, name, names_and_images, number,
    number_column, selector, since, text, text_column, wide,
};
use crate::api::kinds::Column;
use crate::time::WallTime;

/// Where most kinds keep the containers of their Pods.
const CONTAINERS: &str = "/spec/template/spec/containers";
const NAMES: Column = wide(text_column("Containers", "Names of each container in the template."));
const IMAGES: Column = wide(text_column("Images", "Images referenced by each container in the template."));
const SELECTOR: Column = wide(text_column("Selector", "The labels of its Pods."));

/// `NAME READY UP-TO-DATE AVAILABLE AGE`; wide: `CONTAINERS IMAGES SELECTOR`.
pub const DEPLOYMENT: &[Column] = &[
    NAME,
    text_column("Ready", "How many of its Pods are ready, of how many it should have."),
    number_column("Up-to-date", "How many of its Pods are of the newest template."),
    number_column("Available", "How many of its Pods have been ready for minReadySeconds."),
    AGE,
    NAMES,
    IMAGES,
    SELECTOR,
];

/// Cells of [`DEPLOYMENT`].
pub fn deployment(object: &Value, now: WallTime) -> Vec<Value> {
    let (containers, images) = names_and_images(items(object, CONTAINERS));
    vec![
        name(object),
        of_desired(object).into(),
        number(object, "/status/updatedReplicas").into(),
        number(object, "/status/availableReplicas").into(),
        age(object, now).into(),
        containers.into(),
        images.into(),
        selector(object, "/spec/selector").into(),
    ]
}

/// `2/3`
fn of_desired(object: &Value) -> String {
    format!("{}/{}", number(object, "/status/readyReplicas"), number(object, "/spec/replicas"))
}

/// `NAME DESIRED CURRENT READY AGE`; wide: `CONTAINERS IMAGES SELECTOR`. Also of a `ReplicationController`.
pub const REPLICA_SET: &[Column] = &[
    NAME,
    number_column("Desired", "How many Pods it should have."),
    number_column("Current", "How many Pods it has."),
    number_column("Ready", "How many of those are ready."),
    AGE,
    NAMES,
    IMAGES,
    SELECTOR,
];

/// Cells of [`REPLICA_SET`] for a `ReplicaSet`.
pub fn replica_set(object: &Value, now: WallTime) -> Vec<Value> {
    replicas(object, now, selector(object, "/spec/selector"))
}

/// Cells of [`REPLICA_SET`] for a `ReplicationController`, whose selector is a map of labels.
pub fn replication_controller(object: &Value, now: WallTime) -> Vec<Value> {
    replicas(object, now, labels(object, "/spec/selector"))
}

fn replicas(object: &Value, now: WallTime, selector: String) -> Vec<Value> {
    let (containers, images) = names_and_images(items(object, CONTAINERS));
    vec![
        name(object),
        number(object, "/spec/replicas").into(),
        number(object, "/status/replicas").into(),
        number(object, "/status/readyReplicas").into(),
        age(object, now).into(),
        containers.into(),
        images.into(),
        selector.into(),
    ]
}

/// `NAME READY AGE`; wide: `CONTAINERS IMAGES`.
pub const STATEFUL_SET: &[Column] = &[
    NAME,
    text_column("Ready", "How many of its Pods are ready, of how many it should have."),
    AGE,
    NAMES,
    IMAGES,
];

/// Cells of [`STATEFUL_SET`].
pub fn stateful_set(object: &Value, now: WallTime) -> Vec<Value> {
    let (containers, images) = names_and_images(items(object, CONTAINERS));
    vec![name(object), of_desired(object).into(), age(object, now).into(), containers.into(), images.into()]
}

/// `NAME STATUS COMPLETIONS DURATION AGE`; wide: `CONTAINERS IMAGES SELECTOR`.
pub const JOB: &[Column] = &[
    NAME,
    text_column("Status", "Whether it runs or how it ended."),
    text_column("Completions", "How many of its Pods have succeeded, of how many must."),
    text_column("Duration", "How long it has run, or ran."),
    AGE,
    NAMES,
    IMAGES,
    SELECTOR,
];

/// Cells of [`JOB`].
pub fn job(object: &Value, now: WallTime) -> Vec<Value> {
    let (containers, images) = names_and_images(items(object, CONTAINERS));
    vec![
        name(object),
        job_status(object).into(),
        completions(object).into(),
        job_duration(object, now).into(),
        age(object, now).into(),
        containers.into(),
        images.into(),
        selector(object, "/spec/selector").into(),
    ]
}

fn job_status(object: &Value) -> &'static str {
    let conditions = items(object, "/status/conditions");
    let holds = |kind: &str| conditions.iter().any(|it| it["type"] == kind && it["status"] == "True");
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if !text(object, "/metadata/deletionTimestamp").is_empty() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn completions(object: &Value) -> String {
    let succeeded = number(object, "/status/succeeded");
    let wanted = object.pointer("/spec/completions").and_then(Value::as_i64);
    match (wanted, number(object, "/spec/parallelism")) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism @ 2..) => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    }
}

fn job_duration(object: &Value, now: WallTime) -> String {
    let Some(start) = WallTime::parse(text(object, "/status/startTime")) else { return String::new() };
    let end = WallTime::parse(text(object, "/status/completionTime")).unwrap_or(now);
    human_duration(end.0.duration_since(start.0).as_secs())
}

/// `NAME SCHEDULE TIMEZONE SUSPEND ACTIVE LAST SCHEDULE AGE`; wide: `CONTAINERS IMAGES SELECTOR`.
pub const CRON_JOB: &[Column] = &[
    NAME,
    text_column("Schedule", "When its Jobs are due."),
    text_column("Timezone", "In which time zone."),
    text_column("Suspend", "Whether no further Job is made."),
    number_column("Active", "How many of its Jobs run."),
    text_column("Last Schedule", "Time since a Job was last made."),
    AGE,
    NAMES,
    IMAGES,
    SELECTOR,
];

/// Cells of [`CRON_JOB`].
pub fn cron_job(object: &Value, now: WallTime) -> Vec<Value> {
    let (containers, images) =
        names_and_images(items(object, "/spec/jobTemplate/spec/template/spec/containers"));
    let zone = object.pointer("/spec/timeZone").and_then(Value::as_str).unwrap_or(NONE);
    let suspend = match object.pointer("/spec/suspend") {
        Some(Value::Bool(true)) => "True",
        Some(Value::Bool(false)) => "False",
        Some(_) | None => "<unset>",
    };
    let last = object.pointer("/status/lastScheduleTime").and_then(Value::as_str);
    vec![
        name(object),
        text(object, "/spec/schedule").into(),
        zone.into(),
        suspend.into(),
        count(object, "/status/active").into(),
        last.map_or(NONE.into(), |then| since(then, now)).into(),
        age(object, now).into(),
        containers.into(),
        images.into(),
        selector(object, "/spec/jobTemplate/spec/selector").into(),
    ]
}

/// `NAME DESIRED AVAILABLE AGE`
pub const SCALE: &[Column] = &[
    NAME,
    number_column("Desired", "How many Pods there should be."),
    number_column("Available", "How many Pods there are."),
    AGE,
];

/// Cells of [`SCALE`].
pub fn scale(object: &Value, now: WallTime) -> Vec<Value> {
    vec![
        name(object),
        number(object, "/spec/replicas").into(),
        number(object, "/status/replicas").into(),
        age(object, now).into(),
    ]
}

/// `NAME CONTAINERS IMAGES POD LABELS`
pub const POD_TEMPLATE: &[Column] = &[
    NAME,
    text_column("Containers", "Names of each container in the template."),
    text_column("Images", "Images referenced by each container in the template."),
    text_column("Pod Labels", "The labels of the Pods that it makes."),
];

/// Cells of [`POD_TEMPLATE`].
pub fn pod_template(object: &Value, _: WallTime) -> Vec<Value> {
    let (containers, images) = names_and_images(items(object, "/template/spec/containers"));
    vec![name(object), containers.into(), images.into(), labels(object, "/template/metadata/labels").into()]
}

/// `NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE`
pub const POD_DISRUPTION_BUDGET: &[Column] = &[
    NAME,
    text_column("Min Available", "How many of the Pods must stay available."),
    text_column("Max Unavailable", "How many of the Pods may be unavailable."),
    number_column("Allowed Disruptions", "How many Pods may be evicted now."),
    AGE,
];

/// Cells of [`POD_DISRUPTION_BUDGET`].
pub fn pod_disruption_budget(object: &Value, now: WallTime) -> Vec<Value> {
    let bound = |field: &str| match object.pointer(&format!("/spec/{field}")) {
        Some(Value::String(percent)) => percent.clone(),
        Some(number @ Value::Number(_)) => number.to_string(),
        Some(_) | None => "N/A".into(),
    };
    vec![
        name(object),
        bound("minAvailable").into(),
        bound("maxUnavailable").into(),
        number(object, "/status/disruptionsAllowed").into(),
        age(object, now).into(),
    ]
}

//! The workload kinds besides `DaemonSet`: what they share stands here.

mod cron_job;
mod deployment;
mod disruption_budget;
mod job;
mod job_policy;
mod job_status;
mod job_update;
mod replica_set;
mod stateful_set;

use std::collections::BTreeMap;

pub use cron_job::cron_job;
pub use deployment::{deployment, deployment_status, deployment_update};
pub use disruption_budget::{pod_disruption_budget, pod_disruption_budget_status};
pub use job::job;
pub use job_status::job_status;
pub use job_update::job_update;
pub use replica_set::{
    replica_set, replica_set_status, replica_set_update, replication_controller,
    replication_controller_status,
};
use serde_json::Value;
pub use stateful_set::{stateful_set, stateful_set_status, stateful_set_update};

use super::labels::selector;
use super::pod::template;
use super::spot::{Errors, IMMUTABLE, Spot};
use crate::api::names;
use crate::api::selectors::Selector;
use crate::api::status::FieldError;

/// What upstream says of a status that counts more of a part than there is of the whole.
const ABOVE_REPLICAS: &str = "cannot be greater than status.replicas";

/// All errors of a `PodTemplate`.
pub fn pod_template(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    template(&Spot::root(object).at("template"), &mut errors);
    errors.into_list()
}

/// The selector of a kind that must have one, and not one that selects everything.
fn needed_selector(spec: &Spot<'_>, owner: &str, errors: &mut Errors) {
    let choice = spec.at("selector");
    if !choice.is_set() {
        errors.required(&choice, "");
        return;
    }
    selector(&choice, errors);
    if choice.at("matchLabels").is_empty() && choice.at("matchExpressions").is_empty() {
        errors.invalid(&choice, &format!("empty selector is invalid for {owner}"));
    }
}

/// The selector selects what the template makes. An absent one selects nothing, an empty one is not asked.
fn selects_template(choice: &Selector, template: &Spot<'_>, errors: &mut Errors) {
    let labels = template.at("metadata.labels");
    if !choice.is_everything() && !choice.matches(&carried(&labels)) {
        errors.invalid(&labels, "`selector` does not match template `labels`");
    }
}

/// Labels of an object as selectors compare them.
fn carried(labels: &Spot<'_>) -> BTreeMap<String, String> {
    labels.entries().map(|(label, value)| (label.to_owned(), value.text().to_owned())).collect()
}

/// A template whose Pods always run, many at a time if need be.
fn lasting_template(at: &Spot<'_>, owner: &str, replicas: i64, errors: &mut Errors) {
    template(at, errors);
    if replicas > 1 {
        shared_disks(&at.at("spec.volumes"), errors);
    }
    always_runs(at, owner, errors);
}

fn always_runs(template: &Spot<'_>, owner: &str, errors: &mut Errors) {
    let policy = template.at("spec.restartPolicy");
    if policy.text() != "Always" {
        errors.unsupported(&policy, &["Always"]);
    }
    let deadline = template.at("spec.activeDeadlineSeconds");
    if deadline.is_set() {
        errors.forbidden(&deadline, &format!("activeDeadlineSeconds in {owner} is not Supported"));
    }
}

/// Disks that many machines can share only for reading.
fn shared_disks(volumes: &Spot<'_>, errors: &mut Errors) {
    for disk in volumes.items().map(|it| it.at("gcePersistentDisk")).filter(Spot::is_set) {
        if !disk.at("readOnly").is_true() {
            errors.invalid_value(
                &disk.at("readOnly"),
                false,
                "must be true for replicated pods > 1; GCE PD can only be mounted on multiple machines if it is \
                 read-only",
            );
        }
    }
}

/// A number that is not negative, or a percentage.
fn number_or_percent(at: &Spot<'_>, errors: &mut Errors) {
    match at.value.as_str() {
        Some(text) => errors.faults(at, names::percent(text)),
        None => errors.not_negative(at),
    }
}

/// What a number or percentage counts, zero when it cannot be read.
fn amount(at: &Spot<'_>) -> i64 {
    let text = || at.text().trim_end_matches('%').parse().unwrap_or_default();
    at.number().unwrap_or_else(text)
}

/// At most all of them.
fn not_above_whole(at: &Spot<'_>, errors: &mut Errors) {
    if at.text().ends_with('%') && names::percent(at.text()).is_empty() && amount(at) > 100 {
        errors.invalid(at, "must not be greater than 100%");
    }
}

/// Counts of a status that must not be negative.
fn counts(status: &Spot<'_>, fields: &[&str], errors: &mut Errors) {
    for field in fields {
        errors.not_negative(&status.at(field));
    }
}

/// Counts of a status that must not be above another one.
fn at_most(status: &Spot<'_>, fields: &[&str], bound: &str, sentence: &str, errors: &mut Errors) {
    let most = status.at(bound).number().unwrap_or_default();
    for at in fields.iter().map(|field| status.at(field)) {
        let number = at.number().unwrap_or_default();
        if number > most {
            errors.invalid_value(&at, number, sentence);
        }
    }
}

/// The count of name collisions only grows.
fn collisions_only_grow(new: &Spot<'_>, old: &Spot<'_>, errors: &mut Errors) {
    let (new, old) = (new.at("status.collisionCount"), old.at("status.collisionCount"));
    if old.number() > new.number() {
        errors.invalid_value(&new, new.number().unwrap_or_default(), "cannot be decremented");
    }
}

/// A field of the spec that must stay what it is; no list or map is as good as an empty one.
fn fixed(new: &Spot<'_>, old: &Spot<'_>, field: &str, errors: &mut Errors) {
    let (new, old) = (new.at(field), old.at(field));
    if same(new.value, old.value) {
        return;
    }
    if new.is_set() {
        errors.invalid(&new, IMMUTABLE);
    } else {
        errors.invalid_value(&new, "null", IMMUTABLE);
    }
}

/// Equality in which an absent or null field is an empty list or map.
fn same(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(a), Value::Object(b)) => {
            a.keys().chain(b.keys()).all(|key| same(&new[key.as_str()], &old[key.as_str()]))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Null, Value::Array(list)) | (Value::Array(list), Value::Null) => list.is_empty(),
        _ => new == old,
    }
}

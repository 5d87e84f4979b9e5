//! What a Job's status may say, and how it may change: counters that only grow, and an end that is final.

use std::collections::BTreeSet;

use serde_json::Value;

use super::counts;
use super::job::is_indexed;
use super::job_policy::{bare, parse_indexes, parse_interval};
use crate::api::status::FieldError;
use crate::api::validation::spot::{Errors, Spot};

/// The new and the old state of a Job under judgement.
struct Change<'a> {
    spec: Spot<'a>,
    new: Spot<'a>,
    old: Spot<'a>,
}

/// All errors of a change of status (new, old).
pub fn job_status(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let root = Spot::root(new);
    let change = Change { spec: root.at("spec"), new: root.at("status"), old: Spot::root(old).at("status") };
    counts(&change.new, &["active", "succeeded", "failed", "ready", "terminating"], &mut errors);
    uncounted(&change.new.at("uncountedTerminatedPods"), &mut errors);
    change.conditions(&mut errors);
    change.times(&mut errors);
    change.finished(&mut errors);
    change.indexes(&mut errors);
    change.success(&mut errors);
    change.what_only_grows(&mut errors);
    errors.into_list()
}

fn uncounted(at: &Spot<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for uid in ["succeeded", "failed"].iter().flat_map(|list| at.at(list).items()) {
        if uid.is_empty() {
            errors.invalid(&uid, "must not be empty");
        } else if !seen.insert(uid.text()) {
            errors.duplicate(&uid);
        }
    }
}

/// Whether a condition holds.
fn holds(status: &Spot<'_>, condition: &str) -> bool {
    status
        .at("conditions")
        .items()
        .any(|it| it.at("type").text() == condition && it.at("status").text() == "True")
}

fn is_finished(status: &Spot<'_>) -> bool {
    holds(status, "Complete") || holds(status, "Failed")
}

impl Change<'_> {
    fn turned(&self, conditions: &[&str]) -> bool {
        conditions.iter().any(|condition| holds(&self.new, condition) != holds(&self.old, condition))
    }

    fn differs(&self, field: &str) -> bool {
        self.new.at(field).value != self.old.at(field).value
    }

    fn finishes(&self) -> bool {
        is_finished(&self.new) != is_finished(&self.old)
    }

    /// Ends that exclude each other, and what must come before each.
    fn conditions(&self, errors: &mut Errors) {
        let at = self.new.at("conditions");
        for (one, other, sentence) in [
            ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
            ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
        ] {
            if self.turned(&[one, other]) && holds(&self.new, one) && holds(&self.new, other) {
                bare(&at, sentence, errors);
            }
        }
        for (end, before) in [("Failed", "FailureTarget"), ("Complete", "SuccessCriteriaMet")] {
            if self.turned(&[end, before]) && holds(&self.new, end) && !holds(&self.new, before) {
                let sentence = format!("cannot set {end}=True condition without the {before}=true condition");
                bare(&at, &sentence, errors);
            }
        }
    }

    fn times(&self, errors: &mut Errors) {
        let (start, completion) = (self.new.at("startTime"), self.new.at("completionTime"));
        let is_complete = holds(&self.new, "Complete");
        if self.turned(&["Complete"]) || self.differs("completionTime") {
            if completion.is_set() && !is_complete {
                let sentence = "cannot set completionTime when there is no Complete=True condition";
                errors.invalid(&completion, sentence);
            }
            if !completion.is_set() && is_complete {
                errors.required(&completion, "completionTime is required for Complete jobs");
            }
        }
        let differs = self.differs("startTime") || self.differs("completionTime");
        if differs && start.is_set() && completion.is_set() && completion.text() < start.text() {
            errors.invalid(&completion, "completionTime cannot be set before startTime");
        }
    }

    /// What a finished Job no longer has.
    fn finished(&self, errors: &mut Errors) {
        let is_finished = is_finished(&self.new);
        let positive = |field: &str| self.new.at(field).number().unwrap_or_default() > 0;
        if is_finished && (self.finishes() || self.differs("active")) && positive("active") {
            errors.invalid(&self.new.at("active"), "active>0 is invalid for finished job");
        }
        let is_nothing = self.spec.at("suspend").is_true() && *self.spec.at("completions").value == 0;
        let start = self.new.at("startTime");
        if is_finished && (self.finishes() || self.differs("startTime")) && !start.is_set() && !is_nothing {
            errors.required(&start, "startTime is required for finished job");
        }
        let uncounted = self.new.at("uncountedTerminatedPods");
        let has_uncounted = !uncounted.at("succeeded").is_empty() || !uncounted.at("failed").is_empty();
        if is_finished && (self.finishes() || self.differs("uncountedTerminatedPods")) && has_uncounted {
            errors.invalid(&uncounted, "uncountedTerminatedPods needs to be empty for finished job");
        }
    }

    fn indexes(&self, errors: &mut Errors) {
        let (completed, failed) = (self.new.at("completedIndexes"), self.new.at("failedIndexes"));
        let (completed_differ, failed_differ) =
            (self.differs("completedIndexes"), self.differs("failedIndexes"));
        let has_limit = self.spec.at("backoffLimitPerIndex").is_set();
        if let Some(completions) = self.spec.at("completions").number() {
            if completed_differ && let Err(why) = parse_indexes(completed.text(), completions) {
                errors.invalid(&completed, &format!("error parsing completedIndexes: {why}"));
            }
            if failed_differ
                && has_limit
                && let Err(why) = parse_indexes(failed.text(), completions)
            {
                errors.invalid(&failed, &format!("error parsing failedIndexes: {why}"));
            }
        }
        if completed_differ && !completed.is_empty() && !is_indexed(&self.spec) {
            let sentence = "cannot set non-empty completedIndexes when non-indexed completion mode";
            errors.invalid(&completed, sentence);
        }
        if failed_differ && failed.is_set() && !has_limit {
            errors.invalid(&failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null");
        }
        if (completed_differ || failed_differ)
            && let Some(completions) = self.spec.at("completions").number()
            && let Some(index) = overlap(completed.text(), failed.text(), completions)
        {
            let sentence = format!("failedIndexes and completedIndexes overlap at index: {index}");
            errors.invalid(&failed, &sentence);
        }
        let terminating = self.new.at("terminating");
        if (self.finishes() || self.differs("terminating"))
            && is_finished(&self.new)
            && terminating.number().is_some_and(|count| count > 0)
        {
            errors.invalid(&terminating, "terminating>0 is invalid for finished job");
        }
        let (ready, active) = (self.new.at("ready"), self.new.at("active").number().unwrap_or_default());
        if (self.differs("ready") || self.differs("active")) && ready.number().is_some_and(|it| it > active) {
            errors.invalid(&ready, "cannot set more ready pods than active");
        }
    }

    fn success(&self, errors: &mut Errors) {
        let at = self.new.at("conditions");
        let is_met = holds(&self.new, "SuccessCriteriaMet");
        for other in ["Failed", "FailureTarget"] {
            if is_met && holds(&self.new, other) {
                bare(&at, &format!("cannot set SuccessCriteriaMet=True and {other}=true conditions"), errors);
            }
        }
        if self.spec.at("successPolicy").is_set() && !is_met && holds(&self.new, "Complete") {
            let sentence =
                "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
            bare(&at, sentence, errors);
        }
        for end in ["Failed", "Complete", "FailureTarget"] {
            if holds(&self.old, end) && !holds(&self.new, end) {
                bare(&at, &format!("cannot disable the terminal {end}=True condition"), errors);
            }
        }
        let was_met = holds(&self.old, "SuccessCriteriaMet");
        if was_met && !is_met {
            bare(&at, "cannot disable the SuccessCriteriaMet=True condition", errors);
        }
        if holds(&self.old, "Complete") && !was_met && is_met {
            let sentence = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
            bare(&at, sentence, errors);
        }
    }

    fn what_only_grows(&self, errors: &mut Errors) {
        let count = |status: &Spot<'_>, field: &str| status.at(field).number().unwrap_or_default();
        // A Job with as many Pods at a time as completions may be made smaller.
        let may_shrink =
            is_indexed(&self.spec) && self.spec.at("completions").value == self.spec.at("parallelism").value;
        for (field, may_shrink) in [("failed", false), ("succeeded", may_shrink)] {
            let now = count(&self.new, field);
            if !may_shrink && now < count(&self.old, field) {
                let sentence = format!("cannot decrease the {field} counter");
                errors.invalid_value(&self.new.at(field), now, &sentence);
            }
        }
        let completion = self.new.at("completionTime");
        if completion.is_set() && self.old.at("completionTime").is_set() && self.differs("completionTime") {
            errors.invalid(&completion, "completionTime cannot be mutated");
        }
        let resumes = holds(&self.old, "Suspended") && !holds(&self.new, "Suspended");
        let is_suspended = self.spec.at("suspend").is_true();
        if self.old.at("startTime").is_set() && self.differs("startTime") && !is_suspended && !resumes {
            errors.required(&self.new.at("startTime"), "startTime cannot be removed for unsuspended job");
        }
    }
}

/// The first index that is in both lists. What cannot be read is passed over: it is told elsewhere.
fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|part| parse_interval(part, completions).ok()).collect()
    };
    let (one, other) = (read(one), read(other));
    let meets = |a: &(i64, i64), b: &(i64, i64)| (a.0 <= b.1 && b.0 <= a.1).then_some(a.0.max(b.0));
    one.iter().flat_map(|a| other.iter().filter_map(move |b| meets(a, b))).min()
}

//! The Job's account. A Pod that has ended goes through three steps, each of which may be repeated: its UID (or, of an
//! indexed Job, its index) is written into the status; its finalizer is taken off; its UID leaves the status for the sum.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Indexes, TRACKING, UNCOUNTED_MAX, pods};
use crate::steward::children::phase;
use crate::steward::object::Object;

/// See the module.
#[derive(Debug)]
pub(super) struct Account {
    /// How many indexes there are; none where the Job is not indexed.
    pub(super) completions: Option<i64>,
    /// Indexes that are complete.
    pub(super) completed: Indexes,
    /// Pods whose finalizer can be taken off once the status is written.
    pub(super) counted: Vec<Arc<Object>>,
    succeeded: i64,
    /// Failed Pods that have been added up.
    pub(super) failed: i64,
    uncounted_succeeded: Vec<String>,
    uncounted_failed: Vec<String>,
    only_failed: bool,
}

/// Whether a Pod counts as failed: so does one that is being deleted, because it may never say so, unless only failed
/// Pods are to be replaced.
pub(super) fn has_failed(pod: &Object, only_failed: bool) -> bool {
    match phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => !only_failed && pod.is_ending(),
    }
}

impl Account {
    /// The account as it stands: what lost its finalizer since it was written down is added up.
    pub(super) fn open(job: &Object, all: &[Arc<Object>]) -> Self {
        let is_indexed = job.text("/spec/completionMode") == "Indexed";
        let completions = is_indexed.then(|| job.number("/spec/completions").unwrap_or_default());
        let tracked: BTreeSet<&str> =
            all.iter().filter(|pod| pod.has_finalizer(TRACKING)).map(|pod| pod.uid()).collect();
        let uncounted = |field: &str| -> (Vec<String>, i64) {
            let listed = job["status"]["uncountedTerminatedPods"][field].as_array().into_iter().flatten();
            let listed: Vec<&str> = listed.filter_map(Value::as_str).collect();
            let kept: Vec<String> =
                listed.iter().filter(|uid| tracked.contains(*uid)).map(|uid| (*uid).to_owned()).collect();
            let gone = listed.len() - kept.len();
            (kept, gone as i64)
        };
        let (uncounted_succeeded, succeeded) = uncounted("succeeded");
        let (uncounted_failed, failed) = uncounted("failed");
        Self {
            completions,
            completed: completions.map_or_else(Indexes::default, |completions| {
                Indexes::parse(job.text("/status/completedIndexes"), completions)
            }),
            counted: Vec::new(),
            succeeded: job.number("/status/succeeded").unwrap_or_default() + succeeded,
            failed: job.number("/status/failed").unwrap_or_default() + failed,
            uncounted_succeeded,
            uncounted_failed,
            only_failed: job.text("/spec/podReplacementPolicy") == "Failed",
        }
    }

    fn index(&self, pod: &Object) -> Option<i64> {
        pods::index(pod).filter(|index| self.completions.is_some_and(|count| *index < count))
    }

    /// Whether the Pod is one that this Job counts: of an indexed Job, one with a good index.
    fn is_countable(&self, pod: &Object) -> bool {
        self.completions.is_none() || self.index(pod).is_some()
    }

    /// Pods that have ended one way and stand in the account nowhere.
    fn unlisted<'b>(
        &'b self,
        all: &'b [Arc<Object>],
        is_success: bool,
    ) -> impl Iterator<Item = &'b Arc<Object>> {
        let listed = if is_success { &self.uncounted_succeeded } else { &self.uncounted_failed };
        all.iter().filter(move |pod| {
            let ended =
                if is_success { phase(pod) == "Succeeded" } else { has_failed(pod, self.only_failed) };
            ended
                && pod.has_finalizer(TRACKING)
                && self.is_countable(pod)
                && !listed.iter().any(|uid| uid == pod.uid())
        })
    }

    /// Indexes that are complete, those of Pods that have just succeeded included.
    pub(super) fn completed_with(&self, all: &[Arc<Object>]) -> Indexes {
        let mut completed = self.completed.clone();
        for index in self.unlisted(all, true).filter_map(|pod| self.index(pod)) {
            completed.insert(index);
        }
        completed
    }

    /// How many have succeeded, those not yet written down included.
    pub(super) fn succeeded(&self, all: &[Arc<Object>]) -> i64 {
        match self.completions {
            Some(_) => self.completed_with(all).count(),
            None => {
                self.succeeded
                    + self.uncounted_succeeded.len() as i64
                    + self.unlisted(all, true).count() as i64
            }
        }
    }

    /// How many have failed, those not yet written down included.
    pub(super) fn failed(&self, all: &[Arc<Object>]) -> i64 {
        self.failed + self.uncounted_failed.len() as i64 + self.unlisted(all, false).count() as i64
    }

    /// Writes down what has ended. Once the Job is to end, whatever has not succeeded has failed.
    pub(super) fn count(&mut self, all: &[Arc<Object>], is_end: bool, is_deleted: bool) {
        for pod in all.iter().filter(|pod| pod.has_finalizer(TRACKING)) {
            if self.uncounted_succeeded.len() + self.uncounted_failed.len() >= UNCOUNTED_MAX {
                return;
            }
            let (succeeded, failed) = (phase(pod) == "Succeeded", has_failed(pod, self.only_failed));
            let is_failed_by_end = is_end && !succeeded;
            if !(succeeded || failed || is_end || is_deleted) {
                continue;
            }
            self.counted.push(pod.clone());
            let uid = pod.uid().to_owned();
            let is_listed = self.uncounted_failed.contains(&uid) || self.uncounted_succeeded.contains(&uid);
            if is_listed || !self.is_countable(pod) {
                continue;
            }
            match (succeeded, self.index(pod)) {
                (true, Some(index)) => drop(self.completed.insert(index)),
                (true, None) => self.uncounted_succeeded.push(uid),
                (false, _) if failed || is_failed_by_end => self.uncounted_failed.push(uid),
                (false, _) => {}
            }
        }
    }

    /// The sum of the status: of an indexed Job, of its indexes.
    pub(super) fn sum_succeeded(&self) -> i64 {
        if self.completions.is_some() { self.completed.count() } else { self.succeeded }
    }

    /// Whether everything is added up and no Pod waits for it.
    pub(super) fn is_settled(&self) -> bool {
        self.uncounted_succeeded.is_empty() && self.uncounted_failed.is_empty() && self.counted.is_empty()
    }

    /// `status.uncountedTerminatedPods`.
    pub(super) fn uncounted(&self) -> Value {
        let mut uncounted = json!({});
        for (field, uids) in [("succeeded", &self.uncounted_succeeded), ("failed", &self.uncounted_failed)] {
            if !uids.is_empty() {
                uncounted[field] = json!(uids);
            }
        }
        uncounted
    }
}

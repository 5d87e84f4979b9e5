//! Jobs, as Kubernetes' own controller runs them: every Pod that ends is counted exactly once, by a finalizer that is
//! taken off only after the Pod stands in the status.

mod account;
mod indexes;
mod pods;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::action::{self, Action, Plan, Propagation};
use super::children::{self, is_active, is_ready, phase};
use super::object::Object;
use crate::api::selectors::Selector;
use crate::time::WallTime;
use account::Account;
pub use indexes::Indexes;

/// Finalizer of Pods that have not been counted.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// First and longest pause before failed Pods are replaced.
const BACKOFF_MIN: Duration = Duration::from_secs(10);
const BACKOFF_MAX: Duration = Duration::from_mins(10);

/// Most Pods that one plan makes or deletes.
const BURST: usize = 500;

/// Most Pods that stand in the status without having been added up.
const UNCOUNTED_MAX: usize = 500;

/// Everything about one Job.
#[derive(Debug)]
pub struct Case<'a> {
    /// It.
    pub job: &'a Object,
    /// What it selects.
    pub selector: &'a Selector,
    /// Pods it controls.
    pub pods: Vec<Arc<Object>>,
    /// Pods that it selects and nobody controls.
    pub orphans: Vec<Arc<Object>>,
    /// Now.
    pub wall: WallTime,
}

/// How a Job ends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct End {
    is_success: bool,
    reason: String,
    message: String,
}

/// What is to be done.
pub fn plan(case: Case<'_>) -> Plan {
    let Case { job, selector, pods, orphans, wall } = case;
    let mut plan = Plan::default();
    if job.text("/spec/managedBy").is_empty() || job.text("/spec/managedBy") == "kubernetes.io/job-controller"
    {
        let claimed = children::claim(job, selector, |_| true, Some(TRACKING), pods, orphans);
        plan.waves = claimed.waves;
        match has_ended(job) {
            Some(since) => after_the_end(job, since, &claimed.kept, wall, &mut plan),
            None => Sync::new(job, &claimed.kept, wall).run(&mut plan),
        }
    }
    plan
}

/// Takes the finalizer off a Pod whose Job is gone, or is its Job no longer.
pub fn release(pod: &Object) -> Vec<Action> {
    if pod.has_finalizer(TRACKING) { vec![untracked(pod)] } else { Vec::new() }
}

fn untracked(pod: &Object) -> Action {
    let kept: Vec<_> = pod.meta.finalizers.iter().flatten().filter(|have| *have != TRACKING).collect();
    action::metadata(pod, &json!({ "finalizers": kept }))
}

fn condition<'a>(job: &'a Object, kind: &str) -> Option<&'a Value> {
    let all = job["status"]["conditions"].as_array()?;
    all.iter().find(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// When the Job ended, if it has.
fn has_ended(job: &Object) -> Option<WallTime> {
    let end = condition(job, "Complete").or_else(|| condition(job, "Failed"))?;
    end["lastTransitionTime"].as_str().and_then(WallTime::parse)
}

fn after_the_end(job: &Object, since: WallTime, pods: &[Arc<Object>], wall: WallTime, plan: &mut Plan) {
    plan.then(pods.iter().flat_map(|pod| release(pod)).collect());
    let Some(seconds) = job.number("/spec/ttlSecondsAfterFinished") else { return };
    let life = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let left = children::missing(since, life, wall);
    if !left.is_zero() {
        plan.wake_after(left);
    } else if !job.is_ending() {
        let propagation = Some(Propagation::Foreground);
        plan.then(vec![Action::Delete { of: job.target(), propagation, told: None }]);
    }
}

struct Sync<'a> {
    job: &'a Object,
    pods: &'a [Arc<Object>],
    wall: WallTime,
    active: Vec<Arc<Object>>,
    account: Account,
    conditions: Vec<Value>,
}

impl<'a> Sync<'a> {
    fn new(job: &'a Object, pods: &'a [Arc<Object>], wall: WallTime) -> Self {
        let active = pods.iter().filter(|pod| is_active(pod)).cloned().collect();
        let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
        Self { job, pods, wall, active, account: Account::open(job, pods), conditions }
    }

    fn number(&self, field: &str) -> Option<i64> {
        self.job["spec"][field].as_i64()
    }

    fn is_suspended(&self) -> bool {
        self.job["spec"]["suspend"] == true
    }

    fn only_replaces_failed(&self) -> bool {
        self.job.text("/spec/podReplacementPolicy") == "Failed"
    }

    fn terminating(&self) -> usize {
        let ended = |pod: &Object| matches!(phase(pod), "Succeeded" | "Failed");
        self.pods.iter().filter(|pod| pod.is_ending() && !ended(pod)).count()
    }

    fn run(mut self, plan: &mut Plan) {
        let started = self.started();
        let mut end = self.failure(started, plan).or_else(|| self.told_end());
        let mut manage = Plan::default();
        let mut resumed = false;
        if end.is_none() {
            if !self.job.is_ending() {
                self.manage(&mut manage);
                resumed = self.tell_suspension(plan);
            }
            end = self.success(&manage);
        }
        let started = if resumed { Some(self.wall) } else { started };
        self.account.count(self.pods, end.is_some(), self.job.is_ending());
        if let Some(end) = &end {
            self.finish(end, &mut manage, plan);
        }
        let status = self.status(started, end.as_ref());
        plan.then(action::status(self.job, &status).into_iter().collect());
        plan.then(self.account.counted.iter().map(|pod| untracked(pod)).collect());
        plan.waves.extend(manage.waves);
        if let Some(pause) = manage.wake {
            plan.wake_after(pause);
        }
    }

    fn started(&self) -> Option<WallTime> {
        let before = WallTime::parse(self.job.text("/status/startTime"));
        before.or_else(|| (!self.is_suspended()).then_some(self.wall))
    }

    /// How it has been told already that the Job will end.
    fn told_end(&self) -> Option<End> {
        let of = |kind: &str, is_success| {
            let told = condition(self.job, kind)?;
            let text = |field: &str| told[field].as_str().unwrap_or_default().to_owned();
            Some(End { is_success, reason: text("reason"), message: text("message") })
        };
        of("SuccessCriteriaMet", true).or_else(|| of("FailureTarget", false))
    }

    fn failure(&self, started: Option<WallTime>, plan: &mut Plan) -> Option<End> {
        if self.told_end().is_some() {
            return None;
        }
        let end = |reason: &str, message: &str| {
            Some(End { is_success: false, reason: reason.into(), message: message.into() })
        };
        let limit = self.number("backoffLimit").unwrap_or(6);
        if self.account.failed(self.pods) > limit || self.restarts_exceed(limit) {
            return end("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        let seconds = self.number("activeDeadlineSeconds")?;
        if self.is_suspended() {
            return None;
        }
        let allowed = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        let left = children::missing(started?, allowed, self.wall);
        if left.is_zero() {
            return end("DeadlineExceeded", "Job was active longer than specified deadline");
        }
        plan.wake_after(left);
        None
    }

    /// Containers that are restarted in place count as failures of a Job whose Pods do so.
    fn restarts_exceed(&self, limit: i64) -> bool {
        if self.job.text("/spec/template/spec/restartPolicy") != "OnFailure" {
            return false;
        }
        let alive = self.pods.iter().filter(|pod| matches!(phase(pod), "Running" | "Pending"));
        let restarts: i64 = alive.map(|pod| pods::restarts(pod)).sum();
        if limit == 0 { restarts > 0 } else { restarts >= limit }
    }

    fn success(&self, manage: &Plan) -> Option<End> {
        let succeeded = self.account.succeeded(self.pods);
        let is_enough = self.number("completions").map_or(succeeded > 0, |wanted| succeeded >= wanted);
        let creates = manage.waves.iter().flatten().any(|action| action.made().is_some());
        (is_enough && self.active.is_empty() && !creates).then(|| End {
            is_success: true,
            reason: "CompletionsReached".into(),
            message: "Reached expected number of succeeded pods".into(),
        })
    }

    /// Plans how many Pods are to run.
    fn manage(&self, plan: &mut Plan) {
        let active = self.active.len() as i64;
        if self.is_suspended() {
            Self::remove(&pods::to_go(self.account.completions, &self.active, self.active.len()), plan);
            return;
        }
        let (parallelism, succeeded) =
            (self.number("parallelism").unwrap_or(1), self.account.succeeded(self.pods));
        let wanted = match self.number("completions") {
            None if succeeded > 0 => active,
            None => parallelism,
            Some(completions) => (completions - succeeded).clamp(0, parallelism),
        };
        let surplus = usize::try_from(active - wanted).unwrap_or_default();
        let mut to_go = pods::to_go(self.account.completions, &self.active, surplus);
        to_go.truncate(BURST);
        if !to_go.is_empty() {
            Self::remove(&to_go, plan);
            return;
        }
        let occupied = if self.only_replaces_failed() { self.terminating() as i64 } else { 0 };
        let missing = usize::try_from(wanted - active - occupied).unwrap_or_default().min(BURST);
        if missing == 0 {
            return;
        }
        let pause = self.backoff();
        if !pause.is_zero() {
            plan.wake_after(pause);
            return;
        }
        self.create(missing, plan);
    }

    /// Pods that go because fewer are wanted do not count as failed.
    fn remove(pods: &[Arc<Object>], plan: &mut Plan) {
        plan.then(pods.iter().flat_map(|pod| release(pod)).collect());
        let deletion = |pod: &Arc<Object>| Action::Delete {
            of: pod.target(),
            propagation: None,
            told: Some(children::told_deleted(pod.name())),
        };
        plan.then(pods.iter().map(deletion).collect());
    }

    fn create(&self, missing: usize, plan: &mut Plan) {
        let indexes: Vec<Option<i64>> = match self.account.completions {
            Some(completions) => {
                let mut taken = self.account.completed_with(self.pods);
                let holders = self
                    .pods
                    .iter()
                    .filter(|pod| is_active(pod) || (self.only_replaces_failed() && pod.is_ending()));
                for index in holders.filter_map(|pod| pods::index(pod)) {
                    taken.insert(index);
                }
                taken.absent(completions).take(missing).map(Some).collect()
            }
            None => vec![None; missing],
        };
        if indexes.is_empty() {
            return;
        }
        let first = children::numbers_taken(self.job);
        plan.then(vec![children::take_numbers(self.job, indexes.len() as u64)]);
        let numbers = first..;
        plan.slowly(
            numbers.zip(indexes).map(|(number, index)| pods::creation(self.job, number, index)).collect(),
        );
    }

    /// How long failed Pods are not replaced: longer with each failure since the last success.
    fn backoff(&self) -> Duration {
        let mut ends: Vec<(WallTime, bool)> = self
            .pods
            .iter()
            .filter_map(|pod| {
                let has_failed = account::has_failed(pod, self.only_replaces_failed());
                (has_failed || phase(pod) == "Succeeded")
                    .then(|| (pods::ended_at(pod).unwrap_or(self.wall), has_failed))
            })
            .collect();
        ends.sort_by_key(|(at, has_failed)| (at.0, *has_failed));
        let failures = ends.iter().rev().take_while(|(_, has_failed)| *has_failed).count();
        let Some((last, true)) = ends.last() else { return Duration::ZERO };
        let doublings = u32::try_from(failures - 1).unwrap_or(u32::MAX).min(10);
        let pause = BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        children::missing(*last, pause, self.wall)
    }

    /// Tells by a condition whether the Job is suspended; true when it has been resumed.
    fn tell_suspension(&mut self, plan: &mut Plan) -> bool {
        let told = self.conditions.iter().position(|condition| condition["type"] == "Suspended");
        let (status, reason, message, event) = if self.is_suspended() {
            ("True", "JobSuspended", "Job suspended", "Suspended")
        } else {
            ("False", "JobResumed", "Job resumed", "Resumed")
        };
        match told {
            None if !self.is_suspended() => return false,
            Some(at) if self.conditions[at]["status"] == status => return false,
            Some(_) | None => {}
        }
        self.set_condition("Suspended", status, reason, message);
        let message = message.to_owned();
        plan.then(vec![Action::Tell { warning: false, reason: event, message }]);
        !self.is_suspended()
    }

    fn set_condition(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let now = self.wall.seconds();
        let condition = json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastProbeTime": now, "lastTransitionTime": now,
        });
        match self.conditions.iter_mut().find(|have| have["type"] == kind) {
            Some(have) if have["status"] == status => {}
            Some(have) => *have = condition,
            None => self.conditions.push(condition),
        }
    }

    /// First says that it will end, then counts, and last, when nothing runs or is uncounted, says that it has ended.
    fn finish(&mut self, end: &End, manage: &mut Plan, plan: &mut Plan) {
        let deletions = self.active.iter().map(|pod| Action::Delete {
            of: pod.target(),
            propagation: None,
            told: Some(children::told_deleted(pod.name())),
        });
        manage.waves = Vec::new();
        manage.then(deletions.collect());
        let (target, last) =
            if end.is_success { ("SuccessCriteriaMet", "Complete") } else { ("FailureTarget", "Failed") };
        let is_told = condition(self.job, target).is_some();
        self.set_condition(target, "True", &end.reason, &end.message);
        if is_told && self.active.is_empty() && self.terminating() == 0 && self.account.is_settled() {
            self.set_condition(last, "True", &end.reason, &end.message);
            let (warning, reason, message) = match (end.is_success, end.reason.as_str()) {
                (true, _) => (false, "Completed", "Job completed".to_owned()),
                (false, "DeadlineExceeded") => (true, "DeadlineExceeded", end.message.clone()),
                (false, _) => (true, "BackoffLimitExceeded", end.message.clone()),
            };
            plan.then(vec![Action::Tell { warning, reason, message }]);
        }
    }

    fn status(&self, started: Option<WallTime>, end: Option<&End>) -> Value {
        let (active, ready) = if end.is_some() {
            (0, 0)
        } else {
            (self.active.len(), self.active.iter().filter(|pod| is_ready(pod)).count())
        };
        let mut status = json!({
            "ready": ready,
            "terminating": self.terminating(),
            "uncountedTerminatedPods": self.account.uncounted(),
        });
        let optional = [
            ("active", active as i64),
            ("succeeded", self.account.sum_succeeded()),
            ("failed", self.account.failed),
        ];
        for (field, number) in optional.into_iter().filter(|(_, number)| *number != 0) {
            status[field] = number.into();
        }
        if let Some(started) = started {
            status["startTime"] = started.seconds().into();
        }
        if self.account.completions.is_some() && !self.account.completed.is_empty() {
            status["completedIndexes"] = self.account.completed.to_string().into();
        }
        let is_complete =
            self.conditions.iter().any(|one| one["type"] == "Complete" && one["status"] == "True");
        if is_complete {
            status["completionTime"] = self.wall.seconds().into();
        }
        if !self.conditions.is_empty() {
            status["conditions"] = self.conditions.clone().into();
        }
        status
    }
}

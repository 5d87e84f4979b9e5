//! StatefulSets, as Kubernetes' own controller keeps them: Pods with ordinals, made upwards and removed downwards, each
//! with its claims, and updated from the highest ordinal down.

mod claims;
mod pods;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::action::{self, Action, Plan, Told};
use super::children::{self, is_ready, phase};
use super::history::{self, Current, History};
use super::object::{Object, id};
use crate::api::hash::template_hash;
use crate::api::selectors::Selector;
use crate::time::WallTime;
use pods::{identity, pod};

/// Label of Pods with their revision's name, and of revisions with their template's hash.
pub const REVISION_LABEL: &str = "controller-revision-hash";
const HASH_LABEL: &str = "controller.kubernetes.io/hash";

/// Everything about one StatefulSet.
#[derive(Debug)]
pub struct Case<'a> {
    /// It.
    pub set: &'a Object,
    /// What it selects.
    pub selector: &'a Selector,
    /// Pods it controls.
    pub pods: Vec<Arc<Object>>,
    /// Pods that it selects and nobody controls.
    pub orphans: Vec<Arc<Object>>,
    /// Revisions it controls.
    pub revisions: Vec<Arc<Object>>,
    /// Revisions that it selects and nobody controls.
    pub orphan_revisions: Vec<Arc<Object>>,
    /// Claims in its namespace that its Pods may use, by name.
    pub claims: BTreeMap<String, Arc<Object>>,
    /// Now.
    pub wall: WallTime,
}

/// One place in the row of ordinals.
#[derive(Debug)]
struct Replica {
    ordinal: i64,
    pod: Option<Arc<Object>>,
}

/// The names and templates that Pods are made by.
struct Revisions {
    current: String,
    update: String,
    /// The template of the current revision.
    current_template: Value,
}

struct Turn<'a> {
    set: &'a Object,
    claims: &'a BTreeMap<String, Arc<Object>>,
    revisions: &'a Revisions,
    wall: WallTime,
    is_ordered: bool,
    plan: Plan,
}

/// Claims that Pods of the set may use: names of what is to be looked up for [`Case::claims`].
pub fn claim_names(set: &Object, pods: &[Arc<Object>]) -> Vec<String> {
    let (start, count) = range(set);
    let of_pods = pods.iter().filter_map(|pod| ordinal(set, pod));
    let mut ordinals: Vec<i64> = (start..start + count).chain(of_pods).collect();
    ordinals.sort_unstable();
    ordinals.dedup();
    ordinals.iter().flat_map(|ordinal| claims::names(set, *ordinal)).collect()
}

/// What is to be done.
pub fn plan(case: Case<'_>) -> Plan {
    let Case { set, selector, pods, orphans, revisions, orphan_revisions, claims, wall } = case;
    let is_member = |pod: &Object| ordinal(set, pod).is_some();
    let pods = children::claim(set, selector, is_member, None, pods, orphans);
    let kept = children::claim(set, selector, |_| true, None, revisions, orphan_revisions);
    let mut plan = Plan::default();
    plan.waves.extend(pods.waves.into_iter().chain(kept.waves));
    let collisions = set.number("/status/collisionCount").unwrap_or_default();
    let hash = template_hash(&set["spec"]["template"], i32::try_from(collisions).ok());
    let history = History { owner: set, hash: &hash, label: HASH_LABEL, revisions: &kept.kept };
    let current = history.current();
    let revisions = match current {
        Current::Collision => {
            let mut status = set["status"].clone();
            status["collisionCount"] = (collisions + 1).into();
            plan.then(action::status(set, &status).into_iter().collect());
            return plan;
        }
        Current::Kept(ref revision) => self::revisions(set, &kept.kept, revision.name()),
        Current::Made { ref name, ref action } => {
            if !set.is_ending() {
                plan.then(vec![(**action).clone()]);
            }
            self::revisions(set, &kept.kept, name)
        }
    };
    let is_ordered = set.text("/spec/podManagementPolicy") != "Parallel";
    let mut turn = Turn { set, claims: &claims, revisions: &revisions, wall, is_ordered, plan };
    let (replicas, condemned) = rows(set, &pods.kept);
    let replaced = if set.is_ending() { 0 } else { turn.manage(&replicas, &condemned) };
    let mut plan = turn.plan;
    let status = status::status(set, &pods.kept, &revisions, replaced, wall, &mut plan);
    plan.then(action::status(set, &status).into_iter().collect());
    if !set.is_ending() {
        let in_use = |revision: &Object| {
            revision.name() == revisions.current
                || pods.kept.iter().any(|pod| pod.label(REVISION_LABEL) == Some(revision.name()))
        };
        plan.then(history.trim(&revisions.update, in_use, false));
    }
    plan
}

fn revisions(set: &Object, all: &[Arc<Object>], update: &str) -> Revisions {
    let named = set.text("/status/currentRevision");
    let current = all.iter().find(|revision| revision.name() == named);
    match current {
        Some(current) if current.name() != update => Revisions {
            current: current.name().to_owned(),
            update: update.to_owned(),
            current_template: history::template(current),
        },
        _ => Revisions {
            current: update.to_owned(),
            update: update.to_owned(),
            current_template: set["spec"]["template"].clone(),
        },
    }
}

/// First ordinal, and how many.
fn range(set: &Object) -> (i64, i64) {
    let start = set.number("/spec/ordinals/start").unwrap_or_default();
    (start, set.number("/spec/replicas").unwrap_or(1))
}

/// The ordinal of a Pod that has this set's name.
pub fn ordinal(set: &Object, pod: &Object) -> Option<i64> {
    ordinal_of(set, pod.name())
}

fn ordinal_of(set: &Object, pod: &str) -> Option<i64> {
    let (parent, number) = pod.rsplit_once('-')?;
    let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    (parent == set.name() && is_number).then(|| number.parse::<i32>().ok().map(i64::from))?
}

/// Whether the set is to have a Pod of this name.
pub fn wants(set: &Object, pod: &str) -> bool {
    let (start, count) = range(set);
    let ordinal = ordinal_of(set, pod);
    !set.is_ending() && ordinal.is_some_and(|ordinal| (start..start + count).contains(&ordinal))
}

/// The Pods that are to be, upwards, and those that are too many, downwards.
fn rows(set: &Object, pods: &[Arc<Object>]) -> (Vec<Replica>, Vec<Replica>) {
    let (start, count) = range(set);
    let mut replicas: Vec<Replica> =
        (start..start + count).map(|ordinal| Replica { ordinal, pod: None }).collect();
    let mut condemned = Vec::new();
    for pod in pods {
        let Some(ordinal) = ordinal(set, pod) else { continue };
        let place = usize::try_from(ordinal - start).ok().and_then(|at| replicas.get_mut(at));
        match place {
            Some(place) => place.pod = Some(pod.clone()),
            None => condemned.push(Replica { ordinal, pod: Some(pod.clone()) }),
        }
    }
    condemned.sort_by_key(|replica| -replica.ordinal);
    (replicas, condemned)
}

/// Whether a Pod is running and ready.
fn is_running_and_ready(pod: &Object) -> bool {
    phase(pod) == "Running" && is_ready(pod)
}

fn told(verb: &'static str, set: &Object, pod: &str) -> Told {
    let (success, failure) = match verb {
        "create" => ("SuccessfulCreate", "FailedCreate"),
        "delete" => ("SuccessfulDelete", "FailedDelete"),
        _ => ("SuccessfulUpdate", "FailedUpdate"),
    };
    let about = format!("{verb} Pod {pod} in StatefulSet {}", set.name());
    Told {
        success,
        message: format!("{about} successful"),
        failure,
        prefix: format!("{about} failed error: "),
    }
}

impl Turn<'_> {
    fn is_available(&self, pod: &Object) -> bool {
        let missing = children::until_available(pod, children::min_ready(self.set), self.wall);
        is_running_and_ready(pod) && missing.is_some_and(|missing| missing.is_zero())
    }

    fn is_unavailable(&self, replica: &Replica) -> bool {
        replica.pod.as_ref().is_none_or(|pod| pod.is_ending() || !self.is_available(pod))
    }

    /// Plans for all Pods; how many Pods of the current revision it replaces.
    fn manage(&mut self, replicas: &[Replica], condemned: &[Replica]) -> i64 {
        let mut creations = Vec::new();
        for replica in replicas {
            let is_blocked = self.keep(replica, &mut creations);
            if is_blocked && self.is_ordered {
                self.create(creations);
                return 0;
            }
        }
        self.create(creations);
        for pod in condemned.iter().filter_map(|replica| replica.pod.clone()) {
            self.keep_claims(&pod);
        }
        if self.remove(replicas, condemned) && self.is_ordered {
            return 0;
        }
        self.update(replicas)
    }

    fn create(&mut self, creations: Vec<(Vec<Action>, Action)>) {
        let (before, pods): (Vec<_>, Vec<_>) = creations.into_iter().unzip();
        self.plan.then(before.into_iter().flatten().collect());
        self.plan.slowly(pods);
    }

    /// Sees to one Pod that is to be. Whether those after it have to wait.
    fn keep(&mut self, replica: &Replica, creations: &mut Vec<(Vec<Action>, Action)>) -> bool {
        let Some(pod) = &replica.pod else {
            creations.extend(self.creation(replica.ordinal));
            return true;
        };
        if matches!(phase(pod), "Failed" | "Succeeded") {
            if !pod.is_ending() {
                self.delete(pod);
            }
            return true;
        }
        if phase(pod) == "Pending" {
            let missing = claims::missing(self.set, replica.ordinal, self.claims);
            self.plan.then(missing);
        }
        if self.is_ordered && (pod.is_ending() || !self.is_available(pod)) {
            return true;
        }
        if let Some(labels) = pods::wrong_labels(pod, replica.ordinal) {
            let change = json!({ "metadata": { "labels": labels } });
            let told = Some(told("update", self.set, pod.name()));
            self.plan.then(vec![Action::Patch { of: pod.target(), part: "", change, told }]);
        }
        self.keep_claims(pod);
        false
    }

    fn keep_claims(&mut self, pod: &Object) {
        let corrected = claims::corrected(self.set, pod, range(self.set), self.claims);
        self.plan.then(corrected);
    }

    /// What makes a Pod: before it its claims and its identity, which nobody holds yet. None while a claim of the Pod
    /// before it is about to go.
    fn creation(&self, ordinal: i64) -> Option<(Vec<Action>, Action)> {
        if claims::is_stale(self.set, ordinal, self.claims) {
            return None;
        }
        let (start, _) = range(self.set);
        let is_rolling = self.set.text("/spec/updateStrategy/type") != "OnDelete";
        let below = match self.set.number("/spec/updateStrategy/rollingUpdate/partition") {
            Some(partition) => partition,
            None if self.set["spec"]["updateStrategy"]["rollingUpdate"].is_object() => 0,
            None => self.set.number("/status/currentReplicas").unwrap_or_default(),
        };
        let is_current = is_rolling && ordinal < start + below;
        let (template, revision) = if is_current {
            (&self.revisions.current_template, &self.revisions.current)
        } else {
            (&self.set["spec"]["template"], &self.revisions.update)
        };
        let object = pod(self.set, template, revision, ordinal);
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut before = claims::missing(self.set, ordinal, self.claims);
        before.push(identity(self.set.namespace(), &name));
        let told = Some(told("create", self.set, &name));
        Some((before, Action::Create { kind: id("", "Pod"), object, told }))
    }

    fn delete(&mut self, pod: &Object) {
        let told = Some(told("delete", self.set, pod.name()));
        self.plan.then(vec![Action::Delete { of: pod.target(), propagation: None, told }]);
    }

    /// Removes Pods that are too many, one at a time where they are ordered. Whether what follows has to wait.
    fn remove(&mut self, replicas: &[Replica], condemned: &[Replica]) -> bool {
        let first_unavailable = || {
            let all = replicas.iter().chain(condemned.iter().rev());
            let mut unavailable = all.filter(|replica| self.is_unavailable(replica));
            unavailable.next().map(|replica| replica.ordinal)
        };
        let first_unavailable = first_unavailable();
        for replica in condemned {
            let Some(pod) = &replica.pod else { continue };
            if pod.is_ending() {
                if self.is_ordered {
                    return true;
                }
                continue;
            }
            if self.is_ordered && !self.is_available(pod) && first_unavailable != Some(replica.ordinal) {
                return true;
            }
            self.delete(pod);
            if self.is_ordered {
                return true;
            }
        }
        false
    }

    /// Replaces Pods of other revisions, from the highest ordinal down to the partition.
    fn update(&mut self, replicas: &[Replica]) -> i64 {
        if self.set.text("/spec/updateStrategy/type") == "OnDelete" {
            return 0;
        }
        let partition = self.set.number("/spec/updateStrategy/rollingUpdate/partition").unwrap_or_default();
        let first = usize::try_from(partition).unwrap_or_default().min(replicas.len());
        let most = self.unavailable_max(replicas.len());
        let is_old =
            |pod: &Object| pod.label(REVISION_LABEL) != Some(&self.revisions.update) && !pod.is_ending();
        let mut old = Vec::new();
        if most == 1 {
            for replica in replicas[first..].iter().rev() {
                match &replica.pod {
                    Some(pod) if is_old(pod) => {
                        old.push(pod.clone());
                        break;
                    }
                    _ if self.is_unavailable(replica) => break,
                    _ => {}
                }
            }
        } else {
            let unavailable = replicas.iter().filter(|replica| self.is_unavailable(replica)).count();
            let pods = replicas[first..].iter().rev().filter_map(|replica| replica.pod.clone());
            old.extend(pods.filter(|pod| is_old(pod)).take(most.saturating_sub(unavailable)));
        }
        let of_current = |pod: &&Arc<Object>| pod.label(REVISION_LABEL) == Some(&self.revisions.current);
        let replaced = old.iter().filter(of_current).count();
        for pod in &old {
            self.delete(pod);
        }
        replaced as i64
    }

    fn unavailable_max(&self, replicas: usize) -> usize {
        let told = &self.set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"];
        children::scaled(told, replicas as i64, children::Rounding::Up)
            .and_then(|most| usize::try_from(most).ok())
            .map_or(1, |most| most.max(1))
    }
}

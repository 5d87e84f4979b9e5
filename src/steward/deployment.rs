//! Deployments, as Kubernetes' own controller rolls them out: one `ReplicaSet` per template, the newest scaled up and the
//! older ones down within surge and unavailability.
//!
//! What differs from upstream: a set that has the right size by somebody else's hand is told of the number wanted, where
//! upstream would take it for being scaled forever; templates are compared with the defaults of today, so that a release
//! that has a new default rolls nothing out.

mod rolling;
mod sets;
mod status;

use std::sync::Arc;

use serde_json::{Value, json};

use super::action::{Action, Plan, Told};
use super::children::{self, Rounding};
use super::object::{Object, id};
use super::queue::Failure;
use crate::api::hash::canonical;
use crate::api::kinds::KINDS;
use crate::api::selectors::Selector;
use crate::time::WallTime;

/// Label that tells the Pods of one template from those of another.
const HASH_LABEL: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// `apps/v1` default of `revisionHistoryLimit`.
const HISTORY_LIMIT: i64 = 10;

/// Everything about one Deployment.
pub struct Case<'a> {
    /// It.
    pub deployment: &'a Object,
    /// What it selects.
    pub selector: &'a Selector,
    /// Sets it controls.
    pub sets: Vec<Arc<Object>>,
    /// Sets that it selects and nobody controls.
    pub orphans: Vec<Arc<Object>>,
    /// Whether any Pod of a `ReplicaSet` (by its UID) has not ended.
    pub runs: &'a dyn Fn(&str) -> bool,
    /// Whether any `ReplicaSet` of the namespace has this name, whoever's it is.
    pub is_taken: &'a dyn Fn(&str) -> bool,
    /// Why the last plan was not carried out.
    pub failure: Option<&'a Failure>,
    /// Now.
    pub wall: WallTime,
}

/// A `ReplicaSet` and how many Pods it is to have.
#[derive(Clone, Debug)]
struct Set {
    object: Arc<Object>,
    replicas: i64,
}

/// The sets of a Deployment, the older ones by age.
#[derive(Clone, Debug)]
struct Sets {
    new: Option<Set>,
    old: Vec<Set>,
}

/// The numbers of a strategy.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    replicas: i64,
    surge: i64,
    unavailable: i64,
    is_rolling: bool,
}

impl Set {
    fn has(&self) -> i64 {
        self.object.number("/spec/replicas").unwrap_or(1)
    }

    fn available(&self) -> i64 {
        self.object.number("/status/availableReplicas").unwrap_or_default()
    }
}

impl Sets {
    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    fn total(&self) -> i64 {
        self.all().map(|set| set.replicas).sum()
    }
}

impl Bounds {
    fn of(deployment: &Object) -> Self {
        let replicas = deployment.number("/spec/replicas").unwrap_or(1);
        let is_rolling = deployment.text("/spec/strategy/type") != "Recreate";
        let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
        let told = |field: &str, rounding| {
            let told = if rolling[field].is_null() { json!("25%") } else { rolling[field].clone() };
            children::scaled(&told, replicas, rounding).unwrap_or_default()
        };
        let (surge, mut unavailable) =
            (told("maxSurge", Rounding::Up), told("maxUnavailable", Rounding::Down));
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        if is_rolling {
            Self { replicas, surge, unavailable: unavailable.min(replicas), is_rolling }
        } else {
            Self { replicas, surge: 0, unavailable: 0, is_rolling }
        }
    }

    fn most(&self) -> i64 {
        self.replicas + self.surge
    }
}

/// What becomes of the rollout by a plan, for its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It goes on; what has been reached counts as progress.
    Rolls,
    /// A set of this template is made.
    Makes,
    /// Another template has the set's name.
    Collides,
    /// Paused, scaled, or about to go: nothing is said of progress.
    Rests,
}

/// What is to be done.
pub fn plan(case: &Case<'_>) -> Plan {
    let deployment = case.deployment;
    let claimed =
        children::claim(deployment, case.selector, |_| true, None, case.sets.clone(), case.orphans.clone());
    let mut plan = Plan { waves: claimed.waves, wake: None };
    let sets = sorted(deployment, &claimed.kept);
    let turn = match case.failure {
        _ if deployment.is_ending() => Turn::Rests,
        None => sets::care(case, &sets, &mut plan),
        Some(_) => {
            plan.waves.clear();
            Turn::Rests
        }
    };
    status::tell(case, &sets, turn, &mut plan);
    plan
}

/// The set of the current template, the oldest of those that have it, and the others.
fn sorted(deployment: &Object, all: &[Arc<Object>]) -> Sets {
    let template = bare(&deployment["spec"]["template"]);
    let mut all: Vec<Set> = all
        .iter()
        .map(|object| Set { replicas: object.number("/spec/replicas").unwrap_or(1), object: object.clone() })
        .collect();
    all.sort_by_key(|set| (set.object.meta.creation_timestamp.clone(), set.object.name().to_owned()));
    let at = all.iter().position(|set| bare(&set.object["spec"]["template"]) == template);
    let new = at.map(|at| all.remove(at));
    Sets { new, old: all }
}

/// A template without the label that is put into it, and with the defaults of today.
fn bare(template: &Value) -> String {
    let mut set = json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "spec": { "template": template } });
    (KINDS[id("apps", "ReplicaSet")].defaults)(&mut set);
    let mut template = set["spec"]["template"].take();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH_LABEL);
    }
    canonical(&template)
}

fn is_paused(deployment: &Object) -> bool {
    deployment["spec"]["paused"] == true
}

/// The write that gives a set another number of Pods, and what people are told of it.
fn scale(set: &Set, bounds: Bounds) -> Option<Action> {
    let has = set.has();
    let wanted = [(DESIRED, bounds.replicas), (MAX, bounds.most())];
    let is_told = |(name, number): &(&str, i64)| set.object.annotation(name) == Some(&number.to_string());
    if has == set.replicas && wanted.iter().all(is_told) {
        return None;
    }
    let told = (has != set.replicas).then(|| {
        let way = if set.replicas > has { "up" } else { "down" };
        Told {
            success: "ScalingReplicaSet",
            message: format!("Scaled {way} replica set {} from {has} to {}", set.object.name(), set.replicas),
            failure: "",
            prefix: String::new(),
        }
    });
    let annotations = json!({ DESIRED: bounds.replicas.to_string(), MAX: bounds.most().to_string() });
    let change = json!({ "metadata": { "annotations": annotations }, "spec": { "replicas": set.replicas } });
    Some(Action::Patch { of: set.object.target(), part: "", change, told })
}

//! What is done to the sets (`ReplicaSet`) of a Deployment: made, scaled, forgotten.

use serde_json::{Map, Value, json};

use super::rolling::{is_being_scaled, resize, scale_down, scale_down_all, wanted};
use super::{
    Bounds, Case, DESIRED, HASH_LABEL, HISTORY_LIMIT, MAX, REVISION, Set, Sets, Turn, is_paused, scale,
    status,
};
use crate::api::hash::template_hash;
use crate::steward::action::{self, Action, Plan, Told};
use crate::steward::children::CHILDREN;
use crate::steward::object::{Object, id};

/// Numbers that a set had before, where it became the newest again.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Longest text of these, as upstream's.
const HISTORY_BYTES_MAX: usize = 2000;
/// `revisionHistoryLimit` that stands for none.
const NO_LIMIT: i64 = i32::MAX as i64;

/// Annotations of a Deployment that its sets do not take over. `kubectl rollout undo` gives a Deployment those of
/// the set it goes back to, the count of its children among them.
const OWN: [&str; 6] =
    ["kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAX, CHILDREN];

/// Plans for the sets.
pub(super) fn care(case: &Case<'_>, sets: &Sets, plan: &mut Plan) -> Turn {
    let deployment = case.deployment;
    let bounds = Bounds::of(deployment);
    if let Some(new) = &sets.new {
        keep_told(deployment, new, next_revision(sets), plan);
    }
    let mut next = sets.clone();
    if is_paused(deployment) || is_being_scaled(sets, bounds) {
        resize(&mut next, bounds, deployment.number("/status/replicas").unwrap_or_default());
        plan.then(
            next.all()
                .filter(|set| set.replicas > 0 || set.has() > 0)
                .filter_map(|set| scale(set, bounds))
                .collect(),
        );
        if is_paused(deployment) {
            forget(deployment, sets, plan);
        }
        return Turn::Rests;
    }
    let is_clear = bounds.is_rolling || is_clear(case, sets);
    match &mut next.new {
        _ if !is_clear => scale_down_all(&mut next),
        None => return make(case, sets, bounds, plan),
        Some(new) => {
            new.replicas = wanted(new.replicas, sets.total(), bounds);
            if bounds.is_rolling && new.replicas == new.has() {
                scale_down(&mut next, bounds);
            }
        }
    }
    let changed = next.all().filter(|set| set.has() != set.replicas);
    let writes: Vec<Action> = changed.filter_map(|set| scale(set, bounds)).collect();
    if writes.is_empty() && status::is_complete(deployment) {
        forget(deployment, sets, plan);
    }
    plan.then(writes);
    Turn::Rolls
}

fn revision(set: &Object) -> i64 {
    set.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn next_revision(sets: &Sets) -> i64 {
    sets.old.iter().map(|set| revision(&set.object)).max().unwrap_or_default() + 1
}

/// The newest set takes over the Deployment's annotations and has the highest revision, which the Deployment shows.
fn keep_told(deployment: &Object, new: &Set, next: i64, plan: &mut Plan) {
    let (before, set) = (revision(&new.object), &new.object);
    let number = before.max(next);
    let mut wanted = inherited(deployment, number);
    if before > 0 && before < number {
        wanted
            .insert(HISTORY.to_owned(), history(set.annotation(HISTORY).unwrap_or_default(), before).into());
    }
    let has = |(name, value): (&String, &Value)| set.annotation(name) == value.as_str();
    let min_ready = deployment.number("/spec/minReadySeconds").unwrap_or_default();
    let is_ready_as_told = set.number("/spec/minReadySeconds").unwrap_or_default() == min_ready;
    if !wanted.iter().all(has) || !is_ready_as_told {
        let mut change = json!({ "metadata": { "annotations": wanted } });
        if !is_ready_as_told {
            change["spec"] = json!({ "minReadySeconds": min_ready });
        }
        plan.then(vec![Action::Patch { of: set.target(), part: "", change, told: None }]);
    }
    show_revision(deployment, number, plan);
}

/// Appends a number, and drops the oldest where that gets too long.
fn history(had: &str, number: i64) -> String {
    let mut all: Vec<String> = had.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    all.push(number.to_string());
    while all.len() > 1 && all.iter().map(|one| one.len() + 1).sum::<usize>() > HISTORY_BYTES_MAX {
        all.remove(0);
    }
    all.join(",")
}

fn show_revision(deployment: &Object, number: i64, plan: &mut Plan) {
    if deployment.annotation(REVISION) != Some(&number.to_string()) {
        let change = json!({ "annotations": { REVISION: number.to_string() } });
        plan.then(vec![action::metadata(deployment, &change)]);
    }
}

fn inherited(deployment: &Object, number: i64) -> Map<String, Value> {
    let own = deployment.meta.annotations.iter().flatten();
    let mut taken: Map<String, Value> = own
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    taken.insert(REVISION.to_owned(), number.to_string().into());
    taken
}

/// Makes the set of the newest template, unless another has its name.
fn make(case: &Case<'_>, sets: &Sets, bounds: Bounds, plan: &mut Plan) -> Turn {
    let deployment = case.deployment;
    let (number, replicas) = (next_revision(sets), wanted(0, sets.total(), bounds));
    let (name, hash) = name(deployment);
    if (case.is_taken)(&name) {
        return Turn::Collides;
    }
    let mut annotations = inherited(deployment, number);
    annotations.insert(DESIRED.to_owned(), bounds.replicas.to_string().into());
    annotations.insert(MAX.to_owned(), bounds.most().to_string().into());
    let told = Told {
        success: if replicas > 0 { "ScalingReplicaSet" } else { "" },
        message: format!("Scaled up replica set {name} from 0 to {replicas}"),
        failure: "ReplicaSetCreateError",
        prefix: format!("Failed to create new replica set {name:?}: "),
    };
    let object = set(deployment, &name, &hash, replicas, &annotations);
    plan.then(vec![Action::Create { kind: id("apps", "ReplicaSet"), object, told: Some(told) }]);
    show_revision(deployment, number, plan);
    Turn::Makes
}

/// Name of the newest template's set, and its hash.
pub(super) fn name(deployment: &Object) -> (String, String) {
    let collisions = deployment.number("/status/collisionCount").and_then(|count| i32::try_from(count).ok());
    let hash = template_hash(&deployment["spec"]["template"], collisions);
    (format!("{}-{hash}", deployment.name()), hash)
}

fn set(
    deployment: &Object,
    name: &str,
    hash: &str,
    replicas: i64,
    annotations: &Map<String, Value>,
) -> Value {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH_LABEL] = hash.into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH_LABEL] = hash.into();
    let labels = template["metadata"]["labels"].clone();
    let mut spec = json!({ "replicas": replicas, "selector": selector, "template": template });
    if let Some(seconds) = deployment.number("/spec/minReadySeconds").filter(|seconds| *seconds != 0) {
        spec["minReadySeconds"] = seconds.into();
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": deployment.namespace(),
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [deployment.controls()],
        },
        "spec": spec,
    })
}

/// Whether the older sets have no Pods, and none of their Pods runs.
fn is_clear(case: &Case<'_>, sets: &Sets) -> bool {
    let counted = |set: &Set| set.object.number("/status/replicas").unwrap_or_default();
    sets.old.iter().all(|set| set.has() == 0 && counted(set) == 0 && !(case.runs)(set.object.uid()))
}

/// Deletes the oldest sets beyond the limit, as far as they are empty.
fn forget(deployment: &Object, sets: &Sets, plan: &mut Plan) {
    let limit = deployment.number("/spec/revisionHistoryLimit").unwrap_or(HISTORY_LIMIT);
    if limit == NO_LIMIT {
        return;
    }
    let mut old: Vec<&Set> = sets.old.iter().filter(|set| !set.object.is_ending()).collect();
    old.sort_by_key(|set| revision(&set.object));
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    let is_empty = |set: &&&Set| {
        let number = |path: &str| set.object.number(path).unwrap_or_default();
        let is_observed =
            number("/status/observedGeneration") >= set.object.meta.generation.unwrap_or_default();
        set.has() == 0 && number("/status/replicas") == 0 && is_observed
    };
    let deletion = |set: &&Set| Action::Delete { of: set.object.target(), propagation: None, told: None };
    plan.then(old[..surplus].iter().filter(is_empty).map(deletion).collect());
}

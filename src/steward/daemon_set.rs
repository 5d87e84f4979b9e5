//! Status and revisions of a DaemonSet, as Kubernetes' own controller keeps them. Which node hosts its Pods, the nodes
//! decide themselves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;

use crate::api::hash::{Stored, revision_data};
use crate::api::readiness;
use crate::placement;
use crate::time::WallTime;

/// Label of Pods and revisions with the template's hash.
const REVISION_LABEL: &str = "controller-revision-hash";

/// `apps/v1` default of `revisionHistoryLimit`.
const HISTORY_LIMIT: i32 = 10;

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The DaemonSet's status, if the object still has its resourceVersion.
    WriteStatus(Box<DaemonSetStatus>),
    /// A new revision.
    CreateRevision(Box<ControllerRevision>),
    /// An old template is the current one again: its revision gets this number.
    Renumber {
        /// The revision.
        revision: Arc<ControllerRevision>,
        /// One more than the highest.
        number: i64,
    },
    /// A revision that nobody needs any more.
    DeleteRevision(Arc<ControllerRevision>),
}

/// Everything about one DaemonSet.
#[derive(Debug)]
pub struct Case<'a> {
    /// It.
    pub set: &'a Stored<DaemonSet>,
    /// Pods it controls, on all nodes.
    pub pods: &'a [Arc<Pod>],
    /// Revisions it controls.
    pub revisions: &'a [Arc<ControllerRevision>],
    /// All nodes.
    pub nodes: &'a [Arc<Node>],
    /// Now.
    pub wall: WallTime,
}

/// What is to be written, and after how long to look again though nothing has changed: when a Pod that is ready will
/// have been so for `minReadySeconds`.
pub fn plan(case: &Case<'_>) -> (Vec<Action>, Option<Duration>) {
    let mut actions = Vec::new();
    let collision = keep_revisions(case, &mut actions);
    let (status, again) = status(case, collision);
    if case.set.object.status.as_ref() != Some(&status) {
        actions.push(Action::WriteStatus(Box::new(status)));
    }
    (actions, again)
}

fn status(case: &Case<'_>, collision: bool) -> (DaemonSetStatus, Option<Duration>) {
    let set = &case.set.object;
    let before = set.status.clone().unwrap_or_default();
    let mut status = DaemonSetStatus {
        observed_generation: set.metadata.generation,
        collision_count: before.collision_count,
        conditions: before.conditions,
        ..DaemonSetStatus::default()
    };
    if collision {
        status.collision_count = Some(status.collision_count.unwrap_or_default() + 1);
    }
    let template = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or_default();
    let min_ready = Duration::from_secs(u64::try_from(min_ready).unwrap_or_default());
    let on_nodes = by_node(case.pods);
    let (mut updated, mut available, mut again) = (0, 0, None);
    for node in case.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let first = on_nodes.get(name).and_then(|pods| pods.first());
        let wanted = template.is_some_and(|spec| placement::daemon_set::verdict(spec, node).should_run());
        if !wanted {
            status.number_misscheduled += i32::from(first.is_some());
            continue;
        }
        status.desired_number_scheduled += 1;
        let Some(pod) = first else { continue };
        status.current_number_scheduled += 1;
        if let Some(since) = readiness::ready_since(pod) {
            status.number_ready += 1;
            match missing(since, min_ready, case.wall) {
                None => available += 1,
                Some(rest) => again = Some(again.map_or(rest, |least: Duration| least.min(rest))),
            }
        }
        updated += i32::from(label(pod.metadata.labels.as_ref()) == Some(case.set.revision()));
    }
    let unavailable = status.desired_number_scheduled - available;
    // Upstream leaves out zeros of the optional numbers.
    let told = |number: i32| Some(number).filter(|number| *number != 0);
    status.updated_number_scheduled = told(updated);
    status.number_available = told(available);
    status.number_unavailable = told(unavailable);
    (status, again)
}

/// How long a Pod ready `since` must still be so before it counts as available; none when it does.
fn missing(since: WallTime, min_ready: Duration, wall: WallTime) -> Option<Duration> {
    let for_seconds = wall.0.duration_since(since.0).as_secs();
    let ready_for = Duration::from_secs(u64::try_from(for_seconds).unwrap_or_default());
    min_ready.checked_sub(ready_for).filter(|rest| !rest.is_zero())
}

/// The Pods of each node, the oldest first; those that have ended and are being deleted do not count.
fn by_node(pods: &[Arc<Pod>]) -> BTreeMap<&str, Vec<&Arc<Pod>>> {
    let mut nodes: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    let leaving = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        pod.metadata.deletion_timestamp.is_some() && matches!(phase, Some("Succeeded" | "Failed"))
    };
    for pod in pods.iter().filter(|pod| !leaving(pod)) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        nodes.entry(node).or_default().push(pod);
    }
    for pods in nodes.values_mut() {
        pods.sort_by_key(|pod| (pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone()));
    }
    nodes
}

fn label(labels: Option<&BTreeMap<String, String>>) -> Option<&str> {
    labels?.get(REVISION_LABEL).map(String::as_str)
}

/// One revision per template that was ever current, the current one with the highest number, and of the others as many
/// as the limit says; those that Pods still have stay in any case. True when another template has the current one's name.
fn keep_revisions(case: &Case<'_>, actions: &mut Vec<Action>) -> bool {
    let set = &case.set.object;
    if set.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let data = revision_data(case.set.template());
    let same =
        |revision: &&Arc<ControllerRevision>| revision.data.as_ref().is_some_and(|have| have.0 == data);
    let highest = case.revisions.iter().map(|revision| revision.revision).max().unwrap_or_default();
    let name = format!("{}-{}", set.metadata.name.as_deref().unwrap_or_default(), case.set.revision());
    let current = case.revisions.iter().filter(same).max_by_key(|revision| revision.revision);
    match current {
        Some(current) if current.revision < highest => {
            actions.push(Action::Renumber { revision: current.clone(), number: highest + 1 });
        }
        Some(_) => {}
        None if case.revisions.iter().any(|revision| revision.metadata.name.as_ref() == Some(&name)) => {
            return true;
        }
        None => actions.push(Action::CreateRevision(Box::new(revision(case.set, name, highest + 1)))),
    }
    trim(case, current, actions);
    false
}

fn trim(case: &Case<'_>, current: Option<&Arc<ControllerRevision>>, actions: &mut Vec<Action>) {
    let in_use = |revision: &Arc<ControllerRevision>| {
        let hash = label(revision.metadata.labels.as_ref());
        case.pods.iter().any(|pod| hash.is_some() && label(pod.metadata.labels.as_ref()) == hash)
    };
    let spec = case.set.object.spec.as_ref();
    let limit = spec.and_then(|spec| spec.revision_history_limit).unwrap_or(HISTORY_LIMIT);
    let mut old: Vec<_> = case
        .revisions
        .iter()
        .filter(|revision| current.is_none_or(|current| current.metadata.uid != revision.metadata.uid))
        .collect();
    old.sort_by_key(|revision| revision.revision);
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or_default());
    let unused = old.into_iter().filter(|revision| !in_use(revision));
    actions.extend(unused.take(surplus).map(|revision| Action::DeleteRevision(revision.clone())));
}

fn revision(set: &Stored<DaemonSet>, name: String, number: i64) -> ControllerRevision {
    let metadata = &set.object.metadata;
    let template = set.object.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref());
    let mut labels = template.and_then(|template| template.labels.clone()).unwrap_or_default();
    labels.insert(REVISION_LABEL.to_owned(), set.revision().to_owned());
    ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: metadata.namespace.clone(),
            labels: Some(labels),
            annotations: metadata.annotations.clone(),
            owner_references: Some(vec![OwnerReference {
                api_version: "apps/v1".into(),
                kind: "DaemonSet".into(),
                name: metadata.name.clone().unwrap_or_default(),
                uid: metadata.uid.clone().unwrap_or_default(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(revision_data(set.template()))),
        revision: number,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn stored(image: &str, generation: i64) -> Stored<DaemonSet> {
        Stored::read(json!({
            "metadata": { "name": "web", "namespace": "default", "uid": "set", "generation": generation },
            "spec": {
                "minReadySeconds": 10,
                "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "nodeSelector": { "gpu": "yes" }, "containers": [{ "name": "c", "image": image }] },
                },
            },
        }))
        .expect("a DaemonSet")
    }

    fn node(name: &str, gpu: &str) -> Arc<Node> {
        let object = json!({ "metadata": { "name": name, "labels": { "gpu": gpu } } });
        Arc::new(serde_json::from_value(object).expect("a Node"))
    }

    fn pod(node: &str, hash: &str, ready_at: Option<&str>) -> Arc<Pod> {
        let conditions: Value = match ready_at {
            Some(at) => json!([{ "type": "Ready", "status": "True", "lastTransitionTime": at }]),
            None => json!([{ "type": "Ready", "status": "False" }]),
        };
        let object = json!({
            "metadata": { "name": node, "labels": { REVISION_LABEL: hash } },
            "spec": { "nodeName": node, "containers": [] },
            "status": { "conditions": conditions },
        });
        Arc::new(serde_json::from_value(object).expect("a Pod"))
    }

    fn at(text: &str) -> WallTime {
        WallTime::parse(text).expect("a time")
    }

    fn planned(
        set: &Stored<DaemonSet>,
        pods: &[Arc<Pod>],
        revisions: &[Arc<ControllerRevision>],
    ) -> (Vec<Action>, Option<Duration>) {
        let nodes = [node("a", "yes"), node("b", "yes"), node("c", "yes"), node("d", "no")];
        plan(&Case { set, pods, revisions, nodes: &nodes, wall: at("2026-01-01T00:01:00Z") })
    }

    #[test]
    fn the_numbers_are_those_of_upstream() {
        let set = stored("i:1", 3);
        let hash = set.revision().to_owned();
        let pods = [
            pod("a", &hash, Some("2026-01-01T00:00:00Z")),
            pod("b", "older", Some("2026-01-01T00:00:57Z")),
            pod("d", &hash, None),
        ];
        let (actions, again) = planned(&set, &pods, &[]);
        let Some(Action::WriteStatus(status)) = actions.last() else { panic!("{actions:?}") };
        let expected = json!({
            "currentNumberScheduled": 2, "desiredNumberScheduled": 3, "numberMisscheduled": 1, "numberReady": 2,
            "numberAvailable": 1, "numberUnavailable": 2, "updatedNumberScheduled": 1, "observedGeneration": 3,
        });
        assert_eq!(serde_json::to_value(status).expect("encodes"), expected);
        assert_eq!(again, Some(Duration::from_secs(7)), "b has been ready for 3 of 10 seconds");
    }

    #[test]
    fn a_new_template_gets_a_revision_and_an_old_one_its_number_back() {
        let first = stored("i:1", 1);
        let revision_of = |set: &Stored<DaemonSet>, known: &[Arc<ControllerRevision>]| {
            let (actions, _) = planned(set, &[], known);
            actions.into_iter().find_map(|action| match action {
                Action::CreateRevision(made) => Some(Arc::new(*made)),
                Action::WriteStatus(_) | Action::Renumber { .. } | Action::DeleteRevision(_) => None,
            })
        };
        let one = revision_of(&first, &[]).expect("the first revision");
        assert_eq!((one.revision, label(one.metadata.labels.as_ref())), (1, Some(first.revision())));
        assert_eq!(revision_of(&first, std::slice::from_ref(&one)), None);
        let two = revision_of(&stored("i:2", 2), std::slice::from_ref(&one)).expect("the second");
        assert_eq!(two.revision, 2);
        let (actions, _) = planned(&first, &[], &[one.clone(), two]);
        assert_eq!(actions[0], Action::Renumber { revision: one, number: 3 });
    }

    #[test]
    fn revisions_beyond_the_limit_go_unless_a_pod_has_them() {
        let set = stored("i:now", 1);
        let known: Vec<Arc<ControllerRevision>> = (0..13)
            .map(|number| {
                let object = json!({
                    "metadata": { "name": format!("r{number}"), "uid": format!("r{number}"),
                        "labels": { REVISION_LABEL: format!("h{number}") } },
                    "revision": number, "data": {},
                });
                Arc::new(serde_json::from_value(object).expect("a revision"))
            })
            .collect();
        let (actions, _) = planned(&set, &[pod("a", "h0", None)], &known);
        let deleted: Vec<_> = actions
            .iter()
            .filter_map(|action| match action {
                Action::DeleteRevision(revision) => revision.metadata.name.clone(),
                Action::WriteStatus(_) | Action::Renumber { .. } | Action::CreateRevision(_) => None,
            })
            .collect();
        assert_eq!(deleted, ["r1", "r2", "r3"], "three are too many, and h0 is in use");
    }
}

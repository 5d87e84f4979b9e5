use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use proptest::prelude::*;

use super::*;
use crate::steward::object::id;
use crate::steward::view::selector_of;

fn set(image: &str, generation: i64) -> Object {
    let raw = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "set", "generation": generation,
            "resourceVersion": "1" },
        "spec": {
            "minReadySeconds": 10,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "nodeSelector": { "gpu": "yes" }, "containers": [{ "name": "c", "image": image }] },
            },
        },
    });
    Object::read(id("apps", "DaemonSet"), raw).expect("a DaemonSet")
}

fn node(name: &str, gpu: &str) -> (String, Arc<Node>) {
    let object = json!({ "metadata": { "name": name, "labels": { "gpu": gpu } } });
    (name.to_owned(), Arc::new(serde_json::from_value(object).expect("a Node")))
}

fn nodes() -> BTreeMap<String, Arc<Node>> {
    [node("a", "yes"), node("b", "yes"), node("c", "yes"), node("d", "no")].into()
}

fn pod(uid: &str, node: &str, hash: &str, ready_at: Option<&str>) -> Object {
    let conditions: Value = match ready_at {
        Some(at) => json!([{ "type": "Ready", "status": "True", "lastTransitionTime": at }]),
        None => json!([{ "type": "Ready", "status": "False" }]),
    };
    let raw = json!({
        "metadata": { "name": uid, "uid": uid, "namespace": "default",
            "labels": { "app": "web", REVISION_LABEL: hash } },
        "spec": { "nodeName": node, "containers": [] },
        "status": { "conditions": conditions },
    });
    Object::read(id("", "Pod"), raw).expect("a Pod")
}

fn at(text: &str) -> WallTime {
    WallTime::parse(text).expect("a time")
}

fn planned(set: &Object, pods: &[Object], revisions: &[Arc<Object>], orphans: Vec<Arc<Object>>) -> Plan {
    let mut tally = Tally::default();
    tally.set(set, &nodes());
    for pod in pods {
        tally.pod(pod, true);
    }
    plan(Case {
        set,
        selector: &selector_of(set),
        tally: &mut tally,
        strays: Vec::new(),
        orphans: Vec::new(),
        revisions: revisions.to_vec(),
        orphan_revisions: orphans,
        leases: Vec::new(),
        wall: at("2026-01-01T00:01:00Z"),
    })
}

fn actions(plan: &Plan) -> Vec<Action> {
    plan.waves.iter().flatten().cloned().collect()
}

#[test]
fn the_numbers_are_those_of_upstream() {
    let set = set("i:1", 3);
    let hash = hash(&set);
    let pods = [
        pod("1", "a", &hash, Some("2026-01-01T00:00:00Z")),
        pod("2", "b", "older", Some("2026-01-01T00:00:57Z")),
        pod("3", "d", &hash, None),
    ];
    let plan = planned(&set, &pods, &[], Vec::new());
    let Some(Action::Patch { change, part: "status", .. }) = actions(&plan).pop() else { panic!("{plan:?}") };
    let expected = json!({ "status": {
        "currentNumberScheduled": 2, "desiredNumberScheduled": 3, "numberMisscheduled": 1, "numberReady": 2,
        "numberAvailable": 1, "numberUnavailable": 2, "updatedNumberScheduled": 1, "observedGeneration": 3,
    } });
    assert_eq!(change, expected);
    assert_eq!(plan.wake, Some(Duration::from_secs(7)), "b has been ready for 3 of 10 seconds");
}

fn made(plan: &Plan) -> Option<Arc<Object>> {
    let all = actions(plan);
    let (kind, object) = all.iter().find_map(Action::made)?;
    Object::read(kind, object.clone()).map(Arc::new)
}

#[test]
fn a_new_template_gets_a_revision_and_an_old_one_its_number_back() {
    let first = set("i:1", 1);
    let one = made(&planned(&first, &[], &[], Vec::new())).expect("the first revision");
    assert_eq!((one.number("/revision"), one.label(REVISION_LABEL)), (Some(1), Some(&*hash(&first))));
    assert!(made(&planned(&first, &[], std::slice::from_ref(&one), Vec::new())).is_none());
    let two =
        made(&planned(&set("i:2", 2), &[], std::slice::from_ref(&one), Vec::new())).expect("the second");
    assert_eq!(two.number("/revision"), Some(2));
    let again = planned(&first, &[], &[one.clone(), two], Vec::new());
    let renumbered =
        Action::Patch { of: one.target(), part: "", change: json!({ "revision": 3 }), told: None };
    assert_eq!(again.waves[0], [renumbered]);
}

#[test]
fn a_revision_that_nobody_controls_is_adopted_after_a_look_at_the_owner() {
    let set = set("i:1", 1);
    let one = made(&planned(&set, &[], &[], Vec::new())).expect("a revision");
    let mut raw = one.whole();
    raw["metadata"]["ownerReferences"] = Value::Null;
    let orphan = Arc::new(Object::read(one.kind, raw).expect("a revision"));
    let plan = planned(&set, &[], &[], vec![orphan.clone()]);
    assert_eq!(plan.waves[0], [Action::Confirm(set.target())]);
    let adoption = action::metadata(&orphan, &json!({ "ownerReferences": [set.controls()] }));
    assert_eq!(plan.waves[1], [adoption]);
    assert!(made(&plan).is_none(), "it is the current one");
}

#[test]
fn revisions_beyond_the_limit_go_unless_a_pod_has_them() {
    let set = set("i:now", 1);
    let known: Vec<Arc<Object>> = (0..13)
        .map(|number| {
            let raw = json!({
                "metadata": { "name": format!("r{number}"), "uid": format!("r{number}"),
                    "labels": { "app": "web", REVISION_LABEL: format!("h{number}") } },
                "revision": number, "data": {},
            });
            Arc::new(Object::read(id("apps", "ControllerRevision"), raw).expect("a revision"))
        })
        .collect();
    let plan = planned(&set, &[pod("1", "a", "h0", None)], &known, Vec::new());
    let all = actions(&plan);
    let deleted: Vec<&str> = all.iter().filter_map(Action::deleted).map(|of| of.name.as_str()).collect();
    assert_eq!(deleted, ["r1", "r2", "r3"], "three are too many, and h0 is in use");
}

proptest! {
    /// What was kept up change by change is what a fresh count finds.
    #[test]
    fn a_tally_never_drifts(
        steps in proptest::collection::vec((0..4_usize, 0..5_usize, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let set = set("i:1", 1);
        let hash = hash(&set);
        let mut tally = Tally::default();
        tally.set(&set, &nodes());
        let mut there: BTreeMap<usize, Object> = BTreeMap::new();
        let all: Vec<String> = nodes().into_keys().collect();
        for (node, uid, ready, goes) in steps {
            if let Some(before) = there.remove(&uid) {
                tally.pod(&before, false);
            }
            if goes {
                continue;
            }
            let label = if ready { hash.as_str() } else { "old" };
            let now = pod(&uid.to_string(), &all[node], label, ready.then_some("2026-01-01T00:00:00Z"));
            tally.pod(&now, true);
            there.insert(uid, now);
        }
        let mut fresh = Tally::default();
        fresh.set(&set, &nodes());
        for pod in there.values() {
            fresh.pod(pod, true);
        }
        let wall = at("2026-01-01T00:01:00Z");
        prop_assert_eq!(tally.count(wall).0, fresh.count(wall).0);
        prop_assert_eq!(tally.has_pods_of("old"), there.values().any(|pod| pod.label(REVISION_LABEL) == Some("old")));
    }
}

use super::*;

/// A Pod: node, phase, seconds that it has been ready for, and what else there is to say of it.
fn pod(uid: &str, node: &str, phase: &str, ready_for: Option<i64>, more: &Value) -> Arc<Object> {
    let wall = now();
    let since = |seconds: i64| WallTime(wall.0 - jiff::SignedDuration::from_secs(seconds)).seconds();
    let mut raw = json!({
        "metadata": { "name": uid, "namespace": "default", "uid": uid, "creationTimestamp": since(100_000) },
        "spec": { "containers": [] },
        "status": { "phase": phase },
    });
    if !node.is_empty() {
        raw["spec"]["nodeName"] = node.into();
    }
    if let Some(seconds) = ready_for {
        let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": since(seconds) });
        raw["status"]["conditions"] = json!([ready]);
    }
    json_patch::merge(&mut raw, more);
    Arc::new(Object::read(id("", "Pod"), raw).expect("a Pod"))
}

fn now() -> WallTime {
    WallTime::parse("2026-03-01T12:00:00Z").expect("a time")
}

#[test]
fn of_two_pods_the_one_goes_that_upstream_would_delete() {
    let cost = |cost: &str| json!({ "metadata": { "annotations": { DELETION_COST: cost } } });
    let restarted = json!({ "status": { "containerStatuses": [{ "restartCount": 3 }] } });
    let plain = |uid: &str| pod(uid, "n1", "Running", Some(1000), &json!({}));
    let table = [
        (
            "unassigned",
            pod("z", "", "Pending", None, &json!({})),
            pod("a", "n1", "Pending", None, &json!({})),
        ),
        ("pending", pod("z", "n1", "Pending", None, &json!({})), pod("a", "n1", "Running", None, &json!({}))),
        ("not ready", pod("z", "n1", "Running", None, &json!({})), plain("a")),
        ("cheap", pod("z", "n1", "Running", Some(1000), &cost("-5")), plain("a")),
        ("not dear", plain("z"), pod("a", "n1", "Running", Some(1000), &cost("10"))),
        ("cost that is no number", plain("a"), pod("b", "n1", "Running", Some(1000), &cost("x"))),
        ("crowded", pod("z", "full", "Running", Some(1000), &json!({})), plain("a")),
        ("ready for less time", pod("z", "n1", "Running", Some(10), &json!({})), plain("a")),
        ("of the same magnitude, by UID", pod("a", "n1", "Running", Some(1001), &json!({})), plain("b")),
        ("restarted", pod("z", "n1", "Running", Some(1000), &restarted), plain("a")),
    ];
    let related = [
        plain("c"),
        pod("d", "full", "Running", None, &json!({})),
        pod("e", "full", "Running", None, &json!({})),
    ];
    let ranks = ranks(&related);
    for (why, first, second) in table {
        if why == "cost that is no number" {
            assert_eq!(first_to_go(&first, &second, &ranks, now()), Ordering::Equal, "{why}");
            continue;
        }
        assert_eq!(first_to_go(&first, &second, &ranks, now()), Ordering::Less, "{why}");
        assert_eq!(first_to_go(&second, &first, &ranks, now()), Ordering::Greater, "{why}");
    }
}

#[test]
fn a_set_of_the_old_group_tells_nothing_of_pods_that_terminate() {
    let set = |group: &str, kind: &str, selector: Value| {
        let raw = json!({
            "metadata": { "name": "web", "namespace": "default", "uid": "web", "generation": 2 },
            "spec": { "replicas": 1, "selector": selector, "template": { "metadata": { "labels": { "a": "b" } } } },
        });
        Object::read(id(group, kind), raw).expect("a set")
    };
    let terminating =
        json!({ "metadata": { "labels": { "a": "b" }, "deletionTimestamp": "2026-03-01T12:00:00Z" } });
    let ready = json!({ "metadata": { "labels": { "a": "b" } } });
    let table = [
        (set("apps", "ReplicaSet", json!({ "matchLabels": { "a": "b" } })), Some(1)),
        (set("", "ReplicationController", json!({ "a": "b" })), None),
    ];
    for (set, told) in table {
        let pods = vec![
            pod("1", "n1", "Running", Some(9), &ready),
            pod("2", "n1", "Running", Some(9), &terminating),
        ];
        let selector = crate::steward::view::selector_of(&set);
        let plan = plan(Case {
            set: &set,
            selector: &selector,
            pods,
            orphans: Vec::new(),
            related: Vec::new(),
            failure: None,
            wall: now(),
        });
        let [wave] = plan.waves.as_slice() else { panic!("{plan:?}") };
        let Action::Patch { change, .. } = &wave[0] else { panic!("{wave:?}") };
        assert_eq!(change["status"]["terminatingReplicas"].as_i64(), told, "{change}");
        assert_eq!(change["status"]["readyReplicas"], 1);
    }
}

//! Evictions, with and without a `PodDisruptionBudget`.

use super::*;

fn eviction(name: &str) -> Value {
    json!({ "kind": "Eviction", "apiVersion": "policy/v1", "metadata": { "name": name } })
}

fn evict(endpoint: &mut Endpoint, name: &str, options: DeleteOptions) -> Result<Reply, Status> {
    endpoint.act("Pod", Action::Evict { name: name.into(), body: eviction(name), options: Box::new(options) })
}

/// A bound Pod labelled `app: a`.
fn run_pod(endpoint: &mut Endpoint, name: &str, phase: &str, ready: bool) {
    let mut body = bound_pod(name);
    body["metadata"]["labels"] = json!({ "app": "a" });
    let mut made = endpoint.create("Pod", body);
    made["status"]["phase"] = phase.into();
    let status = if ready { "True" } else { "False" };
    made["status"]["conditions"] = json!([{ "type": "Ready", "status": status }]);
    endpoint.update_status("Pod", &made);
}

fn budget(endpoint: &mut Endpoint, name: &str, mut spec: Value, status: &Value) {
    spec["selector"] = json!({ "matchLabels": { "app": "a" } });
    let mut made =
        endpoint.create("PodDisruptionBudget", json!({ "metadata": { "name": name }, "spec": spec }));
    for (field, value) in status.as_object().cloned().unwrap_or_default() {
        made["status"][field] = value;
    }
    endpoint.update_status("PodDisruptionBudget", &made);
}

fn allowing(disruptions: i64) -> Value {
    json!({ "observedGeneration": 1, "disruptionsAllowed": disruptions, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2 })
}

#[test]
fn a_pod_without_a_budget_is_marked_and_deleted() {
    let mut endpoint = Endpoint::new();
    run_pod(&mut endpoint, "p", "Running", true);
    let reply = evict(&mut endpoint, "p", DeleteOptions::default()).expect("nothing holds it");
    assert_eq!(reply.outcome.code(), 201);
    let Body::Status(status) = reply.body else { panic!("a Status") };
    assert_eq!((&status["status"], &status["code"]), (&json!("Success"), &json!(201)));
    let pod = endpoint.get("Pod", "p").expect("it has time to end");
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 30);
    let condition = pod["status"]["conditions"].as_array().expect("a list").last().cloned().expect("one");
    assert_eq!(
        condition,
        json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastTransitionTime": "2026-01-02T03:04:05Z", "observedGeneration": 1,
        })
    );
    let shorter = DeleteOptions { grace_period_seconds: Some(5), ..DeleteOptions::default() };
    evict(&mut endpoint, "p", shorter).expect("what ends needs no budget");
    assert_eq!(endpoint.get("Pod", "p").expect("there")["metadata"]["deletionGracePeriodSeconds"], 5);
    assert_eq!(
        refusal(evict(&mut endpoint, "q", DeleteOptions::default())),
        refused(404, "NotFound", "pods \"q\" not found")
    );
}

#[test]
fn an_eviction_spends_the_budget_until_it_is_empty() {
    let mut endpoint = Endpoint::new();
    budget(&mut endpoint, "b", json!({ "minAvailable": 1 }), &allowing(1));
    for name in ["p", "q"] {
        run_pod(&mut endpoint, name, "Running", true);
    }
    evict(&mut endpoint, "p", DeleteOptions::default()).expect("within the budget");
    let spent = endpoint.get("PodDisruptionBudget", "b").expect("there");
    assert_eq!(spent["status"]["disruptionsAllowed"], 0);
    assert_eq!(spent["status"]["disruptedPods"], json!({ "p": "2026-01-02T03:04:05Z" }));
    assert_eq!(spent["status"]["conditions"][0]["reason"], "InsufficientPods");
    assert_eq!(spent["metadata"]["generation"], 1);
    let Err(status) = evict(&mut endpoint, "q", DeleteOptions::default()) else {
        panic!("it was not refused")
    };
    assert_eq!(
        status.to_json(),
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 429,
            "reason": "TooManyRequests",
            "message": "Cannot evict pod as it would violate the pod's disruption budget.",
            "details": { "causes": [{
                "reason": "DisruptionBudget",
                "message": "The disruption budget b needs 1 healthy pods and has 2 currently",
            }] },
        })
    );
    assert_eq!(endpoint.get("Pod", "q").expect("there")["metadata"]["deletionTimestamp"], Value::Null);
}

#[test]
fn a_budget_that_is_being_counted_or_is_not_alone_refuses() {
    let mut endpoint = Endpoint::new();
    run_pod(&mut endpoint, "p", "Running", true);
    budget(&mut endpoint, "b", json!({ "maxUnavailable": 1 }), &json!({ "disruptionsAllowed": 1 }));
    let (code, reason, _) = refusal(evict(&mut endpoint, "p", DeleteOptions::default()));
    assert_eq!((code, reason), (429, "TooManyRequests"));
    budget(&mut endpoint, "c", json!({ "maxUnavailable": 1 }), &allowing(1));
    assert_eq!(
        refusal(evict(&mut endpoint, "p", DeleteOptions::default())),
        refused(
            500,
            "",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        )
    );
}

#[test]
fn a_pod_that_is_not_ready_goes_as_its_budget_says() {
    for (policy, healthy, expected) in [
        (json!(null), 1, true),
        (json!(null), 0, false),
        (json!("IfHealthyBudget"), 0, false),
        (json!("AlwaysAllow"), 0, true),
    ] {
        let mut endpoint = Endpoint::new();
        run_pod(&mut endpoint, "p", "Running", false);
        let mut spec = json!({ "minAvailable": 1 });
        if policy.is_string() {
            spec["unhealthyPodEvictionPolicy"] = policy.clone();
        }
        let status = json!({
            "observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": healthy, "desiredHealthy": 1,
        });
        budget(&mut endpoint, "b", spec, &status);
        let done = evict(&mut endpoint, "p", DeleteOptions::default()).is_ok();
        assert_eq!(done, expected, "{policy} with {healthy} healthy");
        let budget = endpoint.get("PodDisruptionBudget", "b").expect("there");
        assert_eq!(budget["status"]["disruptedPods"], Value::Null, "nothing was spent");
    }
    for phase in ["Pending", "Succeeded", "Failed"] {
        let mut endpoint = Endpoint::new();
        run_pod(&mut endpoint, "p", phase, false);
        budget(&mut endpoint, "b", json!({ "minAvailable": 1 }), &allowing(0));
        assert!(evict(&mut endpoint, "p", DeleteOptions::default()).is_ok(), "{phase}");
    }
}

#[test]
fn an_eviction_holds_to_its_preconditions_and_to_a_dry_run() {
    let mut endpoint = Endpoint::new();
    run_pod(&mut endpoint, "p", "Running", true);
    budget(&mut endpoint, "b", json!({ "minAvailable": 1 }), &allowing(1));
    for options in [
        DeleteOptions { uid: Some("gone".into()), ..DeleteOptions::default() },
        DeleteOptions { resource_version: Some("1".into()), ..DeleteOptions::default() },
    ] {
        assert_eq!(refusal(evict(&mut endpoint, "p", options)).0, 409);
    }
    let action = Action::Evict { name: "p".into(), body: eviction("p"), options: Box::default() };
    let mut dry = Command::new(kind("Pod"), "default", action);
    dry.dry_run = true;
    assert_eq!(endpoint.run(&dry).expect("it would be evicted").outcome.code(), 201);
    let before = endpoint.get("PodDisruptionBudget", "b").expect("there");
    assert_eq!(before["status"]["disruptionsAllowed"], 1);
    let version =
        endpoint.get("Pod", "p").expect("there")["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    let right = DeleteOptions { resource_version: version, ..DeleteOptions::default() };
    assert!(evict(&mut endpoint, "p", right).is_ok());
    let misnamed = Action::Evict { name: "p".into(), body: eviction("q"), options: Box::default() };
    assert_eq!(
        refusal(endpoint.act("Pod", misnamed)),
        refused(400, "BadRequest", "name in URL does not match name in Eviction object")
    );
}

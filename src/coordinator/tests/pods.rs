use super::*;

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() }
}

fn ending(pod: &Value) -> (Option<&str>, Option<i64>) {
    let metadata = &pod["metadata"];
    (metadata["deletionTimestamp"].as_str(), metadata["deletionGracePeriodSeconds"].as_i64())
}

#[test]
fn a_new_pod_is_pending_with_its_quality_of_service() {
    let mut endpoint = Endpoint::new();
    let mut body = pod("a");
    body["status"] = json!({ "phase": "Running", "podIP": "1.2.3.4" });
    assert_eq!(
        endpoint.create("Pod", body)["status"],
        json!({ "phase": "Pending", "qosClass": "BestEffort" })
    );
    let mut body = pod("b");
    body["spec"]["containers"][0]["resources"] =
        json!({ "limits": { "cpu": "1", "memory": "1Gi" }, "requests": { "cpu": "1", "memory": "1Gi" } });
    assert_eq!(endpoint.create("Pod", body)["status"]["qosClass"], "Guaranteed");
    let mut body = pod("c");
    body["spec"]["schedulingGates"] = json!([{ "name": "x.dev/g" }]);
    let condition = &endpoint.create("Pod", body)["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["reason"]),
        (&json!("PodScheduled"), &json!("SchedulingGated"))
    );
}

#[test]
fn a_pod_name_that_makes_an_odd_host_name_is_told() {
    let mut endpoint = Endpoint::new();
    let reply = endpoint.act("Pod", Action::Create { body: pod("a.b") }).expect("valid");
    assert!(reply.warnings[0].starts_with("metadata.name: this is used in the Pod's hostname"));
}

#[test]
fn a_bound_pod_is_given_its_grace_to_end() {
    let mut endpoint = Endpoint::new();
    endpoint.create("Pod", bound_pod("a"));
    let reply = endpoint.delete("Pod", "a");
    let pod = object(&reply);
    assert_eq!(reply.outcome, Outcome::Terminating);
    assert_eq!(ending(&pod), (Some("2026-01-02T03:04:35Z"), Some(30)));
    assert_eq!(pod["metadata"]["generation"], 2);
    let before = endpoint.state.revision;
    assert_eq!(endpoint.delete("Pod", "a").outcome, Outcome::Terminating, "it is ending already");
    assert_eq!(endpoint.state.revision, before);
}

#[test]
fn a_pod_that_nobody_runs_is_gone_at_once() {
    let mut endpoint = Endpoint::new();
    endpoint.create("Pod", pod("unbound"));
    for phase in ["Succeeded", "Failed"] {
        let mut pod = endpoint.create("Pod", bound_pod(&phase.to_lowercase()));
        pod["status"]["phase"] = phase.into();
        endpoint.update_status("Pod", &pod);
    }
    for name in ["unbound", "succeeded", "failed"] {
        let reply = endpoint.delete("Pod", name);
        assert_eq!(reply.outcome, Outcome::Deleted, "{name}");
        assert_eq!(ending(&object(&reply)), (Some("2026-01-02T03:04:05Z"), Some(0)), "{name}");
        assert_eq!(endpoint.get("Pod", name), None);
    }
}

#[test]
fn a_delete_without_grace_is_immediate() {
    let mut endpoint = Endpoint::new();
    endpoint.create("Pod", bound_pod("a"));
    assert_eq!(endpoint.try_delete("Pod", "a", grace(0)).expect("valid").outcome, Outcome::Deleted);
    endpoint.create("Pod", bound_pod("a"));
    endpoint.delete("Pod", "a");
    assert_eq!(endpoint.try_delete("Pod", "a", grace(0)).expect("valid").outcome, Outcome::Deleted);
    assert_eq!(endpoint.get("Pod", "a"), None);
}

#[test]
fn grace_can_be_shortened_but_never_lengthened() {
    let mut endpoint = Endpoint::new();
    endpoint.create("Pod", bound_pod("a"));
    let first = object(&endpoint.try_delete("Pod", "a", grace(60)).expect("valid"));
    assert_eq!(ending(&first), (Some("2026-01-02T03:05:05Z"), Some(60)));
    endpoint.now = at("2026-01-02T03:04:10Z");
    let same = object(&endpoint.try_delete("Pod", "a", grace(90)).expect("valid"));
    assert_eq!(same, first);
    let shorter = object(&endpoint.try_delete("Pod", "a", grace(20)).expect("valid"));
    assert_eq!(ending(&shorter), (Some("2026-01-02T03:04:25Z"), Some(20)));
    assert_eq!(shorter["metadata"]["generation"], 2, "counted once");
    let past = object(&endpoint.try_delete("Pod", "a", grace(3)).expect("valid"));
    assert_eq!(ending(&past), (Some("2026-01-02T03:04:10Z"), Some(1)), "the node still has the last word");
}

#[test]
fn negative_and_absurd_graces_are_tamed() {
    let mut endpoint = Endpoint::new();
    endpoint.create("Pod", bound_pod("a"));
    let pod = object(&endpoint.try_delete("Pod", "a", grace(-5)).expect("valid"));
    assert_eq!(ending(&pod), (Some("2026-01-02T03:04:06Z"), Some(1)));
    endpoint.create("Pod", bound_pod("b"));
    let pod = object(&endpoint.try_delete("Pod", "b", grace(i64::MAX)).expect("valid"));
    assert_eq!(ending(&pod).1, Some(i64::MAX));
    let pod = object(&endpoint.try_delete("Pod", "b", grace(i64::MAX - 1)).expect("valid"));
    assert_eq!(ending(&pod).1, Some(i64::MAX - 1));
}

#[test]
fn a_pod_with_finalizers_stays_after_its_containers_ended() {
    let mut endpoint = Endpoint::new();
    let mut body = bound_pod("a");
    body["metadata"]["finalizers"] = json!(["x.dev/f"]);
    endpoint.create("Pod", body);
    endpoint.delete("Pod", "a");
    let patch = json!({ "metadata": { "finalizers": null } });
    let kept = endpoint.merge("Pod", "a", &patch);
    assert_eq!(ending(&kept).1, Some(30), "its grace is not over, so the node must end it first");
    assert_eq!(endpoint.try_delete("Pod", "a", grace(0)).expect("valid").outcome, Outcome::Deleted);

    let mut body = bound_pod("b");
    body["metadata"]["finalizers"] = json!(["x.dev/f"]);
    endpoint.create("Pod", body);
    endpoint.delete("Pod", "b");
    let reply = endpoint.try_delete("Pod", "b", grace(0)).expect("the node is done");
    assert_eq!((reply.outcome, ending(&object(&reply)).1), (Outcome::Terminating, Some(0)));
    let reply = endpoint.try_patch("Pod", "b", MERGE_PATCH, &patch).expect("valid");
    assert_eq!(reply.outcome, Outcome::Deleted);
}

#[test]
fn a_status_update_brings_no_old_metadata_back() {
    let mut endpoint = Endpoint::new();
    let owner = json!([{ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u" }]);
    let mut body = bound_pod("a");
    body["metadata"]["ownerReferences"] = owner.clone();
    let mut seen = endpoint.create("Pod", body);
    endpoint.delete("Pod", "a");
    seen["metadata"]["resourceVersion"].take();
    seen["metadata"]["ownerReferences"].take();
    seen["spec"]["nodeName"] = "other".into();
    seen["status"] = json!({ "phase": "Running" });
    let updated = endpoint.update_status("Pod", &seen);
    assert_eq!(ending(&updated), (Some("2026-01-02T03:04:35Z"), Some(30)));
    assert_eq!(
        (&updated["metadata"]["ownerReferences"], &updated["spec"]["nodeName"]),
        (&owner, &json!("n1"))
    );
    assert_eq!(updated["status"], json!({ "phase": "Running", "qosClass": "BestEffort" }));
}

fn binding(name: &str, node: &str) -> Value {
    json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": node } })
}

fn bind(endpoint: &mut Endpoint, body: Value) -> Result<Reply, Status> {
    endpoint.act("Pod", Action::Bind { name: "a".into(), body })
}

#[test]
fn binding_names_the_node_once() {
    let mut endpoint = Endpoint::new();
    let mut labelled = pod("a");
    labelled["metadata"]["labels"] = json!({ "app": "a" });
    endpoint.create("Pod", labelled);
    let mut seen = endpoint.get("Pod", "a").expect("there");
    seen["status"]["nominatedNodeName"] = "n1".into();
    endpoint.update_status("Pod", &seen);
    let mut body = binding("a", "n1");
    body["metadata"]["annotations"] = json!({ "x": "1" });
    body["metadata"]["labels"] = json!({ "app": "other", "topology.kubernetes.io/zone": "z" });
    let reply = bind(&mut endpoint, body).expect("free");
    assert_eq!(reply.outcome.code(), 201);
    let Body::Status(status) = reply.body else { panic!("a Status") };
    assert_eq!((&status["status"], &status["code"]), (&json!("Success"), &json!(201)));
    let pod = endpoint.get("Pod", "a").expect("there");
    assert_eq!(
        (&pod["spec"]["nodeName"], &pod["metadata"]["annotations"]),
        (&json!("n1"), &json!({ "x": "1" }))
    );
    assert_eq!(
        pod["metadata"]["labels"],
        json!({ "app": "a", "topology.kubernetes.io/zone": "z" }),
        "a label of the Pod's own stays"
    );
    assert_eq!(
        pod["status"]["conditions"],
        json!([{
            "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-02T03:04:05Z",
            "observedGeneration": 1,
        }])
    );
    assert_eq!(pod["status"]["nominatedNodeName"], Value::Null);
    assert_eq!(
        refusal(bind(&mut endpoint, binding("a", "n2"))),
        refused(
            409,
            "Conflict",
            "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\""
        )
    );
}

#[test]
fn binding_holds_to_its_preconditions() {
    let mut endpoint = Endpoint::new();
    let created = endpoint.create("Pod", pod("a"));
    let version = created["metadata"]["resourceVersion"].as_str().expect("text");
    for (field, name, asked, found) in
        [("uid", "UID", "gone", "uid-1"), ("resourceVersion", "ResourceVersion", "1", version)]
    {
        let mut body = binding("a", "n1");
        body["metadata"][field] = asked.into();
        let message = format!(
            "Operation cannot be fulfilled on pods \"a\": Precondition failed: {name} in precondition: {asked}, {name} in \
             object meta: {found}"
        );
        assert_eq!(refusal(bind(&mut endpoint, body)), refused(409, "Conflict", &message));
    }
    let mut body = binding("a", "n1");
    body["metadata"]["uid"] = "uid-1".into();
    body["metadata"]["resourceVersion"] = version.into();
    assert!(bind(&mut endpoint, body).is_ok());
}

#[test]
fn what_is_ending_or_gated_is_not_bound() {
    let mut endpoint = Endpoint::new();
    let mut body = pod("a");
    body["metadata"]["finalizers"] = json!(["x.dev/f"]);
    body["spec"]["schedulingGates"] = json!([{ "name": "x.dev/g" }]);
    endpoint.create("Pod", body);
    assert_eq!(
        refusal(bind(&mut endpoint, binding("a", "n1"))).2,
        "Operation cannot be fulfilled on pods/binding \"a\": pod a has non-empty .spec.schedulingGates"
    );
    endpoint.delete("Pod", "a");
    assert_eq!(
        refusal(bind(&mut endpoint, binding("a", "n1"))).2,
        "Operation cannot be fulfilled on pods/binding \"a\": pod a is being deleted, cannot be assigned to a host"
    );
}

#[test]
fn a_binding_that_makes_no_sense_is_refused() {
    let mut endpoint = Endpoint::new();
    assert_eq!(
        refusal(bind(&mut endpoint, binding("a", "n1"))),
        refused(404, "NotFound", "pods \"a\" not found")
    );
    endpoint.create("Pod", pod("a"));
    let message = "name in URL does not match name in Binding object";
    assert_eq!(refusal(bind(&mut endpoint, binding("b", "n1"))), refused(400, "BadRequest", message));
    let odd = json!({ "metadata": { "name": "a" }, "target": { "kind": "Pod" } });
    let status = bind(&mut endpoint, odd).expect_err("no node");
    let fields: Vec<&Value> =
        status.details["causes"].as_array().expect("causes").iter().map(|cause| &cause["field"]).collect();
    assert_eq!((status.code, fields), (422, vec![&json!("target.kind"), &json!("target.name")]));
}

#[test]
fn a_dry_run_of_a_binding_binds_nothing() {
    let mut endpoint = Endpoint::new();
    endpoint.create("Pod", pod("a"));
    let action = Action::Bind { name: "a".into(), body: binding("a", "n1") };
    let mut command = Command::new(kind("Pod"), "default", action);
    command.dry_run = true;
    assert!(endpoint.run(&command).is_ok());
    assert_eq!(endpoint.get("Pod", "a").expect("there")["spec"]["nodeName"], Value::Null);
}

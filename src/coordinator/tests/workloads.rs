//! What is particular to writes of the workload kinds, and to the parts of objects.

use super::*;

fn workload(name: &str, over: &Value) -> Value {
    let mut object = daemon_set(name);
    for (field, value) in over.as_object().cloned().unwrap_or_default() {
        object["spec"][field] = value;
    }
    object
}

fn job(name: &str) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "a", "image": "i" }] } } },
    })
}

fn update(endpoint: &mut Endpoint, kind: &str, part: Subresource, body: &Value) -> Result<Value, Status> {
    endpoint.try_update(kind, part, body).map(|reply| object(&reply))
}

#[test]
fn a_new_job_selects_its_own_pods_by_its_uid() {
    let mut endpoint = Endpoint::new();
    let made = endpoint.create("Job", job("j"));
    let uid = &made["metadata"]["uid"];
    assert_eq!(
        made["spec"]["template"]["metadata"]["labels"],
        json!({
            "controller-uid": uid, "job-name": "j",
            "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "j",
        })
    );
    assert_eq!(
        made["spec"]["selector"],
        json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } })
    );
    assert_eq!(
        (&made["metadata"]["generation"], &made["spec"]["completions"], &made["spec"]["backoffLimit"]),
        (&json!(1), &json!(1), &json!(6))
    );
    let mut suspended = made.clone();
    suspended["spec"]["suspend"] = true.into();
    assert_eq!(endpoint.update("Job", &suspended)["metadata"]["generation"], 2);

    let mut own = job("own");
    own["spec"]["manualSelector"] = true.into();
    own["spec"]["selector"] = json!({ "matchLabels": { "a": "b" } });
    own["spec"]["template"]["metadata"] = json!({ "labels": { "a": "b" } });
    let made = endpoint.create("Job", own);
    assert_eq!(made["spec"]["template"]["metadata"]["labels"], json!({ "a": "b" }));

    let mut taken = job("taken");
    taken["spec"]["template"]["metadata"] = json!({ "labels": { "job-name": "other" } });
    let (code, _, message) = refusal(endpoint.try_create("Job", taken));
    assert_eq!(code, 422);
    assert!(message.contains("spec.template.metadata.labels[job-name]: Invalid value"), "{message}");
}

#[test]
fn a_new_object_has_no_status_of_its_own() {
    let mut endpoint = Endpoint::new();
    for (kind, body, status) in [
        ("Deployment", workload("a", &json!({})), json!({})),
        ("ReplicaSet", workload("a", &json!({})), json!({ "replicas": 0 })),
        ("StatefulSet", workload("a", &json!({})), json!({ "replicas": 0, "availableReplicas": 0 })),
        ("Job", job("a"), json!({})),
    ] {
        let mut body = body;
        body["status"] = json!({ "replicas": 7, "succeeded": 7 });
        let made = endpoint.create(kind, body);
        assert_eq!((&made["status"], &made["metadata"]["generation"]), (&status, &json!(1)), "{kind}");
        let mut told = made.clone();
        told["status"]["observedGeneration"] = 1.into();
        told["spec"]["replicas"] = 9.into();
        let told = endpoint.update_status(kind, &told);
        assert_eq!(told["status"]["observedGeneration"], 1, "{kind}");
        assert_eq!(told["spec"], made["spec"], "the status subresource leaves the {kind}'s spec alone");
    }
}

#[test]
fn the_generation_counts_what_is_asked_for() {
    let mut endpoint = Endpoint::new();
    for (kind, after_annotating) in [("Deployment", 2), ("ReplicaSet", 1), ("StatefulSet", 1)] {
        endpoint.create(kind, workload("a", &json!({})));
        let note = json!({ "metadata": { "annotations": { "a": "b" } } });
        assert_eq!(endpoint.merge(kind, "a", &note)["metadata"]["generation"], after_annotating, "{kind}");
        let label = json!({ "metadata": { "labels": { "a": "b" } } });
        assert_eq!(endpoint.merge(kind, "a", &label)["metadata"]["generation"], after_annotating, "{kind}");
        let more = json!({ "spec": { "replicas": 5 } });
        assert_eq!(
            endpoint.merge(kind, "a", &more)["metadata"]["generation"],
            after_annotating + 1,
            "{kind}"
        );
    }
}

#[test]
fn names_that_make_odd_host_names_are_warned_of_or_refused() {
    let mut endpoint = Endpoint::new();
    let reply =
        endpoint.act("Deployment", Action::Create { body: workload("a.b", &json!({})) }).expect("valid");
    assert!(
        reply.warnings[0].starts_with("metadata.name: this is used in Pod names and hostnames"),
        "{reply:?}"
    );
    let mut dotted = workload("c.d", &json!({}));
    dotted["metadata"]["name"] = "c.d".into();
    let (code, _, message) = refusal(endpoint.try_create("StatefulSet", dotted));
    assert_eq!((code, message.contains("metadata.name: Invalid value: \"c.d\"")), (422, true), "{message}");
}

#[test]
fn a_budget_is_updated_only_at_the_version_that_was_seen() {
    let mut endpoint = Endpoint::new();
    let made = endpoint
        .create("PodDisruptionBudget", json!({ "metadata": { "name": "b" }, "spec": { "minAvailable": 1 } }));
    let mut blind = made.clone();
    blind["metadata"].as_object_mut().expect("an object").remove("resourceVersion");
    let (code, _, message) = refusal(update(&mut endpoint, "PodDisruptionBudget", Subresource::Main, &blind));
    assert_eq!(code, 422);
    assert!(message.contains("must be specified for an update"), "{message}");
    assert!(update(&mut endpoint, "PodDisruptionBudget", Subresource::Main, &made).is_ok());
}

fn scale(name: &str, replicas: i64) -> Value {
    json!({ "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": { "name": name }, "spec": { "replicas": replicas } })
}

#[test]
fn a_scale_changes_the_number_of_replicas_and_nothing_else() {
    let mut endpoint = Endpoint::new();
    for kind in ["Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"] {
        let body = if kind == "ReplicationController" {
            json!({ "metadata": { "name": "a" }, "spec": { "template": daemon_set("a")["spec"]["template"] } })
        } else {
            workload("a", &json!({}))
        };
        let made = endpoint.create(kind, body);
        let scaled = update(&mut endpoint, kind, Subresource::Scale, &scale("a", 3)).expect("a valid scale");
        let mut expected = made.clone();
        expected["spec"]["replicas"] = 3.into();
        expected["metadata"]["generation"] = 2.into();
        for field in ["resourceVersion", "managedFields"] {
            expected["metadata"][field] = scaled["metadata"][field].clone();
        }
        assert_eq!(scaled, expected, "{kind}");
        let owner = &scaled["metadata"]["managedFields"][1];
        assert_eq!(
            (&owner["subresource"], &owner["fieldsV1"]),
            (&json!("scale"), &json!({ "f:spec": { "f:replicas": {} } }))
        );
        let patch = Patch::parse(MERGE_PATCH, br#"{"spec":{"replicas":0}}"#).expect("a patch");
        let patched = endpoint
            .act(kind, Action::Patch { name: "a".into(), subresource: Subresource::Scale, patch })
            .expect("a valid patch");
        assert_eq!(object(&patched)["spec"]["replicas"], 0, "{kind}");
    }
}

#[test]
fn a_scale_holds_to_its_preconditions() {
    let mut endpoint = Endpoint::new();
    let made = endpoint.create("Deployment", workload("a", &json!({})));
    let mut stale = scale("a", 2);
    stale["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(refusal(update(&mut endpoint, "Deployment", Subresource::Scale, &stale)).0, 409);
    let mut other = scale("a", 2);
    other["metadata"]["uid"] = "gone".into();
    let uid = made["metadata"]["uid"].as_str().expect("text");
    assert_eq!(
        refusal(update(&mut endpoint, "Deployment", Subresource::Scale, &other)),
        refused(
            409,
            "Conflict",
            &format!(
                "Operation cannot be fulfilled on deployments.apps \"a\": Precondition failed: UID in precondition: gone, UID in \
                 object meta: {uid}"
            )
        )
    );
    assert_eq!(
        refusal(update(&mut endpoint, "Deployment", Subresource::Scale, &scale("a", -1))),
        refused(
            422,
            "Invalid",
            "Scale.autoscaling \"a\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0"
        )
    );
    assert_eq!(
        refusal(update(&mut endpoint, "Deployment", Subresource::Scale, &scale("b", 1))),
        refused(404, "NotFound", "deployments.apps \"b\" not found")
    );
    let mut fresh = scale("a", 2);
    fresh["metadata"] =
        json!({ "name": "a", "uid": uid, "resourceVersion": made["metadata"]["resourceVersion"] });
    assert!(update(&mut endpoint, "Deployment", Subresource::Scale, &fresh).is_ok());
}

#[test]
fn ephemeral_containers_come_by_their_own_path_and_stay() {
    let mut endpoint = Endpoint::new();
    let mut with = pod("a");
    with["spec"]["ephemeralContainers"] = json!([{ "name": "d", "image": "i" }]);
    assert!(refusal(endpoint.try_create("Pod", with.clone())).2.contains("cannot be set on create"));
    let made = endpoint.create("Pod", pod("a"));
    let (_, _, message) = refusal(update(&mut endpoint, "Pod", Subresource::Main, &with));
    assert!(message.contains("pod updates may not change fields other than"), "{message}");

    let mut asked = with.clone();
    asked["metadata"]["labels"] = json!({ "not": "taken" });
    asked["spec"]["containers"][0]["image"] = "j".into();
    let debugged = update(&mut endpoint, "Pod", Subresource::EphemeralContainers, &asked).expect("valid");
    assert_eq!(debugged["spec"]["ephemeralContainers"][0]["name"], "d");
    assert_eq!(debugged["spec"]["ephemeralContainers"][0]["imagePullPolicy"], "Always", "with its defaults");
    assert_eq!(debugged["spec"]["containers"], made["spec"]["containers"]);
    assert_eq!(debugged["metadata"]["labels"], Value::Null);
    assert_eq!(debugged["metadata"]["generation"], 2);
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    endpoint.merge("Pod", "a", &label);

    for (containers, why) in [
        (json!([]), "existing ephemeral containers \"d\" may not be removed"),
        (
            json!([{ "name": "d", "image": "other" }]),
            "existing ephemeral containers \"d\" may not be changed",
        ),
        (json!([{ "name": "d", "image": "i" }, { "name": "a", "image": "i" }]), "Duplicate value: \"a\""),
        (
            json!([{ "name": "d", "image": "i" }, { "name": "e", "image": "i", "ports": [{ "containerPort": 1 }] }]),
            "cannot be set for an Ephemeral Container",
        ),
    ] {
        asked["spec"]["ephemeralContainers"] = containers;
        let (code, _, message) =
            refusal(update(&mut endpoint, "Pod", Subresource::EphemeralContainers, &asked));
        assert_eq!((code, message.contains(why)), (422, true), "{message}");
    }
}

#[test]
fn a_resize_changes_cpu_and_memory_and_no_class() {
    let mut endpoint = Endpoint::new();
    let mut body = pod("a");
    let amounts = json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "2" } });
    body["spec"]["containers"][0]["resources"] = amounts;
    endpoint.create("Pod", body.clone());
    let resize = |endpoint: &mut Endpoint, resources: Value| {
        let mut asked = body.clone();
        asked["spec"]["containers"][0]["image"] = "other".into();
        asked["spec"]["containers"][0]["resources"] = resources;
        update(endpoint, "Pod", Subresource::Resize, &asked)
    };
    let more =
        json!({ "requests": { "cpu": "1500m", "memory": "2Gi" }, "limits": { "cpu": "3", "memory": "4Gi" } });
    let resized = resize(&mut endpoint, more.clone()).expect("valid");
    assert_eq!(resized["spec"]["containers"][0]["resources"], more);
    assert_eq!(resized["spec"]["containers"][0]["image"], "i");
    assert_eq!(resized["metadata"]["generation"], 2);
    for (resources, why) in [
        (json!({}), "resource requests cannot be removed"),
        (json!({ "requests": { "cpu": "1", "memory": "1Gi" } }), "resource limits cannot be removed"),
        (
            json!({ "requests": { "cpu": "1", "memory": "1Gi" }, "limits": { "cpu": "1", "memory": "1Gi" } }),
            "Pod QOS Class may not change as a result of resizing",
        ),
        (
            json!({ "requests": { "cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi" }, "limits": { "cpu": "3", "memory": "4Gi" } }),
            "only cpu and memory resources are mutable",
        ),
    ] {
        let (code, _, message) = refusal(resize(&mut endpoint, resources));
        assert_eq!((code, message.contains(why)), (422, true), "{message}");
    }
}

use super::*;

#[test]
fn an_update_replaces_the_whole_object() {
    let mut endpoint = Endpoint::new();
    let mut object = endpoint.create(
        "ConfigMap",
        json!({ "metadata": { "name": "a", "labels": { "l": "1" } }, "data": { "a": "1" } }),
    );
    object["data"] = json!({ "b": "2" });
    object["metadata"]["labels"].take();
    let updated = endpoint.update("ConfigMap", &object);
    assert_eq!((&updated["data"], &updated["metadata"]["labels"]), (&json!({ "b": "2" }), &Value::Null));
    assert_eq!(updated["metadata"]["resourceVersion"], endpoint.state.revision.to_string());
    assert_eq!(endpoint.changes[0].before.as_ref().map(|o| o.uid.as_str()), Some("uid-1"));
}

#[test]
fn an_update_from_an_old_version_is_a_conflict() {
    let mut endpoint = Endpoint::new();
    let old = endpoint.create("ConfigMap", named("a"));
    endpoint.merge("ConfigMap", "a", &json!({ "data": { "a": "1" } }));
    let conflict = refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to \
         the latest version and try again",
    );
    assert_eq!(refusal(endpoint.try_update("ConfigMap", Subresource::Main, &old)), conflict);
    let patch = json!({ "metadata": { "resourceVersion": old["metadata"]["resourceVersion"] }, "data": { "b": "1" } });
    assert_eq!(refusal(endpoint.try_patch("ConfigMap", "a", MERGE_PATCH, &patch)), conflict);
    let mut nonsense = named("a");
    nonsense["metadata"]["resourceVersion"] = "x".into();
    assert_eq!(refusal(endpoint.try_update("ConfigMap", Subresource::Main, &nonsense)), conflict);
}

#[test]
fn an_update_without_version_overwrites_where_upstream_allows_it() {
    let mut endpoint = Endpoint::new();
    endpoint.create("ConfigMap", named("a"));
    let mut object = named("a");
    object["data"] = json!({ "a": "1" });
    assert_eq!(endpoint.update("ConfigMap", &object)["data"]["a"], "1");
    endpoint.create("Lease", named("a"));
    assert_eq!(
        refusal(endpoint.try_update("Lease", Subresource::Main, &named("a"))),
        refused(
            422,
            "Invalid",
            "leases.coordination.k8s.io \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified \
             for an update"
        )
    );
}

#[test]
fn a_put_that_names_another_uid_is_a_conflict_and_a_patch_is_invalid() {
    let mut endpoint = Endpoint::new();
    endpoint.create("ConfigMap", named("a"));
    let stale = json!({ "metadata": { "name": "a", "uid": "gone" } });
    assert_eq!(
        refusal(endpoint.try_update("ConfigMap", Subresource::Main, &stale)),
        refused(
            409,
            "Conflict",
            "Operation cannot be fulfilled on configmaps \"a\": Precondition failed: UID in precondition: gone, UID in \
             object meta: uid-1"
        )
    );
    let patch = json!({ "metadata": { "uid": "gone" } });
    assert_eq!(
        refusal(endpoint.try_patch("ConfigMap", "a", MERGE_PATCH, &patch)),
        refused(
            422,
            "Invalid",
            "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"gone\": field is immutable"
        )
    );
}

#[test]
fn what_the_endpoint_gave_stays() {
    let mut endpoint = Endpoint::new();
    let created = endpoint.create("ConfigMap", named("a"));
    let mut object = created.clone();
    object["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    object["metadata"]["generation"] = 9.into();
    object["metadata"]["uid"].take();
    let reply = endpoint.try_update("ConfigMap", Subresource::Main, &object).expect("they are ignored");
    assert_eq!((reply.outcome, super::object(&reply)), (Outcome::Unchanged, created));
    let patch = json!({ "metadata": { "deletionTimestamp": "2026-01-01T00:00:00Z" } });
    let status = endpoint.try_patch("ConfigMap", "a", MERGE_PATCH, &patch).expect_err("nobody may set that");
    assert_eq!(status.details["causes"][0]["field"], "metadata.deletionTimestamp");
}

#[test]
fn name_and_namespace_are_the_paths() {
    let mut endpoint = Endpoint::new();
    endpoint.create("ConfigMap", named("a"));
    for (name, patch, message) in [
        (
            "name",
            json!({ "metadata": { "name": "b" } }),
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "no name",
            json!({ "metadata": { "name": null } }),
            "the name of the object (a based on URL) was undeterminable: name must be provided",
        ),
        (
            "namespace",
            json!({ "metadata": { "namespace": "other" } }),
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ] {
        let result = endpoint.try_patch("ConfigMap", "a", MERGE_PATCH, &patch);
        assert_eq!(refusal(result), refused(400, "BadRequest", message), "{name}");
    }
}

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    let mut endpoint = Endpoint::new();
    let created = endpoint.create("DaemonSet", daemon_set("a"));
    let before = endpoint.state.revision;
    let reply = endpoint.try_update("DaemonSet", Subresource::Main, &created).expect("valid");
    assert_eq!((reply.outcome, object(&reply)), (Outcome::Unchanged, created.clone()));
    for media_type in [MERGE_PATCH, STRATEGIC_PATCH] {
        let reply = endpoint.try_patch("DaemonSet", "a", media_type, &json!({})).expect("valid");
        assert_eq!((reply.outcome, object(&reply)), (Outcome::Unchanged, created.clone()));
    }
    assert_eq!(endpoint.state.revision, before);
    let mut without_type = created;
    without_type.as_object_mut().map(|fields| fields.remove("kind"));
    let reply = endpoint.try_update("DaemonSet", Subresource::Main, &without_type).expect("valid");
    assert_eq!(reply.outcome, Outcome::Unchanged);
}

#[test]
fn the_generation_grows_with_the_spec_and_with_nothing_else() {
    let mut endpoint = Endpoint::new();
    endpoint.create("DaemonSet", daemon_set("a"));
    for (patch, generation) in [
        (json!({ "metadata": { "labels": { "l": "1" } } }), 1),
        (json!({ "metadata": { "annotations": { "l": "1" } } }), 1),
        (json!({ "spec": { "template": { "spec": { "volumes": [] } } } }), 1),
        (json!({ "spec": { "minReadySeconds": 7 } }), 2),
        (json!({ "spec": { "minReadySeconds": 7 } }), 2),
        (json!({ "spec": { "unknown": 1 } }), 3),
    ] {
        assert_eq!(endpoint.merge("DaemonSet", "a", &patch)["metadata"]["generation"], generation, "{patch}");
    }
    let mut object = endpoint.get("DaemonSet", "a").expect("there");
    object["status"]["numberReady"] = 1.into();
    object["metadata"]["generation"] = 77.into();
    assert_eq!(endpoint.update_status("DaemonSet", &object)["metadata"]["generation"], 3);
}

#[test]
fn spec_and_status_have_each_their_own_door() {
    let mut endpoint = Endpoint::new();
    let mut object = endpoint.create("DaemonSet", daemon_set("a"));
    object["spec"]["minReadySeconds"] = 9.into();
    object["status"] = json!({ "numberReady": 4 });
    object["metadata"]["labels"] = json!({ "l": "1" });
    let by_status = endpoint.update_status("DaemonSet", &object);
    assert_eq!(by_status["status"]["numberReady"], 4);
    assert_ne!(by_status["spec"]["minReadySeconds"], 9);
    assert_eq!(by_status["metadata"]["labels"], json!({ "l": "1" }), "as upstream, metadata travels along");
    object["metadata"]["resourceVersion"] = by_status["metadata"]["resourceVersion"].clone();
    object["status"] = json!({ "numberReady": 5 });
    let by_main = endpoint.update("DaemonSet", &object);
    assert_eq!(
        (&by_main["spec"]["minReadySeconds"], &by_main["status"]["numberReady"]),
        (&json!(9), &json!(4))
    );
}

#[test]
fn kinds_without_status_have_no_status_door() {
    let mut endpoint = Endpoint::new();
    endpoint.create("ConfigMap", named("a"));
    for subresource in [Subresource::Status, Subresource::Finalize] {
        let result = endpoint.try_update("ConfigMap", subresource, &named("a"));
        assert_eq!(
            refusal(result),
            refused(404, "NotFound", "the server could not find the requested resource")
        );
    }
}

#[test]
fn an_update_of_nothing_is_not_found() {
    let mut endpoint = Endpoint::new();
    let missing = refused(404, "NotFound", "daemonsets.apps \"a\" not found");
    assert_eq!(refusal(endpoint.try_update("DaemonSet", Subresource::Main, &daemon_set("a"))), missing);
    assert_eq!(refusal(endpoint.try_patch("DaemonSet", "a", MERGE_PATCH, &json!({}))), missing);
    assert_eq!(refusal(endpoint.try_delete("DaemonSet", "a", DeleteOptions::default())), missing);
}

#[test]
fn patches_of_each_type_do_their_work() {
    let mut endpoint = Endpoint::new();
    endpoint.create("DaemonSet", daemon_set("a"));
    let containers = |object: &Value| object["spec"]["template"]["spec"]["containers"].clone();
    let patch =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "a", "image": "i:2" }] } } } });
    let merged = object(&endpoint.try_patch("DaemonSet", "a", STRATEGIC_PATCH, &patch).expect("valid"));
    assert_eq!(containers(&merged)[0]["image"], "i:2");
    let patch = json!([
        { "op": "test", "path": "/spec/template/spec/containers/0/image", "value": "i:2" },
        { "op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "i:3" },
    ]);
    let merged = object(&endpoint.try_patch("DaemonSet", "a", JSON_PATCH, &patch).expect("valid"));
    assert_eq!(containers(&merged)[0]["image"], "i:3");
    let failed = endpoint.try_patch("DaemonSet", "a", JSON_PATCH, &patch).expect_err("the test fails now");
    assert_eq!((failed.code, failed.reason), (422, "Invalid"));
    assert_eq!(failed.message, "the server rejected our request due to an error in our request");
    let patch = json!({ "spec": { "template": { "spec": { "containers": [{ "image": "i:4" }] } } } });
    let failed = endpoint.try_patch("DaemonSet", "a", STRATEGIC_PATCH, &patch).expect_err("no name");
    assert_eq!(
        (failed.code, failed.message.as_str()),
        (400, "map: map[image:i:4] does not contain declared merge key: name")
    );
}

#[test]
fn a_patch_that_makes_wrong_types_is_invalid() {
    let mut endpoint = Endpoint::new();
    endpoint.create("ConfigMap", named("a"));
    let refused = endpoint.try_patch("ConfigMap", "a", MERGE_PATCH, &json!({ "data": { "a": 1 } }));
    let status = refused.expect_err("numbers are no text");
    assert_eq!((status.code, &status.details["causes"][0]["field"]), (422, &json!("patch")));
}

#[test]
fn a_dry_run_update_shows_the_change_at_the_old_version() {
    let mut endpoint = Endpoint::new();
    let created = endpoint.create("ConfigMap", named("a"));
    let patch = Patch::Merge(json!({ "data": { "a": "1" } }));
    let action = Action::Patch { name: "a".into(), subresource: Subresource::Main, patch };
    let mut command = Command::new(kind("ConfigMap"), "default", action);
    command.dry_run = true;
    let shown = object(&endpoint.run(&command).expect("valid"));
    assert_eq!(shown["data"]["a"], "1");
    assert_eq!(shown["metadata"]["resourceVersion"], created["metadata"]["resourceVersion"]);
    assert_eq!(endpoint.get("ConfigMap", "a"), Some(created));
}

#[test]
fn the_phase_of_a_namespace_follows_its_deletion_timestamp() {
    let mut endpoint = Endpoint::new();
    let mut namespace = endpoint.create("Namespace", named("a"));
    namespace["status"]["phase"] = "Terminating".into();
    let status =
        endpoint.try_update("Namespace", Subresource::Status, &namespace).expect_err("it is not going");
    assert_eq!(
        status.message,
        "Namespace \"a\" is invalid: status.Phase: Invalid value: \"Terminating\": may only be 'Active' if \
         `deletionTimestamp` is empty"
    );
    namespace["status"]["phase"] = "Active".into();
    namespace["spec"]["finalizers"] = json!([]);
    namespace["metadata"]["labels"] = json!({ "l": "1" });
    let updated = endpoint.update("Namespace", &namespace);
    assert_eq!(
        updated["spec"]["finalizers"],
        json!(["kubernetes"]),
        "only the finalize subresource changes them"
    );
    assert_eq!(updated["metadata"]["labels"]["l"], "1");
}

#[test]
fn commands_of_one_batch_see_each_other() {
    let mut endpoint = Endpoint::new();
    let state = std::mem::take(&mut endpoint.state);
    let mut draft = Draft::new(&state);
    let create = Command::new(kind("ConfigMap"), "default", Action::Create { body: named("a") });
    let mut go = |draft: &mut Draft<'_>, command: &Command| {
        commit(draft, command, endpoint.now, &mut endpoint.entropy)
    };
    let first = go(&mut draft, &create).expect("new");
    assert_eq!(refusal(go(&mut draft, &create)).1, "AlreadyExists");
    let delete = Action::Delete { name: "a".into(), options: DeleteOptions::default() };
    go(&mut draft, &Command::new(kind("ConfigMap"), "default", delete)).expect("it is there");
    let again = go(&mut draft, &create).expect("free again");
    assert!(shared(&again).resource_version == shared(&first).resource_version + 2);
    assert_eq!(draft.changes().iter().map(|c| c.after.is_some()).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn the_string_data_of_a_secret_becomes_data() {
    let mut endpoint = Endpoint::new();
    let secret =
        endpoint.create("Secret", json!({ "metadata": { "name": "a" }, "stringData": { "k": "v" } }));
    assert_eq!(
        (&secret["data"], &secret["stringData"], &secret["type"]),
        (&json!({ "k": "dg==" }), &Value::Null, &json!("Opaque"))
    );
    let merged = endpoint.merge("Secret", "a", &json!({ "stringData": { "l": "w" } }));
    assert_eq!(merged["data"], json!({ "k": "dg==", "l": "dw==" }));
}

#[test]
fn what_is_immutable_keeps_its_data() {
    let mut endpoint = Endpoint::new();
    for kind in ["ConfigMap", "Secret"] {
        endpoint
            .create(kind, json!({ "metadata": { "name": "a" }, "data": { "k": "dg==" }, "immutable": true }));
        for patch in [json!({ "data": { "k": "dw==" } }), json!({ "immutable": null })] {
            let status = endpoint.try_patch(kind, "a", MERGE_PATCH, &patch).expect_err("it is immutable");
            assert_eq!((status.code, status.reason), (422, "Invalid"), "{kind} {patch}");
        }
        endpoint.merge(kind, "a", &json!({ "metadata": { "labels": { "l": "1" } } }));
    }
}

#[test]
fn of_a_pods_spec_only_the_images_and_little_else_may_change() {
    let mut endpoint = Endpoint::new();
    endpoint.create("Pod", pod("a"));
    let patch = json!({ "spec": { "containers": [{ "name": "a", "image": "j" }] } });
    let reply = endpoint.try_patch("Pod", "a", STRATEGIC_PATCH, &patch).expect("images may change");
    assert_eq!(object(&reply)["metadata"]["generation"], 2);
    let patch = json!({ "spec": { "hostNetwork": true } });
    let status = endpoint.try_patch("Pod", "a", STRATEGIC_PATCH, &patch).expect_err("the rest may not");
    assert_eq!((status.code, &status.details["causes"][0]["field"]), (422, &json!("spec")));
    let patch = json!({ "spec": { "nodeName": "n1" } });
    assert_eq!(
        refusal(endpoint.try_patch("Pod", "a", MERGE_PATCH, &patch)).0,
        422,
        "only a binding names the node"
    );
}

#[test]
fn the_selector_of_a_daemon_set_is_for_life() {
    let mut endpoint = Endpoint::new();
    endpoint.create("DaemonSet", daemon_set("a"));
    let patch = json!({ "spec": { "selector": { "matchLabels": { "b": "c" } }, "template": { "metadata": { "labels": { "b": "c" } } } } });
    let status = endpoint.try_patch("DaemonSet", "a", MERGE_PATCH, &patch).expect_err("it is immutable");
    assert_eq!((status.code, &status.details["causes"][0]["field"]), (422, &json!("spec.selector")));
}

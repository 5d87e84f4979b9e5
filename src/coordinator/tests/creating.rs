use super::*;
use crate::coordinator::FieldValidation;

#[test]
fn a_new_object_gets_uid_time_version_and_type() {
    let mut endpoint = Endpoint::new();
    let body = json!({
        "metadata": {
            "name": "a", "uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z",
            "deletionTimestamp": "2001-01-01T00:00:00Z", "generation": 7, "labels": { "l": "1" },
        },
        "data": { "k": "v" },
    });
    let created = endpoint.create("ConfigMap", body);
    let version = endpoint.state.revision.to_string();
    assert_eq!(
        created,
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "a", "namespace": "default", "uid": "uid-1", "resourceVersion": version,
                "creationTimestamp": "2026-01-02T03:04:05Z", "labels": { "l": "1" },
                "managedFields": [{
                    "manager": "unknown", "operation": "Update", "apiVersion": "v1", "time": "2026-01-02T03:04:05Z",
                    "fieldsType": "FieldsV1",
                    "fieldsV1": {
                        "f:data": { ".": {}, "f:k": {} },
                        "f:metadata": { "f:labels": { ".": {}, "f:l": {} } },
                    },
                }],
            },
            "data": { "k": "v" },
        })
    );
    let stored = &endpoint.state.objects[&Key::new(kind("ConfigMap"), "default", "a")];
    assert_eq!((stored.uid.as_str(), stored.resource_version), ("uid-1", endpoint.state.revision));
    assert_eq!(stored.labels["l"], "1");
}

#[test]
fn kinds_that_count_generations_begin_with_one() {
    let mut endpoint = Endpoint::new();
    assert_eq!(endpoint.create("DaemonSet", daemon_set("a"))["metadata"]["generation"], 1);
    assert_eq!(endpoint.create("Pod", pod("a"))["metadata"]["generation"], 1);
    assert_eq!(endpoint.create("Secret", named("a"))["metadata"]["generation"], Value::Null);
}

#[test]
fn fields_that_nobody_knows_are_kept() {
    let mut endpoint = Endpoint::new();
    let mut body = daemon_set("a");
    body["spec"]["tomorrow"] = json!({ "deep": [1, { "x": null }] });
    body["beside"] = json!(true);
    let created = endpoint.create("DaemonSet", body);
    assert_eq!(created["spec"]["tomorrow"], json!({ "deep": [1, { "x": null }] }));
    assert_eq!(created["beside"], true);
    let patched = endpoint.merge("DaemonSet", "a", &json!({ "spec": { "minReadySeconds": 5 } }));
    assert_eq!(patched["spec"]["tomorrow"], json!({ "deep": [1, { "x": null }] }));
}

#[test]
fn unknown_fields_that_a_patch_brings_are_told_or_refused_as_the_client_wishes() {
    let mut endpoint = Endpoint::new();
    let mut body = daemon_set("a");
    body["spec"]["tomorrow"] = 1.into();
    endpoint.create("DaemonSet", body);
    let mut patch = |patch: &str, field_validation| {
        let patch = Patch::parse(STRATEGIC_PATCH, patch.as_bytes()).expect("JSON");
        let action = Action::Patch { name: "a".into(), subresource: Subresource::Main, patch };
        let mut command = Command::new(kind("DaemonSet"), "default", action);
        command.field_validation = field_validation;
        endpoint.run(&command)
    };
    assert!(patch(r#"{"metadata":{"labels":{"l":"1"}}}"#, FieldValidation::Strict).is_ok());
    let color = r#"{"spec":{"color":"red"}}"#;
    assert_eq!(
        refusal(patch(color, FieldValidation::Strict)),
        refused(
            422,
            "Invalid",
            " \"\" is invalid: patch: Invalid value: \"map[spec:map[color:red]]\": strict decoding error: unknown \
             field \"spec.color\""
        )
    );
    let told = |reply: Result<Reply, Status>| reply.expect("only a warning").warnings;
    assert_eq!(told(patch(r#"{"spec":{"size":1}}"#, FieldValidation::Ignore)), [""; 0]);
    assert_eq!(told(patch(color, FieldValidation::Warn)), ["unknown field \"spec.color\""]);
}

#[test]
fn what_could_not_be_read_again_is_not_stored() {
    let mut endpoint = Endpoint::new();
    let nested = |levels: usize| (0..levels).fold(json!(1), |inner, _| json!([inner]));
    let body = |levels| json!({ "metadata": { "name": "a" }, "beside": nested(levels) });
    assert_eq!(
        refusal(endpoint.try_create("ConfigMap", body(127))),
        refused(400, "BadRequest", "the object is nested deeper than 127 levels")
    );
    endpoint.create("ConfigMap", body(126));
    assert_eq!(endpoint.merge("ConfigMap", "a", &json!({ "data": { "k": "v" } }))["data"]["k"], "v");
}

#[test]
fn a_body_of_another_type_is_refused() {
    let mut endpoint = Endpoint::new();
    for (body, message) in [
        (
            json!({ "apiVersion": "v2", "kind": "Pod" }),
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Service" }),
            "Service in version \"v1\" cannot be handled as a Pod: the kinds differ",
        ),
        (json!([1]), "the object provided is unrecognized (must be of type Pod): not a JSON object"),
    ] {
        assert_eq!(refusal(endpoint.try_create("Pod", body)), refused(400, "BadRequest", message));
    }
    let wrong = endpoint.try_create("Pod", json!({ "metadata": { "labels": [] } }));
    assert_eq!(refusal(wrong).0, 400);
}

#[test]
fn names_and_prefixes_are_checked_by_the_rules_of_the_kind() {
    let mut endpoint = Endpoint::new();
    let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                     must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation \
                     is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    for (kind, metadata, message) in [
        (
            "ConfigMap",
            json!({}),
            "metadata.name: Required value: name or generateName is required".to_owned(),
        ),
        ("ConfigMap", json!({ "name": "A" }), format!("metadata.name: Invalid value: \"A\": {subdomain}")),
        (
            "Namespace",
            json!({ "name": "a.b" }),
            "metadata.name: Invalid value: \"a.b\": must not contain dots".into(),
        ),
    ] {
        let name = metadata["name"].as_str().unwrap_or_default().to_owned();
        let expected = format!("{kind} {name:?} is invalid: {message}");
        let result = endpoint.try_create(kind, json!({ "metadata": metadata }));
        assert_eq!(refusal(result), refused(422, "Invalid", &expected));
    }
    let bad = endpoint.try_create("ConfigMap", json!({ "metadata": { "generateName": "AB-" } }));
    let status = bad.expect_err("no such prefix");
    assert_eq!(status.details["causes"][0]["field"], "metadata.generateName");
    assert!(endpoint.try_create("ConfigMap", json!({ "metadata": { "generateName": "a--" } })).is_ok());
}

#[test]
fn metadata_is_validated_with_upstreams_paths() {
    let mut endpoint = Endpoint::new();
    for (metadata, field, message) in [
        (
            json!({ "labels": { "a b": "" } }),
            "metadata.labels",
            "Invalid value: \"a b\": name part must consist",
        ),
        (json!({ "labels": { "a": "-" } }), "metadata.labels", "Invalid value: \"-\": a valid label must be"),
        (
            json!({ "annotations": { "a/b/c": "" } }),
            "metadata.annotations",
            "Invalid value: \"a/b/c\": a valid label key",
        ),
        (
            json!({ "annotations": { "a": "x".repeat(262_144) } }),
            "metadata.annotations",
            "Too long: may not be more than 262144 bytes",
        ),
        (
            json!({ "finalizers": [" "] }),
            "metadata.finalizers",
            "Invalid value: \" \": name part must consist",
        ),
        (
            json!({ "finalizers": ["orphan", "foregroundDeletion"] }),
            "metadata.finalizers",
            "Invalid value: [\"orphan\",\"foregroundDeletion\"]: finalizer orphan and foregroundDeletion cannot be both set",
        ),
        (
            json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "p" }] }),
            "metadata.ownerReferences[0].uid",
            "Required value: must not be empty",
        ),
        (
            json!({ "ownerReferences": [{ "apiVersion": "a/b/c", "kind": "Pod", "name": "p", "uid": "u" }] }),
            "metadata.ownerReferences[0].apiVersion",
            "Invalid value: \"a/b/c\": must be <group>/<version> or <version>",
        ),
        (
            json!({ "ownerReferences": [
                { "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true },
                { "apiVersion": "v1", "kind": "Pod", "name": "q", "uid": "v", "controller": true },
            ] }),
            "metadata.ownerReferences",
            "Invalid value: ",
        ),
    ] {
        let mut body = json!({ "metadata": metadata });
        body["metadata"]["name"] = "a".into();
        let status = endpoint.try_create("ConfigMap", body).expect_err(field);
        let cause = &status.details["causes"][0];
        assert_eq!((status.code, &cause["field"]), (422, &json!(field)));
        let told = cause["message"].as_str().expect("a text");
        assert!(told.starts_with(message), "{told}");
    }
}

#[test]
fn repeated_owner_references_are_merged_with_a_warning() {
    let mut endpoint = Endpoint::new();
    let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u" });
    let body = json!({ "metadata": { "name": "a", "ownerReferences": [owner, owner] } });
    let reply = endpoint.act("ConfigMap", Action::Create { body }).expect("it is valid");
    assert_eq!(object(&reply)["metadata"]["ownerReferences"], json!([owner]));
    assert!(reply.warnings[0].ends_with("duplicate UID(s) observed: u"), "{:?}", reply.warnings);
}

#[test]
fn a_name_is_taken_once_and_a_terminating_holder_is_told() {
    let mut endpoint = Endpoint::new();
    endpoint.create("ConfigMap", named("a"));
    assert_eq!(
        refusal(endpoint.try_create("ConfigMap", named("a"))),
        refused(409, "AlreadyExists", "configmaps \"a\" already exists")
    );
    endpoint.merge("ConfigMap", "a", &json!({ "metadata": { "finalizers": ["x.dev/f"] } }));
    endpoint.delete("ConfigMap", "a");
    assert_eq!(
        refusal(endpoint.try_create("ConfigMap", named("a"))),
        refused(409, "AlreadyExists", "object is being deleted: configmaps \"a\" already exists")
    );
}

#[test]
fn generated_names_are_tried_again_when_taken_and_given_up_after_eight() {
    let mut endpoint = Endpoint::new();
    let body = json!({ "metadata": { "generateName": "a-" } });
    endpoint.entropy.suffixes = vec!["bbbbb"];
    assert_eq!(endpoint.create("ConfigMap", body.clone())["metadata"]["name"], "a-bbbbb");
    endpoint.entropy.suffixes = vec!["bbbbb", "bbbbb", "ccccc"];
    assert_eq!(endpoint.create("ConfigMap", body.clone())["metadata"]["name"], "a-ccccc");
    endpoint.entropy.suffixes = vec!["bbbbb"; 9];
    let status = endpoint.try_create("ConfigMap", body).expect_err("every name is taken");
    assert_eq!(
        (status.code, status.message.as_str(), &status.details["retryAfterSeconds"]),
        (
            409,
            "configmaps \"a-bbbbb\" already exists, the server was not able to generate a unique name for the object",
            &json!(1)
        )
    );
    let long = endpoint.create("ConfigMap", json!({ "metadata": { "generateName": "x".repeat(100) } }));
    assert_eq!(long["metadata"]["name"], format!("{}bbbbb", "x".repeat(58)));
}

#[test]
fn a_new_object_must_not_claim_a_version() {
    let mut endpoint = Endpoint::new();
    let body = json!({ "metadata": { "name": "a", "resourceVersion": "3" } });
    assert_eq!(
        refusal(endpoint.try_create("ConfigMap", body)),
        refused(400, "BadRequest", "resourceVersion should not be set on objects to be created")
    );
}

#[test]
fn the_namespace_must_exist_and_be_the_one_of_the_path() {
    let mut endpoint = Endpoint::new();
    let command = Command::new(kind("ConfigMap"), "nowhere", Action::Create { body: named("a") });
    assert_eq!(refusal(endpoint.run(&command)), refused(404, "NotFound", "namespaces \"nowhere\" not found"));
    let body = json!({ "metadata": { "name": "a", "namespace": "other" } });
    assert_eq!(
        refusal(endpoint.try_create("ConfigMap", body)),
        refused(
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    );
    let node = endpoint.create("Node", json!({ "metadata": { "name": "n", "namespace": "default" } }));
    assert_eq!(node["metadata"]["namespace"], Value::Null);
}

#[test]
fn nothing_is_made_in_a_namespace_that_is_going() {
    let mut endpoint = Endpoint::new();
    endpoint.create("Namespace", named("going"));
    let inside = Command::new(kind("ConfigMap"), "going", Action::Create { body: named("old") });
    endpoint.run(&inside).expect("it is still there");
    endpoint.delete("Namespace", "going");
    let command = Command::new(kind("ConfigMap"), "going", Action::Create { body: named("a") });
    let status = endpoint.run(&command).expect_err("it is going");
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            403,
            "configmaps \"a\" is forbidden: unable to create new content in namespace going because it is being terminated"
        )
    );
    assert_eq!(
        status.details["causes"],
        json!([{
            "reason": "NamespaceTerminating", "message": "namespace going is being terminated",
            "field": "metadata.namespace",
        }])
    );
    let mut change = named("old");
    change["data"] = json!({ "k": "v" });
    let action = Action::Update { name: "old".into(), subresource: Subresource::Main, body: change };
    assert!(
        endpoint.run(&Command::new(kind("ConfigMap"), "going", action)).is_ok(),
        "what is there may change"
    );
}

#[test]
fn namespaces_begin_active_with_their_finalizer() {
    let mut endpoint = Endpoint::new();
    let body = json!({ "metadata": { "name": "a" }, "status": { "phase": "Terminating" } });
    let namespace = endpoint.create("Namespace", body);
    assert_eq!(namespace["status"], json!({ "phase": "Active" }));
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    let body = json!({ "metadata": { "name": "b" }, "spec": { "finalizers": ["x.dev/f"] } });
    assert_eq!(endpoint.create("Namespace", body)["spec"]["finalizers"], json!(["x.dev/f", "kubernetes"]));
}

#[test]
fn status_is_dropped_on_create_save_for_nodes() {
    let mut endpoint = Endpoint::new();
    let mut body = daemon_set("a");
    body["status"] = json!({ "desiredNumberScheduled": 3 });
    assert_ne!(endpoint.create("DaemonSet", body)["status"]["desiredNumberScheduled"], 3);
    let node = json!({ "metadata": { "name": "n" }, "status": { "capacity": { "cpu": "2" } } });
    assert_eq!(endpoint.create("Node", node)["status"]["capacity"]["cpu"], "2");
}

#[test]
fn a_dry_run_validates_and_shows_but_writes_nothing() {
    let mut endpoint = Endpoint::new();
    let before = endpoint.state.revision;
    let mut command = Command::new(kind("ConfigMap"), "default", Action::Create { body: named("a") });
    command.dry_run = true;
    let shown = object(&endpoint.run(&command).expect("valid"));
    assert_eq!(shown["metadata"]["uid"], "uid-1");
    assert_eq!(shown["metadata"]["resourceVersion"], Value::Null);
    assert_eq!((endpoint.get("ConfigMap", "a"), endpoint.state.revision), (None, before));
    command.action = Action::Create { body: named("A") };
    assert_eq!(refusal(endpoint.run(&command)).0, 422);
    endpoint.create("ConfigMap", named("a"));
    command.action = Action::Create { body: named("a") };
    assert_eq!(refusal(endpoint.run(&command)).0, 409);
}

#[test]
fn leases_can_be_made_by_put_and_config_maps_cannot() {
    let mut endpoint = Endpoint::new();
    let reply = endpoint.try_update("Lease", Subresource::Main, &named("a")).expect("a PUT creates a Lease");
    assert_eq!((reply.outcome, reply.outcome.code()), (Outcome::Created, 201));
    assert_eq!(
        refusal(endpoint.try_update("ConfigMap", Subresource::Main, &named("a"))),
        refused(404, "NotFound", "configmaps \"a\" not found")
    );
    let stale = json!({ "metadata": { "name": "b", "uid": "gone" } });
    assert_eq!(
        refusal(endpoint.try_update("Lease", Subresource::Main, &stale)),
        refused(
            409,
            "Conflict",
            "Operation cannot be fulfilled on leases.coordination.k8s.io \"b\": Precondition failed: UID in \
             precondition: gone, UID in object meta: "
        )
    );
}

#[test]
fn daemon_sets_count_their_templates_in_an_annotation() {
    let mut endpoint = Endpoint::new();
    let count = |object: &Value| {
        object["metadata"]["annotations"]["deprecated.daemonset.template.generation"].clone()
    };
    let created = endpoint.create("DaemonSet", daemon_set("a"));
    assert_eq!(count(&created), "1");
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": { "x": "1" } } } } });
    let patched = endpoint.merge("DaemonSet", "a", &patch);
    assert_eq!((count(&patched), &patched["metadata"]["generation"]), (json!("2"), &json!(2)));
    let patched = endpoint.merge("DaemonSet", "a", &json!({ "spec": { "minReadySeconds": 3 } }));
    assert_eq!((count(&patched), &patched["metadata"]["generation"]), (json!("2"), &json!(3)));
}

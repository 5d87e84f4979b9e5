use super::*;
use crate::coordinator::Propagation;

#[test]
fn a_plain_object_is_gone_at_once_and_watchers_hear_its_last_state() {
    let mut endpoint = Endpoint::new();
    let created = endpoint.create("ConfigMap", named("a"));
    let reply = endpoint.delete("ConfigMap", "a");
    assert_eq!(reply.outcome, Outcome::Deleted);
    let Body::Status(status) = reply.body else { panic!("a Status") };
    assert_eq!(status["status"], "Success");
    assert_eq!(status["details"], json!({ "name": "a", "kind": "configmaps", "uid": "uid-1" }));
    assert_eq!(endpoint.get("ConfigMap", "a"), None);
    let last = endpoint.changes[0].last.as_ref().expect("the last state");
    assert_eq!(last.resource_version, endpoint.state.revision);
    let mut expected = created;
    expected["metadata"]["resourceVersion"] = endpoint.state.revision.to_string().into();
    assert_eq!(last.value(), expected);
}

#[test]
fn some_kinds_answer_with_the_object() {
    let mut endpoint = Endpoint::new();
    endpoint.create("ServiceAccount", named("a"));
    assert_eq!(object(&endpoint.delete("ServiceAccount", "a"))["kind"], "ServiceAccount");
    endpoint.create("DaemonSet", daemon_set("a"));
    let Body::Status(status) = endpoint.delete("DaemonSet", "a").body else { panic!("a Status") };
    assert_eq!(status["details"]["group"], "apps");
}

#[test]
fn preconditions_protect_against_deleting_another_object() {
    let mut endpoint = Endpoint::new();
    let created = endpoint.create("ConfigMap", named("a"));
    let uid = |uid: &str| DeleteOptions { uid: Some(uid.into()), ..DeleteOptions::default() };
    let version =
        |version: &str| DeleteOptions { resource_version: Some(version.into()), ..DeleteOptions::default() };
    assert_eq!(
        refusal(endpoint.try_delete("ConfigMap", "a", uid("gone"))),
        refused(
            409,
            "Conflict",
            "Operation cannot be fulfilled on ConfigMap \"a\": the UID in the precondition (gone) does not match the UID \
             in record (uid-1). The object might have been deleted and then recreated"
        )
    );
    let now = created["metadata"]["resourceVersion"].as_str().expect("text");
    assert_eq!(
        refusal(endpoint.try_delete("ConfigMap", "a", version("1"))),
        refused(
            409,
            "Conflict",
            &format!(
                "Operation cannot be fulfilled on ConfigMap \"a\": the ResourceVersion in the precondition (1) does not \
                 match the ResourceVersion in record ({now}). The object might have been modified"
            )
        )
    );
    let both = DeleteOptions { uid: Some("uid-1".into()), ..version(now) };
    assert_eq!(endpoint.try_delete("ConfigMap", "a", both).expect("both hold").outcome, Outcome::Deleted);
}

#[test]
fn finalizers_hold_an_object_until_the_last_is_removed() {
    let mut endpoint = Endpoint::new();
    let mut body = daemon_set("a");
    body["metadata"]["finalizers"] = json!(["x.dev/f", "x.dev/g"]);
    endpoint.create("DaemonSet", body);
    let reply = endpoint.delete("DaemonSet", "a");
    let held = object(&reply);
    assert_eq!(reply.outcome, Outcome::Terminating);
    assert_eq!(held["metadata"]["deletionTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(held["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(held["metadata"]["generation"], 2);
    let before = endpoint.state.revision;
    endpoint.now = at("2026-01-02T03:05:00Z");
    assert_eq!(object(&endpoint.delete("DaemonSet", "a")), held, "a second DELETE changes nothing");
    assert_eq!(endpoint.state.revision, before);
    let one_left = endpoint.merge("DaemonSet", "a", &json!({ "metadata": { "finalizers": ["x.dev/g"] } }));
    assert_eq!(one_left["metadata"]["deletionTimestamp"], "2026-01-02T03:04:05Z");
    let patch = json!({ "metadata": { "finalizers": null } });
    let reply = endpoint.try_patch("DaemonSet", "a", MERGE_PATCH, &patch).expect("valid");
    assert_eq!(reply.outcome, Outcome::Deleted);
    assert_eq!(endpoint.get("DaemonSet", "a"), None);
    assert!(endpoint.changes[0].after.is_none(), "removed by the very commit that removed the finalizer");
}

#[test]
fn a_terminating_object_takes_no_new_finalizers_and_does_not_come_back() {
    let mut endpoint = Endpoint::new();
    endpoint.create("ConfigMap", json!({ "metadata": { "name": "a", "finalizers": ["x.dev/f"] } }));
    endpoint.delete("ConfigMap", "a");
    let patch = json!({ "metadata": { "finalizers": ["x.dev/f", "x.dev/g", "x.dev/h"] } });
    assert_eq!(
        refusal(endpoint.try_patch("ConfigMap", "a", MERGE_PATCH, &patch)).2,
        "ConfigMap \"a\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is \
         being deleted, found new finalizers []string{\"x.dev/g\", \"x.dev/h\"}"
    );
    let patch = json!({ "metadata": { "deletionTimestamp": null, "deletionGracePeriodSeconds": null }, "data": { "a": "1" } });
    let patched = endpoint.merge("ConfigMap", "a", &patch);
    assert_eq!(patched["metadata"]["deletionTimestamp"], "2026-01-02T03:04:05Z");
    assert_eq!(patched["metadata"]["deletionGracePeriodSeconds"], 0);
}

#[test]
fn propagation_is_recorded_as_finalizers_for_the_collector() {
    for (propagation, before, after) in [
        (Some(Propagation::Foreground), json!(["x.dev/f"]), json!(["x.dev/f", "foregroundDeletion"])),
        (Some(Propagation::Orphan), json!(["foregroundDeletion"]), json!(["orphan"])),
        (Some(Propagation::Background), json!(["x.dev/f", "orphan"]), json!(["x.dev/f"])),
        (None, json!(["orphan"]), json!(["orphan"])),
    ] {
        let mut endpoint = Endpoint::new();
        endpoint.create("ConfigMap", json!({ "metadata": { "name": "a", "finalizers": before } }));
        let options = DeleteOptions { propagation, ..DeleteOptions::default() };
        let reply = endpoint.try_delete("ConfigMap", "a", options).expect("valid");
        assert_eq!(object(&reply)["metadata"]["finalizers"], after, "{propagation:?}");
    }
    let mut endpoint = Endpoint::new();
    endpoint.create("ConfigMap", json!({ "metadata": { "name": "a", "finalizers": ["orphan"] } }));
    let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    assert_eq!(endpoint.try_delete("ConfigMap", "a", background).expect("valid").outcome, Outcome::Deleted);
}

#[test]
fn events_are_not_collected_so_propagation_does_not_hold_them() {
    let mut endpoint = Endpoint::new();
    let body = json!({
        "metadata": { "name": "e" }, "involvedObject": { "namespace": "default" }, "type": "Normal",
    });
    endpoint.create("Event", body);
    let orphan = DeleteOptions { propagation: Some(Propagation::Orphan), ..DeleteOptions::default() };
    assert_eq!(endpoint.try_delete("Event", "e", orphan).expect("valid").outcome, Outcome::Deleted);
}

#[test]
fn a_namespace_goes_in_three_steps() {
    let mut endpoint = Endpoint::new();
    endpoint.create("Namespace", named("a"));
    let reply = endpoint.delete("Namespace", "a");
    let going = object(&reply);
    assert_eq!((reply.outcome, &going["status"]["phase"]), (Outcome::Terminating, &json!("Terminating")));
    assert_eq!(going["metadata"]["deletionTimestamp"], "2026-01-02T03:04:05Z");
    let again = endpoint.delete("Namespace", "a");
    assert_eq!((again.outcome, object(&again)), (Outcome::Terminating, going.clone()));
    let mut emptied = going;
    emptied["spec"]["finalizers"] = json!([]);
    let reply = endpoint.try_update("Namespace", Subresource::Finalize, &emptied).expect("valid");
    assert_eq!(reply.outcome, Outcome::Deleted);
    assert_eq!(endpoint.get("Namespace", "a"), None);
}

#[test]
fn a_namespace_is_held_by_either_list_of_finalizers() {
    let mut endpoint = Endpoint::new();
    endpoint.create("Namespace", json!({ "metadata": { "name": "a", "finalizers": ["x.dev/f"] } }));
    endpoint.delete("Namespace", "a");
    let mut emptied = endpoint.get("Namespace", "a").expect("held");
    emptied["spec"]["finalizers"] = json!([]);
    let reply = endpoint.try_update("Namespace", Subresource::Finalize, &emptied).expect("valid");
    assert_eq!(reply.outcome, Outcome::Updated);
    let patch = json!({ "metadata": { "finalizers": null } });
    let reply = endpoint.try_patch("Namespace", "a", MERGE_PATCH, &patch).expect("valid");
    assert_eq!(reply.outcome, Outcome::Deleted);
}

#[test]
fn the_initial_namespaces_stay() {
    let mut endpoint = Endpoint::new();
    for name in INITIAL_NAMESPACES {
        assert_eq!(
            refusal(endpoint.try_delete("Namespace", name, DeleteOptions::default())),
            refused(
                403,
                "Forbidden",
                &format!("namespaces {name:?} is forbidden: this namespace may not be deleted")
            )
        );
    }
}

#[test]
fn a_dry_run_delete_leaves_everything_as_it_was() {
    let mut endpoint = Endpoint::new();
    endpoint.create("ConfigMap", named("a"));
    endpoint.create("Pod", bound_pod("p"));
    for (kind_name, name, outcome) in
        [("ConfigMap", "a", Outcome::Deleted), ("Pod", "p", Outcome::Terminating)]
    {
        let action = Action::Delete { name: name.into(), options: DeleteOptions::default() };
        let mut command = Command::new(kind(kind_name), "default", action);
        command.dry_run = true;
        let before = endpoint.get(kind_name, name);
        assert_eq!(endpoint.run(&command).expect("valid").outcome, outcome);
        assert_eq!(endpoint.get(kind_name, name), before);
    }
}

#[test]
fn the_priority_classes_of_the_system_stay() {
    let mut endpoint = Endpoint::new();
    for name in ["system-node-critical", "system-cluster-critical"] {
        assert_eq!(
            refusal(endpoint.try_delete("PriorityClass", name, DeleteOptions::default())),
            refused(
                403,
                "Forbidden",
                &format!(
                    "priorityclasses.scheduling.k8s.io \"{name}\" is forbidden: this is a system priority class and cannot be \
                     deleted"
                )
            )
        );
    }
}

use super::*;

/// What a daemon set's owner applies.
fn wanted(name: &str) -> Value {
    let mut wanted = daemon_set(name);
    wanted["apiVersion"] = "apps/v1".into();
    wanted["kind"] = "DaemonSet".into();
    wanted
}

impl Endpoint {
    fn try_apply(
        &mut self,
        kind_name: &str,
        manager: &str,
        subresource: Subresource,
        configuration: Value,
    ) -> Result<Reply, Status> {
        let name = configuration["metadata"]["name"].as_str().unwrap_or("a").to_owned();
        self.apply_to(&name, kind_name, manager, subresource, configuration)
    }

    fn apply_to(
        &mut self,
        name: &str,
        kind_name: &str,
        manager: &str,
        subresource: Subresource,
        configuration: Value,
    ) -> Result<Reply, Status> {
        let action = Action::Apply {
            name: name.into(),
            subresource,
            configuration,
            force: false,
            not_to_be_made: None,
        };
        let kind = kind(kind_name);
        let mut command = Command::new(kind, if kind.namespaced { "default" } else { "" }, action);
        command.manager = manager.into();
        self.run(&command)
    }

    fn apply(&mut self, manager: &str, configuration: &Value) -> Reply {
        let applied = self.try_apply("DaemonSet", manager, Subresource::Main, configuration.clone());
        applied.expect("a valid configuration")
    }
}

fn managers(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries
        .iter()
        .map(|entry| {
            format!("{} {} {}", text(entry, "manager"), text(entry, "operation"), text(entry, "subresource"))
                .trim()
                .to_owned()
        })
        .collect()
}

#[test]
fn what_is_not_there_is_made_and_what_agrees_is_left_alone() {
    let mut endpoint = Endpoint::new();
    let made = endpoint.apply("a", &wanted("x"));
    assert_eq!(made.outcome, Outcome::Created);
    let made = object(&made);
    assert_eq!(
        (&made["metadata"]["generation"], &made["spec"]["revisionHistoryLimit"]),
        (&json!(1), &json!(10))
    );
    assert_eq!(managers(&made), ["a Apply"]);
    endpoint.now = at("2026-02-02T00:00:00Z");
    let again = endpoint.apply("a", &wanted("x"));
    assert_eq!((again.outcome, &object(&again)), (Outcome::Unchanged, &made));
    let mut changed = wanted("x");
    changed["spec"]["minReadySeconds"] = 3.into();
    let changed = endpoint.apply("a", &changed);
    assert_eq!(changed.outcome, Outcome::Updated);
    assert_eq!(object(&changed)["metadata"]["generation"], 2);
    let back = object(&endpoint.apply("a", &wanted("x")));
    assert_eq!(back["spec"].get("minReadySeconds"), made["spec"].get("minReadySeconds"));
}

#[test]
fn a_default_takes_the_place_of_a_field_that_is_let_go() {
    let mut endpoint = Endpoint::new();
    let mut with = wanted("x");
    with["spec"]["revisionHistoryLimit"] = 3.into();
    endpoint.apply("a", &with);
    let without = object(&endpoint.apply("a", &wanted("x")));
    assert_eq!(without["spec"]["revisionHistoryLimit"], 10);
}

#[test]
fn spec_and_status_have_owners_of_their_own() {
    let mut endpoint = Endpoint::new();
    let status = json!({ "currentNumberScheduled": 1, "numberMisscheduled": 0, "desiredNumberScheduled": 1, "numberReady": 1 });
    let mut both = wanted("x");
    both["status"] = status.clone();
    let nothing = endpoint.try_apply("DaemonSet", "s", Subresource::Status, both.clone());
    assert_eq!(refusal(nothing).0, 404);
    let made = object(&endpoint.apply("a", &both));
    assert_ne!(made["status"], status);
    assert!(!made["metadata"]["managedFields"].to_string().contains("f:status"));
    let mut other = both.clone();
    other["spec"]["minReadySeconds"] = 9.into();
    let told = object(&endpoint.try_apply("DaemonSet", "s", Subresource::Status, other).expect("applied"));
    assert_eq!((&told["status"], &told["spec"]), (&status, &made["spec"]));
    assert_eq!(managers(&told), ["a Apply", "s Apply status"]);
    let mut more = both;
    more["status"]["numberReady"] = 0.into();
    let refused = endpoint.try_apply("DaemonSet", "t", Subresource::Status, more).expect_err("a conflict");
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"s\" with subresource \"status\": .status.numberReady"
        )
    );
}

#[test]
fn a_configuration_names_the_object_it_is_for() {
    let mut endpoint = Endpoint::new();
    let try_as = |endpoint: &mut Endpoint, configuration: Value| {
        refusal(endpoint.apply_to("x", "DaemonSet", "a", Subresource::Main, configuration))
    };
    let mut unnamed = wanted("x");
    unnamed["metadata"] = json!({});
    assert_eq!(
        try_as(&mut endpoint, unnamed),
        refused(
            400,
            "BadRequest",
            "the name of the object (x based on URL) was undeterminable: name must be provided"
        )
    );
    assert_eq!(
        try_as(&mut endpoint, wanted("y")),
        refused(400, "BadRequest", "the name of the object (y) does not match the name on the URL (x)")
    );
    let mut elsewhere = wanted("x");
    elsewhere["metadata"]["namespace"] = "kube-system".into();
    assert_eq!(try_as(&mut endpoint, elsewhere).0, 400);
    let mut known = wanted("x");
    known["metadata"]["uid"] = "u".into();
    assert_eq!(
        try_as(&mut endpoint, known),
        refused(
            409,
            "Conflict",
            "Operation cannot be fulfilled on daemonsets.apps \"x\": uid mismatch: the provided object specified uid \
             u, and no existing object was found"
        )
    );
    let mut versioned = wanted("x");
    endpoint.apply("a", &wanted("x"));
    versioned["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(try_as(&mut endpoint, versioned).0, 409);
    let mut odd = wanted("x");
    odd["spec"]["minReadySeconds"] = 1.5.into();
    assert_eq!(
        try_as(&mut endpoint, odd),
        refused(
            500,
            "",
            "failed to convert new typed object (/x; apps/v1, Kind=DaemonSet) to object: DaemonSet in version \"v1\" \
             cannot be handled as a DaemonSet: json: cannot unmarshal number 1.5 into Go struct field \
             DaemonSetSpec.spec.minReadySeconds of type int32"
        )
    );
    let mut invalid = wanted("x");
    invalid["spec"]["minReadySeconds"] = (-1).into();
    assert_eq!(try_as(&mut endpoint, invalid).0, 422);
}

#[test]
fn other_writes_are_recorded_under_their_managers() {
    let mut endpoint = Endpoint::new();
    endpoint.apply("a", &wanted("x"));
    let patch = Patch::Merge(json!({ "spec": { "minReadySeconds": 7 } }));
    let action = Action::Patch { name: "x".into(), subresource: Subresource::Main, patch };
    let mut command = Command::new(kind("DaemonSet"), "default", action);
    command.manager = "kubectl-patch".into();
    command.dry_run = true;
    let shown = object(&endpoint.run(&command).expect("a dry run"));
    assert_eq!(managers(&shown), ["a Apply", "kubectl-patch Update"]);
    assert_eq!(managers(&endpoint.get("DaemonSet", "x").expect("there")), ["a Apply"]);
    command.dry_run = false;
    endpoint.run(&command).expect("patched");
    let mut wanted = wanted("x");
    wanted["spec"]["minReadySeconds"] = 1.into();
    let refused = endpoint.try_apply("DaemonSet", "a", Subresource::Main, wanted).expect_err("a conflict");
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-patch\" using apps/v1: .spec.minReadySeconds"
    );
    endpoint.update_status("DaemonSet", &json!({
        "metadata": { "name": "x" },
        "status": { "currentNumberScheduled": 1, "numberMisscheduled": 0, "desiredNumberScheduled": 1, "numberReady": 1 },
    }));
    let now = endpoint.get("DaemonSet", "x").expect("there");
    assert_eq!(managers(&now), ["a Apply", "kubectl-patch Update", "unknown Update status"]);
}

fn wanted_scale(replicas: Option<i64>) -> Value {
    let spec = replicas.map_or_else(|| json!({}), |replicas| json!({ "replicas": replicas }));
    json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "w" }, "spec": spec })
}

#[test]
fn a_scale_is_applied_and_its_owners_are_the_objects() {
    let mut endpoint = Endpoint::new();
    let mut wanted = daemon_set("w");
    wanted["apiVersion"] = "apps/v1".into();
    wanted["kind"] = "Deployment".into();
    wanted["spec"]["replicas"] = 2.into();
    endpoint.try_apply("Deployment", "a", Subresource::Main, wanted.clone()).expect("made");
    let scale = |endpoint: &mut Endpoint, manager: &str, replicas: Option<i64>| {
        endpoint
            .try_apply("Deployment", manager, Subresource::Scale, wanted_scale(replicas))
            .map(|reply| object(&reply))
    };
    let refused = scale(&mut endpoint, "b", Some(3)).expect_err("it is another's");
    assert_eq!(refused.message, "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas");
    // What agrees is shared.
    let shared = scale(&mut endpoint, "b", Some(2)).expect("no conflict");
    assert_eq!(managers(&shared), ["b Apply scale", "a Apply"]);
    let entry = &shared["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["apiVersion"], &entry["fieldsV1"]),
        (&json!("apps/v1"), &json!({ "f:spec": { "f:replicas": {} } }))
    );
    // Who no longer names it is not pruned from it, and the scale's owner changes it alone.
    wanted["spec"].as_object_mut().expect("an object").remove("replicas");
    endpoint.try_apply("Deployment", "a", Subresource::Main, wanted.clone()).expect("applied");
    let scaled = scale(&mut endpoint, "b", Some(5)).expect("it is b's alone");
    assert_eq!((&scaled["spec"]["replicas"], &scaled["metadata"]["generation"]), (&json!(5), &json!(2)));
    let again = endpoint
        .try_apply("Deployment", "b", Subresource::Scale, wanted_scale(Some(5)))
        .expect("applied again");
    assert_eq!((again.outcome, object(&again)), (Outcome::Unchanged, scaled));
    wanted["spec"]["replicas"] = 9.into();
    let refused =
        endpoint.try_apply("Deployment", "a", Subresource::Main, wanted).expect_err("it is b's now");
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"b\" with subresource \"scale\": .spec.replicas"
    );
}

#[test]
fn an_update_of_a_scale_takes_the_replicas_from_whoever_applied_them() {
    let mut endpoint = Endpoint::new();
    let mut wanted = daemon_set("w");
    wanted["apiVersion"] = "apps/v1".into();
    wanted["kind"] = "Deployment".into();
    wanted["spec"]["replicas"] = 2.into();
    endpoint.try_apply("Deployment", "a", Subresource::Main, wanted).expect("made");
    let patch = Patch::Merge(json!({ "spec": { "replicas": 4 } }));
    let action = Action::Patch { name: "w".into(), subresource: Subresource::Scale, patch };
    let mut command = Command::new(kind("Deployment"), "default", action);
    command.manager = "kubectl".into();
    let scaled = object(&endpoint.run(&command).expect("scaled"));
    assert_eq!(managers(&scaled), ["a Apply", "kubectl Update scale"]);
    let spec = &scaled["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    assert!(spec["f:template"].is_object() && spec["f:replicas"].is_null(), "{spec}");
    let refused = endpoint
        .try_apply("Deployment", "b", Subresource::Scale, wanted_scale(Some(1)))
        .expect_err("kubectl scaled it");
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using autoscaling/v1: \
         .spec.replicas"
    );
    let negative = endpoint.try_apply("Deployment", "kubectl", Subresource::Scale, wanted_scale(Some(-1)));
    assert_eq!(negative.expect_err("refused").code, 409);
    let odd = json!({ "apiVersion": "v1", "kind": "Scale", "metadata": { "name": "w" } });
    let odd = endpoint.try_apply("Deployment", "b", Subresource::Scale, odd).expect_err("no such kind");
    assert_eq!((odd.code, &*odd.message), (400, "invalid object type: /v1, Kind=Scale"));
}

//! Owners of fields, scenario by scenario.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::entries::{Entry, Managed, Operation, UPDATERS_MAX};
use super::paths::paths;
use super::record::{NOBODYS, absorb, compare, take};
use super::schema::{Node, SCHEMA};
use super::{Applied, Writer, apply, element, keep_times, record, record_new};
use crate::api::arbitrary::object;
use crate::api::kinds::{KINDS, Kind, by_kind};
use crate::api::model;
use crate::api::openapi::lists::List;
use crate::api::status::Status;
use crate::time::WallTime;

fn at(second: u64) -> WallTime {
    WallTime::parse(&format!("2026-01-02T03:04:{second:02}Z")).expect("a time")
}

/// One object and the writers that come to it.
struct World {
    kind: &'static Kind,
    object: Value,
    second: u64,
}

impl World {
    fn empty(group: &str, kind: &str) -> Self {
        Self { kind: by_kind(group, "v1", kind).expect("a row"), object: json!({}), second: 0 }
    }

    fn pod() -> Self {
        Self::empty("", "Pod")
    }

    fn writer<'a>(&self, manager: &'a str) -> Writer<'a> {
        Writer { kind: self.kind, manager, subresource: "" }
    }

    fn try_apply(&mut self, manager: &str, configuration: &Value, force: bool) -> Result<(), Status> {
        self.second += 1;
        let mut configuration = configuration.clone();
        configuration["apiVersion"] = self.kind.api_version().into();
        configuration["kind"] = self.kind.kind.into();
        let applied = Applied { configuration: &configuration, part: &configuration, force };
        let mut new = apply(&self.writer(manager), &self.object, applied, at(self.second))?;
        keep_times(&mut new, &self.object);
        self.object = new;
        Ok(())
    }

    fn apply(&mut self, manager: &str, configuration: &Value) {
        self.try_apply(manager, configuration, false).unwrap_or_else(|status| panic!("{}", status.message));
    }

    fn force(&mut self, manager: &str, configuration: &Value) {
        self.try_apply(manager, configuration, true).unwrap_or_else(|status| panic!("{}", status.message));
    }

    /// The message of the refusal.
    fn refused(&mut self, manager: &str, configuration: &Value) -> String {
        let before = self.object.clone();
        let refused = self.try_apply(manager, configuration, false).expect_err("a refusal");
        assert_eq!(self.object, before);
        refused.message
    }

    /// An update or patch that lays `change` over the object as a merge patch.
    fn update(&mut self, manager: &str, change: &Value) {
        self.second += 1;
        let mut new = self.object.clone();
        json_patch::merge(&mut new, change);
        let writer = self.writer(manager);
        if self.object == json!({}) {
            new["apiVersion"] = self.kind.api_version().into();
            new["kind"] = self.kind.kind.into();
            record_new(&writer, &mut new, at(self.second));
        } else {
            record(&writer, &mut new, &self.object, at(self.second));
        }
        self.object = new;
    }

    /// Each entry as `MANAGER OPERATION SECOND`, with its paths.
    fn owners(&self) -> BTreeMap<String, Vec<String>> {
        let managed = Managed::decode(&self.object["metadata"]["managedFields"]).expect("well-formed");
        let named = |entry: &Entry| {
            let second = entry.time.as_deref().map_or("never", |time| &time[17..19]);
            format!("{} {:?} {second}", entry.manager, entry.operation)
        };
        managed.0.iter().map(|entry| (named(entry), entry.fields.shown())).collect()
    }

    #[track_caller]
    fn assert_owners(&self, expected: &[(&str, &[&str])]) {
        let expected: BTreeMap<String, Vec<String>> = expected
            .iter()
            .map(|(name, fields)| {
                ((*name).to_owned(), fields.iter().map(|&field| field.to_owned()).collect())
            })
            .collect();
        assert_eq!(self.owners(), expected);
    }

    fn spec(&self) -> &Value {
        &self.object["spec"]
    }
}

fn labels(of: &Value) -> Value {
    json!({ "metadata": { "labels": of } })
}

fn containers(of: &Value) -> Value {
    json!({ "spec": { "containers": of } })
}

#[test]
fn an_applier_owns_exactly_what_it_names() {
    let mut pod = World::pod();
    pod.apply(
        "a",
        &json!({
            "metadata": { "name": "p", "namespace": "d", "labels": { "app": "x" }, "finalizers": ["x/y"] },
            "spec": {
                "nodeSelector": { "disk": "ssd" },
                "containers": [{
                    "name": "c", "args": ["1"], "securityContext": {}, "ports": [{ "containerPort": 80 }],
                    "env": [{ "name": "E", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } }],
                    "resources": { "limits": { "cpu": "1" } },
                }],
                "volumes": [{ "name": "v", "emptyDir": {} }],
            },
        }),
    );
    pod.assert_owners(&[(
        "a Apply 01",
        &[
            ".metadata.finalizers[=\"x/y\"]",
            ".metadata.labels.app",
            ".spec.nodeSelector",
            ".spec.containers[name=\"c\"]",
            ".spec.containers[name=\"c\"].args",
            ".spec.containers[name=\"c\"].name",
            ".spec.containers[name=\"c\"].securityContext",
            ".spec.containers[name=\"c\"].env[name=\"E\"]",
            ".spec.containers[name=\"c\"].env[name=\"E\"].name",
            ".spec.containers[name=\"c\"].env[name=\"E\"].valueFrom.fieldRef",
            ".spec.containers[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"]",
            ".spec.containers[name=\"c\"].ports[containerPort=80,protocol=\"TCP\"].containerPort",
            ".spec.containers[name=\"c\"].resources.limits.cpu",
            ".spec.volumes[name=\"v\"]",
            ".spec.volumes[name=\"v\"].emptyDir",
            ".spec.volumes[name=\"v\"].name",
        ],
    )]);
}

#[test]
fn a_writer_owns_what_it_sets_with_the_structs_it_brings() {
    let mut pod = World::pod();
    pod.update(
        "a",
        &json!({
            "metadata": { "name": "p", "labels": { "app": "x" } },
            "spec": { "containers": [{ "name": "c", "livenessProbe": { "periodSeconds": 1 } }], "hostAliases": [] },
            "status": { "phase": "Pending" },
        }),
    );
    pod.assert_owners(&[(
        "a Update 01",
        &[
            ".metadata.labels",
            ".metadata.labels.app",
            ".spec.containers[name=\"c\"]",
            ".spec.containers[name=\"c\"].livenessProbe",
            ".spec.containers[name=\"c\"].name",
            ".spec.containers[name=\"c\"].resources",
            ".spec.containers[name=\"c\"].livenessProbe.periodSeconds",
        ],
    )]);
    pod.update("b", &json!({ "metadata": { "labels": { "app": "y" } } }));
    assert_eq!(pod.owners()["b Update 02"], [".metadata.labels.app"]);
    assert!(!pod.owners()["a Update 01"].contains(&".metadata.labels.app".to_owned()));
    pod.update("c", &json!({ "metadata": { "labels": null } }));
    assert_eq!(pod.owners().keys().collect::<Vec<_>>(), ["a Update 01"], "who loses all is forgotten");
    assert_eq!(pod.owners()["a Update 01"].len(), 5);
}

#[test]
fn appliers_of_the_same_value_share_it_until_the_last_lets_go() {
    let mut pod = World::pod();
    pod.apply("a", &labels(&json!({ "x": "1", "y": "1" })));
    pod.apply("b", &labels(&json!({ "x": "1" })));
    pod.assert_owners(&[
        ("a Apply 01", &[".metadata.labels.x", ".metadata.labels.y"]),
        ("b Apply never", &[".metadata.labels.x"]),
    ]);
    pod.apply("a", &labels(&json!({})));
    assert_eq!(pod.object["metadata"]["labels"], json!({ "x": "1" }));
    pod.apply("b", &labels(&json!({})));
    assert_eq!(pod.object["metadata"].get("labels"), None, "an empty map is as good as none");
    pod.assert_owners(&[("b Apply 04", &[".metadata.labels"])]);
    pod.apply("b", &json!({}));
    pod.apply("a", &json!({}));
    pod.assert_owners(&[]);
}

#[test]
fn another_value_for_an_owned_field_is_a_conflict_until_forced() {
    let mut pod = World::pod();
    pod.apply("a", &labels(&json!({ "x": "1", "y": "1" })));
    pod.update("u", &labels(&json!({ "z": "1" })));
    for (value, message) in [
        (json!({ "x": "2" }), "Apply failed with 1 conflict: conflict with \"a\": .metadata.labels.x"),
        (
            json!({ "z": "2" }),
            "Apply failed with 1 conflict: conflict with \"u\" using v1: .metadata.labels.z",
        ),
        (
            json!({ "x": "2", "y": "2", "z": "2" }),
            "Apply failed with 3 conflicts: conflicts with \"a\":\n- .metadata.labels.x\n- .metadata.labels.y\n\
             conflicts with \"u\" using v1:\n- .metadata.labels.z",
        ),
    ] {
        assert_eq!(pod.refused("b", &labels(&value)), message);
    }
    let refused = pod.try_apply("b", &labels(&json!({ "z": "2" })), false).expect_err("a conflict");
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
    assert_eq!(
        refused.details,
        json!({ "causes": [{
            "reason": "FieldManagerConflict", "message": "conflict with \"u\" using v1", "field": ".metadata.labels.z",
        }] })
    );
    pod.second = 3;
    pod.force("b", &labels(&json!({ "x": "2", "z": "2" })));
    pod.assert_owners(&[
        ("a Apply 01", &[".metadata.labels.y"]),
        ("b Apply 04", &[".metadata.labels.x", ".metadata.labels.z"]),
    ]);
}

#[test]
fn an_updater_takes_a_field_and_the_applier_must_ask_for_it_again() {
    let mut pod = World::pod();
    let priority = |value: i32| json!({ "spec": { "priority": value, "hostname": "h" } });
    pod.apply("a", &priority(1));
    pod.update("u", &json!({ "spec": { "priority": 5 } }));
    pod.assert_owners(&[("a Apply 01", &[".spec.hostname"]), ("u Update 02", &[".spec.priority"])]);
    assert_eq!(
        pod.refused("a", &priority(1)),
        "Apply failed with 1 conflict: conflict with \"u\" using v1: .spec.priority"
    );
    pod.apply("a", &json!({ "spec": { "hostname": "h" } }));
    assert_eq!(pod.spec()["priority"], 5, "it is the updater's now, and stays");
    pod.apply("a", &priority(5));
    pod.apply("a", &json!({}));
    assert_eq!(*pod.spec(), json!({ "priority": 5 }), "who shares a field does not remove it");
}

#[test]
fn list_elements_are_merged_by_key_and_go_with_their_last_owner() {
    let mut pod = World::pod();
    pod.apply("a", &containers(&json!([{ "name": "1", "image": "x" }, { "name": "2", "image": "x" }])));
    pod.apply("b", &containers(&json!([{ "name": "3", "image": "x" }, { "name": "2", "tty": true }])));
    let names = |pod: &World| -> Vec<String> {
        let list = pod.spec()["containers"].as_array().expect("a list");
        list.iter().map(|item| item["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&pod), ["1", "3", "2"], "the newest applier's order wins, others stay where they were");
    assert_eq!(pod.spec()["containers"][2], json!({ "name": "2", "image": "x", "tty": true }));
    pod.apply("a", &containers(&json!([{ "name": "1", "image": "x" }])));
    assert_eq!(pod.spec()["containers"][2], json!({ "name": "2", "tty": true }), "b holds the element");
    pod.apply("b", &json!({}));
    assert_eq!(names(&pod), ["1"]);
    pod.apply("a", &json!({}));
    assert_eq!(pod.object.get("spec"), None);
}

#[test]
fn new_elements_are_woven_into_the_order_that_is_there() {
    for (under, over, woven) in [
        ("abc", "", "abc"),
        ("", "cba", "cba"),
        ("abc", "cba", "cba"),
        ("abc", "bd", "abcd"),
        ("abcd", "db", "acdb"),
        ("ab", "xayb", "xayb"),
        ("abcde", "ec", "abdec"),
    ] {
        let list = |names: &str| -> Value {
            names.chars().map(|name| json!({ "name": name.to_string() })).collect()
        };
        let mut pod = World::pod();
        pod.update("u", &containers(&list(under)));
        pod.apply("a", &containers(&list(over)));
        let names: String = super::compare::items(pod.spec().get("containers"))
            .iter()
            .filter_map(|item| item["name"].as_str())
            .collect();
        assert_eq!(names, woven, "{over} over {under}");
    }
}

#[test]
fn sets_are_united_and_atomic_lists_have_one_owner() {
    let mut pod = World::pod();
    let finalizers = |of: &[&str]| json!({ "metadata": { "finalizers": of } });
    pod.apply("a", &finalizers(&["x/1", "x/2"]));
    pod.apply("b", &finalizers(&["x/3", "x/2"]));
    assert_eq!(pod.object["metadata"]["finalizers"], json!(["x/1", "x/3", "x/2"]));
    pod.apply("a", &finalizers(&[]));
    assert_eq!(pod.object["metadata"]["finalizers"], json!(["x/3", "x/2"]));

    let args = |of: &[&str]| containers(&json!([{ "name": "c", "args": of }]));
    pod.apply("a", &args(&["1"]));
    assert_eq!(
        pod.refused("b", &args(&["1", "2"])),
        "Apply failed with 1 conflict: conflict with \"a\": .spec.containers[name=\"c\"].args"
    );
    pod.force("b", &args(&["2"]));
    assert_eq!(pod.spec()["containers"][0]["args"], json!(["2"]));
    assert!(!pod.owners().values().next().expect("a").iter().any(|field| field.ends_with("args")));
}

#[test]
fn the_same_port_with_another_protocol_is_another_port() {
    let mut pod = World::pod();
    let ports = |of: Value| containers(&json!([{ "name": "c", "ports": of }]));
    pod.apply("a", &ports(json!([{ "containerPort": 53, "protocol": "UDP" }])));
    pod.apply("b", &ports(json!([{ "containerPort": 53 }])));
    pod.apply("c", &ports(json!([{ "containerPort": 53, "protocol": "TCP" }])));
    assert_eq!(pod.spec()["containers"][0]["ports"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_explicit_null_owns_and_clears_a_field() {
    let mut pod = World::pod();
    pod.update(
        "u",
        &json!({ "spec": { "priority": 1, "hostname": "h" }, "metadata": { "labels": { "a": "b" } } }),
    );
    let nothing = json!({ "spec": { "priority": null }, "metadata": { "labels": null } });
    assert_eq!(
        pod.refused("a", &nothing),
        "Apply failed with 1 conflict: conflict with \"u\" using v1: .spec.priority"
    );
    pod.force("a", &nothing);
    assert_eq!(*pod.spec(), json!({ "hostname": "h" }));
    assert_eq!(
        pod.object["metadata"]["labels"],
        json!({ "a": "b" }),
        "a map of several owners is not cleared"
    );
    assert_eq!(pod.owners()["a Apply 03"], [".metadata.labels", ".spec.priority"]);
}

#[test]
fn what_no_type_has_is_refused() {
    let mut pod = World::pod();
    for (configuration, fault) in [
        (json!({ "spec": { "frog": 1 } }), ".spec.frog: field not declared in schema"),
        (
            json!({ "spec": { "priority": "1" } }),
            ".spec.priority: expected numeric (int or float), got \"1\"",
        ),
        (json!({ "spec": { "hostNetwork": 1 } }), ".spec.hostNetwork: expected boolean, got 1"),
        (json!({ "spec": { "containers": {} } }), ".spec.containers: expected list, got {}"),
        (json!({ "spec": [] }), ".spec: expected map, got []"),
        (
            containers(&json!([{ "name": "a" }, { "name": "a" }])),
            ".spec.containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            containers(&json!([{ "name": "a", "image": 1, "tty": "x" }])),
            "errors:\n  .spec.containers[name=\"a\"].image: expected string, got 1\n  \
             .spec.containers[name=\"a\"].tty: expected boolean, got \"x\"",
        ),
    ] {
        let mut configuration = configuration;
        json_patch::merge(&mut configuration, &json!({ "metadata": { "name": "p", "namespace": "d" } }));
        assert_eq!(
            pod.refused("a", &configuration),
            format!("failed to create typed patch object (d/p; /v1, Kind=Pod): {fault}")
        );
    }
    assert_eq!(
        pod.refused("a", &json!({ "metadata": { "managedFields": [] } })),
        "metadata.managedFields must be nil"
    );
    let other = json!({ "apiVersion": "apps/v1", "kind": "Pod" });
    let applied = Applied { configuration: &other, part: &other, force: true };
    let refused =
        apply(&pod.writer("a"), &json!({}), applied, at(0)).map_err(Status::from).expect_err("refused");
    assert_eq!((refused.code, refused.message.as_str()), (400, "invalid object type: apps/v1, Kind=Pod"));
}

#[test]
fn what_was_there_before_the_first_apply_has_a_name() {
    let mut pod = World::pod();
    pod.object =
        json!({ "metadata": { "uid": "u", "labels": { "x": "1" } }, "status": { "phase": "Running" } });
    pod.update("u", &labels(&json!({ "y": "1" })));
    pod.assert_owners(&[]);
    assert_eq!(
        pod.refused("a", &labels(&json!({ "x": "2" }))),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .metadata.labels.x"
    );
    pod.apply("a", &labels(&json!({ "z": "1" })));
    pod.assert_owners(&[
        ("a Apply 03", &[".metadata.labels.z"]),
        ("before-first-apply Update 03", &[".metadata.labels", ".metadata.labels.x", ".metadata.labels.y"]),
    ]);
}

#[test]
fn kubectl_takes_over_what_it_applied_on_the_client_and_nobody_changed() {
    let last = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" },
        "spec": { "hostname": "h", "priority": 1 },
    });
    let mut pod = World::pod();
    pod.update(
        "kubectl-client-side-apply",
        &json!({
            "metadata": { "annotations": { super::apply::LAST_APPLIED: last.to_string() } },
            "spec": { "hostname": "h", "priority": 1 },
        }),
    );
    let configuration = json!({ "metadata": { "name": "p" }, "spec": { "hostname": "i", "priority": 1 } });
    assert!(pod.refused("other", &configuration).contains(".spec.hostname"));
    pod.apply("kubectl", &configuration);
    assert_eq!(pod.spec()["hostname"], "i");
    let annotation =
        pod.object["metadata"]["annotations"][super::apply::LAST_APPLIED].as_str().expect("kept");
    assert_eq!(
        annotation,
        "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"hostname\":\"i\",\
         \"priority\":1}}\n"
    );
    pod.update("kubectl-edit", &json!({ "spec": { "hostname": "j" } }));
    let refused = pod.refused("kubectl", &configuration);
    assert_eq!(
        refused,
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using v1: .spec.hostname"
    );
}

#[test]
fn an_object_reads_the_owners_that_a_client_brings_and_forgets_all_on_request() {
    let mut pod = World::pod();
    pod.update("a", &labels(&json!({ "x": "1" })));
    let mut entries = pod.object["metadata"]["managedFields"].clone();
    entries[0]["manager"] = "b".into();
    let write = |pod: &mut World, entries: Value, subresource: &'static str| {
        let mut new = pod.object.clone();
        new["metadata"]["managedFields"] = entries;
        record(&Writer { subresource, ..pod.writer("c") }, &mut new, &pod.object, at(9));
        pod.object = new;
    };
    write(&mut pod, entries.clone(), "status");
    assert_eq!(pod.owners().keys().collect::<Vec<_>>(), ["a Update 01"], "not through a subresource");
    for ignored in [json!(null), json!([]), json!([{ "manager": "x" }]), json!([{}, {}])] {
        write(&mut pod, ignored, "");
        assert_eq!(pod.owners().keys().collect::<Vec<_>>(), ["a Update 01"]);
    }
    write(&mut pod, entries, "");
    assert_eq!(pod.owners().keys().collect::<Vec<_>>(), ["b Update 01"]);
    write(&mut pod, json!([{}]), "");
    assert_eq!(pod.object["metadata"].get("managedFields"), None);
    pod.update("a", &labels(&json!({ "x": "2" })));
    assert_eq!(pod.object["metadata"].get("managedFields"), None);
}

#[test]
fn the_oldest_updaters_are_merged() {
    let mut map = World::empty("", "ConfigMap");
    for number in 0..UPDATERS_MAX + 3 {
        map.update(&format!("m{number:02}"), &json!({ "data": { format!("k{number:02}"): "v" } }));
    }
    map.apply("a", &json!({ "data": { "x": "y" } }));
    let owners = map.owners();
    assert_eq!(owners.len(), UPDATERS_MAX + 1);
    assert_eq!(
        owners["ancient-changes Update 04"],
        [".data", ".data.k00", ".data.k01", ".data.k02", ".data.k03"]
    );
    assert!(owners.contains_key("m04 Update 05") && owners.contains_key("a Apply 14"), "{owners:?}");
}

#[test]
fn entries_are_told_apart_by_subresource_and_written_in_upstreams_order() {
    let mut pod = World::pod();
    pod.update("z", &labels(&json!({ "x": "1" })));
    let mut new = pod.object.clone();
    new["status"] = json!({ "phase": "Running" });
    record(&Writer { subresource: "status", ..pod.writer("z") }, &mut new, &pod.object, at(0));
    pod.object = new;
    pod.apply("a", &labels(&json!({ "y": "1" })));
    let entries = pod.object["metadata"]["managedFields"].as_array().expect("a list").clone();
    let told: Vec<String> = entries
        .iter()
        .map(|entry| format!("{} {} {}", entry["manager"], entry["operation"], entry["subresource"]))
        .collect();
    assert_eq!(told, ["\"a\" \"Apply\" null", "\"z\" \"Update\" \"status\"", "\"z\" \"Update\" null"]);
    assert_eq!(
        entries[1],
        json!({
            "manager": "z", "operation": "Update", "apiVersion": "v1", "time": "2026-01-02T03:04:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": { "f:status": { "f:phase": {} } }, "subresource": "status",
        })
    );
}

#[test]
fn a_lease_is_renewed_without_touching_more_than_the_time() {
    let mut lease = World::empty("coordination.k8s.io", "Lease");
    let spec = |second: u64| json!({ "spec": { "holderIdentity": "n", "renewTime": at(second).micros() } });
    lease.update("kubelet", &spec(0));
    lease.update("kubelet", &spec(1));
    lease.assert_owners(&[("kubelet Update 02", &[".spec.holderIdentity", ".spec.renewTime"])]);
    lease.update("monitor", &spec(2));
    lease.assert_owners(&[
        ("kubelet Update 02", &[".spec.holderIdentity"]),
        ("monitor Update 03", &[".spec.renewTime"]),
    ]);
    lease.update("kubelet", &spec(3));
    lease.assert_owners(&[("kubelet Update 04", &[".spec.holderIdentity", ".spec.renewTime"])]);
}

/// Without the items of lists that could not be told apart.
fn distinct(node: &'static Node, value: &mut Value) {
    match (node, value) {
        (Node::List(list, of), Value::Array(items)) => {
            let mut seen = BTreeSet::new();
            let is_new =
                |item: &Value| element::of_item(*list, item).is_ok_and(|element| seen.insert(element));
            if *list != List::Atomic {
                let mut is_new = is_new;
                items.retain(|item| is_new(item));
            }
            for item in items {
                distinct(of, item);
            }
        }
        (_, Value::Object(fields)) => fields.iter_mut().for_each(|(key, item)| distinct(node.at(key), item)),
        _ => {}
    }
}

/// Without empty lists and maps, and what holds only such.
fn bare(value: Value) -> Value {
    let is_something = |value: &Value| match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    match value {
        Value::Array(items) => items.into_iter().map(bare).collect(),
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(key, value)| (key, bare(value)));
            Value::Object(kept.filter(|(_, value)| is_something(value)).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

/// Something that can be applied to an object of this kind.
fn configuration(kind: &Kind, seed: u64) -> Value {
    let mut value = object(kind, seed);
    value["metadata"]["name"] = "x".into();
    let fields = value.as_object_mut().expect("an object");
    fields.remove("status");
    fields["metadata"].as_object_mut().expect("an object").remove("namespace");
    distinct(SCHEMA.root(kind), &mut value);
    model::canonicalise(kind, &mut value);
    distinct(SCHEMA.root(kind), &mut value);
    value
}

/// Two halves of a configuration: which gets a field of `spec` or `metadata` the bits say.
fn halves(kind: &Kind, of: &Value, mut bits: u64) -> (Value, Value) {
    let mut sides = (Map::new(), Map::new());
    for (key, value) in of.as_object().into_iter().flatten() {
        let Some(fields) = value.as_object().filter(|_| !SCHEMA.root(kind).at(key).is_leaf()) else {
            sides.0.insert(key.clone(), value.clone());
            continue;
        };
        let (mut left, mut right) = (Map::new(), Map::new());
        for (name, item) in fields {
            let side = if bits & 1 == 0 { &mut left } else { &mut right };
            side.insert(name.clone(), item.clone());
            bits = bits.rotate_right(1);
        }
        sides.0.insert(key.clone(), left.into());
        sides.1.insert(key.clone(), right.into());
    }
    (sides.0.into(), sides.1.into())
}

proptest! {
    #[test]
    fn applying_again_changes_nothing_and_owns_exactly_what_is_named(
        seed in any::<u64>(), other in any::<u64>(), row in 0..KINDS.len(),
    ) {
        let kind = &KINDS[row];
        let mut world = World { kind, object: json!({}), second: 0 };
        world.update("u", &configuration(kind, other));
        let wanted = configuration(kind, seed);
        world.force("a", &wanted);
        let once = world.object.clone();
        world.apply("a", &wanted);
        prop_assert_eq!(&world.object, &once);

        let mut named = paths(SCHEMA.root(kind), &wanted);
        named.subtract(&NOBODYS);
        let managed = Managed::decode(&take(&mut world.object)).expect("well-formed");
        let mine = managed.0.iter().find(|entry| entry.operation == Operation::Apply);
        prop_assert_eq!(mine.map(|entry| entry.fields.shown()).unwrap_or_default(), named.shown());
    }

    #[test]
    fn an_applier_that_lets_go_of_all_leaves_what_others_wrote(
        seed in any::<u64>(), other in any::<u64>(), row in 0..KINDS.len(),
    ) {
        let kind = &KINDS[row];
        let mut world = World { kind, object: json!({}), second: 0 };
        world.update("u", &configuration(kind, other));
        let before = world.object.clone();
        // What changes nothing adds nothing that letting go could take.
        let shared = configuration(kind, other);
        if world.try_apply("b", &shared, false).is_ok() {
            world.apply("b", &json!({}));
            let (mut now, mut before) = (world.object.clone(), before);
            take(&mut now);
            take(&mut before);
            prop_assert_eq!(bare(now), bare(before));
        }
        world.force("a", &configuration(kind, seed));
        world.apply("a", &json!({}));
        let managed = Managed::decode(&take(&mut world.object)).expect("well-formed");
        prop_assert!(managed.0.iter().all(|entry| entry.operation == Operation::Update));
    }

    #[test]
    fn disjoint_appliers_commute(seed in any::<u64>(), bits in any::<u64>(), row in 0..KINDS.len()) {
        let kind = &KINDS[row];
        let (left, right) = halves(kind, &configuration(kind, seed), bits);
        let run = |order: [(&str, &Value); 2]| {
            let mut world = World { kind, object: json!({}), second: 0 };
            for (manager, wanted) in order {
                world.apply(manager, wanted);
            }
            let managed = Managed::decode(&take(&mut world.object)).expect("well-formed");
            let owners: BTreeMap<String, Vec<String>> =
                managed.0.iter().map(|entry| (entry.manager.clone(), entry.fields.shown())).collect();
            (world.object, owners)
        };
        prop_assert_eq!(run([("a", &left), ("b", &right)]), run([("b", &right), ("a", &left)]));
    }

    #[test]
    fn the_short_way_records_what_the_long_way_does(
        seeds in prop::collection::vec((any::<u64>(), 0..3usize), 2..5), row in 0..KINDS.len(),
    ) {
        let kind = &KINDS[row];
        let mut world = World { kind, object: json!({}), second: 0 };
        world.update("first", &configuration(kind, 7));
        for (seed, who) in seeds {
            let manager = ["first", "second", "third"][who];
            let writer = world.writer(manager);
            let mut new = world.object.clone();
            let change = configuration(kind, seed);
            let (left, _) = halves(kind, &change, seed);
            json_patch::merge(&mut new, &left);
            let mut bare = new.clone();
            take(&mut bare);
            let managed = Managed::decode(&world.object["metadata"]["managedFields"]).expect("well-formed");
            let changes = compare(&writer, &world.object, &bare);
            let long = absorb(managed, &changes, &writer, at(30)).encode();
            record(&writer, &mut new, &world.object, at(30));
            prop_assert_eq!(new["metadata"].get("managedFields").cloned(), long);
            world.object = new;
        }
    }
}

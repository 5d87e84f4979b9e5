//! Tables: which volume suits a claim, and which node a Pod is tied to.

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::matching::{Kept, Wish, can_be_made, kept};
use super::*;

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid object")
}

/// `spec` laid over a claim of 1Gi, `ReadWriteOnce`, class `fast`.
fn claim(spec: &Value) -> PersistentVolumeClaim {
    let mut whole = json!({
        "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
        "resources": { "requests": { "storage": "1Gi" } },
    });
    lay_over(&mut whole, spec);
    read(json!({ "metadata": { "name": "data", "namespace": "default", "uid": "c1" }, "spec": whole }))
}

/// `spec` laid over an available volume that suits it exactly.
fn volume(name: &str, spec: &Value) -> PersistentVolume {
    let mut whole = json!({
        "accessModes": ["ReadWriteOnce"], "storageClassName": "fast", "capacity": { "storage": "1Gi" },
        "hostPath": { "path": "/v" },
    });
    lay_over(&mut whole, spec);
    read(json!({ "metadata": { "name": name, "labels": { "disk": "ssd" } }, "spec": whole,
        "status": { "phase": "Available" } }))
}

fn lay_over(whole: &mut Value, more: &Value) {
    let more = more.as_object().cloned().unwrap_or_default();
    whole.as_object_mut().expect("an object").extend(more);
}

fn on(hosts: &[&str]) -> Value {
    json!({ "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
        { "key": "kubernetes.io/hostname", "operator": "In", "values": hosts }] }] } } })
}

fn node(name: &str, annotations: &Value) -> Node {
    read(json!({ "metadata": { "name": name, "annotations": annotations,
        "labels": { "kubernetes.io/hostname": name, "zone": "z1" } } }))
}

#[test]
fn a_volume_fits_a_claim_as_upstream_has_it() {
    for (asked, given, fits) in [
        (json!({}), json!({}), true),
        (json!({}), json!({ "capacity": { "storage": "2Gi" } }), true),
        (json!({}), json!({ "capacity": { "storage": "1023Mi" } }), false),
        (json!({}), json!({ "accessModes": ["ReadWriteMany", "ReadWriteOnce"] }), true),
        (json!({}), json!({ "accessModes": ["ReadWriteMany"] }), false),
        (json!({ "accessModes": ["ReadWriteOnce", "ReadOnlyMany"] }), json!({}), false),
        (json!({}), json!({ "storageClassName": "slow" }), false),
        (json!({}), json!({ "storageClassName": null }), false),
        (json!({ "storageClassName": "" }), json!({ "storageClassName": null }), true),
        (json!({}), json!({ "volumeMode": "Block" }), false),
        (json!({ "volumeMode": "Block" }), json!({ "volumeMode": "Block" }), true),
        (json!({ "selector": { "matchLabels": { "disk": "ssd" } } }), json!({}), true),
        (json!({ "selector": { "matchLabels": { "disk": "hdd" } } }), json!({}), false),
        // Kept for the claim, neither class nor access is looked at, but size is.
        (
            json!({}),
            json!({ "claimRef": { "name": "data", "namespace": "default" }, "storageClassName": "x" }),
            true,
        ),
        (
            json!({ "resources": { "requests": { "storage": "2Gi" } } }),
            json!({ "claimRef": { "name": "data", "namespace": "default", "uid": "c1" } }),
            false,
        ),
        (json!({}), json!({ "claimRef": { "name": "data", "namespace": "default", "uid": "c0" } }), false),
        (json!({}), json!({ "claimRef": { "name": "data", "namespace": "other" } }), false),
    ] {
        let (claim, volume) = (claim(&asked), volume("v", &given));
        assert_eq!(Wish::of(&claim).fits(&volume), fits, "{asked} {given}");
    }
}

#[test]
fn what_is_not_available_or_about_to_go_is_bound_by_nobody() {
    let claim = claim(&json!({}));
    let mut one = volume("v", &json!({}));
    one.status.as_mut().unwrap().phase = Some("Pending".into());
    assert!(!Wish::of(&claim).fits(&one));
    let mut one = volume("v", &json!({}));
    one.metadata.deletion_timestamp = Some(read(json!("2026-01-01T00:00:00Z")));
    assert!(!Wish::of(&claim).fits(&one));
    assert_eq!(kept(&one, &claim), Kept::Free);
}

#[test]
fn the_smallest_volume_within_reach_is_the_best_and_one_that_is_kept_comes_first() {
    let size = |size: &str| json!({ "capacity": { "storage": size } });
    let mut far = size("1Gi");
    lay_over(&mut far, &on(&["n2"]));
    let mut all = vec![volume("big", &size("3Gi")), volume("fit", &size("2Gi")), volume("far", &far)];
    let claim = claim(&json!({}));
    let best = |all: &[PersistentVolume], node: Option<&Node>, taken: &[&str]| {
        let taken = taken.iter().map(|name| (*name).to_owned()).collect();
        let best = Wish::of(&claim).best(all.iter(), node, &taken);
        best.map(|volume| volume.metadata.name.clone().unwrap_or_default())
    };
    let (n1, n2) = (node("n1", &json!({})), node("n2", &json!({})));
    assert_eq!(best(&all, Some(&n1), &[]).as_deref(), Some("fit"));
    assert_eq!(best(&all, Some(&n2), &[]).as_deref(), Some("far"));
    assert_eq!(best(&all, None, &[]).as_deref(), Some("far"));
    assert_eq!(best(&all, Some(&n1), &["fit"]).as_deref(), Some("big"));
    assert_eq!(best(&all, Some(&n1), &["fit", "big"]), None);
    let mut kept = size("9Gi");
    lay_over(&mut kept, &json!({ "claimRef": { "name": "data", "namespace": "default" } }));
    all.push(volume("kept", &kept));
    assert_eq!(best(&all, Some(&n1), &[]).as_deref(), Some("kept"));
}

#[test]
fn a_volume_can_be_made_where_its_class_allows_and_the_node_has_a_place_for_it() {
    let class = |provisioner: &str, zones: &Value| -> StorageClass {
        let topologies = json!([{ "matchLabelExpressions": [{ "key": "zone", "values": zones }] }]);
        let topologies = if zones.is_null() { Value::Null } else { topologies };
        read(
            json!({ "metadata": { "name": "c" }, "provisioner": provisioner, "allowedTopologies": topologies }),
        )
    };
    let here = json!({ "leasehold.dev/volumes-dir": "/var/lib/leasehold/agent/volumes" });
    for (provisioner, zones, annotations, can) in [
        ("leasehold.dev/local", Value::Null, here.clone(), true),
        ("leasehold.dev/local", Value::Null, json!({}), false),
        ("leasehold.dev/local", Value::Null, json!({ "leasehold.dev/volumes-dir": "relative" }), false),
        ("leasehold.dev/local", json!(["z1", "z2"]), here.clone(), true),
        ("leasehold.dev/local", json!(["z2"]), here.clone(), false),
        ("kubernetes.io/no-provisioner", Value::Null, here, false),
        ("csi.example.com", Value::Null, json!({}), true),
    ] {
        let made = can_be_made(&class(provisioner, &zones), &node("n1", &annotations));
        assert_eq!(made, can, "{provisioner} {zones} {annotations}");
    }
}

#[test]
fn a_pod_is_tied_to_the_one_node_that_reaches_one_of_its_volumes() {
    let pod: Pod = read(json!({ "metadata": { "name": "db-0" }, "spec": { "containers": [], "volumes": [
        { "name": "logs", "persistentVolumeClaim": { "claimName": "logs" } },
        { "name": "data", "persistentVolumeClaim": { "claimName": "data" } }] } }));
    let terms = |terms: Value| json!({ "nodeAffinity": { "required": { "nodeSelectorTerms": terms } } });
    let host = |operator: &str, hosts: Value| {
        json!({ "matchExpressions": [
            { "key": "kubernetes.io/hostname", "operator": operator, "values": hosts }] })
    };
    let name = json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1"] }] });
    for (spec, expected) in [
        (json!({}), None),
        (on(&["n1"]), Some("n1")),
        (on(&["n1", "n2"]), None),
        (terms(json!([name])), Some("n1")),
        (terms(json!([host("In", json!(["n1"])), name])), Some("n1")),
        (terms(json!([host("In", json!(["n1"])), host("In", json!(["n2"]))])), None),
        (terms(json!([host("NotIn", json!(["n1"]))])), None),
        (
            terms(json!([{ "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["z1"] }] }])),
            None,
        ),
    ] {
        let found = tied_to(
            &pod,
            |name| (name == "data").then(|| claim(&json!({ "volumeName": "v" }))),
            |name| (name == "v").then(|| volume("v", &spec)),
        );
        assert_eq!(found.as_deref(), expected, "{spec}");
    }
    let unbound = tied_to(&pod, |_| Some(claim(&json!({}))), |name| Some(volume(name, &on(&["n1"]))));
    assert_eq!(unbound, None, "a claim without a volume ties nobody");
}

use super::*;
use crate::coordinator::node_restriction::NodeRestriction;

fn claim(name: &str, spec: &Value) -> Value {
    let mut whole =
        json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    whole.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
    json!({ "metadata": { "name": name }, "spec": whole })
}

#[test]
fn a_claim_that_names_no_class_gets_the_default_one_and_all_are_protected() {
    let mut endpoint = Endpoint::new();
    let made = endpoint.create("PersistentVolumeClaim", claim("early", &json!({})));
    assert_eq!(made["spec"]["storageClassName"], Value::Null, "there is no class yet");
    assert_eq!(made["metadata"]["finalizers"], json!(["kubernetes.io/pvc-protection"]));
    for (name, default) in [("slow", "false"), ("fast", "true"), ("also", "true")] {
        let annotations = json!({ "storageclass.kubernetes.io/is-default-class": default });
        let metadata = json!({ "name": name, "annotations": annotations });
        endpoint
            .create("StorageClass", json!({ "metadata": metadata, "provisioner": "leasehold.dev/local" }));
    }
    for (name, spec, class) in [
        ("unnamed", json!({}), "also"),
        ("named", json!({ "storageClassName": "slow" }), "slow"),
        ("none", json!({ "storageClassName": "" }), ""),
    ] {
        let made = endpoint.create("PersistentVolumeClaim", claim(name, &spec));
        assert_eq!(made["spec"]["storageClassName"], class, "{name}");
    }
    let made = endpoint.create("PersistentVolume", volume("pv", &json!(["example.com/mine"])));
    let both = json!(["example.com/mine", "kubernetes.io/pv-protection"]);
    assert_eq!(made["metadata"]["finalizers"], both);
}

fn volume(name: &str, finalizers: &Value) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "leasehold.dev/node": "n1" }, "finalizers": finalizers },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" },
            "local": { "path": "/data/volumes/pv" },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"] }] }] } },
        },
    })
}

#[test]
fn a_node_lets_go_of_its_own_volumes_when_they_are_to_go_and_changes_nothing_else() {
    let mut endpoint = Endpoint::new();
    let finalizers = json!(["leasehold.dev/directory"]);
    endpoint.create("PersistentVolume", volume("pv", &finalizers));
    let try_as = |endpoint: &mut Endpoint, node: &str, patch: Value| {
        let patch = Patch::parse(MERGE_PATCH, patch.to_string().as_bytes()).expect("a patch");
        let action = Action::Patch { name: "pv".into(), subresource: Subresource::Main, patch };
        let mut command = Command::new(kind("PersistentVolume"), "", action);
        command.guard = Some(Arc::new(NodeRestriction { node: node.to_owned() }));
        endpoint.run(&command).map(|_| ()).map_err(|status| status.code)
    };
    let let_go = json!({ "metadata": { "finalizers": ["kubernetes.io/pv-protection"] } });
    assert_eq!(try_as(&mut endpoint, "n1", let_go.clone()), Err(403), "it is not to go");
    endpoint.delete("PersistentVolume", "pv");
    assert_eq!(try_as(&mut endpoint, "n2", let_go.clone()), Err(403), "it is another's");
    let unprotected = json!({ "metadata": { "finalizers": ["leasehold.dev/directory"] } });
    assert_eq!(try_as(&mut endpoint, "n1", unprotected), Err(403), "not what stewards hold");
    let relabelled = json!({ "metadata": { "labels": { "leasehold.dev/node": "n2" } } });
    assert_eq!(try_as(&mut endpoint, "n1", relabelled), Err(403));
    assert_eq!(try_as(&mut endpoint, "n1", let_go), Ok(()));
}

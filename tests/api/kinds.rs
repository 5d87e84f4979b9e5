//! Every kind through real kubectl, and what it is told of wrong fields.

use serde_json::{Value, json};

use crate::server::Server;

/// A manifest of each kind: its short name for kubectl, and the body.
fn manifests() -> Vec<(&'static str, Value)> {
    let template = json!({
        "metadata": { "labels": { "app": "x" } },
        "spec": { "containers": [{ "name": "c", "image": "busybox:1" }] },
    });
    let mut once = template.clone();
    once["spec"]["restartPolicy"] = "Never".into();
    let selector = json!({ "matchLabels": { "app": "x" } });
    let rule = json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] });
    let group = "rbac.authorization.k8s.io/v1";
    let role =
        |kind: &str| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "view-pods" });
    let user = json!([{ "kind": "User", "name": "eve" }]);
    let claim =
        json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    let of = |kind: &str, version: &str, rest: Value| {
        let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "x" } });
        for (field, value) in rest.as_object().expect("fields") {
            object[field] = value.clone();
        }
        object
    };
    vec![
        (
            "svc",
            of("Service", "v1", json!({ "spec": { "selector": { "app": "x" }, "ports": [{ "port": 80 }] } })),
        ),
        (
            "ep",
            of(
                "Endpoints",
                "v1",
                json!({ "subsets": [{ "addresses": [{ "ip": "10.1.2.3" }], "ports": [{ "port": 80 }] }] }),
            ),
        ),
        (
            "pv",
            of(
                "PersistentVolume",
                "v1",
                json!({ "spec": {
                    "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/x" },
                } }),
            ),
        ),
        ("pvc", of("PersistentVolumeClaim", "v1", json!({ "spec": claim }))),
        ("podtemplate", of("PodTemplate", "v1", json!({ "template": template }))),
        (
            "rc",
            of(
                "ReplicationController",
                "v1",
                json!({ "spec": { "replicas": 0, "selector": { "app": "x" }, "template": template } }),
            ),
        ),
        (
            "limits",
            of(
                "LimitRange",
                "v1",
                json!({ "spec": { "limits": [{ "type": "Container", "max": { "cpu": "2" } }] } }),
            ),
        ),
        ("quota", of("ResourceQuota", "v1", json!({ "spec": { "hard": { "pods": "9" } } }))),
        (
            "deploy",
            of(
                "Deployment",
                "apps/v1",
                json!({ "spec": { "replicas": 0, "selector": selector, "template": template } }),
            ),
        ),
        (
            "rs",
            of(
                "ReplicaSet",
                "apps/v1",
                json!({ "spec": { "replicas": 0, "selector": selector, "template": template } }),
            ),
        ),
        (
            "sts",
            of(
                "StatefulSet",
                "apps/v1",
                json!({ "spec": { "replicas": 0, "serviceName": "x", "selector": selector, "template": template } }),
            ),
        ),
        (
            "job",
            of(
                "Job",
                "batch/v1",
                json!({ "spec": { "suspend": true, "manualSelector": true, "selector": selector, "template": once } }),
            ),
        ),
        (
            "cj",
            of(
                "CronJob",
                "batch/v1",
                json!({ "spec": { "suspend": true, "schedule": "0 0 1 1 *", "jobTemplate": { "spec": { "template": once } } } }),
            ),
        ),
        (
            "pdb",
            of(
                "PodDisruptionBudget",
                "policy/v1",
                json!({ "spec": { "minAvailable": 1, "selector": selector } }),
            ),
        ),
        (
            "events.events.k8s.io",
            of(
                "Event",
                "events.k8s.io/v1",
                json!({
                    "eventTime": "2026-01-02T03:04:05.000000Z", "reportingController": "c", "reportingInstance": "i",
                    "action": "Act", "reason": "Because", "type": "Normal", "note": "hello",
                    "regarding": { "kind": "Pod", "name": "p", "namespace": "default" },
                }),
            ),
        ),
        (
            "endpointslice",
            of(
                "EndpointSlice",
                "discovery.k8s.io/v1",
                json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["10.1.2.3"] }], "ports": [{ "port": 80 }] }),
            ),
        ),
        ("pc", of("PriorityClass", "scheduling.k8s.io/v1", json!({ "value": 7 }))),
        ("runtimeclass", of("RuntimeClass", "node.k8s.io/v1", json!({ "handler": "runc" }))),
        ("sc", of("StorageClass", "storage.k8s.io/v1", json!({ "provisioner": "example.org/disk" }))),
        ("role", of("Role", group, json!({ "rules": [rule] }))),
        ("clusterrole", of("ClusterRole", group, json!({ "rules": [rule] }))),
        ("rolebinding", of("RoleBinding", group, json!({ "roleRef": role("Role"), "subjects": user }))),
        (
            "clusterrolebinding",
            of("ClusterRoleBinding", group, json!({ "roleRef": role("ClusterRole"), "subjects": user })),
        ),
        ("netpol", of("NetworkPolicy", "networking.k8s.io/v1", json!({ "spec": { "podSelector": {} } }))),
        (
            "ing",
            of(
                "Ingress",
                "networking.k8s.io/v1",
                json!({ "spec": { "defaultBackend": { "service": { "name": "x", "port": { "number": 80 } } } } }),
            ),
        ),
        (
            "ingressclass",
            of("IngressClass", "networking.k8s.io/v1", json!({ "spec": { "controller": "example.org/c" } })),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_is_made_shown_labelled_and_deleted() {
    let server = Server::start().await;
    for (kind, manifest) in manifests() {
        let made = server.apply(&manifest.to_string()).await;
        assert!(made.ends_with(" created\n"), "{kind}: {made}");
        let version = ["get", kind, "x", "-o", "jsonpath={.metadata.resourceVersion}"];
        let before = server.kubectl_ok(&version).await;
        server.apply(&manifest.to_string()).await;
        assert_eq!(server.kubectl_ok(&version).await, before, "{kind}: applying it again changed it");
        let shown = server.kubectl_ok(&["get", kind, "-o", "wide", "--no-headers"]).await;
        assert!(shown.lines().any(|line| line.split_whitespace().any(|word| word == "x")), "{kind}: {shown}");
        server.kubectl_ok(&["label", kind, "x", "tier=edge"]).await;
        let found = server.kubectl_ok(&["get", kind, "-l", "tier=edge", "-o", "name"]).await;
        assert!(found.ends_with("/x\n"), "{kind}: {found}");
        let described = server.kubectl_ok(&["describe", kind, "x"]).await;
        assert!(described.contains("Name:") && described.contains(" x\n"), "{kind}: {described}");
        let explained = {
            let version = format!("--api-version={}", manifest["apiVersion"].as_str().expect("a version"));
            server.kubectl_ok(&["explain", kind.split('.').next().expect("a word"), &version]).await
        };
        assert!(explained.contains("FIELDS:"), "{kind}: {explained}");
        server.kubectl_ok(&["delete", kind, "x", "--wait=false"]).await;
        if matches!(kind, "pv" | "pvc") {
            // Kept until a steward has seen that nobody uses it; here is none.
            let patch = r#"{"metadata":{"finalizers":null}}"#;
            server.kubectl_ok(&["patch", kind, "x", "--type=merge", "-p", patch]).await;
        }
        let gone = server.kubectl(&["get", kind, "x"]).await;
        assert!(String::from_utf8_lossy(&gone.stderr).contains("(NotFound)"), "{kind}: {gone:?}");
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_fields_are_told_in_upstreams_words() {
    let server = Server::start().await;
    let manifests = manifests();
    for (kind, pointer, value, told) in [
        ("svc", "/spec/ports", json!([]), "spec.ports: Required value"),
        (
            "svc",
            "/spec/type",
            json!("Frog"),
            "spec.type: Unsupported value: \"Frog\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
        (
            "svc",
            "/spec/ports/0/port",
            json!(0),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (
            "svc",
            "/metadata/name",
            json!("1x"),
            "metadata.name: Invalid value: \"1x\": a DNS-1035 label must consist of",
        ),
        (
            "ep",
            "/subsets/0/addresses/0/ip",
            json!("127.0.0.1"),
            "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range",
        ),
        ("pv", "/spec/accessModes", json!([]), "spec.accessModes: Required value"),
        ("pv", "/spec/hostPath", Value::Null, "spec: Required value: must specify a volume type"),
        (
            "pvc",
            "/spec/accessModes",
            json!(["Sometimes"]),
            "spec.accessModes: Unsupported value: \"Sometimes\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
        ),
        ("pvc", "/spec/resources", json!({}), "spec.resources[storage]: Required value"),
        (
            "limits",
            "/spec/limits/0/min",
            json!({ "cpu": "3" }),
            "spec.limits[0].min[cpu]: Invalid value: \"3\": min value 3 is greater than max value 2",
        ),
        (
            "quota",
            "/spec/hard",
            json!({ "frogs": "1" }),
            "spec.hard[frogs]: Invalid value: \"frogs\": must be a standard resource for quota",
        ),
        (
            "role",
            "/rules/0/verbs",
            json!([]),
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ),
        (
            "rolebinding",
            "/roleRef/kind",
            json!("Frog"),
            "roleRef.kind: Unsupported value: \"Frog\": supported values: \"Role\", \"ClusterRole\"",
        ),
        (
            "pc",
            "/metadata/name",
            json!("system-frog"),
            "priority class names with 'system-' prefix are reserved for system use only",
        ),
        (
            "pc",
            "/value",
            json!(1_000_000_001),
            "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
        ),
        ("sc", "/provisioner", json!(""), "provisioner: Required value"),
        (
            "runtimeclass",
            "/handler",
            json!("X"),
            "handler: Invalid value: \"X\": a lowercase RFC 1123 label must consist of",
        ),
        ("ing", "/spec/defaultBackend", Value::Null, "either `defaultBackend` or `rules` must be specified"),
        (
            "netpol",
            "/spec/policyTypes",
            json!(["Sideways"]),
            "spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Egress\", \"Ingress\"",
        ),
        (
            "endpointslice",
            "/addressType",
            json!("Frog"),
            "addressType: Unsupported value: \"Frog\": supported values: \"FQDN\", \"IPv4\", \"IPv6\"",
        ),
        (
            "events.events.k8s.io",
            "/type",
            json!("Frog"),
            "type: Invalid value: \"\": has invalid value: Frog",
        ),
        ("svc", "/spec/frogs", json!(1), "unknown field \"spec.frogs\""),
    ] {
        let mut manifest = manifests.iter().find(|(name, _)| *name == kind).expect("a manifest").1.clone();
        let (parent, field) = pointer.rsplit_once('/').expect("a pointer");
        let parent = manifest.pointer_mut(parent).expect("it is there");
        parent[field] = value;
        let refused = server.kubectl_with(&["create", "-f", "-"], &manifest.to_string()).await;
        let error = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && error.contains(told), "{kind} {pointer}: {error}");
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_one_object_in_two_groups() {
    let server = Server::start().await;
    let manifests = manifests();
    let (_, event) = manifests.iter().find(|(kind, _)| kind.starts_with("events.")).expect("a manifest");
    let old = "/api/v1/namespaces/default/events";
    let newer = "/apis/events.k8s.io/v1/namespaces/default/events";
    let mut watch = server
        .watch(&format!("{old}?watch=true&resourceVersion=0&fieldSelector=involvedObject.name=p"))
        .await;
    let mut newer_watch = server.watch(&format!("{newer}?watch=true&fieldSelector=regarding.name=p")).await;
    assert_eq!(server.post(newer, event).await.0, 201);
    let seen = watch.next().await.expect("an event");
    assert_eq!((&seen["object"]["message"], &seen["object"]["apiVersion"]), (&json!("hello"), &json!("v1")));
    let seen = newer_watch.next().await.expect("an event");
    assert_eq!(
        (&seen["object"]["note"], &seen["object"]["apiVersion"]),
        (&json!("hello"), &json!("events.k8s.io/v1"))
    );
    let patch = json!({ "series": { "count": 2, "lastObservedTime": "2026-01-02T03:04:06.000000Z" } });
    let merge = "application/merge-patch+json";
    let (code, patched) =
        server.send(reqwest::Method::PATCH, &format!("{newer}/x"), merge, patch.to_string()).await;
    assert_eq!((code, &patched["series"]["count"], &patched["note"]), (200, &json!(2), &json!("hello")));
    let (code, refused) =
        server.send(reqwest::Method::PATCH, &format!("{newer}/x"), merge, r#"{"note":"other"}"#).await;
    assert_eq!(code, 422, "{refused}");
    assert_eq!(server.get(&format!("{newer}/x")).await.1["series"]["count"], 2);
    let table = server.kubectl_ok(&["get", "events.events.k8s.io", "--no-headers"]).await;
    assert!(table.contains("Because") && table.contains("pod/p"), "{table}");
    assert_eq!(server.delete(&format!("{newer}/x"), "").await.0, 200);
    assert_eq!(server.get(&format!("{old}/x")).await.0, 404);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_has_the_priority_of_its_class() {
    let server = Server::start().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = |name: &str, spec: Value| {
        let mut pod = json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
        pod["spec"].as_object_mut().expect("fields").extend(spec.as_object().expect("fields").clone());
        pod
    };
    let (_, made) =
        server.post(pods, &pod("a", json!({ "priorityClassName": "system-node-critical" }))).await;
    assert_eq!(
        (&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]),
        (&json!(2_000_001_000), &json!("PreemptLowerPriority"))
    );
    let (_, made) = server.post(pods, &pod("b", json!({}))).await;
    assert_eq!(made["spec"]["priority"], 0);
    let (code, refused) = server.post(pods, &pod("c", json!({ "priorityClassName": "frog" }))).await;
    assert_eq!(
        (code, refused["message"].as_str()),
        (403, Some("pods \"c\" is forbidden: no PriorityClass with name frog was found"))
    );
    let (code, refused) = server.post(pods, &pod("c", json!({ "priority": 5 }))).await;
    assert_eq!(code, 403, "{refused}");
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    let class = |name: &str| json!({ "metadata": { "name": name }, "value": 9, "globalDefault": true });
    assert_eq!(server.post(classes, &class("usual")).await.0, 201);
    let (code, refused) = server.post(classes, &class("other")).await;
    assert_eq!(
        (code, refused["message"].as_str().is_some_and(|it| it.contains("already marked as default"))),
        (403, true)
    );
    let (code, made) = server.post(pods, &pod("d", json!({}))).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!((&made["spec"]["priority"], &made["spec"]["priorityClassName"]), (&json!(9), &json!("usual")));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_and_webhooks_are_refused_with_the_reason() {
    let server = Server::start().await;
    for (version, kind, told) in [
        (
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "leasehold serves no CustomResourceDefinitions",
        ),
        (
            "admissionregistration.k8s.io/v1",
            "ValidatingWebhookConfiguration",
            "leasehold calls no admission webhooks",
        ),
    ] {
        let manifest =
            json!({ "apiVersion": version, "kind": kind, "metadata": { "name": "x.example.org" } });
        for verb in [["create", "-f", "-"], ["apply", "-f", "-"]] {
            let refused = server.kubectl_with(&verb, &manifest.to_string()).await;
            let error = String::from_utf8_lossy(&refused.stderr);
            assert!(!refused.status.success() && error.contains(told), "{verb:?}: {error}");
        }
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_acts_on_is_stored_with_a_warning() {
    let server = Server::start().await;
    let manifests = manifests();
    for kind in ["ing", "netpol"] {
        let (_, manifest) = manifests.iter().find(|(name, _)| *name == kind).expect("a manifest");
        let made = server.kubectl_with(&["create", "-f", "-"], &manifest.to_string()).await;
        let warned = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success() && warned.contains("Warning: leasehold stores"), "{kind}: {warned}");
    }
    let all = server.kubectl_ok(&["get", "all", "-A"]).await;
    assert!(!all.contains("netpol"), "{all}");
    let listed = server.kubectl_ok(&["api-resources", "--verbs=list", "-o", "name"]).await;
    for (kind, manifest) in &manifests {
        let name = manifest["kind"].as_str().expect("a kind").to_lowercase();
        assert!(listed.lines().any(|line| line.starts_with(&name[..name.len() - 1])), "{kind}: {listed}");
    }
    server.running.stop().await;
}

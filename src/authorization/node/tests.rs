use serde_json::{Value, json};

use super::graph::Part;
use super::*;

fn graph() -> Graph {
    let mut graph = Graph::default();
    put(&mut graph, &pod("p", "n1"));
    let other = json!({ "metadata": { "name": "other" }, "spec": { "nodeName": "n2", "volumes": [
        { "secret": { "secretName": "theirs" } }, { "secret": { "secretName": "both" } },
    ] } });
    put(&mut graph, &other);
    let offered =
        json!({ "metadata": { "name": "offered" }, "spec": {}, "status": { "nominatedNodeName": "n1" } });
    put(&mut graph, &offered);
    let claimed = json!({ "spec": { "claimRef": { "namespace": "a", "name": "claim" } } });
    graph.put(Part::Volume, "", "v1", &claimed);
    let kept = json!({ "metadata": { "labels": { "leasehold.dev/node": "n1" } }, "spec": {} });
    graph.put(Part::Volume, "", "v3", &kept);
    graph.put(
        Part::Volume,
        "",
        "v2",
        &json!({ "spec": { "claimRef": { "namespace": "b", "name": "claim" } } }),
    );
    let set = json!({ "spec": { "template": { "spec": { "serviceAccountName": "daemon" } } } });
    graph.put(Part::DaemonSet, "a", "ds", &set);
    graph
}

fn put(graph: &mut Graph, pod: &Value) {
    graph.put(Part::Pod, "a", pod["metadata"]["name"].as_str().unwrap(), pod);
}

fn pod(name: &str, node: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "nodeName": node, "serviceAccountName": "sa",
        "imagePullSecrets": [{ "name": "pull" }],
        "initContainers": [{ "envFrom": [{ "secretRef": { "name": "env" } }] }],
        "containers": [{ "env": [{ "valueFrom": { "configMapKeyRef": { "name": "map" } } }] }],
        "volumes": [
            { "secret": { "secretName": "both" } },
            { "persistentVolumeClaim": { "claimName": "claim" } },
            { "projected": { "sources": [{ "configMap": { "name": "kube-root-ca.crt" } }] } },
        ],
    } })
}

fn ask(graph: &Graph, node: &str, verb: &str, what: &str) -> Decision {
    let user = User::new(format!("system:node:{node}"), &[NODES]);
    let mut parts = what.split_whitespace();
    let mut resource = Resource::default();
    let full = parts.next().unwrap();
    let (group, full) = full.split_once(':').unwrap_or(("", full));
    let (plural, subresource) = full.split_once('/').unwrap_or((full, ""));
    (resource.group, resource.resource, resource.subresource) = (group, plural, subresource);
    for part in parts {
        match part.split_once('/') {
            Some(("leasehold.dev", _)) => resource.labels = part,
            Some((namespace, name)) => (resource.namespace, resource.name) = (namespace, name),
            None => resource.fields = part,
        }
    }
    decide(graph, &Attributes { user: &user, verb, subject: Subject::Resource(resource) })
}

#[test]
fn a_node_may_do_its_own_and_read_what_its_pods_use() {
    let graph = graph();
    let allowed = [
        ("get", "secrets a/pull"),
        ("watch", "secrets a/env"),
        ("list", "secrets a/both"),
        ("get", "configmaps a/map"),
        ("get", "configmaps a/kube-root-ca.crt"),
        ("get", "persistentvolumeclaims a/claim"),
        ("get", "persistentvolumes /v1"),
        ("get", "persistentvolumes /v3"),
        ("patch", "persistentvolumes /v3"),
        ("create", "serviceaccounts/token a/sa"),
        ("get", "serviceaccounts a/sa"),
        ("watch", "serviceaccounts a/daemon"),
        ("get", "nodes /n1"),
        ("create", "nodes"),
        ("patch", "nodes/status /n1"),
        ("get", "pods a/p"),
        ("get", "pods a/offered"),
        ("watch", "pods spec.nodeName=n1"),
        ("list", "pods spec.nodeName=,status.nominatedNodeName=n1"),
        ("create", "pods a/"),
        ("create", "pods/binding a/offered"),
        ("delete", "pods a/p"),
        ("patch", "pods/status a/p"),
        ("create", "coordination.k8s.io:leases kube-node-lease/"),
        ("update", "coordination.k8s.io:leases kube-node-lease/n1"),
        ("watch", "coordination.k8s.io:leases leasehold-system/steward-00"),
        ("create", "coordination.k8s.io:leases leasehold-system/"),
        ("update", "coordination.k8s.io:leases leasehold-system/a.p"),
        ("watch", "coordination.k8s.io:leases leasehold.dev/holder=n1"),
        ("delete", "coordination.k8s.io:leases a/ticket-0b5c-77-0"),
        ("watch", "apps:daemonsets"),
        ("list", "services"),
        ("create", "events a/"),
        ("create", "certificates.k8s.io:certificatesigningrequests"),
    ];
    for (verb, what) in allowed {
        assert_eq!(ask(&graph, "n1", verb, what), Decision::Allow, "{verb} {what}");
    }
}

#[test]
fn everything_else_is_refused_in_upstreams_words() {
    let graph = graph();
    let unrelated = "no relationship found between node 'n1' and this object";
    let refused = [
        ("get", "secrets a/theirs", unrelated),
        ("get", "secrets b/pull", unrelated),
        ("list", "secrets a/", "No Object name found"),
        ("list", "secrets", "can only read namespaced object of this type"),
        ("update", "secrets a/pull", "can only read resources of this type"),
        ("list", "persistentvolumeclaims a/claim", "can only get individual resources of this type"),
        ("get", "persistentvolumes /v2", unrelated),
        ("watch", "persistentvolumes", "can only get individual resources of this type"),
        ("delete", "persistentvolumes /v3", "can only get individual resources of this type"),
        ("create", "serviceaccounts/token a/other", unrelated),
        ("create", "serviceaccounts/token a/daemon", unrelated),
        ("update", "serviceaccounts a/sa", "can only create token subresource of serviceaccount"),
        ("get", "pods a/other", unrelated),
        ("list", "pods", "can only list/watch pods with spec.nodeName field selector"),
        ("list", "pods spec.nodeName=n2", "can only list/watch pods with spec.nodeName field selector"),
        ("list", "pods spec.nodeName!=n1", "can only list/watch pods with spec.nodeName field selector"),
        ("get", "pods/log a/p", ""),
        ("create", "pods/exec a/p", ""),
        ("delete", "nodes /n1", ""),
        (
            "update",
            "coordination.k8s.io:leases kube-node-lease/n2",
            "can only access node lease with the same name as the requesting node",
        ),
        (
            "update",
            "coordination.k8s.io:leases leasehold-system/steward-00",
            "can only access leases in the \"kube-node-lease\" system namespace",
        ),
        (
            "delete",
            "coordination.k8s.io:leases leasehold-system/a.p",
            "can only access leases in the \"kube-node-lease\" system namespace",
        ),
        (
            "watch",
            "coordination.k8s.io:leases kube-node-lease/n1",
            "can only get, create, update, patch, or delete a node lease",
        ),
        (
            "watch",
            "coordination.k8s.io:leases leasehold.dev/holder=n2",
            "can only get, create, update, patch, or delete a node lease",
        ),
        (
            "update",
            "coordination.k8s.io:leases a/ticket-0b5c-77-0",
            "can only access leases in the \"kube-node-lease\" system namespace",
        ),
        ("update", "apps:daemonsets a/ds", ""),
        ("create", "certificates.k8s.io:certificatesigningrequests/approval /x", ""),
        ("create", "rbac.authorization.k8s.io:clusterrolebindings", ""),
    ];
    for (verb, what, reason) in refused {
        let expected = Decision::NoOpinion { reason: reason.into() };
        assert_eq!(ask(&graph, "n1", verb, what), expected, "{verb} {what}");
    }
}

#[test]
fn what_a_node_may_read_ends_with_the_last_pod_that_uses_it() {
    let mut graph = graph();
    put(&mut graph, &pod("q", "n1"));
    graph.remove(Part::Pod, "a", "p");
    assert_eq!(ask(&graph, "n1", "get", "secrets a/pull"), Decision::Allow);
    put(&mut graph, &pod("q", "n2"));
    assert_ne!(ask(&graph, "n1", "get", "secrets a/pull"), Decision::Allow);
    assert_eq!(ask(&graph, "n2", "get", "secrets a/pull"), Decision::Allow);
    graph.remove(Part::Pod, "a", "q");
    graph.remove(Part::Pod, "a", "q");
    assert_ne!(ask(&graph, "n2", "get", "persistentvolumes /v1"), Decision::Allow);
    assert_ne!(ask(&graph, "n2", "get", "persistentvolumes /v3"), Decision::Allow);
    let own = |node: &str| {
        let user = User::new(format!("system:node:{node}"), &[NODES]);
        let resource = Resource {
            resource: "persistentvolumes",
            labels: "leasehold.dev/node=n1",
            ..Resource::default()
        };
        decide(&graph, &Attributes { user: &user, verb: "watch", subject: Subject::Resource(resource) })
    };
    assert_eq!(own("n1"), Decision::Allow, "the directories that it keeps");
    assert_ne!(own("n2"), Decision::Allow);
    graph.remove(Part::DaemonSet, "a", "ds");
    assert_ne!(ask(&graph, "n1", "get", "serviceaccounts a/daemon"), Decision::Allow);
}

#[test]
fn a_node_is_known_by_group_and_name_together() {
    let graph = graph();
    let resource = Resource { resource: "services", ..Resource::default() };
    let subject = Subject::Resource(resource);
    let ask = |user: &User| decide(&graph, &Attributes { user, verb: "list", subject });
    assert_eq!(ask(&User::new("system:node:n1", &["system:nodes"])), Decision::Allow);
    assert_eq!(ask(&User::new("system:node:n1", &["others"])), Decision::silent());
    let nameless = ask(&User::new("n1", &[NODES]));
    assert_eq!(nameless, Decision::NoOpinion { reason: "unknown node for user \"n1\"".into() });
}

//! What a node's certificate is good for.

use leasehold::driver::clock;
use leasehold::server::tls::NODES;
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Answer, Server, answer, client};

const DAEMON_SETS: &str = "/apis/apps/v1/namespaces/default/daemonsets";
const PODS: &str = "/api/v1/namespaces/default/pods";

struct Node<'a> {
    server: &'a Server,
    http: reqwest::Client,
}

impl<'a> Node<'a> {
    fn new(server: &'a Server, name: &str) -> Self {
        let authority = &server.running.authority;
        let identity =
            authority.issue_client(&format!("system:node:{name}"), &[NODES], clock::wall()).unwrap();
        Self { server, http: client(authority.ca_pem(), Some(&identity)) }
    }

    async fn send(&self, method: Method, path: &str, media_type: &str, body: &Value) -> Answer {
        let request = self.http.request(method, self.server.url(path)).header("content-type", media_type);
        answer(request.body(body.to_string()).send().await.expect("answered")).await
    }

    async fn get(&self, path: &str) -> Answer {
        answer(self.http.get(self.server.url(path)).send().await.expect("answered")).await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, "application/json", body).await
    }

    async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PATCH, path, "application/merge-patch+json", body).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "application/json", &json!({ "gracePeriodSeconds": 0 })).await
    }
}

/// 403 with this text somewhere in it.
fn refused(answer: &Answer, text: &str) {
    assert_eq!(answer.0, 403, "{}", answer.1);
    let message = answer.1["message"].as_str().unwrap_or_default();
    assert!(message.contains(text), "{message}");
}

fn pod(name: &str, node: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": {
        "nodeName": node, "containers": [{ "name": "c", "image": "x" }],
        "volumes": [{ "name": "v", "secret": { "secretName": format!("of-{name}") } }],
    } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_touches_its_own_and_nothing_of_others() {
    let server = Server::start().await;
    for name in ["p1", "p2"] {
        assert_eq!(server.post(PODS, &pod(name, &name.replace('p', "n"))).await.0, 201);
        let secret = json!({ "metadata": { "name": format!("of-{name}") }, "stringData": { "k": "v" } });
        assert_eq!(server.post("/api/v1/namespaces/default/secrets", &secret).await.0, 201);
    }
    let (n1, n2) = (Node::new(&server, "n1"), Node::new(&server, "n2"));

    assert_eq!(n1.get("/api/v1/namespaces/default/secrets/of-p1").await.0, 200);
    let foreign = n1.get("/api/v1/namespaces/default/secrets/of-p2").await;
    refused(&foreign, "User \"system:node:n1\" cannot get resource \"secrets\" in API group \"\"");
    refused(&foreign, "no relationship found between node 'n1' and this object");
    refused(&n1.get("/api/v1/namespaces/default/secrets").await, "No Object name found");
    let watched = "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dof-p1";
    assert_eq!(n1.get(watched).await.0, 200);

    assert_eq!(n1.get(&format!("{PODS}/p1")).await.0, 200);
    refused(&n1.get(&format!("{PODS}/p2")).await, "no relationship found");
    refused(&n1.get("/api/v1/pods").await, "can only list/watch pods with spec.nodeName field selector");
    let (code, own) = n1.get("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1").await;
    assert_eq!((code, own["items"].as_array().map(Vec::len)), (200, Some(1)));

    let running = json!({ "status": { "phase": "Running" } });
    assert_eq!(n1.patch(&format!("{PODS}/p1/status"), &running).await.0, 200);
    refused(
        &n1.patch(&format!("{PODS}/p2/status"), &running).await,
        "pods \"p2\" is forbidden: node \"n1\" can only update pod status for pods with spec.nodeName set to itself",
    );
    let relabelled = json!({ "metadata": { "labels": { "a": "b" } } });
    refused(
        &n1.patch(&format!("{PODS}/p1/status"), &relabelled).await,
        "cannot update labels through pod status",
    );
    refused(
        &n1.delete(&format!("{PODS}/p2")).await,
        "node \"n1\" can only delete pods with spec.nodeName set to itself",
    );
    assert_eq!(n1.delete(&format!("{PODS}/p1")).await.0, 200);
    refused(&n1.get("/api/v1/namespaces/default/secrets/of-p1").await, "no relationship found");
    assert_eq!(n2.get("/api/v1/namespaces/default/secrets/of-p2").await.0, 200);
    refused(
        &n1.post("/api/v1/namespaces", &json!({ "metadata": { "name": "x" } })).await,
        "cannot create resource",
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_registers_itself_within_its_labels_and_keeps_its_session() {
    let server = Server::start().await;
    let n1 = Node::new(&server, "n1");
    let node = |name: &str, label: &str| json!({ "metadata": { "name": name, "labels": { label: "x" } } });
    refused(
        &n1.post("/api/v1/nodes", &node("n2", "a")).await,
        "nodes \"n2\" is forbidden: node \"n1\" is not allowed to modify node \"n2\"",
    );
    refused(
        &n1.post("/api/v1/nodes", &node("n1", "node-restriction.kubernetes.io/team")).await,
        "node \"n1\" is not allowed to set the following labels: node-restriction.kubernetes.io/team",
    );
    assert_eq!(
        n1.post("/api/v1/nodes", &node("n1", "feature.node.kubernetes.io/pci-0302.present")).await.0,
        201
    );
    let taints = json!({ "spec": { "taints": [{ "key": "a", "effect": "NoSchedule" }] } });
    refused(&n1.patch("/api/v1/nodes/n1", &taints).await, "node \"n1\" is not allowed to modify taints");
    let label = json!({ "metadata": { "labels": { "node-role.kubernetes.io/master": "" } } });
    refused(
        &n1.patch("/api/v1/nodes/n1", &label).await,
        "is not allowed to modify labels: node-role.kubernetes.io/master",
    );
    assert_eq!(
        n1.patch("/api/v1/nodes/n1/status", &json!({ "status": { "phase": "Running" } })).await.0,
        200
    );
    refused(&n1.delete("/api/v1/nodes/n1").await, "cannot delete resource \"nodes\"");

    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = |name: &str| json!({ "metadata": { "name": name }, "spec": {} });
    refused(
        &n1.post(leases, &lease("n2")).await,
        "can only access node lease with the same name as the requesting node",
    );
    assert_eq!(n1.post(leases, &lease("n1")).await.0, 201);
    let elsewhere = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    refused(
        &n1.post(elsewhere, &lease("n1")).await,
        "can only access leases in the \"kube-node-lease\" system namespace",
    );

    // The tickets of rollouts that it holds, it gives back.
    let ticket = |name: &str, holder: &str| {
        let labels = json!({ "leasehold.dev/kind": "ticket", "leasehold.dev/holder": holder });
        json!({ "metadata": { "name": name, "labels": labels }, "spec": { "holderIdentity": holder } })
    };
    for (name, holder) in [("ticket-u-0", "n1"), ("ticket-u-1", "n2")] {
        assert_eq!(server.post(elsewhere, &ticket(name, holder)).await.0, 201);
    }
    let own = n1.get(&format!("{elsewhere}?labelSelector=leasehold.dev%2Fholder%3Dn1")).await;
    assert_eq!(own.1["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(n1.delete(&format!("{elsewhere}/ticket-u-0")).await.0, 200);
    refused(
        &n1.delete(&format!("{elsewhere}/ticket-u-1")).await,
        "can only access leases in the \"kube-node-lease\" system namespace",
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_makes_pods_of_live_daemon_sets_alone_and_takes_what_is_offered_to_it() {
    let server = Server::start().await;
    let n1 = Node::new(&server, "n1");
    let set = json!({ "metadata": { "name": "ds" }, "spec": {
        "selector": { "matchLabels": { "app": "ds" } },
        "template": {
            "metadata": { "labels": { "app": "ds" } },
            "spec": { "containers": [{ "name": "c", "image": "x", "ports": [{ "containerPort": 80 }] }], "hostNetwork": true },
        },
    } });
    let (code, set) = server.post(DAEMON_SETS, &set).await;
    assert_eq!(code, 201, "{set}");
    let daemon = |changes: &Value| {
        let mut pod = json!({
            "metadata": {
                "name": "ds-1", "labels": { "app": "ds", "controller-revision-hash": "h" },
                "annotations": { "leasehold.dev/uid": "u" },
                "ownerReferences": [{
                    "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "ds", "uid": set["metadata"]["uid"],
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": {
                "nodeName": "n1", "hostNetwork": true,
                "containers": [{ "name": "c", "image": "x", "ports": [{ "containerPort": 80 }] }],
                "tolerations": [{ "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute" }],
            },
        });
        json_patch::merge(&mut pod, changes);
        pod
    };
    let stranger = json!([{
        "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "ds", "uid": "other", "controller": true,
    }]);
    let cases = [
        (
            json!({ "spec": { "nodeName": "n2" } }),
            "node \"n1\" can only create pods with spec.nodeName set to itself",
        ),
        (json!({ "metadata": { "ownerReferences": null } }), "a single owner reference set to a DaemonSet"),
        (json!({ "metadata": { "ownerReferences": stranger } }), "set to a DaemonSet that is there"),
        (
            json!({ "spec": { "containers": [{ "name": "c", "image": "evil" }] } }),
            "node \"n1\" can only create pods that match the template of DaemonSet \"ds\"",
        ),
        (json!({ "spec": { "hostPID": true } }), "that match the template"),
        (json!({ "spec": { "serviceAccountName": "admin" } }), "that match the template"),
        (json!({ "metadata": { "labels": { "app": "other" } } }), "that match the template"),
        (json!({ "spec": { "tolerations": [{ "operator": "Exists" }] } }), "that match the template"),
        (
            json!({ "spec": { "volumes": [{ "name": "v", "secret": { "secretName": "s" } }] } }),
            "that match the template",
        ),
    ];
    let admin = json!({ "metadata": { "name": "admin" } });
    assert_eq!(server.post("/api/v1/namespaces/default/serviceaccounts", &admin).await.0, 201);
    for (changes, text) in cases {
        refused(&n1.post(PODS, &daemon(&changes)).await, text);
    }
    let (code, made) = n1.post(PODS, &daemon(&json!({}))).await;
    assert_eq!(code, 201, "{made}");
    let volume = made["spec"]["volumes"][0]["name"].as_str().unwrap_or_default();
    assert!(volume.starts_with("kube-api-access-"), "{made}");
    refused(
        &n1.patch(&format!("{PODS}/ds-1"), &json!({ "metadata": { "labels": { "app": "x" } } })).await,
        "node \"n1\" can only update the owner references of its pods",
    );
    assert_eq!(
        n1.patch(&format!("{PODS}/ds-1"), &json!({ "metadata": { "ownerReferences": null } })).await.0,
        200
    );

    let free =
        json!({ "metadata": { "name": "free" }, "spec": { "containers": [{ "name": "c", "image": "x" }] } });
    assert_eq!(server.post(PODS, &free).await.0, 201);
    let binding =
        |node: &str| json!({ "metadata": { "name": "free" }, "target": { "kind": "Node", "name": node } });
    let path = format!("{PODS}/free/binding");
    refused(&n1.post(&path, &binding("n1")).await, "node \"n1\" can only bind pods that are nominated to it");
    let nominated = json!({ "status": { "nominatedNodeName": "n1" } });
    let media_type = "application/merge-patch+json";
    let (code, _) =
        server.send(Method::PATCH, &format!("{PODS}/free/status"), media_type, nominated.to_string()).await;
    assert_eq!(code, 200);
    refused(&n1.post(&path, &binding("n2")).await, "node \"n1\" can only bind pods");
    assert_eq!(n1.post(&path, &binding("n1")).await.0, 201);
    server.running.stop().await;
}

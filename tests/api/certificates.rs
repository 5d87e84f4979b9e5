//! Requests for certificates: by token, by rule, and by people.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use leasehold::server::tls::{NODES, client_request, subject};
use serde_json::{Value, json};

use crate::server::{Answer, Server, answer, client};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const TOKEN: &str = "abcdef.0123456789abcdef";

fn request(name: &str, signer: &str, common_name: &str, organization: &str) -> (String, Value) {
    let (key, pem) = client_request(common_name, organization).unwrap();
    let body = json!({ "metadata": { "name": name }, "spec": {
        "request": STANDARD.encode(pem), "signerName": signer, "usages": ["digital signature", "client auth"],
        "username": "system:admin", "groups": ["system:masters"],
    } });
    (key, body)
}

async fn token(server: &Server, expires: &str) {
    let secret = json!({
        "metadata": { "name": "bootstrap-token-abcdef" }, "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": "abcdef", "token-secret": "0123456789abcdef", "expiration": expires,
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:leasehold:nodes",
        },
    });
    assert_eq!(server.post("/api/v1/namespaces/kube-system/secrets", &secret).await.0, 201);
}

async fn post_as(server: &Server, token: &str, body: &Value) -> Answer {
    let http = client(server.running.authority.ca_pem(), None);
    let sent = http
        .post(server.url(REQUESTS))
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(body.to_string());
    answer(sent.send().await.expect("answered")).await
}

/// The request once it has been settled.
async fn settled(server: &Server, name: &str) -> Value {
    for _ in 0..200 {
        let (_, found) = server.get(&format!("{REQUESTS}/{name}")).await;
        let is_denied = found["status"]["conditions"].to_string().contains("Denied");
        if is_denied || found["status"]["certificate"].is_string() {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{name} is not settled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_becomes_a_nodes_certificate_and_nothing_else() {
    let server = Server::start().await;
    token(&server, "2999-01-01T00:00:00Z").await;
    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    let (_, body) = request("good", signer, "system:node:n1", NODES);
    let (code, made) = post_as(&server, TOKEN, &body).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["username"], "system:bootstrap:abcdef", "who asks is not what the request says");
    assert!(!made["spec"]["groups"].to_string().contains("masters"));
    let done = settled(&server, "good").await;
    let pem = STANDARD.decode(done["status"]["certificate"].as_str().expect("issued")).unwrap();
    let peer = subject(&String::from_utf8(pem).unwrap()).unwrap();
    assert_eq!((peer.common_name.as_str(), peer.organizations), ("system:node:n1", vec![NODES.to_owned()]));

    for (name, common_name, group) in
        [("masters", "system:node:n1", "system:masters"), ("admin", "admin", NODES)]
    {
        let (_, body) = request(name, signer, common_name, group);
        assert_eq!(post_as(&server, TOKEN, &body).await.0, 201);
        let denied = settled(&server, name).await;
        assert_eq!(denied["status"]["conditions"][0]["type"], "Denied", "{denied}");
    }
    let http = client(server.running.authority.ca_pem(), None);
    let pods = http.get(server.url("/api/v1/pods")).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(pods.status(), 403, "the token is good for that alone");
    let table = server.kubectl_ok(&["get", "csr"]).await;
    assert!(table.contains("Approved,Issued") && table.contains("Denied"), "{table}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_has_ended_or_is_another_is_not_accepted() {
    let server = Server::start().await;
    token(&server, "2020-01-01T00:00:00Z").await;
    let (_, body) = request("x", "kubernetes.io/kube-apiserver-client-kubelet", "system:node:n1", NODES);
    for token in [TOKEN, "abcdef.aaaaaaaaaaaaaaaa", "zzzzzz.0123456789abcdef", "nonsense"] {
        assert_eq!(post_as(&server, token, &body).await.0, 401, "{token}");
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_approve_and_deny_what_others_ask_for() {
    let server = Server::start().await;
    for name in ["yes", "no"] {
        let (_, body) = request(name, "kubernetes.io/kube-apiserver-client", "ann", "ops");
        assert_eq!(server.post(REQUESTS, &body).await.0, 201);
    }
    assert!(server.kubectl_ok(&["get", "csr"]).await.contains("Pending"));
    server.kubectl_ok(&["certificate", "approve", "yes"]).await;
    server.kubectl_ok(&["certificate", "deny", "no"]).await;
    let (approved, denied) = (settled(&server, "yes").await, settled(&server, "no").await);
    assert!(approved["status"]["certificate"].is_string());
    assert_eq!(denied["status"]["conditions"][0]["type"], "Denied");
    let odd = json!({ "metadata": { "name": "odd" }, "spec": { "request": "eA==", "signerName": "x", "usages": [] } });
    let (code, refusal) = server.post(REQUESTS, &odd).await;
    assert_eq!(code, 422, "{refusal}");
    server.running.stop().await;
}

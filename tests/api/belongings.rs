//! What every namespace has, kept by a steward.

use std::time::Duration;

use leasehold::client::Connection;
use leasehold::driver::steward;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(30);

impl Server {
    async fn until(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let (code, body) = self.get(path).await;
            if code == 200 && holds(&body) {
                return body;
            }
            assert!(begin.elapsed() < PATIENCE, "{what}: {path}: {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_namespace_gets_its_account_and_the_authoritys_certificate_and_gets_them_back() {
    let server = Server::start().await;
    let connection = Connection::from_kubeconfig(&server.directory.path().join("kubeconfig")).await.unwrap();
    steward::start(&connection, steward::Beside::nobody("n1")).unwrap();
    assert_eq!(server.post("/api/v1/namespaces", &json!({ "metadata": { "name": "new" } })).await.0, 201);
    for namespace in ["new", "default", "kube-system"] {
        let home = format!("/api/v1/namespaces/{namespace}");
        server.until(&format!("{home}/serviceaccounts/default"), "an account", |_| true).await;
        let map =
            server.until(&format!("{home}/configmaps/kube-root-ca.crt"), "a certificate", |_| true).await;
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        let text = map["data"]["ca.crt"].as_str().unwrap();
        assert_eq!(bare(text), bare(server.running.authority.ca_pem()));
    }
    let account = "/api/v1/namespaces/new/serviceaccounts/default";
    let (_, before) = server.get(account).await;
    assert_eq!(server.delete(account, "").await.0, 200);
    server.until(account, "another account", |now| now["metadata"]["uid"] != before["metadata"]["uid"]).await;
    let map = "/api/v1/namespaces/new/configmaps/kube-root-ca.crt";
    let (_, mut changed) = server.get(map).await;
    let right = changed["data"].clone();
    changed["data"]["ca.crt"] = "other".into();
    assert_eq!(server.put(map, &changed).await.0, 200);
    server.until(map, "the right certificate", |now| now["data"] == right).await;
    assert_eq!(server.delete("/api/v1/namespaces/new", "").await.0, 200);
    let begin = Instant::now();
    while server.get("/api/v1/namespaces/new").await.0 != 404 {
        assert!(begin.elapsed() < PATIENCE, "the namespace goes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.running.stop().await;
}

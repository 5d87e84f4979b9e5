//! Deletions with dependants, by real kubectl, with a steward at work.

use std::time::Duration;

use leasehold::client::Connection;
use leasehold::driver::steward;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::server::Server;

const PATIENCE: Duration = Duration::from_secs(30);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

impl Server {
    /// A coordinator with a steward.
    pub async fn start_with_steward() -> Self {
        let server = Self::start().await;
        let kubeconfig = server.directory.path().join("kubeconfig");
        let connection = Connection::from_kubeconfig(&kubeconfig).await.unwrap();
        steward::start(&connection, steward::Beside::nobody("n1")).unwrap();
        server
    }

    /// Waits for an answer that is as it should be.
    pub async fn wait(&self, path: &str, what: &str, holds: impl Fn(u16, &Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let (code, body) = self.get(path).await;
            if holds(code, &body) {
                return body;
            }
            assert!(begin.elapsed() < PATIENCE, "{what}: {path}: {code} {body}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn wait_gone(&self, path: &str) {
        self.wait(path, "it goes", |code, _| code == 404).await;
    }

    /// Makes a ConfigMap in `default`, owned by others; its UID.
    async fn map(&self, name: &str, owners: &[&Value], more: &Value) -> Value {
        let mut map = json!({ "metadata": { "name": name, "ownerReferences": owners } });
        for (field, value) in more.as_object().into_iter().flatten() {
            map["metadata"][field] = value.clone();
        }
        let (code, made) = self.post(MAPS, &map).await;
        assert_eq!(code, 201, "{made}");
        made
    }
}

fn owner(kind: &str, of: &Value) -> Value {
    let group = if matches!(kind, "ConfigMap" | "Namespace" | "Secret") { "v1" } else { "apps/v1" };
    json!({ "apiVersion": group, "kind": kind, "name": of["metadata"]["name"], "uid": of["metadata"]["uid"],
        "blockOwnerDeletion": true })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dependants_of_any_kind_go_in_the_background_in_the_foreground_or_stay_as_orphans() {
    let server = Server::start_with_steward().await;
    for how in ["background", "foreground", "orphan"] {
        let top = server.map("top", &[], &Value::Null).await;
        let middle = server.map("middle", &[&owner("ConfigMap", &top)], &Value::Null).await;
        server.map("leaf", &[&owner("ConfigMap", &middle)], &Value::Null).await;
        let cascade = format!("--cascade={how}");
        let arguments = ["delete", "configmap", "top", cascade.as_str(), "--timeout=30s"];
        server.kubectl_ok(&arguments).await;
        if how == "orphan" {
            let body = server.wait(&format!("{MAPS}/middle"), "it stays", |code, _| code == 200).await;
            assert!(body["metadata"]["ownerReferences"].is_null(), "{body}");
            server.kubectl_ok(&["delete", "configmap", "middle"]).await;
        }
        if how == "foreground" {
            assert_eq!(server.get(&format!("{MAPS}/leaf")).await.0, 404, "it went before");
        }
        for name in ["middle", "leaf"] {
            server.wait_gone(&format!("{MAPS}/{name}")).await;
        }
    }
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_there_keeps_its_dependants_and_one_of_another_uid_or_namespace_does_not() {
    let server = Server::start_with_steward().await;
    let alive = server.map("alive", &[], &Value::Null).await;
    let mut reborn = owner("ConfigMap", &alive);
    reborn["uid"] = "00000000-0000-4000-8000-000000000000".into();
    server.map("of-both", &[&owner("ConfigMap", &alive), &reborn], &Value::Null).await;
    server.map("of-the-dead", &[&reborn], &Value::Null).await;
    let mut unknown = owner("ConfigMap", &alive);
    (unknown["apiVersion"], unknown["kind"]) = ("example.org/v1".into(), "Widget".into());
    server.map("of-a-stranger", &[&unknown], &Value::Null).await;
    server.wait_gone(&format!("{MAPS}/of-the-dead")).await;
    let one_owner = |code, map: &Value| {
        code == 200 && map["metadata"]["ownerReferences"].as_array().is_some_and(|all| all.len() == 1)
    };
    server.wait(&format!("{MAPS}/of-both"), "the dead owner is struck off", one_owner).await;
    let path = "/api/v1/namespaces/kube-public/configmaps";
    let stray = json!({ "metadata": { "name": "stray", "ownerReferences": [owner("ConfigMap", &alive)] } });
    assert_eq!(server.post(path, &stray).await.0, 201);
    server.wait_gone(&format!("{path}/stray")).await;
    let told = |_, events: &Value| {
        let all = events["items"].as_array();
        all.is_some_and(|all| all.iter().any(|event| event["reason"] == "OwnerRefInvalidNamespace"))
    };
    server.wait("/api/v1/namespaces/kube-public/events", "it is told of", told).await;
    assert_eq!(server.get(&format!("{MAPS}/of-a-stranger")).await.0, 200);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_that_kubectl_deletes_in_the_foreground_goes() {
    let server = Server::start_with_steward().await;
    let template = "selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, \
                    spec: {containers: [{name: c, image: 'x'}]}}";
    let manifest = format!(
        "---\napiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: x}}\nspec: {{{template}}}\n\
         ---\napiVersion: v1\nkind: Service\nmetadata: {{name: x}}\nspec: {{ports: [{{port: 80}}]}}\n\
         ---\napiVersion: v1\nkind: Secret\nmetadata: {{name: x}}\n\
         ---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: x}}\n"
    );
    for how in ["foreground", "orphan"] {
        server.apply(&manifest).await;
        for kind in ["daemonset", "service", "secret", "clusterrole"] {
            let cascade = format!("--cascade={how}");
            server.kubectl_ok(&["delete", kind, "x", cascade.as_str(), "--timeout=30s"]).await;
        }
    }
    let revisions = "/apis/apps/v1/namespaces/default/controllerrevisions";
    server.apply(&manifest).await;
    let adopted = |_, list: &Value| match list["items"].as_array().map(Vec::as_slice) {
        Some([one]) => one["metadata"]["ownerReferences"][0]["kind"] == "DaemonSet",
        _ => false,
    };
    server.wait(revisions, "the orphaned revision is adopted, and no other made", adopted).await;
    server.running.stop().await;
}

//! Verbs on objects, over the wire.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::Server;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn config_map(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { "a": "1" } })
}

fn pod(name: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": { "nodeName": "n1", "containers": [{ "name": "main", "image": "i" }] },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_made_read_replaced_patched_and_removed() {
    let server = Server::start().await;
    let (code, made) = server.post(CONFIG_MAPS, &config_map("x")).await;
    assert_eq!(code, 201);
    assert_eq!((&made["kind"], &made["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    let path = format!("{CONFIG_MAPS}/x");
    assert_eq!(server.get(&path).await, (200, made.clone()));
    assert_eq!(server.post(CONFIG_MAPS, &config_map("x")).await.0, 409);

    let mut changed = made.clone();
    changed["data"] = json!({ "a": "2" });
    changed["unknown"] = json!({ "kept": true });
    let (code, updated) = server.put(&path, &changed).await;
    assert_eq!((code, &updated["data"]["a"], &updated["unknown"]["kept"]), (200, &json!("2"), &json!(true)));
    let (code, conflict) = server.put(&path, &changed).await;
    assert_eq!((code, &conflict["reason"]), (409, &json!("Conflict")), "{conflict}");

    let patches = [
        ("application/merge-patch+json", json!({ "data": { "b": "3" } })),
        ("application/json-patch+json", json!([{ "op": "add", "path": "/data/c", "value": "4" }])),
        ("application/strategic-merge-patch+json", json!({ "data": { "a": null } })),
    ];
    for (media_type, patch) in patches {
        let (code, answer) = server.send(Method::PATCH, &path, media_type, patch.to_string()).await;
        assert_eq!(code, 200, "{answer}");
    }
    assert_eq!(server.get(&path).await.1["data"], json!({ "b": "3", "c": "4" }));

    let (code, gone) = server.delete(&path, "").await;
    assert_eq!((code, &gone["status"], &gone["details"]["name"]), (200, &json!("Success"), &json!("x")));
    let (code, missing) = server.get(&path).await;
    assert_eq!((code, &missing["message"]), (404, &json!("configmaps \"x\" not found")));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_is_written_apart_and_a_pod_ends_gracefully() {
    let server = Server::start().await;
    let mut body = pod("p");
    body["status"] = json!({ "phase": "Running" });
    let (_, made) = server.post(PODS, &body).await;
    assert_eq!(made["status"]["phase"], "Pending", "{made}");
    let path = format!("{PODS}/p");
    let mut running = made.clone();
    running["status"]["phase"] = "Running".into();
    running["spec"]["nodeName"] = "elsewhere".into();
    let (code, written) = server.put(&format!("{path}/status"), &running).await;
    assert_eq!((code, &written["status"]["phase"]), (200, &json!("Running")), "{written}");
    assert_eq!(written["spec"]["nodeName"], "n1");
    assert_eq!(server.get(&format!("{path}/status")).await.1, written);

    let (code, ending) = server.delete(&path, "{\"gracePeriodSeconds\":7}").await;
    assert_eq!((code, &ending["metadata"]["deletionGracePeriodSeconds"]), (200, &json!(7)));
    assert!(ending["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(server.get(&path).await.0, 200);
    let (code, gone) = server.delete(&format!("{path}?gracePeriodSeconds=0"), "").await;
    assert_eq!((code, &gone["kind"]), (200, &json!("Pod")));
    assert_eq!(server.get(&path).await.0, 404);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_shows_what_would_be_and_leaves_nothing() {
    let server = Server::start().await;
    let revision = server.get(CONFIG_MAPS).await.1["metadata"]["resourceVersion"].clone();
    let (code, shown) = server.post(&format!("{CONFIG_MAPS}?dryRun=All"), &config_map("x")).await;
    assert_eq!((code, &shown["metadata"]["name"]), (201, &json!("x")));
    assert_eq!(server.get(&format!("{CONFIG_MAPS}/x")).await.0, 404);
    server.post(CONFIG_MAPS, &config_map("y")).await;
    let (code, _) = server.delete(&format!("{CONFIG_MAPS}/y"), "{\"dryRun\":[\"All\"]}").await;
    assert_eq!(code, 200);
    let (_, list) = server.get(CONFIG_MAPS).await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    let grown = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(grown(&list["metadata"]["resourceVersion"]), grown(&revision) + 1);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_is_removed_by_selector() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        let mut body = config_map(name);
        body["metadata"]["labels"] = json!({ "keep": if name == "b" { "yes" } else { "no" } });
        assert_eq!(server.post(CONFIG_MAPS, &body).await.0, 201);
    }
    let (code, gone) = server.delete(&format!("{CONFIG_MAPS}?labelSelector=keep%3Dno"), "").await;
    assert_eq!((code, gone["items"].as_array().unwrap().len()), (200, 2), "{gone}");
    let (_, left) = server.get(CONFIG_MAPS).await;
    assert_eq!(left["items"][0]["metadata"]["name"], "b");
    assert_eq!(server.delete("/api/v1/configmaps", "").await.0, 405, "a collection is one namespace's");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_bound_once() {
    let server = Server::start().await;
    let mut body = pod("p");
    body["spec"].as_object_mut().unwrap().remove("nodeName");
    server.post(PODS, &body).await;
    let binding = json!({ "metadata": { "name": "q" }, "target": { "kind": "Node", "name": "n2" } });
    let bindings = PODS.replace("pods", "bindings");
    let (code, missing) = server.post(&bindings, &binding).await;
    assert_eq!((code, &missing["message"]), (404, &json!("pods \"q\" not found")));
    assert_eq!(server.post(PODS, &json!({ "metadata": { "name": "q" }, "spec": { "containers": [{ "name": "a", "image": "i" }] } })).await.0, 201);
    assert_eq!(server.post(&bindings, &binding).await.0, 201);
    assert_eq!(server.get(&format!("{PODS}/q")).await.1["spec"]["nodeName"], "n2");
    assert_eq!(server.get(&bindings).await.0, 405);
    let binding = json!({ "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n2" } });
    let (code, done) = server.post(&format!("{PODS}/p/binding"), &binding).await;
    assert_eq!((code, &done["status"]), (201, &json!("Success")), "{done}");
    assert_eq!(server.get(&format!("{PODS}/p")).await.1["spec"]["nodeName"], "n2");
    assert_eq!(server.post(&format!("{PODS}/p/binding"), &binding).await.0, 409);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_with_one_version_exactly_one_wins() {
    let server = Server::start().await;
    let (_, made) = server.post(CONFIG_MAPS, &config_map("x")).await;
    let path = format!("{CONFIG_MAPS}/x");
    let attempts = (0..32).map(|number| {
        let mut body = made.clone();
        body["data"]["winner"] = number.to_string().into();
        let (server, path) = (&server, &path);
        async move { server.put(path, &body).await.0 }
    });
    let codes = futures::future::join_all(attempts).await;
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| matches!(code, 200 | 409)), "{codes:?}");
    server.running.stop().await;
}

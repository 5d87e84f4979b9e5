//! Watches: nothing lost, nothing doubled, and an end that can be resumed from.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::Server;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str, color: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "color": color } }, "data": {} })
}

async fn paint(server: &Server, name: &str, color: &str) {
    let patch = json!({ "metadata": { "labels": { "color": color } } }).to_string();
    let path = format!("{CONFIG_MAPS}/{name}");
    let (code, answer) = server.send(Method::PATCH, &path, "application/merge-patch+json", patch).await;
    assert_eq!(code, 200, "{answer}");
}

async fn revision(server: &Server) -> String {
    server.get(CONFIG_MAPS).await.1["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_tells_what_is_there_and_then_what_happens() {
    let server = Server::start().await;
    server.post(CONFIG_MAPS, &config_map("a", "red")).await;
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    assert_eq!(watch.told().await, "ADDED a");
    server.post(CONFIG_MAPS, &config_map("b", "red")).await;
    paint(&server, "a", "blue").await;
    server.delete(&format!("{CONFIG_MAPS}/b"), "").await;
    assert_eq!(watch.told().await, "ADDED b");
    assert_eq!(watch.told().await, "MODIFIED a");
    let gone = watch.next().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("b")));
    assert_eq!(gone["object"]["metadata"]["resourceVersion"], revision(&server).await.as_str());
    let old = server.watch("/api/v1/watch/namespaces/default/configmaps/a").await.next().await.unwrap();
    assert_eq!(old["object"]["metadata"]["name"], "a", "the old form of a watch works too");
    server.running.stop().await;
    assert_eq!(watch.told().await, "END");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_enter_and_leave_a_selector() {
    let server = Server::start().await;
    server.post(CONFIG_MAPS, &config_map("a", "red")).await;
    let since = revision(&server).await;
    let path = format!("{CONFIG_MAPS}?watch=true&labelSelector=color%3Dblue&resourceVersion={since}");
    let mut watch = server.watch(&path).await;
    paint(&server, "a", "blue").await;
    paint(&server, "a", "green").await;
    assert_eq!(watch.told().await, "ADDED a");
    let left = watch.next().await.unwrap();
    assert_eq!(left["type"], "DELETED");
    assert_eq!(left["object"]["metadata"]["labels"]["color"], "blue", "as it was within");
    assert_eq!(left["object"]["metadata"]["resourceVersion"], revision(&server).await.as_str());

    let pods = "/api/v1/namespaces/default/pods";
    let mut mine = server.watch("/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1").await;
    for (name, node) in [("p", "n2"), ("q", "n1")] {
        let spec = json!({ "nodeName": node, "containers": [{ "name": "c", "image": "i" }] });
        let body = json!({ "metadata": { "name": name }, "spec": spec });
        assert_eq!(server.post(pods, &body).await.0, 201);
    }
    assert_eq!(mine.told().await, "ADDED q");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bookmarks_end_the_initial_events_and_the_watch_itself() {
    let server = Server::start().await;
    server.post(CONFIG_MAPS, &config_map("a", "red")).await;
    let options = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?{options}&timeoutSeconds=1")).await;
    assert_eq!(watch.told().await, "ADDED a");
    let end = watch.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!((&end["object"]["kind"], &end["object"]["apiVersion"]), (&json!("ConfigMap"), &json!("v1")));
    server.post("/api/v1/namespaces/default/secrets", &json!({ "metadata": { "name": "s" } })).await;
    let now = revision(&server).await;
    assert_eq!(watch.told().await, format!("BOOKMARK @{now}"), "other kinds move it on as well");
    assert_eq!(watch.told().await, "END");

    let mut plain =
        server.watch(&format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1&resourceVersion={now}")).await;
    assert_eq!(plain.told().await, "END");
    let refused = server.get(&format!("{CONFIG_MAPS}?watch=1&sendInitialEvents=true")).await;
    assert_eq!((refused.0, &refused.1["reason"]), (422, &json!("Invalid")));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_forgotten_or_not_reached_is_refused() {
    let server = Server::start().await;
    server.post(CONFIG_MAPS, &config_map("a", "red")).await;
    let server = server.restart().await;
    let error = server.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=2")).await.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)), "{error}");
    assert_eq!(error["object"]["reason"], "Expired");
    let message = error["object"]["message"].as_str().unwrap();
    assert!(message.starts_with("too old resource version: 2 ("), "{message}");
    let now = revision(&server).await;
    let mut resumed = server.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={now}")).await;
    server.post(CONFIG_MAPS, &config_map("b", "red")).await;
    assert_eq!(resumed.told().await, "ADDED b", "the newest version is known after a restart");
    assert_eq!(server.get(&format!("{CONFIG_MAPS}?watch=1&resourceVersion=999999")).await.0, 504);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn between_a_list_and_its_watch_nothing_is_lost_or_doubled() {
    // All events of all watches together fit into the window of the one HTTP/2 connection that carries them (5 MiB):
    // the watches are read one after the other.
    const OBJECTS: usize = 150;
    let server = Server::start().await;
    let writing = async {
        for number in 0..OBJECTS {
            let (code, _) = server.post(CONFIG_MAPS, &config_map(&format!("c{number}"), "x")).await;
            assert_eq!(code, 201);
        }
    };
    let watching = async {
        let mut watchers = Vec::new();
        for _ in 0..20 {
            let (_, list) = server.get(CONFIG_MAPS).await;
            let mut seen: BTreeSet<u64> = BTreeSet::new();
            let version = |object: &Value| {
                object["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
            };
            seen.extend(list["items"].as_array().unwrap().iter().map(version));
            let since = version(&list);
            let listed = server.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={since}")).await;
            watchers.push((seen, listed));
            let whole = server.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
            watchers.push((BTreeSet::new(), whole));
        }
        for (seen, watch) in &mut watchers {
            let mut last = seen.last().copied().unwrap_or(0);
            while seen.len() < OBJECTS {
                let event = watch.next().await.expect("the watch goes on");
                assert_eq!(event["type"], "ADDED");
                let version = event["object"]["metadata"]["resourceVersion"].as_str().unwrap();
                let version = version.parse::<u64>().unwrap();
                assert!(seen.insert(version), "{version} came twice");
                // A first part is in the order of names, what follows in the order of versions.
                last = last.max(version);
            }
            assert_eq!(*seen.last().unwrap(), last);
        }
    };
    futures::future::join(writing, watching).await;
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_does_not_read_is_cut_off_and_the_others_are_served() {
    let server = Server::start().await;
    server.post(CONFIG_MAPS, &json!({ "metadata": { "name": "a" }, "data": {} })).await;
    let since = revision(&server).await;
    let slow_client = crate::server::client(server.running.authority.ca_pem(), Some(&server.running.admin));
    let slow = slow_client.get(server.url(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={since}")));
    let slow = slow.send().await.unwrap();
    let mut quick = server.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={since}")).await;
    let rounds = 1380;
    let path = format!("{CONFIG_MAPS}/a");
    let text = "x".repeat(16_000);
    let writing = async {
        for number in 0..rounds / 46 {
            let some = (0..46).map(|part| {
                let body = json!({ "data": { "text": text, "n": format!("{number}-{part}") } }).to_string();
                server.send(Method::PATCH, &path, "application/merge-patch+json", body)
            });
            for (code, answer) in futures::future::join_all(some).await {
                assert_eq!(code, 200, "{answer}");
            }
        }
    };
    let reading = async {
        for _ in 0..rounds {
            assert_eq!(quick.told().await, "MODIFIED a");
        }
    };
    futures::future::join(writing, reading).await;
    let mut slow = crate::server::Watch::of(slow);
    let mut count = 0;
    while slow.next().await.is_some() {
        count += 1;
    }
    assert!(count < rounds, "it was served {count} of {rounds} although it did not read");
    server.running.stop().await;
}

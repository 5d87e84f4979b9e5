//! Lists: selectors, pages, versions.

use serde_json::{Value, json};

use crate::server::Server;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn make(server: &Server, path: &str, name: &str, label: &str) {
    let body = json!({ "metadata": { "name": name, "labels": { "color": label } }, "data": {} });
    let (code, answer) = server.post(path, &body).await;
    assert_eq!(code, 201, "{answer}");
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_and_namespaces_choose() {
    let server = Server::start().await;
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        make(&server, CONFIG_MAPS, name, color).await;
    }
    make(&server, "/api/v1/namespaces/kube-public/configmaps", "d", "red").await;
    let cases: [(&str, &[&str]); 6] = [
        ("/api/v1/namespaces/default/configmaps?labelSelector=color%3Dred", &["a", "c"]),
        ("/api/v1/configmaps?labelSelector=color%20in%20(red)", &["a", "c", "d"]),
        ("/api/v1/configmaps?labelSelector=color!=red", &["b"]),
        ("/api/v1/configmaps?fieldSelector=metadata.namespace%3Dkube-public", &["d"]),
        ("/api/v1/configmaps?fieldSelector=metadata.name%3Db", &["b"]),
        ("/api/v1/namespaces/nowhere/configmaps", &[]),
    ];
    for (path, expected) in cases {
        let (code, list) = server.get(path).await;
        assert_eq!((code, names(&list)), (200, expected.to_vec()), "{path}");
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    }
    let (code, refused) = server.get("/api/v1/pods?fieldSelector=spec.frog%3Dx").await;
    assert_eq!((code, &refused["message"]), (400, &json!("field label not supported: spec.frog")));
    assert_eq!(server.get("/api/v1/pods?labelSelector=a%20b").await.0, 400);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_one_moment_however_much_is_written_between_them() {
    let server = Server::start().await;
    for number in 0..10 {
        make(&server, CONFIG_MAPS, &format!("c{number}"), "x").await;
    }
    let (_, first) = server.get(&format!("{CONFIG_MAPS}?limit=4")).await;
    assert_eq!(names(&first), ["c0", "c1", "c2", "c3"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 6);
    make(&server, CONFIG_MAPS, "c44", "x").await;
    assert_eq!(server.delete(&format!("{CONFIG_MAPS}/c6"), "").await.0, 200);
    let merge = json!({ "data": { "new": "yes" } }).to_string();
    server
        .send(reqwest::Method::PATCH, &format!("{CONFIG_MAPS}/c5"), "application/merge-patch+json", merge)
        .await;

    let mut seen = names(&first).iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let mut token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    while !token.is_empty() {
        let (code, page) = server.get(&format!("{CONFIG_MAPS}?limit=4&continue={token}")).await;
        assert_eq!(code, 200, "{page}");
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        for item in page["items"].as_array().unwrap() {
            assert!(item["data"].get("new").is_none());
            seen.push(item["metadata"]["name"].as_str().unwrap().to_owned());
        }
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(seen, (0..10).map(|number| format!("c{number}")).collect::<Vec<_>>());

    let exact = first["metadata"]["resourceVersion"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?resourceVersion={exact}&resourceVersionMatch=Exact");
    assert_eq!(names(&server.get(&path).await.1).len(), 10);
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_a_forgotten_moment_is_refused_with_a_token_that_goes_on() {
    let server = Server::start().await;
    for name in ["a", "b", "c"] {
        make(&server, CONFIG_MAPS, name, "x").await;
    }
    let (_, first) = server.get(&format!("{CONFIG_MAPS}?limit=1")).await;
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    make(&server, CONFIG_MAPS, "bb", "x").await;
    let server = server.restart().await;
    let (code, refused) = server.get(&format!("{CONFIG_MAPS}?limit=9&continue={token}")).await;
    assert_eq!((code, &refused["reason"]), (410, &json!("Expired")), "{refused}");
    let token = refused["metadata"]["continue"].as_str().unwrap();
    let (code, rest) = server.get(&format!("{CONFIG_MAPS}?limit=9&continue={token}")).await;
    assert_eq!((code, names(&rest)), (200, vec!["b", "bb", "c"]));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_that_are_not_there_are_refused_in_upstreams_words() {
    let server = Server::start().await;
    let (code, future) = server.get(&format!("{CONFIG_MAPS}?resourceVersion=999999")).await;
    assert_eq!(code, 504);
    assert!(future["message"].as_str().unwrap().starts_with("Too large resource version: 999999, current: "));
    assert_eq!(future["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    let cases = [
        ("resourceVersion=frog", 422),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("resourceVersion=1&resourceVersionMatch=Frog", 422),
        ("limit=frog", 400),
        ("continue=frog", 400),
        ("resourceVersion=0", 200),
        ("limit=0", 200),
    ];
    for (query, code) in cases {
        assert_eq!(server.get(&format!("{CONFIG_MAPS}?{query}")).await.0, code, "{query}");
    }
    server.running.stop().await;
}

//! Tables, bare metadata, discovery and OpenAPI documents, compression, counters.

use serde_json::{Value, json};

use crate::server::{Server, answer};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

async fn as_form(server: &Server, path: &str, accept: &str) -> Value {
    let request = server.http.get(server.url(path)).header("accept", accept);
    let (code, value) = answer(request.send().await.unwrap()).await;
    assert_eq!(code, 200, "{value}");
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_have_columns_cells_and_as_much_of_the_objects_as_asked() {
    let server = Server::start().await;
    let path = "/api/v1/namespaces";
    for (include, kind) in
        [("", json!("PartialObjectMetadata")), ("Object", json!("Namespace")), ("None", Value::Null)]
    {
        let table = as_form(&server, &format!("{path}?includeObject={include}"), TABLE).await;
        assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
        assert_eq!(table["columnDefinitions"][0]["name"], "Name");
        assert_eq!(table["rows"].as_array().unwrap().len(), 5);
        assert_eq!(table["rows"][0]["cells"][0], "default");
        assert_eq!(table["rows"][0]["object"]["kind"], kind);
    }
    let one = as_form(&server, "/api/v1/namespaces/default", TABLE).await;
    assert_eq!((one["rows"].as_array().unwrap().len(), &one["rows"][0]["cells"][1]), (1, &json!("Active")));
    let empty = as_form(&server, "/api/v1/pods", TABLE).await;
    assert_eq!(empty["rows"], json!([]));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bare_metadata_is_served_for_objects_lists_and_watches() {
    let server = Server::start().await;
    let one = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let many = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let object = as_form(&server, "/api/v1/namespaces/default", one).await;
    assert_eq!((&object["kind"], &object["status"]), (&json!("PartialObjectMetadata"), &Value::Null));
    let list = as_form(&server, "/api/v1/namespaces", many).await;
    assert_eq!(
        (&list["kind"], &list["items"][0]["metadata"]["name"]),
        (&json!("PartialObjectMetadataList"), &json!("default"))
    );
    let url = server.url("/api/v1/namespaces?watch=1&timeoutSeconds=1");
    let events = server.http.get(url).header("accept", one).send().await.unwrap().text().await.unwrap();
    assert_eq!(events.matches("PartialObjectMetadata").count(), 5, "{events}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_is_told_plainly_and_aggregated() {
    let server = Server::start().await;
    let core = server.get("/api/v1").await.1;
    let names: Vec<_> =
        core["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    for name in [
        "pods",
        "pods/log",
        "pods/exec",
        "pods/attach",
        "pods/portforward",
        "pods/proxy",
        "nodes/proxy",
        "pods/status",
        "namespaces/finalize",
        "configmaps",
        "events",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(server.get("/api").await.1["versions"], json!(["v1"]));
    let groups = server.get("/apis").await.1;
    assert_eq!(groups["kind"], "APIGroupList");
    assert_eq!(server.get("/apis/apps").await.1["preferredVersion"]["groupVersion"], "apps/v1");
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let response = server.http.get(server.url("/apis")).header("accept", accept).send().await.unwrap();
    assert!(response.headers()["content-type"].to_str().unwrap().contains("as=APIGroupDiscoveryList"));
    let document = answer(response).await.1;
    assert_eq!(
        (&document["kind"], &document["apiVersion"]),
        (&json!("APIGroupDiscoveryList"), &json!("apidiscovery.k8s.io/v2"))
    );
    let apps =
        document["items"].as_array().unwrap().iter().find(|i| i["metadata"]["name"] == "apps").unwrap();
    let resources = apps["versions"][0]["resources"].as_array().unwrap();
    let daemon_sets = resources.iter().find(|r| r["resource"] == "daemonsets").unwrap();
    assert_eq!((&daemon_sets["scope"], &daemon_sets["shortNames"]), (&json!("Namespaced"), &json!(["ds"])));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openapi_documents_are_kept_by_their_hash() {
    let server = Server::start().await;
    let index = server.get("/openapi/v3").await.1;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let response = server.http.get(server.url(url)).send().await.unwrap();
    let tag = response.headers()["etag"].clone();
    assert_eq!(response.headers()["cache-control"], "public, immutable");
    assert_eq!(answer(response).await.1["openapi"], "3.0.0");
    let again = server.http.get(server.url(url)).header("if-none-match", tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.bytes().await.unwrap().len()), (304, 0));
    let outdated = server.http.get(server.url("/openapi/v3/apis/apps/v1?hash=FROG")).send().await.unwrap();
    assert_eq!((outdated.status().as_u16(), outdated.url().path()), (200, "/openapi/v3/apis/apps/v1"));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_answers_are_compressed_for_those_who_accept_it() {
    use std::io::Read as _;
    let server = Server::start().await;
    let path = "/api/v1/namespaces/default/configmaps";
    for number in 0..3 {
        let data = json!({ "text": "words and words ".repeat(6000) });
        server.post(path, &json!({ "metadata": { "name": format!("c{number}") }, "data": data })).await;
    }
    let plain = server.http.get(server.url(path)).send().await.unwrap();
    assert!(plain.headers().get("content-encoding").is_none());
    let plain = plain.bytes().await.unwrap();
    let packed = server.http.get(server.url(path)).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(packed.headers()["content-encoding"], "gzip");
    let packed = packed.bytes().await.unwrap();
    assert!(packed.len() < plain.len() / 5);
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain);
    let short = server.http.get(server.url("/api/v1/namespaces")).header("accept-encoding", "gzip");
    assert!(short.send().await.unwrap().headers().get("content-encoding").is_none());
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_tell_what_was_answered() {
    let server = Server::start().await;
    server.get("/api/v1/pods").await;
    server.get("/api/v1/namespaces/default/pods/none").await;
    let _watch = server.watch("/api/v1/pods?watch=1").await;
    let text = server.get("/metrics").await.1.as_str().unwrap().to_owned();
    for line in [
        "apiserver_request_total{verb=\"list\",resource=\"pods\",code=\"200\"} 1",
        "apiserver_request_total{verb=\"get\",resource=\"pods\",code=\"404\"} 1",
        "apiserver_longrunning_requests{verb=\"watch\",resource=\"pods\"} 1",
        "apiserver_storage_objects{resource=\"namespaces\"} 5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let verbose = server.get("/readyz?verbose").await.1;
    assert_eq!(verbose, "[+]ping ok\n[+]store ok\nreadyz check passed\n");
    assert_eq!(server.get("/readyz/store").await.1, "ok");
    assert_eq!(server.get("/readyz/frog").await.0, 404);
    server.running.stop().await;
}

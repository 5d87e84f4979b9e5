//! Logs and exec, passed on to a real node API, with kubectl at the other end.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use leasehold::driver::clock;
use leasehold::server::node::{Settings, serve};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::machine::Local;
use crate::server::Server;

const PATCH: reqwest::Method = reqwest::Method::PATCH;
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A node API that a Node of the cluster points at.
struct Node {
    log: PathBuf,
    writing: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn register(server: &Server, name: &str, address: SocketAddr) {
    let node = json!({ "metadata": { "name": name }, "status": {
        "addresses": [{ "type": "InternalIP", "address": address.ip().to_string() }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": address.port() } },
    } });
    let (code, answer) = server.post("/api/v1/nodes", &node).await;
    assert_eq!(code, 201, "{answer}");
}

async fn start_node(server: &Server) -> Node {
    let directory = server.directory.path().join("node");
    std::fs::create_dir_all(&directory).unwrap();
    let log = directory.join("0.log");
    std::fs::write(&log, "").unwrap();
    let (writing, is_writing) = watch::channel(true);
    let authority = &server.running.authority;
    let identity = authority.issue_server("system:node:n1", &["127.0.0.1".into()], clock::wall()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let settings = Settings::new(identity, authority.ca_pem().into(), directory.join("exec"), clock::wall);
    let attached = Arc::default();
    let backend = Local { log: log.clone(), writing: is_writing, attached };
    let task = tokio::spawn(async move {
        let _ = serve(listener, settings, backend).await;
    });
    register(server, "n1", address).await;
    Node { log, writing, task }
}

fn pod(name: &str, node: &str, containers: &[&str]) -> Value {
    let containers: Vec<Value> =
        containers.iter().map(|name| json!({ "name": name, "image": "i" })).collect();
    let mut spec = json!({ "containers": containers });
    if !node.is_empty() {
        spec["nodeName"] = node.into();
    }
    json!({ "metadata": { "name": name }, "spec": spec })
}

/// kubectl runs exec only in Pods that are not over, and says so from their status.
async fn make_running(server: &Server, body: &Value) {
    assert_eq!(server.post(PODS, body).await.0, 201);
    let path = format!("{PODS}/{}/status", body["metadata"]["name"].as_str().unwrap());
    let status = json!({ "status": { "phase": "Running" } }).to_string();
    let (code, answer) = server.send(Method::PATCH, &path, "application/merge-patch+json", status).await;
    assert_eq!(code, 200, "{answer}");
}

fn say(node: &Node, text: &str) {
    let mut log = std::fs::File::options().append(true).open(&node.log).unwrap();
    writeln!(log, "2026-01-02T03:04:05.000000000Z stdout F {text}").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_logs_reads_and_follows_what_a_container_says() {
    let server = Server::start().await;
    let node = start_node(&server).await;
    make_running(&server, &pod("web-0", "n1", &["main"])).await;
    say(&node, "one");
    say(&node, "two");
    assert_eq!(server.kubectl_ok(&["logs", "web-0"]).await, "one\ntwo\n");
    assert_eq!(
        server.kubectl_ok(&["logs", "web-0", "--tail=1", "--timestamps"]).await,
        "2026-01-02T03:04:05.000000000Z two\n"
    );
    let follow = async { server.kubectl_ok(&["logs", "-f", "web-0"]).await };
    let speak = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        say(&node, "three");
        tokio::time::sleep(Duration::from_millis(200)).await;
        node.writing.send(false).unwrap();
    };
    let (followed, ()) = futures::future::join(follow, speak).await;
    assert_eq!(followed, "one\ntwo\nthree\n");
    let previous = server.kubectl(&["logs", "-p", "web-0"]).await;
    assert_eq!(
        String::from_utf8_lossy(&previous.stderr),
        "Error from server (BadRequest): previous terminated container \"main\" not found\n"
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_exec_runs_a_process_with_its_streams_and_exit_code() {
    let server = Server::start().await;
    let _node = start_node(&server).await;
    make_running(&server, &pod("web-0", "n1", &["main"])).await;
    let script = "read word; echo got $word; echo bad >&2; exit 3";
    let output = server.kubectl_with(&["exec", "-i", "web-0", "--", "sh", "-c", script], "frog\n").await;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "got frog\n");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(error, "bad\ncommand terminated with exit code 3\n");
    assert_eq!(output.status.code(), Some(3));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_fetched_is_refused_in_upstreams_words() {
    let server = Server::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = free.local_addr().unwrap();
    drop(free);
    register(&server, "deaf", nobody).await;
    for (name, node, containers) in [
        ("unbound", "", &["main"][..]),
        ("deaf", "deaf", &["main"]),
        ("lost", "gone", &["main"]),
        ("two", "deaf", &["a", "b"]),
    ] {
        assert_eq!(server.post(PODS, &pod(name, node, containers)).await.0, 201);
    }
    assert_eq!(server.get(&format!("{PODS}/unbound/log")).await, (200, json!("")));
    let cases = [
        ("none/log", 404, "pods \"none\" not found"),
        ("lost/log", 404, "nodes \"gone\" not found"),
        ("two/log", 400, "a container name must be specified for pod two, choose one of: [a b]"),
        ("two/log?container=c", 400, "container c is not valid for pod two"),
        (
            "unbound/log?tailLines=-1",
            422,
            "PodLogOptions \"unbound\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0",
        ),
        ("deaf/exec?command=ls&stdout=1", 400, "Upgrade request required"),
    ];
    for (path, code, message) in cases {
        let (found, status) = server.get(&format!("{PODS}/{path}")).await;
        assert_eq!((found, status["message"].as_str().unwrap()), (code, message), "{path}");
    }
    let (code, status) = server.get(&format!("{PODS}/deaf/log")).await;
    let message = status["message"].as_str().unwrap();
    assert_eq!(code, 500);
    assert_eq!(
        message,
        format!(
            "Get \"https://{nobody}/containerLogs/default/deaf/main\": dial tcp {nobody}: connect: connection refused"
        )
    );
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_foreign_certificate_is_not_believed() {
    let server = Server::start().await;
    let elsewhere = Server::start().await;
    let foreign = elsewhere.running.local_addr;
    register(&server, "foreign", foreign).await;
    assert_eq!(server.post(PODS, &pod("p", "foreign", &["main"])).await.0, 201);
    let (code, status) = server.get(&format!("{PODS}/p/log")).await;
    let message = status["message"].as_str().unwrap();
    assert!(code == 500 && message.contains("tls: "), "{message}");
    elsewhere.running.stop().await;
    server.running.stop().await;
}

/// A web server that says what it was asked.
async fn start_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = |request: axum::extract::Request| async move {
        let (parts, body) = request.into_parts();
        let header =
            |name: &str| parts.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let said = format!("{} {}", parts.method, parts.uri);
        let headers = [header("x-mine"), header("authorization"), header("x-forwarded-uri")].join("|");
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let answer = format!("{said}\n{headers}\n{}", String::from_utf8_lossy(&body));
        (axum::http::StatusCode::IM_A_TEAPOT, [("location", "/elsewhere"), ("x-theirs", "yes")], answer)
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(echo)).await });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_passed_on_to_nodes_pods_and_services_as_they_are() {
    let server = Server::start().await;
    let _node = start_node(&server).await;
    let echo = start_echo().await;
    let port = echo.port();
    let metrics = server.kubectl_ok(&["get", "--raw", "/api/v1/nodes/n1/proxy/metrics"]).await;
    assert!(metrics.contains("leasehold_pods 1"), "{metrics}");
    assert_eq!(server.get("/api/v1/nodes/n1/proxy/healthz").await, (200, json!("ok")));

    make_running(&server, &pod("web", "n1", &["main"])).await;
    let placed = json!({ "status": { "podIP": "127.0.0.1" } });
    let patch = "application/merge-patch+json";
    let (code, answer) = server.send(PATCH, &format!("{PODS}/web/status"), patch, placed.to_string()).await;
    assert_eq!(code, 200, "{answer}");
    let base = format!("{PODS}/web:{port}/proxy");
    for (method, body) in
        [(reqwest::Method::POST, "some body"), (reqwest::Method::DELETE, ""), (reqwest::Method::GET, "")]
    {
        let url = server.url(&format!("{base}/a%2Fb/c/?x=1&y=%20"));
        let request = server.http.request(method.clone(), url).header("x-mine", "mine").body(body);
        let response = request.send().await.unwrap();
        let headers = response.headers();
        assert_eq!((response.status().as_u16(), headers["x-theirs"].to_str().unwrap()), (418, "yes"));
        assert_eq!(headers["location"].to_str().unwrap(), format!("{base}/elsewhere"));
        let expected = format!("{method} /a%2Fb/c/?x=1&y=%20\nmine||{base}/a%2Fb/c/\n{body}");
        assert_eq!(response.text().await.unwrap(), expected);
    }
    // Without a slash at the end the links of a page would lead out of the proxy: so the client is sent there.
    let (code, answer) = server.get(&base).await;
    assert!(code == 418 && answer.as_str().unwrap().starts_with("GET /\n"), "{answer}");

    let service =
        json!({ "metadata": { "name": "s" }, "spec": { "ports": [{ "name": "web", "port": 80 }] } });
    let (code, answer) = server.post("/api/v1/namespaces/default/services", &service).await;
    assert_eq!(code, 201, "{answer}");
    let of_service = "/api/v1/namespaces/default/services/s:web/proxy/x";
    let (code, answer) = server.get(of_service).await;
    assert_eq!(
        (code, answer["message"].as_str().unwrap()),
        (503, "no endpoints available for service \"s\"")
    );
    let slice = json!({
        "metadata": { "name": "s-1", "labels": { "kubernetes.io/service-name": "s" } },
        "addressType": "IPv4", "ports": [{ "name": "web", "port": port }],
        "endpoints": [{ "addresses": ["127.0.0.1"], "nodeName": "n1" }],
    });
    let (code, answer) =
        server.post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", &slice).await;
    // The store may have no endpoint of loopback, as upstream's has none.
    if code == 201 {
        let (code, answer) = server.get(of_service).await;
        assert!(code == 418 && answer.as_str().unwrap().starts_with("GET /x\n"), "{answer}");
    } else {
        assert_eq!(code, 422, "{answer}");
    }

    for (path, code, message) in [
        (format!("{PODS}/none:1/proxy/"), 404, "pods \"none\" not found"),
        (format!("{PODS}/web/proxy/"), 400, "no port \"\" to pass the request on to"),
        (format!("{PODS}/ftp:web:1/proxy/"), 400, "invalid pods request \"ftp:web:1\""),
        ("/api/v1/nodes/n2/proxy/".into(), 404, "nodes \"n2\" not found"),
    ] {
        let (found, status) = server.get(&path).await;
        assert_eq!((found, status["message"].as_str().unwrap()), (code, message), "{path}");
    }
    // What only the coordinator's own machine may reach is not reached through it.
    let elsewhere = json!({ "status": { "podIP": "169.254.169.254" } });
    server.send(PATCH, &format!("{PODS}/web/status"), patch, elsewhere.to_string()).await;
    let (code, status) = server.get(&format!("{base}/")).await;
    assert_eq!((code, status["message"].as_str().unwrap()), (400, "address not allowed"));
    server.running.stop().await;
}

//! What cannot be done is said clearly: a Status for every bad request, never a hang.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::server::Server;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn refused(server: &Server, media_type: &str, body: Vec<u8>) -> (u16, String) {
    let (code, status) = server.send(Method::POST, CONFIG_MAPS, media_type, body).await;
    assert_eq!(status["kind"], "Status", "{status}");
    (code, status["message"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_cannot_be_read_are_refused_in_words() {
    let server = Server::start().await;
    let nested = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let cases: [(&str, Vec<u8>, u16, &str); 13] = [
        ("application/json", b"{\"metadata\": ".to_vec(), 400, "json parse error"),
        ("application/json", b"".to_vec(), 400, "json parse error"),
        ("application/json", b"\xff\xfe{}".to_vec(), 400, "json parse error"),
        ("application/json", b"[1]".to_vec(), 400, "must be of type ConfigMap"),
        ("application/json", nested.into_bytes(), 400, "json parse error"),
        ("application/yaml", b"a: [".to_vec(), 400, "yaml parse error"),
        ("application/yaml", b"\xff".to_vec(), 400, "yaml parse error"),
        ("application/json", br#"{"kind":"Pod","metadata":{"name":"x"}}"#.to_vec(), 400, "ConfigMap"),
        ("application/json", br#"{"apiVersion":"v2","metadata":{"name":"x"}}"#.to_vec(), 400, "(v2)"),
        ("application/json", br#"{"metadata":{"name":"x","namespace":"other"}}"#.to_vec(), 400, "namespace"),
        ("application/json", br#"{"metadata":{"name":"x"},"data":{"a":1}}"#.to_vec(), 400, "data"),
        ("text/frogs", b"{}".to_vec(), 415, "accepted media types include"),
        ("application/json", br#"{"metadata":{"name":"Not Valid"}}"#.to_vec(), 422, "metadata.name"),
    ];
    for (media_type, body, code, part) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let (found, message) = refused(&server, media_type, body).await;
        assert_eq!(found, code, "{shown}: {message}");
        assert!(message.contains(part), "{shown}: {message}");
    }
    let (code, message) = refused(&server, "application/json", vec![b' '; (3 << 20) + 1]).await;
    assert_eq!((code, message.as_str()), (413, "Request entity too large: limit is 3145728"));
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn yaml_is_read_and_written_and_aliases_do_not_explode() {
    let server = Server::start().await;
    let yaml = "metadata:\n  name: x\ndata:\n  text: |\n    one\n    two\n  number: \"7\"\n";
    let (code, made) = server.send(Method::POST, CONFIG_MAPS, "application/yaml", yaml).await;
    assert_eq!((code, &made["data"]["text"]), (201, &json!("one\ntwo\n")), "{made}");
    let request =
        server.http.get(server.url(&format!("{CONFIG_MAPS}/x"))).header("accept", "application/yaml");
    let text = request.send().await.unwrap().text().await.unwrap();
    let back: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(back, made, "{text}");

    let mut bomb = String::from("metadata: {name: y}\na0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    bomb.extend((1..12).map(|level| {
        let alias = format!("*a{}", level - 1);
        format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(","))
    }));
    let (code, status) = server.send(Method::POST, CONFIG_MAPS, "application/yaml", bomb).await;
    assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")), "{status}");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_fields_are_warned_of_refused_or_ignored() {
    let server = Server::start().await;
    let body = r#"{"metadata":{"name":"x"},"data":{"a":"1","a":"2"},"frog":1}"#;
    let strict = server
        .send(Method::POST, &format!("{CONFIG_MAPS}?fieldValidation=Strict"), "application/json", body)
        .await;
    let message = strict.1["message"].as_str().unwrap();
    assert_eq!(strict.0, 400);
    assert!(message.contains("strict decoding error: "), "{message}");
    assert!(
        message.contains("duplicate field \"data.a\"") && message.contains("unknown field \"frog\""),
        "{message}"
    );
    let url = server.url(&format!("{CONFIG_MAPS}?fieldValidation=Warn"));
    let request = server.http.post(url).header("content-type", "application/json").body(body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    let warnings: Vec<_> =
        response.headers().get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
    assert_eq!(warnings, [r#"299 - "duplicate field \"data.a\"""#, r#"299 - "unknown field \"frog\"""#]);
    assert_eq!(server.get(&format!("{CONFIG_MAPS}?fieldValidation=x")).await.0, 200, "reads do not look");
    server.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_methods_and_forms_that_are_not_served_are_refused() {
    let server = Server::start().await;
    for path in
        ["/api/v1/frogs", "/apis/frogs.org/v1/x", "/apis/frogs.org", "/nothing", "/api/v2", "/openapi/v3/x"]
    {
        let (code, status) = server.get(path).await;
        assert_eq!((code, &status["reason"]), (404, &json!("NotFound")), "{path}");
        assert_eq!(status["message"], "the server could not find the requested resource");
    }
    let cases = [
        (Method::POST, "/api/v1/configmaps"),
        (Method::PUT, CONFIG_MAPS),
        (Method::PATCH, CONFIG_MAPS),
        (Method::POST, "/api/v1/namespaces/default/configmaps/x"),
        (Method::OPTIONS, CONFIG_MAPS),
        (Method::POST, "/version"),
    ];
    for (method, path) in cases {
        let (code, status) = server.send(method.clone(), path, "application/json", "{}").await;
        assert_eq!((code, &status["reason"]), (405, &json!("MethodNotAllowed")), "{method} {path}");
    }
    let accept = |value: &'static str| server.http.get(server.url(CONFIG_MAPS)).header("accept", value);
    let refusal = accept("application/vnd.kubernetes.protobuf").send().await.unwrap();
    assert_eq!(refusal.status(), 406);
    let apply = "application/apply-patch+cbor";
    let (code, status) = server.send(Method::PATCH, &format!("{CONFIG_MAPS}/x"), apply, "{}").await;
    assert_eq!((code, &status["reason"]), (415, &json!("UnsupportedMediaType")), "{status}");
    server.running.stop().await;
}

/// Speaks TLS, and HTTP by hand.
async fn by_hand(server: &Server, text: &str) -> String {
    let address = server.running.local_addr;
    let tls = leasehold::server::tls::client_config(&server.running.admin, server.running.authority.ca_pem())
        .unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(tls));
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut stream = connector.connect(address.ip().into(), socket).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
    let _ = read.await.expect("the server ends the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_body_and_a_broken_head_end_without_harm() {
    let server = Server::start().await;
    let head = format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n");
    let cut = by_hand(&server, &format!("{head}Content-Length: 500\r\n\r\n{{\"metadata\":")).await;
    assert!(cut.is_empty() || cut.starts_with("HTTP/1.1 400"), "{cut}");
    let odd = by_hand(&server, "FROG\r\n\r\n").await;
    assert!(odd.is_empty() || odd.starts_with("HTTP/1.1 400"), "{odd}");
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000));
    let long = by_hand(&server, &long).await;
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 4"), "{long}");
    assert_eq!(server.get(CONFIG_MAPS).await.0, 200);
    server.running.stop().await;
}

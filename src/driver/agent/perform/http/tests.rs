use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Answers every connection with what `reply` makes of the request's head; over TLS where there is an acceptor.
async fn serve(tls: Option<TlsAcceptor>, reply: impl Fn(&str) -> String + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let reply = Arc::new(reply);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (tls, reply) = (tls.clone(), reply.clone());
            tokio::spawn(async move {
                match tls {
                    None => answer(stream, &*reply).await,
                    Some(tls) => answer(tls.accept(stream).await.expect("a greeting"), &*reply).await,
                }
            });
        }
    });
    port
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, reply: &impl Fn(&str) -> String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
        // What is no request gets its answer at once.
        if head[0] == 0x16 {
            break;
        }
    }
    let _ = stream.write_all(reply(&String::from_utf8_lossy(&head)).as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn place() -> Place {
    Place { namespace: None, ip: "127.0.0.1".to_owned() }
}

fn get(action: Value) -> Result<Get, String> {
    let action: HTTPGetAction = serde_json::from_value(action).expect("an action");
    let container = json!({ "name": "c", "ports": [{ "name": "web", "containerPort": 8080 }] });
    let container: Container = serde_json::from_value(container).expect("a container");
    Get::new(&action, &container, &place(), Purpose::Probe)
}

async fn perform(action: Value) -> Result<Answer, String> {
    get(action).expect("a request").perform(Some(Duration::from_secs(10))).await
}

#[tokio::test]
async fn a_request_says_what_the_manifest_says_and_who_asks() {
    let port = serve(None, |head| ok(&head.to_lowercase())).await;
    let plain = perform(json!({ "port": port, "path": "/a?b=c" })).await.expect("an answer").body;
    assert!(plain.starts_with("get /a?b=c http/1.1\r\n"), "{plain}");
    let host = format!("host: 127.0.0.1:{port}\r\n");
    for line in ["user-agent: kube-probe/1.36\r\n", "accept: */*\r\n", "connection: close\r\n", host.as_str()]
    {
        assert!(plain.contains(line), "{line}: {plain}");
    }
    let headers = json!([{ "name": "Host", "value": "example.test" }, { "name": "X-A", "value": "1" },
        { "name": "X-A", "value": "2" }, { "name": "Accept", "value": "" }, { "name": "User-Agent", "value": "me" }]);
    let own = perform(json!({ "port": port, "path": "no-slash", "httpHeaders": headers })).await;
    let own = own.expect("an answer").body;
    assert!(own.starts_with("get /no-slash http/1.1\r\n"), "{own}");
    for line in ["host: example.test\r\n", "x-a: 1\r\nx-a: 2\r\n", "user-agent: me\r\n"] {
        assert!(own.contains(line), "{line}: {own}");
    }
    assert!(!own.contains("accept:"), "{own}");
}

#[test]
fn ports_are_numbers_or_names_and_paths_say_nothing_of_the_host() {
    let url = |action: Value| get(action).map(|get| get.url.to_string());
    let found = |text: &str| Ok(text.to_owned());
    assert_eq!(url(json!({ "port": "web", "path": "/x" })), found("http://127.0.0.1:8080/x"));
    assert_eq!(url(json!({ "port": "81" })), found("http://127.0.0.1:81/"));
    assert_eq!(url(json!({ "port": 443, "scheme": "HTTPS" })), found("https://127.0.0.1/"));
    assert_eq!(url(json!({ "port": 81, "host": "::1" })), found("http://[::1]:81/"));
    for path in ["//other/x?y", "https://other:1/x?y"] {
        assert_eq!(url(json!({ "port": 81, "path": path })), found("http://127.0.0.1:81/x?y"), "{path}");
    }
    let refused = |text: &str| Err(text.to_owned());
    assert_eq!(url(json!({ "port": "other" })), refused("strconv.Atoi: parsing \"other\": invalid syntax"));
    assert_eq!(url(json!({ "port": 0 })), refused("invalid port number: 0"));
    assert_eq!(url(json!({ "port": 65536 })), refused("invalid port number: 65536"));
}

#[tokio::test]
async fn redirects_are_followed_within_the_host_ten_times_at_most() {
    let port = serve(None, |head| {
        let location = match head.split(' ').nth(1).unwrap_or_default() {
            "/moved" => "/here",
            "/away" => "http://127.0.0.2/",
            "/round" => "/round",
            _ => return ok("here"),
        };
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 5\r\n\r\nmoved")
    })
    .await;
    let at = |path: &str| perform(json!({ "port": port, "path": path }));
    assert_eq!(at("/moved").await.expect("an answer").body, "here");
    let away = at("/away").await.expect("an answer");
    assert_eq!((away.status.as_u16(), away.body.as_str()), (302, "moved"));
    let round = format!("Get \"http://127.0.0.1:{port}/round\": stopped after 10 redirects");
    assert_eq!(at("/round").await.expect_err("for ever"), round);
}

#[tokio::test]
async fn bodies_are_bounded_silence_is_and_refusals_are_told() {
    let port = serve(None, |_| ok(&"x".repeat(100_000))).await;
    assert_eq!(perform(json!({ "port": port })).await.expect("an answer").body.len(), 10 * 1024);
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = silent.local_addr().expect("bound").port();
    let get_it = get(json!({ "port": port })).expect("a request");
    let late = get_it.perform(Some(Duration::from_millis(50))).await.expect_err("nobody answers");
    let words = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
    assert_eq!(late, format!("Get \"http://127.0.0.1:{port}/\": {words}"));
    drop(silent);
    let refused = perform(json!({ "port": port })).await.expect_err("nobody listens");
    let dial = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(refused, format!("Get \"http://127.0.0.1:{port}/\": {dial}"));
}

/// A server's side of TLS, with a certificate that nobody vouches for.
fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["nobody.test".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .expect("a key");
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn any_certificate_will_do_and_a_plain_answer_to_tls_is_known_as_such() {
    let port = serve(Some(acceptor()), |_| ok("secret")).await;
    let action = json!({ "port": port, "scheme": "HTTPS" });
    assert_eq!(perform(action).await.expect("an answer").body, "secret");
    let plain = serve(None, |head| if head.starts_with("GET") { ok("plain") } else { ok("what?") }).await;
    let headers = json!([{ "name": "Authorization", "value": "secret" }]);
    let action = get(json!({ "port": plain, "scheme": "HTTPS", "httpHeaders": headers })).expect("a request");
    let why = action.perform(None).await.expect_err("no TLS there");
    assert!(is_plain_answer(&why), "{why}");
    let again = action.in_plain_text();
    assert!(again.headers.get(AUTHORIZATION).is_none());
    assert_eq!(again.perform(None).await.expect("an answer").body, "plain");
}

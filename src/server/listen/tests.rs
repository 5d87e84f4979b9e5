use std::path::Path;

use http::Method;
use http_body_util::{BodyExt as _, Full};
use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::server::tls::{Authority, Tickets, client_config, server_config};
use crate::time::WallTime;

type Client = tokio_rustls::client::TlsStream<TcpStream>;

/// Answers with what it was sent; a PUT is answered before it has been read, and then nobody reads it. GET tells who
/// asks.
async fn echo(peer: Option<Arc<Peer>>, request: Request<RequestBody>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let body = match *request.method() {
        Method::PUT => String::new(),
        Method::GET => peer.map(|peer| peer.common_name.clone()).unwrap_or_default(),
        _ => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        }
    };
    tokio::task::yield_now().await;
    Response::new(Full::from(format!("{path}:{body}")).map_err(|e| match e {}).boxed_unsync())
}

fn wall() -> WallTime {
    let now = rustls::pki_types::UnixTime::now().as_secs() as i64;
    WallTime(jiff::Timestamp::from_second(now).unwrap())
}

/// A server with what is kept in a directory, and the way into it.
fn server(dir: &Path) -> (SocketAddr, Authority, CancellationToken) {
    let authority = Authority::load_or_create(dir, wall()).unwrap();
    let verifier = Verifier::new(authority.ca_pem()).unwrap();
    let identity = authority.issue_server("test", &["127.0.0.1".into()], wall()).unwrap();
    let mut tls = server_config(&identity, &verifier, &["h2", "http/1.1"]).unwrap();
    tls.ticketer = Arc::new(Tickets::load(&dir.join("tickets.json"), wall));
    let listener = bind(([127, 0, 0, 1], 0).into()).unwrap().listen(BACKLOG).unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    tokio::spawn(serve(listener, Arc::new(tls), verifier, echo, stop.clone()));
    (address, authority, stop)
}

fn connector(authority: &Authority) -> TlsConnector {
    let identity = authority.issue_client("somebody", &[], wall()).unwrap();
    TlsConnector::from(Arc::new(client_config(&identity, authority.ca_pem()).unwrap()))
}

async fn connect(connector: &TlsConnector, address: SocketAddr) -> Client {
    let socket = TcpStream::connect(address).await.unwrap();
    connector.connect(address.ip().into(), socket).await.unwrap()
}

async fn client() -> (Client, CancellationToken) {
    let dir = tempfile::tempdir().unwrap();
    let (address, authority, stop) = server(dir.path());
    (connect(&connector(&authority), address).await, stop)
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Reads until so many answers have ended with `end`.
async fn read_until(client: &mut Client, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        assert_ne!(client.read_buf(&mut read).await.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn requests_are_answered_in_turn_however_they_are_cut() {
    let (mut client, _stop) = client().await;
    let whole = [post("/1", "one"), post("/2", ""), post("/3", "three"), post("/4", "four")].concat();
    // In two parts, cut at every byte: in heads, between requests, and in bodies.
    for cut in 0..=whole.len() {
        client.write_all(&whole.as_bytes()[..cut]).await.unwrap();
        client.flush().await.unwrap();
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        client.write_all(&whole.as_bytes()[cut..]).await.unwrap();
        client.flush().await.unwrap();
        let answers = read_until(&mut client, "/4:four").await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4, "{answers}");
        assert!(answers.contains("/1:one") && answers.contains("/3:three"), "{answers}");
    }
    // And each by itself, when the one before has been answered.
    for number in 0..20 {
        client.write_all(post("/alone", &number.to_string()).as_bytes()).await.unwrap();
        read_until(&mut client, &format!("/alone:{number}")).await;
    }
}

#[tokio::test]
async fn what_is_left_of_a_body_that_nobody_read_is_not_taken_for_a_request() {
    let (mut client, _stop) = client().await;
    let hidden = post("/hidden", "");
    let length = 100 + hidden.len();
    let head = format!("PUT /unread HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    read_until(&mut client, "/unread:").await;
    // The connection may be closed already.
    let _ = client.write_all(hidden.as_bytes()).await;
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest).await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[tokio::test]
async fn a_connection_that_waits_is_closed_at_a_stop() {
    let (mut client, stop) = client().await;
    client.write_all(post("/1", "one").as_bytes()).await.unwrap();
    read_until(&mut client, "/1:one").await;
    stop.cancel();
    assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_resumes_its_session_also_with_another_process_and_is_known_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let connector = connector(&Authority::load_or_create(dir.path(), wall()).unwrap());
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (address, ..) = server(dir.path());
        let mut client = connect(&connector, address).await;
        client.write_all(b"GET /who HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        read_until(&mut client, "/who:somebody").await;
        assert_eq!(client.get_ref().1.handshake_kind(), Some(kind));
    }
}

#[tokio::test]
async fn handshakes_that_do_not_go_on_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let (address, authority, _stop) = server(dir.path());
    let mut silent = Vec::new();
    for _ in 0..2 * HANDSHAKES_MAX {
        let mut socket = TcpStream::connect(address).await.unwrap();
        // The beginning of a handshake's first record.
        socket.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
        silent.push(socket);
    }
    let begun = std::time::Duration::from_secs(9);
    tokio::time::timeout(begun, connect(&connector(&authority), address)).await.expect("in time");
}

use http::Method;
use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::server::tls::{Authority, client_config, server_config};
use crate::time::WallTime;

type Client = tokio_rustls::client::TlsStream<TcpStream>;

/// Answers with what it was sent; a PUT is answered before it has been read, and then nobody reads it.
async fn echo(_: Option<Arc<Peer>>, request: Request<RequestBody>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let body = match *request.method() {
        Method::PUT => String::new(),
        _ => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            String::from_utf8(body.to_vec()).unwrap()
        }
    };
    tokio::task::yield_now().await;
    Response::new(Full::from(format!("{path}:{body}")).map_err(|e| match e {}).boxed_unsync())
}

async fn client() -> (Client, CancellationToken) {
    let dir = tempfile::tempdir().unwrap();
    let now = rustls::pki_types::UnixTime::now().as_secs() as i64;
    let now = WallTime(jiff::Timestamp::from_second(now).unwrap());
    let authority = Authority::load_or_create(dir.path(), now).unwrap();
    let verifier = Verifier::new(authority.ca_pem()).unwrap();
    let identity = authority.issue_server("test", &["127.0.0.1".into()], now).unwrap();
    let tls = Arc::new(server_config(&identity, &verifier, &["h2", "http/1.1"]).unwrap());
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, tls, verifier, echo, stop.clone()));
    let admin = authority.issue_client("test", &[], now).unwrap();
    let connector = TlsConnector::from(Arc::new(client_config(&admin, authority.ca_pem()).unwrap()));
    let socket = TcpStream::connect(address).await.unwrap();
    (connector.connect(address.ip().into(), socket).await.unwrap(), stop)
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

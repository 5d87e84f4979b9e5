//! The node's HTTPS API, over real TLS connections, with real processes behind exec.

#[path = "support/machine.rs"]
mod machine;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leasehold::driver::clock;
use leasehold::logs::tap::Tap;
use leasehold::server::node::{Attachment, Settings, serve};
use leasehold::server::tls::{Authority, Identity, NODES, PROXY_NAME, client_config};
use machine::{Attached, Local};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Nothing here takes nearly so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running node API and the authority of its cluster.
struct Node {
    dir: tempfile::TempDir,
    authority: Authority,
    address: SocketAddr,
    log: PathBuf,
    running: watch::Sender<bool>,
    /// What the next client is attached to.
    attached: Arc<Mutex<Option<Attachment<Attached>>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Node {
    async fn start(listen: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let authority =
            Authority::load_or_create(&dir.path().join("ca"), clock::wall()).expect("an authority");
        let names = ["127.0.0.1".to_owned(), "::1".to_owned()];
        let identity = authority.issue_server("node-1", &names, clock::wall()).expect("a certificate");
        let listener = TcpListener::bind(listen).await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let log = dir.path().join("0.log");
        let (running, writing) = watch::channel(true);
        let exec_dir = dir.path().join("exec");
        let settings = Settings::new(identity, authority.ca_pem().to_owned(), exec_dir, clock::wall);
        let attached = Arc::new(Mutex::new(None));
        let backend = Local { log: log.clone(), writing, attached: attached.clone() };
        let server = tokio::spawn(async move {
            serve(listener, settings, backend).await.expect("it serves");
        });
        Self { dir, authority, address, log, running, attached, server }
    }

    fn identity(&self, name: &str) -> Identity {
        self.authority.issue_client(name, &[], clock::wall()).expect("a certificate")
    }

    async fn connect(&self) -> Connection {
        let config = client_config(&self.identity(PROXY_NAME), self.authority.ca_pem());
        Connection::open(self.address, config.expect("usable")).await
    }

    /// Status and body, as the coordinator is answered.
    async fn get(&self, path: &str) -> (u16, String) {
        self.connect().await.get(path).await
    }

    /// Begins an exec session as kubectl does.
    async fn exec(&self, query: &str, protocol: &str) -> WebSocket {
        let path = format!("/exec/default/web-0/main?{query}");
        let (status, _, socket) = self.connect().await.upgrade("GET", &path, protocol).await;
        assert_eq!(status, 101);
        socket
    }
}

/// One TLS connection, speaking HTTP by hand.
struct Connection(TlsStream<TcpStream>);

impl Connection {
    async fn open(address: SocketAddr, config: rustls::ClientConfig) -> Self {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake");
        Self(stream)
    }

    async fn head(&mut self) -> (u16, BTreeMap<String, String>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, self.0.read_u8()).await.expect("in time").expect("a response"));
        }
        let head = String::from_utf8(head).expect("text");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let headers = lines.filter_map(|line| line.split_once(": "));
        (status, headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect())
    }

    async fn request(&mut self, method: &str, path: &str, headers: &str) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: node\r\n{headers}\r\n");
        self.0.write_all(request.as_bytes()).await.expect("connected");
    }

    async fn get(mut self, path: &str) -> (u16, String) {
        self.request("GET", path, "Connection: close\r\n").await;
        let (status, headers) = self.head().await;
        let mut body = Vec::new();
        let read = timeout(PATIENCE, self.0.read_to_end(&mut body)).await.expect("in time");
        assert!(read.is_ok() || headers.contains_key("content-length"), "{read:?}");
        let chunked = headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked");
        let body = if chunked { unchunked(&body) } else { body };
        (status, String::from_utf8(body).expect("text"))
    }

    async fn upgrade(
        mut self,
        method: &str,
        path: &str,
        protocol: &str,
    ) -> (u16, BTreeMap<String, String>, WebSocket) {
        let headers = format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: {protocol}\r\n"
        );
        self.request(method, path, &headers).await;
        let (status, headers) = self.head().await;
        let (reader, writer) = tokio::io::split(self.0);
        (status, headers, WebSocket { reader: Receiver(reader), writer: Sender(writer) })
    }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|pair| pair == b"\r\n").expect("a chunk");
        let size = std::str::from_utf8(&body[..end]).ok().and_then(|hex| usize::from_str_radix(hex, 16).ok());
        let size = size.expect("a size");
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
}

/// The client's end of a WebSocket.
struct WebSocket {
    reader: Receiver,
    writer: Sender,
}

struct Sender(WriteHalf<TlsStream<TcpStream>>);
struct Receiver(ReadHalf<TlsStream<TcpStream>>);

impl Sender {
    /// Sends one binary message; the mask is all zeros.
    async fn send(&mut self, message: &[u8]) {
        let mut frame = vec![0x82];
        match message.len() {
            short @ 0..=125 => frame.push(0x80 | short as u8),
            long => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(message);
        self.0.write_all(&frame).await.expect("connected");
        self.0.flush().await.expect("connected");
    }
}

impl Receiver {
    /// The next message; none when the server closes.
    async fn receive(&mut self) -> Option<Vec<u8>> {
        loop {
            let read = async {
                let kind = self.0.read_u8().await.ok()? & 0x0f;
                let length = match self.0.read_u8().await.ok()? {
                    126 => u64::from(self.0.read_u16().await.ok()?),
                    127 => self.0.read_u64().await.ok()?,
                    short => u64::from(short),
                };
                let mut message = vec![0; length as usize];
                self.0.read_exact(&mut message).await.ok()?;
                Some((kind, message))
            };
            match timeout(PATIENCE, read).await.expect("in time")? {
                (1 | 2, message) => return Some(message),
                (8, _) => return None,
                _ => {}
            }
        }
    }

    /// All that each channel carries until the session ends.
    async fn rest(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(message) = self.receive().await {
            let (channel, bytes) = message.split_first().expect("a channel");
            match channel {
                1 => outcome.stdout.extend_from_slice(bytes),
                2 => outcome.stderr.extend_from_slice(bytes),
                3 => outcome.status = serde_json::from_slice(bytes).expect("JSON"),
                other => panic!("channel {other}"),
            }
        }
        outcome
    }
}

#[derive(Default)]
struct Outcome {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: Value,
}

impl Outcome {
    fn stdout(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }
}

const V4: &str = "v4.channel.k8s.io";
const V5: &str = "v5.channel.k8s.io";

fn shell(script: &str) -> String {
    let script: Vec<_> = script.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("command=sh&command=-c&command={}", script.concat())
}

#[tokio::test]
async fn only_the_coordinator_is_served_and_everybody_else_is_told_401() {
    let node = Node::start("127.0.0.1:0").await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let foreign = Authority::load_or_create(elsewhere.path(), clock::wall()).expect("an authority");
    let foreign = foreign.issue_client(PROXY_NAME, &[], clock::wall()).expect("a certificate");
    let other_node = node.authority.issue_client("leasehold:node:node-2", &[NODES], clock::wall());
    let with = |identity: &Identity| client_config(identity, node.authority.ca_pem()).expect("usable");
    let anonymous = rustls::ClientConfig::builder_with_provider(with(&foreign).crypto_provider().clone())
        .with_safe_default_protocol_versions()
        .expect("usable")
        .with_root_certificates({
            use rustls::pki_types::pem::PemObject;
            let mut roots = rustls::RootCertStore::empty();
            let ca = rustls::pki_types::CertificateDer::from_pem_slice(node.authority.ca_pem().as_bytes());
            roots.add(ca.expect("PEM")).expect("a certificate");
            roots
        })
        .with_no_client_auth();
    let cases = [
        ("no certificate", anonymous, 401),
        ("a foreign authority's", with(&foreign), 401),
        ("another node's", with(&other_node.expect("a certificate")), 401),
        ("a server certificate of this cluster", with(&server_as_client(&node)), 401),
        ("the coordinator's", with(&node.identity(PROXY_NAME)), 200),
    ];
    for (who, config, expected) in cases {
        for path in ["/pods", "/metrics"] {
            let (status, body) = Connection::open(node.address, config.clone()).await.get(path).await;
            assert_eq!(status, expected, "{who}: {path}: {body}");
        }
        // Health is for this machine too, and the caller is on it.
        let (status, _) = Connection::open(node.address, config.clone()).await.get("/healthz").await;
        assert_eq!(status, 200, "{who}");
        if expected == 401 {
            let path = format!("/exec/default/web-0/main?stdout=1&{}", shell("true"));
            let connection = Connection::open(node.address, config).await;
            assert_eq!(connection.upgrade("GET", &path, V5).await.0, 401, "{who}");
        }
    }
}

fn server_as_client(node: &Node) -> Identity {
    node.authority.issue_server(PROXY_NAME, &[], clock::wall()).expect("a certificate")
}

#[tokio::test]
async fn pods_metrics_and_what_is_not_there() {
    let node = Node::start("[::1]:0").await;
    let (status, pods) = node.get("/pods").await;
    let pods: Value = serde_json::from_str(&pods).expect("JSON");
    assert_eq!(
        (status, &pods["kind"], &pods["items"][0]["metadata"]["name"]),
        (200, &json!("PodList"), &json!("web-0"))
    );
    let (_, metrics) = node.get("/metrics").await;
    assert_eq!(
        metrics,
        "# HELP leasehold_pods Pods on this node.\n# TYPE leasehold_pods gauge\nleasehold_pods 1\n"
    );
    assert_eq!(node.get("/configz").await, (404, "/configz: no such path on a node\n".into()));
}

#[tokio::test]
async fn logs_are_served_as_kubectl_asks_for_them() {
    let node = Node::start("127.0.0.1:0").await;
    let get = |query: &str| {
        let path = format!("/containerLogs/default/web-0/main{query}");
        let node = &node;
        async move { node.get(&path).await }
    };
    assert_eq!(get("").await, (404, "container \"main\" in pod \"web-0\" has no log on this node\n".into()));
    let text = "2026-01-02T12:00:00.000000000Z stdout F one\n2026-01-02T12:00:01.000000000Z stderr F two\n";
    std::fs::write(&node.log, text).expect("writable");
    assert_eq!(get("").await, (200, "one\ntwo\n".into()));
    assert_eq!(
        get("?tailLines=1&timestamps=true").await,
        (200, "2026-01-02T12:00:01.000000000Z two\n".into())
    );
    assert_eq!(get("?limitBytes=5").await, (200, "one\nt".into()));
    assert_eq!(get("?sinceTime=2026-01-02T12%3A00%3A01Z").await, (200, "two\n".into()));
    assert_eq!(get("?sinceSeconds=60&stream=All").await, (200, String::new()));
    for (query, code, expected) in [
        (
            "?tailLines=-1",
            422,
            "PodLogOptions \"web-0\" is invalid: tailLines: Invalid value: -1: must be greater than or equal to 0\n",
        ),
        ("?tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax\n"),
        (
            "?sinceSeconds=1&sinceTime=2026-01-02T12:00:01Z",
            422,
            "PodLogOptions \"web-0\" is invalid: : Forbidden: at most one of `sinceTime` or `sinceSeconds` may be \
             specified\n",
        ),
        ("?previous=true", 400, "previous terminated container \"main\" not found\n"),
    ] {
        assert_eq!(get(query).await, (code, expected.into()), "{query}");
    }
}

#[tokio::test]
async fn a_followed_log_goes_on_until_the_container_has_ended() {
    let node = Node::start("127.0.0.1:0").await;
    std::fs::write(&node.log, "2026-01-02T12:00:00Z stdout F one\n").expect("writable");
    let mut connection = node.connect().await;
    connection.request("GET", "/containerLogs/default/web-0/main?follow=true", "Connection: close\r\n").await;
    assert_eq!(connection.head().await.0, 200);
    let mut chunk = [0; 9];
    connection.0.read_exact(&mut chunk).await.expect("a chunk");
    assert_eq!(&chunk, b"4\r\none\n\r\n");
    let mut log = File::options().append(true).open(&node.log).expect("it is there");
    std::io::Write::write_all(&mut log, b"2026-01-02T12:00:01Z stdout F two\n").expect("writable");
    connection.0.read_exact(&mut chunk).await.expect("a chunk");
    assert_eq!(&chunk, b"4\r\ntwo\n\r\n");
    node.running.send(false).expect("it is followed");
    let mut rest = Vec::new();
    timeout(PATIENCE, connection.0.read_to_end(&mut rest)).await.expect("in time").expect("closed in order");
    assert_eq!(rest, b"0\r\n\r\n");
}

#[tokio::test]
async fn a_command_s_outputs_and_exit_code_come_back_on_their_channels() {
    let node = Node::start("127.0.0.1:0").await;
    for protocol in [V4, V5] {
        let query = format!("stdout=true&stderr=true&{}", shell("echo out; echo err >&2; exit 7"));
        let mut socket = node.exec(&query, protocol).await;
        assert_eq!(
            socket.reader.receive().await,
            Some(vec![1]),
            "an empty message says that the session has begun"
        );
        let outcome = socket.reader.rest().await;
        assert_eq!((outcome.stdout(), outcome.stderr.as_slice()), ("out\n", &b"err\n"[..]));
        assert_eq!(outcome.status["reason"], "NonZeroExitCode");
        assert_eq!(outcome.status["details"]["causes"], json!([{ "reason": "ExitCode", "message": "7" }]));
    }
    let outcome = node.exec(&format!("output=1&{}", shell("true")), V5).await.reader.rest().await;
    assert_eq!(outcome.status, json!({ "metadata": {}, "status": "Success" }));
    assert_eq!(sessions(&node), 0);
}

/// Directories of exec sessions that are left.
fn sessions(node: &Node) -> usize {
    std::fs::read_dir(node.dir.path().join("exec")).expect("readable").count()
}

#[tokio::test]
async fn a_megabyte_goes_through_a_process_and_its_input_ends_when_the_client_says_so() {
    let node = Node::start("127.0.0.1:0").await;
    let query = format!("stdin=true&stdout=true&{}", shell("cat; echo the end"));
    let socket = node.exec(&query, V5).await;
    let block: Vec<u8> = (0..32_768_u32).map(|n| (n % 251) as u8).collect();
    let WebSocket { reader, mut writer } = socket;
    let sent = block.clone();
    let send = tokio::spawn(async move {
        for _ in 0..32 {
            writer.send(&[&[0], sent.as_slice()].concat()).await;
        }
        writer.send(&[255, 0]).await;
        // Dropped only when the session is over: the client stays connected.
        writer
    });
    let outcome = reader.rest().await;
    drop(send.await.expect("sent"));
    assert_eq!(outcome.stdout.len(), 32 * block.len() + 8);
    assert_eq!(outcome.stdout[..block.len()], block);
    assert!(outcome.stdout.ends_with(b"the end\n"));
    assert_eq!(outcome.status["status"], "Success");
}

#[tokio::test]
async fn a_terminal_is_resized_and_has_one_output() {
    let node = Node::start("127.0.0.1:0").await;
    let query =
        format!("stdin=1&stdout=1&stderr=1&tty=1&{}", shell("read line; echo got $line; echo err >&2"));
    let WebSocket { mut reader, mut writer } = node.exec(&query, V4).await;
    assert_eq!(reader.receive().await, Some(vec![1]));
    writer.send(b"\x04{\"Width\":80,\"Height\":24}").await;
    assert_eq!(reader.receive().await.expect("output"), b"\x01now 80x24\n");
    writer.send(b"\x04not a size").await;
    writer.send(b"\x00hello\n").await;
    let outcome = reader.rest().await;
    assert_eq!((outcome.stdout(), outcome.stderr.len()), ("got hello\n", 0));
    assert_eq!(outcome.status["status"], "Success");
}

#[tokio::test]
async fn a_client_that_goes_away_takes_its_process_along() {
    let node = Node::start("127.0.0.1:0").await;
    let mark = node.dir.path().join("mark");
    nix::unistd::mkfifo(&mark, nix::sys::stat::Mode::S_IRWXU).expect("makes");
    let script = format!("exec 9>{}; echo here; cat >&2", mark.display());
    let query = format!("stdin=1&stdout=1&{}", shell(&script));
    let reading = tokio::task::spawn_blocking({
        let mark = mark.clone();
        move || std::fs::read(&mark).expect("readable")
    });
    let mut socket = node.exec(&query, V5).await;
    assert_eq!(socket.reader.receive().await, Some(vec![1]));
    assert_eq!(socket.reader.receive().await.expect("output"), b"\x01here\n");
    drop(socket);
    // The FIFO ends when the last process that has it open is gone.
    timeout(PATIENCE, reading).await.expect("in time").expect("read");
    timeout(PATIENCE, async {
        while sessions(&node) > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("in time");
}

#[tokio::test]
async fn output_that_a_background_process_holds_open_does_not_hold_the_session() {
    let node = Node::start("127.0.0.1:0").await;
    let query = format!("stdout=1&{}", shell("sleep 60 & echo started"));
    let outcome = node.exec(&query, V5).await.reader.rest().await;
    assert_eq!(outcome.stdout(), "started\n");
    assert_eq!(outcome.status["status"], "Success");
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_before_or_in_the_session() {
    let node = Node::start("127.0.0.1:0").await;
    let refused = async |path: &str, protocol: &str| {
        let (status, headers, socket) = node.connect().await.upgrade("POST", path, protocol).await;
        let mut body = vec![0; headers["content-length"].parse().expect("a number")];
        let mut reader = socket.reader;
        reader.0.read_exact(&mut body).await.expect("a body");
        (status, String::from_utf8(body).expect("text"))
    };
    let main = "/exec/default/web-0/main";
    for (path, protocol, status, expected) in [
        (format!("{main}?stdout=1"), V5, 400, "command: Required value: you must specify a command"),
        (format!("{main}?command=ls"), V5, 400, "you must specify at least 1 of stdin, stdout, stderr"),
        (format!("{main}?command=ls&stdout=1"), "v9", 400, "no subprotocol in common"),
        ("/exec/default/gone/main?command=ls&stdout=1".into(), V5, 404, "pods \"gone\" not found"),
    ] {
        let (code, text) = refused(&path, protocol).await;
        assert!(code == status && text.starts_with(expected), "{path}: {code} {text}");
    }
    let (status, text) = node.get(&format!("{main}?command=ls&stdout=1")).await;
    assert!(status == 400 && text.contains("expected a WebSocket or SPDY/3.1 upgrade"), "{status} {text}");
    let outcome = node.exec("stdout=1&command=no-such-program", V5).await.reader.rest().await;
    assert_eq!(outcome.status["status"], "Failure");
    let message = outcome.status["message"].as_str().expect("a message");
    assert!(message.contains("no-such-program"), "{message}");
    assert_eq!(sessions(&node), 0);
    // A post with a proper handshake begins a session as a get does.
    let path = format!("{main}?stdout=1&{}", shell("echo posted"));
    let (status, headers, socket) = node.connect().await.upgrade("POST", &path, V4).await;
    assert_eq!((status, headers["sec-websocket-protocol"].as_str()), (101, V4));
    assert_eq!(socket.reader.rest().await.stdout(), "posted\n");
}

#[tokio::test]
async fn an_attached_client_hears_the_container_and_speaks_to_it() {
    let node = Node::start("127.0.0.1:0").await;
    let (mut log_process, theirs) = tokio::net::UnixStream::pair().expect("a pair");
    let (told, mut tells) = tokio::sync::mpsc::unbounded_channel();
    let fifo = node.dir.path().join("stdin");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("makes");
    let mut stdin = tokio::net::unix::pipe::OpenOptions::new().open_receiver(&fifo).expect("opens");
    *node.attached.lock().expect("not poisoned") =
        Some(Attachment { tap: Tap::new(theirs), stdin: Some(fifo), console: Attached(told) });
    let path = "/attach/default/web-0/main?stdin=1&stdout=1&stderr=1&tty=1";
    let (status, headers, socket) =
        node.connect().await.upgrade("GET", path, "v4.base64.channel.k8s.io, v9").await;
    assert_eq!((status, headers["sec-websocket-protocol"].as_str()), (101, "v4.base64.channel.k8s.io"));
    let WebSocket { mut reader, mut writer } = socket;
    log_process.write_all(b"\x01\0\0\0\x05hello\x02\0\0\0\x03not").await.expect("connected");
    assert_eq!(reader.receive().await.expect("a beginning"), b"1");
    // Text, in base64; one terminal has one output.
    assert_eq!(reader.receive().await.expect("output"), b"1aGVsbG8=");
    writer.send(b"0eWVz").await;
    writer.send(b"4eyJXaWR0aCI6ODAsIkhlaWdodCI6MjR9").await;
    let mut input = [0; 3];
    stdin.read_exact(&mut input).await.expect("input");
    assert_eq!((&input, tells.recv().await.as_deref()), (b"yes", Some("80x24")));
    log_process.write_all(&[0; 5]).await.expect("connected");
    let end = reader.receive().await.expect("an end");
    assert!(end.starts_with(b"3"), "{end:?}");
    assert_eq!(reader.receive().await, None);
}

#[tokio::test]
async fn ports_are_forwarded_on_numbered_channels() {
    let node = Node::start("127.0.0.1:0").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let silent =
        TcpListener::bind("127.0.0.1:0").await.expect("a free port").local_addr().expect("bound").port();
    let path = format!("/portForward/default/web-0?ports={port}&ports={silent}");
    let (status, _, socket) = node.connect().await.upgrade("GET", &path, V4).await;
    assert_eq!(status, 101);
    let WebSocket { mut reader, mut writer } = socket;
    let (mut target, _) = listener.accept().await.expect("a connection");
    writer.send(b"\x00ping").await;
    let mut heard = [0; 4];
    target.read_exact(&mut heard).await.expect("input");
    assert_eq!(&heard, b"ping");
    target.write_all(b"pong").await.expect("connected");
    let mut channels: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    let is_whole = |channels: &BTreeMap<u8, Vec<u8>>| {
        let length = |channel| channels.get(&channel).map_or(0, Vec::len);
        length(0) == 6 && length(1) == 2 && length(2) == 2 && length(3) > 2
    };
    while !is_whole(&channels) {
        let message = reader.receive().await.expect("more");
        channels.entry(message[0]).or_default().extend_from_slice(&message[1..]);
    }
    let [low, high] = port.to_le_bytes();
    assert_eq!(
        (channels[&0].as_slice(), channels[&1].as_slice()),
        (&[low, high, b'p', b'o', b'n', b'g'][..], &[low, high][..])
    );
    let why = String::from_utf8_lossy(&channels[&3][2..]).into_owned();
    assert!(why.starts_with(&format!("error forwarding port {silent} to pod default/web-0: ")), "{why}");
    // Its last connection has ended: so does the session.
    drop(target);
    assert_eq!(reader.receive().await, None);
}

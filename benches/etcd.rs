//! etcd's own rate of durable puts on the same disk: one member, no TLS, over its native API.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::processes::{Program, free_port};
use crate::stats::ms;

/// Connections that the clients share, as etcd's own benchmark does.
const CONNECTIONS: usize = 8;
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A running etcd; it and its files go when this is dropped.
pub(crate) struct Etcd {
    address: SocketAddr,
    _process: Program,
    _directory: TempDir,
}

impl Etcd {
    /// None where etcd is not installed.
    pub(crate) async fn start() -> anyhow::Result<Option<Self>> {
        if !crate::containerd::on_path("etcd") {
            eprintln!("    etcd is not installed: no comparison with it");
            return Ok(None);
        }
        let directory = tempfile::Builder::new().prefix("lh-bench-etcd-").tempdir()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let (client, peer) = (format!("http://{address}"), format!("http://127.0.0.1:{}", free_port()?));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(directory.path().join("data"));
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        let process = Program::start_quiet(&mut command, &directory.path().join("log"))?;
        let etcd = Self { address, _process: process, _directory: directory };
        let start = Instant::now();
        while etcd.first_put().await.is_err() {
            if start.elapsed() > START_TIMEOUT {
                bail!("etcd does not serve");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Some(etcd))
    }

    async fn first_put(&self) -> anyhow::Result<()> {
        let mut sender = self.connect().await?;
        tokio::time::timeout(Duration::from_secs(2), put(&mut sender, b"first", b"1")).await?
    }

    async fn connect(&self) -> io::Result<SendRequest<Full<Bytes>>> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(socket)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Puts for `duration` with so many clients, each one key, values of this size; the latencies in ms.
    pub(crate) async fn puts(
        &self,
        clients: usize,
        size: usize,
        duration: Duration,
    ) -> anyhow::Result<Vec<f64>> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(self.connect().await?);
        }
        let over = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for client in 0..clients {
            let (mut sender, over) = (connections[client % CONNECTIONS].clone(), over.clone());
            tasks.push(tokio::spawn(async move {
                let (key, value) = (format!("/leases/{client}"), vec![b'x'; size]);
                let mut latencies = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    put(&mut sender, key.as_bytes(), &value).await?;
                    latencies.push(ms(start.elapsed()));
                }
                anyhow::Ok(latencies)
            }));
        }
        tokio::time::sleep(duration).await;
        over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await??);
        }
        Ok(all)
    }
}

/// One `etcdserverpb.KV/Put`, by hand: a message of two byte fields behind gRPC's five bytes.
async fn put(sender: &mut SendRequest<Full<Bytes>>, key: &[u8], value: &[u8]) -> anyhow::Result<()> {
    let mut message = Vec::with_capacity(value.len() + key.len() + 16);
    for (tag, bytes) in [(0x0a_u8, key), (0x12, value)] {
        message.push(tag);
        prost::encoding::encode_varint(bytes.len() as u64, &mut message);
        message.extend_from_slice(bytes);
    }
    let mut framed = vec![0_u8];
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    let request = Request::post("http://etcd/etcdserverpb.KV/Put")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(framed)))?;
    sender.ready().await?;
    let answer = sender.send_request(request).await?;
    let early = answer.headers().get("grpc-status").cloned();
    let collected = answer.into_body().collect().await?;
    let status = early.or_else(|| collected.trailers()?.get("grpc-status").cloned());
    if status.as_ref().is_some_and(|status| status == "0") {
        Ok(())
    } else {
        bail!("etcd refused: {status:?}")
    }
}

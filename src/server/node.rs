//! The kubelet's HTTPS API on the node: container logs, exec, attach, port-forward, Pods, health, metrics.
//!
//! It serves the coordinator alone. Everybody finishes the TLS handshake; whoever does not show the coordinator's
//! proxy certificate gets 401, on every path but `/healthz`, which this machine itself may ask as well.
//! Refusals are one line of text with the HTTP status, as the kubelet's: the coordinator makes a Status of it.
//!
//! The server knows nothing of Pods or containerd: it asks its [`NodeBackend`].

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::tls::{Identity, PROXY_NAME, Peer, TlsError, Verifier, server_config};
use crate::api::status::Status;
use crate::time::WallTime;

mod backend;
mod logs;
mod metrics;
mod port_forward;
mod query;
mod remote;
mod upgrade;

pub use backend::{
    Attachment, Console, ContainerPath, ExecRequest, Execution, LogSource, NodeBackend, Streams,
};
pub use metrics::{Kind, Metric};

/// Connections at a time; more wait to be accepted.
pub const MAX_CONNECTIONS: usize = 512;

/// Log streams, exec, attach and port-forward sessions at a time; more are answered with 429.
pub const MAX_STREAMS: usize = 256;

/// Time for the TLS handshake, and for the head of a request to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause after the machine had no file descriptor for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the server is given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its certificate and key.
    pub identity: Identity,
    /// The cluster's authority, PEM.
    pub ca_pem: String,
    /// Common names of the client certificates that are accepted; [`PROXY_NAME`] for leasehold's own coordinator.
    pub accepted_names: Vec<String>,
    /// Directory for the FIFOs of exec sessions, the server's own: emptied at start.
    pub exec_dir: PathBuf,
    /// The wall clock, for `sinceSeconds`.
    pub clock: fn() -> WallTime,
}

impl Settings {
    /// The usual ones: only the coordinator's proxy certificate is accepted.
    pub fn new(identity: Identity, ca_pem: String, exec_dir: PathBuf, clock: fn() -> WallTime) -> Self {
        Self { identity, ca_pem, accepted_names: vec![PROXY_NAME.to_owned()], exec_dir, clock }
    }
}

/// Why the server cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificates cannot be used.
    #[error("node API: {0}")]
    Tls(#[from] TlsError),
    /// Its directory cannot be used.
    #[error("node API: exec directory {}: {source}", path.display())]
    ExecDir {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// What the handlers share.
struct Shared<B> {
    backend: B,
    exec_dir: PathBuf,
    clock: fn() -> WallTime,
    streams: Arc<Semaphore>,
}

impl<B> Shared<B> {
    /// The right to one long-lived stream.
    fn stream(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            let message = format!("too many streams on this node: at most {MAX_STREAMS} at a time");
            Refusal(Status::new(429, "TooManyRequests", message))
        })
    }
}

/// A refusal on the way out.
struct Refusal(Status);

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.0.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (code, self.0.message + "\n").into_response()
    }
}

/// Whether a connection comes from the coordinator.
#[derive(Clone, Copy, Debug)]
struct Caller {
    accepted: bool,
    loopback: bool,
}

/// Serves on `listener` until the future is dropped, and with it all connections but those of exec sessions, which
/// end with their process.
pub async fn serve<B: NodeBackend>(
    listener: TcpListener,
    settings: Settings,
    backend: B,
) -> Result<std::convert::Infallible, Error> {
    let verifier = Verifier::new(&settings.ca_pem)?;
    let config = server_config(&settings.identity, &verifier, &["http/1.1"])?;
    remote::prepare(&settings.exec_dir)
        .map_err(|source| Error::ExecDir { path: settings.exec_dir.clone(), source })?;
    let shared = Shared {
        backend,
        exec_dir: settings.exec_dir,
        clock: settings.clock,
        streams: Arc::new(Semaphore::new(MAX_STREAMS)),
    };
    let door = Arc::new(Door {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        verifier,
        accepted_names: settings.accepted_names,
        routes: routes(Arc::new(shared)),
    });
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropped with this future, and every connection with it.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                let door = Arc::clone(&door);
                connections.spawn(async move {
                    if let Err(error) = door.attend(stream, from).await {
                        tracing::debug!(%from, error = %error, "a connection to the node API ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the node API cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Lets callers in, and knows who they are.
struct Door {
    acceptor: TlsAcceptor,
    verifier: Verifier,
    accepted_names: Vec<String>,
    routes: Router,
}

impl Door {
    async fn attend(&self, stream: TcpStream, from: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let stream = timeout(PATIENCE, self.acceptor.accept(stream)).await??;
        let peer = self.verifier.peer(stream.get_ref().1.peer_certificates());
        let caller = Caller { accepted: self.accepts(peer.as_ref()), loopback: is_loopback(from) };
        if !caller.accepted {
            let name = peer.map(|peer| peer.common_name);
            tracing::debug!(%from, name, "a caller of the node API is not the coordinator");
        }
        let routes = self.routes.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(caller);
            routes.clone().oneshot(request)
        });
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
        builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await.map_err(io::Error::other)
    }

    fn accepts(&self, peer: Option<&Peer>) -> bool {
        peer.is_some_and(|peer| self.accepted_names.contains(&peer.common_name))
    }
}

fn is_loopback(from: SocketAddr) -> bool {
    from.ip().to_canonical().is_loopback()
}

async fn admit(Extension(caller): Extension<Caller>, request: Request, next: Next) -> Response {
    if caller.accepted || (caller.loopback && request.uri().path() == "/healthz") {
        return next.run(request).await;
    }
    let refusal = (StatusCode::UNAUTHORIZED, [(header::CONNECTION, "close")], "Unauthorized\n");
    refusal.into_response()
}

fn routes<B: NodeBackend>(shared: Arc<Shared<B>>) -> Router {
    Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::container_logs::<B>))
        .route("/exec/{namespace}/{pod}/{container}", get(remote::exec::<B>).post(remote::exec::<B>))
        .route("/attach/{namespace}/{pod}/{container}", get(remote::attach::<B>).post(remote::attach::<B>))
        .route(
            "/portForward/{namespace}/{pod}",
            get(port_forward::forward::<B>).post(port_forward::forward::<B>),
        )
        .route("/pods", get(pods::<B>))
        .route("/metrics", get(metrics::metrics::<B>))
        .route("/healthz", get("ok"))
        .fallback(unknown)
        .layer(from_fn(admit))
        .with_state(shared)
}

async fn pods<B: NodeBackend>(State(shared): State<Arc<Shared<B>>>) -> Response {
    let pods = shared.backend.pods().await;
    let items: Vec<_> = pods.iter().map(Arc::as_ref).collect();
    let list = serde_json::json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items });
    ([(header::CONTENT_TYPE, "application/json")], list.to_string()).into_response()
}

async fn unknown(uri: Uri) -> Refusal {
    Refusal(Status::new(404, "NotFound", format!("{}: no such path on a node", uri.path())))
}

//! TLS connections, and HTTP/1.1 and HTTP/2 over them.

mod activity;
mod gate;
mod http1;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use activity::RequestBody;

use gate::Gate;

use super::api::reply::Body;
use super::tls::{Peer, Verifier};

/// Connections that are open at once.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Connections that may wait to be accepted; the kernel may allow fewer (`net.core.somaxconn`).
pub const BACKLOG: u32 = 4096;
/// Handshakes that are under way at once …
const HANDSHAKES_MAX: usize = 64;
/// … of which one that takes longer than this, because its client does, no longer counts.
const HANDSHAKE_PLACE_TIMEOUT: Duration = Duration::from_millis(500);
/// Requests that one HTTP/2 connection may have open, as kube-apiserver's.
const STREAMS_MAX: u32 = 250;
/// A handshake, or the head of a request, that is not there by then is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request's head on a new connection; HTTP/1.1 connections may be idle so long between requests.
const HEADER_TIMEOUT: Duration = Duration::from_mins(2);
/// HTTP/2 connections are probed this often, and closed when no answer comes within the second.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest head of a request.
const HEAD_MAX: usize = 64 << 10;
/// How long requests in flight may take to end at a shutdown.
const GRACE: Duration = Duration::from_secs(5);

/// A connection after its handshake. Boxed: it is handed on often, and takes some 2 kB.
type Stream = Box<TlsStream<TcpStream>>;

/// Takes an address, to [listen](TcpSocket::listen) on. All addresses are those of IPv4 where the kernel has no IPv6.
/// Until it is listened on, clients are refused at once, instead of waiting for somebody who is not ready.
pub fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let bound = match bind_exactly(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && is_without_ipv6(&error) => {
            bind_exactly((Ipv4Addr::UNSPECIFIED, address.port()).into())
        }
        bound => bound,
    };
    bound.map_err(in_words)
}

fn in_words(error: io::Error) -> io::Error {
    let kind = error.kind();
    let told = if kind == io::ErrorKind::AddrInUse {
        "another program listens there: stop it, or name another port"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        "this machine has no such address"
    } else {
        return error;
    };
    io::Error::new(kind, told)
}

fn bind_exactly(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

/// Serves connections of `listener` until `stop`, then lets what is in flight end.
/// `handler` is given who the client certificate says is asking, if it verified.
pub async fn serve<H, F>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    verifier: Verifier,
    handler: H,
    stop: CancellationToken,
) where
    H: Fn(Option<Arc<Peer>>, Request<RequestBody>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(tls);
    let (protocols, gate) = (Arc::new(Protocols::new()), Gate::new(HANDSHAKES_MAX));
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    while let Some((socket, from)) = accept(&listener, &stop).await {
        let Ok(place) = places.clone().try_acquire_owned() else {
            tracing::warn!(%from, open = CONNECTIONS_MAX, "too many connections, one is refused");
            continue;
        };
        let (acceptor, gate, protocols) = (acceptor.clone(), gate.clone(), protocols.clone());
        let (verifier, handler, stop) = (verifier.clone(), handler.clone(), stop.clone());
        connections.spawn(async move {
            // Boxed, so that a connection takes what it is, and not also what the handshake was.
            if let Some(stream) = Box::pin(handshake(&acceptor, &gate, socket, from)).await {
                let peer = verifier.peer(stream.get_ref().1.peer_certificates()).map(Arc::new);
                protocols.serve(stream, move |request| handler(peer.clone(), request), stop).await;
            }
            drop(place);
        });
    }
    connections.close();
    let _ = tokio::time::timeout(GRACE, connections.wait()).await;
}

async fn accept(listener: &TcpListener, stop: &CancellationToken) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return None,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            // Out of file descriptors, or a connection that is gone already: neither ends the server.
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn handshake(
    acceptor: &TlsAcceptor,
    gate: &Gate,
    socket: TcpStream,
    from: SocketAddr,
) -> Option<Stream> {
    let _ = socket.set_nodelay(true);
    let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::KeepAlive, &true);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, pass_and_shake_hands(acceptor, gate, socket)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(error)) => {
            tracing::debug!(%from, %error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

async fn pass_and_shake_hands(
    acceptor: &TlsAcceptor,
    gate: &Gate,
    socket: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    // Who has said nothing yet takes no place from others.
    socket.readable().await?;
    let place = gate.pass().await;
    if socket.ready(Interest::READABLE).await?.is_read_closed() {
        // Its client has left meanwhile.
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let handshake = acceptor.accept(socket);
    tokio::pin!(handshake);
    let begun = tokio::time::timeout(HANDSHAKE_PLACE_TIMEOUT, handshake.as_mut()).await;
    drop(place);
    match begun {
        Ok(ended) => ended,
        Err(_) => handshake.await,
    }
}

/// How connections are served.
struct Protocols {
    http1: conn::http1::Builder,
    http2: conn::http2::Builder<TokioExecutor>,
}

impl Protocols {
    fn new() -> Self {
        let mut http1 = conn::http1::Builder::new();
        http1.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEAD_MAX);
        let mut http2 = conn::http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_MAX as u32)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        Self { http1, http2 }
    }

    /// Serves a connection in the protocol that the handshake agreed on.
    async fn serve<H, F>(&self, stream: Stream, handler: H, stop: CancellationToken)
    where
        H: Fn(Request<RequestBody>) -> F,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            Box::pin(self.serve_http2(stream, handler, stop)).await;
        } else {
            http1::serve(stream, &self.http1, handler, stop).await;
        }
    }

    async fn serve_http2<H, F>(&self, stream: Stream, handler: H, stop: CancellationToken)
    where
        H: Fn(Request<RequestBody>) -> F,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = Box::pin(handler(request.map(RequestBody::from)));
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = self.http2.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

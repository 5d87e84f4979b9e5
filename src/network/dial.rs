//! Connections into a Pod's network.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::sync::oneshot;

/// Time to connect to one address. It is loopback's: nothing but a full queue takes any.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// 1 s, as the kubelet's probes: the kernel forgets their connections soon.
const LINGER_SECONDS: i32 = 1;

/// Why a port could not be connected to.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The network cannot be entered.
    #[error("network namespace {path}: {source}")]
    Namespace {
        /// Its pin.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Neither loopback address takes the connection.
    #[error("failed to connect to localhost:{port}: IPv4: {v4}, IPv6: {v6}")]
    Connect {
        /// Which port.
        port: u16,
        /// Why not.
        v4: io::Error,
        /// Why not.
        v6: io::Error,
    },
    /// The address does not take the connection.
    #[error("dial tcp {to}: {}", refusal(source))]
    Refused {
        /// Which address.
        to: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// No thread can be started.
    #[error("no thread for a connection: {0}")]
    Thread(io::Error),
}

/// Connects to an address, from within a pinned network namespace or from the node's own. Whoever is connected to sees
/// the connection end when it is closed: none lingers for minutes.
pub async fn dial_to(
    namespace: Option<&Path>,
    to: SocketAddr,
    timeout: Duration,
) -> Result<tokio::net::TcpStream, DialError> {
    let refused = move |source| DialError::Refused { to, source };
    let stream = match namespace {
        Some(_) => {
            dial_with(namespace, move || TcpStream::connect_timeout(&to, timeout).map_err(refused)).await?
        }
        None => tokio::time::timeout(timeout, tokio::net::TcpStream::connect(to))
            .await
            .map_err(|_| refused(io::ErrorKind::TimedOut.into()))?
            .map_err(refused)?,
    };
    let linger = nix::libc::linger { l_onoff: 1, l_linger: LINGER_SECONDS };
    // It is only that the kernel remembers the connection for longer.
    let _ = setsockopt(&stream, sockopt::Linger, &linger);
    Ok(stream)
}

/// Connects to a port of loopback in a pinned network namespace, or in the node's own.
pub async fn dial(namespace: Option<&Path>, port: u16) -> Result<tokio::net::TcpStream, DialError> {
    dial_with(namespace, move || connect(port)).await
}

/// Connects, in a thread of its own that has entered the namespace.
async fn dial_with(
    namespace: Option<&Path>,
    connect: impl FnOnce() -> Result<TcpStream, DialError> + Send + 'static,
) -> Result<tokio::net::TcpStream, DialError> {
    let namespace = namespace.map(Path::to_owned);
    let (sender, answer) = oneshot::channel();
    // A thread that has changed its namespace is of no other use: it is not one of a pool.
    let thread = std::thread::Builder::new().name("dial".to_owned());
    thread
        .spawn(move || {
            let _ = sender.send(enter(namespace.as_deref()).and_then(|()| connect()));
        })
        .map_err(DialError::Thread)?;
    let stream = answer.await.expect("the thread returns its failures")?;
    stream
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpStream::from_std(stream))
        .map_err(DialError::Thread)
}

/// Why a connection failed, in the words that people know from kubelets' Events.
fn refusal(error: &io::Error) -> String {
    match error.raw_os_error() {
        _ if error.kind() == io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        Some(number) => {
            let words = Errno::from_raw(number).desc();
            format!("connect: {}{}", words[..1].to_lowercase(), &words[1..])
        }
        None => error.to_string(),
    }
}

fn enter(namespace: Option<&Path>) -> Result<(), DialError> {
    let Some(path) = namespace else { return Ok(()) };
    let failed = |source| DialError::Namespace { path: path.display().to_string(), source };
    let file = File::open(path).map_err(failed)?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(|error| failed(error.into()))
}

fn connect(port: u16) -> Result<TcpStream, DialError> {
    let to = |ip: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(ip, port), CONNECT_TIMEOUT);
    to(Ipv4Addr::LOCALHOST.into())
        .or_else(|v4| to(Ipv6Addr::LOCALHOST.into()).map_err(|v6| DialError::Connect { port, v4, v6 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_of_either_loopback_address_is_found_or_both_refusals_are_told() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = tokio::net::TcpListener::bind(address).await.expect("a free port");
            let port = listener.local_addr().expect("bound").port();
            let stream = dial(None, port).await.expect("it listens");
            assert_eq!(stream.peer_addr().expect("connected").port(), port);
            drop((stream, listener));
            let refusal = dial(None, port).await.expect_err("nobody listens").to_string();
            assert!(refusal.contains(&format!("failed to connect to localhost:{port}: IPv4: ")), "{refusal}");
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let to = listener.local_addr().expect("bound");
        let within = Some(Path::new("/proc/self/ns/net"));
        for namespace in [None, within.filter(|_| nix::unistd::geteuid().is_root())] {
            dial_to(namespace, to, Duration::from_secs(5)).await.expect("it listens");
        }
        drop(listener);
        let refusal = dial_to(None, to, Duration::from_secs(5)).await.expect_err("nobody listens");
        assert_eq!(refusal.to_string(), format!("dial tcp {to}: connect: connection refused"));
        let nowhere = dial(Some(Path::new("/proc/self/no-such-pin")), 1).await.expect_err("no namespace");
        assert!(nowhere.to_string().starts_with("network namespace /proc/self/no-such-pin: "), "{nowhere}");
    }
}

//! Connections into a Pod's network.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use tokio::sync::oneshot;

/// Time to connect to one address. It is loopback's: nothing but a full queue takes any.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// No thread can be started.
    #[error("no thread for a connection: {0}")]
    Thread(io::Error),
}

/// Connects to a port of loopback in a pinned network namespace, or in the node's own.
pub async fn dial(namespace: Option<&Path>, port: u16) -> Result<tokio::net::TcpStream, DialError> {
    let namespace = namespace.map(Path::to_owned);
    let (sender, answer) = oneshot::channel();
    // A thread that has changed its namespace is of no other use: it is not one of a pool.
    let thread = std::thread::Builder::new().name("dial".to_owned());
    thread
        .spawn(move || {
            let _ = sender.send(enter(namespace.as_deref()).and_then(|()| connect(port)));
        })
        .map_err(DialError::Thread)?;
    let stream = answer.await.expect("the thread returns its failures")?;
    stream
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpStream::from_std(stream))
        .map_err(DialError::Thread)
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
        let nowhere = dial(Some(Path::new("/proc/self/no-such-pin")), 1).await.expect_err("no namespace");
        assert!(nowhere.to_string().starts_with("network namespace /proc/self/no-such-pin: "), "{nowhere}");
    }
}

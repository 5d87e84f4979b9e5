//! `GET|POST /portForward/NS/POD`: connections to a Pod's ports.
//!
//! Three ways lead here: SPDY (older kubectl, kube-apiserver), SPDY inside a WebSocket (kubectl since 1.30), and a
//! WebSocket with two numbered channels a port (the Python client and others).

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::query::Query;
use super::remote::Encoding;
use super::upgrade::{Changed, Offer, negotiate};
use super::{NodeBackend, Refusal, Shared};
use crate::api::status::Status;
use crate::server::spdy::{DATA_BYTES_MAX, Input, Reader};

mod channels;
mod output;
mod streams;
mod tunnel;

use output::Output;

/// SPDY inside a WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

const OFFER: Offer = Offer {
    web_socket: &[TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"],
    spdy: &["portforward.k8s.io"],
};

/// Connections of one session at a time.
const CONNECTIONS_MAX: usize = 256;

/// Ports of one session over numbered channels, of which there are two each.
const PORTS_MAX: usize = 32;

/// The Pod that is meant, and the way to it.
struct Target<B> {
    shared: Arc<Shared<B>>,
    namespace: String,
    pod: String,
}

impl<B> Clone for Target<B> {
    fn clone(&self) -> Self {
        let Self { shared, namespace, pod } = self;
        Self { shared: shared.clone(), namespace: namespace.clone(), pod: pod.clone() }
    }
}

pub(super) async fn forward<B: NodeBackend>(
    State(shared): State<Arc<Shared<B>>>,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    let query = Query::parse(parts.uri.query())?;
    let way = negotiate(&mut parts, &OFFER).await?;
    let protocol = way.protocol();
    let needs_ports = matches!(way, super::upgrade::Way::WebSocket(..)) && protocol != TUNNEL;
    let ports = if needs_ports { ports(&query)? } else { Vec::new() };
    let place = shared.stream()?;
    shared.backend.is_reachable(&namespace, &pod).await?;
    let target = Target { shared, namespace, pod };
    Ok(way.change(move |changed| async move {
        let _held = place;
        match changed {
            Changed::Spdy(io) => streams::serve(io, target).await,
            Changed::WebSocket(socket) if protocol == TUNNEL => {
                let (io, carry) = tunnel::bytes(*socket);
                tokio::join!(carry, streams::serve(io, target));
            }
            Changed::WebSocket(socket) => {
                channels::serve(*socket, Encoding::of(protocol), ports, target).await;
            }
        }
    }))
}

/// The ports of the query: repeated, or separated by commas.
fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let words: Vec<&str> = query.all(&["ports", "port"]).flat_map(|value| value.split(',')).collect();
    if words.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    if words.len() > PORTS_MAX {
        return Err(Status::bad_request(format!("ports: Too many: {}: at most {PORTS_MAX}", words.len())));
    }
    words.into_iter().map(|word| port(word).map_err(Status::bad_request)).collect()
}

fn port(word: &str) -> Result<u16, String> {
    match word.parse() {
        Ok(0) => Err(format!("port {word:?} must be > 0")),
        Ok(port) => Ok(port),
        Err(_) => Err(format!("unable to parse {word:?} as a port")),
    }
}

impl<B: NodeBackend> Target<B> {
    /// Carries one connection until it has ended on both sides, or the client has lost interest.
    async fn connect(&self, port: u16, mut reader: Reader, mut data: Output, mut error: Output) {
        match self.shared.backend.dial(&self.namespace, &self.pod, port).await {
            Ok(socket) => carry(socket, &mut reader, &mut data).await,
            Err(status) => {
                let Self { namespace, pod, .. } = self;
                let why = status.message;
                let message = format!("error forwarding port {port} to pod {namespace}/{pod}: {why}");
                error.write(message.as_bytes()).await;
            }
        }
        error.finish().await;
        data.finish().await;
    }
}

/// The client has lost interest.
struct Lost;

async fn carry(socket: TcpStream, reader: &mut Reader, data: &mut Output) {
    let _ = socket.set_nodelay(true);
    let can_half_close = data.can_half_close();
    let (mut from, mut to) = socket.into_split();
    let up = async {
        let mut is_read = true;
        while let Some(input) = reader.recv().await {
            match input {
                // A target that does not read any more may still have something to say.
                Input::Data(bytes) => is_read = is_read && to.write_all(&bytes).await.is_ok(),
                Input::End => {
                    let _ = to.shutdown().await;
                    return Ok(());
                }
            }
        }
        Err(Lost)
    };
    let down = async {
        loop {
            let mut bytes = BytesMut::with_capacity(DATA_BYTES_MAX);
            match from.read_buf(&mut bytes).await {
                Ok(0) | Err(_) if can_half_close => {
                    data.finish().await;
                    return Ok(());
                }
                Ok(0) | Err(_) => return Err(Lost),
                Ok(_) if data.write(&bytes).await => {}
                Ok(_) => return Err(Lost),
            }
        }
    };
    let _ = tokio::try_join!(up, down);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_repeated_or_separated_by_commas() {
        let read = |query| ports(&Query::parse(Some(query)).expect("well-formed")).map_err(|e| e.message);
        assert_eq!(read("ports=80&ports=443,8080"), Ok(vec![80, 443, 8080]));
        for (query, message) in [
            ("", "query parameter \"ports\" is required"),
            ("ports=", "unable to parse \"\" as a port"),
            ("ports=80,http", "unable to parse \"http\" as a port"),
            ("ports=65536", "unable to parse \"65536\" as a port"),
            ("ports=0", "port \"0\" must be > 0"),
        ] {
            assert_eq!(read(query), Err(message.to_owned()), "{query}");
        }
        let many = vec!["1"; PORTS_MAX + 1].join(",");
        assert_eq!(read(&format!("ports={many}")), Err("ports: Too many: 33: at most 32".into()));
    }
}

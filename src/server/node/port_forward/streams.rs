//! SPDY: each connection is a pair of streams with one request id, one for its bytes and one for errors.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use super::{CONNECTIONS_MAX, NodeBackend, Output, Target, port};
use crate::server::spdy::{self, Stream};

/// A client that gives no sign of life for so long has gone, as the kubelet's `streamingConnectionIdleTimeout`.
const IDLE: Duration = Duration::from_hours(4);

/// Says what a stream is for: `data` or `error`.
const STREAM_TYPE: &str = "streamType";

/// The two streams of a connection, as they come.
#[derive(Default)]
struct Pair {
    data: Option<Stream>,
    error: Option<Stream>,
}

/// Serves connections until the client goes.
pub(super) async fn serve<B: NodeBackend>(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    target: Target<B>,
) {
    let (mut incoming, closer, carry) = spdy::connection(io, IDLE);
    let serve = async move {
        let mut pairs = BTreeMap::new();
        // Dropped with the session, and every connection with it.
        let mut connections = JoinSet::new();
        while let Some(stream) = incoming.recv().await {
            while connections.try_join_next().is_some() {}
            if let Some((data, error)) = complete(&mut pairs, stream) {
                connections.spawn(connect(target.clone(), data, error, connections.len()));
            }
        }
        closer.close().await;
    };
    tokio::join!(carry, serve);
}

/// Puts a stream to its partner, if that has come. The others wait; a connection's streams are bounded.
fn complete(pairs: &mut BTreeMap<String, Pair>, stream: Stream) -> Option<(Stream, Stream)> {
    let is_data = match stream.headers.get(STREAM_TYPE) {
        Some("data") => true,
        Some("error") => false,
        other => {
            tracing::debug!(kind = other, "a stream of an unknown type");
            return None;
        }
    };
    // Very old clients give no id: their error stream comes first, and its number is two less.
    let of_old = || if is_data { stream.id.saturating_sub(2) } else { stream.id };
    let request = stream.headers.get("requestID").map_or_else(|| of_old().to_string(), str::to_owned);
    let pair = pairs.entry(request.clone()).or_default();
    if is_data {
        pair.data = Some(stream);
    } else {
        pair.error = Some(stream);
    }
    if pair.data.is_none() || pair.error.is_none() {
        return None;
    }
    let Pair { data, error } = pairs.remove(&request)?;
    data.zip(error)
}

async fn connect<B: NodeBackend>(target: Target<B>, data: Stream, error: Stream, others: usize) {
    let asked =
        data.headers.get("port").ok_or_else(|| "\"port\" header is required".to_owned()).and_then(port);
    let allowed = if others < CONNECTIONS_MAX {
        Ok(())
    } else {
        Err(format!("too many connections: at most {CONNECTIONS_MAX} at a time"))
    };
    let (output, mut errors) = (Output::Stream(data.writer), Output::Stream(error.writer));
    match asked.and_then(|port| allowed.map(|()| port)) {
        Ok(port) => target.connect(port, data.reader, output, errors).await,
        Err(why) => {
            errors.write(why.as_bytes()).await;
            errors.finish().await;
        }
    }
}

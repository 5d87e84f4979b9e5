//! A WebSocket with two numbered channels a port: 2n carries its bytes, 2n + 1 its error. Each begins with the port
//! in two bytes, little-endian.

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::remote::{Encoding, normal};
use super::{NodeBackend, Output, Target};
use crate::server::spdy::{HELD_MAX, Input};

/// A client that gives no sign of life for so long has gone, as the kubelet's `streamingConnectionIdleTimeout`.
const IDLE: Duration = Duration::from_hours(4);

/// Messages that wait to be sent; then the connections wait.
const SENDING_MAX: usize = 32;

/// How long a client may take to close a connection that is over.
const LINGER: Duration = Duration::from_secs(5);

/// One connection a port, until all have ended or the client has gone.
pub(super) async fn serve<B: NodeBackend>(
    socket: WebSocket,
    encoding: Encoding,
    ports: Vec<u16>,
    target: Target<B>,
) {
    let (mut sink, mut source) = socket.split();
    let (messages, mut queue) = mpsc::channel(SENDING_MAX);
    let mut inputs = Vec::new();
    let mut connections = JoinSet::new();
    for (number, port) in (0_u8..).zip(ports) {
        let (input, reader) = mpsc::channel(HELD_MAX);
        inputs.push(input);
        let output = |channel| Output::Channel { encoding, channel, messages: messages.clone() };
        let (mut data, mut error, target) = (output(2 * number), output(2 * number + 1), target.clone());
        connections.spawn(async move {
            if data.write(&port.to_le_bytes()).await && error.write(&port.to_le_bytes()).await {
                target.connect(port, reader, data, error).await;
            }
        });
    }
    drop(messages);
    let read = async {
        while let Ok(Some(Ok(message))) = timeout(IDLE, source.next()).await {
            if let Some((channel, bytes)) = encoding.read(&message)
                && channel % 2 == 0
                && let Some(input) = inputs.get(usize::from(channel / 2))
                && !bytes.is_empty()
            {
                // A connection that has ended wants no more.
                let _ = input.send(Input::Data(bytes)).await;
            }
        }
    };
    let write = async {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.send(Message::Close(Some(normal()))).await;
    };
    tokio::select! {
        () = read => return,
        () = write => {}
    }
    let _ = timeout(LINGER, async { while let Some(Ok(_)) = source.next().await {} }).await;
}

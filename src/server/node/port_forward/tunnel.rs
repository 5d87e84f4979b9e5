//! A WebSocket whose binary messages are a stream of bytes, cut anywhere.

use axum::extract::ws::{Message, WebSocket};
use bytes::BytesMut;
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::super::remote::normal;

/// Bytes on their way, each way; also the longest message that is sent.
const BUFFER_BYTES: usize = 64 << 10;

/// The bytes, and the future that carries them between there and the WebSocket.
pub(super) fn bytes(socket: WebSocket) -> (DuplexStream, impl Future<Output = ()> + Send) {
    let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
    let (mut sink, mut source) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(theirs);
    let carry = async move {
        // Neither way may wait for the other: both sides do so already.
        let inward = async {
            while let Some(Ok(message)) = source.next().await {
                if let Message::Binary(bytes) = message
                    && writer.write_all(&bytes).await.is_err()
                {
                    return;
                }
            }
            let _ = writer.shutdown().await;
        };
        let outward = async {
            let mut bytes = BytesMut::with_capacity(BUFFER_BYTES);
            while let Ok(1..) = reader.read_buf(&mut bytes).await {
                if sink.send(Message::Binary(bytes.split().freeze())).await.is_err() {
                    return;
                }
                bytes.reserve(BUFFER_BYTES);
            }
            let _ = sink.send(Message::Close(Some(normal()))).await;
        };
        tokio::join!(inward, outward);
    };
    (ours, carry)
}

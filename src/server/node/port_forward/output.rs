//! Where a connection's bytes and errors go.

use axum::extract::ws::Message;
use tokio::sync::mpsc;

use super::super::remote::Encoding;
use crate::server::spdy::Writer;

/// A stream, or a numbered channel.
pub(super) enum Output {
    Stream(Writer),
    Channel { encoding: Encoding, channel: u8, messages: mpsc::Sender<Message> },
}

impl Output {
    /// Whether the client can be told that no more will come.
    pub(super) const fn can_half_close(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// False when the client has gone.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Stream(writer) => writer.write(bytes).await,
            Self::Channel { encoding, channel, messages } => {
                messages.send(encoding.message(*channel, bytes)).await.is_ok()
            }
        }
    }

    pub(super) async fn finish(&mut self) {
        match self {
            Self::Stream(writer) => writer.finish().await,
            Self::Channel { .. } => {}
        }
    }
}

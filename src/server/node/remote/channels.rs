//! A client on a WebSocket with numbered channels: the first byte of each message is its channel. In the base64
//! variants messages are text, the channel a digit.

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::time::timeout;

use super::Wants;
use super::client::Told;
use super::session::{IDLE, LAST_OUTPUT, Outcome, told_as_status, told_as_text};
use crate::logs::format::Stream;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the next byte names a channel that the client is done with.
const CLOSE: u8 = 255;

/// How messages are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server::node) enum Encoding {
    Binary,
    Base64,
}

impl Encoding {
    /// As the subprotocol's name says.
    pub(in crate::server::node) fn of(protocol: &str) -> Self {
        if protocol.contains("base64.") { Self::Base64 } else { Self::Binary }
    }

    pub(in crate::server::node) fn message(self, channel: u8, content: &[u8]) -> Message {
        match self {
            Self::Binary => {
                let mut message = Vec::with_capacity(1 + content.len());
                message.push(channel);
                message.extend_from_slice(content);
                Message::Binary(message.into())
            }
            Self::Base64 => {
                let mut message = String::from(char::from(b'0' + channel));
                STANDARD.encode_string(content, &mut message);
                Message::Text(message.into())
            }
        }
    }

    /// Channel and content of a message; none for pings, pongs, empty ones and what cannot be read.
    pub(in crate::server::node) fn read(self, message: &Message) -> Option<(u8, Bytes)> {
        let bytes = match message {
            Message::Binary(bytes) => bytes.clone(),
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return None,
        };
        let channel = *bytes.first()?;
        match self {
            Self::Binary => Some((channel, bytes.slice(1..))),
            Self::Base64 => Some((channel.checked_sub(b'0')?, STANDARD.decode(&bytes[1..]).ok()?.into())),
        }
    }
}

/// The client's side.
pub(super) struct Channels {
    socket: WebSocket,
    encoding: Encoding,
    /// Since version 4 the end is told as a Status.
    tells_status: bool,
    /// Since version 5 the client can end its input.
    can_close: bool,
}

impl Channels {
    /// Tells the client that it is connected, by an empty message on its first output. None if it has gone.
    pub(super) async fn begin(socket: WebSocket, protocol: &str, wants: Wants) -> Option<Self> {
        let can_close = protocol.starts_with("v5.");
        let tells_status = can_close || protocol.starts_with("v4.");
        let mut channels = Self { socket, encoding: Encoding::of(protocol), tells_status, can_close };
        let first = match wants {
            Wants { stdout: true, .. } => STDOUT,
            Wants { stderr: true, .. } => STDERR,
            Wants { .. } => ERROR,
        };
        channels.say(first, &[]).await.then_some(channels)
    }

    /// May be cancelled.
    pub(super) async fn next(&mut self) -> Told {
        let message = match timeout(IDLE, self.socket.recv()).await {
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => return Told::Gone,
            Ok(Some(Ok(message))) => message,
        };
        match self.encoding.read(&message) {
            Some((STDIN, content)) if !content.is_empty() => Told::Input(content),
            Some((RESIZE, content)) => serde_json::from_slice(&content).map_or(Told::Nothing, Told::Size),
            Some((CLOSE, content)) if self.can_close && *content == [STDIN] => Told::InputEnd,
            Some(_) | None => Told::Nothing,
        }
    }

    pub(super) async fn send(&mut self, stream: Stream, output: &[u8]) -> bool {
        let channel = match stream {
            Stream::Stdout => STDOUT,
            Stream::Stderr => STDERR,
        };
        self.say(channel, output).await
    }

    pub(super) async fn sign_of_life(&mut self) -> bool {
        self.socket.send(Message::Pong(Bytes::new())).await.is_ok()
    }

    pub(super) async fn end(&mut self, outcome: &Outcome) {
        let text =
            if self.tells_status { Some(told_as_status(outcome).to_string()) } else { told_as_text(outcome) };
        let told = match text {
            Some(text) => self.say(ERROR, text.as_bytes()).await,
            None => true,
        };
        if told {
            let _ = self.socket.send(Message::Close(Some(normal()))).await;
            // The client closes the connection when it has read all; were we the first, it might not.
            let _ = timeout(LAST_OUTPUT, async { while let Some(Ok(_)) = self.socket.recv().await {} }).await;
        }
    }

    async fn say(&mut self, channel: u8, content: &[u8]) -> bool {
        self.socket.send(self.encoding.message(channel, content)).await.is_ok()
    }
}

/// The end that was meant: kubectl takes any other for a failure of the connection.
pub(in crate::server::node) fn normal() -> CloseFrame {
    CloseFrame { code: close_code::NORMAL, reason: "".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_of_a_message_is_its_channel() {
        let read = |bytes: &'static [u8]| Encoding::Binary.read(&Message::Binary(Bytes::from_static(bytes)));
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\x00"), Some((STDIN, Bytes::new())));
        assert_eq!(read(b"\xff\x00"), Some((CLOSE, Bytes::from_static(b"\x00"))));
        let text = Encoding::Binary.read(&Message::Text("\u{4}{}".into()));
        assert_eq!(text, Some((RESIZE, Bytes::from_static(b"{}"))));
        assert_eq!(Encoding::Binary.read(&Message::Ping(Bytes::new())), None);
    }

    #[test]
    fn base64_messages_are_text_with_a_digit_before_it() {
        let encoding = Encoding::of("v4.base64.channel.k8s.io");
        assert_eq!(encoding.message(STDOUT, b"hello"), Message::Text("1aGVsbG8=".into()));
        assert_eq!(
            encoding.read(&Message::Text("0aGVsbG8=".into())),
            Some((STDIN, Bytes::from_static(b"hello")))
        );
        assert_eq!(encoding.read(&Message::Text("0?".into())), None);
        assert_eq!(Encoding::of("v5.channel.k8s.io"), Encoding::Binary);
    }
}

//! One exec session: FIFOs on one side, a WebSocket with numbered channels on the other. The first byte of each
//! message is its channel.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::{sleep, timeout};

use super::super::backend::Execution;
use super::Wants;
use super::fifos::Fifos;
use crate::api::status::Status;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Version 5: the next byte names a channel that the client is done with.
const CLOSE: u8 = 255;

/// Longest message to the client; as kubectl's own.
const CHUNK_BYTES: usize = 32 * 1024;

/// A session in which nothing happens ends after this, as the kubelet's `streamingConnectionIdleTimeout`.
const IDLE: Duration = Duration::from_hours(4);

/// How long output may still come after the process has ended: something it left behind may keep the FIFO open.
const LAST_OUTPUT: Duration = Duration::from_secs(5);

/// While the process does not read its input we do not read the client's messages, nor answer its pings; it gives
/// up after a minute without a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// The client's side.
pub(super) struct Session {
    socket: WebSocket,
    wants: Wants,
}

/// What happens next in a session.
enum Event {
    Message(Message),
    /// The client has gone, by itself or because nothing happens any more.
    Gone,
    /// So many bytes of input were taken.
    Fed(usize),
    /// Nobody reads the input any more.
    Unread,
    /// The input does not move.
    Stuck,
    /// A message for the client.
    Output(Bytes),
    /// An output has ended.
    Ended(u8),
    Exited(Result<i32, Status>),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

impl Session {
    /// Tells the client that it is connected, by an empty message on its first output. None if it has gone.
    pub(super) async fn begin(socket: WebSocket, wants: Wants) -> Option<Self> {
        let mut session = Self { socket, wants };
        let first = match wants {
            Wants { stdout: true, .. } => STDOUT,
            Wants { stderr: true, .. } => STDERR,
            Wants { .. } => ERROR,
        };
        session.send(vec![first].into()).await.then_some(session)
    }

    /// Ends the session with an error.
    pub(super) async fn fail(&mut self, status: &Status) {
        self.end(&status.to_json()).await;
    }

    /// Carries the streams until the process has ended or the client has gone, which ends the process.
    pub(super) async fn run(&mut self, execution: &impl Execution, mut fifos: Fifos) {
        let result = self.carry(execution, &mut fifos).await;
        drop(fifos);
        if let Some(result) = result {
            match result {
                Ok(code) => self.end(&outcome(code)).await,
                Err(status) => self.fail(&status).await,
            }
        } else {
            execution.kill().await;
            let _ = timeout(LAST_OUTPUT, execution.wait()).await;
        }
    }

    /// How the process ended, or none if the client has gone.
    async fn carry(&mut self, execution: &impl Execution, fifos: &mut Fifos) -> Option<Result<i32, Status>> {
        let mut input = Bytes::new();
        let mut input_ends = false;
        let mut exit = Box::pin(execution.wait());
        let result = loop {
            if input_ends && input.is_empty() && fifos.stdin.take().is_some() {
                execution.close_stdin().await;
            }
            let event = tokio::select! {
                event = self.message(), if input.is_empty() => event,
                event = feed(fifos.stdin.as_mut(), &input), if !input.is_empty() => event,
                event = output(STDOUT, fifos.stdout.as_mut()) => event,
                event = output(STDERR, fifos.stderr.as_mut()) => event,
                result = &mut exit => Event::Exited(result),
            };
            match event {
                Event::Message(message) => match channel(&message) {
                    Some((STDIN, bytes)) if fifos.stdin.is_some() && !input_ends => input = bytes,
                    Some((RESIZE, bytes)) if self.wants.terminal => {
                        if let Ok(Size { width, height }) = serde_json::from_slice(&bytes) {
                            execution.resize(width, height).await;
                        }
                    }
                    Some((CLOSE, bytes)) if *bytes == [STDIN] => input_ends = true,
                    Some(_) | None => {}
                },
                Event::Gone => return None,
                Event::Fed(count) => drop(input.split_to(count)),
                Event::Unread => {
                    input.clear();
                    fifos.stdin = None;
                }
                Event::Stuck => {
                    if self.socket.send(Message::Pong(Bytes::new())).await.is_err() {
                        return None;
                    }
                }
                Event::Output(message) => {
                    if !self.send(message).await {
                        return None;
                    }
                }
                Event::Ended(channel) => forget(fifos, channel),
                Event::Exited(result) => break result,
            }
        };
        // What the process has written last is in the FIFOs.
        fifos.stdin = None;
        let _ = timeout(LAST_OUTPUT, self.rest(fifos)).await;
        Some(result)
    }

    async fn rest(&mut self, fifos: &mut Fifos) {
        while fifos.stdout.is_some() || fifos.stderr.is_some() {
            let event = tokio::select! {
                event = output(STDOUT, fifos.stdout.as_mut()) => event,
                event = output(STDERR, fifos.stderr.as_mut()) => event,
            };
            match event {
                Event::Output(message) => {
                    if !self.send(message).await {
                        return;
                    }
                }
                Event::Ended(channel) => forget(fifos, channel),
                Event::Message(_)
                | Event::Gone
                | Event::Fed(_)
                | Event::Unread
                | Event::Stuck
                | Event::Exited(_) => return,
            }
        }
    }

    async fn message(&mut self) -> Event {
        match timeout(IDLE, self.socket.recv()).await {
            Ok(Some(Ok(Message::Close(_)) | Err(_)) | None) | Err(_) => Event::Gone,
            Ok(Some(Ok(message))) => Event::Message(message),
        }
    }

    /// False when the client has gone.
    async fn send(&mut self, message: Bytes) -> bool {
        self.socket.send(Message::Binary(message)).await.is_ok()
    }

    async fn end(&mut self, status: &Value) {
        let message = [&[ERROR], status.to_string().as_bytes()].concat();
        if self.send(message.into()).await {
            let _ = self.socket.send(Message::Close(Some(normal()))).await;
            // The client closes the connection when it has read all; were we the first, it might not.
            let _ = timeout(LAST_OUTPUT, async { while let Some(Ok(_)) = self.socket.recv().await {} }).await;
        }
    }
}

/// Channel and content of a message; none for pings, pongs and empty ones.
fn channel(message: &Message) -> Option<(u8, Bytes)> {
    let bytes = match message {
        Message::Binary(bytes) => bytes.clone(),
        Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
        Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return None,
    };
    (!bytes.is_empty()).then(|| (bytes[0], bytes.slice(1..)))
}

/// Gives the process some of its input.
async fn feed(stdin: Option<&mut pipe::Sender>, input: &[u8]) -> Event {
    let Some(stdin) = stdin else { return Event::Unread };
    tokio::select! {
        written = stdin.write(input) => written.map_or(Event::Unread, Event::Fed),
        () = sleep(SIGN_OF_LIFE) => Event::Stuck,
    }
}

/// Some output, for ever without a FIFO.
async fn output(channel: u8, fifo: Option<&mut pipe::Receiver>) -> Event {
    let Some(fifo) = fifo else { return std::future::pending().await };
    let mut message = Vec::with_capacity(CHUNK_BYTES);
    message.push(channel);
    match fifo.read_buf(&mut message).await {
        Ok(0) | Err(_) => Event::Ended(channel),
        Ok(_) => Event::Output(message.into()),
    }
}

fn forget(fifos: &mut Fifos, channel: u8) {
    if channel == STDOUT {
        fifos.stdout = None;
    } else {
        fifos.stderr = None;
    }
}

/// How the process ended, as kubectl wants to be told.
fn outcome(code: i32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: {code}"),
        "reason": "NonZeroExitCode",
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}

/// The end that was meant: kubectl takes any other for a failure of the connection.
fn normal() -> CloseFrame {
    CloseFrame { code: close_code::NORMAL, reason: "".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_told_as_upstream_tells_them() {
        assert_eq!(outcome(0)["status"], "Success");
        let failure = outcome(137);
        assert_eq!(failure["reason"], "NonZeroExitCode");
        assert_eq!(failure["details"]["causes"][0], json!({ "reason": "ExitCode", "message": "137" }));
    }

    #[test]
    fn the_first_byte_of_a_message_is_its_channel() {
        let message = |bytes: &'static [u8]| channel(&Message::Binary(Bytes::from_static(bytes)));
        assert_eq!(message(b""), None);
        assert_eq!(message(b"\x00"), Some((STDIN, Bytes::new())));
        assert_eq!(message(b"\xff\x00"), Some((CLOSE, Bytes::from_static(b"\x00"))));
        assert_eq!(channel(&Message::Text("\u{4}{}".into())), Some((RESIZE, Bytes::from_static(b"{}"))));
        assert_eq!(channel(&Message::Ping(Bytes::new())), None);
    }
}

//! One client of the control socket.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use super::super::control::{MAX_MESSAGE_BYTES, Reply};

/// Reads requests and writes replies without ever waiting for the client.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    /// Bytes of it that are sent.
    sent: usize,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, incoming: Vec::new(), outgoing: Vec::new(), sent: 0 }
    }

    /// Reads what has come. False when the client has gone, or says more than any request is long.
    pub(super) fn read(&mut self) -> bool {
        let mut chunk = [0; 4096];
        while self.incoming.len() <= MAX_MESSAGE_BYTES {
            match self.stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(count) => self.incoming.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        tracing::warn!(limit = MAX_MESSAGE_BYTES, "a control connection is closed: its request is too long");
        false
    }

    /// The oldest request that has come whole.
    pub(super) fn next_line(&mut self) -> Option<Vec<u8>> {
        let end = self.incoming.iter().position(|byte| *byte == b'\n')?;
        let line = self.incoming.drain(..=end).collect();
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        Some(line)
    }

    /// Answers. False when that is impossible.
    pub(super) fn reply(&mut self, reply: &Reply) -> bool {
        let Ok(line) = serde_json::to_vec(reply) else { return false };
        self.outgoing.extend_from_slice(&line);
        self.outgoing.push(b'\n');
        self.flush()
    }

    /// Says something else than a reply, once the client takes it.
    pub(super) fn push(&mut self, parts: &[&[u8]]) {
        if self.sent > self.outgoing.len() / 2 {
            self.outgoing.drain(..self.sent);
            self.sent = 0;
        }
        for part in parts {
            self.outgoing.extend_from_slice(part);
        }
    }

    /// Bytes that the client has not taken yet.
    pub(super) fn waiting(&self) -> usize {
        self.outgoing.len() - self.sent
    }

    /// Sends what the client takes now. False when it has gone.
    pub(super) fn flush(&mut self) -> bool {
        while self.waiting() > 0 {
            match self.stream.write(&self.outgoing[self.sent..]) {
                Ok(0) => return false,
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        self.outgoing = Vec::new();
        self.sent = 0;
        true
    }
}

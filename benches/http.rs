//! A client of HTTP/1.1 over TLS that costs next to nothing: most of what is measured shares the machine with it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use leasehold::server::tls::{Identity, client_config};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where to connect, and as whom.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Target {
    pub(crate) fn new(address: SocketAddr, identity: &Identity, ca_pem: &str) -> anyhow::Result<Self> {
        let mut tls = client_config(identity, ca_pem)?;
        // Each connection stands for another client, which has nothing to resume.
        tls.resumption = Resumption::disabled();
        Ok(Self { address, tls: Arc::new(tls) })
    }

    /// One client, which resumes its TLS sessions, as agents do.
    #[must_use]
    pub(crate) fn resuming(self) -> Self {
        let mut tls = (*self.tls).clone();
        tls.resumption = Resumption::in_memory_sessions(1);
        Self { tls: Arc::new(tls), ..self }
    }

    pub(crate) async fn connect(&self) -> io::Result<Connection> {
        let socket = TcpStream::connect(self.address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::from(self.address.ip());
        let stream = TlsConnector::from(self.tls.clone()).connect(name, socket).await?;
        Ok(Connection { stream, buffer: Vec::new(), end: 0 })
    }
}

/// One connection, one request at a time.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    /// Where what has been read ends.
    end: usize,
}

/// An answer: status code and body.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// `metadata.resourceVersion`, without reading the rest as JSON.
    pub(crate) fn resource_version(&self) -> Option<&str> {
        const FIELD: &[u8] = b"\"resourceVersion\":\"";
        let at = find(&self.body, FIELD)? + FIELD.len();
        let length = self.body[at..].iter().position(|byte| *byte == b'"')?;
        std::str::from_utf8(&self.body[at..at + length]).ok()
    }

    /// The answer, if it is one of success.
    pub(crate) fn ok(self) -> anyhow::Result<Self> {
        if (200..300).contains(&self.code) {
            return Ok(self);
        }
        anyhow::bail!("HTTP {}: {}", self.code, String::from_utf8_lossy(&self.body))
    }
}

/// The head and body of a request.
pub(crate) fn request(method: &str, path: &str, media_type: &str, body: &[u8]) -> Vec<u8> {
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nhost: bench\r\naccept: application/json\r\n").into_bytes();
    if !media_type.is_empty() {
        let head = format!("content-type: {media_type}\r\ncontent-length: {}\r\n", body.len());
        text.extend_from_slice(head.as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(body);
    text
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";

impl Connection {
    pub(crate) async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send(&request("GET", path, "", b"")).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> io::Result<Answer> {
        self.send(&request("POST", path, JSON, body.to_string().as_bytes())).await
    }

    pub(crate) async fn merge(&mut self, path: &str, body: &Value) -> io::Result<Answer> {
        self.send(&request("PATCH", path, MERGE_PATCH, body.to_string().as_bytes())).await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> io::Result<Answer> {
        self.send(&request("DELETE", path, "", b"")).await
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> io::Result<Answer> {
        let head = self.begin(request).await?;
        let mut body = Vec::with_capacity(head.length.unwrap_or(0));
        if let Some(length) = head.length {
            while body.len() < length {
                if self.end == 0 {
                    self.read().await?;
                }
                let part = self.end.min(length - body.len());
                body.extend_from_slice(&self.buffer[..part]);
                self.consume(part);
            }
        } else {
            while let Some(()) = self.chunk(|part| body.extend_from_slice(part)).await? {}
        }
        Ok(Answer { code: head.code, body })
    }

    /// Sends a request and reads the head of its answer.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> io::Result<Head> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let end = loop {
            if let Some(end) = find(&self.buffer[..self.end], b"\r\n\r\n") {
                break end + 4;
            }
            self.read().await?;
        };
        let head = Head::parse(&self.buffer[..end])?;
        self.consume(end);
        Ok(head)
    }

    /// Reads the next chunk of an answer without a length, in parts; none at its end.
    pub(crate) async fn chunk(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<Option<()>> {
        let line = loop {
            if let Some(line) = find(&self.buffer[..self.end], b"\r\n") {
                break line;
            }
            self.read().await?;
        };
        let size = std::str::from_utf8(&self.buffer[..line]).ok();
        let size =
            size.and_then(|hex| usize::from_str_radix(hex.trim(), 16).ok()).ok_or_else(|| bad("chunk"))?;
        self.consume(line + 2);
        let mut left = size + 2;
        while left > 0 {
            if self.end == 0 {
                self.read().await?;
            }
            let part = self.end.min(left);
            take(&self.buffer[..part.min(left.saturating_sub(2))]);
            left -= part;
            self.consume(part);
        }
        Ok((size > 0).then_some(()))
    }

    fn consume(&mut self, length: usize) {
        self.buffer.copy_within(length..self.end, 0);
        self.end -= length;
    }

    async fn read(&mut self) -> io::Result<()> {
        if self.buffer.len() - self.end < 1024 {
            self.buffer.resize((self.buffer.len() * 2).clamp(2048, 64 << 10), 0);
        }
        if self.buffer.len() == self.end {
            return Err(bad("head"));
        }
        match self.stream.read(&mut self.buffer[self.end..]).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.end += length;
                Ok(())
            }
        }
    }
}

/// The head of an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) code: u16,
    /// None: it comes in chunks.
    length: Option<usize>,
}

impl Head {
    fn parse(head: &[u8]) -> io::Result<Self> {
        let text = std::str::from_utf8(head).map_err(|_| bad("head"))?;
        let code = text.get(9..12).and_then(|code| code.parse().ok()).ok_or_else(|| bad("status line"))?;
        let length = text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        Ok(Self { code, length })
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer's {what} cannot be read"))
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|window| window == pattern)
}

//! A client on SPDY: one stream for each of input, outputs, error and the terminal's size, told apart by a header.

use std::future::pending;
use std::time::Duration;

use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::Wants;
use super::client::{Size, Told};
use super::session::{IDLE, Outcome, told_as_status, told_as_text};
use crate::logs::format::Stream;
use crate::server::spdy::{self, Closer, Incoming, Input, Reader, Writer};

/// Says what a stream is for.
const STREAM_TYPE: &str = "streamType";

/// How long a client may take to open its streams, as the kubelet's.
const STREAMS_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest description of a size that is waited for, in bytes.
const SIZE_BYTES_MAX: usize = 4096;

/// The client's side.
pub(super) struct SpdyStreams {
    /// Further streams, which are none of ours; it ends with the connection.
    incoming: Incoming,
    closer: Option<Closer>,
    /// Since version 4 the end is told as a Status.
    tells_status: bool,
    stdin: Option<Reader>,
    resize: Option<Reader>,
    /// What is said of the size and not yet whole.
    resized: BytesMut,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
    error: Option<Writer>,
    /// Our ends of the streams on which only the client speaks. Were they ended, it would stop.
    silent: Vec<Writer>,
}

impl SpdyStreams {
    /// Two futures, to be run together: one waits for the streams and gives none if they do not come, one carries
    /// the connection.
    pub(super) fn begin(
        io: TokioIo<Upgraded>,
        protocol: &str,
        wants: Wants,
    ) -> (impl Future<Output = Option<Self>> + Send, impl Future<Output = ()> + Send) {
        let (incoming, closer, carry) = spdy::connection(io, IDLE);
        let can_resize = !matches!(protocol, "v2.channel.k8s.io" | "channel.k8s.io" | "");
        let mut streams = Self {
            incoming,
            closer: Some(closer),
            tells_status: protocol.starts_with("v4.") || protocol.starts_with("v5."),
            stdin: None,
            resize: None,
            resized: BytesMut::new(),
            stdout: None,
            stderr: None,
            error: None,
            silent: Vec::new(),
        };
        let begin = async move {
            let all = streams.gather(wants, can_resize).await;
            if all.is_none() {
                tracing::debug!("a client did not open the streams it asked for");
                if let Some(closer) = streams.closer.take() {
                    closer.close().await;
                }
            }
            all.map(|()| streams)
        };
        (begin, carry)
    }

    async fn gather(&mut self, wants: Wants, can_resize: bool) -> Option<()> {
        let deadline = Instant::now() + STREAMS_TIMEOUT;
        let Wants { stdin, stdout, stderr, terminal } = wants;
        let is_whole = |streams: &Self| {
            streams.error.is_some()
                && (!stdin || streams.stdin.is_some())
                && (!stdout || streams.stdout.is_some())
                && (!stderr || streams.stderr.is_some())
                && (!(terminal && can_resize) || streams.resize.is_some())
        };
        while !is_whole(self) {
            let stream = timeout_at(deadline, self.incoming.recv()).await.ok()??;
            match stream.headers.get(STREAM_TYPE) {
                Some("stdin") => {
                    self.stdin = Some(stream.reader);
                    self.silent.push(stream.writer);
                }
                Some("stdout") => self.stdout = Some(stream.writer),
                Some("stderr") => self.stderr = Some(stream.writer),
                Some("error") => self.error = Some(stream.writer),
                Some("resize") => {
                    self.resize = Some(stream.reader);
                    self.silent.push(stream.writer);
                }
                other => tracing::debug!(kind = other, "a stream of an unknown type"),
            }
        }
        Some(())
    }

    /// May be cancelled.
    pub(super) async fn next(&mut self) -> Told {
        if let Some(size) = self.size() {
            return Told::Size(size);
        }
        tokio::select! {
            biased;
            input = receive(self.resize.as_mut()) => {
                match input {
                    Some(Input::Data(bytes)) => self.resized.extend_from_slice(&bytes),
                    Some(Input::End) | None => self.resize = None,
                }
                self.size().map_or(Told::Nothing, Told::Size)
            }
            input = receive(self.stdin.as_mut()) => match input {
                Some(Input::Data(bytes)) => Told::Input(bytes),
                Some(Input::End) | None => {
                    self.stdin = None;
                    Told::InputEnd
                }
            },
            stream = self.incoming.recv() => stream.map_or(Told::Gone, |_| Told::Nothing),
        }
    }

    /// Takes a whole size off what was said of it.
    fn size(&mut self) -> Option<Size> {
        let mut sizes = serde_json::Deserializer::from_slice(&self.resized).into_iter::<Size>();
        let size = sizes.next();
        let taken = sizes.byte_offset();
        match size {
            Some(Ok(size)) => {
                let _ = self.resized.split_to(taken);
                Some(size)
            }
            Some(Err(error)) if error.is_eof() && self.resized.len() < SIZE_BYTES_MAX => None,
            Some(Err(_)) | None => {
                self.resized.clear();
                None
            }
        }
    }

    pub(super) async fn send(&mut self, stream: Stream, output: &[u8]) -> bool {
        let writer = match stream {
            Stream::Stdout => self.stdout.as_mut(),
            Stream::Stderr => self.stderr.as_mut(),
        };
        match writer {
            Some(writer) => writer.write(output).await,
            None => true,
        }
    }

    pub(super) async fn end(&mut self, outcome: &Outcome) {
        let text =
            if self.tells_status { Some(told_as_status(outcome).to_string()) } else { told_as_text(outcome) };
        if let (Some(error), Some(text)) = (&mut self.error, text) {
            error.write(text.as_bytes()).await;
        }
        let spoken = [&mut self.stdout, &mut self.stderr, &mut self.error].into_iter().flatten();
        for writer in spoken.chain(&mut self.silent) {
            writer.finish().await;
        }
        if let Some(closer) = self.closer.take() {
            closer.close().await;
        }
    }
}

/// The next of a stream, for ever without one.
async fn receive(reader: Option<&mut Reader>) -> Option<Input> {
    match reader {
        Some(reader) => reader.recv().await,
        None => pending().await,
    }
}

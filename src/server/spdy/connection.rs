//! Streams on a connection. Two loops carry it: one reads frames and hands them to the streams, one writes what the
//! streams say.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::frame::{self, CONTROL_BYTES_MAX, HEAD_BYTES, Head, Kind};
use super::headers::{Deflater, Headers, Inflater};
use super::{DATA_BYTES_MAX, HELD_MAX, STREAMS_MAX};

/// Frames that wait to be sent, of all streams together; then the streams wait.
const SENDING_MAX: usize = 32;

/// New streams that wait to be taken.
const INCOMING_MAX: usize = 16;

/// How long a client may take to close a connection that is over.
const LINGER: Duration = Duration::from_secs(5);

/// The reason of a reset: the server does not take this stream.
const REFUSED_STREAM: u32 = 3;

/// What a stream brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Some bytes, at least one.
    Data(Bytes),
    /// The client will say no more on it. When a stream ends without this, it was reset.
    End,
}

/// What a stream brings, in order.
pub type Reader = mpsc::Receiver<Input>;

/// A stream that the client has opened.
#[derive(Debug)]
pub struct Stream {
    /// Its number.
    pub id: u32,
    /// What it is for.
    pub headers: Headers,
    /// From the client.
    pub reader: Reader,
    /// To the client.
    pub writer: Writer,
}

/// The streams the client opens, until the connection ends.
pub type Incoming = mpsc::Receiver<Stream>;

/// What is to be sent.
#[derive(Debug)]
enum Outgoing {
    Frame(Vec<u8>),
    /// A stream was taken.
    Reply(u32),
    /// Nothing more.
    Close,
}

/// Says something on a stream. Dropped without [`Self::finish`], it ends the stream as well, if that need not wait.
#[derive(Debug)]
pub struct Writer {
    stream: u32,
    outgoing: mpsc::Sender<Outgoing>,
    finished: bool,
}

impl Writer {
    /// Sends bytes. False when the connection has ended.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        for part in bytes.chunks(DATA_BYTES_MAX) {
            let frame = Outgoing::Frame(frame::data(self.stream, part, false));
            if self.outgoing.send(frame).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Ends our side of the stream.
    pub async fn finish(&mut self) {
        if !std::mem::replace(&mut self.finished, true) {
            let _ = self.outgoing.send(Outgoing::Frame(frame::data(self.stream, &[], true))).await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.outgoing.try_send(Outgoing::Frame(frame::data(self.stream, &[], true)));
        }
    }
}

/// Ends a connection in order.
#[derive(Debug)]
pub struct Closer(mpsc::Sender<Outgoing>);

impl Closer {
    /// Has everything sent that was written before, and the connection closed.
    pub async fn close(self) {
        let _ = self.0.send(Outgoing::Close).await;
    }
}

/// Carries a connection: the future must be polled for anything to happen, and ends with the connection; then all
/// streams end. A client that is silent for `idle` has gone.
pub fn connection(
    io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    idle: Duration,
) -> (Incoming, Closer, impl Future<Output = ()> + Send) {
    let (reader, writer) = tokio::io::split(io);
    let (opened, incoming) = mpsc::channel(INCOMING_MAX);
    let (outgoing, queue) = mpsc::channel(SENDING_MAX);
    let closer = Closer(outgoing.clone());
    let mut reading = Reading {
        io: BufReader::with_capacity(DATA_BYTES_MAX, reader),
        inflater: Inflater::new(),
        streams: BTreeMap::new(),
        opened,
        outgoing,
        idle,
    };
    let carry = async move {
        let ended = tokio::select! {
            ended = reading.run() => ended,
            ended = write(writer, queue) => match ended {
                // What the client still says must be read, or the last that it was told may be lost on the way.
                Ok(()) => timeout(LINGER, reading.run()).await.unwrap_or(Ok(())),
                Err(error) => Err(error),
            },
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a SPDY connection ended early");
        }
    };
    (incoming, closer, carry)
}

async fn write(mut io: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Outgoing>) -> io::Result<()> {
    let mut deflater = Deflater::new();
    while let Some(outgoing) = queue.recv().await {
        match outgoing {
            Outgoing::Frame(frame) => io.write_all(&frame).await?,
            Outgoing::Reply(stream) => {
                let block = deflater.write(&Headers::default());
                let parts: [&[u8]; 2] = [&stream.to_be_bytes(), &block];
                io.write_all(&frame::control(Kind::SynReply, &parts)).await?;
            }
            Outgoing::Close => {
                io.write_all(&frame::control(Kind::GoAway, &[&[0; 8]])).await?;
                return io.shutdown().await;
            }
        }
        if queue.is_empty() {
            io.flush().await?;
        }
    }
    Ok(())
}

struct Reading<R> {
    io: BufReader<R>,
    inflater: Inflater,
    /// Those that the client has not ended. None once nobody reads them.
    streams: BTreeMap<u32, Option<mpsc::Sender<Input>>>,
    opened: mpsc::Sender<Stream>,
    outgoing: mpsc::Sender<Outgoing>,
    idle: Duration,
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl<R: AsyncRead + Unpin> Reading<R> {
    /// Until the client has gone, or breaks the protocol.
    async fn run(&mut self) -> io::Result<()> {
        loop {
            let mut head = [0; HEAD_BYTES];
            match timeout(self.idle, self.io.read_exact(&mut head)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Ok(()),
            }
            match Head::parse(head).ok_or_else(|| broken("not SPDY/3"))? {
                Head::Data { stream, fin, length } => self.data(stream, fin, length).await?,
                Head::Control { length, .. } if length > CONTROL_BYTES_MAX => {
                    return Err(broken("a control frame is too long"));
                }
                Head::Control { kind, fin, length } => {
                    let mut payload = vec![0; length];
                    self.io.read_exact(&mut payload).await?;
                    self.control(kind, fin, &payload).await?;
                }
            }
        }
    }

    async fn data(&mut self, stream: u32, fin: bool, length: usize) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            let want = left.min(DATA_BYTES_MAX);
            let mut part = BytesMut::with_capacity(want);
            let mut limited = (&mut self.io).take(want as u64);
            if limited.read_buf(&mut part).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= part.len();
            self.hand(stream, Input::Data(part.freeze())).await;
        }
        if fin {
            self.hand(stream, Input::End).await;
            self.streams.remove(&stream);
        }
        Ok(())
    }

    /// To whoever reads the stream; what nobody reads is dropped.
    async fn hand(&mut self, stream: u32, input: Input) {
        if let Some(reader) = self.streams.get_mut(&stream)
            && let Some(sender) = reader
            && sender.send(input).await.is_err()
        {
            *reader = None;
        }
    }

    async fn control(&mut self, kind: Kind, fin: bool, payload: &[u8]) -> io::Result<()> {
        let short = || broken("a control frame is too short");
        // Every block must be read, or the next cannot be.
        let headers = match kind.block_at() {
            Some(at) => {
                let block = payload.get(at..).ok_or_else(short)?;
                Some(self.inflater.read(block).ok_or_else(|| broken("headers cannot be read"))?)
            }
            None => None,
        };
        match kind {
            Kind::SynStream => {
                let stream = frame::stream(payload).ok_or_else(short)?;
                self.open(stream, fin, headers.unwrap_or_default()).await;
            }
            Kind::Reset => drop(self.streams.remove(&frame::stream(payload).ok_or_else(short)?)),
            Kind::Ping => {
                let number = frame::number(payload).ok_or_else(short)?;
                self.send(frame::control(Kind::Ping, &[&number.to_be_bytes()])).await;
            }
            // With the connection's end follows that of the streams.
            Kind::GoAway | Kind::SynReply | Kind::Headers | Kind::Other => {}
        }
        Ok(())
    }

    async fn send(&mut self, frame: Vec<u8>) {
        // The writing loop has ended: so does this.
        let _ = self.outgoing.send(Outgoing::Frame(frame)).await;
    }

    async fn open(&mut self, id: u32, fin: bool, headers: Headers) {
        if self.streams.contains_key(&id) || self.streams.len() >= STREAMS_MAX {
            tracing::debug!(stream = id, limit = STREAMS_MAX, "a stream is refused");
            let parts: [&[u8]; 2] = [&id.to_be_bytes(), &REFUSED_STREAM.to_be_bytes()];
            return self.send(frame::control(Kind::Reset, &parts)).await;
        }
        let (sender, reader) = mpsc::channel(HELD_MAX);
        if fin {
            let _ = sender.try_send(Input::End);
        } else {
            self.streams.insert(id, Some(sender));
        }
        let _ = self.outgoing.send(Outgoing::Reply(id)).await;
        let writer = Writer { stream: id, outgoing: self.outgoing.clone(), finished: false };
        let _ = self.opened.send(Stream { id, headers, reader, writer }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(stream: u32, fin: bool, block: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 3] = [&stream.to_be_bytes(), &[0; 6], block];
        let mut frame = frame::control(Kind::SynStream, &parts);
        frame[4] = u8::from(fin);
        frame
    }

    async fn receive(io: &mut (impl AsyncRead + Unpin)) -> (Head, Vec<u8>) {
        let mut head = [0; HEAD_BYTES];
        io.read_exact(&mut head).await.expect("a frame");
        let head = Head::parse(head).expect("SPDY/3");
        let (Head::Data { length, .. } | Head::Control { length, .. }) = head;
        let mut payload = vec![0; length];
        io.read_exact(&mut payload).await.expect("a frame");
        (head, payload)
    }

    #[tokio::test]
    async fn streams_are_opened_answered_carried_both_ways_and_ended() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (mut incoming, closer, carry) = connection(ours, Duration::from_mins(1));
        let carrying = tokio::spawn(carry);
        let mut deflater = Deflater::new();
        let headers = Headers::from([("streamtype", "data"), ("port", "80")]);
        theirs.write_all(&open(1, false, &deflater.write(&headers))).await.expect("written");
        theirs.write_all(&frame::data(1, &vec![b'x'; 40_000], true)).await.expect("written");
        theirs.write_all(&frame::data(99, b"nobody's", false)).await.expect("written");
        theirs.write_all(&frame::control(Kind::Ping, &[&[0, 0, 0, 7]])).await.expect("written");
        let mut stream = incoming.recv().await.expect("a stream");
        assert_eq!((stream.id, &stream.headers), (1, &headers));
        let mut got = 0;
        while let Some(Input::Data(bytes)) = stream.reader.recv().await {
            assert!(bytes.len() <= DATA_BYTES_MAX && bytes.iter().all(|byte| *byte == b'x'));
            got += bytes.len();
        }
        assert_eq!(got, 40_000);
        let (head, payload) = receive(&mut theirs).await;
        assert!(matches!(head, Head::Control { kind: Kind::SynReply, .. }) && payload[..4] == [0, 0, 0, 1]);
        let (head, payload) = receive(&mut theirs).await;
        assert!(matches!(head, Head::Control { kind: Kind::Ping, .. }) && payload == [0, 0, 0, 7]);
        assert!(stream.writer.write(b"answer").await);
        stream.writer.finish().await;
        assert_eq!(
            receive(&mut theirs).await,
            (Head::Data { stream: 1, fin: false, length: 6 }, b"answer".into())
        );
        assert_eq!(receive(&mut theirs).await.0, Head::Data { stream: 1, fin: true, length: 0 });
        closer.close().await;
        let (head, _) = receive(&mut theirs).await;
        assert!(matches!(head, Head::Control { kind: Kind::GoAway, .. }));
        assert_eq!(theirs.read(&mut [0]).await.expect("closed in order"), 0);
        carrying.await.expect("it ends");
        assert!(incoming.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_reset_or_lost_stream_ends_without_saying_so() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (mut incoming, _closer, carry) = connection(ours, Duration::from_mins(1));
        let carrying = tokio::spawn(carry);
        let mut deflater = Deflater::new();
        for id in [1, 3, 5] {
            theirs
                .write_all(&open(id, id == 5, &deflater.write(&Headers::default())))
                .await
                .expect("written");
        }
        theirs.write_all(&frame::control(Kind::Reset, &[&[0, 0, 0, 1], &[0; 4]])).await.expect("written");
        let mut streams =
            [incoming.recv().await, incoming.recv().await, incoming.recv().await].map(Option::unwrap);
        assert_eq!(streams[0].reader.recv().await, None);
        assert_eq!(streams[2].reader.recv().await, Some(Input::End), "opened and ended in one");
        drop(theirs);
        assert_eq!(streams[1].reader.recv().await, None);
        carrying.await.expect("it ends");
        assert!(!streams[1].writer.write(b"nobody").await);
    }

    #[tokio::test]
    async fn what_breaks_the_protocol_ends_the_connection() {
        let long = [&[0x80, 3, 0, 6, 0, 0xff, 0xff, 0xff][..], &[0; 64]].concat();
        let block = open(1, false, b"no zlib");
        for bytes in [&b"GET / HT"[..], &long, &block, &frame::control(Kind::SynStream, &[&[0; 3]])] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 10);
            let (_incoming, _closer, carry) = connection(ours, Duration::from_mins(1));
            theirs.write_all(bytes).await.expect("written");
            if bytes.starts_with(b"GET") {
                drop(theirs);
            }
            timeout(Duration::from_secs(10), carry).await.expect("it ends");
        }
    }
}

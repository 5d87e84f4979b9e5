//! What a container puts out, as it comes, for those who are attached to it.
//!
//! The log process copies it to any number of [`Tap`]s, each a connection to its control socket. It never waits for
//! one: a tap that does not keep up is cut off, and the log goes on.
//!
//! On the wire: one byte that says what follows, its length in four bytes (big-endian), then so many bytes.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::net::UnixStream;
use tokio_util::codec::{Decoder, FramedRead};

use super::format::Stream;

/// Most output that waits for one tap, in bytes, besides what the kernel holds.
pub const TAP_BYTES_MAX: usize = 4 << 20;

/// Most taps of all logs together.
pub const TAPS_MAX: usize = 64;

/// Longest piece of output in one message, in bytes.
pub(crate) const PIECE_BYTES_MAX: usize = 32 << 10;

/// Bytes of a message's head.
pub(crate) const HEAD_BYTES: usize = 5;

const END: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const CUT_OFF: u8 = 3;

/// What the log process says on a tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    /// Some output.
    Output(Stream, Bytes),
    /// There will be no more: the container has ended.
    End,
    /// More has been put out than was taken.
    CutOff,
}

/// The head of a message about `length` bytes of output.
pub(crate) fn output_head(stream: Stream, length: usize) -> [u8; HEAD_BYTES] {
    let kind = match stream {
        Stream::Stdout => STDOUT,
        Stream::Stderr => STDERR,
    };
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [kind, a, b, c, d]
}

/// The last message.
pub(crate) const fn last(cut_off: bool) -> [u8; HEAD_BYTES] {
    [if cut_off { CUT_OFF } else { END }, 0, 0, 0, 0]
}

/// Why there is no more output, though the container may run on.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// Too much waited.
    #[error("output was put out faster than it was read: more than {TAP_BYTES_MAX} bytes waited")]
    CutOff,
    /// The log process has gone; another one takes its place and the log loses nothing.
    #[error("the log process has ended")]
    Lost(#[from] io::Error),
}

/// The output of one container.
#[derive(Debug)]
pub struct Tap(FramedRead<UnixStream, Messages>);

impl Tap {
    /// Reads from a connection on which the log process has said that it is a tap.
    pub fn new(stream: UnixStream) -> Self {
        Self(FramedRead::new(stream, Messages))
    }

    /// The next piece of output, none at its end. May be cancelled.
    pub async fn next(&mut self) -> Result<Option<(Stream, Bytes)>, TapError> {
        match self.0.next().await {
            Some(Ok(Message::Output(stream, bytes))) => Ok(Some((stream, bytes))),
            Some(Ok(Message::End)) => Ok(None),
            Some(Ok(Message::CutOff)) => Err(TapError::CutOff),
            Some(Err(error)) => Err(error.into()),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }
}

#[derive(Debug)]
struct Messages;

impl Decoder for Messages {
    type Item = Message;
    type Error = io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> io::Result<Option<Message>> {
        let Some(&[kind, a, b, c, d]) = bytes.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > PIECE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
        }
        if bytes.len() < HEAD_BYTES + length {
            bytes.reserve(HEAD_BYTES + length - bytes.len());
            return Ok(None);
        }
        bytes.advance(HEAD_BYTES);
        let content = bytes.split_to(length).freeze();
        match kind {
            END => Ok(Some(Message::End)),
            STDOUT => Ok(Some(Message::Output(Stream::Stdout, content))),
            STDERR => Ok(Some(Message::Output(Stream::Stderr, content))),
            CUT_OFF => Ok(Some(Message::CutOff)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a message of an unknown kind")),
        }
    }
}

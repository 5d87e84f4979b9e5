//! SPDY/3.1, the server's side: many streams on one connection, as kubectl speaks it for exec, attach and port-forward
//! after an HTTP upgrade, or inside a WebSocket.
//!
//! Only what the peers that there are (all of them `spdystream`) do: no push, no settings, no flow control. So a
//! stream that is not read holds up its connection, once [`HELD_MAX`] of its frames wait.
//!
//! [`frame`] is the bytes, [`headers`] the compressed name-value blocks, [`connection`] the streams.

mod connection;
mod frame;
mod headers;

pub use connection::{Closer, Incoming, Input, Reader, Stream, Writer, connection};
pub use headers::Headers;

/// As HTTP's `Upgrade` header names the protocol.
pub const PROTOCOL: &str = "SPDY/3.1";

/// Names the protocols that the client can speak on the streams, and the one that was chosen.
pub const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// Streams of one connection at a time; a client that opens more has them reset.
pub const STREAMS_MAX: usize = 1024;

/// Data frames (of at most [`DATA_BYTES_MAX`]) that wait for one slow stream before the connection waits too.
pub const HELD_MAX: usize = 32;

/// Longest piece of data that is handed on or sent in one, in bytes; as Go's `io.Copy`.
pub const DATA_BYTES_MAX: usize = 32 << 10;

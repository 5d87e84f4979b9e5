//! Answers on their way out: bodies made piece by piece, compressed when that pays.

use std::convert::Infallible;
use std::io::Write as _;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream::{self, BoxStream, StreamExt as _};
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY,
};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::Value;

use super::negotiate::Encoding;
use crate::api::status::Status;

/// Bodies of at least this size are compressed where the client accepts it, as kube-apiserver does.
pub const GZIP_FROM: usize = 128 << 10;
/// Pieces are gathered to about this size before they are sent.
pub const CHUNK: usize = 32 << 10;

/// What goes wrong while a body is sent.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A response's body.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// The content of an answer.
pub enum Payload {
    /// At hand.
    Whole(Bytes),
    /// To be joined as it is sent.
    Pieces {
        /// Length of all together, in bytes.
        size: usize,
        /// The pieces, in order.
        pieces: Box<dyn Iterator<Item = Bytes> + Send>,
    },
    /// Arrives over time; never compressed.
    Stream(BoxStream<'static, Result<Bytes, BodyError>>),
}

/// An answer before it is HTTP.
pub struct Reply {
    /// Status code.
    pub code: u16,
    /// `Content-Type`, empty for none.
    pub media_type: &'static str,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub payload: Payload,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply").field("code", &self.code).finish_non_exhaustive()
    }
}

impl Reply {
    /// JSON that is at hand.
    pub fn json(code: u16, body: impl Into<Bytes>) -> Self {
        Self::new(code, Encoding::Json.media_type(), Payload::Whole(body.into()))
    }

    /// Plain text.
    pub fn text(code: u16, body: impl Into<Bytes>) -> Self {
        Self::new(code, "text/plain; charset=utf-8", Payload::Whole(body.into()))
    }

    /// A tree, in the encoding that is wanted.
    pub fn value(code: u16, value: &Value, encoding: Encoding) -> Self {
        let text = match encoding {
            Encoding::Json => value.to_string(),
            Encoding::Yaml => serde_saphyr::to_string(value).unwrap_or_else(|e| format!("# {e}\n")),
        };
        Self::new(code, encoding.media_type(), Payload::Whole(text.into()))
    }

    /// An answer without further headers.
    pub fn new(code: u16, media_type: &'static str, payload: Payload) -> Self {
        Self { code, media_type, headers: Vec::new(), payload }
    }

    /// A refusal.
    pub fn refusal(status: &Status) -> Self {
        let mut reply = Self::json(status.code, status.to_json().to_string());
        if let Some(seconds) = status.details["retryAfterSeconds"].as_u64() {
            reply.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if status.code == 401 {
            reply.headers.push((http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Certificate")));
        }
        reply
    }

    /// Adds `Warning` headers, as kubectl prints them.
    #[must_use]
    pub fn warn(mut self, warnings: &[String]) -> Self {
        for warning in warnings {
            let text = format!("299 - {}", Value::from(warning.as_str()));
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                self.headers.push((http::header::WARNING, value));
            }
        }
        self
    }

    /// The HTTP response.
    pub fn into_response(self, accepts_gzip: bool) -> Response<Body> {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if !self.media_type.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        }
        for (name, value) in self.headers {
            headers.append(name, value);
        }
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
        let size = match &self.payload {
            Payload::Whole(body) => body.len(),
            Payload::Pieces { size, .. } => *size,
            Payload::Stream(_) => 0,
        };
        let compress = accepts_gzip && size >= GZIP_FROM;
        if compress {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        *response.body_mut() = match self.payload {
            Payload::Whole(body) if compress => pieces(Gzip::new(split(body))),
            Payload::Whole(body) => Full::new(body).map_err(never).boxed_unsync(),
            Payload::Pieces { pieces: parts, .. } if compress => pieces(Gzip::new(Gathered(parts))),
            Payload::Pieces { pieces: parts, .. } => pieces(Gathered(parts)),
            Payload::Stream(stream) => {
                StreamBody::new(stream.map(|part| part.map(Frame::data))).boxed_unsync()
            }
        };
        response
    }
}

fn never(impossible: Infallible) -> BodyError {
    match impossible {}
}

fn pieces(parts: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    StreamBody::new(stream::iter(parts.map(|part| Ok(Frame::data(part))))).boxed_unsync()
}

fn split(mut body: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!body.is_empty()).then(|| body.split_to(CHUNK.min(body.len()))))
}

/// Joins small pieces.
struct Gathered<I>(I);

impl<I: Iterator<Item = Bytes>> Iterator for Gathered<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let first = self.0.next()?;
        if first.len() >= CHUNK {
            return Some(first);
        }
        let mut joined = BytesMut::with_capacity(CHUNK);
        joined.extend_from_slice(&first);
        while joined.len() < CHUNK {
            let Some(next) = self.0.next() else { break };
            joined.extend_from_slice(&next);
        }
        Some(joined.freeze())
    }
}

/// Compresses pieces as they pass. Level 1, as kube-apiserver: CPU is dearer than the last tenth of the size.
struct Gzip<I> {
    parts: I,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<I> Gzip<I> {
    fn new(parts: I) -> Self {
        Self { parts, encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())) }
    }
}

impl<I: Iterator<Item = Bytes>> Iterator for Gzip<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let encoder = self.encoder.as_mut()?;
        for part in self.parts.by_ref() {
            encoder.write_all(&part).expect("writing to memory does not fail");
            if encoder.get_ref().len() >= CHUNK {
                return Some(std::mem::take(encoder.get_mut()).into());
            }
        }
        let rest = self.encoder.take()?.finish().expect("writing to memory does not fail");
        (!rest.is_empty()).then(|| rest.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn pieces_come_out_whole_joined_or_compressed() {
        let parts = || (0..5000_u32).map(|n| Bytes::from(format!("[{n}],")));
        let whole: Vec<u8> = parts().flatten().collect();
        assert_eq!(Gathered(parts()).flatten().collect::<Vec<u8>>(), whole);
        let packed: Vec<u8> = Gzip::new(Gathered(parts())).flatten().collect();
        assert!(packed.len() < whole.len());
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, whole);
        assert_eq!(split(Bytes::from(whole.clone())).flatten().collect::<Vec<u8>>(), whole);
    }
}

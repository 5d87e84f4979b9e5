//! HTTP/1.1 connections that take little room while they wait for a request.
//!
//! hyper keeps some 25 kB of buffers for as long as a connection is its own, and the connections of thousands of
//! nodes are silent for nearly all of their life. So hyper is lent a connection when something has arrived on it, and
//! gives it back when all that was asked has been answered.
//!
//! ```text
//! waiting ── bytes arrive ──► lent ── all answered and flushed ──► waiting
//!    └── closed, idle for too long, stop ──► over ◄── closed, failed, other protocol ──┘ (from lent)
//! ```

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::{Request, Response};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::activity::{Activity, Answer, RequestBody};
use super::{HEADER_TIMEOUT, Stream};
use crate::server::api::reply::Body;

/// Serves a connection until it closes or `stop`.
pub(super) async fn serve<H, F>(stream: Stream, http: &Builder, handler: H, stop: CancellationToken)
where
    H: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (ahead, activity) = (Bytes::new(), Arc::new(Activity::default()));
    let mut connection = Lent { stream: TokioIo::new(stream), ahead, activity };
    while connection.arrives(&stop).await {
        // Boxed, so that the room is given back with the connection.
        match Box::pin(answer(connection, http, &handler, &stop)).await {
            Ok(Some(back)) => connection = back,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "a connection ended early");
                return;
            }
        }
    }
    let _ = connection.stream.inner_mut().shutdown().await;
}

/// Answers what is asked; the connection comes back unless it has ended.
async fn answer<H, F>(
    connection: Lent,
    http: &Builder,
    handler: &H,
    stop: &CancellationToken,
) -> hyper::Result<Option<Lent>>
where
    H: Fn(Request<RequestBody>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let activity = connection.activity.clone();
    let service = service_fn(|request: Request<_>| {
        let (parts, body) = request.into_parts();
        let (body, open) = activity.begin(body);
        // Boxed: hyper makes room for the answer when there is a request, and not before.
        let answer = Box::pin(handler(Request::from_parts(parts, body)));
        async move { Ok::<_, Infallible>(answer.await.map(|body| Answer { body, _open: open })) }
    });
    let begin = activity.counted();
    let mut lent = http.serve_connection(connection, service).with_upgrades();
    let until_quiet = poll_fn(|cx| {
        let before = activity.counted();
        match Pin::new(&mut lent).poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if activity.is_quiet(begin, before) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    let ended = tokio::select! {
        ended = until_quiet => ended,
        () = stop.cancelled() => {
            Pin::new(&mut lent).graceful_shutdown();
            Some((&mut lent).await)
        }
    };
    match ended {
        Some(ended) => ended.map(|()| None),
        None => Ok(lent.into_parts().map(|parts| Lent { ahead: parts.read_buf, ..parts.io })),
    }
}

/// A connection, with what was read ahead of it.
struct Lent {
    stream: TokioIo<Stream>,
    ahead: Bytes,
    activity: Arc<Activity>,
}

impl Lent {
    /// Waits until there is something to read; false when nothing will come.
    async fn arrives(&mut self, stop: &CancellationToken) -> bool {
        if !self.ahead.is_empty() {
            return true;
        }
        tokio::select! {
            filled = tokio::time::timeout(HEADER_TIMEOUT, self.stream.inner_mut().fill_buf()) => {
                matches!(filled, Ok(Ok(bytes)) if !bytes.is_empty())
            }
            () = stop.cancelled() => false,
        }
    }

    fn wrote<T>(&self, polled: Poll<T>) -> Poll<T> {
        self.activity.unflushed.store(true, Ordering::Relaxed);
        polled
    }
}

impl Read for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let part = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(&self.ahead[..part]);
        self.ahead.advance(part);
        Poll::Ready(Ok(()))
    }
}

impl Write for Lent {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(cx);
        if polled.is_ready() {
            self.activity.unflushed.store(false, Ordering::Relaxed);
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

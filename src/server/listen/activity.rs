//! What is under way on a connection: told by the bodies of requests and answers and by the connection itself, asked
//! by whoever would like to have the connection back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// What is under way on one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests that have been handed to the handler.
    requests: AtomicUsize,
    /// Answers that have been sent to their end, or given up.
    answered: AtomicUsize,
    /// Of the requests, those that came with a body.
    bodies: AtomicUsize,
    /// Bodies that have been read or given up.
    read: AtomicUsize,
    /// Something has been written and not been flushed.
    pub(super) unflushed: AtomicBool,
}

/// What [`Activity`] counted at an instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counted {
    requests: usize,
    read: usize,
}

impl Activity {
    pub(super) fn counted(&self) -> Counted {
        Counted { requests: self.requests.load(Ordering::Acquire), read: self.read.load(Ordering::Acquire) }
    }

    /// Whether nothing is under way, and something has been since `begin`. `before` was counted before the connection
    /// was last driven: a body that has been dropped since may have left bytes that the connection has yet to skip.
    pub(super) fn is_quiet(&self, begin: Counted, before: Counted) -> bool {
        let requests = self.requests.load(Ordering::Acquire);
        requests != begin.requests
            && requests == self.answered.load(Ordering::Acquire)
            && before.read == self.bodies.load(Ordering::Acquire)
            && !self.unflushed.load(Ordering::Relaxed)
    }

    /// A request has come.
    pub(super) fn begin(self: &Arc<Self>, incoming: Incoming) -> (RequestBody, Open) {
        self.requests.fetch_add(1, Ordering::Release);
        let open = (!incoming.is_end_stream()).then(|| {
            self.bodies.fetch_add(1, Ordering::Release);
            Open { activity: self.clone(), what: What::Body }
        });
        (RequestBody { incoming, _open: open }, Open { activity: self.clone(), what: What::Answer })
    }
}

/// Dropped when what it stands for is over.
#[derive(Debug)]
pub(super) struct Open {
    activity: Arc<Activity>,
    what: What,
}

#[derive(Debug)]
enum What {
    Body,
    Answer,
}

impl Drop for Open {
    fn drop(&mut self) {
        let count = match self.what {
            What::Body => &self.activity.read,
            What::Answer => &self.activity.answered,
        };
        count.fetch_add(1, Ordering::Release);
    }
}

/// A request's body.
#[derive(Debug)]
pub struct RequestBody {
    /// Stands before `_open`, and so is dropped first.
    incoming: Incoming,
    _open: Option<Open>,
}

impl From<Incoming> for RequestBody {
    fn from(incoming: Incoming) -> Self {
        Self { incoming, _open: None }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// An answer's body, under way until it is dropped.
#[derive(Debug)]
pub(super) struct Answer<B> {
    pub(super) body: B,
    pub(super) _open: Open,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

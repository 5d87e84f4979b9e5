//! Watches: one line of JSON for each event, until the client goes, the time is over, or it falls behind.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::list::{invalid_options, revision};
use super::negotiate::{Encoding, Shape};
use super::query::Query;
use super::reply::{CHUNK, Payload, Reply};
use super::shape::View as Shown;
use crate::api::status::Status;
use crate::coordinator::state::Object;
use crate::server::view::View;
use crate::server::view::filter::Filter;
use crate::server::view::history::{Delivery, Watch};

/// A watch that asks for bookmarks gets one at least this often.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(50);
/// How long a watch lasts that names no time, at least; twice that at most, as kube-apiserver.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(30);

/// What a watch begins with.
#[derive(Debug, PartialEq, Eq)]
enum Begin {
    /// Everything there is, then what happens.
    Everything {
        /// A bookmark says where the first part ends.
        announced: bool,
    },
    /// What happens after this revision.
    After(u64),
}

impl Begin {
    fn parse(query: &Query, current: u64) -> Result<Self, Status> {
        let (asked, matching) = (revision(query)?, query.get("resourceVersionMatch"));
        let Some(initial) = query.get("sendInitialEvents") else {
            if matching.is_some() {
                let detail =
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                return Err(invalid_options("resourceVersionMatch", detail));
            }
            return Ok(match asked {
                None | Some(0) => Self::Everything { announced: false },
                Some(after) => Self::After(after),
            });
        };
        if matching != Some("NotOlderThan") {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return Err(invalid_options("resourceVersionMatch", detail));
        }
        match (matches!(initial, "false" | "0"), asked) {
            (true, Some(after)) if after > 0 => Ok(Self::After(after)),
            (true, _) => Ok(Self::After(current)),
            (false, Some(asked)) if asked > current => {
                Err(crate::server::view::history::too_large(asked, current))
            }
            (false, _) => Ok(Self::Everything { announced: true }),
        }
    }
}

/// A watch being sent.
struct Stream {
    view: Arc<View>,
    shown: Shown,
    initial: VecDeque<Arc<Object>>,
    /// The revision of the initial objects, while the bookmark after them is still to come.
    announce: Option<u64>,
    watch: Watch,
    bookmarks: bool,
    next_bookmark: Instant,
    end: Instant,
    stop: CancellationToken,
    seen: u64,
    has_columns: bool,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// Answers a watch.
pub fn watch(
    view: &Arc<View>,
    shown: Shown,
    filter: Filter,
    query: &Query,
    stop: CancellationToken,
    place: OwnedSemaphorePermit,
) -> Result<Reply, Status> {
    let filter = Arc::new(filter);
    let timeout = query
        .number("timeoutSeconds")?
        .filter(|&seconds| seconds > 0)
        .map_or_else(default_timeout, |seconds| Duration::from_secs(seconds as u64));
    let (initial, announce, watch, seen) = match Begin::parse(query, view.revision())? {
        Begin::Everything { announced } => {
            let (page, watch) = view.list_and_watch(shown.kind, &filter)?;
            (page.objects.into(), announced.then_some(page.revision), watch, page.revision)
        }
        Begin::After(since) => match view.watch(shown.kind, &filter, since) {
            Ok(watch) => (VecDeque::new(), None, watch, since),
            Err(status) if status.code == 410 => return Ok(refused(&status)),
            Err(status) => return Err(status),
        },
    };
    let now = Instant::now();
    let stream = Stream {
        view: view.clone(),
        shown,
        initial,
        announce,
        watch,
        bookmarks: query.flag("allowWatchBookmarks"),
        next_bookmark: now + BOOKMARK_INTERVAL,
        end: now + timeout,
        stop,
        seen,
        has_columns: false,
        ended: false,
        _place: place,
    };
    let lines = futures::stream::unfold(stream, |mut stream| async move {
        let chunk = stream.next().await?;
        Some((Ok(chunk), stream))
    });
    Ok(Reply::new(200, Encoding::Json.media_type(), Payload::Stream(lines.boxed())))
}

/// Spread, so that watches begun together do not end together.
fn default_timeout() -> Duration {
    let mut byte = [0_u8];
    // Without randomness all watches last the least.
    let _ = getrandom::fill(&mut byte);
    DEFAULT_TIMEOUT.mul_f64(1.0 + f64::from(byte[0]) / 256.0)
}

/// A watch that cannot begin is told so by its first event, as kube-apiserver does.
fn refused(status: &Status) -> Reply {
    let line = format!("{}\n", json!({ "type": "ERROR", "object": status.to_json() }));
    Reply::json(200, line)
}

impl Stream {
    /// The next lines; none ends the answer.
    async fn next(&mut self) -> Option<Bytes> {
        let mut out = BytesMut::new();
        self.write_initial(&mut out);
        if out.is_empty() && !self.ended {
            self.write_live(&mut out).await;
        }
        (!out.is_empty()).then(|| out.freeze())
    }

    fn write_initial(&mut self, out: &mut BytesMut) {
        while out.len() < CHUNK {
            let Some(object) = self.initial.pop_front() else { break };
            self.write_event("ADDED", &object.json.clone(), out);
        }
        if self.initial.is_empty()
            && let Some(revision) = self.announce.take()
            && self.bookmarks
        {
            self.write_bookmark(revision, true, out);
        }
        while out.len() < CHUNK {
            let Some(delivery) = self.watch.backlog.pop_front() else { break };
            self.write_delivery(&delivery, out);
        }
    }

    async fn write_live(&mut self, out: &mut BytesMut) {
        let bookmark_at = if self.bookmarks { self.next_bookmark.min(self.end) } else { self.end };
        tokio::select! {
            delivery = self.watch.next() => match delivery {
                Some(delivery) => {
                    self.write_delivery(&delivery, out);
                    self.write_waiting(out, CHUNK);
                }
                None => self.ended = true,
            },
            () = sleep_until(bookmark_at) => {
                self.ended = Instant::now() >= self.end;
                if self.bookmarks {
                    self.write_progress(out);
                }
            }
            () = self.stop.cancelled() => self.ended = true,
        }
    }

    /// Everything published so far, and then that it was.
    fn write_progress(&mut self, out: &mut BytesMut) {
        let published = self.view.revision();
        self.write_waiting(out, usize::MAX);
        self.write_bookmark(published.max(self.seen), false, out);
    }

    fn write_waiting(&mut self, out: &mut BytesMut, size: usize) {
        while out.len() < size {
            let Some(delivery) = self.watch.next_waiting() else { break };
            self.write_delivery(&delivery, out);
        }
    }

    fn write_delivery(&mut self, delivery: &Delivery, out: &mut BytesMut) {
        self.seen = delivery.published.change.revision;
        let json = delivery.published.json(delivery.event_type);
        self.write_event(delivery.event_type.as_str(), &json, out);
    }

    fn write_event(&mut self, event_type: &str, json: &Bytes, out: &mut BytesMut) {
        let object = if self.shown.shape == Shape::Whole {
            self.shown.object(json)
        } else {
            let with_columns = !std::mem::replace(&mut self.has_columns, true);
            self.shown.event(json, with_columns)
        };
        for part in [br#"{"type":""#, event_type.as_bytes(), br#"","object":"#, &object, b"}\n"] {
            out.extend_from_slice(part);
        }
    }

    fn write_bookmark(&mut self, revision: u64, initial_events_end: bool, out: &mut BytesMut) {
        self.next_bookmark = Instant::now() + BOOKMARK_INTERVAL;
        let object = self.shown.bookmark(revision, initial_events_end);
        let line = format!("{}\n", json!({ "type": "BOOKMARK", "object": object }));
        out.extend_from_slice(line.as_bytes());
    }
}

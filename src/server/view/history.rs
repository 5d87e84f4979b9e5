//! The recent changes of one resource, and those who wait for the next.
//!
//! A watcher that begins at revision X is handed what the history holds after X, and from then on every change as it
//! is published: both under one lock, so nothing is lost or doubled between them. A watcher that does not keep up is
//! cut off when its queue is full; it resumes from the last version it has seen.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::filter::{self, EventType, Filter, IndexEntry};
use crate::api::status::Status;
use crate::coordinator::state::{Change, Key, Object};
use crate::time::Instant;

/// Most changes that the history of one resource holds.
pub const HISTORY_CHANGES_MAX: usize = 8192;
/// Most bytes of objects that it holds, old and new versions counted.
pub const HISTORY_BYTES_MAX: usize = 16 << 20;
/// Changes older than this are forgotten (etcd's default compaction under kube-apiserver is every 5 minutes) …
pub const HISTORY_AGE_MAX: Duration = Duration::from_mins(5);
/// … but for this many.
const HISTORY_CHANGES_KEPT: usize = 64;
/// Changes that may wait for one watcher. One more cuts it off.
pub const WATCH_QUEUE_MAX: usize = 4096;
/// Bytes of objects that may wait for one watcher, since it keeps their old versions in memory. A single change may be
/// longer.
pub const WATCH_QUEUE_BYTES_MAX: usize = 8 << 20;

/// One published change.
#[derive(Debug)]
pub struct Published {
    /// What changed.
    pub change: Change,
    left: OnceLock<Bytes>,
}

impl Published {
    /// The object that an event of this type shows, JSON. Encoded once, whoever asks.
    pub fn json(&self, event_type: EventType) -> Bytes {
        let shown = match event_type {
            EventType::Added | EventType::Modified => self.change.after.as_ref(),
            EventType::Deleted => self.change.last.as_ref(),
        };
        match (shown, &self.change.before) {
            (Some(object), _) => object.json.clone(),
            (None, Some(before)) => self.left.get_or_init(|| self.reversioned(before)).clone(),
            (None, None) => Bytes::new(),
        }
    }

    /// An object that leaves a selector is shown as it was within, at the version that took it out.
    fn reversioned(&self, before: &Object) -> Bytes {
        Object::encode(before.kind, before.value(), self.change.revision).json
    }

    fn size(&self) -> usize {
        let Change { before, after, last, .. } = &self.change;
        [before, after, last].into_iter().flatten().map(|object| object.json.len()).sum()
    }
}

/// A change on its way to one watcher.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What it is for that watcher.
    pub event_type: EventType,
    /// The change.
    pub published: Arc<Published>,
}

#[derive(Debug)]
struct Watcher {
    filter: Arc<Filter>,
    queue: mpsc::Sender<Delivery>,
    /// Bytes of objects in the queue.
    waiting: Arc<AtomicUsize>,
}

impl Watcher {
    /// False when it is to be cut off, or has gone.
    fn offer(&self, published: &Arc<Published>) -> bool {
        let Some(event_type) = self.filter.event_type(&published.change) else { return true };
        let waiting_bytes = self.waiting.load(Ordering::Relaxed);
        let fits = waiting_bytes == 0 || waiting_bytes + published.size() <= WATCH_QUEUE_BYTES_MAX;
        let delivery = Delivery { event_type, published: published.clone() };
        let sent = if fits { self.queue.try_send(delivery) } else { Err(TrySendError::Full(delivery)) };
        match sent {
            Ok(()) => {
                self.waiting.fetch_add(published.size(), Ordering::Relaxed);
                true
            }
            Err(TrySendError::Full(_)) => {
                let revision = published.change.revision;
                tracing::info!(revision, waiting_bytes, "a watcher does not keep up and is cut off");
                false
            }
            Err(TrySendError::Closed(_)) => false,
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    changes: VecDeque<(Instant, Arc<Published>)>,
    bytes: usize,
    /// Everything after this revision is here.
    floor: u64,
    next_id: u64,
    /// Watchers by the indexed field that they pin down; none for those that may be about any object.
    watchers: BTreeMap<Option<IndexEntry>, BTreeMap<u64, Watcher>>,
}

/// History and watchers of one resource.
#[derive(Debug)]
pub struct History {
    inner: Mutex<Inner>,
}

impl History {
    /// An empty history that begins after revision `floor`.
    pub fn new(floor: u64) -> Self {
        Self { inner: Mutex::new(Inner { floor, ..Inner::default() }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a change and hands it to those whom it concerns.
    pub fn publish(&self, change: Change, now: Instant) {
        let published = Arc::new(Published { change, left: OnceLock::new() });
        let mut inner = self.inner();
        for bucket in buckets(&published.change) {
            if let Some(watchers) = inner.watchers.get_mut(&bucket) {
                watchers.retain(|_, watcher| watcher.offer(&published));
            }
        }
        inner.bytes += published.size();
        inner.changes.push_back((now, published));
        inner.forget(now);
    }

    /// Begins a watch after revision `since`: what has happened since, and the queue of what will.
    /// `current` is the newest published revision; the caller holds publishing off.
    pub fn watch(self: &Arc<Self>, filter: &Arc<Filter>, since: u64, current: u64) -> Result<Watch, Status> {
        let mut inner = self.inner();
        let missed = inner.since(since, current)?;
        let backlog = missed
            .filter_map(|published| {
                let event_type = filter.event_type(&published.change)?;
                Some(Delivery { event_type, published: published.clone() })
            })
            .collect();
        let (sender, queue) = mpsc::channel(WATCH_QUEUE_MAX);
        let bucket = filter.index_entry();
        let id = inner.next_id;
        inner.next_id += 1;
        let waiting = Arc::new(AtomicUsize::new(0));
        let watcher = Watcher { filter: filter.clone(), queue: sender, waiting: waiting.clone() };
        inner.watchers.entry(bucket.clone()).or_default().insert(id, watcher);
        let place = Place { history: self.clone(), bucket, id };
        Ok(Watch { backlog, queue, waiting, _place: place })
    }

    /// Takes objects of revision `current` back to what they were at `revision`. The caller holds publishing off.
    pub fn rewind(
        &self,
        objects: &mut BTreeMap<Key, Arc<Object>>,
        revision: u64,
        current: u64,
    ) -> Result<(), Status> {
        let inner = self.inner();
        let newer: Vec<_> = inner.since(revision, current)?.collect();
        for published in newer.into_iter().rev() {
            let Change { before, after, last, .. } = &published.change;
            match (before, after.as_ref().or(last.as_ref())) {
                (Some(object), _) => objects.insert(object.key.clone(), object.clone()),
                (None, Some(object)) => objects.remove(&object.key),
                (None, None) => None,
            };
        }
        Ok(())
    }

    /// How many watch.
    pub fn watcher_count(&self) -> usize {
        self.inner().watchers.values().map(BTreeMap::len).sum()
    }
}

impl Inner {
    fn since(&self, revision: u64, current: u64) -> Result<impl Iterator<Item = &Arc<Published>>, Status> {
        if revision < self.floor {
            let message = format!("too old resource version: {revision} ({})", self.floor);
            return Err(Status::expired(message));
        }
        if revision > current {
            return Err(too_large(revision, current));
        }
        let from = self.changes.partition_point(|(_, published)| published.change.revision <= revision);
        Ok(self.changes.range(from..).map(|(_, published)| published))
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, oldest)) = self.changes.front() {
            let old =
                self.changes.len() > HISTORY_CHANGES_KEPT && now.saturating_since(*at) > HISTORY_AGE_MAX;
            if !old && self.changes.len() <= HISTORY_CHANGES_MAX && self.bytes <= HISTORY_BYTES_MAX {
                break;
            }
            self.floor = oldest.change.revision;
            self.bytes -= oldest.size();
            self.changes.pop_front();
        }
    }
}

/// Where the watchers stand whom a change may concern.
fn buckets(change: &Change) -> Vec<Option<IndexEntry>> {
    let mut found = vec![None];
    for entry in
        [&change.before, &change.after].into_iter().flatten().flat_map(|object| filter::index_entries(object))
    {
        if !found.contains(&Some(entry.clone())) {
            found.push(Some(entry));
        }
    }
    found
}

/// 504 as upstream: the client has seen a version that this store has not reached.
pub fn too_large(revision: u64, current: u64) -> Status {
    let message = format!("Too large resource version: {revision}, current: {current}");
    let cause =
        serde_json::json!({ "reason": "ResourceVersionTooLarge", "message": "Too large resource version" });
    let details = serde_json::json!({ "causes": [cause], "retryAfterSeconds": 1 });
    Status { details, ..Status::new(504, "Timeout", message) }
}

/// A running watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    /// What had happened when it began.
    pub backlog: VecDeque<Delivery>,
    queue: mpsc::Receiver<Delivery>,
    waiting: Arc<AtomicUsize>,
    _place: Place,
}

impl Watch {
    /// What happens next; none when the watcher has been cut off.
    pub async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.queue.recv().await?;
        self.waiting.fetch_sub(delivery.published.size(), Ordering::Relaxed);
        Some(delivery)
    }

    /// What has happened already, if anything.
    pub fn next_waiting(&mut self) -> Option<Delivery> {
        let delivery = self.queue.try_recv().ok()?;
        self.waiting.fetch_sub(delivery.published.size(), Ordering::Relaxed);
        Some(delivery)
    }
}

#[derive(Debug)]
struct Place {
    history: Arc<History>,
    bucket: Option<IndexEntry>,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.history.inner();
        if let Some(watchers) = inner.watchers.get_mut(&self.bucket) {
            watchers.remove(&self.id);
            if watchers.is_empty() {
                inner.watchers.remove(&self.bucket);
            }
        }
    }
}

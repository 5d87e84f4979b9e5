//! Watches at the coordinator, as inputs of the node's loop. kube's watcher relists after 410, resumes by
//! resourceVersion and keeps up with bookmarks.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

/// What a watch has to say.
#[derive(Debug)]
pub(in crate::driver) enum Seen<K> {
    /// A list begins; what is not in it by `Complete` is gone.
    Restarted,
    /// In the list.
    Listed(Box<K>),
    /// The list is whole.
    Complete,
    /// New or changed.
    Applied(Box<K>),
    /// Gone.
    Deleted(Box<K>),
    /// The coordinator cannot be reached, or refuses; it is tried again.
    Lost(String),
}

/// First and longest pause between attempts to reach the coordinator.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Pauses that double with each failure in a row. kube's watcher would begin anew with each attempt, because an
/// attempt begins with an event; so the stream itself says what a success is.
#[derive(Debug)]
struct Doubling {
    failures: Arc<AtomicU32>,
}

impl Iterator for Doubling {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(16);
        Some(RETRY_MIN.saturating_mul(1 << failures).min(RETRY_MAX))
    }
}

impl Backoff for Doubling {
    fn reset(&mut self) {}
}

/// What kube's watcher says, tried again with growing pauses when the coordinator is away.
pub(in crate::driver) fn stream<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let failures = Arc::new(AtomicU32::new(0));
    let backoff = Doubling { failures: failures.clone() };
    watcher(api, config).backoff(backoff).inspect(move |event| match event {
        Ok(Event::Apply(_) | Event::Delete(_) | Event::InitApply(_) | Event::InitDone) => {
            failures.store(0, Ordering::Relaxed);
        }
        Ok(Event::Init) | Err(_) => {}
    })
}

/// Watches `api` with `config` until the loop is gone, wrapping what it sees into the loop's inputs.
pub(in crate::driver) async fn watch<K, I>(
    api: Api<K>,
    config: watcher::Config,
    inputs: mpsc::Sender<I>,
    wrap: fn(Seen<K>) -> I,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut stream = std::pin::pin!(stream(api, config));
    while let Some(event) = stream.next().await {
        let seen = match event {
            Ok(Event::Init) => Seen::Restarted,
            Ok(Event::InitApply(object)) => Seen::Listed(Box::new(object)),
            Ok(Event::InitDone) => Seen::Complete,
            Ok(Event::Apply(object)) => Seen::Applied(Box::new(object)),
            Ok(Event::Delete(object)) => Seen::Deleted(Box::new(object)),
            Err(error) => Seen::Lost(error.to_string()),
        };
        if inputs.send(wrap(seen)).await.is_err() {
            return;
        }
    }
}

//! Watches at the coordinator, as inputs of the node's loop. kube's watcher relists after 410, resumes by
//! resourceVersion and keeps up with bookmarks.

use std::fmt::Debug;
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

#[derive(Debug)]
struct Doubling(Duration);

impl Iterator for Doubling {
    type Item = Duration;
    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(RETRY_MAX);
        Some(pause)
    }
}

impl Backoff for Doubling {
    fn reset(&mut self) {
        self.0 = RETRY_MIN;
    }
}

/// What kube's watcher says, tried again with growing pauses when the coordinator is away.
pub(in crate::driver) fn stream<K>(
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config).backoff(Doubling(RETRY_MIN))
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

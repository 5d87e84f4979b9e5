//! What readers see: the objects as last made durable, the recent changes, and the watches on them.
//!
//! The writer alone changes it, with [`View::apply`], under a lock that readers hold only to copy references.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

pub mod filter;
pub mod history;

use crate::api::kinds::{KINDS, Kind};
use crate::api::status::Status;
use crate::coordinator::state::{Change, Key, Object, State};
use crate::time::Instant;
use filter::Filter;
use history::{History, Watch, too_large};

/// State, histories and watches.
#[derive(Debug)]
pub struct View {
    state: RwLock<State>,
    histories: BTreeMap<Arc<str>, Arc<History>>,
    followers: Vec<Arc<dyn Follower>>,
    /// The newest revision whose changes all watchers have been handed.
    published: AtomicU64,
}

/// Somebody who keeps an index of its own over what is durable. It hears of every change before the watchers do, and
/// before the write is answered.
pub trait Follower: Debug + Send + Sync {
    /// Takes up all that is there.
    fn begin(&self, state: &State);
    /// Takes up what has been made durable since. Called by the writer: it must not wait.
    fn follow(&self, changes: &[Change]);
}

/// One page of a list.
#[derive(Debug)]
pub struct Page {
    /// The objects, in the order of their keys.
    pub objects: Vec<Arc<Object>>,
    /// The revision that the list shows.
    pub revision: u64,
    /// Objects after this page, selectors not regarded.
    pub remaining: usize,
}

/// Which part of a list is asked for.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// Begin after this key.
    pub after: Option<Key>,
    /// At most this many, 0 for all.
    pub limit: usize,
    /// As of this revision; none for the newest.
    pub at: Option<u64>,
}

impl View {
    /// A view of what a store holds.
    pub fn new(state: State) -> Self {
        let revision = state.revision;
        let histories = KINDS
            .iter()
            .map(|kind| (Key::new(kind, "", "").resource, Arc::new(History::new(revision))))
            .collect();
        let published = AtomicU64::new(revision);
        Self { state: RwLock::new(state), histories, followers: Vec::new(), published }
    }

    /// Lets `follower` keep up with what is durable.
    pub fn follow(&mut self, follower: Arc<dyn Follower>) {
        follower.begin(&self.state());
        self.followers.push(follower);
    }

    /// The state, to read from. Do not keep it: the writer waits.
    pub fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what has been made durable, and hands it to the watchers.
    pub fn apply(&self, changes: Vec<Change>, revision: u64, now: Instant) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.apply(&changes, revision);
        self.followers.iter().for_each(|follower| follower.follow(&changes));
        for change in changes {
            let resource =
                change.after.as_ref().or(change.last.as_ref()).map(|object| object.key.resource.clone());
            if let Some(history) = resource.and_then(|resource| self.histories.get(&resource)) {
                history.publish(change, now);
            }
        }
        self.published.store(revision, Ordering::Release);
    }

    /// The newest revision: every change up to it is in the queues of its watchers.
    pub fn revision(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// One object.
    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.state().objects.get(&Key::new(kind, namespace, name)).cloned()
    }

    /// The objects that a filter admits.
    pub fn list(&self, kind: &Kind, filter: &Filter, part: &Part) -> Result<Page, Status> {
        let state = self.state();
        let first = Key::new(kind, filter.namespace().unwrap_or_default(), "");
        let Some(at) = part.at.filter(|&at| at != state.revision) else {
            let page = page(in_order(&state.objects, &first, filter, part), filter, part, state.revision);
            return Ok(page);
        };
        if at > state.revision {
            return Err(too_large(at, state.revision));
        }
        let whole = Part::default();
        let mut objects: BTreeMap<Key, Arc<Object>> = in_order(&state.objects, &first, filter, &whole)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        self.history(&first).rewind(&mut objects, at, state.revision)?;
        drop(state);
        Ok(page(in_order(&objects, &first, filter, part), filter, part, at))
    }

    /// Watches what happens after revision `since`.
    pub fn watch(&self, kind: &Kind, filter: &Arc<Filter>, since: u64) -> Result<Watch, Status> {
        let state = self.state();
        self.history(&Key::new(kind, "", "")).watch(filter, since, state.revision)
    }

    /// The objects there are, and a watch of what happens after them.
    pub fn list_and_watch(&self, kind: &Kind, filter: &Arc<Filter>) -> Result<(Page, Watch), Status> {
        let state = self.state();
        let first = Key::new(kind, filter.namespace().unwrap_or_default(), "");
        let part = Part::default();
        let watch = self.history(&first).watch(filter, state.revision, state.revision)?;
        let page = page(in_order(&state.objects, &first, filter, &part), filter, &part, state.revision);
        Ok((page, watch))
    }

    /// How many watch, by resource.
    pub fn watcher_counts(&self) -> impl Iterator<Item = (&str, usize)> {
        self.histories.iter().map(|(resource, history)| (&**resource, history.watcher_count()))
    }

    fn history(&self, key: &Key) -> &Arc<History> {
        self.histories.get(&key.resource).expect("every row of the table of kinds has a history")
    }
}

/// The keys of one kind, and one namespace if the filter names one, after the part's beginning.
fn in_order<'a>(
    objects: &'a BTreeMap<Key, Arc<Object>>,
    first: &'a Key,
    filter: &'a Filter,
    part: &Part,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Object>)> {
    let begin = match &part.after {
        Some(after) if after >= first => Bound::Excluded(after.clone()),
        Some(_) | None => Bound::Included(first.clone()),
    };
    objects.range((begin, Bound::Unbounded)).take_while(move |(key, _)| {
        key.resource == first.resource
            && filter.namespace().is_none_or(|namespace| namespace == &*key.namespace)
    })
}

fn page<'a>(
    objects: impl Iterator<Item = (&'a Key, &'a Arc<Object>)>,
    filter: &Filter,
    part: &Part,
    revision: u64,
) -> Page {
    let limit = if part.limit == 0 { usize::MAX } else { part.limit };
    let mut rest = objects.map(|(_, object)| object).filter(|object| filter.admits(object));
    let objects = rest.by_ref().take(limit).cloned().collect();
    Page { objects, revision, remaining: rest.count() }
}

//! Which cases are to be thought over, and when: marked by events, by time, again after a failure, and not before what
//! was written for a case has been seen.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::Instant;

/// A controller (its row in the table) and the UID of an object that it cares for.
pub type Key = (usize, String);

/// First and longest pause after failures in a row.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long to wait for the watch to show what was written, before the case is thought over without.
const SEEN_WITHIN: Duration = Duration::from_secs(10);

/// Why a plan was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `FailedCreate` or `FailedDelete` where a child could not be made or deleted; empty where somebody else wrote
    /// first, or the coordinator was away.
    pub reason: &'static str,
    /// What the coordinator said.
    pub message: String,
}

#[derive(Debug)]
struct Trouble {
    failures: u32,
    failure: Failure,
    /// Of the object when the plan was made: what people have changed since is tried at once.
    generation: Option<i64>,
    until: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    marked: BTreeSet<Key>,
    timed: BTreeSet<(Instant, Key)>,
    due: BTreeMap<Key, Instant>,
    /// Cases whose plan is being carried out, whether it was made in spite of a failure, and for which generation.
    busy: BTreeMap<Key, (bool, Option<i64>)>,
    awaited: BTreeMap<Key, (Instant, BTreeMap<String, Option<u64>>)>,
    awaiting: BTreeMap<String, BTreeSet<Key>>,
    troubles: BTreeMap<Key, Trouble>,
}

impl Queue {
    /// Something has happened that concerns the case.
    pub fn mark(&mut self, key: Key) {
        self.marked.insert(key);
    }

    /// The case is to be thought over at `at`, or earlier if that was said before.
    fn mark_at(&mut self, key: &Key, at: Instant) {
        if let Some(earlier) = self.due.get(key).copied() {
            if earlier <= at {
                return;
            }
            self.timed.remove(&(earlier, key.clone()));
        }
        self.due.insert(key.clone(), at);
        self.timed.insert((at, key.clone()));
    }

    /// An object was seen at this version, or to be gone (none): who waited for it goes on.
    pub fn seen(&mut self, uid: &str, version: Option<u64>) {
        let Some(keys) = self.awaiting.get(uid).cloned() else { return };
        for key in keys {
            let Some((_, objects)) = self.awaited.get_mut(&key) else { continue };
            let is_new = match (objects.get(uid), version) {
                (Some(Some(wanted)), Some(version)) => version >= *wanted,
                (Some(_), _) => true,
                (None, _) => false,
            };
            if !is_new {
                continue;
            }
            objects.remove(uid);
            if objects.is_empty() {
                self.awaited.remove(&key);
                self.marked.insert(key.clone());
            }
            self.stop_awaiting(uid, &key);
        }
    }

    fn stop_awaiting(&mut self, uid: &str, key: &Key) {
        if let Some(keys) = self.awaiting.get_mut(uid) {
            keys.remove(key);
            if keys.is_empty() {
                self.awaiting.remove(uid);
            }
        }
    }

    /// The case has been written for: it waits until these objects are seen.
    pub fn wait_for(&mut self, key: &Key, objects: BTreeMap<String, Option<u64>>, now: Instant) {
        if objects.is_empty() {
            return;
        }
        for uid in objects.keys() {
            self.awaiting.entry(uid.clone()).or_default().insert(key.clone());
        }
        self.mark_at(key, now + SEEN_WITHIN);
        self.awaited.insert(key.clone(), (now + SEEN_WITHIN, objects));
    }

    /// The case's plan has been carried out, or not.
    pub fn done(&mut self, key: &Key, failure: Option<Failure>, now: Instant) {
        let (in_spite, generation) = self.busy.remove(key).unwrap_or_default();
        match failure {
            None if in_spite => {}
            None => drop(self.troubles.remove(key)),
            Some(failure) => {
                let failures = self.troubles.get(key).map_or(0, |trouble| trouble.failures + 1);
                let pause = PAUSE_MIN.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX);
                let until = now + pause;
                self.troubles.insert(key.clone(), Trouble { failures, failure, generation, until });
                self.mark_at(key, until);
                self.marked.insert(key.clone());
            }
        }
    }

    /// Think the case over again after `pause`.
    pub fn wake_after(&mut self, key: &Key, pause: Duration, now: Instant) {
        self.mark_at(key, now + pause);
    }

    /// What keeps the case from being acted on at present.
    pub fn trouble(&self, key: &Key, generation: Option<i64>, now: Instant) -> Option<&Failure> {
        let trouble = self.troubles.get(key)?;
        (trouble.until > now && trouble.generation == generation).then_some(&trouble.failure)
    }

    /// The case is tried again when its pause is over, whatever woke it before.
    pub fn try_later(&mut self, key: &Key) {
        if let Some(until) = self.troubles.get(key).map(|trouble| trouble.until) {
            self.mark_at(key, until);
        }
    }

    /// The case is gone for good.
    pub fn forget(&mut self, key: &Key) {
        self.marked.remove(key);
        self.troubles.remove(key);
        if let Some(at) = self.due.remove(key) {
            self.timed.remove(&(at, key.clone()));
        }
        if let Some((_, objects)) = self.awaited.remove(key) {
            for uid in objects.keys() {
                self.stop_awaiting(uid, key);
            }
        }
    }

    /// The cases to be thought over now.
    pub fn take(&mut self, now: Instant) -> Vec<Key> {
        while let Some((at, key)) = self.timed.first().filter(|(at, _)| *at <= now).cloned() {
            self.timed.remove(&(at, key.clone()));
            self.due.remove(&key);
            self.marked.insert(key);
        }
        let mut ready = Vec::new();
        let mut kept = BTreeSet::new();
        for key in std::mem::take(&mut self.marked) {
            if self.busy.contains_key(&key) {
                kept.insert(key);
            } else if let Some(until) = self.awaited.get(&key).map(|(until, _)| *until).filter(|at| *at > now)
            {
                // Marked again when the last of them is seen.
                self.mark_at(&key, until);
            } else {
                if let Some((_, objects)) = self.awaited.remove(&key) {
                    tracing::debug!(uid = key.1, "what was written has not been seen in time");
                    for uid in objects.keys() {
                        self.stop_awaiting(uid, &key);
                    }
                }
                ready.push(key);
            }
        }
        self.marked = kept;
        ready
    }

    /// The case's plan is being carried out.
    pub fn begin(&mut self, key: &Key, generation: Option<i64>, now: Instant) {
        let in_spite = self.trouble(key, generation, now).is_some();
        self.busy.insert(key.clone(), (in_spite, generation));
    }

    /// There is nothing to be done for the case.
    pub fn settled(&mut self, key: &Key, generation: Option<i64>, now: Instant) {
        if self.trouble(key, generation, now).is_none() {
            self.troubles.remove(key);
        }
    }

    /// When something is due by time alone.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timed.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Instant {
        Instant::from_boot(Duration::from_millis(ms))
    }

    fn key(uid: &str) -> Key {
        (0, uid.to_owned())
    }

    #[test]
    fn a_case_waits_until_what_was_written_for_it_is_seen_and_not_for_ever() {
        let mut queue = Queue::default();
        queue.mark(key("a"));
        assert_eq!(queue.take(at(0)), [key("a")]);
        queue.begin(&key("a"), None, at(0));
        queue.mark(key("a"));
        assert_eq!(queue.take(at(1)), [], "one plan at a time");
        queue.done(&key("a"), None, at(2));
        queue.wait_for(&key("a"), [("p".to_owned(), Some(7)), ("q".to_owned(), None)].into(), at(2));
        assert_eq!(queue.take(at(3)), [], "p and q have not been seen");
        queue.seen("p", Some(6));
        queue.seen("q", Some(1));
        assert_eq!(queue.take(at(4)), [], "p has been seen, but older");
        queue.seen("p", Some(7));
        assert_eq!(queue.take(at(5)), [key("a")]);
        queue.wait_for(&key("a"), [("p".to_owned(), Some(9))].into(), at(5));
        queue.seen("p", None);
        assert_eq!(queue.take(at(6)), [key("a")], "what is gone is not waited for");
        queue.wait_for(&key("a"), [("r".to_owned(), Some(9))].into(), at(10));
        assert_eq!(queue.next_deadline(), Some(at(10_002)));
        assert_eq!(queue.take(at(10_010)), [key("a")]);
    }

    #[test]
    fn failures_in_a_row_double_the_pause_and_a_success_ends_it() {
        let mut queue = Queue::default();
        let failure = Failure { reason: "FailedCreate", message: "no".into() };
        let mut now = 0;
        for pause in [50, 100, 200] {
            queue.done(&key("a"), Some(failure.clone()), at(now));
            assert_eq!(queue.take(at(now)), [key("a")], "to tell of the failure");
            assert_eq!(queue.trouble(&key("a"), None, at(now + pause - 1)), Some(&failure));
            assert_eq!(queue.trouble(&key("a"), Some(2), at(now)), None, "it has been changed");
            assert_eq!(queue.next_deadline(), Some(at(now + pause)));
            now += pause;
            assert_eq!(queue.take(at(now)), [key("a")]);
            assert_eq!(queue.trouble(&key("a"), None, at(now)), None);
        }
        queue.done(&key("a"), None, at(now));
        queue.done(&key("a"), Some(failure), at(now));
        assert_eq!(queue.next_deadline(), Some(at(now + 50)));
        queue.forget(&key("a"));
        assert_eq!((queue.next_deadline(), queue.take(at(now))), (None, vec![]));
    }
}

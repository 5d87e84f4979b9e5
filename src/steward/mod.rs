//! What must be done once per cluster, by whoever stewards. PURE.
//!
//! [`Steward`] hears what the watches say and answers with work: for one object of one controller, waves of actions.
//! A controller is a row of [`table`]; its plan is a function from what is seen of one object to what is to be written.
//! Each write carries what it rests on (a UID and a version), so that doing it twice or late is harmless.

pub mod action;
pub mod belongings;
pub mod children;
pub mod daemon_set;
pub mod deployment;
pub mod evictions;
pub mod garbage;
pub mod history;
pub mod job;
pub mod nodes;
pub mod object;
pub mod offers;
pub mod queue;
pub mod replica_set;
pub mod stateful_set;
pub mod table;
pub mod view;

use std::collections::BTreeMap;

use action::Action;
use object::{KindId, Target};
use queue::{Failure, Key, Queue};
use table::{CONTROLLERS, GARBAGE, Moment};
use view::{Heard, View};

use crate::time::{Instant, WallTime};

/// What is to be done for one case.
#[derive(Debug)]
pub struct Work {
    /// The case.
    pub key: Key,
    /// The object that it is about.
    pub subject: Target,
    /// UID of the object at the end of its chain of controllers.
    pub root: String,
    /// See [`action`].
    pub waves: Vec<Vec<Action>>,
}

/// What became of a case's work.
#[derive(Debug, Default)]
pub struct Done {
    /// UIDs of what was written, with the version it has now; none: it is gone.
    pub written: BTreeMap<String, Option<u64>>,
    /// Namespace and UID of owners that a consistent read has not found.
    pub absent: Vec<(String, String)>,
    /// Why the rest was not done.
    pub failure: Option<Failure>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Steward {
    view: View,
    queue: Queue,
}

impl Steward {
    /// Takes in what the watch of a kind says.
    pub fn hear(&mut self, kind: KindId, heard: Heard) {
        self.view.hear(kind, heard);
    }

    /// Thinks over what has been marked.
    pub fn turn(&mut self, now: Instant, wall: WallTime) -> Vec<Work> {
        for key in self.view.take_marks() {
            self.queue.mark(key);
        }
        for (uid, version) in self.view.take_seen() {
            self.queue.seen(&uid, version);
        }
        if !self.view.is_whole(table::whole_kinds().iter().copied()) {
            return Vec::new();
        }
        let all = self.view.is_whole(table::watched_kinds());
        let keys = self.queue.take(now);
        keys.into_iter().filter_map(|key| self.think(key, all, now, wall)).collect()
    }

    fn think(&mut self, key: Key, all: bool, now: Instant, wall: WallTime) -> Option<Work> {
        if key.0 == GARBAGE && !all {
            self.queue.wake_after(&key, std::time::Duration::from_millis(100), now);
            return None;
        }
        let row = &CONTROLLERS[key.0];
        let generation = self.view.anywhere(&key.1).and_then(|object| object.meta.generation);
        let failure = self.queue.trouble(&key, generation, now).cloned();
        if failure.is_some() {
            self.queue.try_later(&key);
        }
        if failure.as_ref().is_some_and(|failure| failure.reason.is_empty() || !row.tells_failures) {
            return None;
        }
        let moment = Moment { wall, failure: failure.as_ref() };
        let Some(plan) = (row.plan)(&mut self.view, &key.1, &moment) else {
            self.queue.forget(&key);
            return None;
        };
        if let Some(pause) = plan.wake {
            self.queue.wake_after(&key, pause, now);
        }
        let object = self.view.anywhere(&key.1)?;
        if plan.waves.is_empty() {
            self.queue.settled(&key, generation, now);
            return None;
        }
        self.queue.begin(&key, generation, now);
        let root = self.view.root(&object);
        Some(Work { key, subject: object.target(), root, waves: plan.waves })
    }

    /// Takes in what became of a case's work.
    pub fn done(&mut self, key: &Key, done: Done, now: Instant) {
        for (namespace, uid) in done.absent {
            self.view.note_absent(namespace, uid);
            self.queue.mark(key.clone());
        }
        self.queue.done(key, done.failure, now);
        let unseen = done.written.into_iter().filter(|(uid, version)| !self.has_seen(uid, *version));
        let unseen = unseen.collect();
        self.queue.wait_for(key, unseen, now);
    }

    fn has_seen(&self, uid: &str, version: Option<u64>) -> bool {
        match (self.view.anywhere(uid), version) {
            (Some(object), Some(version)) => object.version().parse().is_ok_and(|seen: u64| seen >= version),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// When something is due by time alone.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.next_deadline()
    }
}

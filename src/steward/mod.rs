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
pub mod identities;
pub mod job;
pub mod nodes;
pub mod object;
pub mod offers;
pub mod pods;
pub mod queue;
pub mod replica_set;
pub mod stateful_set;
pub mod table;
pub mod tenure;
pub mod view;
pub mod volumes;

use std::collections::BTreeMap;
use std::sync::Arc;

use action::Action;
use object::{KindId, Object, Target};
use queue::{Failure, Key, Queue};
use table::{CONTROLLERS, GARBAGE, Moment};
use tenure::{Changed, Tenure};
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

/// An object that others look at as well: Pods, Nodes and what these depend on.
#[derive(Debug)]
pub struct Change {
    /// As it is, or was last.
    pub object: Arc<Object>,
    /// Whether it is there.
    pub is_there: bool,
    /// UID of the object at the end of its chain of controllers.
    pub root: String,
    /// Whether it is in a shard that is stewarded here.
    pub is_ours: bool,
}

/// What became of a case's work.
#[derive(Debug, Default)]
pub struct Done {
    /// UIDs of what was written, with the version it has now; none: it is gone.
    pub written: BTreeMap<String, Option<u64>>,
    /// Namespace and UID of owners that a consistent read has not found.
    pub absent: Vec<(String, String)>,
    /// What was seen of nodes.
    pub witnessed: Vec<identities::Witness>,
    /// Why the rest was not done.
    pub failure: Option<Failure>,
}

/// Those whose steward may change without that they do.
const POD: (&str, &str) = ("", "Pod");

/// See the module.
#[derive(Debug, Default)]
pub struct Steward {
    view: View,
    queue: Queue,
    tenure: Tenure,
}

impl Steward {
    /// A steward that holds no shard yet. By default one stewards everything.
    pub fn of_shards() -> Self {
        Self { tenure: Tenure::none(), ..Self::default() }
    }

    /// These shards are held now, of so many, each with the number of its winning.
    pub fn hold(&mut self, shards: u32, held: BTreeMap<u32, u64>) -> Changed {
        let changed = self.tenure.hold(shards, held);
        if changed.lost {
            self.view.show_all(POD);
        }
        changed
    }

    /// The watches begin anew: every kind is listed.
    pub fn list(&mut self) {
        self.tenure.list();
        self.view.list();
    }

    /// What others look at as well, as it has become since the last time.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changes = self.view.take_changes().into_iter();
        changes.map(|(object, is_there)| self.change(object, is_there)).collect()
    }

    fn change(&self, object: Arc<Object>, is_there: bool) -> Change {
        let root = self.view.root(&object);
        let is_ours = root.is_known && self.tenure.has(&root.uid);
        Change { object, is_there, root: root.uid, is_ours }
    }

    /// Whether everything that others look at has been listed.
    pub fn is_whole(&self) -> bool {
        !self.tenure.is_idle()
    }

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
        if self.tenure.is_listing()
            && self.view.is_whole(table::whole_kinds().iter().copied())
            && self.tenure.listed()
        {
            self.view.mark_all();
            self.view.show_all(POD);
            self.view.take_marks().into_iter().for_each(|key| self.queue.mark(key));
        }
        if self.tenure.is_idle() {
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
        let object = self.view.anywhere(&key.1);
        let root = object.as_ref().map(|object| self.view.root(object).uid);
        if root.as_ref().is_some_and(|root| !self.tenure.has(root)) {
            self.queue.forget(&key);
            return None;
        }
        let generation = object.and_then(|object| object.meta.generation);
        let failure = self.queue.trouble(&key, generation, now).cloned();
        if failure.is_some() {
            self.queue.try_later(&key);
        }
        if failure.as_ref().is_some_and(|failure| failure.reason.is_empty() || !row.tells_failures) {
            return None;
        }
        let moment = Moment { now, wall, failure: failure.as_ref() };
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
        Some(Work { key, subject: object.target(), root: root?, waves: plan.waves })
    }

    /// Takes in what became of a case's work.
    pub fn done(&mut self, key: &Key, done: Done, now: Instant) {
        for (namespace, uid) in done.absent {
            self.view.note_absent(namespace, uid);
            self.queue.mark(key.clone());
        }
        for witness in done.witnessed {
            self.view.witnessed(witness, now);
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

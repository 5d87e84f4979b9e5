//! When objects end by themselves: Events one hour after their last write; certificate requests one hour after they
//! were answered, or a day after they were made.
//!
//! The writer feeds every change, wakes at [`Expiry::next_deadline`] and commits the commands that are [due](Expiry::due).
//! An object stays due until its removal was observed. A command names the version it means, so that one that comes late
//! is harmless.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::kinds::Kind;
use crate::coordinator::command::{Action, Command};
use crate::coordinator::rules::is_event;
use crate::coordinator::state::{Change, Key, Object, State};
use crate::time::{Instant, WallTime};

/// 1 h, as kube-apiserver's `--event-ttl`.
pub const EVENT_LIFETIME: Duration = Duration::from_hours(1);

/// 1 h, as kube-controller-manager keeps requests that were approved, denied or failed.
const ANSWERED_LIFETIME: Duration = Duration::from_hours(1);
/// 24 h, as kube-controller-manager keeps requests that nobody answers.
const PENDING_LIFETIME: Duration = Duration::from_hours(24);

/// Where an object says when it was last written.
const TIMES: [&str; 5] = [
    "/series/lastObservedTime",
    "/lastTimestamp",
    "/eventTime",
    "/status/conditions/0/lastUpdateTime",
    "/metadata/creationTimestamp",
];

/// How long such an object lives after its last write; none: until somebody deletes it.
fn lifetime(object: &Object) -> Option<Duration> {
    match object.kind.kind {
        _ if is_event(object.kind) => Some(EVENT_LIFETIME),
        "CertificateSigningRequest" => {
            let conditions = object.value()["status"]["conditions"].as_array().map_or(0, Vec::len);
            Some(if conditions > 0 { ANSWERED_LIFETIME } else { PENDING_LIFETIME })
        }
        _ => None,
    }
}

/// Which objects end when.
#[derive(Debug, Default)]
pub struct Expiry {
    /// By due time and version.
    queue: BTreeMap<(Instant, u64), (&'static Kind, Key)>,
    places: BTreeMap<Key, (Instant, u64)>,
}

impl Expiry {
    /// Starts from a state that was read from disk. When its objects were written, only they can tell; what they say is
    /// believed as far as it lies within the last lifetime, so that restarts neither keep nor end them early.
    pub fn new(state: &State, now: Instant, wall_now: WallTime) -> Self {
        let mut expiry = Self::default();
        for object in state.objects.values() {
            if let Some(lifetime) = lifetime(object) {
                expiry.note(object, now + lifetime.saturating_sub(age(object, wall_now)));
            }
        }
        expiry
    }

    /// Takes in what was committed.
    pub fn observe(&mut self, changes: &[Change], now: Instant) {
        for change in changes {
            let ends = change.after.as_ref().and_then(|object| Some((object, lifetime(object)?)));
            if let Some((object, lifetime)) = ends {
                self.note(object, now + lifetime);
            } else if let Some(last) = change.last.as_ref() {
                self.forget(&last.key);
            }
        }
    }

    /// When the next object is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(due, _)| *due)
    }

    /// The commands that are due, at most `count_max`.
    pub fn due(&self, now: Instant, count_max: usize) -> Vec<Command> {
        let due = self.queue.iter().take_while(|((due, _), _)| *due <= now).take(count_max);
        due.map(|((_, resource_version), (kind, key))| {
            let action = Action::Expire { name: key.name.to_string(), resource_version: *resource_version };
            Command::new(kind, &*key.namespace, action)
        })
        .collect()
    }

    fn note(&mut self, object: &Object, due: Instant) {
        self.forget(&object.key);
        let place = (due, object.resource_version);
        self.places.insert(object.key.clone(), place);
        self.queue.insert(place, (object.kind, object.key.clone()));
    }

    fn forget(&mut self, key: &Key) {
        if let Some(place) = self.places.remove(key) {
            self.queue.remove(&place);
        }
    }
}

/// How long ago an object says it was last written; zero when it says nothing, or something of the future.
fn age(object: &Object, now: WallTime) -> Duration {
    let object = object.value();
    let times = TIMES.iter().filter_map(|path| WallTime::parse(object.pointer(path)?.as_str()?));
    let Some(last) = times.max() else { return Duration::ZERO };
    now.0.duration_since(last.0).try_into().unwrap_or(Duration::ZERO)
}

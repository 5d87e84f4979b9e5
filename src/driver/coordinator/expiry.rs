//! Events live for an hour after they were last written.

use std::collections::VecDeque;
use std::time::Duration;

use crate::api::kinds::Kind;
use crate::coordinator::state::{Change, Object};
use crate::coordinator::{Action, Command};
use crate::time::{Instant, WallTime};

/// How long an Event lives after its last write, as kube-apiserver's `--event-ttl`.
pub const EVENT_LIFETIME: Duration = Duration::from_secs(3600);
/// When removing them fails, it is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Mortal {
    deadline: Instant,
    kind: &'static Kind,
    namespace: String,
    name: String,
    resource_version: u64,
}

/// Who is to go, in the order of their deadlines: each write appends, since all live equally long.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    queue: VecDeque<Mortal>,
}

impl Expiry {
    /// What the store held at the start. Times of last writes are read from the Events themselves.
    pub(super) fn of<'a>(objects: impl Iterator<Item = &'a Object>, now: Instant, wall: WallTime) -> Self {
        let mut queue: Vec<Mortal> = objects
            .filter(|object| is_mortal(object.kind))
            .map(|object| mortal(object, now + EVENT_LIFETIME.saturating_sub(age(object, wall))))
            .collect();
        queue.sort_by_key(|mortal| mortal.deadline);
        Self { queue: queue.into() }
    }

    /// Takes note of what was written.
    pub(super) fn note(&mut self, changes: &[Change], now: Instant) {
        let written = changes.iter().filter_map(|change| change.after.as_deref());
        let mortals = written.filter(|object| is_mortal(object.kind));
        self.queue.extend(mortals.map(|object| mortal(object, now + EVENT_LIFETIME)));
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue.front().map(|mortal| mortal.deadline)
    }

    /// Takes out who is due, as commands. One that was written again since is no longer at that version, and stays.
    pub(super) fn due(&mut self, now: Instant, most: usize) -> Vec<Command> {
        let count = self.queue.iter().take(most).take_while(|mortal| mortal.deadline <= now).count();
        self.queue
            .drain(..count)
            .map(|mortal| {
                let action = Action::Expire { name: mortal.name, resource_version: mortal.resource_version };
                Command::new(mortal.kind, mortal.namespace, action)
            })
            .collect()
    }

    /// Tries later what could not be made durable now.
    pub(super) fn put_back(&mut self, commands: &[Command], now: Instant) {
        for command in commands.iter().rev() {
            if let Action::Expire { name, resource_version } = &command.action {
                self.queue.push_front(Mortal {
                    deadline: now + RETRY_AFTER,
                    kind: command.kind,
                    namespace: command.namespace.clone(),
                    name: name.clone(),
                    resource_version: *resource_version,
                });
            }
        }
    }
}

fn is_mortal(kind: &Kind) -> bool {
    kind.kind == "Event"
}

fn mortal(object: &Object, deadline: Instant) -> Mortal {
    Mortal {
        deadline,
        kind: object.kind,
        namespace: object.key.namespace.to_string(),
        name: object.key.name.to_string(),
        resource_version: object.resource_version,
    }
}

/// Time since the newest of its timestamps.
fn age(object: &Object, wall: WallTime) -> Duration {
    let value = object.value();
    ["/lastTimestamp", "/series/lastObservedTime", "/eventTime", "/metadata/creationTimestamp"]
        .iter()
        .filter_map(|pointer| value.pointer(pointer)?.as_str())
        .filter_map(WallTime::parse)
        .map(|time| wall.0.duration_since(time.0))
        .map(|span| Duration::try_from(span).unwrap_or_default())
        .min()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::api::kinds::by_kind;

    fn event(name: &str, revision: u64, last: &str) -> Arc<Object> {
        let kind = by_kind("", "v1", "Event").unwrap();
        let value = json!({ "metadata": { "name": name, "namespace": "a" }, "lastTimestamp": last });
        Arc::new(Object::encode(kind, value, revision))
    }

    fn names(commands: &[Command]) -> Vec<String> {
        let name = |command: &Command| match &command.action {
            Action::Expire { name, resource_version } => format!("{name}@{resource_version}"),
            other => format!("{other:?}"),
        };
        commands.iter().map(name).collect()
    }

    #[test]
    fn an_event_goes_an_hour_after_its_last_write_also_across_a_restart() {
        let wall = WallTime::parse("2026-01-02T03:00:00Z").unwrap();
        let start = Instant::from_boot(Duration::from_secs(5000));
        let old = event("old", 3, "2026-01-02T02:10:00Z");
        let stale = event("stale", 2, "2026-01-01T00:00:00Z");
        let mut expiry = Expiry::of([&*old, &*stale].into_iter(), start, wall);
        assert_eq!(names(&expiry.due(start, 10)), ["stale@2"]);
        let change = Change { revision: 4, before: None, after: Some(event("new", 4, "")), last: None };
        expiry.note(&[change], start);
        assert_eq!(expiry.next_deadline(), Some(start + Duration::from_secs(600)));
        let due = expiry.due(start + Duration::from_secs(600), 10);
        assert_eq!(names(&due), ["old@3"]);
        expiry.put_back(&due, start + Duration::from_secs(600));
        assert_eq!(names(&expiry.due(start + EVENT_LIFETIME, 1)), ["old@3"]);
        assert_eq!(names(&expiry.due(start + EVENT_LIFETIME, 10)), ["new@4"]);
        assert_eq!(expiry.next_deadline(), None);
    }
}

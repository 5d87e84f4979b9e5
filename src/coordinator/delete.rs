//! DELETE, and the end of what has lived long enough.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::api::status::Status;
use crate::api::validation::SYSTEM_CLASSES;
use crate::coordinator::command::{Body, DeleteOptions, Outcome, Propagation, Reply, Subresource, Written};
use crate::coordinator::metadata::{self, FOREGROUND, ORPHAN};
use crate::coordinator::rules::{INITIAL_NAMESPACES, is, is_collected, returns_deleted};
use crate::coordinator::state::Object;
use crate::coordinator::turn::{Turn, done};
use crate::coordinator::{namespace, pod};
use crate::time::WallTime;

/// How an object may end.
pub(super) enum Ending {
    /// It has no life outside the store: at once.
    Plain,
    /// Somebody was given time to end it (or none: 0 s).
    Graceful,
    /// It is ending already, and this request changes nothing.
    Pending,
}

impl Turn<'_, '_> {
    pub(super) fn delete(&mut self, name: &str, options: &DeleteOptions) -> Result<Reply, Status> {
        let is_namespace = is(self.kind(), "", "Namespace");
        if is_namespace && INITIAL_NAMESPACES.contains(&name) {
            return Err(self.forbidden(name, "this namespace may not be deleted"));
        }
        if is(self.kind(), "scheduling.k8s.io", "PriorityClass")
            && SYSTEM_CLASSES.iter().any(|(class, _)| *class == name)
        {
            return Err(self.forbidden(name, "this is a system priority class and cannot be deleted"));
        }
        let current = self.find(name)?;
        self.check_preconditions(&current, options)?;
        let old = current.value();
        self.ask_guard(name, Written::Part(Subresource::Main), Some(&old), None)?;
        let mut new = old.clone();
        if is_namespace && !metadata::is_terminating(&old) {
            namespace::terminate(&mut new, self.now);
            self.hand_to_collector(&mut new, options);
            return Ok(self.put(new, Outcome::Terminating, current.resource_version));
        }
        if is_namespace && namespace::has_finalizers(&old) {
            return Ok(done(Outcome::Terminating, Body::Object(current)));
        }
        let ending = if is(self.kind(), "", "Pod") {
            pod::begin_ending(&mut new, options.grace_period_seconds, self.now)
        } else {
            Ending::Plain
        };
        if matches!(ending, Ending::Pending) {
            return Ok(done(Outcome::Terminating, Body::Object(current)));
        }
        self.hand_to_collector(&mut new, options);
        let is_held = !metadata::finalizers(&new).is_empty();
        if matches!(ending, Ending::Plain) && is_held {
            mark_as_ending(&mut new, self.now);
        }
        if is_held || (matches!(ending, Ending::Graceful) && pod::has_time_left(&new)) {
            return Ok(self.keep_ending(&current, &old, new));
        }
        Ok(self.end(&current, new))
    }

    fn keep_ending(&mut self, current: &std::sync::Arc<Object>, old: &Value, new: Value) -> Reply {
        if new == *old {
            return done(Outcome::Terminating, Body::Object(current.clone()));
        }
        self.put(new, Outcome::Terminating, current.resource_version)
    }

    fn end(&mut self, current: &Object, last: Value) -> Reply {
        let object = self.remove(last, current.resource_version);
        let body = if returns_deleted(self.kind()) { Body::Object(object) } else { self.success(current) };
        done(Outcome::Deleted, body)
    }

    pub(super) fn check_preconditions(
        &self,
        current: &Object,
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        let refuse =
            |why: String| Err(Status::conflict(self.kind().group, self.kind().kind, &current.key.name, &why));
        let version = current.resource_version.to_string();
        match (&options.uid, &options.resource_version) {
            (Some(asked), _) if *asked != current.uid => refuse(format!(
                "the UID in the precondition ({asked}) does not match the UID in record ({}). The object might have \
                 been deleted and then recreated",
                current.uid
            )),
            (_, Some(asked)) if *asked != version => refuse(format!(
                "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record \
                 ({version}). The object might have been modified"
            )),
            _ => Ok(()),
        }
    }

    /// Sets or clears the finalizers by which the garbage collector knows what becomes of dependents.
    fn hand_to_collector(&self, object: &mut Value, options: &DeleteOptions) {
        let Some(propagation) = options.propagation.filter(|_| is_collected(self.kind())) else { return };
        let old = metadata::finalizers(object);
        let others = old.iter().filter(|finalizer| *finalizer != ORPHAN && *finalizer != FOREGROUND);
        let wanted = match propagation {
            Propagation::Foreground => Some(FOREGROUND.to_owned()),
            Propagation::Orphan => Some(ORPHAN.to_owned()),
            Propagation::Background => None,
        };
        let new: Vec<String> = others.cloned().chain(wanted).collect();
        if BTreeSet::from_iter(&new) != BTreeSet::from_iter(&old) {
            metadata::set_finalizers(object, &new);
        }
    }

    pub(super) fn expire(&mut self, name: &str, resource_version: u64) -> Reply {
        let found = self.draft.get(&self.key(name));
        let Some(object) = found.filter(|object| object.resource_version == resource_version) else {
            return done(Outcome::Unchanged, Body::Status(Value::Null));
        };
        let body = self.success(&object);
        self.remove(object.value(), resource_version);
        done(Outcome::Deleted, body)
    }
}

/// For what has no life outside the store but finalizers that hold it.
fn mark_as_ending(object: &mut Value, now: WallTime) {
    if !metadata::is_terminating(object) {
        metadata::bump_generation(object);
    }
    let until = WallTime::parse(metadata::text(object, "deletionTimestamp"));
    if until.is_none_or(|until| until > now) {
        object["metadata"]["deletionTimestamp"] = now.seconds().into();
    }
    object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
}

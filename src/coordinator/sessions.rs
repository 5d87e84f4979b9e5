//! Which nodes this coordinator has itself seen alive: by their sessions' Leases changing on its own clock, never by
//! the times that stand in them. PURE.
//!
//! Only the question whether a second machine may join under a node's name is answered from here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::coordinator::state::Change;
use crate::lease::timings::SessionConfig;
use crate::lease::wire;
use crate::time::Instant;

/// What is known of a node's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// Nobody holds it, or it has not changed for D + M.
    Over,
    /// It was renewed; when, by its holder's clock, for people.
    Alive(String),
    /// It has not changed since this coordinator began to look; until this instant it may.
    Unknown(Instant),
}

/// When each session was last seen to change.
#[derive(Debug)]
pub struct Sessions {
    begun: Instant,
    changed: BTreeMap<Box<str>, Instant>,
}

impl Sessions {
    /// Has seen nothing yet.
    pub fn new(begun: Instant) -> Self {
        Self { begun, changed: BTreeMap::new() }
    }

    /// Takes in what was committed.
    pub fn observe(&mut self, change: &Change, now: Instant) {
        let Some(object) = change.after.as_ref().or(change.last.as_ref()) else { return };
        let key = &object.key;
        if object.kind.kind != "Lease" || &*key.namespace != wire::NAMESPACE {
            return;
        }
        if change.after.is_none() {
            self.changed.remove(&*key.name);
        } else if let Some(at) = self.changed.get_mut(&*key.name) {
            *at = now;
        } else {
            self.changed.insert((&*key.name).into(), now);
        }
    }

    /// Whether the session in `lease`, that of `node`, is alive.
    pub fn life(&self, node: &str, lease: Option<&Value>, now: Instant) -> Life {
        let Some(spec) = lease.map(|lease| &lease["spec"]) else { return Life::Over };
        if spec["holderIdentity"].as_str().unwrap_or_default().is_empty() {
            return Life::Over;
        }
        let lasts = Duration::from_secs(spec["leaseDurationSeconds"].as_u64().unwrap_or(0));
        let lasts = lasts + SessionConfig::default().margin();
        match self.changed.get(node) {
            Some(at) if now < *at + lasts => {
                Life::Alive(spec["renewTime"].as_str().unwrap_or_default().to_owned())
            }
            None if now < self.begun + lasts => Life::Unknown(self.begun + lasts),
            Some(_) | None => Life::Over,
        }
    }
}

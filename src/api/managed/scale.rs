//! Owners of the number of replicas, as an object has them and as its Scale has them.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::entries::{Entry, Managed};
use super::record::{put, take};
use super::set::Set;
use crate::api::kinds::Kind;
use crate::api::parts::SCALE;

/// The same path in all kinds that have a Scale, and in the Scale.
static REPLICAS: LazyLock<Set> =
    LazyLock::new(|| Set::decode(&json!({ "f:spec": { "f:replicas": {} } })).expect("well-formed"));

/// Gives `scale` those owners of `object`, of this kind, who own its number of replicas.
pub fn give_owners(scale: &mut Value, object: &Value, kind: &Kind) {
    let mut managed = Managed::decode(&object["metadata"]["managedFields"]).unwrap_or_default();
    managed.0.retain(|entry| entry.api_version == kind.api_version() && has_replicas(entry));
    for entry in &mut managed.0 {
        entry.api_version = SCALE.api_version();
        entry.fields = REPLICAS.clone();
    }
    put(scale, managed.encode());
}

/// Makes the owners of `object` agree with those of its Scale.
pub fn take_owners(object: &mut Value, scale: &Value, kind: &Kind) {
    let mut managed = Managed::decode(&take(object)).unwrap_or_default();
    let mut owners = Managed::decode(&scale["metadata"]["managedFields"]).unwrap_or_default();
    owners.0.retain(has_replicas);
    managed.0.retain(|entry| entry.api_version == kind.api_version());
    for entry in managed.0.iter_mut().filter(|entry| has_replicas(entry)) {
        match owners.0.iter().position(|owner| is_same(owner, entry)) {
            Some(place) => drop(owners.0.remove(place)),
            None => entry.fields.subtract(&REPLICAS),
        }
    }
    managed.tidy();
    for mut owner in owners.0 {
        owner.api_version = kind.api_version();
        owner.fields = REPLICAS.clone();
        managed.put(owner);
    }
    put(object, managed.encode());
}

fn has_replicas(entry: &Entry) -> bool {
    !entry.fields.intersection(&REPLICAS).is_empty()
}

fn is_same(one: &Entry, other: &Entry) -> bool {
    let who = |entry: &Entry| (entry.manager.clone(), entry.operation, entry.subresource.clone());
    who(one) == who(other)
}

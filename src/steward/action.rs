//! What a controller wants done, as data. A plan is a list of waves: the actions of a wave go out together, and the next
//! wave only once all of them have succeeded. Every action carries what it rests on, so that doing it twice or late is
//! harmless.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Map, Value, json};

use super::object::{KindId, Object, Target};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make a child. One that is there already and has the same controller counts as made; so does any, where the child
    /// is to have no controller.
    Create {
        /// Its kind.
        kind: KindId,
        /// The whole object, with its name.
        object: Value,
        /// What people are told.
        told: Option<Told>,
    },
    /// A JSON merge patch, refused unless the object has the version that was seen.
    Patch {
        /// What is patched.
        of: Target,
        /// `status`, or empty for the object itself.
        part: &'static str,
        /// The patch, without UID and version.
        change: Value,
        /// What people are told.
        told: Option<Told>,
    },
    /// Delete what has this UID and version.
    Delete {
        /// What is deleted.
        of: Target,
        /// How its own dependants end; none as the kind has it.
        propagation: Option<Propagation>,
        /// What people are told.
        told: Option<Told>,
    },
    /// Go on only if a consistent read finds this object, with this UID, and not about to go.
    Confirm(Target),
    /// Go on only if a consistent read finds nothing of this name, or not with this UID.
    ConfirmGone {
        /// Its kind.
        kind: KindId,
        /// Its namespace, empty for cluster-scoped ones.
        namespace: String,
        /// Its name.
        name: String,
        /// Its UID; empty: any.
        uid: String,
    },
    /// Find out by a consistent read whether these owners exist. Those that do not are known as absent from then on.
    LookUp {
        /// Where the dependant lives.
        namespace: String,
        /// Its owners in question.
        owners: Vec<OwnerReference>,
    },
    /// Remove a Pod that has this UID and version at once, without its grace period: it is dead, whatever its object says.
    Remove(Target),
    /// Find out by consistent reads whether this Node exists, and how the Lease of its session stands.
    Witness(String),
    /// Go on only if a consistent read finds that nobody holds the session of this node.
    ConfirmLost(String),
    /// Delete what is in a namespace, and let it go when nothing is left.
    EmptyNamespace(Target),
    /// An Event about the owner.
    Tell {
        /// `Warning` instead of `Normal`.
        warning: bool,
        /// E.g. `SuccessfulCreate`.
        reason: &'static str,
        /// For people.
        message: String,
    },
    /// The same about another object.
    TellOf {
        /// Which.
        of: Target,
        /// `Warning` instead of `Normal`.
        warning: bool,
        /// E.g. `IdentityFreed`.
        reason: &'static str,
        /// For people.
        message: String,
    },
}

impl Action {
    /// Kind and JSON of what is to be made.
    pub fn made(&self) -> Option<(KindId, &Value)> {
        if let Self::Create { kind, object, .. } = self { Some((*kind, object)) } else { None }
    }

    /// What is to be deleted.
    pub fn deleted(&self) -> Option<&Target> {
        if let Self::Delete { of, .. } = self { Some(of) } else { None }
    }
}

/// What becomes of the dependants of what is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// Events about an action, on the owner: `Successful…` when it succeeded, `Failed…` when it was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// E.g. `SuccessfulCreate`; empty to say nothing.
    pub success: &'static str,
    /// Its message.
    pub message: String,
    /// E.g. `FailedCreate`; empty to say nothing.
    pub failure: &'static str,
    /// Before the error in its message, e.g. `Error creating: `.
    pub prefix: String,
}

/// What a controller wants, and after how long to look again though nothing has happened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// See the module.
    pub waves: Vec<Vec<Action>>,
    /// When to look again.
    pub wake: Option<Duration>,
}

impl Plan {
    /// Adds a wave, if there is anything in it.
    pub fn then(&mut self, wave: Vec<Action>) {
        if !wave.is_empty() {
            self.waves.push(wave);
        }
    }

    /// Adds creations in waves of 1, 2, 4, …: what is refused for all of them is refused once or twice, not a thousand
    /// times.
    pub fn slowly(&mut self, creations: Vec<Action>) {
        let mut rest = creations.into_iter();
        let mut size = 1;
        loop {
            let wave: Vec<Action> = rest.by_ref().take(size).collect();
            if wave.is_empty() {
                return;
            }
            self.waves.push(wave);
            size *= 2;
        }
    }

    /// Looks again after `pause` at the latest.
    pub fn wake_after(&mut self, pause: Duration) {
        self.wake = Some(self.wake.map_or(pause, |least| least.min(pause)));
    }
}

/// The patch that makes an object's status this; none where it is so already.
pub fn status(of: &Object, status: &Value) -> Option<Action> {
    let change = change(&of["status"], status)?;
    Some(Action::Patch { of: of.target(), part: "status", change: json!({ "status": change }), told: None })
}

/// A patch of an object's metadata.
pub fn metadata(of: &Object, fields: &Value) -> Action {
    Action::Patch { of: of.target(), part: "", change: json!({ "metadata": fields }), told: None }
}

/// The JSON merge patch from one value to another; none where they say the same.
pub fn change(old: &Value, new: &Value) -> Option<Value> {
    let Value::Object(new) = new else { return (old != new).then(|| new.clone()) };
    let empty = Map::new();
    let old = old.as_object().unwrap_or(&empty);
    let gone = old.iter().filter(|(key, had)| !had.is_null() && !new.contains_key(*key));
    let mut patch: Map<String, Value> = gone.map(|(key, _)| (key.clone(), Value::Null)).collect();
    for (key, value) in new {
        match old.get(key) {
            Some(had) => patch.extend(change(had, value).map(|change| (key.clone(), change))),
            None if value.is_null() => {}
            None => drop(patch.insert(key.clone(), value.clone())),
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_names_what_differs_and_clears_what_is_gone() {
        let table = [
            (json!({ "a": 1 }), json!({ "a": 1 }), None),
            (json!({ "a": 1, "b": 2 }), json!({ "a": 3 }), Some(json!({ "a": 3, "b": null }))),
            (json!({ "a": { "b": [1] } }), json!({ "a": { "b": [2] } }), Some(json!({ "a": { "b": [2] } }))),
            (Value::Null, json!({ "a": 1, "n": null }), Some(json!({ "a": 1 }))),
            (json!({ "n": null }), json!({}), None),
        ];
        for (old, new, expected) in table {
            assert_eq!(change(&old, &new), expected, "{old} {new}");
        }
    }

    #[test]
    fn creations_start_slowly() {
        let mut plan = Plan::default();
        let one = Action::Tell { warning: false, reason: "X", message: String::new() };
        plan.slowly(vec![one; 9]);
        assert_eq!(plan.waves.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 4, 2]);
    }
}

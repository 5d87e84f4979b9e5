//! A coordinator as small as a steward needs it: objects with versions, merge patches by compare-and-swap, deletions with
//! grace and finalizers; and what the steward's hands do with it.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use leasehold::api::kinds::KINDS;
use leasehold::lease::wire::{NAMESPACE as SESSIONS, holder};
use leasehold::steward::action::{Action, Propagation};
use leasehold::steward::identities::Witness;
use leasehold::steward::object::{KindId, Object, Target, id, of_reference};
use leasehold::steward::queue::Failure;
use leasehold::steward::view::Heard;
use leasehold::steward::{Done, Work};
use serde_json::{Value, json};

/// What identifies an object: kind, namespace, name.
type Place = (KindId, String, String);

#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: BTreeMap<Place, Value>,
    version: u64,
    uids: u64,
    pub(crate) now: String,
    /// Kinds whose creation is refused, with the reason.
    pub(crate) refused: BTreeMap<&'static str, String>,
    events: Vec<(KindId, Heard)>,
    /// What the steward did.
    pub(crate) told: Vec<String>,
}

fn place(kind: KindId, object: &Value) -> Place {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (kind, text("namespace"), text("name"))
}

fn refusal(code: &str, message: &str) -> (String, String) {
    (code.to_owned(), message.to_owned())
}

impl Store {
    pub(crate) fn take_events(&mut self) -> Vec<(KindId, Heard)> {
        std::mem::take(&mut self.events)
    }

    /// Everything, as a first list.
    pub(crate) fn list(&self) -> Vec<(KindId, Heard)> {
        let mut all = Vec::new();
        for kind in leasehold::steward::table::watched_kinds() {
            all.push((kind, Heard::Restarted));
            let here = self.objects.iter().filter(|(place, _)| place.0 == kind && place.1 != SESSIONS);
            all.extend(here.filter_map(|(_, object)| {
                Some((kind, Heard::Applied(Box::new(Object::read(kind, object.clone())?))))
            }));
            all.push((kind, Heard::Complete));
        }
        all
    }

    pub(crate) fn get(&self, kind: KindId, name: &str) -> Option<&Value> {
        self.objects.iter().find(|(place, _)| place.0 == kind && place.2 == name).map(|(_, object)| object)
    }

    /// The Lease of a node's session. It has the name of the node, as the Node has.
    fn session(&self, node: &str) -> Option<Box<Lease>> {
        self.at(id("coordination.k8s.io", "Lease"), SESSIONS, node)
            .map(|lease| serde_json::from_value(lease.clone()).expect("a Lease"))
    }

    /// An object in a namespace.
    pub(crate) fn at(&self, kind: KindId, namespace: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(kind, namespace.to_owned(), name.to_owned()))
    }

    pub(crate) fn all(&self, kind: KindId) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |(place, _)| place.0 == kind).map(|(_, object)| object)
    }

    fn put(&mut self, kind: KindId, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        let is_ending = object["metadata"]["deletionTimestamp"].is_string();
        let is_held = object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty());
        let has_time = KINDS[kind].kind == "Pod" && object["metadata"]["deletionGracePeriodSeconds"] != 0;
        let read = Object::read(kind, object.clone()).expect("an object");
        if is_ending && !is_held && !has_time {
            self.objects.remove(&place(kind, &object));
            self.events.push((kind, Heard::Deleted(Box::new(read))));
        } else {
            self.objects.insert(place(kind, &object), object.clone());
            // Sessions are watched by the monitor alone.
            if object["metadata"]["namespace"] != SESSIONS {
                self.events.push((kind, Heard::Applied(Box::new(read))));
            }
        }
        object
    }

    /// Makes an object.
    pub(crate) fn create(&mut self, kind: KindId, mut object: Value) -> Result<Value, (String, String)> {
        let row = &KINDS[kind];
        if row.namespaced && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = "default".into();
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(there) = self.objects.get(&place(kind, &object)) {
            return Err(refusal("AlreadyExists", there["metadata"]["uid"].as_str().unwrap_or_default()));
        }
        if let Some(why) = self.refused.get(row.kind) {
            return Err(refusal("Forbidden", &format!("{} {name:?} is forbidden: {why}", row.plural)));
        }
        (row.defaults)(&mut object);
        let is_of_nodes = row.kind == "Node" || object["metadata"]["namespace"] == SESSIONS;
        let metadata = &mut object["metadata"];
        metadata["uid"] = if is_of_nodes {
            format!("uid-{}-{name}", row.kind.to_lowercase()).into()
        } else {
            self.uids += 1;
            format!("uid-{}", self.uids).into()
        };
        metadata["creationTimestamp"] = self.now.as_str().into();
        metadata["generation"] = 1.into();
        if row.kind == "Pod" {
            object["status"] = json!({ "phase": "Pending" });
        }
        Ok(self.put(kind, object))
    }

    /// Changes an object by a merge patch.
    pub(crate) fn patch(
        &mut self,
        kind: KindId,
        name: &str,
        patch: &Value,
    ) -> Result<Value, (String, String)> {
        let Some(old) = self.get(kind, name) else { return Err(refusal("NotFound", name)) };
        let namespace = old["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        self.patch_at(kind, &namespace, name, patch)
    }

    /// Changes an object in a namespace by a merge patch.
    pub(crate) fn patch_at(
        &mut self,
        kind: KindId,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<Value, (String, String)> {
        let Some(old) = self.at(kind, namespace, name).cloned() else {
            return Err(refusal("NotFound", name));
        };
        for field in ["uid", "resourceVersion"] {
            let asked = &patch["metadata"][field];
            if asked.is_string() && *asked != old["metadata"][field] {
                return Err(refusal("Conflict", &format!("{name}: {field} is {}", old["metadata"][field])));
            }
        }
        let mut new = old.clone();
        json_patch::merge(&mut new, patch);
        (KINDS[kind].defaults)(&mut new);
        if new == old {
            return Ok(old);
        }
        if new["spec"] != old["spec"] {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or_default();
            new["metadata"]["generation"] = (generation + 1).into();
        }
        Ok(self.put(kind, new))
    }

    /// Begins a deletion. A Pod on a node has a grace period, until [`Store::remove`].
    pub(crate) fn delete(&mut self, kind: KindId, name: &str, how: Option<Propagation>) -> bool {
        let Some(mut object) = self.get(kind, name).cloned() else { return false };
        let on_node = object["spec"]["nodeName"].is_string();
        let ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let metadata = &mut object["metadata"];
        let finalizer = match how {
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
            Some(Propagation::Background) | None => None,
        };
        if let Some(finalizer) = finalizer {
            let mut all = metadata["finalizers"].as_array().cloned().unwrap_or_default();
            all.push(finalizer.into());
            metadata["finalizers"] = all.into();
        }
        if metadata["deletionTimestamp"].is_null() {
            metadata["deletionTimestamp"] = self.now.as_str().into();
            let has_grace = on_node && !ended && KINDS[kind].kind == "Pod";
            metadata["deletionGracePeriodSeconds"] = if has_grace { 30 } else { 0 }.into();
        }
        self.put(kind, object);
        true
    }

    /// A Pod's grace period is over.
    pub(crate) fn remove(&mut self, name: &str) {
        let pod = id("", "Pod");
        let mut object = self.get(pod, name).cloned().unwrap_or_else(|| panic!("no Pod {name}"));
        object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        self.put(pod, object);
    }

    /// Performs a case's work as the steward's hands do.
    pub(crate) fn perform(&mut self, work: &Work) -> Done {
        let mut done = Done::default();
        let mut versions: BTreeMap<String, String> = BTreeMap::new();
        for wave in &work.waves {
            for action in wave {
                match self.act(&work.subject, action, &versions, &mut done) {
                    Ok(Some(written)) => {
                        let text = |field: &str| written["metadata"][field].as_str().unwrap_or_default();
                        let is_there = self.objects.values().any(|one| one["metadata"]["uid"] == text("uid"));
                        versions.insert(text("uid").into(), text("resourceVersion").into());
                        let version = text("resourceVersion").parse().ok().filter(|_| is_there);
                        done.written.insert(text("uid").into(), version);
                    }
                    Ok(None) => {}
                    Err(failure) => done.failure = Some(failure),
                }
            }
            if done.failure.is_some() || !done.absent.is_empty() || !done.witnessed.is_empty() {
                break;
            }
        }
        done
    }

    fn act(
        &mut self,
        subject: &Target,
        action: &Action,
        versions: &BTreeMap<String, String>,
        done: &mut Done,
    ) -> Result<Option<Value>, Failure> {
        let failed = |reason, message: &str| Failure { reason, message: message.to_owned() };
        match action {
            Action::Create { kind, object, .. } => {
                let (kind, owner) = (*kind, object["metadata"]["ownerReferences"][0]["uid"].clone());
                match self.create(kind, object.clone()) {
                    Ok(made) => {
                        self.tell(&format!("create {}", named(kind, &made)));
                        Ok(Some(made))
                    }
                    Err((code, _)) if code == "AlreadyExists" => {
                        let there = self.objects[&place(kind, object)].clone();
                        let is_ours =
                            owner.is_null() || there["metadata"]["ownerReferences"][0]["uid"] == owner;
                        if is_ours { Ok(Some(there)) } else { Err(failed("FailedCreate", "already exists")) }
                    }
                    Err((_, message)) => {
                        self.tell(&format!("refused: {message}"));
                        Err(failed("FailedCreate", &message))
                    }
                }
            }
            Action::Patch { of, change, .. } => {
                let mut patch = change.clone();
                patch["metadata"]["uid"] = of.uid.as_str().into();
                patch["metadata"]["resourceVersion"] =
                    versions.get(&of.uid).unwrap_or(&of.version).as_str().into();
                match self.patch(of.kind, &of.name, &patch) {
                    Ok(patched) => {
                        self.tell(&format!("{} {} {change}", KINDS[of.kind].kind, of.name));
                        Ok(Some(patched))
                    }
                    Err((code, _)) if code == "NotFound" => Ok(None),
                    Err((_, message)) => Err(failed("", &message)),
                }
            }
            Action::Delete { of, propagation, .. } => {
                let version = versions.get(&of.uid).unwrap_or(&of.version);
                let Some(there) = self.get(of.kind, &of.name).cloned() else { return Ok(None) };
                if there["metadata"]["uid"] != of.uid || there["metadata"]["resourceVersion"] != **version {
                    return Err(failed("", "the precondition does not hold"));
                }
                self.delete(of.kind, &of.name, *propagation);
                self.tell(&format!("delete {}", named(of.kind, &there)));
                Ok(Some(self.get(of.kind, &of.name).cloned().unwrap_or(there)))
            }
            Action::Remove(of) => {
                let version = versions.get(&of.uid).unwrap_or(&of.version);
                let Some(there) = self.get(of.kind, &of.name).cloned() else { return Ok(None) };
                if there["metadata"]["uid"] != of.uid || there["metadata"]["resourceVersion"] != **version {
                    return Err(failed("", "the precondition does not hold"));
                }
                self.delete(of.kind, &of.name, None);
                if self.get(of.kind, &of.name).is_some() {
                    self.remove(&of.name);
                }
                self.tell(&format!("remove {}", named(of.kind, &there)));
                Ok(Some(self.get(of.kind, &of.name).cloned().unwrap_or(there)))
            }
            Action::Witness(node) => {
                let exists = self.get(id("", "Node"), node).is_some();
                done.witnessed.push(Witness { node: node.clone(), exists, lease: self.session(node) });
                self.tell(&format!("look at node {node}"));
                Ok(None)
            }
            Action::ConfirmLost(node) => match self.session(node) {
                Some(lease) if !holder(&lease).is_empty() => Err(failed("", "the node has a session again")),
                _ => Ok(None),
            },
            Action::Confirm(of) => {
                let there = self.get(of.kind, &of.name);
                let is_there = there.is_some_and(|there| {
                    there["metadata"]["uid"] == of.uid && there["metadata"]["deletionTimestamp"].is_null()
                });
                if is_there { Ok(None) } else { Err(failed("", "it is not there any more")) }
            }
            Action::ConfirmGone { kind, name, uid, .. } => {
                let there = self.get(*kind, name).map(|there| there["metadata"]["uid"].clone());
                let is_there = there.is_some_and(|there| uid.is_empty() || there == **uid);
                if is_there { Err(failed("", "it is there")) } else { Ok(None) }
            }
            Action::LookUp { namespace, owners } => {
                for owner in owners {
                    let kind = of_reference(owner).expect("a kind of the table");
                    if self.get(kind, &owner.name).is_none_or(|there| there["metadata"]["uid"] != owner.uid) {
                        done.absent.push((namespace.clone(), owner.uid.clone()));
                    }
                }
                Ok(None)
            }
            Action::EmptyNamespace(_) => Ok(None),
            Action::TellOf { of, reason, message, .. } => {
                self.tell(&format!("event on {}: {reason}: {message}", of.name));
                Ok(None)
            }
            Action::Tell { reason, message, .. } => {
                self.tell(&format!("event on {}: {reason}: {message}", subject.name));
                Ok(None)
            }
        }
    }

    fn tell(&mut self, what: &str) {
        self.told.push(what.to_owned());
    }
}

fn named(kind: KindId, object: &Value) -> String {
    format!("{} {}", KINDS[kind].kind, object["metadata"]["name"].as_str().unwrap_or_default())
}

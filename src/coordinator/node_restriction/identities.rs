//! What a node may write about identities: it takes them for Pods that are bound to it, from nobody or from itself, and
//! gives its own back. Making one of its own accord says only that it may be held by others.

use serde_json::Value;

use crate::api::kinds;
use crate::coordinator::command::{Intended, Subresource, Written};
use crate::coordinator::metadata;
use crate::coordinator::state::{Draft, Key};
use crate::coordinator::update::same;
use crate::lease::fence::LEVEL_ANNOTATION;
use crate::lease::identity::{self, wire};
use crate::lease::session::SessionId;

pub(super) use crate::lease::identity::wire::NAMESPACE;

/// Whether `node` may write this.
pub(super) fn check(node: &str, write: &Intended<'_>, draft: &Draft<'_>) -> Result<(), String> {
    let only = || Err(format!("node {node:?} can only take and give back identities of its pods"));
    let (Written::Part(Subresource::Main), Some(new)) = (write.part, write.new) else { return only() };
    if kind(new) != wire::KIND || !has_finalizer(new) {
        return only();
    }
    match write.old {
        Some(old) if kind(old) != wire::KIND || !same(&rest(old), &rest(new)) => return only(),
        // Whoever holds it gives it back, and another node's stays.
        Some(old) if !holder(old).is_empty() && !is_session_of(node, holder(old)) => {
            return Err(format!("node {node:?} can only take identities that nobody else holds"));
        }
        Some(old) if holder(new).is_empty() => {
            let stays = annotation(old, wire::RECREATED) == annotation(new, wire::RECREATED);
            return if stays { Ok(()) } else { only() };
        }
        Some(_) | None => {}
    }
    if !holder(new).is_empty() && !is_session_of(node, holder(new)) {
        return Err(format!("node {node:?} can only take identities for itself"));
    }
    let uid = annotation(new, wire::POD_UID);
    let is_recreated = holder(new).is_empty() && annotation(new, wire::RECREATED) == "true";
    if is_recreated && has_pod(node, write.name, None, draft) {
        return Ok(());
    }
    if !holder(new).is_empty() && has_pod(node, write.name, Some(uid), draft) {
        return Ok(());
    }
    Err(format!("node {node:?} can only take identities of pods with spec.nodeName set to itself"))
}

fn kind(lease: &Value) -> &str {
    lease["metadata"]["labels"][wire::KIND_LABEL].as_str().unwrap_or_default()
}

fn holder(lease: &Value) -> &str {
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default()
}

fn annotation<'a>(lease: &'a Value, key: &str) -> &'a str {
    lease["metadata"]["annotations"][key].as_str().unwrap_or_default()
}

fn has_finalizer(lease: &Value) -> bool {
    let finalizers = lease["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|all| all.iter().any(|finalizer| finalizer == wire::FINALIZER))
}

fn is_session_of(node: &str, holder: &str) -> bool {
    holder.parse::<SessionId>().is_ok_and(|session| session.node == node)
}

/// What of a Lease is not the holder's to change.
fn rest(lease: &Value) -> Value {
    let mut lease = lease.clone();
    for field in ["managedFields", "resourceVersion", "generation"] {
        metadata::clear(&mut lease, field);
    }
    for (map, own) in [
        ("annotations", [wire::POD_UID, wire::RECREATED, LEVEL_ANNOTATION].as_slice()),
        ("labels", &[wire::HOLDER_LABEL]),
    ] {
        if let Some(map) = lease["metadata"][map].as_object_mut() {
            map.retain(|key, _| !own.contains(&key.as_str()));
        }
        let is_empty = lease["metadata"][map].as_object().is_some_and(serde_json::Map::is_empty);
        if is_empty {
            metadata::clear(&mut lease, map);
        }
    }
    lease["metadata"].take()
}

/// Whether the identity is that of a Pod which is bound to the node, of this UID if one is given.
fn has_pod(node: &str, name: &str, uid: Option<&str>, draft: &Draft<'_>) -> bool {
    let Some(pods) = kinds::by_kind("", "v1", "Pod") else { return false };
    let is_ours = |pod: &Value| {
        let own = (metadata::text(pod, "namespace"), metadata::text(pod, "name"));
        pod["spec"]["nodeName"] == node
            && uid.is_none_or(|uid| metadata::text(pod, "uid") == uid)
            && (identity::name(own.0, own.1) == name || !name.contains('.'))
    };
    match name.split_once('.') {
        Some((namespace, pod)) => {
            draft.get(&Key::new(pods, namespace, pod)).is_some_and(|pod| is_ours(&pod.value()))
        }
        // A volume's, or one whose name was too long.
        None => draft.all(pods).iter().any(|pod| is_ours(&pod.value())),
    }
}

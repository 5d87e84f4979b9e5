//! The nodes of a steward's world: their sessions, and the identities that these hold.

use leasehold::lease::wire::{FINALIZER, NAMESPACE as SESSIONS};
use leasehold::steward::object::{KindId, id};
use serde_json::{Value, json};

use super::steward_store::Store;

fn leases() -> KindId {
    id("coordination.k8s.io", "Lease")
}

fn ready(status: &str) -> Value {
    json!({ "status": { "conditions": [{ "type": "Ready", "status": status }] } })
}

fn session(store: &Store, node: &str) -> String {
    let lease = store.at(leases(), SESSIONS, node).expect("a session");
    let uid = lease["metadata"]["uid"].as_str().unwrap_or_default();
    format!("{node}/{uid}/{}", lease["spec"]["leaseTransitions"])
}

/// A node that is ready, with a session.
pub(crate) fn add(store: &mut Store, node: &str) {
    let lease = json!({
        "metadata": { "name": node, "namespace": SESSIONS, "finalizers": [FINALIZER] },
        "spec": { "holderIdentity": "agent", "leaseTransitions": 1, "leaseDurationSeconds": 20 },
    });
    store.create(leases(), lease).expect("created");
    let mut object = ready("True");
    object["metadata"] = json!({ "name": node });
    store.create(id("", "Node"), object).expect("created");
}

/// A session holds the identity of a Pod, for the Pod that is there now.
pub(crate) fn hold(store: &mut Store, pod: &str, node: &str, level: &str) {
    let session = session(store, node);
    let uid = store.get(id("", "Pod"), pod).expect("a Pod")["metadata"]["uid"].clone();
    let name = format!("default.{pod}");
    let epoch =
        store.get(leases(), &name).expect("a Lease")["spec"]["leaseTransitions"].as_i64().unwrap_or(0);
    let patch = json!({
        "metadata": { "annotations": { "leasehold.dev/pod-uid": uid, "leasehold.dev/fence-level": level } },
        "spec": { "holderIdentity": session, "leaseTransitions": epoch + 1 },
    });
    store.patch(leases(), &name, &patch).expect("held");
}

/// The session of a node is over: revoked, or given back.
pub(crate) fn end_session(store: &mut Store, node: &str, is_given_back: bool) {
    let mut patch = json!({ "spec": { "holderIdentity": "" } });
    if is_given_back {
        patch["metadata"] = json!({ "finalizers": null });
    }
    store.patch_at(leases(), SESSIONS, node, &patch).expect("ended");
    store.patch(id("", "Node"), node, &ready("Unknown")).expect("lost");
}

/// The node takes its next session.
pub(crate) fn take_session(store: &mut Store, node: &str) {
    let epoch = store.at(leases(), SESSIONS, node).expect("a session")["spec"]["leaseTransitions"].as_i64();
    let patch = json!({ "spec": { "holderIdentity": "agent", "leaseTransitions": epoch.unwrap_or(0) + 1 } });
    store.patch_at(leases(), SESSIONS, node, &patch).expect("taken");
    store.patch(id("", "Node"), node, &ready("True")).expect("returned");
}

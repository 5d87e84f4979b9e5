//! Persistent volumes, as Kubernetes' own controllers keep them: claims and volumes are bound to one another, made for
//! one another, protected while they are in use, and reclaimed.
//!
//! ```text
//!   claim  Pending ──▶ Bound ──▶ Lost             volume  Available ──▶ Bound ──▶ Released ──▶ gone, kept or Failed
//! ```
//!
//! [`claim`] decides for one claim, and with that binds volumes; [`volume`] decides for one volume. A binding is two-sided
//! and written volume first, each by compare-and-swap, so that a volume has one claim whoever stewards. A volume of class
//! `leasehold.dev/local` is made when a node has claimed the first Pod that uses its claim: the object here, under a name
//! that follows from the claim's UID, its directory by that node.

mod bind;
pub mod claim;
mod index;
mod provision;
pub mod volume;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use index::{Concern, Index};

use super::action::{self, Action};
use super::object::{KindId, Object, id};
use super::view::View;
use crate::api::storage::{DEFAULT_CLASS, DEFAULT_CLASS_BETA};
use crate::placement::volumes::matching;
use crate::time::WallTime;

pub(super) fn claims() -> KindId {
    id("", "PersistentVolumeClaim")
}

pub(super) fn volumes() -> KindId {
    id("", "PersistentVolume")
}

fn classes() -> KindId {
    id("storage.k8s.io", "StorageClass")
}

/// An object, and what the pure functions of placement read.
#[derive(Clone, Debug)]
pub struct Typed<T> {
    /// As it was seen.
    pub object: Arc<Object>,
    /// The same.
    pub typed: T,
}

impl<T: DeserializeOwned> Typed<T> {
    fn read(object: Arc<Object>) -> Option<Self> {
        let typed = serde_json::from_value(object.whole()).ok()?;
        Some(Self { object, typed })
    }
}

/// A volume.
pub type Volume = Typed<PersistentVolume>;

/// Everything about one claim.
#[derive(Debug)]
pub struct ClaimCase {
    /// It; none where it cannot be read.
    pub claim: Option<Typed<PersistentVolumeClaim>>,
    /// The volume that it names.
    pub volume: Option<Volume>,
    /// Volumes that are not bound.
    pub unbound: Vec<Volume>,
    /// Its class.
    pub class: Option<StorageClass>,
    /// The class for claims that name none.
    pub default_class: Option<String>,
    /// Pods that use it and have not ended.
    pub users: Vec<Arc<Object>>,
    /// The node of the first of them that has one.
    pub node: Option<Node>,
}

/// Everything about one volume.
#[derive(Debug)]
pub struct VolumeCase {
    /// It.
    pub volume: Arc<Object>,
    /// The claim whose namespace and name it names.
    pub claim: Option<Arc<Object>>,
    /// Now.
    pub wall: WallTime,
}

/// Gathers what is known about a claim.
pub fn claim_case(view: &View, claim: Arc<Object>) -> ClaimCase {
    let (namespace, name) = (claim.namespace().to_owned(), claim.name().to_owned());
    let pod = id("", "Pod");
    let mut users: Vec<_> =
        view.volumes.users(&namespace, &name).filter_map(|uid| view.get(pod, uid)).collect();
    users.sort_by_key(|pod| (pod.text("/spec/nodeName").is_empty(), created(pod), pod.uid().to_owned()));
    let node = users.first().map(|pod| pod.text("/spec/nodeName")).filter(|node| !node.is_empty());
    let node = node.and_then(|node| view.by_name(id("", "Node"), "", node));
    let claim = Typed::<PersistentVolumeClaim>::read(claim);
    let class = claim.as_ref().map(|claim| matching::class_of_claim(&claim.typed).to_owned());
    let class = class.and_then(|class| view.by_name(classes(), "", &class));
    let named = claim.as_ref().map(|claim| claim.object.text("/spec/volumeName").to_owned());
    let named = named.filter(|name| !name.is_empty()).and_then(|name| view.by_name(volumes(), "", &name));
    let is_open = claim.as_ref().is_some_and(|claim| claim.object.text("/spec/volumeName").is_empty());
    let unbound = view.volumes.unbound().filter(|_| is_open).filter_map(|uid| view.get(volumes(), uid));
    ClaimCase {
        volume: named.and_then(Typed::read),
        unbound: unbound.filter_map(Typed::read).collect(),
        class: class.and_then(|class| serde_json::from_value(class.whole()).ok()),
        default_class: default_class(view),
        users,
        node: node.and_then(|node| serde_json::from_value(node.whole()).ok()),
        claim,
    }
}

/// Gathers what is known about a volume.
pub fn volume_case(view: &View, volume: Arc<Object>, wall: WallTime) -> VolumeCase {
    let (namespace, name) = (volume.text("/spec/claimRef/namespace"), volume.text("/spec/claimRef/name"));
    let claim = view.by_name(claims(), namespace, name);
    VolumeCase { volume, claim, wall }
}

/// Of several default classes the youngest, and of those the first by name.
fn default_class(view: &View) -> Option<String> {
    let is_default = |class: &Arc<Object>| {
        [DEFAULT_CLASS, DEFAULT_CLASS_BETA].iter().any(|key| class.annotation(key) == Some("true"))
    };
    let all = view.all(classes()).filter(|class| is_default(class));
    let chosen = all.min_by_key(|class| (std::cmp::Reverse(created(class)), class.name().to_owned()));
    chosen.map(|class| class.name().to_owned())
}

fn created(object: &Object) -> Option<jiff::Timestamp> {
    object.meta.creation_timestamp.as_ref().map(|time| time.0)
}

/// Gives an object a finalizer.
fn protect(object: &Object, finalizer: &str) -> Action {
    let mut finalizers = object.meta.finalizers.clone().unwrap_or_default();
    finalizers.push(finalizer.to_owned());
    action::metadata(object, &json!({ "finalizers": finalizers }))
}

/// Takes a finalizer away.
fn release(object: &Object, finalizer: &str) -> Action {
    let kept: Vec<_> = object.meta.finalizers.iter().flatten().filter(|have| *have != finalizer).collect();
    action::metadata(object, &json!({ "finalizers": kept }))
}

/// The status of a volume in another phase; none where it is in this one.
fn volume_phase(volume: &Object, phase: &str, message: &str, wall: WallTime) -> Option<Action> {
    if volume.text("/status/phase") == phase {
        return None;
    }
    let mut status = volume["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    status["phase"] = phase.into();
    status["lastPhaseTransitionTime"] = wall.seconds().into();
    status["message"] = if message.is_empty() { Value::Null } else { message.into() };
    action::status(volume, &status)
}

fn tell(warning: bool, reason: &'static str, message: impl Into<String>) -> Action {
    Action::Tell { warning, reason, message: message.into() }
}

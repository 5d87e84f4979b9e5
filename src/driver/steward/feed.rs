//! What the steward's view shows, read once and told to the loops beside the controllers.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::steward::Change;
use crate::steward::object::Object;

/// What a loop is told.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// No shard is held any more: nothing of what was told holds.
    Rest,
    /// Everything has been told once.
    Whole,
    Pod(PodNews),
    /// By UID.
    PodGone(String),
    Node(Arc<Node>),
    NodeGone(String),
    /// With its UID.
    Namespace(Arc<Namespace>),
    NamespaceGone(String),
    Claim(Arc<PersistentVolumeClaim>),
    /// By namespace and name.
    ClaimGone(String, String),
    Volume(Arc<PersistentVolume>),
    VolumeGone(String),
    Class(Arc<StorageClass>),
    ClassGone(String),
    /// Namespace and name of a ServiceAccount, and whether it is there.
    Account(String, String, bool),
}

/// A Pod, new or changed, or one whose steward may have changed.
#[derive(Clone, Debug)]
pub(super) struct PodNews {
    pub(super) pod: Arc<Pod>,
    /// UID of its root owner.
    pub(super) root: Arc<str>,
    /// Whether it is in a shard that is held here and known.
    pub(super) is_ours: bool,
}

/// Who is told.
#[derive(Debug)]
pub(super) struct Listeners {
    all: Vec<mpsc::Sender<Told>>,
    is_whole: bool,
}

impl Listeners {
    pub(super) fn new(all: Vec<mpsc::Sender<Told>>) -> Self {
        Self { all, is_whole: false }
    }

    /// Tells of a change, if it can be read.
    pub(super) async fn tell(&self, change: &Change) {
        match read(change) {
            Ok(Some(told)) => self.send(told).await,
            Ok(None) => {}
            Err(error) => {
                let object = &change.object;
                tracing::warn!(%error, kind = object.row().kind, name = object.name(), "an object cannot be read");
            }
        }
    }

    /// Everything has been told.
    pub(super) async fn know(&mut self) {
        if !std::mem::replace(&mut self.is_whole, true) {
            self.send(Told::Whole).await;
        }
    }

    /// Nothing is seen any more.
    pub(super) async fn rest(&mut self) {
        self.is_whole = false;
        self.send(Told::Rest).await;
    }

    async fn send(&self, told: Told) {
        for listener in &self.all {
            // The loops end with the process.
            let _ = listener.send(told.clone()).await;
        }
    }
}

/// A change as the loops take it; none where nobody looks.
fn read(Change { object, is_there, root, is_ours }: &Change) -> serde_json::Result<Option<Told>> {
    let name = || object.name().to_owned();
    let told = match (object.row().group, object.row().kind, is_there) {
        ("", "Pod", true) => {
            Told::Pod(PodNews { pod: typed(object)?, root: root.as_str().into(), is_ours: *is_ours })
        }
        ("", "Pod", false) => Told::PodGone(object.uid().to_owned()),
        ("", "Node", true) => Told::Node(typed(object)?),
        ("", "Node", false) => Told::NodeGone(name()),
        ("", "Namespace", true) => Told::Namespace(typed(object)?),
        ("", "Namespace", false) => Told::NamespaceGone(name()),
        ("", "PersistentVolumeClaim", true) => Told::Claim(typed(object)?),
        ("", "PersistentVolumeClaim", false) => Told::ClaimGone(object.namespace().to_owned(), name()),
        ("", "PersistentVolume", true) => Told::Volume(typed(object)?),
        ("", "PersistentVolume", false) => Told::VolumeGone(name()),
        ("storage.k8s.io", "StorageClass", true) => Told::Class(typed(object)?),
        ("storage.k8s.io", "StorageClass", false) => Told::ClassGone(name()),
        ("", "ServiceAccount", is_there) => Told::Account(object.namespace().to_owned(), name(), *is_there),
        _ => return Ok(None),
    };
    Ok(Some(told))
}

fn typed<K: DeserializeOwned>(object: &Object) -> serde_json::Result<Arc<K>> {
    serde_json::from_value(object.whole()).map(Arc::new)
}

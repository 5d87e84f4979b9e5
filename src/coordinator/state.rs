//! The objects, and drafts over them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::api::kinds::{KINDS, Kind};
use crate::coordinator::services::{Allotments, Allotted, Drafted};

/// Where an object stands. Ordered so that one kind, and within it one namespace, is a contiguous range.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Group and plural, e.g. `apps/daemonsets`, `/pods`.
    pub resource: Arc<str>,
    /// Empty for cluster-scoped kinds.
    pub namespace: Arc<str>,
    /// Object name.
    pub name: Arc<str>,
}

impl Key {
    /// The place of an object; the namespace is ignored for cluster-scoped kinds.
    pub fn new(kind: &Kind, namespace: &str, name: &str) -> Self {
        let namespace = if kind.namespaced { namespace } else { "" };
        Self { resource: resource(kind), namespace: namespace.into(), name: name.into() }
    }
}

/// The resource of a kind, made once for every row of the table: each request makes several keys.
fn resource(kind: &Kind) -> Arc<str> {
    static RESOURCES: LazyLock<Vec<Arc<str>>> = LazyLock::new(|| KINDS.iter().map(made).collect());
    fn made(kind: &Kind) -> Arc<str> {
        format!("{}/{}", kind.stored_group(), kind.plural).into()
    }
    let row = KINDS.iter().position(|row| std::ptr::eq(row, kind));
    row.map_or_else(|| made(kind), |row| RESOURCES[row].clone())
}

/// One stored object: encoded once, shared by every reader and watcher.
#[derive(Debug)]
pub struct Object {
    /// Its row in the table of kinds.
    pub kind: &'static Kind,
    /// Where it stands.
    pub key: Key,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.resourceVersion`: the store's revision that wrote it.
    pub resource_version: u64,
    /// `metadata.labels`, for selectors.
    pub labels: BTreeMap<String, String>,
    /// What field selectors may name (`Kind::fields`).
    pub fields: Vec<(&'static str, String)>,
    /// The whole object as JSON, with `apiVersion`, `kind` and `metadata.resourceVersion` in it.
    pub json: Bytes,
}

impl Object {
    /// Encodes `value` as version `resource_version`, 0 for an object that was never written (a dry run).
    pub fn encode(kind: &'static Kind, mut value: Value, resource_version: u64) -> Self {
        value["apiVersion"] = kind.api_version().into();
        value["kind"] = kind.kind.into();
        if !value["metadata"].is_object() {
            value["metadata"] = json!({});
        }
        let metadata = &mut value["metadata"];
        if resource_version == 0 {
            metadata.as_object_mut().map(|m| m.remove("resourceVersion"));
        } else {
            metadata["resourceVersion"] = resource_version.to_string().into();
        }
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let key = Key::new(kind, text("namespace"), text("name"));
        let uid = text("uid").to_owned();
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect();
        let json = Bytes::from(value.to_string());
        Self { kind, key, uid, resource_version, labels, fields: (kind.fields)(&value), json }
    }

    /// Takes up what [`Self::encode`] once made and a store has kept.
    pub fn decode(kind: &'static Kind, json: Bytes) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
        let metadata = &value["metadata"];
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        let resource_version = text("resourceVersion")
            .parse()
            .map_err(|_| "metadata.resourceVersion is no revision".to_owned())?;
        let labels = metadata["labels"].as_object().into_iter().flatten();
        let labels = labels.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect();
        let key = Key::new(kind, text("namespace"), text("name"));
        let uid = text("uid").to_owned();
        Ok(Self { kind, key, uid, resource_version, labels, fields: (kind.fields)(&value), json })
    }

    /// The object as a tree.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("stored objects were encoded by `encode`")
    }
}

/// One change of a draft, in commit order.
#[derive(Clone, Debug)]
pub struct Change {
    /// Revision this change made.
    pub revision: u64,
    /// The object before, if any.
    pub before: Option<Arc<Object>>,
    /// The object after; none when it was removed. A removal's last state (with the new resourceVersion) is `last`.
    pub after: Option<Arc<Object>>,
    /// For a removal: the object as watchers hear of it.
    pub last: Option<Arc<Object>>,
}

/// Everything durable, as last acknowledged.
#[derive(Debug, Default)]
pub struct State {
    /// All objects.
    pub objects: BTreeMap<Key, Arc<Object>>,
    /// The newest revision.
    pub revision: u64,
    /// What Services have been given.
    pub allotments: Allotments,
}

/// Changes that are decided and not applied yet.
#[derive(Debug, Default)]
pub struct Pending {
    objects: BTreeMap<Key, Option<Arc<Object>>>,
    changes: Vec<Change>,
    revision: u64,
    allotted: Drafted,
}

impl Pending {
    /// The changes, in the order in which they were decided.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The newest revision once they are applied.
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

/// Uncommitted changes over a state.
#[derive(Debug)]
pub struct Draft<'a> {
    base: &'a State,
    /// Decided before, and on its way into the base or there by now.
    under: Option<&'a Pending>,
    own: Pending,
}

impl<'a> Draft<'a> {
    /// An empty draft.
    pub fn new(base: &'a State) -> Self {
        Self::over(base, None)
    }

    /// An empty draft over a state and what is about to be applied to it.
    pub fn over(base: &'a State, under: Option<&'a Pending>) -> Self {
        let revision = under.map_or(base.revision, Pending::revision);
        Self { base, under, own: Pending { revision, ..Pending::default() } }
    }

    /// Goes on with a draft over a state and what is about to be applied to it, or has been meanwhile.
    pub fn resume(base: &'a State, under: Option<&'a Pending>, own: Pending) -> Self {
        Self { base, under, own }
    }

    /// The object as this draft sees it.
    pub fn get(&self, key: &Key) -> Option<Arc<Object>> {
        match self.drafted(key) {
            Some(drafted) => drafted.clone(),
            None => self.base.objects.get(key).cloned(),
        }
    }

    fn drafted(&self, key: &Key) -> Option<&Option<Arc<Object>>> {
        self.own.objects.get(key).or_else(|| self.under?.objects.get(key))
    }

    /// All objects of a kind, as this draft sees them, by namespace and name. Goes over all of them: for kinds of
    /// which there are few.
    pub fn all(&self, kind: &Kind) -> Vec<Arc<Object>> {
        let first = Key::new(kind, "", "");
        self.within(&first, |key| key.resource == first.resource)
    }

    /// What Services were given before this draft, and of which ranges.
    pub fn allotments(&self) -> &Allotments {
        &self.base.allotments
    }

    /// The Service that has this address or port, as this draft sees it.
    pub fn holder(&self, of: Allotted) -> Option<&Key> {
        let drafted = self.own.allotted.get(of).or_else(|| self.under?.allotted.get(of));
        drafted.unwrap_or_else(|| self.base.allotments.holder(of))
    }

    /// The objects of a kind in a namespace (in all of them for a cluster-scoped kind), as this draft sees them, by name.
    pub fn list(&self, kind: &Kind, namespace: &str) -> Vec<Arc<Object>> {
        let first = Key::new(kind, namespace, "");
        self.within(&first, |key| key.resource == first.resource && key.namespace == first.namespace)
    }

    fn within(&self, first: &Key, belongs: impl Fn(&Key) -> bool) -> Vec<Arc<Object>> {
        let stored = self.base.objects.range(first..).take_while(|(key, _)| belongs(key));
        let mut found: BTreeMap<&Key, &Arc<Object>> = stored.collect();
        for layer in self.under.into_iter().chain([&self.own]) {
            for (key, drafted) in layer.objects.range(first..).take_while(|(key, _)| belongs(key)) {
                match drafted {
                    Some(object) => drop(found.insert(key, object)),
                    None => drop(found.remove(key)),
                }
            }
        }
        found.into_values().cloned().collect()
    }

    /// The revision the next change will get.
    pub fn next_revision(&self) -> u64 {
        self.own.revision + 1
    }

    /// Writes an object whose `resource_version` is [`Self::next_revision`].
    pub fn put(&mut self, object: Arc<Object>) {
        self.own.revision += 1;
        let before = self.get(&object.key);
        self.own.allotted.observe(before.as_deref(), Some(&object));
        self.own.objects.insert(object.key.clone(), Some(object.clone()));
        let revision = self.own.revision;
        self.own.changes.push(Change { revision, before, after: Some(object), last: None });
    }

    /// Removes an object; `last` is its final state, carrying [`Self::next_revision`].
    pub fn remove(&mut self, key: &Key, last: Arc<Object>) {
        self.own.revision += 1;
        let before = self.get(key);
        self.own.allotted.observe(before.as_deref(), None);
        self.own.objects.insert(key.clone(), None);
        let revision = self.own.revision;
        self.own.changes.push(Change { revision, before, after: None, last: Some(last) });
    }

    /// Changes so far.
    pub fn changes(&self) -> &[Change] {
        &self.own.changes
    }

    /// Ends the draft: its changes, and the newest revision.
    pub fn into_changes(self) -> (Vec<Change>, u64) {
        (self.own.changes, self.own.revision)
    }

    /// Ends the draft, or puts it aside.
    pub fn into_pending(self) -> Pending {
        self.own
    }
}

impl State {
    /// Applies what a draft over this state made, once it is durable.
    pub fn apply(&mut self, changes: &[Change], revision: u64) {
        for change in changes {
            self.allotments.observe(change.before.as_deref(), change.after.as_deref());
            if let Some(object) = &change.after {
                self.objects.insert(object.key.clone(), object.clone());
            } else if let Some(last) = &change.last {
                self.objects.remove(&last.key);
            }
        }
        self.revision = revision;
    }
}

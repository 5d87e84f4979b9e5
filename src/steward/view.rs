//! What a steward knows, and whom an event concerns. An event costs what it concerns: the object's owners, its
//! dependants, and, where nobody controls it, those that select its labels, found through an index.

pub(in crate::steward) mod lives;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use self::lives::Lives;
use super::daemon_set::Tally;
use super::identities;
use super::object::{KindId, Object, id, of_reference};
use super::queue::Key;
use super::table::{GARBAGE, NAMESPACES, claims, is_claimed, row_of, watches};
use super::volumes;
use crate::api::kinds::KINDS;
use crate::api::selectors::Selector;

/// Most UIDs remembered as absent.
const ABSENT_MAX: usize = 10_000;

/// Longest chain of controllers that is followed.
const CHAIN_MAX: usize = 8;

/// What a watch of one kind says.
#[derive(Debug)]
pub enum Heard {
    /// A list begins; what is not in it by `Complete` is gone.
    Restarted,
    /// In the list, or new, or changed.
    Applied(Box<Object>),
    /// Gone.
    Deleted(Box<Object>),
    /// The list is whole.
    Complete,
    /// The coordinator does not serve this kind.
    Unserved,
}

/// The objects of one kind.
#[derive(Debug, Default)]
struct Shelf {
    objects: BTreeMap<String, Arc<Object>>,
    names: BTreeMap<(String, String), String>,
    listing: Option<BTreeSet<String>>,
    is_whole: bool,
}

/// Kinds whose changes others look at as well ([`View::take_changes`]).
const SHOWN: [(&str, &str); 7] = [
    ("", "Namespace"),
    ("", "Node"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("", "Pod"),
    ("", "ServiceAccount"),
    ("storage.k8s.io", "StorageClass"),
];

/// The end of an object's chain of controllers: it says whose shard the object is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Its UID.
    pub uid: String,
    /// Whether the chain has been followed to its end. One whose last owner has not been seen may go on.
    pub is_known: bool,
}

/// Where objects without a controller are looked for: kind, namespace, and one label with its value.
type Place = (KindId, String, String, String);

/// See the module.
#[derive(Debug)]
pub struct View {
    shelves: Vec<Shelf>,
    /// UIDs of dependants, with their kind, by the owner's UID.
    dependants: BTreeMap<String, BTreeSet<(KindId, String)>>,
    /// Objects without a controller, by each of their labels.
    orphans: BTreeMap<Place, BTreeSet<String>>,
    /// Controllers' objects by one label that all they select have.
    seekers: BTreeMap<Place, BTreeSet<Key>>,
    /// Those whose selector asks for no one value, by kind and namespace.
    vague: BTreeMap<(KindId, String), BTreeSet<Key>>,
    /// Nodes, typed, by name.
    nodes: BTreeMap<String, Arc<Node>>,
    tallies: BTreeMap<String, Tally>,
    /// Owners that are not there, by the namespace in which they were looked for.
    absent: BTreeSet<(String, String)>,
    pub(in crate::steward) lives: Lives,
    /// Which claims, volumes and Pods concern one another.
    pub(super) volumes: volumes::Index,
    marks: BTreeSet<Key>,
    seen: Vec<(String, Option<u64>)>,
    changes: Vec<(Arc<Object>, bool)>,
}

impl Default for View {
    fn default() -> Self {
        Self {
            shelves: KINDS.iter().map(|_| Shelf::default()).collect(),
            dependants: BTreeMap::new(),
            orphans: BTreeMap::new(),
            seekers: BTreeMap::new(),
            vague: BTreeMap::new(),
            nodes: BTreeMap::new(),
            tallies: BTreeMap::new(),
            absent: BTreeSet::new(),
            lives: Lives::default(),
            volumes: volumes::Index::default(),
            marks: BTreeSet::new(),
            seen: Vec::new(),
            changes: Vec::new(),
        }
    }
}

impl View {
    /// Takes in what the watch of a kind says.
    pub fn hear(&mut self, kind: KindId, heard: Heard) {
        match heard {
            Heard::Restarted => self.shelves[kind].listing = Some(BTreeSet::new()),
            Heard::Applied(object) => {
                if let Some(listing) = &mut self.shelves[kind].listing {
                    listing.insert(object.uid().to_owned());
                }
                self.put(&Arc::from(object));
            }
            Heard::Deleted(object) => self.remove(kind, object.uid()),
            Heard::Complete => {
                let shelf = &mut self.shelves[kind];
                shelf.is_whole = true;
                let listing = shelf.listing.take().unwrap_or_default();
                let gone: Vec<String> =
                    shelf.objects.keys().filter(|uid| !listing.contains(*uid)).cloned().collect();
                for uid in gone {
                    self.remove(kind, &uid);
                }
            }
            Heard::Unserved => self.shelves[kind].is_whole = true,
        }
    }

    /// Whether all of these kinds have been listed once.
    pub fn is_whole(&self, kinds: impl IntoIterator<Item = KindId>) -> bool {
        kinds.into_iter().all(|kind| self.shelves[kind].is_whole)
    }

    /// Every kind is about to be listed anew.
    pub fn list(&mut self) {
        for shelf in &mut self.shelves {
            (shelf.listing, shelf.is_whole) = (None, false);
        }
    }

    /// Everything concerns whoever cares for it.
    pub fn mark_all(&mut self) {
        let all = self.shelves.iter().flat_map(|shelf| shelf.objects.values());
        let of = |object: &Arc<Object>| {
            let row = row_of(object.kind).map(|row| (row, object.uid().to_owned()));
            row.into_iter().chain([(GARBAGE, object.uid().to_owned())])
        };
        self.marks.extend(all.flat_map(of));
    }

    /// Shows all of a kind to others anew.
    pub fn show_all(&mut self, (group, kind): (&str, &str)) {
        let all = self.shelves[id(group, kind)].objects.values().cloned();
        self.changes.extend(all.map(|object| (object, true)));
    }

    /// What has become of those that others look at, since the last time; false: gone.
    pub fn take_changes(&mut self) -> Vec<(Arc<Object>, bool)> {
        std::mem::take(&mut self.changes)
    }

    fn show(&mut self, object: &Arc<Object>, is_there: bool) {
        let row = object.row();
        if SHOWN.contains(&(row.group, row.kind)) {
            self.changes.push((object.clone(), is_there));
        }
    }

    /// An owner has been seen: what it controls may be in another shard than was thought.
    fn show_controlled(&mut self, owner: &str, depth: usize) {
        if depth == 0 {
            return;
        }
        for object in self.dependants_of(owner).into_iter().filter(|object| object.is_controlled_by(owner)) {
            self.show(&object, true);
            self.show_controlled(object.uid(), depth - 1);
        }
    }

    /// Whom the events since the last time concern.
    pub fn take_marks(&mut self) -> BTreeSet<Key> {
        std::mem::take(&mut self.marks)
    }

    /// Which objects the events since the last time showed, at which version; none: gone.
    pub fn take_seen(&mut self) -> Vec<(String, Option<u64>)> {
        std::mem::take(&mut self.seen)
    }

    fn put(&mut self, object: &Arc<Object>) {
        let (kind, uid) = (object.kind, object.uid().to_owned());
        let name = (object.namespace().to_owned(), object.name().to_owned());
        let before = self.shelves[kind].objects.insert(uid.clone(), object.clone());
        if let Some(other) = self.shelves[kind].names.insert(name, uid.clone())
            && other != uid
        {
            // A new object of this name: the old one is gone, whether or not the watch has said so.
            self.take_off(kind, &other);
        }
        self.changed(before.as_deref(), Some(object));
        self.show(object, true);
        if before.is_none() {
            self.show_controlled(&uid, CHAIN_MAX);
        }
        self.seen.push((uid, object.version().parse().ok()));
    }

    fn remove(&mut self, kind: KindId, uid: &str) {
        if let Some(object) = self.shelves[kind].objects.get(uid) {
            let name = (object.namespace().to_owned(), object.name().to_owned());
            if self.shelves[kind].names.get(&name).is_some_and(|named| named == uid) {
                self.shelves[kind].names.remove(&name);
            }
        }
        self.take_off(kind, uid);
    }

    fn take_off(&mut self, kind: KindId, uid: &str) {
        if let Some(before) = self.shelves[kind].objects.remove(uid) {
            self.changed(Some(&before), None);
            self.show(&before, false);
        }
        self.seen.push((uid.to_owned(), None));
    }

    fn changed(&mut self, before: Option<&Object>, after: Option<&Object>) {
        let Some(either) = after.or(before) else { return };
        self.mark_for_garbage(before, after);
        self.relate(before, after);
        self.index_selector(before, after);
        self.index_orphan(before, after);
        self.tally(before, after);
        self.follow_lives(before, after);
        self.mark_volumes(before, after);
        if let Some(row) = row_of(either.kind) {
            self.marks.insert((row, either.uid().to_owned()));
        }
        if after.is_none() && self.is_namespace_ending(either.namespace()) {
            self.mark_namespace(either.namespace());
        }
    }

    fn mark_volumes(&mut self, before: Option<&Object>, after: Option<&Object>) {
        for volumes::Concern { kind, namespace, name } in self.volumes.changed(before, after) {
            let found = self.by_name(kind, &namespace, &name);
            let key = found.and_then(|found| Some((row_of(kind)?, found.uid().to_owned())));
            self.marks.extend(key);
        }
    }

    /// The garbage collector is concerned by new owners, by endings, and by what is gone.
    fn mark_for_garbage(&mut self, before: Option<&Object>, after: Option<&Object>) {
        let Some(either) = after.or(before) else { return };
        let ending = |object: Option<&Object>| {
            object
                .map(|object| (object.is_ending(), object.meta.finalizers.clone(), object.owners().to_vec()))
        };
        if ending(before) == ending(after) {
            return;
        }
        self.marks.insert((GARBAGE, either.uid().to_owned()));
        let owners = before.into_iter().chain(after).flat_map(Object::owners);
        let owners: Vec<Key> = owners.map(|owner| (GARBAGE, owner.uid.clone())).collect();
        self.marks.extend(owners);
        if after.is_none_or(Object::is_ending) {
            let dependants = self.dependants.get(either.uid()).into_iter().flatten();
            self.marks.extend(dependants.map(|(_, uid)| (GARBAGE, uid.clone())));
        }
    }

    fn relate(&mut self, before: Option<&Object>, after: Option<&Object>) {
        let named = |object: Option<&Object>| {
            object.map_or_else(Default::default, |object| (object.kind, object.uid().to_owned()))
        };
        for owner in before.into_iter().flat_map(Object::owners) {
            note(&mut self.dependants, owner.uid.clone(), &named(before), false);
        }
        for owner in after.into_iter().flat_map(Object::owners) {
            note(&mut self.dependants, owner.uid.clone(), &named(after), true);
        }
        for object in before.into_iter().chain(after) {
            if let Some(owner) = object.controller()
                && let Some(row) = of_reference(owner).and_then(row_of)
                && watches(row, object.kind)
            {
                self.marks.insert((row, owner.uid.clone()));
            }
        }
    }

    fn index_selector(&mut self, before: Option<&Object>, after: Option<&Object>) {
        let Some(row) = before.or(after).and_then(|object| row_of(object.kind)) else { return };
        let pivots = |object: Option<&Object>| object.map(pivot);
        if pivots(before) == pivots(after) {
            return;
        }
        for (object, is_new) in [(before, false), (after, true)] {
            let Some(object) = object else { continue };
            let key = (row, object.uid().to_owned());
            for &kind in claims(row) {
                let namespace = object.namespace().to_owned();
                match pivot(object) {
                    Some((label, value)) => {
                        note(&mut self.seekers, (kind, namespace, label, value), &key, is_new);
                    }
                    None => note(&mut self.vague, (kind, namespace), &key, is_new),
                }
            }
        }
    }

    fn index_orphan(&mut self, before: Option<&Object>, after: Option<&Object>) {
        let Some(kind) = before.or(after).map(|object| object.kind) else { return };
        if !is_claimed(kind) {
            return;
        }
        for (object, is_new) in [(before, false), (after, true)] {
            let Some(object) = object.filter(|object| object.controller().is_none()) else { continue };
            for (label, value) in object.labels() {
                let place = (kind, object.namespace().to_owned(), label.clone(), value.clone());
                note(&mut self.orphans, place, &object.uid().to_owned(), is_new);
            }
            let seekers: Vec<Key> = self.seekers_of(object).collect();
            self.marks.extend(seekers);
        }
    }

    fn seekers_of(&self, object: &Object) -> impl Iterator<Item = Key> {
        let (kind, namespace) = (object.kind, object.namespace().to_owned());
        let by_label = object.labels().iter().filter_map(|(label, value)| {
            self.seekers.get(&(kind, namespace.clone(), label.clone(), value.clone()))
        });
        let vague = self.vague.get(&(kind, namespace.clone()));
        by_label.chain(vague).flatten().cloned().collect::<Vec<_>>().into_iter()
    }

    fn tally(&mut self, before: Option<&Object>, after: Option<&Object>) {
        let Some(either) = after.or(before) else { return };
        match (either.row().group, either.row().kind) {
            ("", "Node") => self.node_changed(either.name().to_owned(), after),
            ("", "Pod") => {
                for (object, is_new) in [(before, false), (after, true)] {
                    let Some(object) = object else { continue };
                    if let Some(tally) = object.controller().and_then(|o| self.tallies.get_mut(&o.uid)) {
                        tally.pod(object, is_new);
                    }
                }
            }
            ("apps", "DaemonSet") => match after {
                None => drop(self.tallies.remove(either.uid())),
                Some(set) => {
                    let is_new = !self.tallies.contains_key(set.uid());
                    let pods = if is_new { self.children(id("", "Pod"), set.uid()) } else { Vec::new() };
                    let tally = self.tallies.entry(set.uid().to_owned()).or_default();
                    tally.set(set, &self.nodes);
                    for pod in pods {
                        tally.pod(&pod, true);
                    }
                }
            },
            _ => {}
        }
    }

    fn node_changed(&mut self, name: String, after: Option<&Object>) {
        let node: Option<Arc<Node>> =
            after.and_then(|node| serde_json::from_value(node.whole()).ok()).map(Arc::new);
        let Some(row) = row_of(id("apps", "DaemonSet")) else { return };
        for (uid, tally) in &mut self.tallies {
            if tally.node(&name, node.as_deref()) {
                self.marks.insert((row, uid.clone()));
            }
        }
        match node {
            Some(node) => drop(self.nodes.insert(name, node)),
            None => drop(self.nodes.remove(&name)),
        }
    }

    fn is_namespace_ending(&self, namespace: &str) -> bool {
        !namespace.is_empty()
            && self.by_name(id("", "Namespace"), "", namespace).is_some_and(|namespace| namespace.is_ending())
    }

    fn mark_namespace(&mut self, namespace: &str) {
        if let Some(object) = self.by_name(id("", "Namespace"), "", namespace) {
            self.marks.insert((NAMESPACES, object.uid().to_owned()));
        }
    }

    /// An object of a kind by its UID.
    pub fn get(&self, kind: KindId, uid: &str) -> Option<Arc<Object>> {
        self.shelves[kind].objects.get(uid).cloned()
    }

    /// All objects of a kind.
    pub fn all(&self, kind: KindId) -> impl Iterator<Item = &Arc<Object>> {
        self.shelves[kind].objects.values()
    }

    /// An object of any kind by its UID.
    pub fn anywhere(&self, uid: &str) -> Option<Arc<Object>> {
        self.shelves.iter().find_map(|shelf| shelf.objects.get(uid).cloned())
    }

    /// An object by its name; the namespace is empty for cluster-scoped kinds.
    pub fn by_name(&self, kind: KindId, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let uid = self.shelves[kind].names.get(&(namespace.to_owned(), name.to_owned()))?;
        self.get(kind, uid)
    }

    /// Everything of a kind that an owner controls.
    pub fn children(&self, kind: KindId, owner: &str) -> Vec<Arc<Object>> {
        let all = self.dependants_of(owner);
        all.into_iter().filter(|object| object.kind == kind && object.is_controlled_by(owner)).collect()
    }

    /// Everything that names this owner.
    pub fn dependants_of(&self, owner: &str) -> Vec<Arc<Object>> {
        let all = self.dependants.get(owner).into_iter().flatten();
        all.filter_map(|(kind, uid)| self.get(*kind, uid)).collect()
    }

    /// What an object selects of a kind and nobody controls.
    pub fn orphans(&self, kind: KindId, owner: &Object, selector: &Selector) -> Vec<Arc<Object>> {
        let namespace = owner.namespace().to_owned();
        let uids: BTreeSet<&String> = if let Some((label, value)) = pivot(owner) {
            self.orphans.get(&(kind, namespace, label, value)).into_iter().flatten().collect()
        } else {
            let from = (kind, namespace.clone(), String::new(), String::new());
            let here = self.orphans.range(from..);
            let here = here.take_while(|(place, _)| place.0 == kind && place.1 == namespace);
            here.flat_map(|(_, uids)| uids).collect()
        };
        let all = uids.into_iter().filter_map(|uid| self.get(kind, uid));
        all.filter(|object| selector.matches(object.labels())).collect()
    }

    /// The count of a DaemonSet's Pods.
    pub fn tally_of(&mut self, set: &str) -> &mut Tally {
        self.tallies.entry(set.to_owned()).or_default()
    }

    /// Whether a consistent read has found no owner with this UID for what is in this namespace.
    pub fn is_absent(&self, namespace: &str, uid: &str) -> bool {
        self.absent.contains(&(namespace.to_owned(), uid.to_owned()))
    }

    /// A consistent read has found no owner with this UID; it can never come back.
    pub fn note_absent(&mut self, namespace: String, uid: String) {
        if self.absent.len() >= ABSENT_MAX {
            self.absent.clear();
        }
        self.absent.insert((namespace, uid));
    }

    /// Follows an object's chain of controllers to its end.
    pub fn root(&self, object: &Object) -> Root {
        let mut uid = object.uid().to_owned();
        let mut next = object.controller().cloned().or_else(|| identities::owner(self, object));
        for _ in 0..CHAIN_MAX {
            let Some(owner) = next else { break };
            uid.clone_from(&owner.uid);
            let Some(kind) = of_reference(&owner) else { break };
            let Some(found) = self.get(kind, &owner.uid) else {
                return Root { uid, is_known: self.is_absent(object.namespace(), &owner.uid) };
            };
            next = found.controller().cloned();
        }
        Root { uid, is_known: true }
    }
}

/// Puts something into an index, or takes it out.
fn note<P: Ord, T: Ord + Clone>(index: &mut BTreeMap<P, BTreeSet<T>>, place: P, what: &T, is_new: bool) {
    if is_new {
        index.entry(place).or_default().insert(what.clone());
    } else if let Some(all) = index.get_mut(&place) {
        all.remove(what);
        if all.is_empty() {
            index.remove(&place);
        }
    }
}

/// What an object of a controller selects; nothing where it selects nothing or cannot be read.
pub fn selector_of(object: &Object) -> Selector {
    let selector = &object["spec"]["selector"];
    let read = if object.row().kind == "ReplicationController" {
        Selector::from_value(&serde_json::json!({ "matchLabels": selector }))
    } else {
        Selector::from_value(selector)
    };
    read.unwrap_or(Selector::Nothing)
}

/// One label, with its value, that everything an object selects has.
fn pivot(object: &Object) -> Option<(String, String)> {
    let selector = &object["spec"]["selector"];
    let labels =
        if object.row().kind == "ReplicationController" { selector } else { &selector["matchLabels"] };
    let (label, value) = labels.as_object()?.iter().next()?;
    Some((label.clone(), value.as_str()?.to_owned()))
}

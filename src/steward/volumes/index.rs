//! Whom an event about a volume, a claim, a Pod or a class concerns besides itself.

use std::collections::{BTreeMap, BTreeSet};

use super::{claims, volumes};
use crate::steward::object::{KindId, Object};

/// Namespace and name.
type Place = (String, String);

/// A claim or volume that an event concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// Which of the two.
    pub kind: KindId,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    /// UIDs of Pods that have not ended, by the claims that they use.
    users: BTreeMap<Place, BTreeSet<String>>,
    /// Claims that name no volume.
    open: BTreeSet<Place>,
    /// Claims that name a volume, by its name.
    naming: BTreeMap<String, BTreeSet<Place>>,
    /// Volumes that name a claim, by its place.
    kept: BTreeMap<Place, BTreeSet<String>>,
    /// UIDs of volumes that are not bound.
    unbound: BTreeSet<String>,
}

fn place(object: &Object) -> Place {
    (object.namespace().to_owned(), object.name().to_owned())
}

fn note<K: Ord, T: Ord>(index: &mut BTreeMap<K, BTreeSet<T>>, key: K, what: T, is_new: bool) {
    if is_new {
        index.entry(key).or_default().insert(what);
    } else if let Some(all) = index.get_mut(&key) {
        all.remove(&what);
        if all.is_empty() {
            index.remove(&key);
        }
    }
}

impl Index {
    /// UIDs of the Pods that use a claim.
    pub fn users(&self, namespace: &str, name: &str) -> impl Iterator<Item = &String> {
        self.users.get(&(namespace.to_owned(), name.to_owned())).into_iter().flatten()
    }

    /// UIDs of volumes that are not bound.
    pub fn unbound(&self) -> impl Iterator<Item = &String> {
        self.unbound.iter()
    }

    /// Takes a change up; whom it concerns.
    pub fn changed(&mut self, before: Option<&Object>, after: Option<&Object>) -> Vec<Concern> {
        let Some(either) = after.or(before) else { return Vec::new() };
        match (either.row().group, either.row().kind) {
            ("", "Pod") => self.pod(before, after),
            ("", "PersistentVolume") => self.volume(before, after),
            ("", "PersistentVolumeClaim") => self.claim(before, after),
            ("storage.k8s.io", "StorageClass") => self.open.iter().map(of_claim).collect(),
            _ => Vec::new(),
        }
    }

    fn pod(&mut self, before: Option<&Object>, after: Option<&Object>) -> Vec<Concern> {
        let used = |pod: Option<&Object>| pod.map(used).unwrap_or_default();
        let (had, has) = (used(before), used(after));
        let moved =
            before.map(|pod| pod.text("/spec/nodeName")) != after.map(|pod| pod.text("/spec/nodeName"));
        let uid = after.or(before).map(Object::uid).unwrap_or_default();
        let mut concerns = Vec::new();
        for claim in had.union(&has) {
            if had.contains(claim) && has.contains(claim) && !moved {
                continue;
            }
            note(&mut self.users, claim.clone(), uid.to_owned(), has.contains(claim));
            concerns.push(of_claim(claim));
        }
        concerns
    }

    fn volume(&mut self, before: Option<&Object>, after: Option<&Object>) -> Vec<Concern> {
        let mut concerns = Vec::new();
        for (volume, is_new) in [(before, false), (after, true)] {
            let Some(volume) = volume else { continue };
            if let Some(claim) = kept_for(volume) {
                note(&mut self.kept, claim.clone(), volume.name().to_owned(), is_new);
                concerns.push(of_claim(&claim));
            }
            let phase = volume.text("/status/phase");
            if is_new && !matches!(phase, "Bound" | "Released" | "Failed") {
                self.unbound.insert(volume.uid().to_owned());
                if phase == "Available" {
                    concerns.extend(self.open.iter().map(of_claim));
                }
            } else {
                self.unbound.remove(volume.uid());
            }
            concerns.extend(self.naming.get(volume.name()).into_iter().flatten().map(of_claim));
        }
        concerns
    }

    fn claim(&mut self, before: Option<&Object>, after: Option<&Object>) -> Vec<Concern> {
        let mut concerns = Vec::new();
        for (claim, is_new) in [(before, false), (after, true)] {
            let Some(claim) = claim else { continue };
            let (place, named) = (place(claim), claim.text("/spec/volumeName"));
            if named.is_empty() && is_new {
                self.open.insert(place.clone());
            } else {
                self.open.remove(&place);
            }
            if !named.is_empty() {
                note(&mut self.naming, named.to_owned(), place.clone(), is_new);
                concerns.push(of_volume(named));
            }
            concerns.extend(self.kept.get(&place).into_iter().flatten().map(|name| of_volume(name)));
        }
        concerns
    }
}

fn of_claim(place: &Place) -> Concern {
    Concern { kind: claims(), namespace: place.0.clone(), name: place.1.clone() }
}

fn of_volume(name: &str) -> Concern {
    Concern { kind: volumes(), namespace: String::new(), name: name.to_owned() }
}

/// The claim that a volume is kept for.
fn kept_for(volume: &Object) -> Option<Place> {
    let text = |path: &str| volume.text(path).to_owned();
    let place = (text("/spec/claimRef/namespace"), text("/spec/claimRef/name"));
    (!place.1.is_empty()).then_some(place)
}

/// The claims that a Pod uses, until it has ended.
fn used(pod: &Object) -> BTreeSet<Place> {
    if matches!(pod.text("/status/phase"), "Succeeded" | "Failed") {
        return BTreeSet::new();
    }
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let claim = |volume: &serde_json::Value| {
        if volume["ephemeral"].is_object() {
            return Some(format!("{}-{}", pod.name(), volume["name"].as_str()?));
        }
        volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned)
    };
    volumes.filter_map(claim).map(|name| (pod.namespace().to_owned(), name)).collect()
}

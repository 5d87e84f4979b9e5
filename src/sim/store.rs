//! A coordinator's objects, by the rules of the API: compare-and-swap, exclusive creation, one growing version.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;

use super::workloads;
use crate::lease::{identity, shard};

/// Which collection an object is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Session,
    Shard,
    Identity,
    /// All Pods; no Lease.
    Pod,
    /// Those Pods that concern the node that asks; no Lease.
    Hosted,
}

/// Names an object.
pub(super) type Key = (Kind, String);

/// What the coordinator says to a request.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Found(Rc<Lease>),
    Absent,
    Written(Rc<Lease>),
    Conflict,
}

/// What a store holds; cheap to copy.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    objects: BTreeMap<Key, Rc<Lease>>,
    pods: BTreeMap<String, Arc<Pod>>,
    /// Nodes that have an object.
    registered: BTreeSet<String>,
    version: u64,
    /// Never goes back, not even when a backup is restored.
    uids: u64,
}

impl Store {
    /// That of a new cluster: the Leases of shards and identities are there, and nobody ever held them.
    pub(super) fn new(shards: u32, identities: u32) -> Self {
        let mut store = Self::default();
        for shard in 0..shards {
            store.create((Kind::Shard, shard::wire::name(shard)), shard::wire::inert(shard));
        }
        for number in 0..identities {
            let name = workloads::identity_name(&workloads::pod_name(number));
            store.create((Kind::Identity, name.clone()), identity::wire::inert(&name));
        }
        store
    }

    pub(super) fn next_uid(&mut self) -> u64 {
        self.uids += 1;
        self.uids
    }

    pub(super) fn pod(&self, name: &str) -> Option<&Arc<Pod>> {
        self.pods.get(name)
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    pub(super) fn put_pod(&mut self, mut pod: Pod) -> Arc<Pod> {
        self.version += 1;
        pod.metadata.resource_version = Some(self.version.to_string());
        let pod = Arc::new(pod);
        self.pods.insert(pod.metadata.name.clone().unwrap_or_default(), Arc::clone(&pod));
        pod
    }

    pub(super) fn drop_pod(&mut self, name: &str) {
        self.version += 1;
        self.pods.remove(name);
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Rc<Lease>> {
        self.objects.get(key)
    }

    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Rc<Lease>> {
        self.objects
            .range((kind, String::new())..)
            .take_while(move |(key, _)| key.0 == kind)
            .map(|(_, lease)| lease)
    }

    /// Makes the Node, unless it is there: whether it was made.
    pub(super) fn register(&mut self, node: &str) -> bool {
        self.registered.insert(node.to_owned())
    }

    pub(super) fn read(&self, key: &Key) -> Said {
        self.get(key).map_or(Said::Absent, |lease| Said::Found(Rc::clone(lease)))
    }

    pub(super) fn create(&mut self, key: Key, mut lease: Lease) -> Said {
        if self.objects.contains_key(&key) {
            return Said::Conflict;
        }
        lease.metadata.uid = Some(format!("uid-{}", self.next_uid()));
        Said::Written(self.put(key, lease))
    }

    pub(super) fn update(&mut self, key: Key, lease: Lease) -> Said {
        let Some(current) = self.objects.get(&key) else { return Said::Absent };
        let (now, then) = (&current.metadata, &lease.metadata);
        if now.resource_version != then.resource_version || now.uid != then.uid {
            return Said::Conflict;
        }
        if **current == lease {
            return Said::Written(Rc::clone(current));
        }
        Said::Written(self.put(key, lease))
    }

    /// Somebody else writes to the object; None where there is none.
    pub(super) fn touch(&mut self, key: &Key) -> Option<Rc<Lease>> {
        let mut lease = (**self.objects.get(key)?).clone();
        let labels = lease.metadata.labels.get_or_insert_default();
        labels.insert("touched".to_owned(), self.version.to_string());
        Some(self.put(key.clone(), lease))
    }

    pub(super) fn lose(&mut self, key: &Key) -> bool {
        self.version += 1;
        self.objects.remove(key).is_some()
    }

    /// Takes the place of `self`, whose versions are forgotten.
    pub(super) fn restore(&mut self, backup: Self) {
        let uids = self.uids;
        *self = Self { uids, ..backup };
    }

    fn put(&mut self, key: Key, mut lease: Lease) -> Rc<Lease> {
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        let lease = Rc::new(lease);
        self.objects.insert(key, Rc::clone(&lease));
        lease
    }
}

//! The ConfigMaps, Secrets and service accounts that this node's Pods use: each watched as long as some Pod uses it, and kept on disk
//! (Secrets sealed) for when the coordinator is away.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::runtime::watcher::{Config, Event};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::disk::{Disk, DiskError, Durability};
use super::hosted::Uid;
use super::node::Input;
use crate::driver::sealed::Sealer;
use crate::driver::watches;

/// How long an object that has never been seen is waited for before the disk's word counts.
const PATIENCE: Duration = Duration::from_secs(2);

/// What an object in use is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SourceKind {
    ConfigMap,
    Secret,
    ServiceAccount,
}

/// Names one object in use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceRef {
    pub(super) kind: SourceKind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl SourceRef {
    fn file(&self) -> PathBuf {
        let kind = match self.kind {
            SourceKind::ConfigMap => "configmaps",
            SourceKind::Secret => "secrets",
            SourceKind::ServiceAccount => "serviceaccounts",
        };
        Path::new("cache").join(kind).join(format!("{}_{}", self.namespace, self.name))
    }
}

/// What is known of an object.
#[derive(Clone, Debug)]
pub(super) enum Known {
    /// Not heard yet.
    Unknown,
    /// It does not exist.
    Absent,
    /// A ConfigMap.
    ConfigMap(Arc<ConfigMap>),
    /// A Secret.
    Secret(Arc<Secret>),
    /// A ServiceAccount.
    ServiceAccount(Arc<ServiceAccount>),
}

struct Entry {
    users: BTreeSet<Uid>,
    known: watch::Receiver<Known>,
    /// The coordinator may answer now what it refused before.
    allowed: Arc<Notify>,
    task: JoinHandle<()>,
}

/// What the task that follows an object has.
struct Followed {
    source: SourceRef,
    known: watch::Sender<Known>,
    allowed: Arc<Notify>,
}

/// The objects in use. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sources {
    client: Client,
    disk: Disk,
    sealer: Arc<Sealer>,
    inputs: mpsc::Sender<Input>,
    entries: Arc<Mutex<BTreeMap<SourceRef, Entry>>>,
}

impl Sources {
    pub(super) fn new(client: Client, disk: Disk, sealer: Sealer, inputs: mpsc::Sender<Input>) -> Self {
        Self { client, disk, sealer: Arc::new(sealer), inputs, entries: Arc::default() }
    }

    /// What is known of the objects that a Pod uses, watching them from now on for it. Waits for those never seen, and
    /// falls back on the disk.
    pub(super) async fn gather(&self, uid: &str, wanted: BTreeSet<SourceRef>) -> BTreeMap<SourceRef, Known> {
        let mut found = BTreeMap::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for source in wanted {
            let mut known = self.enter(uid, &source);
            let heard = known.wait_for(|known| !matches!(known, Known::Unknown));
            let answer = match tokio::time::timeout_at(deadline, heard).await {
                Ok(Ok(known)) => known.clone(),
                Ok(Err(_)) | Err(_) => self.recall(&source),
            };
            found.insert(source, answer);
        }
        found
    }

    /// The coordinator has heard of a Pod that this node made: what the Pod uses, which was none of the node's business
    /// before, is asked for again at once.
    pub(super) fn mirrored(&self, uid: &str) {
        for entry in self.entries().values() {
            if entry.users.contains(uid) && matches!(*entry.known.borrow(), Known::Unknown) {
                entry.allowed.notify_one();
            }
        }
    }

    /// The Pod uses nothing any more.
    pub(super) fn release(&self, uid: &str) {
        let mut entries = self.entries();
        entries.retain(|source, entry| {
            entry.users.remove(uid);
            let unused = entry.users.is_empty();
            if unused {
                entry.task.abort();
                if let Err(error) = self.disk.remove(&source.file()) {
                    tracing::error!(%error, "a cached object could not be removed");
                }
            }
            !unused
        });
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<SourceRef, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, uid: &str, source: &SourceRef) -> watch::Receiver<Known> {
        let mut entries = self.entries();
        let entry = entries.entry(source.clone()).or_insert_with(|| {
            let (sender, known) = watch::channel(Known::Unknown);
            let (own, allowed) = (self.clone(), Arc::new(Notify::new()));
            let of = Followed { source: source.clone(), known: sender, allowed: allowed.clone() };
            let task = match source.kind {
                SourceKind::ConfigMap => tokio::spawn(own.follow::<ConfigMap>(of, Known::ConfigMap)),
                SourceKind::Secret => tokio::spawn(own.follow::<Secret>(of, Known::Secret)),
                SourceKind::ServiceAccount => {
                    tokio::spawn(own.follow::<ServiceAccount>(of, Known::ServiceAccount))
                }
            };
            Entry { users: BTreeSet::new(), known, allowed, task }
        });
        entry.users.insert(uid.to_owned());
        entry.known.clone()
    }

    async fn follow<K>(self, followed: Followed, wrap: fn(Arc<K>) -> Known)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + Debug
            + Send
            + Sync
            + 'static,
    {
        let Followed { source, known, allowed } = followed;
        let api: Api<K> = Api::namespaced(self.client.clone(), &source.namespace);
        let config = Config::default().fields(&format!("metadata.name={}", source.name));
        let begin = || Box::pin(watches::stream(api.clone(), config.clone()));
        let (mut stream, mut listed) = (begin(), false);
        loop {
            let event = tokio::select! {
                event = stream.next() => event,
                () = allowed.notified() => {
                    if matches!(*known.borrow(), Known::Unknown) {
                        stream = begin();
                    }
                    continue;
                }
            };
            match event {
                Some(Ok(Event::Init)) => listed = false,
                Some(Ok(Event::InitApply(object) | Event::Apply(object))) => {
                    listed = true;
                    self.keep(&source, &object);
                    self.tell(&source, &known, wrap(Arc::new(object))).await;
                }
                Some(Ok(Event::InitDone)) if listed => {}
                Some(Ok(Event::InitDone | Event::Delete(_))) => {
                    self.tell(&source, &known, Known::Absent).await;
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, name = source.name, "an object in use cannot be watched");
                }
                None => return,
            }
        }
    }

    async fn tell(&self, source: &SourceRef, known: &watch::Sender<Known>, now: Known) {
        let before = known.send_replace(now);
        if matches!(before, Known::Unknown) {
            return;
        }
        let users = self.entries().get(source).map(|entry| entry.users.iter().cloned().collect());
        let _ = self.inputs.send(Input::SourcesChanged(users.unwrap_or_default())).await;
    }

    fn keep<K: Serialize>(&self, source: &SourceRef, object: &K) {
        if let Err(error) = self.put(source, object) {
            tracing::error!(%error, name = source.name, "an object in use could not be kept on disk");
        }
    }

    fn put<K: Serialize>(&self, source: &SourceRef, object: &K) -> anyhow::Result<()> {
        let file = source.file();
        if source.kind != SourceKind::Secret {
            return Ok(self.disk.put(&file, object, Durability::Power)?);
        }
        let sealed = self.sealer.seal(&file.to_string_lossy(), &serde_json::to_vec(object)?)?;
        Ok(self.disk.put_bytes(&file, &sealed, Durability::Power)?)
    }

    fn recall(&self, source: &SourceRef) -> Known {
        let file = source.file();
        let read = || -> anyhow::Result<Option<Known>> {
            match source.kind {
                SourceKind::ConfigMap => return self.plain(&file, Known::ConfigMap),
                SourceKind::ServiceAccount => return self.plain(&file, Known::ServiceAccount),
                SourceKind::Secret => {}
            }
            let Some(sealed) = self.disk.read_bytes(&file)? else { return Ok(None) };
            let opened = self.sealer.open(&file.to_string_lossy(), &sealed)?;
            Ok(Some(Known::Secret(Arc::new(serde_json::from_slice(&opened)?))))
        };
        read().map_or_else(
            |error| {
                tracing::error!(%error, name = source.name, "an object on disk cannot be read");
                Known::Unknown
            },
            |known| known.unwrap_or(Known::Unknown),
        )
    }

    fn plain<K: DeserializeOwned>(
        &self,
        file: &Path,
        wrap: fn(Arc<K>) -> Known,
    ) -> anyhow::Result<Option<Known>> {
        let found: Result<Option<K>, DiskError> = self.disk.read(file);
        Ok(found?.map(|object| wrap(Arc::new(object))))
    }
}

//! Keeps the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` in the namespaces of the own shards: a loop fed
//! by the steward's view, and by a watch of these ConfigMaps, whose content the view does not have.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::Config as WatchConfig;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde_json::json;
use tokio::sync::mpsc;

use super::duty::Duty;
use super::feed::Told;
use super::{AGAIN, INPUTS_MAX, sleep_until};
use crate::driver::clock;
use crate::driver::watches::{Seen, watch};
use crate::steward::belongings::{self, ACCOUNT, Due, ROOT_CA, ROOT_CA_KEY};
use crate::time::Instant;

/// Starts the loop; the way to tell it what is seen. `authority` is the certificate of the cluster's authority, PEM.
pub(super) fn start(client: Client, authority: String, duty: Duty) -> mpsc::Sender<Told> {
    let (told, news) = mpsc::channel(INPUTS_MAX);
    let keeper = Keeper {
        client,
        authority,
        duty,
        namespaces: BTreeMap::new(),
        accounts: BTreeSet::new(),
        roots: Known::default(),
        is_whole: false,
    };
    tokio::spawn(keeper.run(news));
    told
}

/// Something about each namespace, and whether it has been listed once.
#[derive(Debug)]
struct Known<T> {
    by_namespace: BTreeMap<String, T>,
    listing: Option<BTreeMap<String, T>>,
    whole: bool,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { by_namespace: BTreeMap::new(), listing: None, whole: false }
    }
}

impl<T> Known<T> {
    /// `of` says for which namespace an object speaks, and what it says; none for nothing.
    fn hear<K: Resource>(&mut self, seen: Seen<K>, of: impl Fn(&K) -> (String, Option<T>)) {
        match seen {
            Seen::Restarted => self.listing = Some(BTreeMap::new()),
            Seen::Listed(object) => {
                let (namespace, said) = of(&object);
                if let (Some(listing), Some(said)) = (&mut self.listing, said) {
                    listing.insert(namespace, said);
                }
            }
            Seen::Complete => {
                self.by_namespace = self.listing.take().unwrap_or_default();
                self.whole = true;
            }
            Seen::Applied(object) => match of(&object) {
                (namespace, Some(said)) => drop(self.by_namespace.insert(namespace, said)),
                (namespace, None) => drop(self.by_namespace.remove(&namespace)),
            },
            Seen::Deleted(object) => drop(self.by_namespace.remove(&of(&object).0)),
            Seen::Lost(why) => tracing::debug!(why, "the steward cannot watch the coordinator"),
        }
    }
}

struct Keeper {
    client: Client,
    authority: String,
    duty: Duty,
    /// UIDs of those that are not about to go.
    namespaces: BTreeMap<String, String>,
    accounts: BTreeSet<String>,
    roots: Known<String>,
    is_whole: bool,
}

impl Keeper {
    async fn run(mut self, mut news: mpsc::Receiver<Told>) {
        let mut again: Option<Instant> = None;
        // Another shard may have been won.
        let mut held = self.duty.held();
        let mut is_held = true;
        let mut maps: Option<mpsc::Receiver<Seen<ConfigMap>>> = None;
        loop {
            tokio::select! {
                told = news.recv() => match told {
                    Some(told) => self.hear(told),
                    None => return,
                },
                Some(seen) = next(maps.as_mut()) => self.hear_map(seen),
                changed = held.changed(), if is_held => is_held = changed.is_ok(),
                () = sleep_until(again) => {}
            }
            while let Ok(told) = news.try_recv() {
                self.hear(told);
            }
            match (&mut maps, self.is_whole) {
                (None, true) => maps = Some(self.watch()),
                (Some(seen), true) => {
                    while let Ok(seen) = seen.try_recv() {
                        self.hear_map(seen);
                    }
                }
                // The watch ends with its receiver.
                (_, false) => (maps, self.roots) = (None, Known::default()),
            }
            if self.is_whole && self.roots.whole {
                again = self.turn().await;
            }
        }
    }

    fn watch(&self) -> mpsc::Receiver<Seen<ConfigMap>> {
        let (seen, maps) = mpsc::channel(INPUTS_MAX);
        let named = WatchConfig::default().fields(&format!("metadata.name={ROOT_CA}"));
        tokio::spawn(watch(Api::all(self.client.clone()), named, seen, std::convert::identity));
        maps
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Rest => {
                self.namespaces.clear();
                self.accounts.clear();
                self.is_whole = false;
            }
            Told::Whole => self.is_whole = true,
            Told::Namespace(namespace) if namespace.metadata.deletion_timestamp.is_none() => {
                self.namespaces.insert(namespace.name_any(), namespace.uid().unwrap_or_default());
            }
            Told::Namespace(namespace) => drop(self.namespaces.remove(&namespace.name_any())),
            Told::NamespaceGone(name) => drop(self.namespaces.remove(&name)),
            Told::Account(namespace, name, true) if name == ACCOUNT => drop(self.accounts.insert(namespace)),
            Told::Account(namespace, name, false) if name == ACCOUNT => {
                self.accounts.remove(&namespace);
            }
            Told::Pod(_)
            | Told::PodGone(_)
            | Told::Node(_)
            | Told::NodeGone(_)
            | Told::Claim(_)
            | Told::ClaimGone(..)
            | Told::Volume(_)
            | Told::VolumeGone(_)
            | Told::Class(_)
            | Told::ClassGone(_)
            | Told::Account(..) => {}
        }
    }

    fn hear_map(&mut self, seen: Seen<ConfigMap>) {
        self.roots.hear(seen, |map| {
            let text = map.data.as_ref().and_then(|data| data.get(ROOT_CA_KEY)).cloned();
            (map.namespace().unwrap_or_default(), Some(text.unwrap_or_default()))
        });
    }

    /// Writes what is due. When to look again, where a write failed: what was written is heard of by the watch.
    async fn turn(&mut self) -> Option<Instant> {
        let ours = self.namespaces.iter().filter(|(_, uid)| self.duty.may_write(uid));
        let seen = belongings::Seen {
            namespaces: ours.map(|(name, _)| name.clone()).collect(),
            accounts: self.accounts.clone(),
            roots: self.roots.by_namespace.clone(),
        };
        let mut again = None;
        for (namespace, due) in belongings::due(&seen, &self.authority) {
            let root = self.namespaces.get(namespace).map(String::as_str).unwrap_or_default();
            match self.duty.write(root, self.write(namespace, due)).await {
                Ok(Ok(())) => self.note(namespace, due),
                // Made already, or the namespace is about to go: the watch tells.
                Ok(Err(kube::Error::Api(refused))) if matches!(refused.code, 403 | 404 | 409) => {
                    again = Some(clock::now() + AGAIN);
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, namespace, "what a namespace has cannot be written");
                    again = Some(clock::now() + AGAIN);
                }
                Err(_) => again = Some(clock::now() + AGAIN),
            }
        }
        again
    }

    /// Takes a write for seen, so that it is not made twice before the watch tells of it.
    fn note(&mut self, namespace: &str, due: Due) {
        match due {
            Due::MakeAccount => drop(self.accounts.insert(namespace.to_owned())),
            Due::MakeRoot | Due::CorrectRoot => {
                self.roots.by_namespace.insert(namespace.to_owned(), self.authority.clone());
            }
        }
    }

    async fn write(&self, namespace: &str, due: Due) -> kube::Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let data = BTreeMap::from([(ROOT_CA_KEY.to_owned(), self.authority.clone())]);
        match due {
            Due::MakeAccount => {
                let mut account = ServiceAccount::default();
                account.metadata.name = Some(ACCOUNT.into());
                accounts.create(&PostParams::default(), &account).await.map(drop)
            }
            Due::MakeRoot => {
                let mut map = ConfigMap { data: Some(data), ..ConfigMap::default() };
                map.metadata.name = Some(ROOT_CA.into());
                maps.create(&PostParams::default(), &map).await.map(drop)
            }
            Due::CorrectRoot => {
                let patch = Patch::Merge(json!({ "data": data }));
                maps.patch(ROOT_CA, &PatchParams::default(), &patch).await.map(drop)
            }
        }
    }
}

/// The next of what a watch says; never while there is none.
async fn next<T>(seen: Option<&mut mpsc::Receiver<T>>) -> Option<T> {
    match seen {
        Some(seen) => seen.recv().await,
        None => std::future::pending().await,
    }
}

//! Keeps the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` in every namespace: a loop of its own, that
//! watches these objects alone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::watcher::Config as WatchConfig;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde_json::json;
use tokio::sync::mpsc;

use super::{AGAIN, INPUTS_MAX, sleep_until};
use crate::driver::clock;
use crate::driver::watches::{Seen, watch};
use crate::steward::belongings::{self, ACCOUNT, Due, ROOT_CA, ROOT_CA_KEY};
use crate::time::Instant;

/// What the loop hears.
#[derive(Debug)]
enum Input {
    Namespaces(Seen<Namespace>),
    Accounts(Seen<ServiceAccount>),
    Roots(Seen<ConfigMap>),
}

/// Starts the loop; `authority` is the certificate of the cluster's authority, PEM.
pub(super) fn start(client: Client, authority: String) {
    let (inputs, heard) = mpsc::channel(INPUTS_MAX);
    let named = |name: &str| WatchConfig::default().fields(&format!("metadata.name={name}"));
    tokio::spawn(watch(Api::all(client.clone()), WatchConfig::default(), inputs.clone(), Input::Namespaces));
    tokio::spawn(watch(Api::all(client.clone()), named(ACCOUNT), inputs.clone(), Input::Accounts));
    tokio::spawn(watch(Api::all(client.clone()), named(ROOT_CA), inputs, Input::Roots));
    let keeper = Keeper {
        client,
        authority,
        namespaces: Known::default(),
        accounts: Known::default(),
        roots: Known::default(),
    };
    tokio::spawn(keeper.run(heard));
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
    namespaces: Known<()>,
    accounts: Known<()>,
    roots: Known<String>,
}

impl Keeper {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let mut again: Option<Instant> = None;
        loop {
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.hear(input),
                    None => return,
                },
                () = sleep_until(again) => {}
            }
            while let Ok(input) = inputs.try_recv() {
                self.hear(input);
            }
            if self.namespaces.whole && self.accounts.whole && self.roots.whole {
                again = self.turn().await;
            }
        }
    }

    fn hear(&mut self, input: Input) {
        let home = |namespace: Option<String>| namespace.unwrap_or_default();
        match input {
            Input::Namespaces(seen) => self.namespaces.hear(seen, |namespace| {
                let stays = namespace.metadata.deletion_timestamp.is_none();
                (namespace.name_any(), stays.then_some(()))
            }),
            Input::Accounts(seen) => {
                self.accounts.hear(seen, |account| (home(account.namespace()), Some(())));
            }
            Input::Roots(seen) => self.roots.hear(seen, |map| {
                let text = map.data.as_ref().and_then(|data| data.get(ROOT_CA_KEY)).cloned();
                (home(map.namespace()), Some(text.unwrap_or_default()))
            }),
        }
    }

    /// Writes what is due. When to look again, where a write failed: what was written is heard of by the watch.
    async fn turn(&mut self) -> Option<Instant> {
        let seen = belongings::Seen {
            namespaces: self.namespaces.by_namespace.keys().cloned().collect(),
            accounts: self.accounts.by_namespace.keys().cloned().collect(),
            roots: self.roots.by_namespace.clone(),
        };
        let mut again = None;
        for (namespace, due) in belongings::due(&seen, &self.authority) {
            match self.write(namespace, due).await {
                Ok(()) => self.note(namespace, due),
                // Made already, or the namespace is about to go: the watch tells.
                Err(kube::Error::Api(refused)) if matches!(refused.code, 403 | 404 | 409) => {
                    again = Some(clock::now() + AGAIN);
                }
                Err(error) => {
                    tracing::warn!(%error, namespace, "what a namespace has cannot be written");
                    again = Some(clock::now() + AGAIN);
                }
            }
        }
        again
    }

    /// Takes a write for seen, so that it is not made twice before the watch tells of it.
    fn note(&mut self, namespace: &str, due: Due) {
        match due {
            Due::MakeAccount => drop(self.accounts.by_namespace.insert(namespace.to_owned(), ())),
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

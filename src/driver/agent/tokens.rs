//! The tokens of this node's Pods: asked of the coordinator, bound to the Pod's object, renewed in time. They are kept
//! in memory and in the Pods' own volumes, which are memory too, and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::hosted::Uid;
use super::node::Input;
use crate::agent::sources::TokenWanted;
use crate::agent::tokens;
use crate::driver::clock;
use crate::driver::entropy;

/// How long the first token is waited for, once.
const PATIENCE: Duration = Duration::from_secs(2);
/// First and longest pause after a request that came to nothing.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// A token, or why there is none.
pub(super) type Known = Result<String, String>;

/// What a token is for.
struct Purpose {
    uid: Uid,
    pod: Arc<Pod>,
    wanted: TokenWanted,
}

struct Entry {
    known: watch::Receiver<Option<Known>>,
    task: JoinHandle<()>,
    /// It has been waited for.
    waited: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One Pod's tokens.
struct OfPod {
    /// UID of its object at the coordinator, once there is one.
    object: watch::Sender<Option<String>>,
    entries: BTreeMap<TokenWanted, Entry>,
}

/// The tokens in use. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tokens {
    client: Client,
    inputs: mpsc::Sender<Input>,
    pods: Arc<Mutex<BTreeMap<Uid, OfPod>>>,
}

impl Tokens {
    pub(super) fn new(client: Client, inputs: mpsc::Sender<Input>) -> Self {
        Self { client, inputs, pods: Arc::default() }
    }

    /// The Pod has this object at the coordinator.
    pub(super) fn bind(&self, uid: &str, object: &str) {
        let mut pods = self.pods();
        let pod = pods.entry(uid.to_owned()).or_insert_with(OfPod::new);
        pod.object.send_if_modified(|known| {
            let is_new = known.as_deref() != Some(object);
            *known = Some(object.to_owned());
            is_new
        });
    }

    /// What is known of the tokens that a Pod wants, renewing them from now on. Waits for those never asked for before,
    /// unless `kept` holds them.
    pub(super) async fn gather(
        &self,
        pod: &Arc<Pod>,
        wanted: BTreeSet<TokenWanted>,
        kept: &BTreeMap<TokenWanted, String>,
    ) -> BTreeMap<TokenWanted, Known> {
        let mut found = BTreeMap::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        for wanted in wanted {
            let kept = kept.get(&wanted);
            let (mut known, waited) = self.enter(pod, &wanted);
            if kept.is_none() && !waited {
                let heard = known.wait_for(|known| matches!(known, Some(Ok(_))));
                let _ = tokio::time::timeout_at(deadline, heard).await;
            }
            let answer = known.borrow().clone();
            let answer = match (answer, kept) {
                (Some(Ok(token)), _) => Ok(token),
                (_, Some(kept)) => Ok(kept.clone()),
                (Some(Err(why)), None) => Err(why),
                (None, None) => Err("waiting for the coordinator".into()),
            };
            found.insert(wanted, answer);
        }
        found
    }

    /// The Pod is gone from this node.
    pub(super) fn release(&self, uid: &str) {
        self.pods().remove(uid);
    }

    fn pods(&self) -> MutexGuard<'_, BTreeMap<Uid, OfPod>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, pod: &Arc<Pod>, wanted: &TokenWanted) -> (watch::Receiver<Option<Known>>, bool) {
        let uid = super::perform::uid(pod);
        let mut pods = self.pods();
        let of_pod = pods.entry(uid.to_owned()).or_insert_with(OfPod::new);
        let object = of_pod.object.subscribe();
        let entry = of_pod.entries.entry(wanted.clone()).or_insert_with(|| {
            let (sender, known) = watch::channel(None);
            let purpose = Purpose { uid: uid.to_owned(), pod: pod.clone(), wanted: wanted.clone() };
            let task =
                tokio::spawn(follow(self.client.clone(), self.inputs.clone(), purpose, object, sender));
            Entry { known, task, waited: false }
        });
        (entry.known.clone(), std::mem::replace(&mut entry.waited, true))
    }
}

impl OfPod {
    fn new() -> Self {
        Self { object: watch::Sender::new(None), entries: BTreeMap::new() }
    }
}

/// Asks for a token, and again in time, for as long as the Pod is here.
async fn follow(
    client: Client,
    inputs: mpsc::Sender<Input>,
    purpose: Purpose,
    mut object: watch::Receiver<Option<String>>,
    known: watch::Sender<Option<Known>>,
) {
    let mut failures = 0;
    loop {
        let Ok(uid) = object.wait_for(Option::is_some).await.map(|uid| uid.clone()) else { return };
        object.mark_unchanged();
        let uid = uid.unwrap_or_default();
        let asked = clock::now();
        let pause = match ask(&client, &purpose, &uid).await {
            Ok((token, life)) => {
                failures = 0;
                known.send_replace(Some(Ok(token)));
                let users = Input::SourcesChanged(vec![purpose.uid.clone()]);
                if inputs.send(users).await.is_err() {
                    return;
                }
                let renew = asked + tokens::renew_after(life, entropy::fraction());
                renew.saturating_since(clock::now())
            }
            Err(why) => {
                tracing::debug!(why, pod = purpose.pod.metadata.name, "a Pod's token cannot be had");
                // A token that is there is used to its end.
                known.send_if_modified(|known| {
                    let is_none = !matches!(known, Some(Ok(_)));
                    if is_none {
                        *known = Some(Err(why));
                    }
                    is_none
                });
                let pause = RETRY_MIN.saturating_mul(1 << failures).min(RETRY_MAX);
                failures = (failures + 1).min(16);
                pause
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = object.changed() => if changed.is_err() { return },
        }
    }
}

async fn ask(client: &Client, purpose: &Purpose, object: &str) -> Result<(String, Duration), String> {
    let accounts: Api<ServiceAccount> =
        Api::namespaced(client.clone(), super::perform::namespace(&purpose.pod));
    let request = tokens::request(&purpose.pod, object, &purpose.wanted);
    let account = tokens::account(&purpose.pod);
    let granted: TokenRequest = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .map_err(|error| error.to_string())?;
    let seconds = granted.spec.and_then(|spec| spec.expiration_seconds);
    let seconds = seconds.unwrap_or(purpose.wanted.expiration_seconds);
    let token = granted.status.and_then(|status| status.token).filter(|token| !token.is_empty());
    let token = token.ok_or("the coordinator answered without a token")?;
    Ok((token, Duration::from_secs(u64::try_from(seconds).unwrap_or(0))))
}

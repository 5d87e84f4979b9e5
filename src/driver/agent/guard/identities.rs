//! The keeper's part about identities: performs what their machine wants, and tells the Pods how they stand.

use std::collections::BTreeSet;
use std::path::Path;

use k8s_openapi::api::coordination::v1::Lease;
use serde::{Deserialize, Serialize};

use super::leases::{self, Asked};
use super::{Keeper, Order};
use crate::agent::identity;
use crate::agent::pod::{self, Hold};
use crate::driver::agent::disk::{Disk, Durability};
use crate::driver::agent::node;
use crate::driver::clock;
use crate::driver::watches::Seen;
use crate::lease::fence::holder;
use crate::lease::identity::holdings::{Effect, Input};
use crate::lease::session::{Answer, SessionId};
use crate::lease::wire;
use crate::time::Instant;

/// Where the sessions that this machine has had are kept.
const PAST_FILE: &str = "sessions.json";

/// What the disk remembers of them. Another machine's are none of this one's.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Past {
    machine_id: String,
    sessions: BTreeSet<String>,
}

/// The sessions that this machine has had, as far as it knows.
pub(super) fn recall(disk: &Disk, machine_id: &str) -> BTreeSet<SessionId> {
    let past: Past = disk.read(Path::new(PAST_FILE)).ok().flatten().unwrap_or_default();
    if past.machine_id != machine_id {
        return BTreeSet::new();
    }
    past.sessions.iter().filter_map(|session| session.parse().ok()).collect()
}

/// How a Pod stands, as it was last told: its epoch, or why it waits.
pub(super) type Standing = Result<i32, Hold>;

impl Keeper {
    pub(super) fn hear_identity(&mut self, input: Input) {
        let now = clock::now();
        let held = self.held.clone();
        let held = held.as_ref().filter(|(_, deadline)| now < *deadline).map(|(id, at)| (id, *at));
        self.holdings.handle(input, held, now, clock::wall());
    }

    pub(super) fn hear_seen(&mut self, seen: Seen<Lease>) {
        match seen {
            Seen::Restarted => {
                self.list = Some(BTreeSet::new());
                self.list_count += 1;
                self.hear_identity(Input::Unsure);
            }
            Seen::Listed(lease) | Seen::Applied(lease) => {
                self.means.cluster.saw(lease.metadata.resource_version.as_deref());
                if let Some(list) = &mut self.list {
                    list.extend(lease.metadata.name.clone());
                }
                self.hear_identity(Input::Seen(lease));
            }
            Seen::Deleted(lease) => self.hear_identity(Input::Left(lease.metadata.name.unwrap_or_default())),
            Seen::Complete => {
                let listed = self.list.take().unwrap_or_default();
                for name in self.holdings.held_names().difference(&listed) {
                    self.hear_identity(Input::Left(name.clone()));
                }
                self.ask_for_the_store();
            }
            // It goes on where it was, and nothing says when.
            Seen::Lost(why) => {
                tracing::debug!(why, "identities cannot be watched");
                if self.holdings.is_sure() {
                    self.list_count += 1;
                    self.hear_identity(Input::Unsure);
                    self.ask_for_the_store();
                }
            }
        }
    }

    /// Asks, until it is answered, whether the store is the one it was.
    fn ask_for_the_store(&self) {
        let (means, orders, count) = (self.means.clone(), self.orders.clone(), self.list_count);
        tokio::spawn(async move {
            means.cluster.is_the_same(&means.client).await;
            let _ = orders.send(Order::Sure(count));
        });
    }

    /// The store was asked whether it is the one it was; that it is not was told before.
    pub(super) fn sure(&mut self, list_count: u64) {
        self.look_for_regression();
        if list_count == self.list_count && self.list.is_none() {
            self.hear_identity(Input::Sure);
        }
    }

    pub(super) fn look_for_regression(&mut self) {
        if self.regressions.has_changed().unwrap_or(false) {
            self.regressions.mark_unchanged();
            tracing::warn!("the coordinator has an older or another state; no identity is taken for a while");
            self.hear_identity(Input::Regressed);
        }
    }

    /// What was written says also whether the store is the one it was, which is heard first.
    pub(super) fn wrote(&mut self, input: Input, floor: u64) {
        if let Input::Answer { answer: Answer::Written(lease), .. } = &input {
            self.means.cluster.wrote(wire::revision(lease), floor);
            self.look_for_regression();
        }
        self.hear_identity(input);
    }

    pub(super) fn act_on_identities(&mut self) -> bool {
        let mut acted = false;
        while let Some(effect) = self.holdings.next_effect() {
            acted = true;
            match effect {
                Effect::Remember(sessions) => self.remember(&sessions),
                Effect::Read(uid, number, name) => self.ask(uid, number, Asked::Read(name)),
                Effect::Create(uid, number, lease) => self.ask(uid, number, Asked::Create(lease)),
                Effect::Update(uid, number, lease) => self.ask(uid, number, Asked::Update(lease)),
                Effect::Free(lease) => self.free(lease),
                Effect::Look(name) => self.look(name),
                Effect::Granted { uid, epoch } => {
                    tracing::info!(uid, epoch, "the Pod's identity is held");
                    self.rewrite_epoch(&uid, epoch);
                    self.hear(holder::Input::Granted(uid));
                }
                Effect::Withdrawn(uid) => {
                    tracing::warn!(uid, "the Pod's identity is not held any more");
                    self.hear(holder::Input::Withdrawn(uid));
                }
                Effect::Superseded { uid, message } => {
                    tracing::warn!(uid, message, "the Pod is over");
                    self.tell_pod(uid, pod::Input::Superseded { message });
                }
                Effect::GivenBack(uid) => tracing::info!(uid, "the Pod's identity was given back"),
            }
        }
        acted
    }

    fn remember(&self, sessions: &BTreeSet<SessionId>) {
        let sessions = sessions.iter().map(ToString::to_string).collect();
        let past = Past { machine_id: self.means.machine_id.clone(), sessions };
        if let Err(error) = self.means.disk.put(Path::new(PAST_FILE), &past, Durability::Power) {
            tracing::error!(%error, "the sessions of this machine could not be kept on disk");
        }
    }

    fn ask(&self, uid: String, number: u64, asked: Asked) {
        let floor = self.means.cluster.highest();
        let (client, orders) = (self.means.timed_client.clone(), self.orders.clone());
        tokio::spawn(async move {
            let answer = leases::ask(client, asked).await;
            let _ = orders.send(Order::Wrote(Input::Answer { uid, number, answer }, floor));
        });
    }

    /// The watch says how it went.
    fn free(&self, lease: Box<Lease>) {
        tracing::info!(name = lease.metadata.name, "an identity that an earlier agent held is given back");
        let (client, orders) = (self.means.timed_client.clone(), self.orders.clone());
        tokio::spawn(async move {
            if let Answer::Written(lease) = leases::ask(client, Asked::Update(lease)).await {
                let _ = orders.send(Order::Identity(Input::Seen(lease)));
            }
        });
    }

    fn look(&self, name: String) {
        let (client, orders) = (self.means.timed_client.clone(), self.orders.clone());
        tokio::spawn(async move {
            let input = loop {
                match leases::ask(client.clone(), Asked::Read(name.clone())).await {
                    Answer::Found(lease) => break Input::Seen(lease),
                    Answer::Absent { .. } => break Input::Gone(name),
                    // The session ends when this goes on.
                    Answer::Written(_) | Answer::Conflict | Answer::Failed => {
                        tokio::time::sleep(super::keeper::AGAIN).await;
                    }
                }
            };
            let _ = orders.send(Order::Identity(input));
        });
    }

    /// For containers that run on under another epoch, which only those do that are not fenced.
    fn rewrite_epoch(&self, uid: &str, epoch: i32) {
        let path = self.means.ground.data_of(uid).join(node::EPOCH_FILE);
        if path.exists()
            && let Err(error) = std::fs::write(path, format!("{epoch}\n"))
        {
            tracing::error!(%error, uid, "the epoch could not be told");
        }
    }

    // --- The Pods ---------------------------------------------------------------------------------------------------

    /// What each machine has found out reaches the other, until both are quiet; then the Pods hear how they stand.
    pub(super) async fn settle(&mut self) {
        loop {
            self.act().await;
            self.pass_on_arms();
            if !self.act_on_identities() {
                break;
            }
        }
        self.watch_waited_for();
        self.tell_standings();
    }

    fn pass_on_arms(&mut self) {
        let uids: Vec<String> = self.holdings.pods().map(str::to_owned).collect();
        for uid in uids {
            let armed = self.machine.armed(&uid).map(|(session, level)| (session.clone(), level));
            if self.armed.get(&uid) != armed.as_ref() {
                match &armed {
                    Some(armed) => self.armed.insert(uid.clone(), armed.clone()),
                    None => self.armed.remove(&uid),
                };
                self.hear_identity(Input::Armed(uid, armed));
            }
        }
    }

    fn watch_waited_for(&mut self) {
        let waited_for = self.holdings.waited_for();
        self.watches.retain(|name, watch| {
            let waits = waited_for.contains(name);
            if !waits {
                watch.abort();
            }
            waits
        });
        for name in waited_for {
            let (client, orders) = (self.means.client.clone(), (*self.orders).clone());
            self.watches.entry(name.clone()).or_insert_with(|| leases::watch_one(client, name, orders));
        }
    }

    pub(super) fn standing(&self, uid: &str, now: Instant) -> Standing {
        let Some((identity, fenced)) = self.holdings.of(uid) else {
            return Err(identity::unknown(uid));
        };
        let held = self.held.as_ref().map(|(session, deadline)| (session, *deadline));
        let epoch = self
            .holdings
            .check(uid, held, now)
            .map_err(|why| identity::shut(&why, identity, &self.means.node))?;
        if fenced {
            self.machine.is_open(uid).map_err(|why| identity::closed(why, identity))?;
        }
        Ok(epoch)
    }

    fn tell_standings(&mut self) {
        let now = clock::now();
        let uids: BTreeSet<String> = self.holdings.pods().map(str::to_owned).collect();
        self.told.retain(|uid, _| uids.contains(uid));
        self.armed.retain(|uid, _| uids.contains(uid));
        for uid in uids {
            let standing = self.standing(&uid, now);
            if standing.is_ok() {
                self.admit(&uid);
            }
            if self.told.get(&uid) != Some(&standing) {
                self.tell_pod(uid.clone(), pod::Input::Identity(standing.clone().err()));
                self.told.insert(uid, standing);
            }
        }
    }

    /// In order, and without waiting.
    fn tell_pod(&self, uid: String, input: pod::Input) {
        // The node's loop ends with the agent.
        let _ = self.told_pods.send(node::Input::Answer { uid, input });
    }
}

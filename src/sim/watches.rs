//! Watches: a list, then every change in order. A stream never reorders; it stalls, and it breaks.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;

use super::pods::{Change, concerns};
use super::script::{Fate, travel_time};
use super::store::Kind;
use super::world::{Event, Process, World};

/// What a watch shows.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// Everything there is, as of this version of the store.
    List(Vec<Rc<Lease>>, u64),
    Changed(Rc<Lease>, u64),
    Gone(String),
    /// All the Pods that are asked for.
    Pods(Vec<Arc<Pod>>, u64),
    Pod(Arc<Pod>, u64),
    /// It is gone, or none of those that are asked for any more.
    PodGone(Arc<Pod>, u64),
    /// The stream has ended.
    Broken,
}

#[derive(Debug)]
struct Subscription {
    to: Process,
    kind: Kind,
    /// Nothing that was sent later arrives earlier.
    last: Duration,
}

/// The streams that are open at the coordinator.
#[derive(Debug, Default)]
pub(super) struct Subscriptions(BTreeMap<u64, Subscription>);

impl World {
    /// A watch reaches the coordinator.
    pub(super) fn subscribe(&mut self, to: Process, watch: u64, kind: Kind) {
        let version = self.store.version();
        let name = &self.nodes[to.node].name;
        let list = match kind {
            Kind::Pod => Shown::Pods(self.store.pods().cloned().collect(), version),
            Kind::Hosted => {
                let pods = self.store.pods().filter(|pod| concerns(pod, name));
                Shown::Pods(pods.cloned().collect(), version)
            }
            Kind::Session | Kind::Shard | Kind::Identity => {
                Shown::List(self.store.of_kind(kind).cloned().collect(), version)
            }
        };
        self.subscriptions.0.insert(watch, Subscription { to, kind, last: self.now });
        self.show(watch, list);
    }

    /// Everybody whom this Pod concerns hears of a change.
    pub(super) fn publish_pod(&mut self, change: &Change) {
        let version = self.store.version();
        let watches: Vec<(u64, Kind, usize)> = self
            .subscriptions
            .0
            .iter()
            .filter(|(_, it)| matches!(it.kind, Kind::Pod | Kind::Hosted))
            .map(|(watch, it)| (*watch, it.kind, it.to.node))
            .collect();
        for (watch, kind, node) in watches {
            let name = self.nodes[node].name.as_str();
            let selected = |pod: &&Arc<Pod>| kind == Kind::Pod || concerns(pod, name);
            let shown = match (&change.before, &change.after) {
                (_, Some(pod)) if selected(&pod) => Shown::Pod(Arc::clone(pod), version),
                (Some(pod), _) if selected(&pod) => Shown::PodGone(Arc::clone(pod), version),
                _ => continue,
            };
            self.show(watch, shown);
        }
    }

    /// Everybody who watches this kind hears of a change.
    pub(super) fn publish(&mut self, kind: Kind, shown: &Shown) {
        let watches: Vec<u64> = self
            .subscriptions
            .0
            .iter()
            .filter(|(_, subscription)| subscription.kind == kind)
            .map(|(watch, _)| *watch)
            .collect();
        for watch in watches {
            self.show(watch, shown.clone());
        }
    }

    /// Sends on a stream. A message that is lost breaks it, since it cannot be sent again on another.
    fn show(&mut self, watch: u64, shown: Shown) {
        let Some(subscription) = self.subscriptions.0.get(&watch) else { return };
        let (to, last) = (subscription.to, subscription.last);
        if !self.is_running(to) {
            self.subscriptions.0.remove(&watch);
            return;
        }
        self.messages += 1;
        let number = self.messages;
        let late = match self.fates.next(number, &mut self.script.fates) {
            Some(Fate::Lost) => return self.break_watch(watch),
            Some(Fate::Late(ms)) => Duration::from_millis(ms),
            Some(Fate::Twice(_)) | None => Duration::ZERO,
        };
        let node = &self.nodes[to.node];
        let free = self.now.max(node.no_way_down).max(node.silent_watches);
        let when = (free + travel_time(number) + late).max(last);
        if let Some(subscription) = self.subscriptions.0.get_mut(&watch) {
            subscription.last = when;
        }
        self.at(when, Event::Shown(to, watch, shown));
    }

    /// The agent notices a second after whatever is still on its way, when it hears at all.
    fn break_watch(&mut self, watch: u64) {
        let Some(Subscription { to, last, .. }) = self.subscriptions.0.remove(&watch) else { return };
        self.statistics.count("watch broken");
        let node = &self.nodes[to.node];
        let when = self.now.max(last).max(node.silent_watches) + Duration::from_secs(1);
        self.at(when, Event::Shown(to, watch, Shown::Broken));
    }

    /// Breaks the streams of one node, or of all.
    pub(super) fn break_watches(&mut self, node: Option<usize>) {
        let hit = |subscription: &Subscription| node.is_none_or(|node| subscription.to.node == node);
        let watches: Vec<u64> =
            self.subscriptions.0.iter().filter(|(_, s)| hit(s)).map(|(watch, _)| *watch).collect();
        for watch in watches {
            self.break_watch(watch);
        }
    }

    /// The agent has no use for it any more.
    pub(super) fn unsubscribe(&mut self, watch: u64) {
        self.subscriptions.0.remove(&watch);
    }
}

//! Offers: every Pod that no node has yet is offered to one node at a time. PURE.
//!
//! A Pod is offered by its `status.nominatedNodeName`. The node claims it by binding it to itself, or declines; who does
//! neither in time is passed over.
//!
//! ```text
//!   unbound ──▶ best node ──nominate──▶ offered ──bound──▶ done
//!                  ▲                       │ declined, no answer in time, node not ready or gone
//!                  └──── the next ◀────────┘
//!   nobody is left: the Pod says why, and waits until a node could host it, or for the next round
//! ```
//!
//! A round asks every node that could host the Pod once; the time for an answer doubles with each. Pods that are offered
//! count as placed, so that two offers do not count on the same room. Level-triggered: a change marks the Pods that it
//! concerns, and [`Offers::plan`] decides those anew, the most important first.

mod interface;
mod pending;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

pub use interface::{Answer, Nomination, Write};

use crate::api::storage::VOLUMES_DIR;
use crate::placement::rank::{self, Candidate};
use crate::placement::{Cluster, FREE_ANNOTATION, Question, Reason, Summary, is_ready};
use crate::time::{Instant, WallTime};
use pending::{Offer, Pending, Telling, node_of, nominated};

/// How long a node has to answer in the first round; it doubles with each.
const ANSWER_MIN: Duration = Duration::from_secs(1);

/// The longest that a node has to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Pause before a write is tried again that found another object than expected.
const AFTER_CONFLICT: Duration = Duration::from_millis(200);

/// Pause before a write is tried again that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The machine. See the module's documentation.
#[derive(Debug, Default)]
pub struct Offers {
    cluster: Cluster,
    pending: BTreeMap<String, Pending>,
    dirty: BTreeSet<String>,
    /// Pods that no node can host as things are.
    waiting: BTreeSet<String>,
    wakes: BTreeSet<(Instant, String)>,
    whole: bool,
}

/// What the machine is told.
impl Offers {
    /// All nodes and Pods have been told of once: from now on it decides.
    pub fn know(&mut self) {
        self.whole = true;
    }

    /// A node, new or changed.
    pub fn node_changed(&mut self, node: &Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        let before = self.cluster.site(&name).map(|(before, _)| before.clone());
        if before.is_some_and(|before| matters(&before) == matters(node)) {
            return;
        }
        self.cluster.node_changed(node);
        if !is_ready(node) {
            self.look_at_offers_to(&name);
        }
        self.has_changed(&name, None);
    }

    /// A node is gone.
    pub fn node_gone(&mut self, name: &str) {
        self.look_at_offers_to(name);
        self.cluster.node_gone(name);
        for uid in &self.waiting {
            if let Some(pending) = self.pending.get_mut(uid) {
                pending.asked.remove(name);
            }
            self.dirty.insert(uid.clone());
        }
    }

    /// A namespace, new or changed.
    pub fn namespace_changed(&mut self, namespace: &Namespace) {
        self.cluster.namespace_changed(namespace);
        self.look_around();
    }

    /// A namespace is gone.
    pub fn namespace_gone(&mut self, name: &str) {
        self.cluster.namespace_gone(name);
    }

    /// A claim on a volume, new or changed.
    pub fn claim_changed(&mut self, claim: &Arc<PersistentVolumeClaim>) {
        self.cluster.claim_changed(claim);
        self.look_around();
    }

    /// A claim is gone.
    pub fn claim_gone(&mut self, namespace: &str, name: &str) {
        self.cluster.claim_gone(namespace, name);
        self.look_around();
    }

    /// A class of volumes, new or changed.
    pub fn class_changed(&mut self, class: &Arc<StorageClass>) {
        self.cluster.class_changed(class);
        self.look_around();
    }

    /// A class of volumes is gone.
    pub fn class_gone(&mut self, name: &str) {
        self.cluster.class_gone(name);
        self.look_around();
    }

    /// A volume, new or changed.
    pub fn volume_changed(&mut self, volume: &Arc<PersistentVolume>) {
        self.cluster.volume_changed(volume);
        self.look_around();
    }

    /// A volume is gone.
    pub fn volume_gone(&mut self, name: &str) {
        self.cluster.volume_gone(name);
        self.look_around();
    }

    /// A Pod, new or changed. An older version than the one that is known changes nothing.
    pub fn pod_changed(&mut self, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if self.pending.get(&uid).is_some_and(|known| known.is_newer_than(pod)) {
            self.dirty.insert(uid);
            return;
        }
        self.count(&uid, pod);
        if !pending::is_for_us(pod) {
            self.forget(&uid);
            return;
        }
        let pending = self.pending.entry(uid.clone()).or_insert_with(|| Pending::new(pod));
        pending.pod = pod.clone();
        self.dirty.insert(uid);
    }

    /// A Pod, new or changed, that is another steward's to offer: it is counted.
    pub fn pod_of_others(&mut self, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.forget(&uid);
        self.count(&uid, pod);
    }

    /// A Pod is gone.
    pub fn pod_gone(&mut self, uid: &str) {
        self.forget(uid);
        if let Some(node) = self.cluster.remove(uid) {
            self.has_changed(&node, Some(uid));
            self.look_around();
        }
    }

    /// A write has ended.
    pub fn written(&mut self, uid: &str, answer: Answer, now: Instant) {
        let Some(pending) = self.pending.get_mut(uid) else { return };
        pending.is_writing = false;
        let pause = match answer {
            Answer::Done(pod) => return self.pod_changed(&pod),
            Answer::Conflict => AFTER_CONFLICT,
            Answer::Failed => AFTER_FAILURE,
        };
        pending.offer = None;
        let pod = pending.pod.clone();
        self.count(uid, &pod);
        self.wake_at(uid, now + pause);
    }

    /// When [`Self::plan`] is due, if nothing changes before. A time in the past: at once.
    pub fn next_deadline(&self) -> Option<Instant> {
        if !self.whole {
            return None;
        }
        if !self.dirty.is_empty() {
            return Some(Instant::default());
        }
        self.wakes.first().map(|(at, _)| *at)
    }
}

/// What follows from it.
impl Offers {
    /// Decides what has changed or come due. Every write is answered by [`Self::written`].
    pub fn plan(&mut self, now: Instant, wall: WallTime) -> Vec<Write> {
        if !self.whole {
            return Vec::new();
        }
        while let Some((_, uid)) = self.wakes.first().filter(|(at, _)| *at <= now).cloned() {
            self.wakes.pop_first();
            self.dirty.insert(uid);
        }
        let mut uids: Vec<String> = std::mem::take(&mut self.dirty).into_iter().collect();
        uids.sort_by_cached_key(|uid| {
            self.pending.get(uid).map(|pending| (Reverse(pending.priority), pending.created))
        });
        uids.into_iter().filter_map(|uid| self.decide(&uid, now, wall)).collect()
    }

    fn decide(&mut self, uid: &str, now: Instant, wall: WallTime) -> Option<Write> {
        let pending = self.pending.get_mut(uid).filter(|pending| !pending.is_writing)?;
        pending.hear_answer();
        pending.begin_round(now);
        if let Some(node) = nominated(&pending.pod).map(str::to_owned) {
            let is_alive = self.cluster.site(&node).is_some_and(|(node, _)| is_ready(node));
            let until = pending.offered_until(&node, now);
            if is_alive && now < until {
                self.waiting.remove(uid);
                self.wake_at(uid, until);
                return None;
            }
            let why = if is_alive { Reason::NoAnswer } else { Reason::NotReady };
            pending.asked.insert(node, vec![why.to_string()]);
        }
        match self.choose(uid) {
            Ok(node) => self.offer(uid, node, now),
            Err(summary) => self.wait(uid, &summary, now, wall),
        }
    }

    /// The node to ask next, or what all of them say.
    fn choose(&self, uid: &str) -> Result<String, Summary> {
        let mut summary = Summary::default();
        let Some(pending) = self.pending.get(uid) else { return Err(summary) };
        let question = Question::of(&pending.pod, &self.cluster);
        if !question.waits().is_empty() {
            return Err(Summary::waiting(self.cluster.nodes().count(), question.waits()));
        }
        let mut candidates = Vec::new();
        for (name, node, site) in self.cluster.nodes() {
            let reasons = question.reasons(node, site);
            match pending.asked.get(name) {
                Some(answer) if reasons.is_empty() => summary.add_told(answer),
                None if reasons.is_empty() => candidates.push(Candidate { name, node, site }),
                Some(_) | None => summary.add(&reasons),
            }
        }
        rank::best(&question, uid, &candidates).map(str::to_owned).ok_or(summary)
    }

    fn offer(&mut self, uid: &str, node: String, now: Instant) -> Option<Write> {
        self.waiting.remove(uid);
        let pending = self.pending.get_mut(uid)?;
        pending.offer = Some(Offer { node: node.clone(), until: now + pending.patience() });
        pending.is_writing = true;
        let pod = pending.pod.clone();
        self.place(uid, &pod, Some(&node));
        Some(Write { pod, nomination: Nomination::To(node), condition: None })
    }

    /// Nobody is left to ask: says why, where that is news, and takes the offer back.
    fn wait(&mut self, uid: &str, summary: &Summary, now: Instant, wall: WallTime) -> Option<Write> {
        self.waiting.insert(uid.to_owned());
        let pending = self.pending.get_mut(uid)?;
        pending.offer = None;
        let next_round = pending.end_round(now);
        let (condition, later) = match pending.tell(&summary.to_string(), now, wall) {
            Telling::Now(condition) => (Some(*condition), None),
            Telling::Later(at) => (None, Some(at)),
            Telling::Known => (None, None),
        };
        let pod = pending.pod.clone();
        let nomination = if nominated(&pod).is_some() { Nomination::Clear } else { Nomination::Keep };
        let is_news = condition.is_some() || nomination == Nomination::Clear;
        pending.is_writing = is_news;
        if nomination == Nomination::Clear {
            self.place(uid, &pod, None);
        }
        for at in [next_round, later].into_iter().flatten() {
            self.wake_at(uid, at);
        }
        is_news.then_some(Write { pod, nomination, condition })
    }
}

/// Book-keeping.
impl Offers {
    /// Counts a Pod where it is bound, or where it is offered.
    fn count(&mut self, uid: &str, pod: &Arc<Pod>) {
        let node = node_of(pod).or_else(|| nominated(pod)).filter(|_| !pending::has_ended(pod));
        self.place(uid, pod, node);
    }

    fn place(&mut self, uid: &str, pod: &Arc<Pod>, node: Option<&str>) {
        let before = self.cluster.placed(uid).map(|placed| placed.node.clone());
        match node {
            Some(node) => self.cluster.place(uid, pod, node),
            None => drop(self.cluster.remove(uid)),
        }
        if before.as_deref() == node {
            return;
        }
        if let Some(before) = before {
            self.has_changed(&before, Some(uid));
        }
        self.look_around();
    }

    /// Something changed that is no node's own affair: whoever looks further than at one node is decided anew.
    fn look_around(&mut self) {
        let looks = |uid: &&String| {
            self.pending.get(*uid).is_some_and(|pending| Question::looks_around(&pending.pod))
        };
        self.dirty.extend(self.waiting.iter().filter(looks).cloned());
    }

    fn forget(&mut self, uid: &str) {
        self.pending.remove(uid);
        self.dirty.remove(uid);
        self.waiting.remove(uid);
    }

    fn look_at_offers_to(&mut self, node: &str) {
        let Some((_, site)) = self.cluster.site(node) else { return };
        let offered = site.pods().filter(|uid| self.pending.contains_key(*uid));
        self.dirty.extend(offered.map(str::to_owned));
    }

    /// A node is another one than before, or has more room, perhaps because of a Pod that left: whoever else it could
    /// host now is decided anew, and what the others say may not be true any more.
    fn has_changed(&mut self, name: &str, by: Option<&str>) {
        for uid in self.waiting.iter().filter(|uid| Some(uid.as_str()) != by) {
            let Some(pending) = self.pending.get_mut(uid) else { continue };
            pending.asked.remove(name);
            let question = Question::of(&pending.pod, &self.cluster);
            let site = self.cluster.site(name);
            if site.is_some_and(|(node, site)| question.reasons(node, site).is_empty()) {
                self.dirty.insert(uid.clone());
            } else if let Some(at) = pending.retell_at() {
                self.wakes.insert((at, uid.clone()));
            }
        }
    }

    fn wake_at(&mut self, uid: &str, at: Instant) {
        self.wakes.insert((at, uid.to_owned()));
    }
}

/// What of a node decides whether it may host a Pod.
fn matters(node: &Node) -> impl PartialEq + use<> {
    let annotations = node.metadata.annotations.as_ref();
    let status = node.status.as_ref();
    (
        node.metadata.labels.clone(),
        annotations.and_then(|all| all.get(FREE_ANNOTATION)).cloned(),
        annotations.and_then(|all| all.get(VOLUMES_DIR)).cloned(),
        node.spec.clone(),
        status.and_then(|status| status.allocatable.clone()),
        is_ready(node),
    )
}

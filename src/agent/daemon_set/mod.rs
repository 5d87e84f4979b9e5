//! Which DaemonSets this node hosts, and the Pods it makes of them, with nobody's permission. PURE.
//!
//! Level-triggered: the machine holds what is known (the node, the DaemonSets, the Pods bound to it) and what it has
//! asked for; a change marks the DaemonSets it concerns, and [`DaemonSets::plan`] decides those anew and no others:
//!
//! ```text
//!   node_changed ──▶ all           daemon_set_changed ──▶ that one       pod_changed, pod_gone ──▶ its owner
//!   room freed ──▶ those that lack room                  a time has come ──▶ whose it is
//! ```
//!
//! A Pod is made under a UID of the node's own and is hosted at once; that the coordinator gets its object is
//! somebody else's task. While a creation or a deletion is under way nothing is doubled: what has been asked for
//! counts as done until it is answered ([`Action`] says how).
//!
//! What differs from upstream, because a node decides for itself alone:
//! - An outdated Pod is replaced only under a ticket ([`Ticket`]), and when the new one could be here: an update that does
//!   not fit stops nothing. Where nothing runs, no ticket is needed.
//! - Of two Pods of which one is current, a rolling update keeps that one and not the older.
//! - A Pod that does not fit is not made, instead of waiting as an object; the room is reserved when it is made.

mod backoff;
mod decide;
mod hosting;
mod interface;
mod ownership;
mod prototype;
mod tickets;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};

pub use interface::{Action, Departure, Obstacle, Occurrence, Source, Standing, Ticket};
pub use prototype::REVISION_LABEL;

use crate::api::hash::Stored;
use crate::api::readiness::Readiness;
use crate::placement::{self, Demand, Room};
use crate::time::{Instant, WallTime};
use backoff::Backoff;
use decide::{Case, Course, Present};
use hosting::Hosting;

/// Annotation of a DaemonSet: `always` (the default), `never`, or for how many boots without a coordinator it may be
/// started from the disk.
pub const OFFLINE_ANNOTATION: &str = "leasehold.dev/offline";

/// How many DaemonSets that are gone are remembered.
const GONE_MAX: usize = 1_000;

/// Pods by the UID that names them here.
pub type Pods = BTreeMap<String, Arc<Pod>>;

/// The machine. See the module's documentation.
#[derive(Debug)]
pub struct DaemonSets {
    node_name: String,
    node: Option<Node>,
    source: Source,
    sets: BTreeMap<String, Hosting>,
    by_name: BTreeMap<(String, String), String>,
    pods: BTreeMap<String, Arc<Pod>>,
    /// Pods by the UID of the DaemonSet that controls them; under the empty UID those that nobody controls.
    owned: BTreeMap<String, BTreeSet<String>>,
    /// DaemonSets that are gone and take their Pods with them, also those that turn up late; the latest last.
    gone: VecDeque<String>,
    /// Pods that were asked to go and have not answered; with the time at which to ask again, if refused.
    leaving: BTreeMap<String, Option<Instant>>,
    /// Pods for which another owner reference was asked for.
    changing_hands: BTreeSet<String>,
    /// Tickets that this node holds, by the DaemonSet's UID.
    tickets: BTreeMap<String, Ticket>,
    /// UIDs of tickets that were asked to be given back.
    returning: BTreeSet<String>,
    room: Room,
    readiness: Readiness,
    /// Pods whose readiness has to be looked at.
    unread: BTreeSet<String>,
    /// DaemonSets to decide.
    dirty: BTreeSet<String>,
    /// DaemonSets that lack room.
    starved: BTreeSet<String>,
    wakes: BTreeSet<(Instant, String)>,
    told: Vec<Action>,
}

/// What the machine is told.
impl DaemonSets {
    /// A machine that knows nothing yet.
    pub fn new(node_name: String) -> Self {
        Self {
            node_name,
            node: None,
            source: Source::Nowhere,
            sets: BTreeMap::new(),
            by_name: BTreeMap::new(),
            pods: BTreeMap::new(),
            owned: BTreeMap::new(),
            gone: VecDeque::new(),
            leaving: BTreeMap::new(),
            changing_hands: BTreeSet::new(),
            tickets: BTreeMap::new(),
            returning: BTreeSet::new(),
            room: Room::default(),
            readiness: Readiness::default(),
            unread: BTreeSet::new(),
            dirty: BTreeSet::new(),
            starved: BTreeSet::new(),
            wakes: BTreeSet::new(),
            told: Vec::new(),
        }
    }

    /// What is known is whole, by this source: from now on absence means something.
    pub fn know(&mut self, source: Source) {
        if self.source != source {
            self.source = source;
            self.mark_all();
        }
    }

    /// The node's own object.
    pub fn node_changed(&mut self, node: &Node) {
        if self.room.set_allocatable(node) {
            self.dirty.append(&mut self.starved);
        }
        let eligibility = |node: &Node| {
            let spec = node.spec.clone().unwrap_or_default();
            (node.metadata.name.clone(), node.metadata.labels.clone(), spec.taints, spec.unschedulable)
        };
        let same = self.node.as_ref().is_some_and(|known| eligibility(known) == eligibility(node));
        self.node = Some(node.clone());
        if !same {
            self.mark_all();
        }
    }

    /// A DaemonSet, new or changed.
    pub fn daemon_set_changed(&mut self, set: Arc<Stored<DaemonSet>>) {
        let uid = set.object.metadata.uid.clone().unwrap_or_default();
        match self.sets.get_mut(&uid) {
            Some(hosting) => hosting.renew(set, &self.node_name),
            None => drop(self.sets.insert(uid.clone(), Hosting::new(set, &self.node_name))),
        }
        self.gone.retain(|gone| *gone != uid);
        let name = self.sets.get(&uid).map(Hosting::name).unwrap_or_default();
        if let Some(former) = self.by_name.insert(name, uid.clone()).filter(|former| *former != uid) {
            self.daemon_set_gone(&former);
        }
        self.dirty.insert(uid);
    }

    /// A DaemonSet is gone for certain: deleted, or absent from a list of the same cluster ([`Self::unknown_owners`]).
    /// Its Pods go with it, unless it was deleted without them. After a list, call this only when the Pods have been
    /// listed as well since: those that were orphaned must be known as such.
    pub fn daemon_set_gone(&mut self, uid: &str) {
        let mut takes_its_pods = true;
        if let Some(hosting) = self.sets.remove(uid) {
            let name = hosting.name();
            if self.by_name.get(&name).is_some_and(|current| current == uid) {
                self.by_name.remove(&name);
            }
            takes_its_pods = !hosting.is_orphaning();
            self.drop_wake(uid, hosting.wake);
        }
        if takes_its_pods {
            self.gone.retain(|gone| gone != uid);
            self.gone.push_back(uid.to_owned());
            let surplus = self.gone.len().saturating_sub(GONE_MAX);
            self.gone.drain(..surplus);
        }
        self.starved.remove(uid);
        self.dirty.insert(uid.to_owned());
    }

    /// DaemonSets that Pods here name as their controller, and that nobody has told of. Nothing is concluded from that.
    pub fn unknown_owners(&self) -> Vec<String> {
        let owners = self.owned.keys().filter(|owner| ownership::is_uid(owner));
        owners.filter(|owner| !self.sets.contains_key(*owner)).cloned().collect()
    }

    /// A Pod of this node, new or changed; `metadata.uid` is the UID that names it here.
    pub fn pod_changed(&mut self, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.take_out(&uid);
        let owner = ownership::controller(pod).unwrap_or_default();
        self.answered(&owner, &uid, pod);
        self.owned.entry(owner.clone()).or_default().insert(uid.clone());
        if has_ended(pod) {
            self.release(&uid);
        } else {
            self.room.bind(&uid, pod.spec.as_ref().map(Demand::of).unwrap_or_default());
        }
        self.pods.insert(uid.clone(), pod.clone());
        self.unread.insert(uid);
        self.mark_owner(&owner, pod);
    }

    /// A Pod of this node is gone: nothing of it is left here.
    pub fn pod_gone(&mut self, uid: &str) {
        let Some(pod) = self.pods.get(uid).cloned() else { return };
        let owner = ownership::controller(&pod).unwrap_or_default();
        if self.leaving.remove(uid).is_some() {
            self.tell_deleted(&owner, &pod);
        }
        self.take_out(uid);
        self.release(uid);
        self.pods.remove(uid);
        self.changing_hands.remove(uid);
        self.readiness.forget(uid);
        self.unread.remove(uid);
        self.mark_owner(&owner, &pod);
    }

    /// The Pod made with this UID cannot be hosted, or the coordinator refuses its object for good (then end the Pod as
    /// well). Another one is tried after a while.
    pub fn create_refused(&mut self, uid: &str, message: &str, now: Instant) {
        let owner = match self.pods.get(uid) {
            Some(pod) => ownership::controller(pod),
            None => self.sets.iter().find(|(_, h)| h.starting.contains(uid)).map(|(owner, _)| owner.clone()),
        };
        if !self.pods.contains_key(uid) {
            self.release(uid);
        }
        let Some(hosting) = owner.as_ref().and_then(|owner| self.sets.get_mut(owner)) else { return };
        hosting.starting.remove(uid);
        hosting.refused.fail(now);
        message.clone_into(&mut hosting.refusal);
        self.told.push(hosting.occurrence(true, "FailedCreate", format!("Error creating: {message}")));
        self.dirty.extend(owner);
    }

    /// The Pod stays for now; its departure is asked for again at `again`, if still wanted.
    pub fn delete_refused(&mut self, uid: &str, again: Instant) {
        let (Some(asked), Some(pod)) = (self.leaving.get_mut(uid), self.pods.get(uid)) else { return };
        *asked = Some(again);
        self.wakes.insert((again, ownership::controller(pod).unwrap_or_default()));
    }

    /// The node, its room and its Pods, for whoever else takes some room; none before the node has said what it has to
    /// give.
    pub fn ground(&mut self) -> Option<(&Node, &mut Room, &Pods)> {
        let node = self.node.as_ref()?;
        node.status.as_ref()?.allocatable.as_ref().filter(|amounts| !amounts.is_empty())?;
        Some((node, &mut self.room, &self.pods))
    }

    /// Room that was reserved for a Pod which does not come is free again.
    pub fn free(&mut self, uid: &str) {
        if !self.pods.contains_key(uid) {
            self.release(uid);
        }
    }

    /// How a DaemonSet stands here.
    pub fn standing(&self, uid: &str) -> Option<&Standing> {
        self.sets.get(uid).map(|hosting| &hosting.standing)
    }

    /// When [`Self::plan`] is due, if nothing changes before. A time in the past: at once.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.source == Source::Nowhere || self.node.is_none() {
            return None;
        }
        if !self.dirty.is_empty() || !self.told.is_empty() {
            return Some(Instant::default());
        }
        self.wakes.first().map(|(at, _)| *at)
    }
}

/// What follows from it.
impl DaemonSets {
    /// Decides what has changed or come due. `uid` draws fresh UIDs.
    pub fn plan(&mut self, now: Instant, wall: WallTime, uid: &mut dyn FnMut() -> String) -> Vec<Action> {
        self.read_readiness(now, wall);
        self.wake(now);
        if self.source == Source::Nowhere || self.node.is_none() {
            return Vec::new();
        }
        let mut actions = std::mem::take(&mut self.told);
        for owner in self.in_turn() {
            if self.sets.contains_key(&owner) {
                self.decide(&owner, now, wall, uid, &mut actions);
            } else {
                self.collect(&owner, &mut actions);
            }
        }
        actions
    }

    /// Takes the marked DaemonSets, the most important first: they get the room.
    fn in_turn(&mut self) -> Vec<String> {
        let mut owners: Vec<String> = std::mem::take(&mut self.dirty).into_iter().collect();
        let rank = |owner: &String| {
            let hosting = self.sets.get(owner)?;
            let metadata = &hosting.set.object.metadata;
            let priority = Reverse(hosting.prototype.priority());
            Some((priority, metadata.namespace.clone(), metadata.name.clone()))
        };
        owners.sort_by_cached_key(rank);
        owners
    }

    fn decide(
        &mut self,
        owner: &str,
        now: Instant,
        wall: WallTime,
        uid: &mut dyn FnMut() -> String,
        actions: &mut Vec<Action>,
    ) {
        self.reconcile_ownership(owner, actions);
        let Some(decision) = self.case(owner, now).map(|case| decide::decide(&case)) else { return };
        self.set_wake(owner, decision.wake);
        let Some(hosting) = self.sets.get_mut(owner) else { return };
        let lacks_room = match decision.standing.obstacle() {
            Some(Obstacle::Placement(reasons)) => reasons.iter().any(placement::Reason::is_about_room),
            Some(_) | None => false,
        };
        if lacks_room {
            self.starved.insert(owner.to_owned());
        } else {
            self.starved.remove(owner);
        }
        actions.extend(hosting.stand(&decision, lacks_room, &self.node_name, now));
        if let Some(ticket) = self.tickets.get(owner).filter(|_| decision.give_back) {
            self.returning.insert(ticket.uid.clone());
            actions.push(Action::GiveBack(Box::new(ticket.clone())));
        }
        for (pod_uid, why) in decision.departures {
            actions.extend(hosting.occurrence_of(&why, self.pods.get(&pod_uid), &self.node_name));
            self.leaving.insert(pod_uid.clone(), None);
            actions.push(Action::DeletePod { uid: pod_uid, why });
        }
        if decision.create {
            let pod = hosting.make(uid(), wall);
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            self.room.bind(&uid, hosting.prototype.demand().clone());
            hosting.starting.insert(uid);
            actions.push(Action::CreatePod(Box::new(pod)));
        }
    }

    /// Everything the decision about one DaemonSet looks at; none when nothing may be done about it.
    fn case(&mut self, owner: &str, now: Instant) -> Option<Case<'_>> {
        let pods = self.present(owner);
        let offline = self.is_forbidden_offline(owner);
        let hosting = self.sets.get_mut(owner)?;
        if let Some(obstacle) = hosting.untouchable() {
            hosting.standing = if pods.is_empty() { Standing::NotHosted(obstacle) } else { Standing::Hosted };
            return None;
        }
        let owned = self.owned.get(owner).into_iter().flatten();
        hosting.count_attempts(owned.filter_map(|uid| self.pods.get(uid)));
        let hosting = &*hosting;
        let template = hosting.set.object.spec.as_ref()?.template.spec.as_ref()?;
        let refused = hosting.refused.until(now);
        let refused = refused.map(|until| Obstacle::Refused { until, message: hosting.refusal.clone() });
        Some(Case {
            set: &hosting.set.object,
            prototype: &hosting.prototype,
            verdict: placement::daemon_set::verdict(template, self.node.as_ref()?),
            pods,
            starting: !hosting.starting.is_empty(),
            room: &self.room,
            obstacle: offline.then_some(Obstacle::Offline).or(refused),
            failed_until: hosting.failed.until(now),
            has_ticket: self.tickets.get(owner).is_some_and(|ticket| !self.returning.contains(&ticket.uid)),
            now,
        })
    }

    /// The DaemonSet's Pods, those that it adopts among them, but for those that are deleted and have ended.
    fn present(&self, owner: &str) -> Vec<Present> {
        let Some(hosting) = self.sets.get(owner) else { return Vec::new() };
        let min_ready = decide::min_ready(&hosting.set.object);
        let uids = [owner, ""].into_iter().filter_map(|owner| self.owned.get(owner)).flatten();
        let pods = uids.filter_map(|uid| self.pods.get(uid)).filter(|pod| hosting.selects(pod));
        let present = pods.map(|pod| {
            let metadata = &pod.metadata;
            let uid = metadata.uid.clone().unwrap_or_default();
            let revision = metadata.labels.as_ref().and_then(|labels| labels.get(REVISION_LABEL));
            Present {
                name: metadata.name.clone().unwrap_or_default(),
                created: metadata.creation_timestamp.as_ref().map(|time| time.0),
                course: course(pod),
                leaving: self.is_leaving(pod),
                current: revision.is_some_and(|revision| revision == hosting.set.revision()),
                available_at: self.readiness.available_at(&uid, min_ready),
                uid,
            }
        });
        present.filter(|pod| !(pod.leaving && pod.course != Course::Running)).collect()
    }

    /// Ends Pods whose DaemonSet is gone.
    fn collect(&mut self, owner: &str, actions: &mut Vec<Action>) {
        if !self.gone.iter().any(|gone| gone == owner) {
            return;
        }
        let uids = self.owned.get(owner).cloned().unwrap_or_default();
        for uid in uids {
            if self.pods.get(&uid).is_some_and(|pod| !self.is_leaving(pod)) {
                self.leaving.insert(uid.clone(), None);
                actions.push(Action::DeletePod { uid, why: Departure::OwnerGone });
            }
        }
    }

    /// What is new about the readiness of Pods; a Pod that became ready may be waited for.
    fn read_readiness(&mut self, now: Instant, wall: WallTime) {
        for uid in std::mem::take(&mut self.unread) {
            if let Some(pod) = self.pods.get(&uid) {
                self.readiness.observe(&uid, pod, now, wall);
            }
        }
    }

    /// Marks whoever a time has come for.
    fn wake(&mut self, now: Instant) {
        while let Some((at, owner)) = self.wakes.first().cloned().filter(|(at, _)| *at <= now) {
            self.wakes.remove(&(at, owner.clone()));
            self.dirty.insert(owner);
        }
        self.leaving.retain(|_, again| again.is_none_or(|again| again > now));
    }

    fn set_wake(&mut self, owner: &str, wake: Option<Instant>) {
        let Some(hosting) = self.sets.get_mut(owner) else { return };
        let former = std::mem::replace(&mut hosting.wake, wake);
        self.drop_wake(owner, former);
        self.wakes.extend(wake.map(|at| (at, owner.to_owned())));
    }

    /// The DaemonSet itself waits for that instant no longer. A Pod that is to be asked again to go at that very instant
    /// still is.
    fn drop_wake(&mut self, owner: &str, wake: Option<Instant>) {
        if let Some(at) = wake.filter(|at| !self.leaving.values().any(|again| *again == Some(*at))) {
            self.wakes.remove(&(at, owner.to_owned()));
        }
    }

    /// Whether the DaemonSet may not be started from what the disk remembers.
    fn is_forbidden_offline(&self, owner: &str) -> bool {
        let Source::Disk { boots } = self.source else { return false };
        let set = self.sets.get(owner).map(|hosting| &hosting.set.object.metadata);
        match set
            .and_then(|metadata| metadata.annotations.as_ref()?.get(OFFLINE_ANNOTATION))
            .map(String::as_str)
        {
            None | Some("always") => false,
            Some("never") => true,
            Some(most) => most.parse().is_ok_and(|most: u32| boots > most),
        }
    }
}

/// Book-keeping.
impl DaemonSets {
    fn mark_all(&mut self) {
        self.dirty.extend(self.sets.keys().cloned());
        self.dirty.extend(self.owned.keys().cloned());
    }

    /// Marks the owner of a Pod; of one without, whoever may want it.
    fn mark_owner(&mut self, owner: &str, pod: &Pod) {
        if owner.is_empty() {
            let suitors = self.sets.iter().filter(|(_, hosting)| hosting.selects(pod));
            self.dirty.extend(suitors.map(|(uid, _)| uid.clone()));
        } else {
            self.dirty.insert(owner.to_owned());
        }
    }

    /// Frees the room of a Pod, and marks whoever waits for some.
    fn release(&mut self, uid: &str) {
        if self.room.release(uid) {
            self.dirty.append(&mut self.starved);
        }
    }

    /// Takes a Pod out of the index, and marks whoever owned it so far.
    fn take_out(&mut self, uid: &str) {
        let Some(owner) = self.pods.get(uid).map(|pod| ownership::controller(pod).unwrap_or_default()) else {
            return;
        };
        if let Some(siblings) = self.owned.get_mut(&owner) {
            siblings.remove(uid);
            if siblings.is_empty() {
                self.owned.remove(&owner);
            }
        }
        self.dirty.insert(owner);
    }

    /// Takes in what a Pod says of things asked for.
    fn answered(&mut self, owner: &str, uid: &str, pod: &Pod) {
        self.changing_hands.remove(uid);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        if let Some(hosting) = self.sets.get_mut(owner) {
            if pod.metadata.resource_version.is_some() {
                hosting.refused = Backoff::default();
            }
            if hosting.starting.remove(uid) {
                let told = hosting.occurrence(false, "SuccessfulCreate", format!("Created pod: {name}"));
                self.told.push(told);
            }
        }
        if pod.metadata.deletion_timestamp.is_some() && self.leaving.remove(uid).is_some() {
            self.tell_deleted(owner, pod);
        }
    }

    fn tell_deleted(&mut self, owner: &str, pod: &Pod) {
        if let Some(hosting) = self.sets.get(owner) {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            self.told.push(hosting.occurrence(false, "SuccessfulDelete", format!("Deleted pod: {name}")));
        }
    }

    fn is_leaving(&self, pod: &Pod) -> bool {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        pod.metadata.deletion_timestamp.is_some() || self.leaving.contains_key(uid)
    }
}

fn course(pod: &Pod) -> Course {
    match pod.status.as_ref().and_then(|status| status.phase.as_deref()) {
        Some("Failed") => Course::Failed,
        Some("Succeeded") => Course::Succeeded,
        Some(_) | None => Course::Running,
    }
}

fn has_ended(pod: &Pod) -> bool {
    course(pod) != Course::Running
}

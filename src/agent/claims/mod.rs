//! What a node does with Pods that are offered to it, or bound to it by others. PURE.
//!
//! ```text
//!   offered ──▶ reserved ──claim──▶ won ──▶ hosted
//!      │            └──lost──▶ freed
//!      └──reasons──▶ declined
//! ```
//!
//! The node decides with what is true here and now: its own object, and the room that its Pods leave, reservations
//! included. What it takes is reserved before it is claimed, and the claim rests on the very version of the Pod that was
//! looked at, so that of all who want it one wins. Reservations stand in the same [`Room`] as the Pods that are here, and
//! so nothing that the node starts by itself takes the room of a claim under way.

pub mod admission;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::placement::{self, Cluster, Demand, Reason, Room, mismatches};

/// What the node is at this moment.
#[derive(Debug)]
pub struct Ground<'a> {
    /// Its own object.
    pub node: &'a Node,
    /// What it has left.
    pub room: &'a mut Room,
    /// The Pods that are here.
    pub pods: &'a BTreeMap<String, Arc<Pod>>,
    /// Pods can be started here.
    pub is_ready: bool,
    /// A claim may leave now: the node's session lasts longer than the claim can take.
    pub may_claim: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Bind the Pod, as it stands here, to this node. → [`Claims::claim_answered`]
    Claim(Arc<Pod>),
    /// Say why not, and give the offer back.
    Decline {
        /// The Pod, as it stands here.
        pod: Arc<Pod>,
        /// Why.
        reasons: Vec<Reason>,
    },
}

/// How far an offer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be decided.
    Open,
    /// Reserved, and claimed by the version that was offered.
    Claimed,
    /// Won; its Pod has not been seen among those of this node yet.
    Won {
        /// A list of the node's Pods has begun since.
        listing: bool,
    },
    /// Answered: it is the steward's turn.
    Declined,
}

#[derive(Debug)]
struct Offer {
    pod: Arc<Pod>,
    stage: Stage,
    /// It still stands, as far as is known here.
    stands: bool,
    /// The Pod has changed since it was claimed.
    renewed: bool,
}

/// The machine. See the module's documentation.
#[derive(Debug, Default)]
pub struct Claims {
    offers: BTreeMap<String, Offer>,
}

impl Claims {
    /// A Pod is offered to this node, or an offered one has changed.
    pub fn offered(&mut self, pod: &Arc<Pod>) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let new = Offer { pod: pod.clone(), stage: Stage::Open, stands: true, renewed: false };
        let Some(offer) = self.offers.get_mut(&uid) else {
            self.offers.insert(uid, new);
            return;
        };
        let is_same = offer.pod.metadata.resource_version == pod.metadata.resource_version;
        offer.pod = pod.clone();
        offer.stands = true;
        match offer.stage {
            Stage::Open | Stage::Won { .. } => {}
            Stage::Claimed => offer.renewed |= !is_same,
            Stage::Declined if is_same => {}
            Stage::Declined => offer.stage = Stage::Open,
        }
    }

    /// A Pod is not offered to this node any more: it was bound, offered to another one, or deleted.
    pub fn withdrawn(&mut self, uid: &str) {
        let Some(offer) = self.offers.get_mut(uid) else { return };
        offer.stands = false;
        if matches!(offer.stage, Stage::Open | Stage::Declined) {
            self.offers.remove(uid);
        }
    }

    /// UIDs of the Pods that are known as offered.
    pub fn standing(&self) -> Vec<String> {
        let standing = self.offers.iter().filter(|(_, offer)| offer.stands);
        standing.map(|(uid, _)| uid.clone()).collect()
    }

    /// Whether this node has claimed the Pod, so that it need not be looked at again when it comes.
    pub fn has_claimed(&self, uid: &str) -> bool {
        self.offers.get(uid).is_some_and(|offer| matches!(offer.stage, Stage::Claimed | Stage::Won { .. }))
    }

    /// The Pod is among those of this node: from now on it holds its room itself.
    pub fn hosted(&mut self, uid: &str) {
        self.offers.remove(uid);
    }

    /// To [`Action::Claim`]: whether the Pod is this node's. When it is not, the caller frees what was reserved
    /// (true).
    #[must_use]
    pub fn claim_answered(&mut self, uid: &str, is_won: bool) -> bool {
        let Some(offer) = self.offers.get_mut(uid).filter(|offer| offer.stage == Stage::Claimed) else {
            return false;
        };
        if is_won {
            offer.stage = Stage::Won { listing: false };
            return false;
        }
        // What it rested on has changed; the offer as it stands now is looked at anew, if there is one.
        offer.stage = if offer.renewed { Stage::Open } else { Stage::Declined };
        offer.renewed = false;
        if !offer.stands {
            self.offers.remove(uid);
        }
        true
    }

    /// A list of the node's Pods begins.
    pub fn list_begins(&mut self) {
        for offer in self.offers.values_mut() {
            if let Stage::Won { listing } = &mut offer.stage {
                *listing = true;
            }
        }
    }

    /// A list of the node's Pods is whole, and what was won before it began and is not in it is gone: the caller frees
    /// what was reserved for these.
    #[must_use]
    pub fn list_is_whole(&mut self) -> Vec<String> {
        let is_gone = |offer: &Offer| offer.stage == Stage::Won { listing: true };
        let gone: Vec<String> =
            self.offers.iter().filter(|(_, offer)| is_gone(offer)).map(|(uid, _)| uid.clone()).collect();
        self.offers.retain(|_, offer| !is_gone(offer));
        gone
    }

    /// Answers what is open. What is claimed is reserved in the room at once.
    pub fn plan(&mut self, ground: &mut Ground<'_>) -> Vec<Action> {
        let name = ground.node.metadata.name.clone().unwrap_or_default();
        let is_taken = |offer: &&Offer| matches!(offer.stage, Stage::Claimed | Stage::Won { .. });
        let taken = self.offers.iter().filter(|(_, offer)| is_taken(offer));
        let taken: Vec<(String, Arc<Pod>)> =
            taken.map(|(uid, offer)| (uid.clone(), offer.pod.clone())).collect();
        let mut open: Vec<(&String, &mut Offer)> =
            self.offers.iter_mut().filter(|(_, offer)| offer.stage == Stage::Open && offer.stands).collect();
        open.sort_by_key(|(_, offer)| std::cmp::Reverse(priority(&offer.pod)));
        if open.is_empty() {
            return Vec::new();
        }
        let mut here = placement::neighbours(ground.node, ground.pods);
        for (uid, pod) in taken {
            here.place(&uid, &pod, &name);
        }
        let mut actions = Vec::new();
        for (uid, offer) in open {
            let demand = offer.pod.spec.as_ref().map(Demand::of).unwrap_or_default();
            let reasons = reasons(&offer.pod, &demand, ground, &here);
            let pod = offer.pod.clone();
            if !reasons.is_empty() {
                offer.stage = Stage::Declined;
                actions.push(Action::Decline { pod, reasons });
            } else if ground.may_claim {
                ground.room.bind(uid, demand);
                here.place(uid, &pod, &name);
                offer.stage = Stage::Claimed;
                actions.push(Action::Claim(pod));
            }
        }
        actions
    }
}

fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default()
}

fn reasons(pod: &Pod, demand: &Demand, ground: &Ground<'_>, here: &Cluster) -> Vec<Reason> {
    let mut reasons = Vec::new();
    reasons.extend((!ground.is_ready).then_some(Reason::NotReady));
    reasons.extend(pod.spec.as_ref().map(|spec| mismatches(spec, ground.node)).unwrap_or_default());
    reasons.extend(ground.room.lacks(demand, None));
    reasons.extend(placement::repulsions(pod, ground.node, here));
    reasons
}

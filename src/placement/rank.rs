//! Which of the nodes that may host a Pod is asked first. Never decides whether one may.
//!
//! The power of two choices: of the two nodes that come first by rendezvous hash for this Pod, the one with more room
//! left. Pods spread by themselves then, and stewards that know nothing of each other do not flock to one node.

use k8s_openapi::api::core::v1::Node;

use crate::placement::{Question, Site};

/// FNV-1a's offset and prime, 64 bit.
const FNV: (u64, u64) = (0xcbf2_9ce4_8422_2325, 0x0000_0100_0000_01b3);

/// A node that may host the Pod.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// The node.
    pub node: &'a Node,
    /// What is placed there.
    pub site: &'a Site,
}

/// The candidate to ask first; none without candidates.
pub fn best<'a>(question: &Question, uid: &str, candidates: &[Candidate<'a>]) -> Option<&'a str> {
    let mut two: Vec<(u64, &Candidate<'a>)> = Vec::new();
    for candidate in candidates {
        two.push((rendezvous(uid, candidate.name), candidate));
        two.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
        two.truncate(2);
    }
    let room = |candidate: &Candidate<'_>| candidate.site.room().share_left(question.demand());
    // The first by hash wins a tie.
    let best = two.iter().rev().max_by_key(|(_, candidate)| room(candidate))?;
    Some(best.1.name)
}

/// The rank of a node for a Pod: the same for everybody, and another order for each Pod.
fn rendezvous(pod: &str, node: &str) -> u64 {
    let bytes = pod.bytes().chain([0]).chain(node.bytes());
    let hash = bytes.fold(FNV.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV.1));
    // FNV's high bits hang on the last bytes too little: mix them (the finalizer of splitmix64).
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

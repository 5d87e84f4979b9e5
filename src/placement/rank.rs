//! Which of the nodes that may host a Pod is asked first. Never decides whether one may.
//!
//! What the Pod prefers comes first (taints `PreferNoSchedule`, preferred affinities, constraints that are wishes), then
//! nodes with fewest Pods of its controller. Among those that are left it is the power of two choices: of the two that
//! come first by rendezvous hash for this Pod, the one with more room left, images that are there already counting a
//! little. Pods spread by themselves then, and stewards that know nothing of each other do not flock to one node.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::{Node, PodSpec};

use crate::placement::{Question, Site};

/// FNV-1a's offset and prime, 64 bit.
const FNV: (u64, u64) = (0xcbf2_9ce4_8422_2325, 0x0000_0100_0000_01b3);

/// What each kind of wish weighs: taints, nodes, other Pods, spread; as kube-scheduler's default plugins.
const WEIGHTS: [i64; 4] = [3, 2, 2, 2];

/// What all images being there already is worth, in millionths of a node's room.
const IMAGES_WORTH: i64 = 100_000;

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
    let preferred = most_liked(question, candidates);
    let fewest = preferred.iter().map(|candidate| question.siblings(candidate.name)).min()?;
    let mut two: Vec<(u64, &Candidate<'a>)> = Vec::new();
    for candidate in preferred.into_iter().filter(|it| question.siblings(it.name) == fewest) {
        two.push((rendezvous(uid, candidate.name), candidate));
        two.sort_by_key(|(rank, _)| Reverse(*rank));
        two.truncate(2);
    }
    let worth = |candidate: &Candidate<'_>| {
        let images = question.spec().map_or(0, |spec| images_here(spec, candidate.node));
        candidate.site.room().share_left(question.demand()) + images
    };
    // The first by hash wins a tie.
    let best = two.iter().rev().max_by_key(|(_, candidate)| worth(candidate))?;
    Some(best.1.name)
}

/// Those that the Pod likes best, by the weighted sum of its wishes, each scaled to 0 … 100.
fn most_liked<'c, 'a>(question: &Question, candidates: &'c [Candidate<'a>]) -> Vec<&'c Candidate<'a>> {
    let likings: Vec<[i64; 4]> =
        candidates.iter().map(|candidate| question.likings(candidate.node)).collect();
    let range = |kind: usize| {
        let of_kind = likings.iter().map(|likings| likings[kind]);
        (of_kind.clone().min().unwrap_or(0), of_kind.max().unwrap_or(0))
    };
    let ranges: Vec<(i64, i64)> = (0..WEIGHTS.len()).map(range).collect();
    let score = |likings: &[i64; 4]| -> i64 {
        let scaled = |kind: usize| {
            let (least, most) = ranges[kind];
            if most == least { 0 } else { (likings[kind] - least).saturating_mul(100) / (most - least) }
        };
        (0..WEIGHTS.len()).map(|kind| WEIGHTS[kind] * scaled(kind)).sum()
    };
    let scores: Vec<i64> = likings.iter().map(score).collect();
    let best = scores.iter().max().copied();
    let zipped = candidates.iter().zip(&scores);
    zipped.filter(|(_, score)| Some(**score) == best).map(|(candidate, _)| candidate).collect()
}

/// The share of the Pod's images that the node has, in [`IMAGES_WORTH`].
fn images_here(spec: &PodSpec, node: &Node) -> i64 {
    let images = node.status.as_ref().and_then(|status| status.images.as_deref()).unwrap_or_default();
    let has = |wanted: &str| {
        let names = images.iter().flat_map(|image| image.names.iter().flatten());
        names.into_iter().any(|name| name == wanted)
    };
    let wanted: Vec<&str> =
        spec.containers.iter().filter_map(|container| container.image.as_deref()).collect();
    let here = wanted.iter().filter(|image| has(image)).count();
    IMAGES_WORTH * here as i64 / (wanted.len() as i64).max(1)
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

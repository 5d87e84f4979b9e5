//! How long an agent waits before it takes a free shard: the rendezvous rank decides that, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use super::hash;

/// Nobody waits longer, so nobody defers to a corpse.
pub const WAIT_MAX: Duration = Duration::from_secs(10);
/// What the next in rank gives each of those before it.
const STEP: Duration = Duration::from_millis(500);
/// So many ranks wait for one another; those behind them share what is left of [`WAIT_MAX`].
const STEPS: u32 = 16;
const LEFT: Duration = WAIT_MAX.saturating_sub(Duration::from_secs(8));

/// How long `node` waits among those that are ready and willing.
pub fn wait(node: &str, shard: u32, willing: &BTreeSet<String>) -> Duration {
    if !willing.contains(node) {
        return WAIT_MAX;
    }
    let shard = shard.to_string();
    let weight = |name: &str| hash::of(&[&shard, name]);
    let own = weight(node);
    let better = |name: &&String| (weight(name), name.as_str()) > (own, node);
    let rank = willing.iter().filter(better).count() as u32;
    if rank < STEPS {
        return STEP * rank;
    }
    let behind = willing.len() as u32 - STEPS;
    STEP * STEPS + LEFT * (rank - STEPS) / behind.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_waited_for_in_turn_and_never_longer_than_the_bound() {
        let nodes: BTreeSet<String> = (0..300).map(|n| format!("n{n}")).collect();
        let mut waits: Vec<Duration> = nodes.iter().map(|node| wait(node, 3, &nodes)).collect();
        waits.sort();
        assert_eq!(waits[0..3], [Duration::ZERO, STEP, STEP * 2]);
        assert!(waits.windows(2).all(|pair| pair[0] < pair[1]) && waits[299] < WAIT_MAX, "{waits:?}");
        assert_eq!(wait("another", 3, &nodes), WAIT_MAX);
    }

    #[test]
    fn the_first_ranks_are_spread_over_the_nodes() {
        let nodes: BTreeSet<String> = (0..5).map(|n| format!("n{n}")).collect();
        let first = |node: &String| (0..64).filter(|shard| wait(node, *shard, &nodes).is_zero()).count();
        assert!(nodes.iter().all(|node| first(node) > 4));
    }
}

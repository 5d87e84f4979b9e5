//! Steward shards: which of a fixed number of Leases an object belongs to. PURE.
//!
//! Architecture invariant: agents that count differently do not steward side by side. The number of shards and the
//! version of these rules stand in `steward-00`; a change to [`of`] is a new version.

mod hash;

/// The shard of the objects whose root owner has this UID, of so many: 0 where there are none to choose from.
pub fn of(uid: &str, shards: u32) -> u32 {
    let hash = hash::of(&[uid]);
    u32::try_from(hash % u64::from(shards.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_a_uid_never_changes() {
        for (uid, shards, shard) in [
            ("9f6f2d4e-58a7-4c3a-9f5e-1d2c3b4a5f60", 16, 11),
            ("9f6f2d4e-58a7-4c3a-9f5e-1d2c3b4a5f61", 16, 2),
            ("", 16, 11),
            ("anything", 1, 0),
            ("anything", 0, 0),
        ] {
            assert_eq!(of(uid, shards), shard, "{uid} of {shards}");
        }
    }

    #[test]
    fn uids_spread_evenly_over_the_shards() {
        let mut counts = [0u32; 16];
        for number in 0..16_000 {
            counts[of(&format!("9f6f2d4e-58a7-4c3a-9f5e-{number:012x}"), 16) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }
}

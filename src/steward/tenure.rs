//! Whose objects a steward thinks over: those of the shards that it holds, each from the first list on that began after
//! the shard was won.

use std::collections::{BTreeMap, BTreeSet};

use crate::lease::shard;

/// See the module.
#[derive(Debug)]
pub struct Tenure {
    /// How many shards there are.
    shards: u32,
    /// Which are held, and which winning of them it is.
    held: BTreeMap<u32, u64>,
    /// Those of which everything has been listed since.
    known: BTreeSet<u32>,
    /// Those that are known once the list in progress is whole.
    listing: BTreeSet<u32>,
}

impl Default for Tenure {
    /// The tenure of a cluster's only steward.
    fn default() -> Self {
        let listing = BTreeSet::from([0]);
        Self { shards: 1, held: BTreeMap::from([(0, 0)]), known: BTreeSet::new(), listing }
    }
}

impl Tenure {
    /// The tenure of who holds nothing yet.
    pub fn none() -> Self {
        Self { shards: 0, held: BTreeMap::new(), known: BTreeSet::new(), listing: BTreeSet::new() }
    }

    /// These are held now, of so many. Whether any of them has to be listed, and whether anything else has changed.
    pub fn hold(&mut self, shards: u32, held: BTreeMap<u32, u64>) -> Changed {
        let kept = |shard: &u32| self.held.get(shard).is_some_and(|won| held.get(shard) == Some(won));
        let before = self.known.len() + self.listing.len();
        let (known, listing): (BTreeSet<u32>, BTreeSet<u32>) = (
            self.known.iter().filter(|shard| kept(shard)).copied().collect(),
            self.listing.iter().filter(|shard| kept(shard)).copied().collect(),
        );
        let lost = known.len() + listing.len() < before;
        (self.shards, self.held, self.known, self.listing) = (shards, held, known, listing);
        let listed = |shard: &u32| self.known.contains(shard) || self.listing.contains(shard);
        Changed { must_list: !self.held.keys().all(listed), lost }
    }

    /// A list of everything begins.
    pub fn list(&mut self) {
        self.listing = self.held.keys().copied().collect();
    }

    /// The list is whole. Whether there is anything that was not known before.
    pub fn listed(&mut self) -> bool {
        let listing = std::mem::take(&mut self.listing);
        let before = self.known.len();
        self.known.extend(listing);
        self.known.len() > before
    }

    /// Whether nothing is thought over.
    pub fn is_idle(&self) -> bool {
        self.known.is_empty()
    }

    /// Whether a list is awaited.
    pub fn is_listing(&self) -> bool {
        !self.listing.is_empty()
    }

    /// Whether the objects with this root are thought over.
    pub fn has(&self, root: &str) -> bool {
        self.known.contains(&shard::of(root, self.shards))
    }
}

/// What another set of shards means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Everything has to be listed, for what has been won.
    pub must_list: bool,
    /// Something is held no more, or was lost and won again.
    pub lost: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const UIDS: [&str; 2] = ["9f6f2d4e-58a7-4c3a-9f5e-1d2c3b4a5f60", "9f6f2d4e-58a7-4c3a-9f5e-1d2c3b4a5f61"];

    fn has(tenure: &Tenure) -> [bool; 2] {
        UIDS.map(|uid| tenure.has(uid))
    }

    #[test]
    fn a_shard_is_stewarded_from_the_first_list_on_that_began_after_it_was_won() {
        let [a, b] = UIDS.map(|uid| shard::of(uid, 16));
        assert_ne!(a, b);
        let mut tenure = Tenure::none();
        assert!(tenure.is_idle());
        let must_list = Changed { must_list: true, lost: false };
        assert_eq!(tenure.hold(16, [(a, 1)].into()), must_list);
        tenure.list();
        assert_eq!(tenure.hold(16, [(a, 1), (b, 2)].into()), must_list, "this list began before");
        assert!(tenure.listed());
        assert_eq!(has(&tenure), [true, false]);
        tenure.list();
        assert_eq!(has(&tenure), [true, false], "what is known goes on meanwhile");
        assert!(tenure.listed());
        assert_eq!(has(&tenure), [true, true]);
        let lost = Changed { must_list: false, lost: true };
        assert_eq!(tenure.hold(16, [(b, 2)].into()), lost);
        assert_eq!(has(&tenure), [false, true]);
        let both = Changed { must_list: true, lost: true };
        assert_eq!(tenure.hold(16, [(b, 3)].into()), both, "lost and won again");
        assert_eq!(has(&tenure), [false, false]);
        tenure.hold(16, [].into());
        assert!(tenure.is_idle() && !tenure.is_listing());
    }

    #[test]
    fn the_only_steward_has_everything_once_it_is_listed() {
        let mut tenure = Tenure::default();
        assert!(!tenure.has(UIDS[0]));
        assert!(tenure.listed());
        assert_eq!(has(&tenure), [true, true]);
        assert!(!tenure.listed());
    }
}

//! Sets of completion indexes, written as upstream does: `1,3-5,7`.

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indexes(BTreeSet<i64>);

impl Indexes {
    /// Reads a set; what cannot be read, and what is not below `completions`, is left out.
    pub fn parse(text: &str, completions: i64) -> Self {
        let mut all = BTreeSet::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<i64>(), last.parse::<i64>()) {
                all.extend(first.max(0)..=last.min(completions - 1));
            }
        }
        Self(all)
    }

    /// Puts an index in; whether it is new.
    pub fn insert(&mut self, index: i64) -> bool {
        self.0.insert(index)
    }

    /// How many there are.
    pub fn count(&self) -> i64 {
        self.0.len() as i64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this one is in it.
    pub fn has(&self, index: i64) -> bool {
        self.0.contains(&index)
    }

    /// Those below `completions` that are not in it, upwards.
    pub fn absent(&self, completions: i64) -> impl Iterator<Item = i64> {
        (0..completions).filter(|index| !self.0.contains(index))
    }
}

impl Display for Indexes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while rest.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            match last - first {
                0 => write!(f, "{comma}{first}")?,
                // Upstream writes two neighbours apart.
                1 => write!(f, "{comma}{first},{last}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn runs_of_three_and_more_are_written_as_ranges() {
        let table = [
            ("", ""),
            ("0", "0"),
            ("1,2", "1,2"),
            ("1-3,5,7-8", "1-3,5,7,8"),
            ("3,9-20", "3,9"),
            ("x,-1,2", "2"),
        ];
        for (text, expected) in table {
            assert_eq!(Indexes::parse(text, 10).to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(all in proptest::collection::btree_set(0_i64..50, 0..50)) {
            let indexes = Indexes(all);
            prop_assert_eq!(&Indexes::parse(&indexes.to_string(), 50), &indexes);
            prop_assert_eq!(indexes.count() + indexes.absent(50).count() as i64, 50);
        }
    }
}

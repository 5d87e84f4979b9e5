//! A set of paths, as a tree of their elements.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::element::{self, Element};

/// Marks a path that is in the set beside longer ones.
const HERE: &str = ".";

/// A set of paths. The empty path, which would be the whole object, is in none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// Whether the path that ends here is in the set.
    here: bool,
    below: BTreeMap<Element, Set>,
}

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        !self.here && self.below.is_empty()
    }

    pub(super) fn insert(&mut self, path: &[Element]) {
        if let Some((first, rest)) = path.split_first() {
            let below = self.below.entry(first.clone()).or_default();
            if rest.is_empty() { below.here = true } else { below.insert(rest) }
        }
    }

    /// Whether the path of this one element is in the set.
    pub(super) fn has(&self, element: &str) -> bool {
        self.below.get(element).is_some_and(|below| below.here)
    }

    /// The paths that continue this element.
    pub(super) fn after(&self, element: &str) -> Option<&Set> {
        self.below.get(element).filter(|below| !below.below.is_empty())
    }

    /// Adds a whole tree under one element.
    pub(super) fn graft(&mut self, element: Element, here: bool, mut below: Set) {
        below.here = here;
        if !below.is_empty() {
            self.below.insert(element, below);
        }
    }

    /// Elements of first steps, each with whether its path is in the set and what continues it.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&Element, bool, &Set)> {
        self.below.iter().map(|(element, below)| (element, below.here, below))
    }

    /// Takes away everything that starts with this element.
    pub(super) fn cut(&mut self, element: &str) {
        self.below.remove(element);
    }

    pub(super) fn union(&mut self, other: &Set) {
        self.here |= other.here;
        for (element, theirs) in &other.below {
            match self.below.get_mut(element) {
                Some(mine) => mine.union(theirs),
                None => {
                    self.below.insert(element.clone(), theirs.clone());
                }
            }
        }
    }

    pub(super) fn subtract(&mut self, other: &Set) {
        self.here &= !other.here;
        for (element, theirs) in &other.below {
            if let Some(mine) = self.below.get_mut(element) {
                mine.subtract(theirs);
                if mine.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    pub(super) fn intersection(&self, other: &Set) -> Set {
        let mut both = Set { here: self.here && other.here, below: BTreeMap::new() };
        for (element, mine) in &self.below {
            let Some(theirs) = other.below.get(element) else { continue };
            let common = mine.intersection(theirs);
            if !common.is_empty() {
                both.below.insert(element.clone(), common);
            }
        }
        both
    }

    /// Every path as people read it, e.g. `.spec.containers[name="a"].image`; at each step first those that end there.
    pub(super) fn shown(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.show("", &mut paths);
        paths
    }

    fn show(&self, prefix: &str, paths: &mut Vec<String>) {
        let steps: Vec<(String, &Set)> = self
            .below
            .iter()
            .map(|(element, set)| (format!("{prefix}{}", element::shown(element)), set))
            .collect();
        paths.extend(steps.iter().filter(|(_, set)| set.here).map(|(path, _)| path.clone()));
        for (path, set) in &steps {
            set.show(path, paths);
        }
    }

    /// Reads `fieldsV1`; none when it is malformed.
    pub(super) fn decode(fields: &Value) -> Option<Set> {
        let mut set = Set::default();
        for (text, below) in fields.as_object()? {
            if text == HERE {
                continue;
            }
            let mut child = Set::decode(below)?;
            let below = below.as_object()?;
            child.here = below.is_empty() || below.contains_key(HERE);
            if let Some(element) = element::read(text).filter(|_| !child.is_empty()) {
                set.below.entry(element).or_default().union(&child);
            }
        }
        Some(set)
    }

    /// Writes `fieldsV1`.
    pub(super) fn encode(&self) -> Value {
        let mut fields = Map::new();
        for (element, set) in &self.below {
            let mut below = set.encode();
            if set.here && !set.below.is_empty() {
                below[HERE] = json!({});
            }
            fields.insert((**element).into(), below);
        }
        Value::Object(fields)
    }

    /// Whether every path of this set is in `fieldsV1`, which is not decoded for it.
    pub(super) fn is_within(&self, fields: &Value) -> bool {
        self.below.iter().all(|(element, set)| {
            let Some(below) = fields.get(&**element).and_then(Value::as_object) else { return false };
            let is_there = below.is_empty() || below.contains_key(HERE);
            (!set.here || is_there) && set.is_within(&fields[&**element])
        })
    }

    /// Whether any path of this set is in `fieldsV1`.
    pub(super) fn touches(&self, fields: &Value) -> bool {
        self.below.iter().any(|(element, set)| {
            let Some(below) = fields.get(&**element).and_then(Value::as_object) else { return false };
            let is_there = below.is_empty() || below.contains_key(HERE);
            (set.here && is_there) || set.touches(&fields[&**element])
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(fields: &Value) -> Set {
        Set::decode(fields).expect("well-formed")
    }

    #[test]
    fn sets_are_written_as_they_are_read() {
        for fields in [
            json!({}),
            json!({ "f:spec": { "f:replicas": {} } }),
            json!({ "f:metadata": { "f:labels": { ".": {}, "f:app": {} } } }),
            json!({ "f:l": { "k:{\"name\":\"a\"}": { ".": {}, "f:image": {} }, "v:1": {}, "i:3": {} } }),
        ] {
            assert_eq!(set(&fields).encode(), fields);
        }
        assert_eq!(set(&json!({ ".": {}, "z:new": {}, "f:a": {} })).encode(), json!({ "f:a": {} }));
        assert_eq!(set(&json!({ "f:a": { "z:new": {} } })).encode(), json!({}));
        for malformed in [json!(null), json!([]), json!({ "f:a": 1 }), json!({ "f:a": { "f:b": null } })] {
            assert_eq!(Set::decode(&malformed), None, "{malformed}");
        }
    }

    #[test]
    fn paths_are_shown_shortest_first_at_each_step() {
        let fields = json!({
            "f:spec": { ".": {}, "f:list": { "k:{\"name\":\"a\"}": { ".": {}, "f:image": {} } }, "f:x": {} },
        });
        assert_eq!(
            set(&fields).shown(),
            [".spec", ".spec.x", ".spec.list[name=\"a\"]", ".spec.list[name=\"a\"].image"]
        );
    }

    fn any_set() -> impl Strategy<Value = Set> {
        let path = prop::collection::vec(prop::sample::select(vec!["f:a", "f:b", "v:1"]), 1..4);
        prop::collection::vec(path, 0..8).prop_map(|paths| {
            let mut set = Set::default();
            for path in paths {
                let path: Vec<Element> = path.into_iter().map(Element::from).collect();
                set.insert(&path);
            }
            set
        })
    }

    proptest! {
        #[test]
        fn sets_are_sets(a in any_set(), b in any_set()) {
            let paths = |set: &Set| set.shown().into_iter().collect::<std::collections::BTreeSet<_>>();
            let (mut union, mut rest) = (a.clone(), a.clone());
            union.union(&b);
            rest.subtract(&b);
            prop_assert_eq!(paths(&union), paths(&a).union(&paths(&b)).cloned().collect());
            prop_assert_eq!(paths(&rest), paths(&a).difference(&paths(&b)).cloned().collect());
            prop_assert_eq!(paths(&a.intersection(&b)), paths(&a).intersection(&paths(&b)).cloned().collect());
            prop_assert_eq!(a.is_within(&b.encode()), paths(&a).is_subset(&paths(&b)));
            prop_assert_eq!(a.touches(&b.encode()), !a.intersection(&b).is_empty());
            prop_assert_eq!(set(&a.encode()), a);
        }
    }
}

//! What differs between two versions of an object.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::element::{self, Element};
use super::schema::Node;
use super::set::Set;
use crate::api::openapi::lists::List;

/// The paths that differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) removed: Set,
    pub(super) modified: Set,
    pub(super) added: Set,
}

impl Comparison {
    pub(super) fn of(node: &'static Node, old: &Value, new: &Value) -> Self {
        let mut walk = Walk { path: Vec::new(), found: Self::default() };
        walk.compare(node, Some(old), Some(new));
        walk.found
    }

    /// What the writer of the new version has set.
    pub(super) fn taken(&self) -> Set {
        let mut taken = self.modified.clone();
        taken.union(&self.added);
        taken
    }

    pub(super) fn each(&mut self, change: impl Fn(&mut Set)) {
        [&mut self.removed, &mut self.modified, &mut self.added].into_iter().for_each(change);
    }
}

/// The empty struct or list that upstream writes where a field is always there.
static NOTHING: Value = Value::Array(Vec::new());

struct Walk {
    path: Vec<Element>,
    found: Comparison,
}

impl Walk {
    fn compare(&mut self, node: &'static Node, old: Option<&Value>, new: Option<&Value>) {
        if old == new {
            return;
        }
        let is_whole = node.is_leaf() || (is_empty(old) && is_empty(new));
        match node {
            _ if is_whole => {}
            Node::List(list, of) => self.compare_items(*list, of, items(old), items(new)),
            Node::Map { .. } | Node::Struct { .. } | Node::Scalar(_) | Node::Raw => {
                self.compare_fields(node, old, new);
            }
        }
        match (old, new) {
            (None, _) => self.found.added.insert(&self.path),
            (_, None) => self.found.removed.insert(&self.path),
            (Some(_), Some(_)) if is_whole => self.found.modified.insert(&self.path),
            (Some(_), Some(_)) => {}
        }
    }

    fn compare_fields(&mut self, node: &'static Node, old: Option<&Value>, new: Option<&Value>) {
        let always = node.always();
        let nothing = |object: Option<&Value>, key: &str| {
            (object.is_some() && always.iter().any(|name| **name == *key)).then_some(&NOTHING)
        };
        let (was, is) = (fields(old), fields(new));
        let named =
            |fields: Option<&Map<String, Value>>, key: &str| fields.is_some_and(|f| f.contains_key(key));
        let of_old = was.into_iter().flat_map(Map::keys).map(String::as_str);
        let of_new = is.into_iter().flat_map(Map::keys).map(String::as_str).filter(|key| !named(was, key));
        let of_none = always.iter().map(|key| &**key).filter(|key| !named(was, key) && !named(is, key));
        for key in of_old.chain(of_new).chain(of_none) {
            let a = value(was, key).or_else(|| nothing(old, key));
            let b = value(is, key).or_else(|| nothing(new, key));
            if a != b {
                self.path.push(element::of_field(key));
                self.compare(node.at(key), a, b);
                self.path.pop();
            }
        }
    }

    fn compare_items(&mut self, list: List, of: &'static Node, old: &[Value], new: &[Value]) {
        let (old, new) = (by_element(list, old), by_element(list, new));
        let added = new.keys().filter(|element| !old.contains_key(*element));
        for element in old.keys().chain(added) {
            self.path.push(element.clone());
            match (values(&old, element), values(&new, element)) {
                ([a], [b]) => self.compare(of, Some(a), Some(b)),
                ([], [b]) => self.compare(of, None, Some(b)),
                ([a], []) => self.compare(of, Some(a), None),
                ([], []) => {}
                // An element that is there twice is one thing, owned whole.
                (a @ [_, _, ..], b @ [_, _, ..]) if a == b => {}
                ([_, _, ..], [_, _, ..]) => self.found.modified.insert(&self.path),
                ([_, _, ..], rest) => {
                    for b in rest {
                        self.compare(of, None, Some(b));
                    }
                    self.found.removed.insert(&self.path);
                }
                (rest, [_, _, ..]) => {
                    for a in rest {
                        self.compare(of, Some(a), None);
                    }
                    self.found.added.insert(&self.path);
                }
            }
            self.path.pop();
        }
    }
}

/// The items of a list by their elements. What has none was refused when it was written.
fn by_element(list: List, items: &[Value]) -> BTreeMap<Element, Vec<&Value>> {
    let mut found: BTreeMap<Element, Vec<&Value>> = BTreeMap::new();
    for item in items {
        if let Ok(element) = element::of_item(list, item) {
            found.entry(element).or_default().push(item);
        }
    }
    found
}

fn values<'s>(side: &'s BTreeMap<Element, Vec<&Value>>, element: &str) -> &'s [&'s Value] {
    side.get(element).map_or(&[], |values| values)
}

/// What a field holds; null and no list are as good as no field.
fn value<'v>(fields: Option<&'v Map<String, Value>>, key: &str) -> Option<&'v Value> {
    fields?.get(key).filter(|value| !value.is_null() && !value.as_array().is_some_and(Vec::is_empty))
}

fn fields(object: Option<&Value>) -> Option<&Map<String, Value>> {
    object.and_then(Value::as_object)
}

pub(super) fn items(list: Option<&Value>) -> &[Value] {
    list.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => false,
    }
}

//! An applied configuration over an object, and paths taken out of one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::compare::items;
use super::element::{self, Element};
use super::schema::Node;
use super::set::Set;
use crate::api::openapi::lists::List;

/// `over` laid over `under`, field by field and element by element as the types say; what is owned whole is replaced.
pub(super) fn merge(node: &'static Node, under: Option<&Value>, over: Option<&Value>) -> Option<Value> {
    let whole = || over.or(under).cloned();
    let is_empty = |side: Option<&Value>| match side {
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => false,
        Some(Value::Null) | None => true,
    };
    if node.is_leaf() || (is_empty(under) && is_empty(over)) {
        return whole();
    }
    match node {
        Node::List(list, of) => merge_items(*list, of, items(under), items(over)).map(Value::Array),
        Node::Map { .. } | Node::Struct { .. } | Node::Scalar(_) | Node::Raw => {
            merge_fields(node, under, over).map(Value::Object)
        }
    }
}

fn merge_fields(
    node: &'static Node,
    under: Option<&Value>,
    over: Option<&Value>,
) -> Option<Map<String, Value>> {
    let of = |side: Option<&'_ Value>| side.and_then(Value::as_object).cloned().unwrap_or_default();
    let (under, over) = (of(under), of(over));
    let mut merged = Map::new();
    for (key, mine) in &under {
        merged.extend(merge(node.at(key), Some(mine), over.get(key)).map(|value| (key.clone(), value)));
    }
    for (key, theirs) in over.iter().filter(|(key, _)| !under.contains_key(*key)) {
        merged.extend(merge(node.at(key), None, Some(theirs)).map(|value| (key.clone(), value)));
    }
    (!merged.is_empty()).then_some(merged)
}

/// The order is that of `over`; what only `under` has stays between the neighbours it had, as upstream weaves them.
fn merge_items(list: List, of: &'static Node, under: &[Value], over: &[Value]) -> Option<Vec<Value>> {
    let (mine, theirs) = (elements(list, under), elements(list, over));
    let (first_mine, first_theirs) = (by_element(&mine), by_element(&theirs));
    let mut shared =
        theirs.iter().map(|(element, _)| element).filter(|e| first_mine.contains_key(*e)).peekable();
    let mut done: BTreeSet<&Element> = BTreeSet::new();
    let mut merged = Vec::with_capacity(mine.len().max(theirs.len()));
    let (mut left, mut right) = (mine.iter().peekable(), theirs.iter().peekable());
    while left.peek().is_some() || right.peek().is_some() {
        if let (Some((a, _)), Some((b, _))) = (left.peek(), right.peek()) {
            if a == b {
                done.insert(b);
                merged.extend(merge(of, first_mine.get(a).copied(), first_theirs.get(a).copied()));
                left.next();
                right.next();
                shared.next();
                continue;
            }
            if first_theirs.contains_key(a) && shared.peek().is_some_and(|wanted| *wanted != a) {
                left.next();
                continue;
            }
        }
        if let Some((element, item)) = left.peek() {
            if !first_theirs.contains_key(element) {
                merged.extend(merge(of, Some(item), None));
                left.next();
                continue;
            }
            if done.contains(element) {
                left.next();
            }
        }
        if let Some((element, _)) = right.next() {
            done.insert(element);
            merged.extend(merge(of, first_mine.get(element).copied(), first_theirs.get(element).copied()));
            shared.next_if(|wanted| *wanted == element);
        }
    }
    (!merged.is_empty()).then_some(merged)
}

fn elements(list: List, items: &[Value]) -> Vec<(Element, &Value)> {
    items.iter().filter_map(|item| Some((element::of_item(list, item).ok()?, item))).collect()
}

fn by_element<'v>(items: &[(Element, &'v Value)]) -> BTreeMap<Element, &'v Value> {
    let mut first = BTreeMap::new();
    for (element, item) in items {
        first.entry(element.clone()).or_insert(*item);
    }
    first
}

/// `value` without these paths. Null where nothing is left.
pub(super) fn without(node: &'static Node, value: &Value, doomed: &Set) -> Value {
    match (node, value) {
        (_, Value::Array(_) | Value::Object(_)) if node.is_leaf() => Value::Null,
        (Node::List(list, of), Value::Array(items)) => {
            let kept = items.iter().filter_map(|item| {
                let Ok(element) = element::of_item(*list, item) else { return Some(item.clone()) };
                rest(of, item, &element, doomed).filter(|left| !left.is_null())
            });
            let kept: Vec<Value> = kept.collect();
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        (_, Value::Object(fields)) => {
            let kept = fields.iter().filter_map(|(key, item)| {
                rest(node.at(key), item, &element::of_field(key), doomed).map(|left| (key.clone(), left))
            });
            let kept: Map<String, Value> = kept.collect();
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        (_, Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            value.clone()
        }
    }
}

/// What is left of one field or item; none when it goes itself.
fn rest(node: &'static Node, item: &Value, element: &str, doomed: &Set) -> Option<Value> {
    if doomed.has(element) {
        return None;
    }
    Some(doomed.after(element).map_or_else(|| item.clone(), |doomed| without(node, item, doomed)))
}

//! Which paths a value names, and whether a configuration is one that its type allows.

use std::collections::BTreeSet;

use serde_json::Value;

use super::element::{self, Element};
use super::schema::{Node, Scalar};
use super::set::Set;
use crate::api::openapi::lists::List;

/// Every path that `value` sets.
pub(super) fn paths(node: &'static Node, value: &Value) -> Set {
    let mut set = Set::default();
    match (node, value) {
        _ if node.is_leaf() => {}
        (Node::List(list, of), Value::Array(items)) => {
            let elements: Vec<Option<Element>> =
                items.iter().map(|item| element::of_item(*list, item).ok()).collect();
            for (item, element) in items.iter().zip(&elements) {
                let Some(element) = element else { continue };
                let is_double = elements.iter().filter(|other| other.as_ref() == Some(element)).count() > 1;
                let below = if is_double { Set::default() } else { paths(of, item) };
                set.graft(element.clone(), true, below);
            }
        }
        (_, Value::Object(fields)) => {
            for (key, item) in fields {
                let of = node.at(key);
                let is_nothing = item.is_null() || item.as_object().is_some_and(serde_json::Map::is_empty);
                let here = of.is_leaf() || is_nothing || !node.declares(key);
                set.graft(element::of_field(key), here, paths(of, item));
            }
        }
        _ => {}
    }
    set
}

/// The set with the fields above each path in it as well, where they are declared fields and no keys of maps.
pub(super) fn with_declared(node: &'static Node, set: &Set) -> Set {
    let mut whole = Set::default();
    for (element, here, below) in set.steps() {
        let field = element.strip_prefix("f:");
        let here = here || field.is_some_and(|name| node.declares(name));
        let of = match (field, node) {
            (Some(name), _) => node.at(name),
            (None, Node::List(_, of)) => of,
            (None, Node::Scalar(_) | Node::Raw | Node::Map { .. } | Node::Struct { .. }) => &Node::Raw,
        };
        whole.graft(element.clone(), here, with_declared(of, below));
    }
    whole
}

/// Takes the nulls out of a configuration, and tells where those stood that clear a field owned whole.
pub(super) fn take_nulls(node: &'static Node, value: &mut Value) -> Set {
    let mut cleared = Set::default();
    match (node, value) {
        _ if node.is_leaf() => {}
        (Node::List(list, of), Value::Array(items)) => {
            for item in items {
                if let Ok(element) = element::of_item(*list, item) {
                    cleared.graft(element, false, take_nulls(of, item));
                }
            }
        }
        (_, Value::Object(fields)) => {
            fields.retain(|key, item| {
                let (of, element) = (node.at(key), element::of_field(key));
                let (is_null, below) = (item.is_null(), take_nulls(of, item));
                cleared.graft(element, is_null && of.is_leaf(), below);
                !is_null
            });
        }
        _ => {}
    }
    cleared
}

/// Why a configuration cannot be applied, in upstream's words; empty when it can.
pub(super) fn faults(node: &'static Node, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    judge(node, value, "", &mut faults);
    faults
}

fn judge(node: &'static Node, value: &Value, path: &str, faults: &mut Vec<String>) {
    let mut tell = |what: String| {
        faults.push(if path.is_empty() { what } else { format!("{path}: {what}") });
    };
    match (node, value) {
        (_, Value::Null) | (Node::Raw, _) => {}
        (Node::Scalar(scalar), _) => {
            if let Some(expected) = unfit(*scalar, value) {
                tell(format!("expected {expected}, got {value}"));
            }
        }
        (Node::List(list, of), Value::Array(items)) => judge_items(*list, of, items, path, faults),
        (Node::List(..), _) => tell(format!("expected list, got {value}")),
        (Node::Map { .. } | Node::Struct { .. }, Value::Object(fields)) => {
            for (key, item) in fields {
                let path = format!("{path}.{key}");
                if matches!(node, Node::Struct { .. }) && !node.declares(key) {
                    faults.push(format!("{path}: field not declared in schema"));
                    return;
                }
                judge(node.at(key), item, &path, faults);
            }
        }
        (Node::Map { .. } | Node::Struct { .. }, _) => tell(format!("expected map, got {value}")),
    }
}

fn judge_items(list: List, of: &'static Node, items: &[Value], path: &str, faults: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        if list == List::Atomic {
            judge(of, item, &format!("{path}[{i}]"), faults);
            continue;
        }
        match element::of_item(list, item) {
            Err(why) => {
                faults.push(format!("{path}: element {i}: {why}"));
                return;
            }
            Ok(element) => {
                let shown = element::shown(&element);
                if !seen.insert(element) {
                    faults.push(format!("{path}: duplicate entries for key {shown}"));
                }
                judge(of, item, &format!("{path}{shown}"), faults);
            }
        }
    }
}

fn unfit(scalar: Scalar, value: &Value) -> Option<&'static str> {
    let (is_fit, expected) = match scalar {
        Scalar::Text => (value.is_string(), "string"),
        Scalar::Number => (value.is_number(), "numeric (int or float)"),
        Scalar::Bool => (value.is_boolean(), "boolean"),
        Scalar::Any => (!value.is_array() && !value.is_object(), "any scalar"),
    };
    (!is_fit).then_some(expected)
}

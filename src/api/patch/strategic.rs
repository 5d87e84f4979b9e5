//! Strategic merge patch: a merge patch in which the lists named in [`merge_keys`](crate::api::merge_keys) are merged
//! element by element, steered by directives: `$patch` (`delete`, `replace`, `merge`), `$retainKeys`,
//! `$setElementOrder/LIST` and `$deleteFromPrimitiveList/LIST`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::api::merge_keys::{self, Strategy};
use crate::api::patch::PatchError;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder";
const DELETE_FROM: &str = "$deleteFromPrimitiveList";

type Object = Map<String, Value>;

/// Merges `patch` into `original`, an object of this type (a kind's name, see [`merge_keys::field`]).
pub(super) fn merge(original: Object, mut patch: Object, of: &str) -> Result<Object, PatchError> {
    match patch.remove(DIRECTIVE) {
        None => {}
        Some(Value::String(directive)) if directive == "replace" => return Ok(plain_object(patch)),
        Some(Value::String(directive)) if directive == "delete" => return Ok(Object::new()),
        Some(other) => return Err(unknown_directive(&other, patch)),
    }
    let mut merged = original;
    retain_keys(&mut merged, &mut patch)?;
    let orders: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for directive in orders {
        let order = patch.remove(&directive).expect("its key was just listed");
        merge_in_order(&mut merged, &mut patch, &directive, order, of)?;
    }
    for (key, value) in patch {
        match key.strip_prefix(DELETE_FROM) {
            Some(rest) => {
                let name = rest.strip_prefix('/').ok_or(PatchError::BAD_PRIMITIVE_LIST)?;
                delete_from(&mut merged, name, value, of)?;
            }
            None => merge_field(&mut merged, &key, value, of)?,
        }
    }
    Ok(merged)
}

fn merge_field(merged: &mut Object, key: &str, value: Value, of: &str) -> Result<(), PatchError> {
    let row = merge_keys::field(of, key);
    let holds = row.map_or("", |row| row.holds);
    let strategy = row.map(|row| row.strategy);
    let result = match (merged.remove(key), value) {
        (_, Value::Null) => None,
        (Some(Value::Object(old)), Value::Object(new)) if strategy != Some(Strategy::ReplacedStruct) => {
            Some(Value::Object(merge(old, new, holds)?))
        }
        (Some(Value::Array(old)), Value::Array(new)) if is_merged(strategy) => {
            Some(Value::Array(merge_list(old, new, holds, key_of(strategy))?))
        }
        (_, new) => plain(new),
    };
    if let Some(value) = result {
        merged.insert(key.to_owned(), value);
    }
    Ok(())
}

fn is_merged(strategy: Option<Strategy>) -> bool {
    matches!(strategy, Some(Strategy::ListBy(_) | Strategy::RetainedListBy(_) | Strategy::Set))
}

fn key_of(strategy: Option<Strategy>) -> &'static str {
    match strategy {
        Some(Strategy::ListBy(key) | Strategy::RetainedListBy(key)) => key,
        Some(
            Strategy::Set
            | Strategy::Struct
            | Strategy::ReplacedStruct
            | Strategy::RetainedStruct
            | Strategy::ReplacedList,
        )
        | None => "",
    }
}

/// `$retainKeys`: clears what the list does not name, so that the old arm of a union goes.
fn retain_keys(merged: &mut Object, patch: &mut Object) -> Result<(), PatchError> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(names) = directive else { return Err(PatchError::BAD_RETAIN_KEYS) };
    let names: BTreeSet<&str> = names.iter().filter_map(Value::as_str).collect();
    let is_directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    if patch
        .iter()
        .any(|(key, value)| !value.is_null() && !is_directive(key) && !names.contains(key.as_str()))
    {
        return Err(PatchError::BAD_RETAIN_KEYS);
    }
    merged.retain(|key, _| names.contains(key.as_str()));
    Ok(())
}

/// `$deleteFromPrimitiveList/LIST`: takes scalars out of a list, whatever its strategy.
fn delete_from(merged: &mut Object, name: &str, doomed: Value, of: &str) -> Result<(), PatchError> {
    match (merged.get_mut(name), doomed) {
        (_, Value::Null) => {
            merged.remove(name);
        }
        (Some(Value::Array(list)), Value::Array(doomed)) => {
            if same_types(list, &doomed)? == Some(ElementType::Object) {
                let row = merge_keys::field(of, name);
                let old = std::mem::take(list);
                *list =
                    merge_list(old, doomed, row.map_or("", |r| r.holds), key_of(row.map(|r| r.strategy)))?;
            } else {
                let doomed: BTreeSet<String> = doomed.iter().map(Value::to_string).collect();
                list.retain(|item| !doomed.contains(&item.to_string()));
            }
        }
        _ => {}
    }
    Ok(())
}

/// `$setElementOrder/LIST`: merges the list together with its patch and puts it in this order; elements that the order
/// does not name keep their place among those that they stood between.
fn merge_in_order(
    merged: &mut Object,
    patch: &mut Object,
    directive: &str,
    order: Value,
    of: &str,
) -> Result<(), PatchError> {
    let name = directive.strip_prefix(SET_ORDER).and_then(|rest| rest.strip_prefix('/'));
    let name = name.ok_or(PatchError::BAD_ELEMENT_ORDER)?;
    let Value::Array(order) = order else { return Err(not_a_list(&order)) };
    let row = merge_keys::field(of, name);
    let key = key_of(row.map(|row| row.strategy));
    let old =
        merged.get(name).map(|list| list.as_array().cloned().ok_or_else(|| not_a_list(list))).transpose()?;
    let new = patch.remove(name).map(list_of).transpose()?;
    check_order(new.as_deref().unwrap_or_default(), &order, key)?;
    let result = match (old.clone(), new) {
        (None, None) => return Ok(()),
        (Some(old), None) => old,
        (Some(old), Some(new)) if is_merged(row.map(|row| row.strategy)) => {
            merge_list(old, new, row.map_or("", |row| row.holds), key)?
        }
        (_, Some(new)) => plain_list(new),
    };
    let result = in_order(result, &order, old.as_deref().unwrap_or_default(), key)?;
    merged.insert(name.to_owned(), Value::Array(result));
    Ok(())
}

fn list_of(value: Value) -> Result<Vec<Value>, PatchError> {
    if let Value::Array(list) = value { Ok(list) } else { Err(not_a_list(&value)) }
}

/// Every element of the patch stands in the order, and in that order.
fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), PatchError> {
    if order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let wanted = identity(item, key)?;
        let mut found = false;
        for candidate in rest.by_ref() {
            if identity(candidate, key)? == wanted {
                found = true;
                break;
            }
        }
        if !found {
            return Err(PatchError::malformed(format!(
                "The order in patch list:\n{}\n doesn't match {SET_ORDER} list:\n{}\n",
                go_list(patch),
                go_list(order)
            )));
        }
    }
    Ok(())
}

/// Merges two lists of scalars as sets, or two lists of objects by their merge key.
fn merge_list(old: Vec<Value>, new: Vec<Value>, of: &str, key: &str) -> Result<Vec<Value>, PatchError> {
    match same_types(&old, &new)? {
        None => Ok(old),
        Some(ElementType::Object) if key.is_empty() => Err(PatchError::malformed(format!(
            "cannot merge lists without merge key for {}",
            if of.is_empty() { "struct" } else { of }
        ))),
        Some(ElementType::Object) => {
            let (old, new) = obey_elements(old, new, key)?;
            let order = new.clone();
            let merged = merge_elements(old.clone(), new, of, key)?;
            in_order(merged, &order, &old, key)
        }
        Some(_) => {
            let mut seen = BTreeSet::new();
            let both = old.iter().chain(&new).filter(|item| seen.insert(item.to_string())).cloned().collect();
            in_order(both, &new, &old, "")
        }
    }
}

/// Carries out the `$patch` directives among the elements; what is left of the patch has none.
fn obey_elements(
    mut old: Vec<Value>,
    new: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut rest, mut is_replaced) = (Vec::new(), false);
    let mut doomed = BTreeSet::new();
    for item in new {
        match item.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
            None => rest.push(item),
            Some("delete") => {
                doomed.insert(identity(&item, key)?);
            }
            Some("replace") => is_replaced = true,
            Some("merge") => {
                return Err(PatchError::Malformed(
                    "merging lists cannot yet be specified in the patch".into(),
                ));
            }
            Some(_) => {
                let directive = item[DIRECTIVE].clone();
                return Err(unknown_directive(&directive, item.as_object().cloned().unwrap_or_default()));
            }
        }
    }
    if is_replaced {
        return Ok((plain_list(rest), Vec::new()));
    }
    old.retain(|item| identity(item, key).map_or(true, |identity| !doomed.contains(&identity)));
    Ok((old, rest))
}

fn merge_elements(
    mut old: Vec<Value>,
    new: Vec<Value>,
    of: &str,
    key: &str,
) -> Result<Vec<Value>, PatchError> {
    let mut places = BTreeMap::new();
    for (place, item) in old.iter().enumerate() {
        if let Ok(identity) = identity(item, key) {
            places.entry(identity).or_insert(place);
        }
    }
    for item in new {
        let identity = identity(&item, key)?;
        if let Some(&place) = places.get(&identity) {
            let (Value::Object(mine), Value::Object(theirs)) = (old[place].take(), item) else { continue };
            old[place] = Value::Object(merge(mine, theirs, of)?);
        } else {
            places.insert(identity, old.len());
            old.extend(plain(item));
        }
    }
    Ok(old)
}

/// Puts elements named by `first` in its order and weaves the others in where `before` had them.
fn in_order(
    items: Vec<Value>,
    first: &[Value],
    before: &[Value],
    key: &str,
) -> Result<Vec<Value>, PatchError> {
    let first = places(first, key)?;
    let before = places(before, key)?;
    let (mut named, mut others) = (Vec::new(), Vec::new());
    for item in items {
        let identity = identity(&item, key)?;
        let was = before.get(&identity).copied();
        match first.get(&identity) {
            Some(&place) => named.push((place, was, item)),
            None => others.push((was.unwrap_or(usize::MAX), was, item)),
        }
    }
    named.sort_by_key(|(place, ..)| *place);
    others.sort_by_key(|(place, ..)| *place);
    let mut woven = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, was, item) in named {
        while let Some((_, _, other)) =
            others.next_if(|(_, other, _)| other.zip(was).is_some_and(|(o, w)| o < w))
        {
            woven.push(other);
        }
        woven.push(item);
    }
    woven.extend(others.map(|(_, _, item)| item));
    Ok(woven)
}

fn places(items: &[Value], key: &str) -> Result<BTreeMap<String, usize>, PatchError> {
    let mut places = BTreeMap::new();
    for (place, item) in items.iter().enumerate() {
        places.entry(identity(item, key)?).or_insert(place);
    }
    Ok(places)
}

/// What makes an element the same as another: its merge key's value, or the scalar itself.
fn identity(item: &Value, key: &str) -> Result<String, PatchError> {
    if key.is_empty() {
        return Ok(item.to_string());
    }
    let Value::Object(fields) = item else {
        return Err(PatchError::malformed(format!(
            "expected a map[string]interface {{}}, but received a {}",
            go_type(item)
        )));
    };
    match fields.get(key) {
        Some(value) => Ok(value.to_string()),
        None => Err(PatchError::malformed(format!(
            "map: {} does not contain declared merge key: {key}",
            go_text(item)
        ))),
    }
}

/// A new value as it is stored: without directives and without nulls in maps. None when it was itself a directive.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => Some(Value::Object(plain_object(fields))),
        Value::Array(items) => Some(Value::Array(plain_list(items))),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => Some(scalar),
    }
}

fn plain_object(fields: Object) -> Object {
    let kept = fields.into_iter().filter(|(key, value)| {
        let is_directive = key == RETAIN_KEYS || key.starts_with(SET_ORDER) || key.starts_with(DELETE_FROM);
        !is_directive && !value.is_null()
    });
    kept.filter_map(|(key, value)| Some((key, plain(value)?))).collect()
}

fn plain_list(items: Vec<Value>) -> Vec<Value> {
    items.into_iter().filter_map(plain).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ElementType {
    Object,
    String,
    Number,
    Bool,
    Null,
}

/// The one type of all elements; none when there are no elements.
fn same_types(old: &[Value], new: &[Value]) -> Result<Option<ElementType>, PatchError> {
    let mut found = None;
    for item in old.iter().chain(new) {
        let this = match item {
            Value::Object(_) => ElementType::Object,
            Value::String(_) => ElementType::String,
            Value::Number(_) => ElementType::Number,
            Value::Bool(_) => ElementType::Bool,
            Value::Null => ElementType::Null,
            Value::Array(_) => {
                return Err(PatchError::Unprocessable("lists of lists are not supported".into()));
            }
        };
        if found.is_some_and(|found| found != this) {
            return Err(PatchError::malformed(format!(
                "list element types are not identical: [{} {}]",
                go_list(old),
                go_list(new)
            )));
        }
        found = Some(this);
    }
    Ok(found)
}

fn not_a_list(value: &Value) -> PatchError {
    PatchError::malformed(format!("expected a []interface {{}}, but received a {}", go_type(value)))
}

fn unknown_directive(directive: &Value, patch: Object) -> PatchError {
    let mut whole = patch;
    whole.insert(DIRECTIVE.into(), directive.clone());
    PatchError::malformed(format!(
        "unknown patch type: {} in map: {}",
        go_text(directive),
        go_text(&Value::Object(whole))
    ))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go prints it with `%v`, which is how upstream's messages show it.
pub(super) fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => go_list(items),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}:{}", go_text(v))).collect();
            format!("map[{}]", fields.join(" "))
        }
    }
}

fn go_list(items: &[Value]) -> String {
    let items: Vec<String> = items.iter().map(go_text).collect();
    format!("[{}]", items.join(" "))
}

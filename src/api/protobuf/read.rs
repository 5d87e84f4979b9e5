//! From messages to the JSON that the same client would have sent.

use serde_json::{Map, Value};

use super::ProtobufError;
use super::messages::{self, Field, Message};
use super::wire::{Raw, each_field, malformed, packed};
use crate::api::model::{Shape, encode_bytes};
use crate::time::WallTime;

/// Reads a message into `object`. What is there already is added to, as a message may come in pieces.
pub(super) fn fields(
    bytes: &[u8],
    message: &'static Message,
    name: &str,
    object: &mut Map<String, Value>,
) -> Result<(), ProtobufError> {
    each_field(bytes, name, |number, raw| match (message.get(&number), raw) {
        (Some(Field::Own { name, shape, is_zero_absent }), raw) => {
            if *is_zero_absent && raw.is_zero() {
                object.remove(*name);
                return Ok(());
            }
            field(object, name, shape, raw)
        }
        (Some(Field::Inline(inner)), Raw::Bytes(bytes)) => fields(bytes, inner, name, object),
        (Some(Field::Inline(_)), Raw::Number(_)) => Err(unfit(name)),
        (None, raw) if raw.is_zero() => Ok(()),
        (None, _) => Err(malformed(&format!("{name}: field {number} is not known; send application/json"))),
    })
}

fn field(
    object: &mut Map<String, Value>,
    name: &'static str,
    shape: &'static Shape,
    raw: Raw<'_>,
) -> Result<(), ProtobufError> {
    match (shape, raw) {
        (Shape::List(of), raw) => items(of, raw, name, list(object, name)),
        (Shape::Map(of), Raw::Bytes(bytes)) => {
            let (key, item) = entry(of, bytes, name)?;
            map(object, name).insert(key, item);
            Ok(())
        }
        (Shape::Struct(index), Raw::Bytes(bytes)) => {
            fields(bytes, messages::of(*index), name, map(object, name))
        }
        _ => {
            let value = value(shape, raw, name)?;
            if value.is_null() {
                object.remove(name)
            } else {
                object.insert(name.into(), value)
            };
            Ok(())
        }
    }
}

fn list<'o>(object: &'o mut Map<String, Value>, name: &str) -> &'o mut Vec<Value> {
    let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    list.as_array_mut().expect("a field has one shape")
}

fn map<'o>(object: &'o mut Map<String, Value>, name: &str) -> &'o mut Map<String, Value> {
    let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
    map.as_object_mut().expect("a field has one shape")
}

fn items(of: &'static Shape, raw: Raw<'_>, name: &str, list: &mut Vec<Value>) -> Result<(), ProtobufError> {
    match (of, raw) {
        (Shape::Int32 | Shape::Int64, Raw::Bytes(bytes)) => {
            list.extend(packed(bytes, name)?.into_iter().map(|number| Value::from(number as i64)));
        }
        _ => list.push(value(of, raw, name)?),
    }
    Ok(())
}

/// A key and what belongs to it. An entry's field that is left out is empty.
fn entry(of: &'static Shape, bytes: &[u8], name: &str) -> Result<(String, Value), ProtobufError> {
    let (mut key, mut item) = (String::new(), None);
    each_field(bytes, name, |number, raw| {
        match (number, raw) {
            (1, Raw::Bytes(bytes)) => key = text(bytes, name)?,
            (2, raw) => item = Some(value(of, raw, name)?),
            _ => return Err(unfit(name)),
        }
        Ok(())
    })?;
    let item = item
        .map_or_else(|| value(of, Raw::Bytes(&[]), name).or_else(|_| value(of, Raw::Number(0), name)), Ok)?;
    Ok((key, item))
}

/// One value; null where there is none.
fn value(shape: &'static Shape, raw: Raw<'_>, name: &str) -> Result<Value, ProtobufError> {
    Ok(match (shape, raw) {
        (Shape::Text, Raw::Bytes(bytes)) => text(bytes, name)?.into(),
        (Shape::Bytes, Raw::Bytes(bytes)) => encode_bytes(bytes).into(),
        (Shape::Bool, Raw::Number(number)) => (number != 0).into(),
        (Shape::Int32 | Shape::Int64, Raw::Number(number)) => (number as i64).into(),
        (Shape::Time, Raw::Bytes(bytes)) => time(bytes, name)?.map(WallTime::seconds).into(),
        (Shape::MicroTime, Raw::Bytes(bytes)) => time(bytes, name)?.map(WallTime::micros).into(),
        (Shape::Quantity, Raw::Bytes(bytes)) => quantity(bytes, name)?,
        (Shape::IntOrString, Raw::Bytes(bytes)) => int_or_string(bytes, name)?,
        (Shape::Raw, Raw::Bytes(bytes)) => json(bytes, name)?,
        // A list that is an item of a map or list is a message of its own.
        (Shape::List(of), Raw::Bytes(bytes)) => {
            let mut found = Vec::new();
            each_field(bytes, name, |number, raw| match number {
                1 => items(of, raw, name, &mut found),
                _ => Err(unfit(name)),
            })?;
            found.into()
        }
        (Shape::Struct(index), Raw::Bytes(bytes)) => {
            let mut object = Map::new();
            fields(bytes, messages::of(*index), name, &mut object)?;
            object.into()
        }
        _ => return Err(unfit(name)),
    })
}

fn quantity(bytes: &[u8], name: &str) -> Result<Value, ProtobufError> {
    let mut found = "0".to_owned();
    each_field(bytes, name, |number, raw| match (number, raw) {
        (1, Raw::Bytes([])) => Ok(()),
        (1, Raw::Bytes(bytes)) => text(bytes, name).map(|text| found = text),
        _ => Err(unfit(name)),
    })?;
    Ok(found.into())
}

fn int_or_string(bytes: &[u8], name: &str) -> Result<Value, ProtobufError> {
    let (mut is_text, mut as_number, mut as_text) = (false, 0, String::new());
    each_field(bytes, name, |number, raw| {
        match (number, raw) {
            (1, Raw::Number(kind)) => is_text = kind != 0,
            (2, Raw::Number(number)) => as_number = number as i64,
            (3, Raw::Bytes(bytes)) => as_text = text(bytes, name)?,
            _ => return Err(unfit(name)),
        }
        Ok(())
    })?;
    Ok(if is_text { as_text.into() } else { as_number.into() })
}

/// None where nothing is set, which is how the zero time is written.
fn time(bytes: &[u8], name: &str) -> Result<Option<WallTime>, ProtobufError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    each_field(bytes, name, |number, raw| {
        match (number, raw) {
            (1, Raw::Number(number)) => seconds = number as i64,
            (2, Raw::Number(number)) => nanos = number as i32,
            _ => return Err(unfit(name)),
        }
        Ok(())
    })?;
    let time = jiff::Timestamp::new(seconds, nanos).map_err(|e| malformed(&format!("{name}: {e}")))?;
    Ok(Some(WallTime(time)))
}

/// A message whose only field is JSON text.
fn json(bytes: &[u8], name: &str) -> Result<Value, ProtobufError> {
    let mut found = Value::Null;
    each_field(bytes, name, |number, raw| match (number, raw) {
        (1, Raw::Bytes([])) => Ok(()),
        (1, Raw::Bytes(bytes)) => {
            found = serde_json::from_slice(bytes).map_err(|e| malformed(&format!("{name}: {e}")))?;
            Ok(())
        }
        _ => Err(unfit(name)),
    })?;
    Ok(found)
}

pub(super) fn text(bytes: &[u8], name: &str) -> Result<String, ProtobufError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| malformed(&format!("{name}: the text is not UTF-8")))
}

fn unfit(name: &str) -> ProtobufError {
    malformed(&format!("{name}: the wire type does not fit"))
}

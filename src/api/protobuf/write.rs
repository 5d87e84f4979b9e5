//! From JSON to messages, for tests: what a client that writes every field would send.

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value};

use super::MAGIC;
use super::messages::{self, Field, Message};
use crate::api::model::{Shape, decode_bytes};
use crate::time::WallTime;

/// The body that holds `object`, of this shape, which has the right type in every field.
pub fn body(shape: &Shape, object: &Value) -> Vec<u8> {
    let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
    let type_meta = [bytes(1, text("apiVersion")), bytes(2, text("kind"))].concat();
    let raw = message(shape, object);
    [MAGIC.to_vec(), bytes(1, type_meta), bytes(2, raw), bytes(3, ""), bytes(4, "")].concat()
}

/// A field that is a number.
pub fn number(field: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(field, WireType::Varint, &mut out);
    encode_varint(value, &mut out);
    out
}

/// A field with a length.
pub fn bytes(field: u32, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(field, WireType::LengthDelimited, &mut out);
    encode_varint(value.as_ref().len() as u64, &mut out);
    out.extend_from_slice(value.as_ref());
    out
}

fn structure(message: &Message, object: &Map<String, Value>) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, field) in message {
        match field {
            Field::Own { name, shape, .. } => {
                out.extend(
                    object.get(*name).map(|item| self::field(*number, shape, item)).unwrap_or_default(),
                );
            }
            Field::Inline(inner) => out.extend(bytes(*number, structure(inner, object))),
        }
    }
    out
}

fn field(number: u32, shape: &Shape, value: &Value) -> Vec<u8> {
    match shape {
        Shape::Text
        | Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Int32
        | Shape::Int64
        | Shape::Float
        | Shape::Bool
        | Shape::Quantity
        | Shape::IntOrString
        | Shape::Raw
        | Shape::Struct(_) => {
            if value.is_null() {
                Vec::new()
            } else {
                single(number, shape, value)
            }
        }
        Shape::List(of) => {
            value.as_array().into_iter().flatten().flat_map(|item| single(number, of, item)).collect()
        }
        Shape::Map(of) => value
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(key, item)| bytes(number, [bytes(1, key), single(2, of, item)].concat()))
            .collect(),
    }
}

fn single(number: u32, shape: &Shape, value: &Value) -> Vec<u8> {
    match shape {
        Shape::Bool => self::number(number, u64::from(value == true)),
        Shape::Int32 | Shape::Int64 => self::number(number, value.as_i64().unwrap_or_default() as u64),
        Shape::Text
        | Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Float
        | Shape::Quantity
        | Shape::IntOrString
        | Shape::Raw
        | Shape::List(_)
        | Shape::Map(_)
        | Shape::Struct(_) => bytes(number, message(shape, value)),
    }
}

fn message(shape: &Shape, value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default();
    match shape {
        Shape::Bytes => decode_bytes(text).unwrap_or_default(),
        Shape::Time | Shape::MicroTime => WallTime::parse(text).map(time).unwrap_or_default(),
        Shape::Quantity => bytes(1, value.as_str().map_or_else(|| value.to_string(), str::to_owned)),
        Shape::IntOrString if value.is_string() => [number(1, 1), number(2, 0), bytes(3, text)].concat(),
        Shape::IntOrString => {
            [number(1, 0), number(2, value.as_i64().unwrap_or_default() as u64), bytes(3, "")].concat()
        }
        Shape::Raw => bytes(1, value.to_string()),
        Shape::List(_) | Shape::Map(_) => field(1, shape, value),
        Shape::Struct(index) => {
            value.as_object().map(|fields| structure(messages::of(*index), fields)).unwrap_or_default()
        }
        Shape::Text | Shape::Bool | Shape::Int32 | Shape::Int64 | Shape::Float => text.as_bytes().to_vec(),
    }
}

fn time(time: WallTime) -> Vec<u8> {
    [number(1, time.0.as_second() as u64), number(2, time.0.subsec_nanosecond() as u64)].concat()
}

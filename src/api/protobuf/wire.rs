//! Protobuf's own grammar, of which Kubernetes' messages use two wire types.

use prost::encoding::{WireType, decode_key, decode_varint};

use super::ProtobufError;

/// A field as it stands on the wire.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Raw<'_> {
    /// Whether it says no more than if it were not there.
    pub(super) fn is_zero(self) -> bool {
        match self {
            Self::Number(number) => number == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

/// Goes through the fields of a message in the order of the wire. `name` is the message's, for errors.
pub(super) fn each_field<'a>(
    mut bytes: &'a [u8],
    name: &str,
    mut take: impl FnMut(u32, Raw<'a>) -> Result<(), ProtobufError>,
) -> Result<(), ProtobufError> {
    while !bytes.is_empty() {
        let (number, wire) = decode_key(&mut bytes).map_err(|e| malformed(&format!("{name}: {e}")))?;
        take(number, raw(&mut bytes, wire, name)?)?;
    }
    Ok(())
}

fn raw<'a>(bytes: &mut &'a [u8], wire: WireType, name: &str) -> Result<Raw<'a>, ProtobufError> {
    let number = match wire {
        WireType::Varint | WireType::LengthDelimited => {
            decode_varint(bytes).map_err(|e| malformed(&format!("{name}: {e}")))?
        }
        WireType::SixtyFourBit | WireType::ThirtyTwoBit | WireType::StartGroup | WireType::EndGroup => {
            return Err(malformed(&format!("{name}: wire type {wire:?} is not in use")));
        }
    };
    if wire == WireType::Varint {
        return Ok(Raw::Number(number));
    }
    let length = usize::try_from(number).unwrap_or(usize::MAX);
    let (taken, rest) = bytes
        .split_at_checked(length)
        .ok_or_else(|| malformed(&format!("{name}: the message is cut short")))?;
    *bytes = rest;
    Ok(Raw::Bytes(taken))
}

/// All numbers of a list that is written as one field.
pub(super) fn packed(mut bytes: &[u8], name: &str) -> Result<Vec<u64>, ProtobufError> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        found.push(decode_varint(&mut bytes).map_err(|e| malformed(&format!("{name}: {e}")))?);
    }
    Ok(found)
}

pub(super) fn malformed(why: &str) -> ProtobufError {
    ProtobufError::Malformed(why.to_owned())
}

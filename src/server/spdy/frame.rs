//! Frames as bytes.

/// Bytes of every frame's head.
pub(super) const HEAD_BYTES: usize = 8;

/// Longest control frame that is read, in bytes. Ours carry a handful of short headers.
pub(super) const CONTROL_BYTES_MAX: usize = 64 << 10;

/// Marks control frames of version 3.
const CONTROL: u16 = 0x8003;
/// Flag of the last frame of a stream, either way.
pub(super) const FIN: u8 = 0x01;
/// Lengths have 24 bits.
const LENGTH_MASK: u32 = 0x00ff_ffff;
/// Stream ids have 31 bits.
const ID_MASK: u32 = 0x7fff_ffff;

/// What a frame says besides data, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    SynStream,
    SynReply,
    Reset,
    Ping,
    GoAway,
    Headers,
    /// Settings, window updates, and what is not known: passed over.
    Other,
}

impl Kind {
    fn of(number: u16) -> Self {
        match number {
            1 => Self::SynStream,
            2 => Self::SynReply,
            3 => Self::Reset,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::Headers,
            _ => Self::Other,
        }
    }

    const fn number(self) -> u16 {
        match self {
            Self::SynStream => 1,
            Self::SynReply => 2,
            Self::Reset => 3,
            Self::Other => 4,
            Self::Ping => 6,
            Self::GoAway => 7,
            Self::Headers => 8,
        }
    }

    /// Bytes before the name-value block; none in frames without one.
    pub(super) const fn block_at(self) -> Option<usize> {
        match self {
            Self::SynStream => Some(10),
            Self::SynReply | Self::Headers => Some(4),
            Self::Reset | Self::Ping | Self::GoAway | Self::Other => None,
        }
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    Control { kind: Kind, fin: bool, length: usize },
    Data { stream: u32, fin: bool, length: usize },
}

impl Head {
    /// None where another version of the protocol is spoken.
    pub(super) fn parse(bytes: [u8; HEAD_BYTES]) -> Option<Self> {
        let whole = u64::from_be_bytes(bytes);
        let (first, second) = ((whole >> 32) as u32, whole as u32);
        let length = (second & LENGTH_MASK) as usize;
        let fin = (second >> 24) as u8 & FIN != 0;
        if first & !ID_MASK == 0 {
            return Some(Self::Data { stream: first, fin, length });
        }
        let kind = Kind::of(first as u16);
        ((first >> 16) as u16 == CONTROL).then_some(Self::Control { kind, fin, length })
    }
}

/// The number that begins most control frames: a stream or a ping.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    let bytes = payload.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}

/// As [`number`], of a stream.
pub(super) fn stream(payload: &[u8]) -> Option<u32> {
    number(payload).map(|number| number & ID_MASK)
}

/// A frame of data.
pub(super) fn data(stream: u32, bytes: &[u8], fin: bool) -> Vec<u8> {
    let mut frame = Vec::with_capacity(HEAD_BYTES + bytes.len());
    frame.extend_from_slice(&stream.to_be_bytes());
    let length = bytes.len() as u32 & LENGTH_MASK;
    frame.extend_from_slice(&(length | u32::from(if fin { FIN } else { 0 }) << 24).to_be_bytes());
    frame.extend_from_slice(bytes);
    frame
}

/// A control frame.
pub(super) fn control(kind: Kind, payload: &[&[u8]]) -> Vec<u8> {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(HEAD_BYTES + length);
    frame.extend_from_slice(&CONTROL.to_be_bytes());
    frame.extend_from_slice(&kind.number().to_be_bytes());
    frame.extend_from_slice(&(length as u32 & LENGTH_MASK).to_be_bytes());
    for part in payload {
        frame.extend_from_slice(part);
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_were_written() {
        let head = |frame: &[u8]| Head::parse(*frame.first_chunk().expect("long enough"));
        assert_eq!(head(&data(5, b"abc", true)), Some(Head::Data { stream: 5, fin: true, length: 3 }));
        assert_eq!(
            head(&data(7, &vec![0; 70_000], false)),
            Some(Head::Data { stream: 7, fin: false, length: 70_000 })
        );
        for kind in [Kind::SynStream, Kind::SynReply, Kind::Reset, Kind::Ping, Kind::GoAway, Kind::Headers] {
            let frame = control(kind, &[&[0, 0], &[0, 9]]);
            assert_eq!(head(&frame), Some(Head::Control { kind, fin: false, length: 4 }));
            assert_eq!(number(&frame[HEAD_BYTES..]), Some(9));
        }
        assert_eq!(Head::parse([0x80, 2, 0, 1, 0, 0, 0, 0]), None, "version 2");
        assert_eq!(stream(&[0xff; 4]), Some(0x7fff_ffff));
        assert_eq!(stream(&[0; 3]), None);
    }
}

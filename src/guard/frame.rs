//! The one shape of everything that is sent or kept: [`SIZE`] bytes of fixed fields and a checksum.
//!
//! Fixed, so that a table of them is rewritten line by line, and that reading needs no parser.

use std::time::Duration;

use crate::time::Instant;

/// Length of a frame, bytes.
pub const SIZE: usize = 1024;
/// Longest UID of a Pod, bytes.
pub const UID_MAX: usize = 128;
/// Longest directory, program path or explanation, bytes.
pub const TEXT_MAX: usize = SIZE - HEAD - UID_MAX - SUM;

/// Says that this is a frame, and which shape of it.
const MAGIC: [u8; 4] = *b"LHG1";
const HEAD: usize = 4 + 4 + 8 * 4 + 2 * 2;
const SUM: usize = 8;

/// What the fields of a frame are to each use of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// What this is.
    pub kind: u8,
    /// A small number: a fence level, a standing.
    pub level: u8,
    /// Another one.
    pub standing: u8,
    /// Yes or no, in bits.
    pub flags: u8,
    /// Session, or a count.
    pub session: u64,
    /// Since boot.
    pub deadline: Instant,
    /// M.
    pub margin: Duration,
    /// Since boot.
    pub since: Instant,
    /// A Pod.
    pub uid: String,
    /// A path or an explanation.
    pub text: String,
}

/// Why something is not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another shape, or damaged.
    #[error("not a frame of this guard, or a damaged one")]
    Damaged,
    /// It does not fit.
    #[error("too long: a UID has at most {UID_MAX} bytes, a path {TEXT_MAX}")]
    TooLong,
}

impl Frame {
    /// As bytes.
    pub fn encode(&self) -> Result<[u8; SIZE], FrameError> {
        if self.uid.len() > UID_MAX || self.text.len() > TEXT_MAX {
            return Err(FrameError::TooLong);
        }
        let mut bytes = [0; SIZE];
        let mut at = 0;
        let mut put = |part: &[u8], room: usize| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += room;
        };
        put(&MAGIC, 4);
        put(&[self.kind, self.level, self.standing, self.flags], 4);
        put(&self.session.to_le_bytes(), 8);
        for span in [self.deadline.since_boot(), self.margin, self.since.since_boot()] {
            put(&(span.as_nanos() as u64).to_le_bytes(), 8);
        }
        put(&(self.uid.len() as u16).to_le_bytes(), 2);
        put(&(self.text.len() as u16).to_le_bytes(), 2);
        put(self.uid.as_bytes(), UID_MAX);
        put(self.text.as_bytes(), TEXT_MAX);
        let sum = checksum(&bytes[..SIZE - SUM]);
        bytes[SIZE - SUM..].copy_from_slice(&sum.to_le_bytes());
        Ok(bytes)
    }

    /// From bytes.
    pub fn decode(bytes: &[u8; SIZE]) -> Result<Self, FrameError> {
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|index| bytes[at + index]));
        if bytes[..4] != MAGIC || number(SIZE - SUM) != checksum(&bytes[..SIZE - SUM]) {
            return Err(FrameError::Damaged);
        }
        let length = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let text = |at: usize, length: usize, max: usize| {
            let bytes =
                (length <= max).then(|| bytes[at..at + length].to_vec()).ok_or(FrameError::Damaged)?;
            String::from_utf8(bytes).map_err(|_| FrameError::Damaged)
        };
        let instant = |at: usize| Instant::from_boot(Duration::from_nanos(number(at)));
        Ok(Self {
            kind: bytes[4],
            level: bytes[5],
            standing: bytes[6],
            flags: bytes[7],
            session: number(8),
            deadline: instant(16),
            margin: Duration::from_nanos(number(24)),
            since: instant(32),
            uid: text(HEAD, length(40), UID_MAX)?,
            text: text(HEAD + UID_MAX, length(42), TEXT_MAX)?,
        })
    }
}

/// FNV-1a: it tells a line that was written half from one that was written whole, no more.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            kind: 1,
            level: 2,
            standing: 3,
            flags: 4,
            session: u64::MAX,
            deadline: Instant::from_boot(Duration::new(1_000_000_007, 5)),
            margin: Duration::from_secs(3),
            since: Instant::from_boot(Duration::from_nanos(1)),
            uid: "0f".repeat(64),
            text: "/var/lib/ü".to_owned(),
        }
    }

    #[test]
    fn a_frame_reads_as_it_was_written() {
        for frame in [frame(), Frame::default()] {
            assert_eq!(Frame::decode(&frame.encode().unwrap()), Ok(frame));
        }
    }

    #[test]
    fn what_is_damaged_anywhere_or_too_long_is_refused() {
        let bytes = frame().encode().unwrap();
        for at in 0..SIZE {
            let mut damaged = bytes;
            damaged[at] ^= 0x10;
            assert_eq!(Frame::decode(&damaged), Err(FrameError::Damaged), "byte {at}");
        }
        assert_eq!(Frame::decode(&[0; SIZE]), Err(FrameError::Damaged));
        let long =
            |uid: usize, text: usize| Frame { uid: "x".repeat(uid), text: "y".repeat(text), ..frame() };
        assert!(long(UID_MAX, TEXT_MAX).encode().is_ok());
        assert_eq!(long(UID_MAX + 1, 0).encode(), Err(FrameError::TooLong));
        assert_eq!(long(0, TEXT_MAX + 1).encode(), Err(FrameError::TooLong));
    }
}

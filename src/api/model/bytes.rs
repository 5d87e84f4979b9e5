//! Bytes in base64 as Go reads them: line breaks are skipped, odd trailing bits forgiven, padding demanded.

use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{DecodeError, Engine};

const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&ALPHABET, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// The bytes, or the position of the first character that is wrong.
pub fn decode_bytes(text: &str) -> Result<Vec<u8>, usize> {
    let kept: Vec<(usize, u8)> =
        text.bytes().enumerate().filter(|(_, b)| !matches!(b, b'\r' | b'\n')).collect();
    let compact: Vec<u8> = kept.iter().map(|(_, b)| *b).collect();
    LENIENT.decode(&compact).map_err(|e| {
        let at = match e {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(_) | DecodeError::InvalidPadding => compact.len() / 4 * 4,
        };
        kept.get(at).map_or(text.len(), |(original, _)| *original)
    })
}

/// The one spelling of `bytes`.
pub fn encode_bytes(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_line_breaks_and_odd_last_bits() {
        assert_eq!(decode_bytes("aGVs\nbG8=\n").unwrap(), b"hello");
        assert_eq!(decode_bytes("aGVsbG9=").unwrap(), b"hello");
        assert_eq!(decode_bytes("").unwrap(), b"");
        assert_eq!(encode_bytes(b"hello"), "aGVsbG8=");
    }

    #[test]
    fn the_first_wrong_character_is_named_where_it_stands() {
        assert_eq!(decode_bytes("aG\n-s"), Err(3));
        assert_eq!(decode_bytes("aGVsbG8"), Err(4));
        assert_eq!(decode_bytes("!"), Err(0));
    }
}

//! The operating system's randomness.

use crate::coordinator::Entropy;

/// Letters and digits that spell no words, as Kubernetes' generated names.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Fresh identities.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn uid(&mut self) -> String {
        uuid(random())
    }

    fn suffix(&mut self) -> String {
        let bytes: [u8; 8] = random();
        let mut number = u64::from_le_bytes(bytes);
        (0..5)
            .map(|_| {
                let letter = ALPHABET[(number % ALPHABET.len() as u64) as usize];
                number /= ALPHABET.len() as u64;
                char::from(letter)
            })
            .collect()
    }
}

/// So many small letters and digits.
pub(super) fn lower_case(count: usize) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let drawn: [u8; 32] = random();
    drawn.iter().take(count).map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}

/// A number from 0 up to, and without, 1.
pub(super) fn fraction() -> f64 {
    f64::from(u32::from_le_bytes(random())) / (f64::from(u32::MAX) + 1.0)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("Linux hands out randomness once it has booted");
    bytes
}

/// Version 4, as RFC 9562 writes it.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let number = u128::from_be_bytes(bytes);
    let text = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_have_their_form_and_differ() {
        assert_eq!(uuid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let (first, second) = (SystemEntropy.uid(), SystemEntropy.uid());
        assert_ne!(first, second);
        assert_eq!(first.len(), 36);
        let suffix = SystemEntropy.suffix();
        assert!(suffix.len() == 5 && suffix.bytes().all(|letter| ALPHABET.contains(&letter)), "{suffix}");
    }
}

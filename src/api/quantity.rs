//! Kubernetes quantities: fixed-point numbers with a suffix, e.g. `500m`, `1536Mi`, `2e3`.
//!
//! A [`Quantity`] counts billionths in 128 bits, so that everything up to 10^29 is exact; what is larger is capped
//! there, and what is finer than a billionth is rounded away from zero, as upstream does it.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Neg, Sub};

const NANOS: i128 = 1_000_000_000;
/// 10^29 units.
const NANOS_MAX: i128 = 10i128.pow(38);
/// Upstream caps a quantity with a binary suffix at the largest 64-bit integer.
const BINARY_NANOS_MAX: i128 = i64::MAX as i128 * NANOS;
/// The value before its suffix, as powers of ten (`n` to `E`).
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
/// The value before its suffix, as powers of 1024.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Why a text is no quantity; the sentences are upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not a number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// A number, but with a suffix that means nothing.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How a quantity was written, and so how it is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    /// `12Mi`
    Binary,
    /// `12M`
    Decimal,
    /// `12e6`
    Exponent,
}

/// A quantity. Compares by value, whatever the notation; prints in upstream's canonical form.
#[derive(Clone, Copy, Debug)]
pub struct Quantity {
    nanos: i128,
    notation: Notation,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0, notation: Notation::Decimal };

    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) || !is_suffix_shaped(suffix) {
            return Err(QuantityError::Format);
        }
        let (scale, notation) = read_suffix(suffix).ok_or(QuantityError::Suffix)?;
        let nanos = scale.apply(whole, fraction);
        Ok(Self { nanos: if negative { -nanos } else { nanos }, notation })
    }

    /// `units`, written with decimal suffixes.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANOS, notation: Notation::Decimal }
    }

    /// `units`, written with binary suffixes.
    pub fn from_bytes(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANOS, notation: Notation::Binary }
    }

    /// Thousandths, written with decimal suffixes.
    pub fn from_millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * (NANOS / 1_000), notation: Notation::Decimal }
    }

    /// Whole units, rounded away from zero; capped at the ends of 64 bits.
    pub fn value(self) -> i64 {
        clamp(divide_away_from_zero(self.nanos, NANOS))
    }

    /// Thousandths (milli-CPUs), rounded away from zero; capped at the ends of 64 bits.
    pub fn milli_value(self) -> i64 {
        clamp(divide_away_from_zero(self.nanos, NANOS / 1_000))
    }

    /// The same rounded away from zero to thousandths, as upstream does with every resource it stores.
    #[must_use]
    pub fn rounded_to_millis(self) -> Self {
        let unit = NANOS / 1_000;
        Self { nanos: cap(divide_away_from_zero(self.nanos, unit) * unit), ..self }
    }

    /// Whether it has no fraction.
    pub fn is_integer(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is less than nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }
}

impl std::str::FromStr for Quantity {
    type Err = QuantityError;
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;
    /// The sum in the notation of the first that is not zero.
    fn add(self, other: Self) -> Self {
        let notation = if self.is_zero() { other.notation } else { self.notation };
        Self { nanos: cap(self.nanos.saturating_add(other.nanos)), notation }
    }
}

impl Sub for Quantity {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Self;
    fn neg(self) -> Self {
        Self { nanos: -self.nanos, ..self }
    }
}

impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
        quantities.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = self.nanos / NANOS;
        match self.notation {
            _ if self.nanos == 0 => write!(f, "0"),
            Notation::Binary if self.is_integer() && units.abs() >= 1024 => write_binary(f, units),
            Notation::Binary | Notation::Decimal => write_decimal(f, self.nanos),
            Notation::Exponent => write_exponent(f, self.nanos),
        }
    }
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Scale {
    /// 10^n
    Ten(i32),
    /// 2^n
    Two(u32),
}

impl Scale {
    /// The number in billionths, rounded up and capped.
    fn apply(self, whole: &str, fraction: &str) -> i128 {
        match self {
            Self::Ten(exponent) => decimal_nanos(whole, fraction, exponent),
            Self::Two(exponent) => binary_nanos(whole, fraction, exponent),
        }
    }
}

fn is_suffix_shaped(suffix: &str) -> bool {
    let letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
    let digits = letters.strip_prefix(['-', '+']).unwrap_or(letters);
    digits.bytes().all(|b| b.is_ascii_digit())
}

fn read_suffix(suffix: &str) -> Option<(Scale, Notation)> {
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((Scale::Ten(*exponent), Notation::Decimal));
    }
    if let Some(power) = BINARY.iter().position(|name| *name == suffix) {
        return Some((Scale::Two(10 * power as u32), Notation::Binary));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    Some((Scale::Ten(exponent), Notation::Exponent))
}

/// `whole.fraction × 10^exponent` in billionths. Digit by digit, so that no width is exceeded on the way.
fn decimal_nanos(whole: &str, fraction: &str, exponent: i32) -> i128 {
    let point = whole.len() as i64 + i64::from(exponent) + 9;
    let mut nanos: i128 = 0;
    let mut rest = false;
    for (i, digit) in whole.bytes().chain(fraction.bytes()).enumerate() {
        let digit = i128::from(digit - b'0');
        if (i as i64) < point {
            nanos = shift_in(nanos, digit);
        } else {
            rest |= digit != 0;
        }
    }
    let missing = point - (whole.len() + fraction.len()) as i64;
    for _ in 0..missing.max(0) {
        if nanos == 0 || nanos == NANOS_MAX {
            break;
        }
        nanos = shift_in(nanos, 0);
    }
    cap(nanos + i128::from(rest))
}

fn shift_in(nanos: i128, digit: i128) -> i128 {
    if nanos >= NANOS_MAX / 10 { NANOS_MAX } else { nanos * 10 + digit }
}

/// `whole.fraction × 2^exponent` in billionths, at most the largest 64-bit integer of units.
fn binary_nanos(whole: &str, fraction: &str, exponent: u32) -> i128 {
    let factor = 1i128 << exponent;
    let units =
        whole.bytes().fold(0i128, |sum, b| (sum * 10 + i128::from(b - b'0')).min(i128::from(i64::MAX)));
    let whole_nanos = units.saturating_mul(factor).min(i128::from(i64::MAX)) * NANOS;
    // Long division of fraction × factor × 10^9 by 10^digits, from the last digit to the first: the carry
    // stays below factor × 10^9 < 2^90.
    let mut carry: i128 = 0;
    let mut rest = false;
    for b in fraction.bytes().rev() {
        let sum = carry + i128::from(b - b'0') * factor * NANOS;
        rest |= sum % 10 != 0;
        carry = sum / 10;
    }
    (whole_nanos + carry + i128::from(rest)).min(BINARY_NANOS_MAX)
}

fn cap(nanos: i128) -> i128 {
    nanos.clamp(-NANOS_MAX, NANOS_MAX)
}

fn clamp(units: i128) -> i64 {
    units.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

fn divide_away_from_zero(number: i128, divisor: i128) -> i128 {
    number / divisor + if number % divisor == 0 { 0 } else { number.signum() }
}

fn write_binary(f: &mut fmt::Formatter<'_>, units: i128) -> fmt::Result {
    let mut units = units;
    let mut power = 0;
    while power + 1 < BINARY.len() && units % 1024 == 0 {
        units /= 1024;
        power += 1;
    }
    write!(f, "{units}{}", BINARY[power])
}

fn write_decimal(f: &mut fmt::Formatter<'_>, nanos: i128) -> fmt::Result {
    let (number, exponent) = shorten(nanos, 18);
    let suffix = DECIMAL.iter().find(|(_, power)| *power == exponent).map_or("", |(name, _)| name);
    write!(f, "{number}{suffix}")
}

fn write_exponent(f: &mut fmt::Formatter<'_>, nanos: i128) -> fmt::Result {
    match shorten(nanos, i32::MAX) {
        (number, 0) => write!(f, "{number}"),
        (number, exponent) => write!(f, "{number}e{exponent}"),
    }
}

/// The number with the largest exponent, a multiple of three up to `exponent_max`, that loses no digit.
fn shorten(nanos: i128, exponent_max: i32) -> (i128, i32) {
    let (mut number, mut exponent) = (nanos, -9);
    while exponent < exponent_max && number % 1_000 == 0 {
        number /= 1_000;
        exponent += 3;
    }
    (number, exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn q(text: &str) -> Quantity {
        Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    #[test]
    fn quantities_are_written_in_their_canonical_form() {
        for (written, canonical) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("-0", "0"),
            ("000", "0"),
            ("0.0m", "0"),
            ("1", "1"),
            ("100", "100"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1024Ki", "1Mi"),
            ("1000Ki", "1000Ki"),
            ("0.5Ki", "512"),
            ("0.5Mi", "512Ki"),
            ("1023", "1023"),
            ("1024", "1024"),
            ("1Ki", "1Ki"),
            ("0.1Ki", "102400m"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("1u", "1u"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("1.0000000001", "1000000001n"),
            ("-0.1n", "-1n"),
            ("12e6", "12e6"),
            ("12E6", "12e6"),
            ("1e3", "1e3"),
            ("1e2", "100"),
            ("10e2", "1e3"),
            ("1e-3", "1e-3"),
            ("1.2e-1", "120e-3"),
            ("1E", "1E"),
            ("5E", "5E"),
            ("1000E", "1000E"),
            ("100000k", "100M"),
            ("-5Mi", "-5Mi"),
            ("+5k", "5k"),
            ("9223372036854775807", "9223372036854775807"),
            ("92233720368547758070", "92233720368547758070"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("1000Ei", "9223372036854775807"),
            ("1e40", "100e27"),
            ("99999999999999999999999999999999999999999999999999", "100000000000E"),
        ] {
            assert_eq!(q(written).to_string(), canonical, "{written}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_upstreams_sentence() {
        for bad in [
            "", " 1", "1 ", "1.2.3", "aoeu", "1i", "1.1.M", "1+1.0M", "0.1am", "-", "Mi", ".", "1e1.5",
            "--1", "1Mi ", "ü",
        ] {
            assert!(Quantity::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Quantity::parse("1 Gi"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("0.1mi"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse("1KiB"), Err(QuantityError::Format));
        assert_eq!(Quantity::parse("1e"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse("1K"), Err(QuantityError::Suffix));
    }

    #[test]
    fn values_round_away_from_zero() {
        for (text, value, millis) in [
            ("1", 1, 1_000),
            ("1.1", 2, 1_100),
            ("100m", 1, 100),
            ("1u", 1, 1),
            ("-1.1", -2, -1_100),
            ("1Ki", 1024, 1_024_000),
            ("0", 0, 0),
            ("1000Ei", i64::MAX, i64::MAX),
        ] {
            assert_eq!((q(text).value(), q(text).milli_value()), (value, millis), "{text}");
        }
        assert_eq!(q("1.0001").rounded_to_millis().to_string(), "1001m");
    }

    #[test]
    fn sums_keep_the_notation_of_the_first_that_counts() {
        assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
        assert_eq!((q("0") + q("512Mi")).to_string(), "512Mi");
        assert_eq!((q("500m") + q("1500m")).to_string(), "2");
        assert_eq!((q("1") - q("100m")).to_string(), "900m");
        assert_eq!((q("1Gi") - q("2Gi")).to_string(), "-1Gi");
        assert_eq!([q("1Mi"), q("2Mi")].into_iter().sum::<Quantity>().to_string(), "3Mi");
    }

    #[test]
    fn quantities_compare_by_value() {
        assert_eq!(q("1000m"), q("1"));
        assert_eq!(q("1Ki"), q("1.024k"));
        assert!(q("1Gi") > q("1G"));
        assert!(q("-1") < q("0"));
    }

    proptest! {
        #[test]
        fn a_written_quantity_reads_as_the_same_value(
            sign in prop_oneof![Just(""), Just("-"), Just("+")],
            whole in "[0-9]{1,22}",
            fraction in "(\\.[0-9]{0,12})?",
            suffix in prop_oneof![
                Just(""), Just("n"), Just("u"), Just("m"), Just("k"), Just("M"), Just("G"), Just("T"), Just("P"),
                Just("Ki"), Just("Mi"), Just("Gi"), Just("Ti"), Just("e3"), Just("e-2"), Just("E5"),
            ],
        ) {
            let quantity = q(&format!("{sign}{whole}{fraction}{suffix}"));
            let canonical = quantity.to_string();
            prop_assert_eq!(q(&canonical), quantity);
            prop_assert_eq!(q(&canonical).to_string(), canonical);
        }

        #[test]
        fn sums_and_differences_undo_each_other(a in any::<i32>(), b in any::<i32>()) {
            let (a, b) = (Quantity::from_millis(a.into()), Quantity::from_millis(b.into()));
            prop_assert_eq!(a + b - b, a);
        }

        #[test]
        fn milli_values_agree_with_the_parser(millis in any::<i64>()) {
            prop_assert_eq!(q(&format!("{millis}m")).milli_value(), millis);
            prop_assert_eq!(Quantity::from_millis(millis).milli_value(), millis);
        }

        #[test]
        fn no_text_makes_the_parser_fail_badly(text in "\\PC*") {
            let _ = Quantity::parse(&text);
        }

        #[test]
        fn odd_numbers_never_overflow(text in "[+-]?[0-9]{0,60}\\.?[0-9]{0,60}([EeKMGTPmun]i?)?[+-]?[0-9]{0,12}") {
            if let Ok(quantity) = Quantity::parse(&text) {
                let _ = (quantity.to_string(), quantity.value(), quantity.milli_value(), quantity.rounded_to_millis());
                let _ = (quantity + quantity, quantity - quantity);
            }
        }
    }
}

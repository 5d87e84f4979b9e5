//! Schedules of a `CronJob`: five fields, names, steps, and the words that begin with `@`, as robfig's `cron` v3 reads them
//! for upstream. What is wrong is told in its words.

/// When a `CronJob` is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At times of the calendar.
    Calendar(Calendar),
    /// Again and again, this many seconds apart (`@every`).
    Every(u64),
}

/// The minutes of a year that are meant: bit N of a set stands for N.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    /// 0 to 59.
    pub minutes: u64,
    /// 0 to 23.
    pub hours: u64,
    /// 1 to 31.
    pub days: u64,
    /// 1 to 12.
    pub months: u64,
    /// 0 (Sunday) to 6.
    pub weekdays: u64,
    /// Whether the days of the month were left open (`*`), so that the weekdays alone decide.
    pub any_day: bool,
    /// Whether the weekdays were left open.
    pub any_weekday: bool,
}

/// One field: its range, and names for some of it.
struct Bounds {
    low: u64,
    high: u64,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { low: 0, high: 59, names: &[] };
const HOURS: Bounds = Bounds { low: 0, high: 23, names: &[] };
const DAYS: Bounds = Bounds { low: 1, high: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds =
    Bounds { low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// Words for whole schedules.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// Reads a schedule. A time zone before it (`TZ=…`, `CRON_TZ=…`) is checked against `is_zone` and otherwise passed over.
pub fn parse(text: &str, is_zone: fn(&str) -> bool) -> Result<Schedule, String> {
    if text.is_empty() {
        return Err("empty spec string".into());
    }
    let text = without_zone(text, is_zone)?;
    if text.starts_with('@') {
        return parse_word(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = fields[..] else {
        let found = fields.len();
        return Err(format!("expected exactly 5 fields, found {found}: [{}]", fields.join(" ")));
    };
    let ((minutes, _), (hours, _)) = (field(minutes, &MINUTES)?, field(hours, &HOURS)?);
    let ((days, any_day), (months, _)) = (field(days, &DAYS)?, field(months, &MONTHS)?);
    let (weekdays, any_weekday) = field(weekdays, &WEEKDAYS)?;
    Ok(Schedule::Calendar(Calendar { minutes, hours, days, months, weekdays, any_day, any_weekday }))
}

fn without_zone(text: &str, is_zone: fn(&str) -> bool) -> Result<&str, String> {
    let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Ok(text);
    };
    let (zone, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    if is_zone(zone) {
        Ok(rest.trim())
    } else {
        Err(format!("provided bad location {zone}: unknown time zone {zone}"))
    }
}

fn parse_word(text: &str) -> Result<Schedule, String> {
    if let Some((_, meant)) = WORDS.iter().find(|(word, _)| *word == text) {
        return parse(meant, |_| false);
    }
    let Some(period) = text.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {text}"));
    };
    let nanos = duration(period).map_err(|why| format!("failed to parse duration {text}: {why}"))?;
    Ok(Schedule::Every(u64::try_from(nanos / 1_000_000_000).unwrap_or_default().max(1)))
}

/// The numbers that a field means, and whether it means any.
fn field(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (mut set, mut any) = (0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (numbers, open) = range(part, bounds)?;
        set |= numbers;
        any |= open;
    }
    Ok((set, any))
}

/// `*`, `N`, `N-M`, each with `/STEP` behind it or not.
fn range(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let open = matches!(ends[0], "*" | "?");
    let (low, mut high) = if open {
        (bounds.low, bounds.high)
    } else {
        let low = number_or_name(ends[0], bounds)?;
        match ends[..] {
            [_] => (low, low),
            [_, high] => (low, number_or_name(high, bounds)?),
            _ => return Err(format!("too many hyphens: {text}")),
        }
    };
    let step = match parts[..] {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            if ends.len() == 1 {
                high = bounds.high;
            }
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if low < bounds.low {
        return Err(format!("beginning of range ({low}) below minimum ({}): {text}", bounds.low));
    }
    if high > bounds.high {
        return Err(format!("end of range ({high}) above maximum ({}): {text}", bounds.high));
    }
    if low > high {
        return Err(format!("beginning of range ({low}) beyond end of range ({high}): {text}"));
    }
    let Ok(stride) = usize::try_from(step) else { return Ok((1 << low, false)) };
    if stride == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let set = (low..=high).step_by(stride).fold(0, |set, number| set | 1 << number);
    Ok((set, open && stride == 1))
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u64, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(at) => Ok(bounds.low + at as u64),
        None => number(text),
    }
}

/// A number as Go's `strconv.Atoi` reads it.
fn number(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"
        ));
    }
    match text.parse::<i64>() {
        Err(_) => Err(format!(
            "failed to parse int from {text}: strconv.Atoi: parsing {text:?}: value out of range"
        )),
        Ok(number) => {
            u64::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
        }
    }
}

/// A duration as Go's `time.ParseDuration` reads it, e.g. `1h30m` or `-1.5s`, in nanoseconds.
fn duration(text: &str) -> Result<i128, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let cut = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (amount, after) = rest.split_at(cut);
        let cut = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(cut);
        let (whole, part) = amount.split_once('.').unwrap_or((amount, ""));
        if (whole.is_empty() && part.is_empty()) || part.contains('.') {
            return Err(invalid());
        }
        let scale = match unit {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000_i128,
            _ => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        total = total.checked_add(whole.checked_mul(scale).ok_or_else(invalid)?).ok_or_else(invalid)?;
        total += fraction(part, scale);
        if total > i128::from(i64::MAX) {
            return Err(invalid());
        }
        rest = after;
    }
    Ok(if negative { -total } else { total })
}

/// What the digits behind the point are worth.
fn fraction(digits: &str, scale: i128) -> i128 {
    let mut worth = scale;
    digits.bytes().take(15).fold(0, |sum, digit| {
        worth /= 10;
        sum + i128::from(digit - b'0') * worth
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Schedule, String> {
        parse(text, |zone| zone == "Asia/Tokyo")
    }

    fn bits(numbers: &[u32]) -> u64 {
        numbers.iter().fold(0, |set, number| set | 1 << number)
    }

    #[test]
    fn fields_mean_sets_of_numbers() {
        for (text, bounds, expected, open) in [
            ("5", &MINUTES, bits(&[5]), false),
            ("*", &HOURS, (1 << 24) - 1, true),
            ("?", &HOURS, (1 << 24) - 1, true),
            ("*/1", &HOURS, (1 << 24) - 1, true),
            ("*/6", &HOURS, bits(&[0, 6, 12, 18]), false),
            ("20/2", &HOURS, bits(&[20, 22]), false),
            ("1-3", &DAYS, bits(&[1, 2, 3]), false),
            ("1-7/3", &DAYS, bits(&[1, 4, 7]), false),
            ("1,3-4,", &DAYS, bits(&[1, 3, 4]), false),
            ("jan-MAR", &MONTHS, bits(&[1, 2, 3]), false),
            ("Sun,sat", &WEEKDAYS, bits(&[0, 6]), false),
            ("*/99999999999999999", &DAYS, bits(&[1]), false),
        ] {
            assert_eq!(field(text, bounds), Ok((expected, open)), "{text}");
        }
    }

    #[test]
    fn whole_schedules_are_five_fields_or_a_word() {
        let Ok(Schedule::Calendar(calendar)) = read("30 4 1,15 * 5") else { panic!("a calendar") };
        assert_eq!((calendar.minutes, calendar.hours), (1 << 30, 1 << 4));
        assert_eq!((calendar.days, calendar.weekdays), (bits(&[1, 15]), 1 << 5));
        assert!(!calendar.any_day && !calendar.any_weekday);
        assert_eq!(read("@weekly"), read("0 0 * * sun"));
        assert_eq!(read("@annually"), read("  0 0 1 jan ? "));
        assert_eq!(read("CRON_TZ=Asia/Tokyo @daily"), read("@midnight"));
        for (text, seconds) in [
            ("@every 1h30m", 5400),
            ("@every 1.5s", 1),
            ("@every 10ms", 1),
            ("@every -1h", 1),
            ("@every 0", 1),
        ] {
            assert_eq!(read(text), Ok(Schedule::Every(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_the_words_of_cron() {
        for (text, why) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("* 5-3 * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("* * * * L", "failed to parse int from L: strconv.Atoi: parsing \"L\": invalid syntax"),
            (
                "99999999999999999999 * * * *",
                "failed to parse int from 99999999999999999999: strconv.Atoi: parsing \"99999999999999999999\": value out of range",
            ),
            ("@fortnightly", "unrecognized descriptor: @fortnightly"),
            ("@every", "unrecognized descriptor: @every"),
            ("@every 5", "failed to parse duration @every 5: time: missing unit in duration \"5\""),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
            ("@every 5d", "failed to parse duration @every 5d: time: unknown unit \"d\" in duration \"5d\""),
            ("TZ=Mars/Base * * * * *", "provided bad location Mars/Base: unknown time zone Mars/Base"),
        ] {
            assert_eq!(read(text), Err(why.to_owned()), "{text}");
        }
    }
}

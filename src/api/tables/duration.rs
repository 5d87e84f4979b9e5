//! Durations as kubectl shows ages: at most two units, the coarser the longer ago.

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// `seconds` in upstream's form: `119s`, `2m1s`, `10m`, `7h59m`, `8h`, `47h`, `2d1h`, `8d`, `2y`, `2y1d`. One second of
/// skew into the future counts as `0s`, more is `<invalid>`.
pub fn human_duration(seconds: i64) -> String {
    match seconds {
        ..=-2 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds, MINUTE, "m", 1, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds, HOUR, "h", MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds, DAY, "d", HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(seconds, YEAR, "y", DAY, "d"),
        252_288_000.. => format!("{}y", seconds / YEAR),
    }
}

fn two(seconds: i64, coarse: i64, coarse_unit: &str, fine: i64, fine_unit: &str) -> String {
    let (whole, rest) = (seconds / coarse, seconds % coarse / fine);
    if rest == 0 { format!("{whole}{coarse_unit}") } else { format!("{whole}{coarse_unit}{rest}{fine_unit}") }
}

#[cfg(test)]
mod tests {
    use super::human_duration;

    #[test]
    fn ages_grow_coarser_as_upstream_prints_them() {
        for (seconds, shown) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (1, "1s"),
            (70, "70s"),
            (119, "119s"),
            (120, "2m"),
            (190, "3m10s"),
            (599, "9m59s"),
            (600, "10m"),
            (70 * 60, "70m"),
            (179 * 60, "179m"),
            (180 * 60, "3h"),
            (47 * 600, "7h50m"),
            (8 * 3600, "8h"),
            (8 * 3600 + 59, "8h"),
            (47 * 3600, "47h"),
            (49 * 3600, "2d1h"),
            (8 * 86_400 + 7_200, "8d"),
            (367 * 86_400, "367d"),
            (365 * 86_400 * 2, "2y"),
            (365 * 86_400 * 2 + 86_400, "2y1d"),
            (365 * 86_400 * 9, "9y"),
        ] {
            assert_eq!(human_duration(seconds), shown, "{seconds} s");
        }
    }
}

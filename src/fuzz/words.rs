//! What stands in texts: selectors, quantities, schedules, references of images. What can be read is read the same from
//! what it is written as.

use std::collections::BTreeMap;

use crate::api::cron::{self, Schedule};
use crate::api::quantity::Quantity;
use crate::api::selectors::{FieldSelector, Selector};
use crate::api::{image, log_options::LogOptions};

/// One run.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    selector(text);
    quantity(text);
    schedule(text);
    let _ = FieldSelector::parse(text).map(|it| it.exact("metadata.name").map(str::to_owned));
    let _ = image::tag(text).map(str::to_owned);
    let _ = LogOptions::read("p", |_| Some(text));
}

fn selector(text: &str) {
    let Ok(read) = Selector::parse(text) else { return };
    let shown = read.to_string();
    let again = Selector::parse(&shown).unwrap_or_else(|e| panic!("{e}: {shown:?} of {text:?}"));
    assert_eq!(again.to_string(), shown, "{text:?}");
    for labels in [vec![], vec![("a", "b")], vec![("a", "5"), ("b", "")]] {
        let labels: BTreeMap<String, String> =
            labels.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        assert_eq!(read.matches(&labels), again.matches(&labels), "{text:?} {labels:?}");
    }
}

fn quantity(text: &str) {
    let Ok(read) = Quantity::parse(text) else { return };
    let shown = read.to_string();
    let again = Quantity::parse(&shown).unwrap_or_else(|e| panic!("{e}: {shown:?} of {text:?}"));
    assert_eq!((again, again.to_string()), (read, shown), "{text:?}");
    let _ = (read.value(), read.milli_value(), read.rounded_to_millis().to_string());
}

fn schedule(text: &str) {
    match cron::parse(text, |zone| zone == "UTC") {
        Ok(Schedule::Calendar(calendar)) => {
            for (set, low, high) in [
                (calendar.minutes, 0, 59),
                (calendar.hours, 0, 23),
                (calendar.days, 1, 31),
                (calendar.months, 1, 12),
                (calendar.weekdays, 0, 6),
            ] {
                let all = (low..=high).fold(0_u64, |all, bit| all | 1 << bit);
                assert!(set != 0 && set & !all == 0, "{text:?}: {set:b}");
            }
            let list = |set: u64| {
                let bits = (0..64).filter(|bit| set & 1 << bit != 0).map(|bit: u32| bit.to_string());
                bits.collect::<Vec<_>>().join(",")
            };
            let days = if calendar.any_day { "*".to_owned() } else { list(calendar.days) };
            let weekdays = if calendar.any_weekday { "*".to_owned() } else { list(calendar.weekdays) };
            let spelled = format!(
                "{} {} {days} {} {weekdays}",
                list(calendar.minutes),
                list(calendar.hours),
                list(calendar.months)
            );
            let again = cron::parse(&spelled, |_| false);
            if !calendar.any_day && !calendar.any_weekday {
                assert_eq!(again, Ok(Schedule::Calendar(calendar)), "{text:?} {spelled:?}");
            } else {
                assert!(again.is_ok(), "{text:?} {spelled:?}: {again:?}");
            }
        }
        Ok(Schedule::Every(seconds)) => assert!(seconds > 0, "{text:?}"),
        Err(why) => assert!(!why.is_empty()),
    }
}

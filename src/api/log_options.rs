//! `PodLogOptions`: what may be asked of a log, read from a query and judged as upstream judges it.

use serde_json::Value;

use crate::api::status::{FieldError, Status};
use crate::time::WallTime;

/// Streams of a container.
const STREAMS: [&str; 3] = ["All", "Stderr", "Stdout"];
const POSITIVE: &str = "must be greater than 0";

/// Which part of a log is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The last so many lines only.
    pub tail_lines: Option<u64>,
    /// Most bytes.
    pub limit_bytes: Option<u64>,
    /// Not older than so many seconds.
    pub since_seconds: Option<u64>,
    /// Not older than this.
    pub since_time: Option<WallTime>,
    /// `Stdout` or `Stderr`, none for both.
    pub stream: Option<String>,
}

impl LogOptions {
    /// Reads the parameters that `parameter` knows, of a request for the log of `pod`: 400 for what cannot be read, 422
    /// for what makes no sense.
    pub fn read<'q>(pod: &str, parameter: impl Fn(&str) -> Option<&'q str>) -> Result<Self, Status> {
        let number = |name: &str| {
            let text = parameter(name).filter(|text| !text.is_empty());
            text.map(|text| text.parse::<i64>().map_err(|_| unreadable_number(text))).transpose()
        };
        let (lines, bytes) = (number("tailLines")?, number("limitBytes")?);
        let seconds = number("sinceSeconds")?;
        let text = parameter("sinceTime").filter(|text| !text.is_empty());
        let time = text.map(|text| WallTime::parse(text).ok_or_else(|| unreadable_time(text))).transpose()?;
        let stream = parameter("stream").filter(|stream| !matches!(*stream, "" | "All"));

        let mut errors = Vec::new();
        let mut least = |name: &str, given: Option<i64>, least: i64, rule: &str| {
            if let Some(given) = given.filter(|given| *given < least) {
                errors.push(FieldError::invalid(name, &given.into(), rule));
            }
        };
        least("tailLines", lines, 0, "must be greater than or equal to 0");
        least("limitBytes", bytes, 1, POSITIVE);
        if time.is_none() {
            least("sinceSeconds", seconds, 1, POSITIVE);
        }
        if time.is_some() && seconds.is_some() {
            let rule = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(FieldError::forbidden("", rule));
        }
        if let Some(other) = stream.filter(|stream| !STREAMS.contains(stream)) {
            errors.push(FieldError::unsupported("stream", &Value::from(other), &STREAMS));
        }
        if !errors.is_empty() {
            return Err(Status::invalid("", "PodLogOptions", pod, &errors));
        }
        Ok(Self {
            tail_lines: lines.map(i64::unsigned_abs),
            limit_bytes: bytes.map(i64::unsigned_abs),
            since_seconds: seconds.map(i64::unsigned_abs),
            since_time: time,
            stream: stream.map(str::to_owned),
        })
    }
}

fn unreadable_number(text: &str) -> Status {
    Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
}

fn unreadable_time(text: &str) -> Status {
    let layout = "2006-01-02T15:04:05Z07:00";
    Status::bad_request(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&'static str, &'static str)]) -> Result<LogOptions, (u16, String)> {
        let get = |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        LogOptions::read("web", get).map_err(|status| (status.code, status.message))
    }

    #[test]
    fn what_is_asked_of_a_log_is_judged_as_upstream_does() {
        let invalid = |rest: &str| (422, format!("PodLogOptions \"web\" is invalid: {rest}"));
        for (pairs, refusal) in [
            (&[("tailLines", "-1")][..], invalid("tailLines: Invalid value: -1: must be greater than or equal to 0")),
            (&[("limitBytes", "0")], invalid("limitBytes: Invalid value: 0: must be greater than 0")),
            (&[("sinceSeconds", "0")], invalid("sinceSeconds: Invalid value: 0: must be greater than 0")),
            (
                &[("sinceSeconds", "1"), ("sinceTime", "2026-01-02T03:04:05Z")],
                invalid(": Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"),
            ),
            (
                &[("stream", "stdout")],
                invalid("stream: Unsupported value: \"stdout\": supported values: \"All\", \"Stderr\", \"Stdout\""),
            ),
            (
                &[("tailLines", "-2"), ("limitBytes", "-3")],
                invalid(
                    "[tailLines: Invalid value: -2: must be greater than or equal to 0, limitBytes: Invalid value: -3: \
                     must be greater than 0]",
                ),
            ),
            (&[("tailLines", "ten")], (400, "strconv.ParseInt: parsing \"ten\": invalid syntax".into())),
            (
                &[("sinceTime", "noon")],
                (
                    400,
                    "parsing time \"noon\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"noon\" as \"2006\"".into(),
                ),
            ),
        ] {
            assert_eq!(read(pairs), Err(refusal), "{pairs:?}");
        }
    }

    #[test]
    fn what_is_not_given_is_not_asked() {
        assert_eq!(read(&[("tailLines", ""), ("stream", "All")]), Ok(LogOptions::default()));
        let asked = read(&[("tailLines", "0"), ("limitBytes", "5"), ("stream", "Stderr")]).expect("valid");
        assert_eq!(
            (asked.tail_lines, asked.limit_bytes, asked.stream.as_deref()),
            (Some(0), Some(5), Some("Stderr"))
        );
    }
}

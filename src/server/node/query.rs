//! Query parameters.

use crate::api::status::Status;

/// Decoded parameters, in order; names may come more than once.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URI after `?`.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, Status> {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        });
        decoded.collect::<Result<_, Status>>().map(Self)
    }

    /// The values under any of these names.
    pub(super) fn all<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(|(name, _)| names.contains(&name.as_str())).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on: there, and neither `false` nor `0`.
    pub(super) fn flag(&self, names: &[&str]) -> bool {
        self.all(names).next().is_some_and(|value| !value.eq_ignore_ascii_case("false") && value != "0")
    }

    /// The first value under this name.
    pub(super) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn decode(text: &str) -> Result<String, Status> {
    let broken = || Status::bad_request(format!("query: {text:?} is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit().ok_or_else(broken)?, digit().ok_or_else(broken)?);
                (high * 16 + low) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_switches_are_read_as_upstream_reads_them() {
        let query =
            Query::parse(Some("command=sh&command=-c&command=echo+a%26b%20%C3%BC&tty&stdin=1&stdout=False"))
                .expect("well-formed");
        assert_eq!(query.all(&["command"]).collect::<Vec<_>>(), ["sh", "-c", "echo a&b ü"]);
        assert!(query.flag(&["tty"]));
        assert!(query.flag(&["input", "stdin"]));
        assert!(!query.flag(&["stdout"]));
        assert!(!query.flag(&["stderr"]));
    }

    #[test]
    fn what_is_not_percent_encoded_is_refused() {
        for broken in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert_eq!(Query::parse(Some(broken)).expect_err("refused").code, 400, "{broken}");
        }
    }
}

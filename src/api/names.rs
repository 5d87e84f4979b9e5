//! The primitive rules of names: each function returns what is wrong with its argument, in upstream's words, and an
//! empty list when nothing is.

/// Longest DNS label.
pub const LABEL_BYTES_MAX: usize = 63;
/// Longest DNS subdomain, and longest object name.
pub const SUBDOMAIN_BYTES_MAX: usize = 253;
/// Longest port name.
pub const PORT_NAME_BYTES_MAX: usize = 15;

/// What is wrong; empty when nothing is.
pub type Faults = Vec<String>;
/// A rule of names.
pub type Rule = fn(&str) -> Faults;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const UNDERSCORE_FORMAT: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
const KEY_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                        alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                        validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// A label of a DNS name (RFC 1123), e.g. a namespace or container name.
pub fn dns1123_label(value: &str) -> Faults {
    let mut faults = too_long(value, LABEL_BYTES_MAX);
    if !is_label(value) {
        faults.push(if is_subdomain(value) {
            "must not contain dots".into()
        } else {
            format!(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                 '{LABEL_FORMAT}')"
            )
        });
    }
    faults
}

/// A DNS name (RFC 1123), e.g. the name of most objects.
pub fn dns1123_subdomain(value: &str) -> Faults {
    let mut faults = too_long(value, SUBDOMAIN_BYTES_MAX);
    if !is_subdomain(value) {
        faults.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '{SUBDOMAIN_FORMAT}')"
        ));
    }
    faults
}

/// A DNS name in which labels may hold underscores, as search domains of a resolver may.
pub fn dns1123_subdomain_with_underscore(value: &str) -> Faults {
    let mut faults = too_long(value, SUBDOMAIN_BYTES_MAX);
    if !value.split('.').all(|label| is_underscored(label.strip_prefix('_').unwrap_or(label))) {
        faults.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and \
             must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '{UNDERSCORE_FORMAT}')"
        ));
    }
    faults
}

/// A label that begins with a letter (RFC 1035), e.g. a Service name.
pub fn dns1035_label(value: &str) -> Faults {
    let mut faults = too_long(value, LABEL_BYTES_MAX);
    if !is_label(value) || !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        faults.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .into(),
        );
    }
    faults
}

/// A label key: a name with an optional DNS subdomain and `/` before it. Also taints, conditions and resources.
pub fn qualified_name(value: &str) -> Faults {
    let mut faults = Vec::new();
    let name = match value.split('/').collect::<Vec<_>>()[..] {
        [name] => name,
        ["", name] => {
            faults.push("prefix part must be non-empty".into());
            name
        }
        [prefix, name] => {
            faults.extend(dns1123_subdomain(prefix).iter().map(|fault| format!("prefix part {fault}")));
            name
        }
        _ => {
            return vec![format!(
                "a valid label key {KEY_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if name.is_empty() {
        faults.push("name part must be non-empty".into());
    } else {
        faults.extend(too_long(name, LABEL_BYTES_MAX).iter().map(|fault| format!("name part {fault}")));
    }
    if !is_key(name) {
        faults.push(format!("name part {KEY_RULE}"));
    }
    faults
}

/// The value of a label; may be empty.
pub fn label_value(value: &str) -> Faults {
    let mut faults = too_long(value, LABEL_BYTES_MAX);
    if !value.is_empty() && !is_key(value) {
        faults.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
             for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .into(),
        );
    }
    faults
}

/// The name of an environment variable: printable ASCII but `=`.
pub fn env_var_name(value: &str) -> Faults {
    let mut faults = Vec::new();
    if value.is_empty() {
        faults.push("environment variable name must be non-empty".into());
    }
    if !value.chars().all(|c| (c == ' ' || c.is_ascii_graphic()) && c != '=') {
        faults.push(
            "a valid environment variable name must consist only of printable ASCII characters other than '='".into(),
        );
    }
    faults
}

/// A key of a `ConfigMap` or Secret, which may become a file name.
pub fn config_map_key(value: &str) -> Faults {
    let mut faults = too_long(value, SUBDOMAIN_BYTES_MAX);
    if value.is_empty() || !value.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)) {
        faults.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .into(),
        );
    }
    match value {
        "." | ".." => faults.push(format!("must not be '{value}'")),
        _ if value.starts_with("..") => faults.push("must not start with '..'".into()),
        _ => {}
    }
    faults
}

/// The name of a port (RFC 6335, lower case only).
pub fn port_name(value: &str) -> Faults {
    let mut faults = too_long(value, PORT_NAME_BYTES_MAX);
    let mut unless = |good: bool, fault: &str| {
        if !good {
            faults.push(fault.to_owned());
        }
    };
    unless(
        !value.is_empty() && value.chars().all(is_label_char),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    unless(value.contains(|c: char| c.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    unless(!value.contains("--"), "must not contain consecutive hyphens");
    unless(!value.starts_with('-') && !value.ends_with('-'), "must not begin or end with a hyphen");
    faults
}

/// A port number that can be listened on.
pub fn port_number(value: i64) -> Faults {
    in_range(value, 1, 65_535)
}

/// A user or group id.
pub fn user_or_group_id(value: i64) -> Faults {
    in_range(value, 0, 0xffff_ffff)
}

/// `low..=high`
pub fn in_range(value: i64, low: i64, high: i64) -> Faults {
    if (low..=high).contains(&value) {
        Vec::new()
    } else {
        vec![format!("must be between {low} and {high}, inclusive")]
    }
}

/// A percentage, e.g. `25%`.
pub fn percent(value: &str) -> Faults {
    let digits = value.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) {
        return Vec::new();
    }
    vec![
        "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used \
         for validation is '[0-9]+%')"
            .into(),
    ]
}

/// The name of an HTTP header.
pub fn http_header_name(value: &str) -> Faults {
    if !value.is_empty() && value.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Vec::new();
    }
    vec![
        "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
         validation is '[-A-Za-z0-9]+')"
            .into(),
    ]
}

/// A name that stands in a path of the API: not `.`, `..`, and without `/` and `%`.
pub fn path_segment(value: &str) -> Faults {
    if matches!(value, "." | "..") {
        return vec![format!("may not be '{value}'")];
    }
    ["/", "%"]
        .iter()
        .filter(|bad| value.contains(**bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// An IPv4 or IPv6 address.
pub fn ip_address(value: &str) -> Faults {
    if value.parse::<core::net::IpAddr>().is_ok() {
        return Vec::new();
    }
    vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".into()]
}

/// An address block, e.g. `10.9.8.0/24`.
pub fn cidr(value: &str) -> Faults {
    let valid = value.split_once('/').is_some_and(|(address, length)| {
        let bits_max = match address.parse::<core::net::IpAddr>() {
            Ok(core::net::IpAddr::V4(_)) => 32,
            Ok(core::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.chars().all(|c| c.is_ascii_digit()) && length.parse::<u8>().is_ok_and(|bits| bits <= bits_max)
    });
    if valid {
        Vec::new()
    } else {
        vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".into()]
    }
}

fn too_long(value: &str, bytes_max: usize) -> Faults {
    if value.len() > bytes_max { vec![format!("must be no more than {bytes_max} bytes")] } else { Vec::new() }
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

fn is_label(value: &str) -> bool {
    !value.is_empty() && value.chars().all(is_label_char) && !value.starts_with('-') && !value.ends_with('-')
}

fn is_underscored(value: &str) -> bool {
    !value.is_empty()
        && value.chars().all(|c| is_label_char(c) || c == '_')
        && !value.starts_with(['-', '_'])
        && !value.ends_with(['-', '_'])
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_key(value: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    value.starts_with(alphanumeric)
        && value.ends_with(alphanumeric)
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort(rule: Rule, good: &[&str], bad: &[&str]) {
        for value in good {
            assert_eq!(rule(value), Faults::new(), "{value:?} is good");
        }
        for value in bad {
            assert_ne!(rule(value), Faults::new(), "{value:?} is bad");
        }
    }

    #[test]
    fn labels_are_lower_case_and_at_most_63_bytes() {
        let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
        sort(
            dns1123_label,
            &["a", "ab", "abc", "a1", "a-1", "a--1--2--b", "0", "01", "0-1", &longest],
            &["", "A", "aBc", "-", "a-", "-a", "_", "a_b", "a.b", " ", "a ", "a\n", "ü", &too_long],
        );
        assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns1123_label(&too_long), ["must be no more than 63 bytes"]);
    }

    #[test]
    fn subdomains_are_labels_with_dots_between() {
        let longest = "a".repeat(253);
        sort(
            dns1123_subdomain,
            &["a", "a.b", "0.0.0", "a-1.b--2", &longest],
            &["", ".", "a.", ".a", "a..b", "a.-b", "A.b", "a_b.c", "a@b", &"a".repeat(254)],
        );
        sort(dns1123_subdomain_with_underscore, &["_svc.a", "a_b.c"], &["", "__a", "a_", "_", "a.", "A"]);
        sort(dns1035_label, &["a", "a1", "a-b"], &["", "1a", "-a", "A", "a.b"]);
    }

    #[test]
    fn label_keys_may_have_a_domain_before_them() {
        sort(
            qualified_name,
            &[
                "simple",
                "now-with-dashes",
                "1-starts-with-num",
                "1234",
                "example.com/MyName",
                "Uppercase_And.dots",
            ],
            &[
                "",
                "nospecialchars%^=@",
                "cantendwithadash-",
                "-cantstart",
                "only/one/slash",
                "Example.com/abc",
                "/abc",
                "a/",
            ],
        );
        assert_eq!(
            qualified_name("")[0],
            "name part must be non-empty",
            "and then the rule: {:?}",
            qualified_name("")
        );
        assert!(
            qualified_name("a/b/c")[0]
                .ends_with("with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")
        );
        assert_eq!(qualified_name("/abc"), ["prefix part must be non-empty"]);
    }

    #[test]
    fn label_values_may_be_empty_but_not_long_or_odd() {
        let longest = "a".repeat(63);
        sort(
            label_value,
            &["", "simple", "now-with_dots.1", "1234", &longest],
            &["-", "a-", ".a", "a b", "a/b", &"a".repeat(64)],
        );
    }

    #[test]
    fn environment_names_are_printable_ascii_without_equals() {
        sort(env_var_name, &["A", "my.env-name", "1st", "a b", "-"], &["", "A=B", "ü", "a\tb", "\u{7f}"]);
    }

    #[test]
    fn keys_of_config_maps_can_be_file_names() {
        let longest = "a".repeat(253);
        sort(
            config_map_key,
            &["a", "good", ".a", "tls.crt", "KEY_NAME", "a..b", &longest],
            &["", ".", "..", "..bad", "b*d", "bad!&bad", "a/b", &"a".repeat(254)],
        );
        assert_eq!(config_map_key(".."), ["must not be '..'"]);
        assert_eq!(config_map_key("..a"), ["must not start with '..'"]);
    }

    #[test]
    fn port_names_hold_a_letter_and_no_double_hyphen() {
        sort(
            port_name,
            &["telnet", "re-mail-ck", "pop3", "a", "a-1"],
            &[
                "",
                "longerthan15characters",
                "12345",
                "1-2-3",
                "-begin",
                "end-",
                "two--hyphens",
                "whois++",
                "UPPER",
            ],
        );
        assert_eq!(
            port_name("12-"),
            ["must contain at least one letter (a-z)", "must not begin or end with a hyphen"]
        );
    }

    #[test]
    fn numbers_stay_in_their_range() {
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(port_number(65_536).len(), 1);
        assert!(port_number(1).is_empty() && port_number(65_535).is_empty());
        assert!(user_or_group_id(0).is_empty() && user_or_group_id(0xffff_ffff).is_empty());
        assert_eq!(user_or_group_id(-1), ["must be between 0 and 4294967295, inclusive"]);
    }

    #[test]
    fn percentages_headers_segments_and_addresses() {
        sort(percent, &["0%", "100%", "00001%"], &["", "1", "%", "-1%", "1.5%", "1 %"]);
        sort(http_header_name, &["X-Forwarded-For", "a"], &["", "a b", "a:b", "a_b"]);
        sort(path_segment, &["a", "...", "a b", ""], &[".", "..", "a/b", "a%b"]);
        sort(
            ip_address,
            &["1.2.3.4", "::1", "2001:db8::ffff"],
            &["", "1.2.3", "1.2.3.400", "a", "[::1]", "1.2.3.4/8"],
        );
        sort(
            cidr,
            &["10.0.0.0/8", "2001:db8::/64", "0.0.0.0/0"],
            &["", "10.0.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "a/8", "10.0.0.0/+8"],
        );
    }
}

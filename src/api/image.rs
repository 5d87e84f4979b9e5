//! Image references as Docker reads them: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.

/// Longest name (host and path).
const NAME_BYTES_MAX: usize = 255;
/// Longest tag.
const TAG_BYTES_MAX: usize = 128;
/// Fewest hexadecimal digits of a digest.
const DIGEST_DIGITS_MIN: usize = 32;

/// The tag that a reference stands for: its own, `latest` when it has neither tag nor digest, empty when it has a digest
/// only. None when the text is no reference.
pub fn tag(image: &str) -> Option<&str> {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    let good = is_name(name) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
    match (good, tag, digest) {
        (false, ..) => None,
        (true, Some(tag), _) => Some(tag),
        (true, None, Some(_)) => Some(""),
        (true, None, None) => Some("latest"),
    }
}

fn is_name(name: &str) -> bool {
    if name.len() > NAME_BYTES_MAX || is_identifier(name) {
        return false;
    }
    match name.split_once('/') {
        Some((host, path)) if looks_like_host(host) => is_host(host) && is_path(path),
        _ => is_path(name),
    }
}

/// 64 hexadecimal digits name an image by its id, not by a reference.
fn is_identifier(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn looks_like_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':']) || part.contains(|c: char| c.is_ascii_uppercase())
}

fn is_host(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            address.parse::<core::net::Ipv6Addr>().is_ok() && (port.is_empty() || is_port(&port[1..]))
        });
    }
    let (labels, port) = host.split_once(':').unwrap_or((host, "0"));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    labels.split('.').all(label) && is_port(port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn is_path(path: &str) -> bool {
    path.split('/').all(is_path_part)
}

/// Lower-case letters and digits with `.`, `_`, `__` or any number of `-` between them.
fn is_path_part(part: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let edges = bytes.first().is_some_and(alphanumeric) && bytes.last().is_some_and(alphanumeric);
    edges
        && bytes
            .split(alphanumeric)
            .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= TAG_BYTES_MAX
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && algorithm.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-_".contains(&b))
            && hex.len() >= DIGEST_DIGITS_MIN
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn the_tag_of_a_reference_is_latest_unless_it_says_otherwise() {
        let digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for (image, expected) in [
            ("busybox", Some("latest")),
            ("busybox:1.36", Some("1.36")),
            ("busybox:latest", Some("latest")),
            ("localhost/busybox", Some("latest")),
            ("localhost:5000/busybox", Some("latest")),
            ("localhost:5000/busybox:v1", Some("v1")),
            ("registry.k8s.io/a/b__c/d-e", Some("latest")),
            ("[::1]:5000/a:1", Some("1")),
            ("UPPER.io/a", Some("latest")),
            (&format!("busybox@{digest}"), Some("")),
            (&format!("busybox:1@{digest}"), Some("1")),
            ("", None),
            ("Busybox", None),
            ("a b", None),
            ("a:", None),
            ("a:b c", None),
            ("a//b", None),
            ("a@sha256:12", None),
            ("-a", None),
            ("a..b", None),
            (&digest[7..], None),
        ] {
            assert_eq!(tag(image), expected, "{image:?}");
        }
    }
}

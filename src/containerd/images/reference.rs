//! Image references as containerd's records name them. Pure.

use oci_client::Reference;

/// A text that is no image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("couldn't parse image name {text:?}: {why}")]
pub struct InvalidReference {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// Reads a reference as people write it: `busybox` is `docker.io/library/busybox:latest`; with a digest the tag says
/// nothing more and is dropped.
pub(super) fn parse(text: &str) -> Result<Reference, InvalidReference> {
    let reference = Reference::try_from(text)
        .map_err(|e| InvalidReference { text: text.to_owned(), why: e.to_string() })?;
    Ok(match reference.digest() {
        Some(digest) => reference.clone_with_digest(digest.to_owned()),
        None => reference,
    })
}

/// `docker.io/library/busybox` of a reference as people write it; none when it is no reference.
pub fn repository_of(text: &str) -> Option<String> {
    parse(text).ok().map(|reference| repository(&reference))
}

/// `docker.io/library/busybox`
pub(super) fn repository(reference: &Reference) -> String {
    format!("{}/{}", reference.registry(), reference.repository())
}

/// The record that names the same image by digest.
pub(super) fn by_digest(reference: &Reference, digest: &str) -> String {
    format!("{}@{digest}", repository(reference))
}

/// Whether a registry is on this machine and so spoken to without TLS, as Docker and containerd do.
pub(super) fn is_local(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.rsplit_once(':').map_or(registry, |(host, _)| host),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_completed_as_docker_does() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, whole) in [
            ("busybox", "docker.io/library/busybox:latest".to_owned()),
            ("me/x:1", "docker.io/me/x:1".to_owned()),
            ("localhost:5000/x", "localhost:5000/x:latest".to_owned()),
            (&format!("r.example/x:1@{digest}"), format!("r.example/x@{digest}")),
        ] {
            assert_eq!(parse(text).expect(text).whole(), whole);
        }
    }

    #[test]
    fn what_is_no_reference_is_named() {
        for text in ["", "Busybox", "a b", "x:", "x@sha256:12"] {
            let error = parse(text).expect_err(text);
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn registries_on_this_machine_are_spoken_to_without_tls() {
        for local in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(is_local(local), "{local}");
        }
        for remote in ["docker.io", "10.0.0.1:5000", "localhost.example:5000", "[2001:db8::1]:5000"] {
            assert!(!is_local(remote), "{remote}");
        }
    }
}

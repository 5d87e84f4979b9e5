//! Bootstrap tokens: what stands in their Secrets, whom they make of whoever shows one, and what that one may do. PURE.

use serde_json::Value;

use super::{Attributes, Authorizer, Decision, Subject, User};
use crate::time::WallTime;

/// Where their Secrets stand.
pub const NAMESPACE: &str = "kube-system";
/// Type of their Secrets.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
/// How the names of their Secrets begin; the token's id follows.
pub const NAME_PREFIX: &str = "bootstrap-token-";
/// The group of everybody who shows one.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// The group of those whose token lets them become a node.
pub const NODE_BOOTSTRAPPERS: &str = "system:bootstrappers:leasehold:nodes";
/// The group of those whose token lets them become a steward.
pub const STEWARD_BOOTSTRAPPERS: &str = "system:bootstrappers:leasehold:stewards";
const USER_PREFIX: &str = "system:bootstrap:";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;

/// A token's two halves, if it has the form of one: `abcdef.0123456789abcdef`.
pub fn parse(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let is_plain = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let fits = id.len() == ID_LENGTH && secret.len() == SECRET_LENGTH && is_plain(id) && is_plain(secret);
    fits.then_some((id, secret))
}

/// One entry of a Secret, as text.
pub fn entry(secret: &Value, key: &str) -> Option<String> {
    use base64::Engine as _;
    let text = secret["data"][key].as_str()?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
    String::from_utf8(bytes).ok()
}

/// Who shows the token whose Secret this is, or why it is not good (any more).
pub fn user(found: &Value, id: &str, secret: &str, now: WallTime) -> Result<User, &'static str> {
    let entry = |key: &str| entry(found, key).unwrap_or_default();
    if found["type"] != SECRET_TYPE || !found["metadata"]["deletionTimestamp"].is_null() {
        return Err("the Secret is no bootstrap token, or is being deleted");
    }
    if entry("token-id") != id || !is_same(&entry("token-secret"), secret) {
        return Err("the bootstrap token is another one");
    }
    if has_ended(&entry("expiration"), now) {
        return Err("the bootstrap token has ended");
    }
    if entry("usage-bootstrap-authentication") != "true" {
        return Err("the bootstrap token is not for authentication");
    }
    let extra = entry("auth-extra-groups");
    let extra = extra.split(',').map(str::trim).filter(|group| group.starts_with("system:bootstrappers:"));
    let groups: Vec<&str> = std::iter::once(BOOTSTRAPPERS).chain(extra).collect();
    Ok(User::new(format!("{USER_PREFIX}{id}"), &groups))
}

/// One that names no end has none; one that cannot be read has ended.
fn has_ended(expiration: &str, now: WallTime) -> bool {
    !expiration.is_empty() && WallTime::parse(expiration).is_none_or(|end| end <= now)
}

/// In a time that tells nothing about where they differ.
fn is_same(a: &str, b: &str) -> bool {
    !a.is_empty() && a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |odd, (a, b)| odd | (a ^ b)) == 0
}

/// Whoever shows a bootstrap token may ask for a certificate, and see whether it has been signed.
#[derive(Debug)]
pub struct Bootstrappers;

impl Authorizer for Bootstrappers {
    fn decide(&self, attributes: &Attributes<'_>) -> Decision {
        let Subject::Resource(asked) = attributes.subject else { return Decision::silent() };
        let is_request =
            (asked.group, asked.resource) == ("certificates.k8s.io", "certificatesigningrequests");
        let is_allowed = attributes.user.is_in(BOOTSTRAPPERS)
            && is_request
            && asked.subresource.is_empty()
            && matches!(attributes.verb, "create" | "get" | "list" | "watch");
        if is_allowed { Decision::Allow } else { Decision::silent() }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_has_one_form() {
        assert_eq!(parse("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for odd in
            ["", "abcdef", "abcde.0123456789abcdef", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcde"]
        {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_token_is_good_as_long_as_its_secret_says() {
        let now = WallTime::parse("2026-01-02T03:04:05Z").unwrap();
        let secret = |changes: &[(&str, &str)]| {
            let mut data = json!({});
            let entries = [
                ("token-id", "abcdef"),
                ("token-secret", "0123456789abcdef"),
                ("expiration", "2026-01-02T03:04:06Z"),
                ("usage-bootstrap-authentication", "true"),
                ("auth-extra-groups", "system:bootstrappers:leasehold:nodes, system:masters"),
            ];
            for (key, value) in entries.iter().chain(changes) {
                data[key] = base64::engine::general_purpose::STANDARD.encode(value).into();
            }
            json!({ "type": SECRET_TYPE, "data": data })
        };
        let ask = |changes: &[(&str, &str)]| user(&secret(changes), "abcdef", "0123456789abcdef", now);
        let known = ask(&[]).unwrap();
        assert_eq!(known.name, "system:bootstrap:abcdef");
        assert_eq!(known.groups, [BOOTSTRAPPERS, NODE_BOOTSTRAPPERS]);
        assert!(ask(&[("expiration", "")]).is_ok());
        let refused = [
            ("token-secret", "0123456789abcdee", "the bootstrap token is another one"),
            ("token-secret", "", "the bootstrap token is another one"),
            ("expiration", "2026-01-02T03:04:05Z", "the bootstrap token has ended"),
            ("expiration", "tomorrow", "the bootstrap token has ended"),
            ("usage-bootstrap-authentication", "", "the bootstrap token is not for authentication"),
        ];
        for (key, value, why) in refused {
            assert_eq!(ask(&[(key, value)]), Err(why), "{key}={value}");
        }
    }
}

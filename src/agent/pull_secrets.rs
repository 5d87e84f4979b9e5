//! Which credentials a Pod's `imagePullSecrets` have for an image, by the kubelet's rules. PURE.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

/// What Docker calls its own registry in its files, and in references.
const DOCKER_HUB: (&str, &str) = ("index.docker.io", "docker.io");

/// What to show a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A name and a password.
    Password {
        /// User name.
        username: String,
        /// Password or access token.
        password: String,
    },
    /// A bearer token.
    Token(String),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?})"),
            Self::Token(_) => write!(f, "Token"),
        }
    }
}

/// An entry of Docker's `config.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: String,
    password: String,
    auth: String,
    registrytoken: String,
}

type Entries = std::collections::BTreeMap<String, Entry>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    auths: Entries,
}

/// The credentials for `repository` (`registry.example/path/name`), the most specific first. A secret that is none of
/// this kind, or cannot be read, has none.
pub fn logins(repository: &str, secrets: &[&Secret]) -> Vec<Login> {
    let mut found: Vec<(String, Login)> = Vec::new();
    for (key, entry) in secrets.iter().flat_map(|secret| entries(secret)) {
        let key = bare(&key);
        let login = entry.login().filter(|login| !found.iter().any(|(_, known)| known == login));
        if let Some(login) = login.filter(|_| matches(&key, repository)) {
            found.push((key, login));
        }
    }
    // As upstream: reversed by text, so that a path comes before the host it is on.
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    found.into_iter().map(|(_, login)| login).collect()
}

fn entries(secret: &Secret) -> Entries {
    let data = |key: &str| secret.data.as_ref()?.get(key).map(|bytes| bytes.0.as_slice());
    let read = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => data(".dockerconfigjson")
            .and_then(|bytes| serde_json::from_slice::<File>(bytes).ok())
            .map(|file| file.auths),
        Some("kubernetes.io/dockercfg") => {
            data(".dockercfg").and_then(|bytes| serde_json::from_slice(bytes).ok())
        }
        Some(_) | None => None,
    };
    read.unwrap_or_default()
}

impl Entry {
    fn login(&self) -> Option<Login> {
        if !self.registrytoken.is_empty() {
            return Some(Login::Token(self.registrytoken.clone()));
        }
        let decoded = STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
        let (username, password) = pair.unwrap_or((&self.username, &self.password));
        let password = password.trim_end_matches('\0');
        (!username.is_empty())
            .then(|| Login::Password { username: username.to_owned(), password: password.to_owned() })
    }
}

/// `https://index.docker.io/v1/` is `index.docker.io`.
fn bare(key: &str) -> String {
    let rest = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = ["v1/", "v2/"].iter().find_map(|version| path.strip_prefix(version)).unwrap_or(path);
    let path = if matches!(path, "v1" | "v2") { "" } else { path.trim_end_matches('/') };
    if path.is_empty() { host.to_owned() } else { format!("{host}/{path}") }
}

/// Host by host part (with `*` for any text within one), port equal, path a prefix.
fn matches(key: &str, repository: &str) -> bool {
    let (key_host, key_path) = key.split_once('/').unwrap_or((key, ""));
    let (host, path) = repository.split_once('/').unwrap_or((repository, ""));
    let key_host = if key_host == DOCKER_HUB.0 { DOCKER_HUB.1 } else { key_host };
    let port = |host: &str| host.rsplit_once(':').map(|(_, port)| port.to_owned());
    let name = |host: &str| host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned();
    let (key_name, name) = (name(key_host), name(host));
    let parts = |name: &str| name.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (key_parts, parts_of_name) = (parts(&key_name), parts(&name));
    port(key_host) == port(host)
        && key_parts.len() == parts_of_name.len()
        && key_parts.iter().zip(&parts_of_name).all(|(glob, part)| is_like(glob, part))
        && path.starts_with(key_path)
}

/// Whether `text` fits `glob`, where `*` stands for any text.
fn is_like(glob: &str, text: &str) -> bool {
    match glob.split_once('*') {
        None => glob == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).any(|at| tail.is_char_boundary(at) && is_like(rest, &tail[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn secret(auths: &Value) -> Secret {
        let text = json!({ "auths": auths }).to_string();
        serde_json::from_value(json!({
            "metadata": {}, "type": "kubernetes.io/dockerconfigjson",
            "data": { ".dockerconfigjson": STANDARD.encode(text) },
        }))
        .expect("a secret")
    }

    fn users(repository: &str, auths: &Value) -> Vec<String> {
        let secret = secret(auths);
        logins(repository, &[&secret])
            .into_iter()
            .map(|login| match login {
                Login::Password { username, .. } => username,
                Login::Token(token) => token,
            })
            .collect()
    }

    #[test]
    fn keys_match_by_host_port_and_path() {
        let of = |key: &str| json!({ key: { "username": "u", "password": "p" } });
        for (key, repository, fits) in [
            ("r.example", "r.example/a/b", true),
            ("https://r.example/v2/", "r.example/a/b", true),
            ("r.example/a", "r.example/a/b", true),
            ("r.example/c", "r.example/a/b", false),
            ("r.example:5000", "r.example/a", false),
            ("r.example:5000", "r.example:5000/a", true),
            ("*.example", "r.example/a", true),
            ("*.example", "a.r.example/a", false),
            ("pre-*.r.example", "pre-1.r.example/a", true),
            ("https://index.docker.io/v1/", "docker.io/library/busybox", true),
            ("docker.io", "docker.io/library/busybox", true),
            ("index.docker.io", "r.example/a", false),
        ] {
            assert_eq!(!users(repository, &of(key)).is_empty(), fits, "{key} for {repository}");
        }
    }

    #[test]
    fn the_most_specific_comes_first_and_auth_wins_over_its_parts() {
        let auths = json!({
            "r.example": { "username": "host", "password": "p" },
            "r.example/team": { "auth": STANDARD.encode("team:p:with:colons"), "username": "other" },
            "r.example/x": { "username": "x", "password": "p" },
        });
        assert_eq!(users("r.example/team/app", &auths), ["team", "host"]);
        assert_eq!(users("r.example/team/app", &json!({ "r.example": { "registrytoken": "t" } })), ["t"]);
    }

    #[test]
    fn what_cannot_be_read_has_no_credentials_and_passwords_are_not_shown() {
        let mut broken = secret(&json!({}));
        broken.data.as_mut().expect("data").values_mut().for_each(|bytes| bytes.0 = b"{".to_vec());
        assert!(logins("r.example/a", &[&broken]).is_empty());
        let login = Login::Password { username: "u".into(), password: "hidden".into() };
        assert_eq!(format!("{login:?}"), "Password(\"u\")");
    }
}

//! Where images of a registry are to be had: containerd's own `certs.d/REGISTRY/hosts.toml`, so that a machine's mirrors
//! and authorities hold for leasehold too.

use std::io;
use std::path::{Path, PathBuf};

use super::reference::is_local;

/// A place to pull from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Host {
    /// Host, and port where it is none of the protocol's own.
    pub(super) address: String,
    /// What stands before the repository there.
    pub(super) prefix: String,
    /// Without TLS.
    pub(super) plain: bool,
    /// Authorities that sign its certificate, PEM, besides those of the machine.
    pub(super) authorities: Vec<Vec<u8>>,
    /// Take any certificate.
    pub(super) skip_verify: bool,
    role: Role,
}

/// What a place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The registry itself.
    Registry,
    /// A mirror that also says what a tag means now.
    Mirror,
    /// A mirror that serves by digest alone.
    MirrorByDigest,
}

impl Host {
    /// Whether it serves a reference of this form.
    pub(super) fn serves(&self, by_digest: bool) -> bool {
        by_digest || self.role != Role::MirrorByDigest
    }

    /// Whether it is the registry itself, and no mirror of it.
    pub(super) fn is_registry(&self) -> bool {
        self.role == Role::Registry
    }

    fn registry(registry: &str) -> Self {
        Self {
            address: registry.to_owned(),
            prefix: String::new(),
            plain: is_local(registry),
            authorities: Vec::new(),
            skip_verify: false,
            role: Role::Registry,
        }
    }
}

/// Why a `hosts.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub(super) struct HostsError {
    path: PathBuf,
    why: String,
}

/// The places to try for images of `registry`, in order; the registry itself is the last.
pub(super) fn hosts(config: Option<&Path>, registry: &str) -> Result<Vec<Host>, HostsError> {
    let itself = Host::registry(registry);
    let Some(dir) = config.and_then(|config| directory(config, registry)) else { return Ok(vec![itself]) };
    let path = dir.join("hosts.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // Docker's own form: certificates alone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(vec![Host { authorities: certificates(&dir), ..itself }]);
        }
        Err(error) => return Err(HostsError { path, why: error.to_string() }),
    };
    read(&text, &dir, itself).map_err(|why| HostsError { path, why })
}

/// The registry's own directory, in containerd's order of names, or that for all.
fn directory(config: &Path, registry: &str) -> Option<PathBuf> {
    let mut names = Vec::new();
    if let Some((host, port)) = registry.rsplit_once(':').filter(|(host, _)| !host.ends_with(']')) {
        names.push(format!("{host}_{port}_"));
    }
    names.extend([registry.to_owned(), "_default".to_owned()]);
    names.into_iter().map(|name| config.join(name)).find(|dir| dir.is_dir())
}

fn certificates(dir: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "crt")).collect();
    files.sort();
    files.into_iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

fn read(text: &str, dir: &Path, itself: Host) -> Result<Vec<Host>, String> {
    let file: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    let mut hosts = Vec::new();
    for (url, table) in file.get("host").and_then(toml::Value::as_table).into_iter().flatten() {
        let table = table.as_table().ok_or_else(|| format!("host.{url:?}: expected a table"))?;
        hosts.push(host(url, table, dir, false).map_err(|why| format!("host.{url:?}: {why}"))?);
    }
    let server = match file.get("server") {
        Some(url) => {
            let url = url.as_str().ok_or("server: expected a text")?;
            host(url, &file, dir, true).map_err(|why| format!("server: {why}"))?
        }
        None => itself,
    };
    hosts.push(server);
    Ok(hosts)
}

fn host(url: &str, table: &toml::Table, dir: &Path, is_registry: bool) -> Result<Host, String> {
    let flag = |key: &str| match table.get(key) {
        Some(value) => value.as_bool().ok_or_else(|| format!("{key}: expected true or false")),
        None => Ok(false),
    };
    let (plain, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => (is_local(url), url),
    };
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let path = path.trim_matches('/');
    let prefix = match (path, path.strip_prefix("v2/"), flag("override_path")?) {
        ("" | "v2", ..) => String::new(),
        (_, Some(prefix), true) => prefix.to_owned(),
        (..) => return Err(format!("path /{path}: expected /v2/PREFIX with override_path = true, or none")),
    };
    let capabilities = table.get("capabilities").and_then(toml::Value::as_array);
    let capable = |name: &str| {
        capabilities.is_none_or(|all| all.iter().any(|capability| capability.as_str() == Some(name)))
    };
    Ok(Host {
        address: address.to_owned(),
        prefix,
        plain,
        authorities: authorities(table.get("ca"), dir)?,
        skip_verify: flag("skip_verify")?,
        role: match (is_registry, capable("resolve")) {
            (true, _) => Role::Registry,
            (false, true) => Role::Mirror,
            (false, false) => Role::MirrorByDigest,
        },
    })
}

/// `ca`: a file or several, relative to the directory.
fn authorities(ca: Option<&toml::Value>, dir: &Path) -> Result<Vec<Vec<u8>>, String> {
    let files = match ca {
        None => Vec::new(),
        Some(toml::Value::String(file)) => vec![file.as_str()],
        Some(toml::Value::Array(files)) => files.iter().filter_map(toml::Value::as_str).collect(),
        Some(_) => return Err("ca: expected a file name or a list of them".into()),
    };
    let read = |file: &str| {
        let path = dir.join(file);
        std::fs::read(&path).map_err(|error| format!("ca: {}: {error}", path.display()))
    };
    files.into_iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(registry: &str, text: &str) -> Result<Vec<Host>, String> {
        let config = tempfile::tempdir().expect("a directory");
        let dir =
            config.path().join(registry.replace(':', "_") + if registry.contains(':') { "_" } else { "" });
        std::fs::create_dir(&dir).expect("creatable");
        std::fs::write(dir.join("hosts.toml"), text).expect("writable");
        std::fs::write(dir.join("ca.pem"), "CA").expect("writable");
        hosts(Some(config.path()), registry).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_file_the_registry_itself_is_asked() {
        for (registry, plain) in [("r.example", false), ("localhost:5000", true)] {
            let hosts = hosts(Some(Path::new("/nonexistent")), registry).expect("nothing to read");
            assert_eq!(hosts, [Host::registry(registry)]);
            assert_eq!(hosts[0].plain, plain);
        }
    }

    #[test]
    fn mirrors_come_in_the_order_of_the_file_and_the_server_last() {
        let hosts = with(
            "r.example:5000",
            "server = \"https://r.example:5000\"\n\
             [host.\"http://z.example:80\"]\ncapabilities = [\"pull\", \"resolve\"]\n\
             [host.\"https://a.example/v2/cache\"]\noverride_path = true\nca = \"ca.pem\"\n\
             [host.\"https://b.example\"]\ncapabilities = [\"pull\"]\nskip_verify = true\n",
        )
        .expect("valid");
        let shown: Vec<_> = hosts.iter().map(|h| (h.address.as_str(), h.prefix.as_str(), h.plain)).collect();
        let expected = [
            ("z.example:80", "", true),
            ("a.example", "cache", false),
            ("b.example", "", false),
            ("r.example:5000", "", false),
        ];
        assert_eq!(shown, expected);
        assert_eq!(hosts[1].authorities, [b"CA"]);
        assert!(hosts[2].skip_verify && !hosts[2].serves(false) && hosts[2].serves(true));
        assert!(hosts[3].is_registry() && hosts[3].serves(false));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_file_and_key() {
        for (text, part) in [
            ("server = 3", "server"),
            ("[host.\"https://m.example/other\"]", "/other"),
            ("[host.\"https://m.example\"]\nca = \"missing.pem\"", "missing.pem"),
            ("host = [", "hosts.toml"),
        ] {
            let error = with("r.example", text).expect_err(text);
            assert!(error.contains("hosts.toml") && error.contains(part), "{error}");
        }
    }
}

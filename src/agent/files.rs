//! The contents of configMap, secret, downwardAPI and projected volumes: paths, modes and bytes. PURE.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection,
};

use super::downward::{self, FieldError, PodFacts};
use super::sources::{Missing, Sources, TokenWanted};

/// Mode of a file that nothing else says, as upstream's default.
const DEFAULT_MODE: i32 = 0o644;
/// Mode of a token that only its user and group may read.
const TOKEN_MODE: u32 = 0o600;
/// Longest path in a volume, bytes.
const PATH_BYTES: usize = 4096;
/// Longest name in a path, bytes.
const NAME_BYTES: usize = 255;

/// One file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Permission bits.
    pub mode: u32,
    /// Content.
    pub bytes: Vec<u8>,
    /// Who owns it, where that is not root.
    pub owner: Option<u32>,
}

/// The files of a volume by relative path.
pub type Files = BTreeMap<String, File>;

/// Why the contents of a volume cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilesError {
    /// An object it draws from.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A key of a ConfigMap.
    #[error("configmap references non-existent config key: {0}")]
    NoConfigKey(String),
    /// A key of a Secret.
    #[error("references non-existent secret key: {0}")]
    NoSecretKey(String),
    /// A field or resource of the Pod.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A path that could leave the volume.
    #[error("invalid path: {problem}: {path}")]
    Path {
        /// What is wrong with it.
        problem: &'static str,
        /// The path.
        path: String,
    },
    /// A token that could not be had so far.
    #[error("failed to fetch token: {0}")]
    NoToken(String),
    /// A kind of source that this node does not know.
    #[error("projected volume source {0} is not supported")]
    Unsupported(&'static str),
    /// Several of a projected volume's sources.
    #[error("[{}]", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Several(Vec<FilesError>),
}

/// The files of `volume`; none for a volume of another type.
pub fn files(
    pod: &Pod,
    volume: &Volume,
    sources: &Sources,
    facts: &PodFacts,
) -> Option<Result<Files, FilesError>> {
    if let Some(source) = &volume.config_map {
        let found = sources.config_map(&source.name, source.optional);
        let mode = source.default_mode;
        Some(
            found
                .map_err(Into::into)
                .and_then(|map| of_config_map(map, source.items.as_deref(), mode, source.optional)),
        )
    } else if let Some(source) = &volume.secret {
        let found = sources.secret(source.secret_name.as_deref().unwrap_or_default(), source.optional);
        let mode = source.default_mode;
        Some(
            found
                .map_err(Into::into)
                .and_then(|secret| of_secret(secret, source.items.as_deref(), mode, source.optional)),
        )
    } else if let Some(source) = &volume.downward_api {
        Some(of_pod(pod, source.items.as_deref(), source.default_mode, facts))
    } else {
        let source = volume.projected.as_ref()?;
        let list = source.sources.as_deref().unwrap_or_default();
        Some(of_projections(pod, list, source.default_mode, sources, facts))
    }
}

/// Later sources win over earlier ones; all that is wrong is told at once.
fn of_projections(
    pod: &Pod,
    projections: &[VolumeProjection],
    mode: Option<i32>,
    sources: &Sources,
    facts: &PodFacts,
) -> Result<Files, FilesError> {
    let mut made = Files::new();
    let mut problems = Vec::new();
    for projection in projections {
        match of_projection(pod, projection, mode, sources, facts) {
            Ok(files) => made.extend(files),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.len() {
        0 => Ok(made),
        1 => Err(problems.remove(0)),
        _ => Err(FilesError::Several(problems)),
    }
}

fn of_projection(
    pod: &Pod,
    projection: &VolumeProjection,
    mode: Option<i32>,
    sources: &Sources,
    facts: &PodFacts,
) -> Result<Files, FilesError> {
    if let Some(source) = &projection.config_map {
        let map = sources.config_map(&source.name, source.optional)?;
        return of_config_map(map, source.items.as_deref(), mode, source.optional);
    }
    if let Some(source) = &projection.secret {
        let secret = sources.secret(&source.name, source.optional)?;
        return of_secret(secret, source.items.as_deref(), mode, source.optional);
    }
    if let Some(source) = &projection.downward_api {
        return of_pod(pod, source.items.as_deref(), mode, facts);
    }
    if let Some(source) = &projection.service_account_token {
        let wanted = TokenWanted::of(source);
        let path = checked(&source.path)?;
        return match sources.tokens.get(&wanted) {
            Some(Ok(token)) => Ok([(path, token_file(pod, token, mode))].into()),
            _ if sources.starts_without_tokens => Ok(Files::new()),
            Some(Err(why)) => Err(FilesError::NoToken(why.clone())),
            None => Err(FilesError::NoToken("waiting for the coordinator".into())),
        };
    }
    if projection.cluster_trust_bundle.is_some() {
        return Err(FilesError::Unsupported("clusterTrustBundle"));
    }
    if projection.pod_certificate.is_some() {
        return Err(FilesError::Unsupported("podCertificate"));
    }
    Ok(Files::new())
}

fn of_config_map(
    map: Option<&ConfigMap>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
) -> Result<Files, FilesError> {
    let mut values: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let binary = map.and_then(|map| map.binary_data.as_ref()).into_iter().flatten();
    values.extend(binary.map(|(key, value)| (key.as_str(), value.0.as_slice())));
    let text = map.and_then(|map| map.data.as_ref()).into_iter().flatten();
    values.extend(text.map(|(key, value)| (key.as_str(), value.as_bytes())));
    choose(&values, items, mode, optional, FilesError::NoConfigKey)
}

fn of_secret(
    secret: Option<&Secret>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
) -> Result<Files, FilesError> {
    let data = secret.and_then(|secret| secret.data.as_ref()).into_iter().flatten();
    let values = data.map(|(key, value)| (key.as_str(), value.0.as_slice())).collect();
    choose(&values, items, mode, optional, FilesError::NoSecretKey)
}

/// All keys under their own names, or the chosen ones under the paths given.
fn choose(
    values: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    mode: Option<i32>,
    optional: Option<bool>,
    no_key: impl Fn(String) -> FilesError,
) -> Result<Files, FilesError> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return values.iter().map(|(key, value)| Ok((checked(key)?, plain(mode, value)))).collect();
    };
    let mut files = Files::new();
    for item in items {
        match values.get(item.key.as_str()) {
            Some(value) => {
                files.insert(checked(&item.path)?, plain(item.mode.or(mode), value));
            }
            None if optional == Some(true) => {}
            None => return Err(no_key(item.key.clone())),
        }
    }
    Ok(files)
}

fn of_pod(
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    mode: Option<i32>,
    facts: &PodFacts,
) -> Result<Files, FilesError> {
    let mut files = Files::new();
    for item in items.unwrap_or_default() {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(reference), _) => downward::field(pod, &reference.field_path, facts)?,
            (None, Some(reference)) => downward::resource(pod, None, reference, facts)?,
            (None, None) => String::new(),
        };
        files.insert(checked(&item.path)?, plain(item.mode.or(mode), text.as_bytes()));
    }
    Ok(files)
}

fn plain(mode: Option<i32>, bytes: &[u8]) -> File {
    File { mode: mode.unwrap_or(DEFAULT_MODE) as u32 & 0o777, bytes: bytes.to_vec(), owner: None }
}

/// A token is for the Pod's user or group alone, where it states one.
fn token_file(pod: &Pod, token: &str, mode: Option<i32>) -> File {
    let owner = common_user(pod);
    let group = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref()?.fs_group);
    let private = owner.is_some() || group.is_some();
    let file = plain(mode, token.as_bytes());
    File { mode: if private { TOKEN_MODE } else { file.mode }, owner, ..file }
}

/// The user that all containers run as, if they state the same one.
fn common_user(pod: &Pod) -> Option<u32> {
    let spec = pod.spec.as_ref()?;
    let of_pod = spec.security_context.as_ref().and_then(|context| context.run_as_user);
    let mut users = crate::api::pod_resources::containers(spec)
        .map(|container| container.security_context.as_ref().and_then(|c| c.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
}

/// The path without needless parts, if it stays in the volume and out of the names that updates use.
fn checked(path: &str) -> Result<String, FilesError> {
    let wrong = |problem| Err(FilesError::Path { problem, path: path.to_owned() });
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return wrong("must not be empty");
    }
    if path.starts_with('/') {
        return wrong("must be relative path");
    }
    if path.len() > PATH_BYTES || parts.iter().any(|part| part.len() > NAME_BYTES) {
        return wrong("filenames must be at most 255 characters and the whole at most 4096");
    }
    if parts.contains(&"..") {
        return wrong("must not contain '..'");
    }
    if parts[0].starts_with("..") {
        return wrong("must not start with '..'");
    }
    if path.contains('\0') {
        return wrong("must not contain NUL bytes");
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests;

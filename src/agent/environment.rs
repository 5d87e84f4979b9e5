//! A container's environment, command and arguments, as upstream's kubelet and runtimes make them. PURE.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Container, EnvFromSource, EnvVarSource, Pod, VolumeMount};

use super::downward::{self, FieldError, PodFacts};
use super::env_file::{self, EnvFileError};
use super::expansion::{expand, expand_all};
use super::identity;
use super::sources::{FileWanted, Missing, Sources};

/// Where a program is looked for when the image does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a container's process finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The process' variables, image first; each name once.
    pub variables: Vec<(String, String)>,
    /// The variables that `$(VAR)` may name: the container's own and those of services.
    pub declared: BTreeMap<String, String>,
    /// For the event `InvalidEnvironmentVariableNames`.
    pub warnings: Vec<String>,
}

/// Why a container cannot be configured (reason `CreateContainerConfigError`).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// A ConfigMap or Secret.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// A key of one.
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    NoKey {
        /// The key.
        key: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// The Pod's namespace.
        namespace: String,
        /// The object's name.
        name: String,
    },
    /// A field or resource of the Pod.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A value that no process can be given.
    #[error("environment variable {0:?}: expected a text without NUL bytes")]
    NotText(String),
    /// A file of variables in a volume.
    #[error("environment variable {variable:?}: {source}")]
    File {
        /// The variable.
        variable: String,
        /// Which file, and what about it.
        source: EnvFileError,
    },
    /// A sub-path names variables that there are not.
    #[error("failed to expand subPath for volumeMount {volume:?}: missing value for {missing:?}")]
    SubPath {
        /// Name of the volume.
        volume: String,
        /// Names, separated by commas.
        missing: String,
    },
}

/// The environment of `container`, over the image's own `image_env` (`NAME=value` texts).
pub fn environment(
    pod: &Pod,
    container: &Container,
    image_env: &[String],
    sources: &Sources,
    facts: &PodFacts,
) -> Result<Environment, EnvironmentError> {
    let mut making = Making { pod, container, sources, facts, own: BTreeMap::new(), warnings: Vec::new() };
    for source in container.env_from.iter().flatten() {
        making.add_all(source)?;
    }
    let services = given_variables(facts);
    for variable in container.env.iter().flatten() {
        let value = match (variable.value.as_deref(), &variable.value_from) {
            (Some(text), _) if !text.is_empty() => Some(expand(text, &overlay(&services, &making.own))),
            (_, Some(source)) => making.resolve(&variable.name, source)?,
            (_, None) => Some(String::new()),
        };
        making.own.extend(value.map(|value| (variable.name.clone(), value)));
    }
    let declared = overlay(&services, &making.own);
    if let Some((name, _)) = declared.iter().find(|(_, value)| value.contains('\0')) {
        return Err(EnvironmentError::NotText(name.clone()));
    }
    let variables = process_variables(container, image_env, facts, &declared);
    Ok(Environment { variables, declared, warnings: making.warnings })
}

/// The program and its arguments: the container's own, with `$(VAR)` replaced, or the image's as they are. A command
/// of the container's own takes the image's arguments away. Empty when neither says.
pub fn command(
    container: &Container,
    image_entrypoint: &[String],
    image_command: &[String],
    environment: &Environment,
) -> Vec<String> {
    let expanded = |list: &Vec<String>| -> Vec<String> {
        list.iter().map(|text| expand(text, &environment.declared)).collect()
    };
    let command = container.command.as_ref().filter(|list| !list.is_empty()).map(expanded);
    let arguments = container.args.as_ref().filter(|list| !list.is_empty()).map(expanded);
    match (command, arguments) {
        (Some(command), arguments) => [command, arguments.unwrap_or_default()].concat(),
        (None, Some(arguments)) => [image_entrypoint.to_vec(), arguments].concat(),
        (None, None) => [image_entrypoint, image_command].concat(),
    }
}

/// The sub-path of a volume mount, with `$(VAR)` of `subPathExpr` replaced; empty for the whole volume.
pub fn sub_path(mount: &VolumeMount, environment: &Environment) -> Result<String, EnvironmentError> {
    match mount.sub_path_expr.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => expand_all(text, &environment.declared).map_err(|names| EnvironmentError::SubPath {
            volume: mount.name.clone(),
            missing: names.into_iter().collect::<Vec<_>>().join(", "),
        }),
        None => Ok(mount.sub_path.clone().unwrap_or_default()),
    }
}

/// An environment in the making.
struct Making<'a> {
    pod: &'a Pod,
    container: &'a Container,
    sources: &'a Sources,
    facts: &'a PodFacts,
    own: BTreeMap<String, String>,
    warnings: Vec<String>,
}

impl Making<'_> {
    /// All keys of a ConfigMap or Secret (`envFrom`).
    fn add_all(&mut self, source: &EnvFromSource) -> Result<(), EnvironmentError> {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            let found = self.sources.config_map(&reference.name, reference.optional)?;
            let pairs = found.and_then(|map| map.data.clone()).unwrap_or_default();
            self.add_pairs(prefix, pairs, "configMap", &reference.name);
        } else if let Some(reference) = &source.secret_ref {
            let found = self.sources.secret(&reference.name, reference.optional)?;
            let data = found.and_then(|secret| secret.data.as_ref()).into_iter().flatten();
            let pairs = data
                .map(|(key, value)| Ok((key.clone(), text(key, value)?)))
                .collect::<Result<_, EnvironmentError>>()?;
            self.add_pairs(prefix, pairs, "secret", &reference.name);
        }
        Ok(())
    }

    fn add_pairs(&mut self, prefix: &str, pairs: BTreeMap<String, String>, kind: &str, name: &str) {
        let named = pairs.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value));
        let (valid, invalid): (Vec<_>, Vec<_>) = named.partition(|(name, _)| is_variable_name(name));
        self.own.extend(valid);
        if !invalid.is_empty() {
            let keys: Vec<_> = invalid.into_iter().map(|(key, _)| key).collect();
            let namespace = self.namespace();
            self.warnings.push(format!(
                "Keys [{}] from the EnvFrom {kind} {namespace}/{name} were skipped since they are considered \
                 invalid environment variable names.",
                keys.join(", ")
            ));
        }
    }

    /// The value of one source; none where it is optional and not there.
    fn resolve(&self, variable: &str, source: &EnvVarSource) -> Result<Option<String>, EnvironmentError> {
        if let Some(reference) = &source.field_ref {
            return Ok(Some(downward::field(self.pod, &reference.field_path, self.facts)?));
        }
        if let Some(reference) = &source.resource_field_ref {
            return Ok(Some(downward::resource(self.pod, Some(self.container), reference, self.facts)?));
        }
        if let Some(reference) = &source.config_map_key_ref {
            let found = self.sources.config_map(&reference.name, reference.optional)?;
            let value = found.and_then(|map| map.data.as_ref()?.get(&reference.key)).cloned();
            return self.present(value, "ConfigMap", &reference.name, &reference.key, reference.optional);
        }
        if let Some(reference) = &source.secret_key_ref {
            let found = self.sources.secret(&reference.name, reference.optional)?;
            let bytes = found.and_then(|secret| secret.data.as_ref()?.get(&reference.key));
            let value = bytes.map(|bytes| text(variable, bytes)).transpose()?;
            return self.present(value, "Secret", &reference.name, &reference.key, reference.optional);
        }
        if let Some(reference) = &source.file_key_ref {
            let file = FileWanted { volume: reference.volume_name.clone(), path: reference.path.clone() };
            let failed = |source| EnvironmentError::File { variable: variable.to_owned(), source };
            let found = env_file::value(self.sources, &file, &reference.key).map_err(failed)?;
            return match found {
                None if reference.optional != Some(true) => {
                    Err(failed(EnvFileError::NoKey { key: reference.key.clone(), file }))
                }
                found => Ok(found),
            };
        }
        Ok(Some(String::new()))
    }

    fn present(
        &self,
        value: Option<String>,
        kind: &'static str,
        name: &str,
        key: &str,
        optional: Option<bool>,
    ) -> Result<Option<String>, EnvironmentError> {
        if value.is_some() || optional == Some(true) {
            return Ok(value);
        }
        let (namespace, name, key) = (self.namespace(), name.to_owned(), key.to_owned());
        Err(EnvironmentError::NoKey { key, kind, namespace, name })
    }

    fn namespace(&self) -> String {
        self.pod.metadata.namespace.clone().unwrap_or_default()
    }
}

fn text(variable: &str, bytes: &ByteString) -> Result<String, EnvironmentError> {
    String::from_utf8(bytes.0.clone()).map_err(|_| EnvironmentError::NotText(variable.to_owned()))
}

/// What every process may rely on inside a cluster, and one that runs under an identity.
fn given_variables(facts: &PodFacts) -> BTreeMap<String, String> {
    let mut given = service_variables(facts);
    given.extend(facts.epoch.map(|epoch| (identity::EPOCH_VARIABLE.to_owned(), epoch.to_string())));
    given
}

fn service_variables(facts: &PodFacts) -> BTreeMap<String, String> {
    let Some((host, port)) = &facts.api_server else { return BTreeMap::new() };
    let address = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let url = format!("tcp://{address}:{port}");
    let prefix = format!("KUBERNETES_PORT_{port}_TCP");
    [
        ("KUBERNETES_SERVICE_HOST".to_owned(), host.clone()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), port.to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS".to_owned(), port.to_string()),
        ("KUBERNETES_PORT".to_owned(), url.clone()),
        (prefix.clone(), url),
        (format!("{prefix}_PROTO"), "tcp".to_owned()),
        (format!("{prefix}_PORT"), port.to_string()),
        (format!("{prefix}_ADDR"), host.clone()),
    ]
    .into()
}

fn overlay(below: &BTreeMap<String, String>, above: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    below.iter().chain(above).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Image, then `HOSTNAME`, then what is declared, which wins.
fn process_variables(
    container: &Container,
    image_env: &[String],
    facts: &PodFacts,
    declared: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match variables.iter_mut().find(|(had, _)| had == name) {
        Some(variable) => value.clone_into(&mut variable.1),
        None => variables.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", DEFAULT_PATH);
    if container.tty == Some(true) {
        set("TERM", "xterm");
    }
    for (name, value) in image_env.iter().filter_map(|text| text.split_once('=')) {
        set(name, value);
    }
    set("HOSTNAME", &facts.host_name);
    for (name, value) in declared {
        set(name, value);
    }
    variables
}

/// Any printable ASCII but `=`, as upstream since 1.34.
fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| (' '..='~').contains(&c) && c != '=')
}

#[cfg(test)]
mod tests;

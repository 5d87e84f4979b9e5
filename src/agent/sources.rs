//! The objects that a Pod's environment and volumes draw from: which they are, and what is known of them. PURE.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, PodSpec, Secret, Volume};
use serde::{Deserialize, Serialize};

/// What is known of the objects that a Pod refers to, all of its namespace.
///
/// By name: an object, or `None` where it is known that there is none. A missing entry is not known yet.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `ConfigMaps`.
    pub config_maps: BTreeMap<String, Option<Arc<ConfigMap>>>,
    /// Secrets.
    pub secrets: BTreeMap<String, Option<Arc<Secret>>>,
    /// Tokens of the Pod's service account, for projected volumes, or why there is none.
    pub tokens: BTreeMap<TokenWanted, Result<String, String>>,
    /// The Pod starts without the tokens that are not there yet, and finds them when they are: it needs no coordinator.
    pub starts_without_tokens: bool,
    /// Files of the Pod's volumes that variables are read from, by volume and path.
    pub files: BTreeMap<FileWanted, String>,
    /// Volumes of the Pod's claims.
    pub claims: Claims,
}

/// The volumes that a Pod has by its claims.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// By the claim's name: the volume, or why it cannot be used.
    pub volumes: BTreeMap<String, Result<Claimed, String>>,
    /// They have been mounted for this Pod before.
    pub known: bool,
}

/// The volume of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// Name of the `PersistentVolume`.
    pub volume: String,
    /// Where it is.
    pub backing: Backing,
}

/// Where a volume is on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backing {
    /// A path that people have named.
    HostPath {
        /// The path.
        path: PathBuf,
        /// As in the API, e.g. `DirectoryOrCreate`.
        kind: String,
    },
    /// A directory that is on this node alone.
    Local {
        /// The directory.
        path: PathBuf,
        /// The node makes it.
        is_ours: bool,
    },
}

/// A token that a projected volume asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TokenWanted {
    /// Whom it is for; empty: the API server.
    pub audience: String,
    /// How long it is valid.
    pub expiration_seconds: i64,
}

/// A file that a variable is read from (`fileKeyRef`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileWanted {
    /// Name of the Pod's volume.
    pub volume: String,
    /// Path in it.
    pub path: String,
}

/// Why an object that is needed cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// There is none.
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// Whether there is one is not known yet.
    #[error("{kind} {name:?} is not known yet: waiting for the coordinator")]
    NotKnownYet {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
}

impl Sources {
    /// The ConfigMap of this name; `None` where it is optional and there is none.
    pub fn config_map(&self, name: &str, optional: Option<bool>) -> Result<Option<&ConfigMap>, Missing> {
        find(&self.config_maps, "configmap", name, optional)
    }

    /// The Secret of this name; `None` where it is optional and there is none.
    pub fn secret(&self, name: &str, optional: Option<bool>) -> Result<Option<&Secret>, Missing> {
        find(&self.secrets, "secret", name, optional)
    }
}

fn find<'a, T>(
    known: &'a BTreeMap<String, Option<Arc<T>>>,
    kind: &'static str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a T>, Missing> {
    match known.get(name) {
        Some(Some(object)) => Ok(Some(object)),
        Some(None) if optional == Some(true) => Ok(None),
        Some(None) => Err(Missing::NotFound { kind, name: name.to_owned() }),
        None => Err(Missing::NotKnownYet { kind, name: name.to_owned() }),
    }
}

/// The names of all objects that a Pod refers to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// `ConfigMaps` of environments and volumes.
    pub config_maps: BTreeSet<String>,
    /// Secrets of environments, volumes and image pulls.
    pub secrets: BTreeSet<String>,
    /// Tokens of projected volumes.
    pub tokens: BTreeSet<TokenWanted>,
}

/// What `pod` refers to, whether optional or not.
pub fn references(pod: &Pod) -> References {
    let mut found = References::default();
    let Some(spec) = &pod.spec else { return found };
    for container in crate::api::pod_resources::containers(spec) {
        found.add_container(container);
    }
    for volume in spec.volumes.iter().flatten() {
        found.add_volume(volume);
    }
    found.add_pull_secrets(spec);
    found
}

/// The files that the variables of one container are read from.
pub fn files(container: &Container) -> BTreeSet<FileWanted> {
    let sources = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
    let references = sources.filter_map(|source| source.file_key_ref.as_ref());
    references.map(|file| FileWanted { volume: file.volume_name.clone(), path: file.path.clone() }).collect()
}

impl References {
    fn add_container(&mut self, container: &Container) {
        for source in container.env_from.iter().flatten() {
            self.config_maps.extend(source.config_map_ref.iter().map(|reference| reference.name.clone()));
            self.secrets.extend(source.secret_ref.iter().map(|reference| reference.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            self.config_maps.extend(source.config_map_key_ref.iter().map(|reference| reference.name.clone()));
            self.secrets.extend(source.secret_key_ref.iter().map(|reference| reference.name.clone()));
        }
    }

    fn add_volume(&mut self, volume: &Volume) {
        self.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
        self.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
        let projections = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for projection in projections {
            self.config_maps.extend(projection.config_map.iter().map(|source| source.name.clone()));
            self.secrets.extend(projection.secret.iter().map(|source| source.name.clone()));
            self.tokens.extend(projection.service_account_token.iter().map(TokenWanted::of));
        }
    }

    fn add_pull_secrets(&mut self, spec: &PodSpec) {
        let named = spec.image_pull_secrets.iter().flatten().map(|reference| reference.name.clone());
        self.secrets.extend(named.filter(|name| !name.is_empty()));
    }
}

impl TokenWanted {
    /// What a projection asks for; an hour where it does not say.
    pub fn of(projection: &k8s_openapi::api::core::v1::ServiceAccountTokenProjection) -> Self {
        Self {
            audience: projection.audience.clone().unwrap_or_default(),
            expiration_seconds: projection.expiration_seconds.unwrap_or(3600),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_a_pod_is_found() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"metadata": {}, "spec": {
            "imagePullSecrets": [{"name": "pull"}, {}],
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "c1"}}]}],
            "containers": [{"name": "c",
                "envFrom": [{"secretRef": {"name": "s1", "optional": true}}],
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c2", "key": "k"}}},
                        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}}]}],
            "volumes": [{"name": "a", "configMap": {"name": "c3"}}, {"name": "b", "secret": {"secretName": "s3"}},
                {"name": "d", "projected": {"sources": [{"configMap": {"name": "c4"}}, {"secret": {"name": "s4"}},
                    {"serviceAccountToken": {"path": "token"}}]}}]}}))
        .unwrap();
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let found = references(&pod);
        assert_eq!(found.config_maps, names(&["c1", "c2", "c3", "c4"]));
        assert_eq!(found.secrets, names(&["pull", "s1", "s2", "s3", "s4"]));
        assert_eq!(found.tokens, [TokenWanted { audience: String::new(), expiration_seconds: 3600 }].into());
    }

    #[test]
    fn absent_and_unknown_are_two_things() {
        let mut sources = Sources::default();
        let unknown = sources.config_map("c", Some(true)).unwrap_err();
        assert!(matches!(unknown, Missing::NotKnownYet { .. }));
        sources.config_maps.insert("c".to_owned(), None);
        assert_eq!(sources.config_map("c", Some(true)).unwrap(), None);
        assert_eq!(sources.config_map("c", None).unwrap_err().to_string(), "configmap \"c\" not found");
    }
}

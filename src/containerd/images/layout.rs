//! The documents an image is made of, as far as a node needs them: index, manifest, config. Pure.
//!
//! Read leniently: registries and builders differ in what they leave out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Largest index, manifest or config taken: what registries accept as a manifest.
pub(super) const DOCUMENT_BYTES_MAX: u64 = 4 << 20;

/// Media type of an OCI manifest.
pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an OCI index.
pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of an OCI config.
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of a layer as a plain tar.
pub(super) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media type of a layer as a gzip tar.
pub(super) const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of a layer as a zstd tar.
pub(super) const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Media type of Docker's manifest.
pub(super) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of Docker's index.
pub(super) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What points at a blob.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Points at these bytes.
    pub(super) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: digest_of(bytes),
            size: bytes.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }

    /// As containerd takes it.
    pub(super) fn to_containerd(&self) -> containerd_client::types::Descriptor {
        containerd_client::types::Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size: self.size as i64,
            ..containerd_client::types::Descriptor::default()
        }
    }
}

/// What a manifest is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Platform {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) variant: Option<String>,
}

impl Platform {
    /// This node's, by the names of Go.
    pub(super) fn own() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Self { architecture: architecture.into(), os: "linux".into(), variant: None }
    }

    fn fits(&self, node: &Self) -> bool {
        self.os == node.os && self.architecture == node.architecture
    }
}

/// An index or a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// Manifests by platform.
    Index(Vec<Descriptor>),
    /// One image.
    Manifest(Manifest),
}

/// One image: its config and its layers, the lowest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    pub(super) schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    pub(super) config: Descriptor,
    #[serde(default)]
    pub(super) layers: Vec<Descriptor>,
}

impl Manifest {
    /// Bytes of config and layers, compressed as they travel.
    pub(super) fn size(&self) -> u64 {
        self.config.size + self.layers.iter().map(|layer| layer.size).sum::<u64>()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnyDocument {
    #[serde(default)]
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: Option<String>,
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

impl Document {
    /// Reads either kind; the error says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let any: AnyDocument = serde_json::from_slice(bytes).map_err(|e| format!("not a manifest: {e}"))?;
        if any.schema_version == Some(1) {
            return Err("a manifest of schema version 1, which is no longer supported".into());
        }
        let document = match (any.manifests, any.config) {
            (Some(manifests), _) => Self::Index(manifests),
            (None, Some(config)) => Self::Manifest(Manifest {
                schema_version: 2,
                media_type: any.media_type,
                config,
                layers: any.layers.unwrap_or_default(),
            }),
            (None, None) => {
                return Err("not a manifest: expected `manifests`, or `config` and `layers`".into());
            }
        };
        document.descriptors().try_for_each(|descriptor| valid_digest(&descriptor.digest))?;
        Ok(document)
    }

    fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        let (index, manifest) = match self {
            Self::Index(manifests) => (Some(manifests), None),
            Self::Manifest(manifest) => (None, Some(manifest)),
        };
        let blobs = manifest.into_iter().flat_map(|m| std::iter::once(&m.config).chain(&m.layers));
        index.into_iter().flatten().chain(blobs)
    }
}

/// The manifest for `node` among an index' entries. Attestations carry the platform `unknown` and are never meant.
pub(super) fn choose<'a>(manifests: &'a [Descriptor], node: &Platform) -> Option<&'a Descriptor> {
    let of_node = |entry: &&Descriptor| entry.platform.as_ref().is_some_and(|platform| platform.fits(node));
    // One entry without a platform is what tools write that know only one.
    manifests.iter().find(of_node).or(match manifests {
        [only] if only.platform.is_none() => Some(only),
        _ => None,
    })
}

/// `linux/amd64, linux/arm64`, for a message that says what there is.
pub(super) fn platforms(manifests: &[Descriptor]) -> String {
    let names: Vec<String> = (manifests.iter().filter_map(|entry| entry.platform.as_ref()))
        .map(|platform| format!("{}/{}", platform.os, platform.architecture))
        .collect();
    names.join(", ")
}

/// The config blob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct ConfigFile {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) config: Option<ImageConfig>,
    #[serde(default)]
    pub(super) rootfs: RootFs,
}

/// The layers' digests before compression, the lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct RootFs {
    #[serde(default)]
    pub(super) diff_ids: Vec<String>,
}

impl ConfigFile {
    /// Reads it; the error says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file: Self = serde_json::from_slice(bytes).map_err(|e| format!("not an image config: {e}"))?;
        file.rootfs.diff_ids.iter().try_for_each(|digest| valid_digest(digest))?;
        Ok(file)
    }
}

/// How an image wants to be run. Absent members are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// `NAME=value`
    #[serde(deserialize_with = "null_is_empty")]
    pub env: Vec<String>,
    /// Comes before the arguments.
    #[serde(deserialize_with = "null_is_empty")]
    pub entrypoint: Vec<String>,
    /// Default arguments, or the whole command without an entry point.
    #[serde(deserialize_with = "null_is_empty")]
    pub cmd: Vec<String>,
    /// `user`, `uid`, `user:group`, `uid:gid`; empty is root.
    #[serde(deserialize_with = "null_is_empty")]
    pub user: String,
    /// Empty is `/`.
    #[serde(deserialize_with = "null_is_empty")]
    pub working_dir: String,
    /// Name or number; empty is `SIGTERM`.
    #[serde(deserialize_with = "null_is_empty")]
    pub stop_signal: String,
    /// Paths the image declares as volumes.
    #[serde(deserialize_with = "null_is_empty")]
    pub volumes: BTreeMap<String, serde_json::Value>,
}

fn null_is_empty<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `sha256:…` of some bytes.
pub(super) fn digest_of(bytes: &[u8]) -> String {
    hex_digest(&Sha256::digest(bytes))
}

/// `sha256:…` of a hash's 32 bytes.
pub(super) fn hex_digest(hash: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in hash {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The names of the snapshots of a stack of layers: each names all layers up to its own.
pub(super) fn chain_ids(diff_ids: &[String]) -> Vec<String> {
    let mut chain: Vec<String> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let id = match chain.last() {
            None => diff_id.clone(),
            Some(below) => digest_of(format!("{below} {diff_id}").as_bytes()),
        };
        chain.push(id);
    }
    chain
}

/// Digests become file names in containerd and path segments in URLs, so nothing else may pass for one.
fn valid_digest(digest: &str) -> Result<(), String> {
    let length = match digest.split_once(':') {
        Some(("sha256", _)) => 64,
        Some(("sha384", _)) => 96,
        Some(("sha512", _)) => 128,
        _ => 0,
    };
    let hex = digest.split_once(':').map_or("", |(_, hex)| hex);
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if length > 0 && hex.len() == length && hex.bytes().all(lower_hex) {
        Ok(())
    } else {
        Err(format!("digest {digest:?}: expected sha256: and 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn entry(digest: &str, os: &str, architecture: &str) -> Descriptor {
        Descriptor {
            digest: digest.into(),
            platform: Some(Platform { os: os.into(), architecture: architecture.into(), variant: None }),
            ..Descriptor::of(OCI_MANIFEST, b"")
        }
    }

    #[test]
    fn an_index_yields_the_manifest_of_this_architecture() {
        let node = Platform { os: "linux".into(), architecture: "amd64".into(), variant: None };
        let index = [entry(B, "unknown", "unknown"), entry(A, "linux", "amd64"), entry(B, "linux", "arm64")];
        assert_eq!(choose(&index, &node).map(|d| d.digest.as_str()), Some(A));
        assert_eq!(choose(&index[2..], &node), None);
        assert_eq!(platforms(&index[1..]), "linux/amd64, linux/arm64");
        let only = Descriptor { platform: None, ..index[1].clone() };
        assert_eq!(choose(std::slice::from_ref(&only), &node), Some(&only));
    }

    #[test]
    fn documents_are_read_and_others_named() {
        let manifest = format!(r#"{{"schemaVersion":2,"config":{{"digest":"{A}","size":1}},"layers":[]}}"#);
        assert!(matches!(Document::parse(manifest.as_bytes()), Ok(Document::Manifest(_))));
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"digest":"{A}","size":1}}]}}"#);
        assert!(matches!(Document::parse(index.as_bytes()), Ok(Document::Index(_))));
        for (text, expected) in [
            ("{}", "expected `manifests`"),
            ("[", "not a manifest"),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#, "schema version 1"),
            (r#"{"manifests":[{"digest":"sha256:../../x","size":1}]}"#, "64 hexadecimal digits"),
        ] {
            let error = Document::parse(text.as_bytes()).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_config_may_leave_out_or_null_anything() {
        let text = br#"{"config":{"Env":null,"Cmd":["sh"],"Volumes":{"/data":{}}},"rootfs":{"diff_ids":[]}}"#;
        let config = ConfigFile::parse(text).expect("valid").config.expect("there");
        assert_eq!(config.cmd, ["sh"]);
        assert!(config.env.is_empty() && config.volumes.contains_key("/data"));
        assert_eq!(ConfigFile::parse(b"{}"), Ok(ConfigFile::default()));
    }

    #[test]
    fn a_chain_id_names_all_layers_below() {
        assert!(chain_ids(&[]).is_empty());
        let chain = chain_ids(&[A.into(), B.into()]);
        assert_eq!(chain[0], A);
        assert_eq!(chain[1], digest_of(format!("{A} {B}").as_bytes()));
    }
}

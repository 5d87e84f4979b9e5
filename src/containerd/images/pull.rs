//! Images out of a registry.

use std::collections::BTreeMap;
use std::fmt;
use std::future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use oci_client::client::{
    BlobResponse, Certificate, CertificateEncoding, ClientConfig, ClientProtocol, LayerDescriptor,
};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tokio::sync::OnceCell;

use super::hosts::{self, Host};
use super::install::{InstallError, Plan, Source};
use super::layout::{DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, Document, OCI_INDEX, OCI_MANIFEST};
use super::{Image, InvalidReference, Progress, reference};
use crate::containerd::{Runtime, RuntimeError};

/// Bound of making a connection, as the Go clients of the field have it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest silence of a registry within an answer.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);

/// What manifests we can use.
const ACCEPTED: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

/// What a registry is shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Credentials {
    /// A name and a password, shown to the registry or to the token server it names.
    Password {
        /// User name.
        username: String,
        /// Password or access token.
        password: String,
    },
    /// A bearer token, shown as it is.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username:?})"),
            Self::Token(_) => write!(f, "Token"),
        }
    }
}

/// Why an image could not be pulled.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PullError {
    /// It is no reference.
    #[error(transparent)]
    Invalid(#[from] InvalidReference),
    /// The registry has no such image.
    #[error("failed to pull image {image:?}: not found")]
    NotFound {
        /// Full reference.
        image: String,
    },
    /// The registry wants other credentials, or any; also what many say of an image that is not there.
    #[error("failed to pull image {image:?}: the registry refuses access: {why}")]
    Unauthorized {
        /// Full reference.
        image: String,
        /// The registry's answer.
        why: String,
    },
    /// The registry could not be reached, or failed: trying again may help.
    #[error("failed to pull image {image:?}: {why}")]
    Unavailable {
        /// Full reference.
        image: String,
        /// The last error.
        why: String,
    },
    /// What came is not what its digest says, or no image for this machine.
    #[error("failed to pull image {image:?}: {why}")]
    Unusable {
        /// Full reference.
        image: String,
        /// What is wrong with it.
        why: String,
    },
    /// containerd failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

/// Pulls under way, so that a second one of the same image waits for the first.
#[derive(Default)]
pub(super) struct Pulls {
    under_way: Mutex<BTreeMap<PullKey, Weak<Joined>>>,
}

/// Full reference, and what the registry is shown: another may be let in.
type PullKey = (String, Option<Credentials>);

type Joined = OnceCell<Result<Image, PullError>>;

impl Pulls {
    fn join(&self, name: &str, credentials: Option<&Credentials>) -> Arc<Joined> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, pull| pull.strong_count() > 0);
        let key = (name.to_owned(), credentials.cloned());
        if let Some(pull) = under_way.get(&key).and_then(Weak::upgrade) {
            return pull;
        }
        let pull = Arc::new(Joined::new());
        under_way.insert(key, Arc::downgrade(&pull));
        pull
    }
}

impl Runtime {
    /// Pulls an image and unpacks it. Pulls of one image at the same time are one pull; what a pull that broke off
    /// has fetched is not fetched again. `HTTPS_PROXY` and `NO_PROXY` are honoured; registries on this machine are
    /// spoken to directly and without TLS.
    pub async fn pull(
        &self,
        image: &str,
        credentials: Option<&Credentials>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Image, PullError> {
        let reference = reference::parse(image)?;
        let pull = self.inner.images.pulls.join(&reference.whole(), credentials);
        // When the one who pulls is dropped, the next in line goes on.
        pull.get_or_init(|| self.pull_alone(&reference, credentials, progress)).await.clone()
    }

    async fn pull_alone(
        &self,
        reference: &Reference,
        credentials: Option<&Credentials>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Image, PullError> {
        let config = self.registry_config.as_deref();
        let hosts = hosts::hosts(config, reference.registry())
            .map_err(|error| PullError::Unusable { image: reference.whole(), why: error.to_string() })?;
        let (registry, mirrors) = hosts.split_last().expect("the registry itself is the last");
        for mirror in mirrors.iter().filter(|mirror| mirror.serves(reference.digest().is_some())) {
            match self.pull_from(mirror, reference, credentials, progress).await {
                Err(error) if !matches!(error, PullError::Runtime(_)) => {
                    tracing::warn!(%error, mirror = mirror.address, "a mirror could not serve an image");
                }
                answer => return answer,
            }
        }
        self.pull_from(registry, reference, credentials, progress).await
    }

    async fn pull_from(
        &self,
        host: &Host,
        reference: &Reference,
        credentials: Option<&Credentials>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Image, PullError> {
        let source = Registry::new(host, reference, credentials)?;
        let (root, root_bytes) = source.resolve().await?;
        let by_digest = reference::by_digest(reference, &root.digest);
        let mut names = vec![reference.whole(), by_digest];
        names.dedup();
        progress(Progress::Resolved { name: names[0].clone(), digest: root.digest.clone() });
        let plan = Plan { names, root, root_bytes, progress };
        let installed = self.install(&source, &plan).await;
        installed.map_err(|error| source.explain(error))
    }
}

/// One image in its registry.
struct Registry {
    client: Client,
    /// As it is asked for.
    reference: Reference,
    /// As people write it.
    image: String,
    auth: RegistryAuth,
}

impl Registry {
    fn new(host: &Host, image: &Reference, credentials: Option<&Credentials>) -> Result<Self, PullError> {
        // The second to install one is told so; all of ours are the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // Credentials are the registry's; a mirror is shown none.
        let auth = match credentials.filter(|_| host.is_registry()) {
            None => RegistryAuth::Anonymous,
            Some(Credentials::Password { username, password }) => {
                RegistryAuth::Basic(username.clone(), password.clone())
            }
            Some(Credentials::Token(token)) => RegistryAuth::Bearer(token.clone()),
        };
        let name = image.whole();
        let client = Client::try_from(client_config(host)).map_err(|error| explain(&name, &error))?;
        Ok(Self { client, reference: asked_for(host, image), image: name, auth })
    }

    /// What the reference means now: an index or a manifest.
    async fn resolve(&self) -> Result<(Descriptor, Bytes), PullError> {
        let answer = self.client.pull_manifest_raw(&self.reference, &self.auth, &ACCEPTED).await;
        let (bytes, digest) = answer.map_err(|error| explain(&self.image, &error))?;
        let document =
            Document::parse(&bytes).map_err(|why| PullError::Unusable { image: self.image.clone(), why })?;
        let media_type = match &document {
            Document::Manifest(manifest) => manifest.media_type.as_deref().unwrap_or(OCI_MANIFEST),
            Document::Index(_) => OCI_INDEX,
        };
        Ok((Descriptor { digest, ..Descriptor::of(media_type, &bytes) }, bytes))
    }

    fn explain(&self, error: InstallError<OciDistributionError>) -> PullError {
        match error {
            InstallError::Source(error) => explain(&self.image, &error),
            InstallError::Runtime(error) => error.into(),
            InstallError::Corrupt(why) | InstallError::Platform(why) => {
                PullError::Unusable { image: self.image.clone(), why }
            }
        }
    }
}

/// The reference as it is put to a host: a mirror is told by `?ns=` whose image it is to serve.
fn asked_for(host: &Host, image: &Reference) -> Reference {
    if host.prefix.is_empty() {
        let mut reference = image.clone();
        // Docker's own registry has an address other than its name, which the client knows.
        if host.address != image.registry() {
            reference.set_mirror_registry(host.address.clone());
        }
        return reference;
    }
    let (address, repository) = (host.address.clone(), format!("{}/{}", host.prefix, image.repository()));
    match (image.digest(), image.tag()) {
        (Some(digest), _) => Reference::with_digest(address, repository, digest.to_owned()),
        (None, tag) => Reference::with_tag(address, repository, tag.unwrap_or("latest").to_owned()),
    }
}

impl Source for Registry {
    type Error = OciDistributionError;
    const RESUMABLE: bool = true;

    async fn open(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, Self::Error>>, Self::Error> {
        if is_manifest(&blob.media_type) {
            let reference = self.reference.clone_with_digest(blob.digest.clone());
            let (bytes, _) = self.client.pull_manifest_raw(&reference, &self.auth, &ACCEPTED).await?;
            return Ok(skip(futures::stream::iter([Ok(bytes)]).boxed(), offset));
        }
        let layer = LayerDescriptor { digest: &blob.digest, urls: &None };
        if offset == 0 {
            let stream = self.client.pull_blob_stream(&self.reference, &layer).await?;
            return Ok(stream.map(|piece| piece.map_err(OciDistributionError::from)).boxed());
        }
        Ok(match self.client.pull_blob_stream_partial(&self.reference, &layer, offset, None).await? {
            BlobResponse::Partial(stream) => {
                stream.map(|piece| piece.map_err(OciDistributionError::from)).boxed()
            }
            BlobResponse::Full(stream) => {
                skip(stream.map(|piece| piece.map_err(OciDistributionError::from)).boxed(), offset)
            }
        })
    }
}

fn is_manifest(media_type: &str) -> bool {
    ACCEPTED.contains(&media_type)
}

/// The rest of a stream after `offset` bytes, for a registry that always begins at the beginning.
fn skip<E: Send + 'static>(
    stream: BoxStream<'static, Result<Bytes, E>>,
    offset: u64,
) -> BoxStream<'static, Result<Bytes, E>> {
    let mut to_skip = offset;
    let rest = stream.filter_map(move |piece| {
        let piece = piece.map(|mut piece| {
            let skipped = to_skip.min(piece.len() as u64);
            piece.advance(skipped as usize);
            to_skip -= skipped;
            piece
        });
        future::ready(match piece {
            Ok(piece) if piece.is_empty() => None,
            other => Some(other),
        })
    });
    rest.boxed()
}

fn client_config(host: &Host) -> ClientConfig {
    let certificate = |pem: &Vec<u8>| Certificate { encoding: CertificateEncoding::Pem, data: pem.clone() };
    let config = ClientConfig {
        protocol: if host.plain { ClientProtocol::Http } else { ClientProtocol::Https },
        accept_invalid_certificates: host.skip_verify,
        extra_root_certificates: host.authorities.iter().map(certificate).collect(),
        connect_timeout: Some(CONNECT_TIMEOUT),
        read_timeout: Some(SILENCE_TIMEOUT),
        user_agent: concat!("leasehold/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    };
    if !reference::is_local(&host.address) {
        return config;
    }
    // A proxy that is named but never used switches off the one of the environment, which cannot reach this machine.
    ClientConfig {
        http_proxy: Some("http://localhost".into()),
        no_proxy: Some("localhost,127.0.0.0/8,::1".into()),
        ..config
    }
}

fn explain(image: &str, error: &OciDistributionError) -> PullError {
    let image = image.to_owned();
    let why = chain(error);
    if let OciDistributionError::RegistryError { envelope, .. } = error {
        let has = |codes: &[OciErrorCode]| envelope.errors.iter().any(|error| codes.contains(&error.code));
        if has(&[OciErrorCode::ManifestUnknown, OciErrorCode::NameUnknown, OciErrorCode::NotFound]) {
            return PullError::NotFound { image };
        }
        if has(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
            return PullError::Unauthorized { image, why };
        }
    }
    if let OciDistributionError::ServerError { code, .. } = error {
        return match code {
            404 => PullError::NotFound { image },
            401 | 403 => PullError::Unauthorized { image, why },
            _ => PullError::Unavailable { image, why },
        };
    }
    let unauthorized = matches!(
        error,
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_)
    );
    if unauthorized {
        return PullError::Unauthorized { image, why };
    }
    let unusable = matches!(
        error,
        OciDistributionError::DigestError(_)
            | OciDistributionError::UnsupportedMediaTypeError(_)
            | OciDistributionError::UnsupportedSchemaVersionError(_)
            | OciDistributionError::ManifestParsingError(_)
    );
    if unusable { PullError::Unusable { image, why } } else { PullError::Unavailable { image, why } }
}

/// An error with what lies under it: `error sending request` alone tells nobody anything.
fn chain(error: &OciDistributionError) -> String {
    let mut text = error.to_string();
    let mut below = std::error::Error::source(error);
    while let Some(error) = below {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        below = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        let password = Credentials::Password { username: "me".into(), password: "secret".into() };
        assert_eq!(
            format!("{password:?} {:?}", Credentials::Token("secret".into())),
            "Password(\"me\") Token"
        );
    }

    #[tokio::test]
    async fn a_registry_that_begins_at_the_beginning_is_skipped_to_the_offset() {
        let pieces = ["abc", "def", "gh"].map(|piece| Ok::<_, ()>(Bytes::from(piece)));
        let rest: Vec<Bytes> =
            skip(futures::stream::iter(pieces).boxed(), 4).map(|p| p.expect("ok")).collect().await;
        assert_eq!(rest, ["ef", "gh"]);
    }

    #[test]
    fn a_second_pull_of_an_image_joins_the_first() {
        let pulls = Pulls::default();
        let first = pulls.join("a", None);
        assert!(Arc::ptr_eq(&first, &pulls.join("a", None)));
        assert!(!Arc::ptr_eq(&first, &pulls.join("b", None)));
        assert!(!Arc::ptr_eq(&first, &pulls.join("a", Some(&Credentials::Token("t".into())))));
        drop(first);
        let _later = pulls.join("c", None);
        assert_eq!(pulls.under_way.lock().expect("whole").len(), 1);
    }
}

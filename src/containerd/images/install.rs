//! Putting an image together in containerd from wherever its blobs come: a registry or a file.
//!
//! Under a lease: documents and layers → snapshots → labels that tie them to each other → image records. Each step
//! finds what an earlier attempt left, so an attempt that broke off is continued by the next.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use containerd_client::services::v1::{
    AbortRequest, CreateImageRequest, Image as Record, UpdateImageRequest,
};
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};

use super::content::{ImageLease, WriteError};
use super::layout::{
    ConfigFile, DOCUMENT_BYTES_MAX, Descriptor, Document, Manifest, Platform, choose, platforms,
};
use super::{Image, Progress, lease_id};
use crate::containerd::{Runtime, RuntimeError, SNAPSHOTTER};

/// Layers on their way at once, as containerd's and Docker's own bound.
const LAYERS_AT_ONCE: usize = 3;

/// How often, and how many times, to look whether another process has finished writing a blob: ten minutes.
const LOCKED: (Duration, u32) = (Duration::from_millis(200), 3000);

/// Where an image's blobs come from.
pub(super) trait Source: Sync {
    /// What goes wrong there.
    type Error: Send;

    /// Whether it may go well a moment later, so that what has been fetched is kept for the next attempt.
    const RESUMABLE: bool;

    /// Opens a blob from a byte on.
    fn open(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> impl Future<Output = Result<BoxStream<'static, Result<Bytes, Self::Error>>, Self::Error>> + Send;
}

/// Why an image could not be put together.
#[derive(Debug)]
pub(super) enum InstallError<E> {
    /// Its source failed.
    Source(E),
    /// containerd failed.
    Runtime(RuntimeError),
    /// It is not what it says.
    Corrupt(String),
    /// It is for other machines.
    Platform(String),
}

impl<E> From<RuntimeError> for InstallError<E> {
    fn from(error: RuntimeError) -> Self {
        if let RuntimeError::Corrupt(message) = error { Self::Corrupt(message) } else { Self::Runtime(error) }
    }
}

/// An image to be put together.
pub(super) struct Plan<'a> {
    /// Names of the records that will point at it.
    pub(super) names: Vec<String>,
    /// Its index or manifest.
    pub(super) root: Descriptor,
    /// Bytes of it.
    pub(super) root_bytes: Bytes,
    /// Hears how it goes.
    pub(super) progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl Runtime {
    /// Puts an image together and makes its records, which are moved when they point elsewhere.
    pub(super) async fn install<S: Source>(
        &self,
        source: &S,
        plan: &Plan<'_>,
    ) -> Result<Image, InstallError<S::Error>> {
        let lease = self.lease(&lease_id(&plan.root.digest)).await?;
        let installed = self.install_under(&lease, source, plan).await;
        // A lease that stays is taken up by the next attempt, or falls to `leftovers`.
        if S::RESUMABLE && matches!(installed, Err(InstallError::Source(_) | InstallError::Runtime(_))) {
            return installed;
        }
        let released = self.release(&lease).await;
        let image = installed?;
        released?;
        Ok(image)
    }

    async fn install_under<S: Source>(
        &self,
        lease: &ImageLease,
        source: &S,
        plan: &Plan<'_>,
    ) -> Result<Image, InstallError<S::Error>> {
        let (descriptor, bytes) = self.choose_manifest(lease, source, plan).await?;
        let Document::Manifest(manifest) = Document::parse(&bytes).map_err(InstallError::Corrupt)? else {
            return Err(InstallError::Corrupt("an index inside an index".into()));
        };
        let config_bytes = self.fetch_document(lease, source, &manifest.config).await?;
        let config = ConfigFile::parse(&config_bytes).map_err(InstallError::Corrupt)?;
        self.fetch_layers(lease, source, plan, &manifest).await?;
        self.store_document(lease, &descriptor, &bytes).await?;
        let layers = manifest.layers.len();
        let told = |layer| (plan.progress)(Progress::Unpacked { layer, layers });
        self.unpack(lease, &manifest, &config, &told).await?;
        let image = Image::new(plan.names.clone(), plan.root.digest.clone(), &manifest, &config);
        self.tie(lease, plan, &descriptor, &manifest, &image.chain_id).await?;
        for name in &plan.names {
            self.record(lease, name, &plan.root).await?;
        }
        Ok(image)
    }

    /// The manifest for this node, itself or out of an index.
    async fn choose_manifest<S: Source>(
        &self,
        lease: &ImageLease,
        source: &S,
        plan: &Plan<'_>,
    ) -> Result<(Descriptor, Bytes), InstallError<S::Error>> {
        match Document::parse(&plan.root_bytes).map_err(InstallError::Corrupt)? {
            Document::Manifest(_) => Ok((plan.root.clone(), plan.root_bytes.clone())),
            Document::Index(entries) => {
                let own = Platform::own();
                let Some(entry) = choose(&entries, &own) else {
                    let wanted = format!("{}/{}", own.os, own.architecture);
                    let there = platforms(&entries);
                    return Err(InstallError::Platform(format!(
                        "no manifest for {wanted}, only for {there}"
                    )));
                };
                self.store_document(lease, &plan.root, &plan.root_bytes).await?;
                let bytes = self.fetch_document(lease, source, entry).await?;
                Ok((entry.clone(), bytes))
            }
        }
    }

    async fn fetch_layers<S: Source>(
        &self,
        lease: &ImageLease,
        source: &S,
        plan: &Plan<'_>,
        manifest: &Manifest,
    ) -> Result<(), InstallError<S::Error>> {
        // A layer that occurs twice is one blob.
        let distinct: BTreeMap<&str, &Descriptor> =
            manifest.layers.iter().map(|layer| (layer.digest.as_str(), layer)).collect();
        futures::stream::iter(distinct.into_values().map(Ok))
            .try_for_each_concurrent(LAYERS_AT_ONCE, |layer| self.fetch(lease, source, layer, plan.progress))
            .await
    }

    /// Has a document in containerd and in memory.
    async fn fetch_document<S: Source>(
        &self,
        lease: &ImageLease,
        source: &S,
        document: &Descriptor,
    ) -> Result<Bytes, InstallError<S::Error>> {
        if document.size > DOCUMENT_BYTES_MAX {
            let message = format!("{}: {} bytes are no document", document.digest, document.size);
            return Err(InstallError::Corrupt(message));
        }
        self.fetch(lease, source, document, &|_| ()).await?;
        match self.document(&document.digest).await? {
            Some(bytes) => Ok(bytes.into()),
            None => {
                Err(InstallError::Corrupt(format!("{} is gone right after it was written", document.digest)))
            }
        }
    }

    async fn store_document<E: Send>(
        &self,
        lease: &ImageLease,
        descriptor: &Descriptor,
        bytes: &Bytes,
    ) -> Result<(), InstallError<E>> {
        let source = Given(bytes.clone());
        self.fetch(lease, &source, descriptor, &|_| ()).await.map_err(|error| match error {
            InstallError::Source(never) => match never {},
            InstallError::Runtime(error) => InstallError::Runtime(error),
            InstallError::Corrupt(message) => InstallError::Corrupt(message),
            InstallError::Platform(message) => InstallError::Platform(message),
        })
    }

    /// Has a blob in containerd, whole and of the right digest.
    async fn fetch<S: Source>(
        &self,
        lease: &ImageLease,
        source: &S,
        blob: &Descriptor,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), InstallError<S::Error>> {
        let told = |offset| {
            progress(Progress::Fetched { digest: blob.digest.clone(), offset, total: blob.size });
        };
        for _ in 0..LOCKED.1 {
            match self.try_fetch(lease, source, blob, &told).await {
                Ok(()) => {
                    told(blob.size);
                    return Ok(());
                }
                Err(WriteError::Source(error)) => return Err(InstallError::Source(error)),
                Err(WriteError::Runtime(error)) => return Err(error.into()),
                Err(WriteError::Locked) => tokio::time::sleep(LOCKED.0).await,
            }
        }
        let message = format!("another process has been writing {} for ten minutes", blob.digest);
        Err(InstallError::Runtime(RuntimeError::TimedOut(message)))
    }

    async fn try_fetch<S: Source>(
        &self,
        lease: &ImageLease,
        source: &S,
        blob: &Descriptor,
        told: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), WriteError<S::Error>> {
        let Some(mut writer) = self.write_blob(lease, blob).await? else { return Ok(()) };
        let written = if writer.offset < blob.size || blob.size == 0 {
            let rest = source.open(blob, writer.offset).await.map_err(WriteError::Source)?;
            writer.append(rest, told).await
        } else {
            writer.append(futures::stream::empty(), told).await
        };
        let refused = matches!(written, Err(WriteError::Runtime(RuntimeError::Refused(_))));
        if written.is_err() && (refused || writer.offset >= blob.size) {
            // All of it came and does not fit its digest: the next attempt must not go on from there.
            drop(writer);
            self.abort_blob(blob).await;
        }
        if let Err(WriteError::Runtime(RuntimeError::Refused(why))) = written {
            return Err(WriteError::Runtime(RuntimeError::Corrupt(why)));
        }
        written
    }

    async fn abort_blob(&self, blob: &Descriptor) {
        let request = AbortRequest { r#ref: super::content::ingest_name(&blob.digest) };
        let _ = self.connection().content().abort(self.connection().request(request)).await;
    }

    /// Ties documents, layers and snapshots together, so that containerd's collector keeps them while the record
    /// stands.
    async fn tie<E>(
        &self,
        lease: &ImageLease,
        plan: &Plan<'_>,
        descriptor: &Descriptor,
        manifest: &Manifest,
        chain_id: &str,
    ) -> Result<(), InstallError<E>> {
        if descriptor.digest != plan.root.digest {
            let label = ("containerd.io/gc.ref.content.m.0".to_owned(), descriptor.digest.clone());
            self.label_blob(lease, &plan.root.digest, vec![label]).await?;
        }
        let mut labels =
            vec![("containerd.io/gc.ref.content.config".to_owned(), manifest.config.digest.clone())];
        for (i, layer) in manifest.layers.iter().enumerate() {
            labels.push((format!("containerd.io/gc.ref.content.l.{i}"), layer.digest.clone()));
        }
        self.label_blob(lease, &descriptor.digest, labels).await?;
        Ok(self.tie_snapshot(lease, &manifest.config, chain_id).await?)
    }

    /// Keeps an image's root filesystem as long as its config.
    pub(super) async fn tie_snapshot(
        &self,
        lease: &ImageLease,
        config: &Descriptor,
        chain_id: &str,
    ) -> Result<(), RuntimeError> {
        if chain_id.is_empty() {
            return Ok(());
        }
        let label = (format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}"), chain_id.to_owned());
        self.label_blob(lease, &config.digest, vec![label]).await
    }

    async fn record(&self, lease: &ImageLease, name: &str, root: &Descriptor) -> Result<(), RuntimeError> {
        let image =
            Some(Record { name: name.to_owned(), target: Some(root.to_containerd()), ..Record::default() });
        let request = CreateImageRequest { image: image.clone(), ..CreateImageRequest::default() };
        match self.connection().images().create(self.leased(lease, request)).await.map_err(RuntimeError::from)
        {
            Err(RuntimeError::AlreadyExists(_)) => {
                let request = UpdateImageRequest { image, ..UpdateImageRequest::default() };
                self.connection().images().update(self.leased(lease, request)).await?;
                Ok(())
            }
            other => other.map(drop),
        }
    }
}

/// Bytes that are in memory.
struct Given(Bytes);

impl Source for Given {
    type Error = std::convert::Infallible;
    const RESUMABLE: bool = false;

    async fn open(
        &self,
        _: &Descriptor,
        offset: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, Self::Error>>, Self::Error> {
        let rest = self.0.slice((offset as usize).min(self.0.len())..);
        Ok(futures::stream::iter([Ok(rest)]).boxed())
    }
}

//! Images: finding, importing, listing, removing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use containerd_client::services::v1::{
    DeleteImageRequest, GetImageRequest, Image as Record, ListImagesRequest,
};

use super::error::absent_is_fine;
use super::spec::Accounts;
use super::{Runtime, RuntimeError};

mod accounts;
mod archive;
mod content;
mod hosts;
mod import;
mod install;
mod layout;
mod pull;
mod reference;
mod unpack;
mod view;
mod volumes;

pub(super) use unpack::UNPACK_PREFIX;

pub use import::ImportError;
pub use layout::ImageConfig;
pub use pull::{Credentials, PullError};
pub use reference::{InvalidReference, repository_of};

use layout::{ConfigFile, Document, Manifest, Platform, chain_ids, choose};

/// Begins the names of this program's leases.
pub(super) const LEASE_PREFIX: &str = "leasehold-image-";

/// Label of a lease with the process that took it.
pub(super) const OWNER: &str = "leasehold.dev/owner";

/// Images whose documents are kept in memory; they never change, so only room bounds them.
const IMAGES_REMEMBERED_MAX: usize = 512;

/// An image on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// References that name it, e.g. `docker.io/library/busybox:1` and `docker.io/library/busybox@sha256:…`.
    pub names: Vec<String>,
    /// `sha256:…` of what the references point at, a manifest or an index.
    pub digest: String,
    /// How it wants to be run.
    pub config: Arc<ImageConfig>,
    /// Name of its topmost snapshot; empty when it has no layer.
    pub chain_id: String,
    /// Bytes of config and layers as they travel.
    pub size: u64,
}

impl Image {
    fn new(names: Vec<String>, digest: String, manifest: &Manifest, config: &ConfigFile) -> Self {
        Self {
            names,
            digest,
            config: Arc::new(config.config.clone().unwrap_or_default()),
            chain_id: chain_ids(&config.rootfs.diff_ids).pop().unwrap_or_default(),
            size: manifest.size(),
        }
    }

    /// What `status.containerStatuses[].imageID` says: a name by digest.
    pub fn id(&self) -> &str {
        let by_digest = self.names.iter().find(|name| name.contains('@'));
        by_digest.unwrap_or(&self.digest)
    }
}

/// How an import or pull goes, for people who wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The reference is known to mean this.
    Resolved {
        /// Full reference.
        name: String,
        /// Of its manifest or index.
        digest: String,
    },
    /// A blob is here up to a byte.
    Fetched {
        /// Which blob.
        digest: String,
        /// Bytes that are here.
        offset: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A layer is unpacked.
    Unpacked {
        /// Which, from 0.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
}

/// What is remembered of images: documents by digest, which never change, and pulls under way.
#[derive(Default)]
pub(super) struct Memory {
    images: Mutex<BTreeMap<String, Image>>,
    accounts: Mutex<BTreeMap<String, Arc<Accounts>>>,
    pulls: pull::Pulls,
}

impl Memory {
    fn recall(&self, digest: &str) -> Option<Image> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    fn remember(&self, image: &Image) {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if images.len() >= IMAGES_REMEMBERED_MAX {
            images.pop_first();
        }
        images.insert(image.digest.clone(), image.clone());
    }

    fn accounts(&self, chain_id: &str) -> Option<Arc<Accounts>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).get(chain_id).cloned()
    }

    fn know_accounts(&self, chain_id: &str, accounts: Accounts) -> Arc<Accounts> {
        let mut known = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= IMAGES_REMEMBERED_MAX {
            known.pop_first();
        }
        known.entry(chain_id.to_owned()).or_insert_with(|| Arc::new(accounts)).clone()
    }
}

impl Runtime {
    /// The image a reference names, if it is here whole. An image that another tool brought and did not unpack is
    /// unpacked now.
    pub async fn find_image(&self, reference: &str) -> Result<Option<Image>, FindError> {
        let reference = reference::parse(reference)?;
        let request = self.connection().request(GetImageRequest { name: reference.whole() });
        let answer = self.connection().images().get(request).await;
        let record = absent_is_fine(answer.map(|a| a.into_inner().image).map_err(RuntimeError::from))?;
        let Some(record) = record else { return Ok(None) };
        let digest = record.target.unwrap_or_default().digest;
        let by_digest = reference::by_digest(&reference, &digest);
        let mut names = vec![record.name];
        if !names.contains(&by_digest) {
            names.push(by_digest);
        }
        Ok(self.read_image(names, &digest, true).await?)
    }

    /// Reads an image's documents; none when some are missing.
    async fn read_image(
        &self,
        names: Vec<String>,
        digest: &str,
        unpack: bool,
    ) -> Result<Option<Image>, RuntimeError> {
        if let Some(image) = self.inner.images.recall(digest)
            && (!unpack || self.is_unpacked(&image.chain_id).await?)
        {
            return Ok(Some(Image { names, ..image }));
        }
        let Some((manifest, config)) = self.read_documents(digest).await? else { return Ok(None) };
        let image = Image::new(names, digest.to_owned(), &manifest, &config);
        if unpack
            && !self.is_unpacked(&image.chain_id).await?
            && !self.unpack_found(&image, &manifest, &config).await?
        {
            return Ok(None);
        }
        self.inner.images.remember(&image);
        Ok(Some(image))
    }

    async fn read_documents(&self, digest: &str) -> Result<Option<(Manifest, ConfigFile)>, RuntimeError> {
        let corrupt = |why| RuntimeError::Corrupt(format!("image {digest}: {why}"));
        let Some(bytes) = self.document(digest).await? else { return Ok(None) };
        let manifest = match Document::parse(&bytes).map_err(corrupt)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(entries) => {
                let Some(entry) = choose(&entries, &Platform::own()) else { return Ok(None) };
                let Some(bytes) = self.document(&entry.digest).await? else { return Ok(None) };
                match Document::parse(&bytes).map_err(corrupt)? {
                    Document::Manifest(manifest) => manifest,
                    Document::Index(_) => return Err(corrupt("an index inside an index".into())),
                }
            }
        };
        let Some(bytes) = self.document(&manifest.config.digest).await? else { return Ok(None) };
        let config = ConfigFile::parse(&bytes).map_err(corrupt)?;
        Ok(Some((manifest, config)))
    }

    /// Unpacks an image whose blobs are here; false when a layer is not.
    async fn unpack_found(
        &self,
        image: &Image,
        manifest: &Manifest,
        config: &ConfigFile,
    ) -> Result<bool, RuntimeError> {
        for layer in &manifest.layers {
            if self.blob_info(&layer.digest).await?.is_none() {
                return Ok(false);
            }
        }
        let lease = self.lease(&lease_id(&image.digest)).await?;
        let unpacked = self.unpack(&lease, manifest, config, &|_| ()).await;
        let tied = match unpacked {
            Ok(()) => self.tie_snapshot(&lease, &manifest.config, &image.chain_id).await,
            Err(error) => Err(error),
        };
        self.release(&lease).await?;
        tied.map(|()| true)
    }

    /// All images that are here whole, by digest; names in order.
    pub async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        let mut names: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in self.image_records().await? {
            names.entry(record.target.unwrap_or_default().digest).or_default().push(record.name);
        }
        let mut images = Vec::new();
        for (digest, mut names) in names {
            names.sort_unstable();
            images.extend(self.read_image(names, &digest, false).await?);
        }
        Ok(images)
    }

    async fn image_records(&self) -> Result<Vec<Record>, RuntimeError> {
        let request = self.connection().request(ListImagesRequest::default());
        Ok(self.connection().images().list(request).await?.into_inner().images)
    }

    /// Forgets a reference, and what nothing else refers to. Running containers keep their files.
    pub async fn remove_image(&self, reference: &str) -> Result<(), FindError> {
        let reference = reference::parse(reference)?;
        let records = self.image_records().await?;
        let name = reference.whole();
        let Some(found) = records.iter().find(|record| record.name == name) else {
            return Err(RuntimeError::NotFound(format!("image {name:?} is not here")).into());
        };
        let digest = found.target.as_ref().map(|target| target.digest.clone()).unwrap_or_default();
        let by_digest = reference::by_digest(&reference, &digest);
        // The name by digest was made along with the first name by tag, and goes with the last.
        let tags = format!("{}:", reference::repository(&reference));
        let other_tag = records.iter().any(|record| {
            record.name != name
                && record.name.starts_with(&tags)
                && record.target.as_ref().is_some_and(|target| target.digest == digest)
        });
        if !other_tag && by_digest != name {
            absent_is_fine(self.delete_record_of_image(by_digest).await)?;
        }
        Ok(self.delete_record_of_image(name).await?)
    }

    async fn delete_record_of_image(&self, name: String) -> Result<(), RuntimeError> {
        let request = DeleteImageRequest { name, sync: true, ..DeleteImageRequest::default() };
        self.connection().images().delete(self.connection().request(request)).await?;
        Ok(())
    }
}

/// The lease under which an image is put together; a second attempt joins it.
fn lease_id(digest: &str) -> String {
    format!("{LEASE_PREFIX}{digest}")
}

/// Why a reference could not be looked up.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FindError {
    /// It is no reference.
    #[error(transparent)]
    Invalid(#[from] InvalidReference),
    /// containerd failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

//! Images out of a file.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::archive::{self, ArchiveError, Contents, Found};
use super::install::{InstallError, Plan, Source};
use super::layout::Descriptor;
use super::{Image, InvalidReference, Progress, reference};
use crate::containerd::{Runtime, RuntimeError};

/// Bytes read from the file at once.
const READ_BYTES: usize = 1 << 20;

/// Why a file could not be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is no image archive, a truncated one, or one whose digests do not fit.
    #[error("{}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An image in it has no full name, and none was given.
    #[error("{}: an image in it has no name: give one, such as `docker.io/library/app:1`", path.display())]
    Unnamed {
        /// The file.
        path: PathBuf,
    },
    /// A name in it, or the name given, is no reference.
    #[error(transparent)]
    Name(#[from] InvalidReference),
    /// containerd failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl Runtime {
    /// Imports all images of an OCI archive or `docker save` tar. `name` names the image of an archive that has one
    /// image, whatever the archive calls it.
    pub async fn import(
        &self,
        path: &Path,
        name: Option<&str>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Vec<Image>, ImportError> {
        let contents = read(path).await?;
        if contents.images.is_empty() {
            return Err(invalid(path, "no image is in it"));
        }
        if name.is_some() && contents.images.len() > 1 {
            return Err(invalid(path, "one name was given, and more than one image is in it"));
        }
        let source = ArchiveSource { path: path.to_owned(), contents: Arc::new(contents) };
        let mut images = Vec::new();
        for found in &source.contents.images {
            images.push(self.import_one(&source, found, name, progress).await?);
        }
        Ok(images)
    }

    async fn import_one(
        &self,
        source: &ArchiveSource,
        found: &Found,
        name: Option<&str>,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<Image, ImportError> {
        let given = name.map(|name| vec![name.to_owned()]);
        let mut names = Vec::new();
        for name in given.as_ref().unwrap_or(&found.names) {
            let reference = reference::parse(name)?;
            names.push(reference.whole());
            names.push(reference::by_digest(&reference, &found.root.digest));
        }
        names.sort_unstable();
        names.dedup();
        let Some(first) = names.first() else {
            return Err(ImportError::Unnamed { path: source.path.clone() });
        };
        progress(Progress::Resolved { name: first.clone(), digest: found.root.digest.clone() });
        let root_bytes = Bytes::from(found.root_bytes.clone());
        let plan = Plan { names, root: found.root.clone(), root_bytes, progress };
        self.install(source, &plan).await.map_err(|error| source.explain(error))
    }
}

async fn read(path: &Path) -> Result<Contents, ImportError> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || archive::read(&owned)).await;
    match read {
        Ok(Ok(contents)) => Ok(contents),
        Ok(Err(ArchiveError::Content(why))) => Err(invalid(path, why)),
        Ok(Err(ArchiveError::Read(source))) => Err(ImportError::Unreadable { path: path.to_owned(), source }),
        Err(panicked) => Err(invalid(path, panicked.to_string())),
    }
}

fn invalid(path: &Path, why: impl Into<String>) -> ImportError {
    ImportError::Invalid { path: path.to_owned(), why: why.into() }
}

struct ArchiveSource {
    path: PathBuf,
    contents: Arc<Contents>,
}

impl ArchiveSource {
    fn explain(&self, error: InstallError<std::io::Error>) -> ImportError {
        match error {
            InstallError::Source(source) => ImportError::Unreadable { path: self.path.clone(), source },
            InstallError::Runtime(error) => error.into(),
            InstallError::Corrupt(why) | InstallError::Platform(why) => invalid(&self.path, why),
        }
    }
}

impl Source for ArchiveSource {
    type Error = std::io::Error;
    const RESUMABLE: bool = false;

    async fn open(
        &self,
        blob: &Descriptor,
        offset: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, Self::Error>>, Self::Error> {
        let missing = || std::io::Error::other(format!("blob {} is missing", blob.digest));
        let region = self.contents.blobs.get(&blob.digest).ok_or_else(missing)?;
        let mut file = File::open(&self.path).await?;
        file.seek(SeekFrom::Start(region.offset + offset.min(region.size))).await?;
        let rest = file.take(region.size.saturating_sub(offset));
        Ok(ReaderStream::with_capacity(rest, READ_BYTES).boxed())
    }
}

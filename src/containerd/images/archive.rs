//! An image in a tar file: an OCI image layout, or what `docker save` writes. Blocking; reads headers and documents
//! only, and says where in the file the blobs are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::layout::{
    DOCUMENT_BYTES_MAX, Descriptor, Manifest, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD,
    OCI_MANIFEST, hex_digest,
};

/// Links followed from one file in the archive to another.
const LINKS_MAX: usize = 8;

/// Most files in an archive: two per layer and image of a large bundle leave room to spare.
const FILES_MAX: usize = 100_000;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub(super) enum ArchiveError {
    /// It ends too early or cannot be read.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is no image archive, or a broken one.
    #[error("{0}")]
    Content(String),
}

/// Where bytes are in the archive file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// One image of an archive.
#[derive(Debug)]
pub(super) struct Found {
    /// Names as the archive has them, possibly none.
    pub(super) names: Vec<String>,
    /// Its index or manifest.
    pub(super) root: Descriptor,
    /// Bytes of it.
    pub(super) root_bytes: Vec<u8>,
}

/// The images of an archive, and where their blobs are.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) images: Vec<Found>,
    /// By digest.
    pub(super) blobs: BTreeMap<String, Region>,
}

/// Reads what images an archive has.
pub(super) fn read(path: &Path) -> Result<Contents, ArchiveError> {
    let mut archive = Archive::open(path)?;
    if archive.files.contains_key("index.json") {
        archive.oci_layout()
    } else if archive.files.contains_key("manifest.json") {
        archive.docker_save()
    } else {
        let message = "neither index.json (OCI image layout) nor manifest.json (docker save) is in it";
        Err(ArchiveError::Content(message.into()))
    }
}

struct Archive {
    file: File,
    files: BTreeMap<String, Region>,
}

#[derive(Deserialize)]
struct Layout {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl Archive {
    fn open(path: &Path) -> Result<Self, ArchiveError> {
        let mut file = File::open(path)?;
        let mut magic = [0; 4];
        let got = file.read(&mut magic)?;
        refuse_compressed(&magic[..got])?;
        file.seek(SeekFrom::Start(0))?;
        let files = scan(&file)?;
        Ok(Self { file, files })
    }

    fn region(&self, name: &str) -> Result<Region, ArchiveError> {
        let missing = || ArchiveError::Content(format!("{name} is missing"));
        self.files.get(name).copied().ok_or_else(missing)
    }

    fn document(&mut self, name: &str) -> Result<Vec<u8>, ArchiveError> {
        let region = self.region(name)?;
        if region.size > DOCUMENT_BYTES_MAX {
            return Err(ArchiveError::Content(format!("{name} has {} bytes, too many", region.size)));
        }
        self.file.seek(SeekFrom::Start(region.offset))?;
        let mut bytes = vec![0; region.size as usize];
        self.file.read_exact(&mut bytes).map_err(|e| named(name, &e))?;
        Ok(bytes)
    }

    fn parse<T: for<'de> Deserialize<'de>>(&mut self, name: &str) -> Result<T, ArchiveError> {
        let bytes = self.document(name)?;
        serde_json::from_slice(&bytes).map_err(|e| ArchiveError::Content(format!("{name}: {e}")))
    }

    fn oci_layout(&mut self) -> Result<Contents, ArchiveError> {
        let layout: Layout = self.parse("index.json")?;
        let mut images = Vec::new();
        for root in layout.manifests {
            let root_bytes = self.document(&blob_path(&root.digest))?;
            let media_type = if root.media_type.is_empty() { OCI_MANIFEST } else { root.media_type.as_str() };
            let root = Descriptor { media_type: media_type.to_owned(), ..root };
            images.push(Found { names: names_in(&root.annotations), root, root_bytes });
        }
        let blobs = (self.files.iter())
            .filter_map(|(name, region)| {
                let (algorithm, hex) = name.strip_prefix("blobs/")?.split_once('/')?;
                Some((format!("{algorithm}:{hex}"), *region))
            })
            .collect();
        Ok(Contents { images, blobs })
    }

    /// Such an archive has no OCI documents; they are written here from what it has.
    fn docker_save(&mut self) -> Result<Contents, ArchiveError> {
        let saved: Vec<Saved> = self.parse("manifest.json")?;
        let mut contents = Contents { images: Vec::new(), blobs: BTreeMap::new() };
        for image in saved {
            let config = self.describe(OCI_CONFIG, &image.config, &mut contents.blobs)?;
            let mut layers = Vec::new();
            for layer in &image.layers {
                let media_type = self.layer_type(layer)?;
                layers.push(self.describe(media_type, layer, &mut contents.blobs)?);
            }
            let manifest =
                Manifest { schema_version: 2, media_type: Some(OCI_MANIFEST.to_owned()), config, layers };
            let root_bytes = serde_json::to_vec(&manifest)
                .map_err(|e| ArchiveError::Content(format!("its manifest cannot be written: {e}")))?;
            let root = Descriptor::of(OCI_MANIFEST, &root_bytes);
            contents.images.push(Found { names: image.repo_tags.unwrap_or_default(), root, root_bytes });
        }
        Ok(contents)
    }

    /// Hashes a file of the archive.
    fn describe(
        &mut self,
        media_type: &str,
        name: &str,
        blobs: &mut BTreeMap<String, Region>,
    ) -> Result<Descriptor, ArchiveError> {
        let region = self.region(name)?;
        self.file.seek(SeekFrom::Start(region.offset))?;
        let mut hash = Sha256::new();
        let mut rest = (&mut self.file).take(region.size);
        let mut buffer = vec![0; 1 << 16];
        let mut size = 0;
        loop {
            let got = rest.read(&mut buffer)?;
            if got == 0 {
                break;
            }
            size += got as u64;
            hash.update(&buffer[..got]);
        }
        if size != region.size {
            return Err(named(name, &io::Error::from(io::ErrorKind::UnexpectedEof)));
        }
        let digest = hex_digest(&hash.finalize());
        blobs.insert(digest.clone(), region);
        Ok(Descriptor { digest, size, ..Descriptor::of(media_type, b"") })
    }

    fn layer_type(&mut self, name: &str) -> Result<&'static str, ArchiveError> {
        let region = self.region(name)?;
        self.file.seek(SeekFrom::Start(region.offset))?;
        let mut magic = [0; 4];
        let length = region.size.min(4) as usize;
        self.file.read_exact(&mut magic[..length]).map_err(|e| named(name, &e))?;
        Ok(match magic {
            [0x1f, 0x8b, ..] => OCI_LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => OCI_LAYER_ZSTD,
            _ => OCI_LAYER,
        })
    }
}

fn refuse_compressed(magic: &[u8]) -> Result<(), ArchiveError> {
    let tool = match magic {
        [0x1f, 0x8b, ..] => "gunzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "zstd -d",
        [b'B', b'Z', b'h', ..] => "bunzip2",
        [0xfd, b'7', b'z', b'X'] => "unxz",
        _ => return Ok(()),
    };
    Err(ArchiveError::Content(format!("it is compressed: expected a plain tar, run `{tool}` first")))
}

/// Where each file of the tar is; links are resolved.
fn scan(file: &File) -> Result<BTreeMap<String, Region>, ArchiveError> {
    let length = file.metadata()?.len();
    let mut files = BTreeMap::new();
    let mut links = BTreeMap::new();
    let mut archive = tar::Archive::new(file);
    let entries = archive.entries_with_seek()?;
    for entry in entries {
        let entry = entry.map_err(|e| named("it cannot be read as a tar file", &e))?;
        let name = plain(&entry.path()?);
        let region = Region { offset: entry.raw_file_position(), size: entry.size() };
        let kind = entry.header().entry_type();
        if kind.is_file() {
            if region.offset.saturating_add(region.size) > length {
                return Err(named(&name, &io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            files.insert(name, region);
        } else if let Some(target) = entry.link_name()? {
            let target = if kind.is_symlink() { beside(&name, &target) } else { plain(&target) };
            links.insert(name, target);
        }
        if files.len() + links.len() > FILES_MAX {
            return Err(ArchiveError::Content(format!("more than {FILES_MAX} files are in it")));
        }
    }
    if files.is_empty() {
        return Err(ArchiveError::Content("it is no tar archive, or an empty one".into()));
    }
    for name in links.keys() {
        let mut target = name;
        for _ in 0..LINKS_MAX {
            match links.get(target) {
                Some(next) => target = next,
                None => break,
            }
        }
        if let Some(region) = files.get(target).copied() {
            files.insert(name.clone(), region);
        }
    }
    Ok(files)
}

/// A tar's path without `./` and `..`.
fn plain(path: &Path) -> String {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain.to_string_lossy().into_owned()
}

fn beside(name: &str, target: &Path) -> String {
    let dir = Path::new(name).parent().unwrap_or(Path::new(""));
    plain(&dir.join(target))
}

fn blob_path(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

/// containerd's and Docker's annotation has the full name; that of the OCI layout has one where tools put it there,
/// by the specification it is a tag.
fn names_in(annotations: &BTreeMap<String, String>) -> Vec<String> {
    let full = annotations.get("io.containerd.image.name");
    let reference = annotations.get("org.opencontainers.image.ref.name");
    let named = full.or_else(|| reference.filter(|name| name.contains([':', '/', '@'])));
    named.cloned().into_iter().collect()
}

fn named(name: &str, error: &io::Error) -> ArchiveError {
    let truncated = error.kind() == io::ErrorKind::UnexpectedEof;
    ArchiveError::Content(if truncated {
        format!("it is truncated: {name} is not whole")
    } else {
        format!("{name}: {error}")
    })
}

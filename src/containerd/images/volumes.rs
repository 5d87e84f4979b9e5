//! What an image has where it declares volumes: each begins as a copy of it, as with Docker and CRI.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::Image;
use super::view::Root;
use crate::containerd::{Runtime, RuntimeError};

impl Runtime {
    /// Makes a directory for each path of the image, with what the image has there, owners and modes included.
    pub async fn copy_volumes(
        &self,
        image: &Image,
        volumes: Vec<(PathBuf, PathBuf)>,
    ) -> Result<(), RuntimeError> {
        let name = image.names.first().unwrap_or(&image.digest).clone();
        let failed =
            move |error: io::Error| RuntimeError::Refused(format!("volumes of image {name}: {error}"));
        for (_, target) in &volumes {
            make(target).map_err(&failed)?;
        }
        if image.chain_id.is_empty() {
            return Ok(());
        }
        let copied =
            move |root: &Root| volumes.iter().try_for_each(|(path, target)| copy_volume(root, path, target));
        self.view_image(image, copied).await?.map_err(failed)
    }
}

/// Readable for whatever user the container runs as, as Docker makes it.
fn make(target: &Path) -> io::Result<()> {
    if let Some(parent) = target.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    fs::create_dir(target)?;
    fs::set_permissions(target, Permissions::from_mode(0o755))
}

fn copy_volume(root: &Root, path: &Path, target: &Path) -> io::Result<()> {
    let Some(found) = root.open(path, OFlag::empty())? else { return Ok(()) };
    let metadata = found.metadata()?;
    if !metadata.is_dir() {
        return Ok(());
    }
    // The image is read-only and its own root is what every name below was found in.
    copy_entries(Path::new(&format!("/proc/self/fd/{}", found.as_raw_fd())), target)?;
    own(target, &metadata)
}

fn copy_entries(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target, metadata) = (entry.path(), to.join(entry.file_name()), entry.metadata()?);
        let kind = metadata.file_type();
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            lchown(&target, Some(metadata.uid()), Some(metadata.gid()))?;
        } else if kind.is_dir() {
            fs::create_dir(&target)?;
            copy_entries(&source, &target)?;
            own(&target, &metadata)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
            own(&target, &metadata)?;
        }
        // Devices, sockets and FIFOs are nobody's initial data.
    }
    Ok(())
}

/// The owner first: a change of owner clears set-user-id.
fn own(target: &Path, like: &Metadata) -> io::Result<()> {
    chown(target, Some(like.uid()), Some(like.gid()))?;
    fs::set_permissions(target, Permissions::from_mode(like.mode() & 0o7777))
}

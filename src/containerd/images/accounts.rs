//! The users of an image, read from its root filesystem.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use nix::fcntl::OFlag;

use super::Image;
use super::view::Root;
use crate::containerd::spec::Accounts;
use crate::containerd::{Runtime, RuntimeError};

/// Largest `/etc/passwd` or `/etc/group` read.
const FILE_BYTES_MAX: u64 = 4 << 20;

impl Runtime {
    /// The users and groups of an image. Read once per image and process.
    pub async fn accounts(&self, image: &Image) -> Result<Arc<Accounts>, RuntimeError> {
        if image.chain_id.is_empty() {
            return Ok(Arc::default());
        }
        if let Some(known) = self.inner.images.accounts(&image.chain_id) {
            return Ok(known);
        }
        let read = |root: &Root| Ok(Accounts::parse(&file(root, "etc/passwd")?, &file(root, "etc/group")?));
        let accounts = self.view_image(image, read).await?.map_err(|e| {
            RuntimeError::Corrupt(format!(
                "users of image {}: {e}",
                image.names.first().unwrap_or(&image.digest)
            ))
        })?;
        Ok(self.inner.images.know_accounts(&image.chain_id, accounts))
    }
}

/// A file of the image, empty when it has none.
fn file(root: &Root, path: &str) -> io::Result<String> {
    let Some(file) = root.open(Path::new(path), OFlag::empty())? else { return Ok(String::new()) };
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

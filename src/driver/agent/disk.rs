//! What the agent keeps on its own disk: the objects it last knew, its Pods and their records.
//!
//! Objects are written through a temporary file, synced and renamed: a power loss leaves the old or the new one.
//! Records of Pods are renamed without a sync: they need to outlive the process, and another boot voids them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why something could not be kept or read back.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    /// The file system refused.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {source}; move the file away to go on without it")]
    Content {
        /// The file.
        path: PathBuf,
        /// Where it stops making sense.
        #[source]
        source: serde_json::Error,
    },
}

/// Whether a write must survive power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// Survives the process.
    Process,
    /// Survives power loss.
    Power,
}

/// The agent's data directory.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Opens (and makes, 0700) the directory.
    pub(super) fn open(root: &Path) -> Result<Self, DiskError> {
        make_dir(root)?;
        Ok(Self { root: root.into() })
    }

    /// Writes `value` as JSON to `file` (relative), 0600, making its directory.
    pub(super) fn put<T: Serialize>(
        &self,
        file: &Path,
        value: &T,
        durability: Durability,
    ) -> Result<(), DiskError> {
        let path = self.root.join(file);
        let bytes =
            serde_json::to_vec(value).map_err(|source| DiskError::Content { path: path.clone(), source })?;
        self.put_bytes(file, &bytes, durability)
    }

    /// Writes bytes, as [`Self::put`].
    pub(super) fn put_bytes(
        &self,
        file: &Path,
        bytes: &[u8],
        durability: Durability,
    ) -> Result<(), DiskError> {
        let path = self.root.join(file);
        let parent = path.parent().unwrap_or(&self.root);
        make_dir(parent)?;
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| DiskError::File { path, source }
        };
        let temporary = path.with_extension("tmp");
        let mut out = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(at(&temporary))?;
        out.write_all(bytes).map_err(at(&temporary))?;
        if durability == Durability::Power {
            out.sync_all().map_err(at(&temporary))?;
        }
        fs::rename(&temporary, &path).map_err(at(&path))?;
        if durability == Durability::Power {
            fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(at(parent))?;
        }
        Ok(())
    }

    /// Reads a file of [`Self::put`]; none when it is not there.
    pub(super) fn read<T: DeserializeOwned>(&self, file: &Path) -> Result<Option<T>, DiskError> {
        let path = self.root.join(file);
        let Some(bytes) = self.read_bytes(file)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| DiskError::Content { path, source })
    }

    /// Reads a file of [`Self::put_bytes`]; none when it is not there.
    pub(super) fn read_bytes(&self, file: &Path) -> Result<Option<Vec<u8>>, DiskError> {
        let path = self.root.join(file);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DiskError::File { path, source }),
        }
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, file: &Path) -> Result<(), DiskError> {
        let path = self.root.join(file);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(DiskError::File { path, source }),
        }
    }

    /// Names of the entries of a directory, sorted; empty when it is not there.
    pub(super) fn names(&self, dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.root.join(dir))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| Path::new(name).extension().is_none_or(|e| e != "tmp"))
            .collect();
        names.sort();
        names
    }

    /// The directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

fn make_dir(path: &Path) -> Result<(), DiskError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| DiskError::File { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_put_comes_back_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let disk = Disk::open(dir.path()).expect("opens");
        let file = Path::new("cache/daemonsets/a.json");
        disk.put(file, &vec![1, 2], Durability::Power).expect("writes");
        assert_eq!(disk.read::<Vec<i32>>(file).expect("reads"), Some(vec![1, 2]));
        let mode = fs::metadata(dir.path().join(file)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        disk.remove(file).expect("removes");
        assert_eq!(disk.read::<Vec<i32>>(file).expect("absence is no error"), None);
    }

    #[test]
    fn a_broken_file_is_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let disk = Disk::open(dir.path()).expect("opens");
        disk.put_bytes(Path::new("session.json"), b"{", Durability::Process).expect("writes");
        let error = disk.read::<Vec<i32>>(Path::new("session.json")).expect_err("is no list");
        assert!(error.to_string().contains("session.json"), "{error}");
    }
}

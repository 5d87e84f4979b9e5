//! What the agent keeps on its own disk: the objects it last knew, its Pods and their records.
//!
//! Objects are written through a temporary file, synced and renamed: a power loss leaves the old or the new one.
//! Records of Pods are renamed without a sync: they need to outlive the process, and another boot voids them.
//!
//! A sync takes as long as a third of a container's start, and so nothing that starts waits for one. What the node's
//! loop writes on its way is renamed at once and synced by a thread of the disk's own; what only repeats the
//! coordinator's words is written by that thread altogether, the newest version of each file.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

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
    /// Survives the process, and shortly afterwards power loss. What power was lost on is absent or empty.
    Soon,
    /// Survives power loss.
    Power,
}

/// What is done to a file without anybody waiting.
#[derive(Debug)]
enum Later {
    Put(Vec<u8>),
    Remove,
    /// It has been renamed into place and is to be synced.
    Sync,
}

/// What the thread hears.
#[derive(Debug)]
enum Errand {
    Do(PathBuf, Later),
    /// Answer when everything before is done.
    Tell(Sender<()>),
}

/// The agent's data directory.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    root: PathBuf,
    errands: Sender<Errand>,
}

impl Disk {
    /// Opens (and makes, 0700) the directory.
    pub(super) fn open(root: &Path) -> Result<Self, DiskError> {
        make_dir(root)?;
        let (errands, heard) = channel();
        let disk = Self { root: root.into(), errands };
        let root = root.to_owned();
        let thread = std::thread::Builder::new().name("disk".into());
        let started = thread.spawn(move || run_errands(&root, &heard));
        started.map_err(|source| DiskError::File { path: disk.root.clone(), source })?;
        Ok(disk)
    }

    /// Writes `value` as [`Self::put`] does, to survive power loss, without waiting for it.
    pub(super) fn put_later<T: Serialize>(&self, file: &Path, value: &T) -> Result<(), DiskError> {
        let unfit = |source| DiskError::Content { path: self.root.join(file), source };
        self.later(file, Later::Put(serde_json::to_vec(value).map_err(unfit)?));
        Ok(())
    }

    /// Removes a file after whatever was written to it with [`Self::put_later`].
    pub(super) fn remove_later(&self, file: &Path) {
        self.later(file, Later::Remove);
    }

    /// Waits until everything that was to be done later is done.
    pub(super) fn settle(&self) {
        let (done, told) = channel();
        if self.errands.send(Errand::Tell(done)).is_ok() {
            let _ = told.recv();
        }
    }

    fn later(&self, file: &Path, later: Later) {
        // The thread ends only with the last handle on it.
        let _ = self.errands.send(Errand::Do(file.to_owned(), later));
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
        write(&self.root, file, bytes, durability)?;
        if durability == Durability::Soon {
            self.later(file, Later::Sync);
        }
        Ok(())
    }

    /// Reads a file of [`Self::put`]; none when it is not there, or empty, which a power loss leaves before the sync.
    pub(super) fn read<T: DeserializeOwned>(&self, file: &Path) -> Result<Option<T>, DiskError> {
        let path = self.root.join(file);
        let bytes = self.read_bytes(file)?.filter(|bytes| !bytes.is_empty());
        let Some(bytes) = bytes else { return Ok(None) };
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
        remove(&self.root.join(file))
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

/// Does what is asked for until the last handle on the disk is gone; of several errands about one file the newest.
fn run_errands(root: &Path, heard: &Receiver<Errand>) {
    while let Ok(first) = heard.recv() {
        let (mut newest, mut waiting) = (BTreeMap::new(), Vec::new());
        for errand in std::iter::once(first).chain(heard.try_iter()) {
            match errand {
                // A file that is written anew needs no sync of its own.
                Errand::Do(file, Later::Sync) => {
                    newest.entry(file).or_insert(Later::Sync);
                }
                Errand::Do(file, later) => {
                    newest.insert(file, later);
                }
                Errand::Tell(done) => waiting.push(done),
            }
        }
        for (file, later) in newest {
            let done = match later {
                Later::Put(bytes) => write(root, &file, &bytes, Durability::Power),
                Later::Remove => remove(&root.join(&file)),
                Later::Sync => sync(&root.join(&file)),
            };
            if let Err(error) = done {
                tracing::error!(%error, "the disk refuses");
            }
        }
        for done in waiting {
            let _ = done.send(());
        }
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> DiskError {
    let path = path.to_owned();
    move |source| DiskError::File { path, source }
}

fn write(root: &Path, file: &Path, bytes: &[u8], durability: Durability) -> Result<(), DiskError> {
    let path = root.join(file);
    let parent = path.parent().unwrap_or(root);
    make_dir(parent)?;
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

/// Syncs a file that is in its place, and its directory. One that is gone again needs none.
fn sync(path: &Path) -> Result<(), DiskError> {
    let directory = path.parent().unwrap_or(path);
    let synced = fs::File::open(path)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::File::open(directory)?.sync_all());
    match synced {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at(path)(error)),
        Ok(()) | Err(_) => Ok(()),
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
    fn what_is_done_later_is_done_in_order() {
        let dir = tempfile::tempdir().expect("temp dir");
        let disk = Disk::open(dir.path()).expect("opens");
        let (kept, gone) = (Path::new("cache/kept.json"), Path::new("cache/gone.json"));
        for number in 0..100 {
            disk.put_later(kept, &number).expect("it is JSON");
            disk.put_later(gone, &number).expect("it is JSON");
        }
        disk.remove_later(gone);
        disk.put(Path::new("hosted/a/pod.json"), &1, Durability::Soon).expect("writes");
        fs::remove_dir_all(dir.path().join("hosted")).expect("before it is synced, or after");
        disk.settle();
        assert_eq!(disk.read::<u32>(kept).expect("reads"), Some(99));
        assert_eq!(disk.read::<u32>(gone).expect("reads"), None);
    }

    #[test]
    fn what_power_was_lost_on_is_absent() {
        let dir = tempfile::tempdir().expect("temp dir");
        let disk = Disk::open(dir.path()).expect("opens");
        fs::write(dir.path().join("pod.json"), "").expect("writes");
        assert_eq!(disk.read::<u32>(Path::new("pod.json")).expect("reads"), None);
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

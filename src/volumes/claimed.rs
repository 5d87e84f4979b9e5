//! Volumes that a Pod has by a claim: a directory that is kept on this node, or a path that people have named.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use super::host_path::{self, HostPathError};
use crate::agent::sources::{Backing, Claimed};

/// Every user may write, as in an `emptyDir`: whoever else is on the node cannot reach it.
const MODE: u32 = 0o777;
/// With a group of the Pod's own: what is made in a directory is the group's as well.
const SET_GROUP: u32 = 0o2000;
/// What that group may do with a file, and with a directory.
const FILE_OF_GROUP: u32 = 0o660;
const DIR_OF_GROUP: u32 = 0o2770;

/// Why such a volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimedError {
    /// Its path.
    #[error(transparent)]
    HostPath(#[from] HostPathError),
    /// A local volume that people have made is not there.
    #[error("local volume path {:?} does not exist", .0.display())]
    Absent(PathBuf),
    /// Its directory could not be made, or its group not be set.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes sure that the volume is there, and that the Pod's group may write it. Where it is.
pub(super) fn ensure(
    claimed: &Claimed,
    group: Option<u32>,
    only_root: bool,
) -> Result<PathBuf, ClaimedError> {
    match &claimed.backing {
        Backing::HostPath { path, kind } => {
            host_path::ensure(path, kind)?;
            Ok(path.clone())
        }
        Backing::Local { path, is_ours } => {
            let failed = |source| ClaimedError::Io { path: path.clone(), source };
            if *is_ours {
                make(path).map_err(failed)?;
            } else if !path.exists() {
                return Err(ClaimedError::Absent(path.clone()));
            }
            if let Some(group) = group {
                give(path, group, only_root).map_err(failed)?;
            }
            Ok(path.clone())
        }
    }
}

/// Makes the directory under another name first, so that one by this name is complete. The directory above is for root
/// alone.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().unwrap_or(path);
    DirBuilder::new().recursive(true).mode(0o700).create(above)?;
    let unfinished = path.with_extension("unfinished~");
    match fs::create_dir(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::set_permissions(&unfinished, Permissions::from_mode(MODE))?;
    fs::rename(&unfinished, path)?;
    // What a database has been told is on the disk must not hang on a directory that is not.
    fs::File::open(above)?.sync_all()
}

/// Gives all that is in the volume to the group; `only_root` where the root says that this has been done.
fn give(root: &Path, group: u32, only_root: bool) -> io::Result<()> {
    let found = fs::metadata(root)?;
    let is_given = found.gid() == group && found.mode() & SET_GROUP != 0 && found.mode() & 0o070 == 0o070;
    if only_root && is_given {
        return Ok(());
    }
    let mut open = vec![root.to_owned()];
    let mut dirs = Vec::new();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else {
                lchown(entry.path(), None, Some(group))?;
                if kind.is_file() {
                    add_mode(&entry.path(), FILE_OF_GROUP)?;
                }
            }
        }
        dirs.push(dir);
    }
    // The root last: it says that all is done.
    for dir in dirs.iter().rev() {
        lchown(dir, None, Some(group))?;
        add_mode(dir, DIR_OF_GROUP)?;
    }
    Ok(())
}

fn add_mode(path: &Path, bits: u32) -> io::Result<()> {
    let mode = fs::symlink_metadata(path)?.permissions().mode();
    if mode & bits == bits {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode | bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(path: &Path, is_ours: bool) -> Claimed {
        let backing = Backing::Local { path: path.to_owned(), is_ours };
        Claimed { volume: "pv".into(), backing }
    }

    #[test]
    fn a_directory_of_our_own_is_made_once_and_keeps_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volumes/pvc-1");
        let claimed = local(&path, true);
        assert_eq!(ensure(&claimed, None, false).unwrap(), path);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
        assert_eq!(fs::metadata(dir.path().join("volumes")).unwrap().mode() & 0o777, 0o700);
        fs::write(path.join("kept"), "x").unwrap();
        ensure(&claimed, None, false).unwrap();
        assert!(path.join("kept").exists());
    }

    #[test]
    fn a_local_volume_of_others_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ssd1");
        let error = ensure(&local(&path, false), None, false).unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn all_that_is_there_is_given_to_the_pods_group_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("volumes/pvc-1");
        fs::create_dir_all(path.join("in")).unwrap();
        fs::write(path.join("in/file"), "x").unwrap();
        fs::set_permissions(path.join("in/file"), Permissions::from_mode(0o600)).unwrap();
        fs::write(dir.path().join("outside"), "x").unwrap();
        std::os::unix::fs::symlink(dir.path().join("outside"), path.join("link")).unwrap();
        ensure(&local(&path, true), Some(2000), false).unwrap();
        let seen = |name: &str| {
            let found = fs::symlink_metadata(path.join(name)).unwrap();
            (found.gid(), found.mode() & 0o7777)
        };
        assert_eq!(seen("in/file"), (2000, 0o660));
        assert_eq!(seen("in"), (2000, 0o2775));
        assert_eq!(seen("link").0, 2000);
        assert_ne!(fs::metadata(dir.path().join("outside")).unwrap().gid(), 2000);
        fs::write(path.join("new"), "x").unwrap();
        lchown(path.join("new"), None, Some(0)).unwrap();
        ensure(&local(&path, true), Some(2000), true).unwrap();
        assert_eq!(seen("new").0, 0, "the root says that it is done");
        ensure(&local(&path, true), Some(2000), false).unwrap();
        assert_eq!(seen("new").0, 2000);
    }
}

//! hostPath volumes: a path of the node, checked or made by its type.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a hostPath volume cannot be used; the words are upstream's.
#[derive(Debug, thiserror::Error)]
pub enum HostPathError {
    /// Nothing is there.
    #[error("hostPath type check failed: {} is not a {expected}: hostPath {} doesn't exist", path.display(), path.display())]
    Absent {
        /// The path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// Something else is there.
    #[error("hostPath type check failed: {} is not a {expected}", path.display())]
    WrongType {
        /// The path.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// No such type.
    #[error("{0} is an invalid volume type")]
    NoSuchType(String),
    /// It climbs.
    #[error("hostPath {}: must not contain '..'", .0.display())]
    Climbs(PathBuf),
    /// It could not be made.
    #[error("hostPath {}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Makes sure that `path` is of the type `kind` (as in the API; empty: anything, a missing directory is made).
pub(super) fn ensure(path: &Path, kind: &str) -> Result<(), HostPathError> {
    if path.components().any(|part| part == std::path::Component::ParentDir) {
        return Err(HostPathError::Climbs(path.to_owned()));
    }
    let absent = !path.exists();
    match kind {
        // Container runtimes make what a mount without a type names.
        "" | "DirectoryOrCreate" if absent => made(path, make_dir(path)),
        "FileOrCreate" if absent => made(path, make_file(path)),
        "" => Ok(()),
        "Directory" | "DirectoryOrCreate" => expect(path, "directory", fs::FileType::is_dir),
        "File" | "FileOrCreate" => expect(path, "file", fs::FileType::is_file),
        "Socket" => expect(path, "socket file", FileTypeExt::is_socket),
        "CharDevice" => expect(path, "character device", FileTypeExt::is_char_device),
        "BlockDevice" => expect(path, "block device", FileTypeExt::is_block_device),
        other => Err(HostPathError::NoSuchType(other.to_owned())),
    }
}

fn expect(path: &Path, expected: &'static str, is: fn(&fs::FileType) -> bool) -> Result<(), HostPathError> {
    match fs::metadata(path) {
        Ok(found) if is(&found.file_type()) => Ok(()),
        Ok(_) => Err(HostPathError::WrongType { path: path.to_owned(), expected }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(HostPathError::Absent { path: path.to_owned(), expected })
        }
        Err(source) => Err(HostPathError::Io { path: path.to_owned(), source }),
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn make_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o644).open(path).map(drop)
}

fn made(path: &Path, result: io::Result<()>) -> Result<(), HostPathError> {
    result.map_err(|source| HostPathError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_accepts_its_own_and_says_what_it_expected_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("dir")).unwrap();
        fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink("dir", path("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        for (kind, good, expected) in [
            ("Directory", path("link"), "directory"),
            ("DirectoryOrCreate", path("dir"), "directory"),
            ("File", path("file"), "file"),
            ("FileOrCreate", path("file"), "file"),
            ("Socket", path("socket"), "socket file"),
            ("CharDevice", PathBuf::from("/dev/null"), "character device"),
        ] {
            ensure(&good, kind).unwrap();
            let bad = if kind.starts_with("File") { path("dir") } else { path("file") };
            let error = ensure(&bad, kind).unwrap_err().to_string();
            assert_eq!(error, format!("hostPath type check failed: {} is not a {expected}", bad.display()));
        }
        let error = ensure(&path("none"), "BlockDevice").unwrap_err().to_string();
        assert!(
            error.starts_with("hostPath type check failed: ") && error.ends_with("doesn't exist"),
            "{error}"
        );
        assert_eq!(
            ensure(&path("dir"), "Folder").unwrap_err().to_string(),
            "Folder is an invalid volume type"
        );
    }

    #[test]
    fn what_may_be_made_is_made() {
        let dir = tempfile::tempdir().unwrap();
        ensure(&dir.path().join("a/b"), "DirectoryOrCreate").unwrap();
        ensure(&dir.path().join("a/file"), "FileOrCreate").unwrap();
        ensure(&dir.path().join("untyped"), "").unwrap();
        assert!(dir.path().join("a/b").is_dir() && dir.path().join("a/file").is_file());
        assert!(dir.path().join("untyped").is_dir());
        let error = ensure(&dir.path().join("no/dir/file"), "FileOrCreate").unwrap_err();
        assert!(matches!(error, HostPathError::Io { .. }), "a file's directory is not made: {error}");
        assert!(matches!(ensure(&dir.path().join("a/../x"), "").unwrap_err(), HostPathError::Climbs(_)));
    }
}

//! A part of a volume, mounted alone, that no link inside the volume can turn into a part of the node.
//!
//! What the Pod can write, the Pod can replace by a link at any moment. So the kernel resolves the path beneath the
//! volume's root (`openat2`), and what it found is mounted through the open descriptor: nothing is looked up twice.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, fchmod, mkdirat};

use super::mounts;

/// Largest file of variables, as upstream.
const READ_BYTES: u64 = 64 << 10;

/// How often a path is looked up while renames get in the way.
const RACES: usize = 32;

/// Mounts `path` of the volume at `root` onto `target`, or finds it mounted there. A missing path becomes a directory
/// with the mode of the volume's root.
pub(super) fn ensure(root: &Path, path: &str, target: &Path) -> io::Result<()> {
    let root_file = open_root(root)?;
    let found = match open_beneath(&root_file, Path::new(path)) {
        Err(Errno::ENOENT) => {
            make_beneath(&root_file, Path::new(path))?;
            open_beneath(&root_file, Path::new(path))?
        }
        other => other?,
    };
    let found = File::from(found);
    let own = found.metadata()?;
    if let Ok(mounted) = fs::symlink_metadata(target) {
        let is_same = (mounted.dev(), mounted.ino()) == (own.dev(), own.ino());
        if is_same && mounts::below(target)?.iter().any(|point| point == target) {
            return Ok(());
        }
        mounts::unmount(target)?;
    }
    make_target(target, own.is_dir())?;
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    mount(Some(source.as_str()), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Reads a file of a volume, wherever its links lead within the volume.
pub(super) fn read(root: &Path, path: &str) -> io::Result<String> {
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).resolve(beneath());
    let file = File::from(openat2(open_root(root)?, Path::new(path), how)?);
    let found = file.metadata()?;
    if !found.is_file() || found.len() > READ_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file of at most 64 KiB"));
    }
    io::read_to_string(file.take(READ_BYTES))
}

/// A volume may also be a FIFO or a device of the node: nothing of it is opened for reading.
fn open_root(root: &Path) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(File::from(nix::fcntl::open(root, flags, Mode::empty())?))
}

fn beneath() -> ResolveFlag {
    ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS
}

fn open_beneath(root: &impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(beneath());
    // EAGAIN: something was renamed while the kernel walked a "..", so that it could not be sure.
    let mut attempts = (0..RACES).map(|_| openat2(root, path, how));
    attempts.find(|found| !matches!(found, Err(Errno::EAGAIN))).unwrap_or(Err(Errno::EAGAIN))
}

/// Makes the directories of `path` one by one, each beneath the root as the kernel sees it then.
fn make_beneath(root: &File, path: &Path) -> io::Result<()> {
    let mode = Mode::from_bits_truncate(root.metadata()?.permissions().mode() & 0o7777);
    let mut above = OwnedFd::from(root.try_clone()?);
    for part in path.components() {
        let Component::Normal(name) = part else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain relative path"));
        };
        let made = match mkdirat(&above, name, mode) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        above = openat2(&above, name, OpenHow::new().flags(flags).resolve(beneath()))?;
        if made {
            fchmod(&above, mode)?;
        }
    }
    Ok(())
}

fn make_target(target: &Path, is_dir: bool) -> io::Result<()> {
    let right = fs::symlink_metadata(target).is_ok_and(|found| found.is_dir() == is_dir);
    if right {
        return Ok(());
    }
    match fs::symlink_metadata(target) {
        Ok(found) if found.is_dir() => fs::remove_dir(target)?,
        Ok(_) => fs::remove_file(target)?,
        Err(_) => {}
    }
    fs::create_dir_all(target.parent().unwrap_or(target))?;
    if is_dir { fs::create_dir(target) } else { File::create(target).map(drop) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;
    use crate::volumes::tests::EndsOnDrop;

    struct Bed(tempfile::TempDir);

    impl Drop for Bed {
        fn drop(&mut self) {
            let _ = mounts::unmount_below(self.0.path());
        }
    }

    impl Bed {
        fn new() -> Self {
            let bed = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(bed.path("volume/in")).unwrap();
            fs::write(bed.path("volume/in/file"), "inside").unwrap();
            fs::write(bed.path("secret"), "of the node").unwrap();
            bed
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn ensure(&self, path: &str) -> io::Result<()> {
            ensure(&self.path("volume"), path, &self.path("targets/0"))
        }
    }

    #[test]
    fn a_directory_or_a_file_of_the_volume_is_mounted_alone() {
        let bed = Bed::new();
        bed.ensure("in").unwrap();
        assert_eq!(fs::read_to_string(bed.path("targets/0/file")).unwrap(), "inside");
        bed.ensure("in").unwrap();
        assert_eq!(mounts::below(&bed.path("targets")).unwrap().len(), 1);
        bed.ensure("in/file").unwrap();
        assert_eq!(fs::read_to_string(bed.path("targets/0")).unwrap(), "inside");
        assert_eq!(mounts::below(&bed.path("targets")).unwrap().len(), 1);
    }

    #[test]
    fn links_within_the_volume_are_followed() {
        let bed = Bed::new();
        symlink("in", bed.path("volume/link")).unwrap();
        bed.ensure("link/file").unwrap();
        assert_eq!(fs::read_to_string(bed.path("targets/0")).unwrap(), "inside");
    }

    #[test]
    fn a_link_out_of_the_volume_is_refused() {
        let bed = Bed::new();
        symlink("../secret", bed.path("volume/up")).unwrap();
        symlink(bed.path("secret"), bed.path("volume/absolute")).unwrap();
        symlink("..", bed.path("volume/in/dir")).unwrap();
        symlink("/proc/self/root", bed.path("volume/magic")).unwrap();
        for path in [
            "up",
            "absolute",
            "in/dir/../../secret",
            "magic/etc",
            "../secret",
            "/etc",
            "up/new",
            "magic/tmp/new",
        ] {
            let error = bed.ensure(path).unwrap_err();
            assert!(!bed.path("targets/0").exists(), "{path}: {error}");
        }
        assert!(read(&bed.path("volume"), "up").is_err());
        assert_eq!(read(&bed.path("volume"), "in/file").unwrap(), "inside");
    }

    #[test]
    fn a_missing_path_becomes_a_directory_like_the_volume_and_never_behind_a_link() {
        let bed = Bed::new();
        fs::set_permissions(bed.path("volume"), fs::Permissions::from_mode(0o2777)).unwrap();
        bed.ensure("new/deep").unwrap();
        assert_eq!(fs::metadata(bed.path("volume/new/deep")).unwrap().mode() & 0o7777, 0o2777);
        fs::create_dir(bed.path("outside")).unwrap();
        symlink("../outside", bed.path("volume/out")).unwrap();
        bed.ensure("out/made").unwrap_err();
        assert_eq!(fs::read_dir(bed.path("outside")).unwrap().count(), 0);
    }

    #[test]
    fn a_race_of_links_never_leads_outside() {
        let bed = Bed::new();
        let stop = std::sync::atomic::AtomicBool::new(false);
        let (dir, link) = (bed.path("volume/x"), bed.path("volume/y"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("secret"), "inside").unwrap();
        symlink("..", &link).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
                    let here = nix::fcntl::AT_FDCWD;
                    nix::fcntl::renameat2(here, &dir, here, &link, flags).unwrap();
                }
            });
            let _end = EndsOnDrop(&stop);
            let (mut mounted, mut refused) = (0, 0);
            while mounted < 20 || refused < 20 {
                match bed.ensure("x/secret") {
                    Ok(()) => {
                        mounted += 1;
                        assert_eq!(fs::read_to_string(bed.path("targets/0")).unwrap(), "inside");
                    }
                    Err(_) => refused += 1,
                }
                std::thread::yield_now();
            }
        });
    }
}

//! What is mounted below a directory, and how it is taken away before the directory is removed.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};

/// File systems whose contents other machines see, or may see: their names in mountinfo. Of FUSE nobody can tell.
const NETWORK: [&str; 13] =
    ["9p", "afs", "beegfs", "ceph", "cifs", "fuse", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3"];

/// The mount points at `dir` and below it in this mount namespace, in the order they were mounted.
pub fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    mounted(dir, |_| true)
}

/// The same, of network file systems alone.
pub fn network_below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    mounted(dir, is_network)
}

fn is_network(kind: &[u8]) -> bool {
    let plain = kind.split(|byte| *byte == b'.').next().unwrap_or_default();
    NETWORK.iter().any(|name| name.as_bytes() == plain)
}

fn mounted(dir: &Path, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Vec<PathBuf>> {
    let Ok(dir) = dir.canonicalize() else { return Ok(Vec::new()) };
    let table = fs::read("/proc/self/mountinfo")?;
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let point = fields.nth(4)?;
        // Behind the optional fields, whose number varies.
        fields.find(|field| *field == b"-")?;
        wanted(fields.next()?).then(|| PathBuf::from(std::ffi::OsString::from_vec(unescape(point))))
    });
    Ok(points.filter(|point| point.starts_with(&dir)).collect())
}

/// Takes away the network mounts at `dir` and below it, with all that they still have to send: nothing that was written
/// before leaves later. Refuses while one is in use. Blocks where its server does not answer and the kernel cannot help.
pub fn force_off_network(dir: &Path) -> io::Result<()> {
    for point in network_below(dir)?.iter().rev() {
        match umount2(point, MntFlags::MNT_FORCE | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether something is mounted on `dir`: it is on another device than its parent. Does not see a bind mount of the
/// same file system.
pub fn is_mount_point(dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| fs::symlink_metadata(path).map(|found| found.dev()).ok();
    let above = dir.parent().and_then(device);
    above.is_some() && device(dir).is_some_and(|own| Some(own) != above)
}

/// Takes away every mount at `dir` and below it. What is still in use disappears with its last user.
pub fn unmount_below(dir: &Path) -> io::Result<()> {
    for point in below(dir)?.iter().rev() {
        unmount(point)?;
    }
    Ok(())
}

/// Takes away the mounts on this very path. Idempotent.
pub fn unmount(point: &Path) -> io::Result<()> {
    loop {
        match umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes a directory with all that is in it, after taking away all mounts below it: what was mounted there keeps its
/// contents. Idempotent.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    unmount_below(dir)?;
    if let Some(point) = below(dir)?.first() {
        return Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("something is mounted at {} again", point.display()),
        ));
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The kernel writes space, tab, newline and backslash of a path as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((byte, after)) = rest.split_first() {
        let code = (*byte == b'\\').then(|| after.get(..3)).flatten();
        let octal = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(octal.unwrap_or(*byte));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    plain
}

#[cfg(test)]
mod tests {
    use nix::mount::{MsFlags, mount};

    use super::*;

    struct Unmounted(tempfile::TempDir);
    impl Drop for Unmounted {
        fn drop(&mut self) {
            let _ = unmount_below(self.0.path());
        }
    }

    #[test]
    fn a_tree_is_removed_without_touching_what_is_mounted_in_it() {
        let dir = Unmounted(tempfile::tempdir().unwrap());
        let (host, tree) = (dir.0.path().join("host"), dir.0.path().join("a tree"));
        fs::create_dir_all(tree.join("inner")).unwrap();
        fs::create_dir(&host).unwrap();
        fs::write(host.join("precious"), "x").unwrap();
        for _ in 0..2 {
            mount(Some(&host), &tree.join("inner"), None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        }
        assert_eq!(below(&tree).unwrap(), [tree.join("inner"), tree.join("inner")]);
        remove_tree(&tree).unwrap();
        remove_tree(&tree).unwrap();
        assert!(host.join("precious").exists() && !tree.exists());
    }

    #[test]
    fn a_network_mount_whose_server_is_silent_is_forced_off_and_others_stay() {
        use std::os::fd::AsRawFd as _;
        let dir = Unmounted(tempfile::tempdir().unwrap());
        let (far, near) = (dir.0.path().join("far"), dir.0.path().join("near"));
        for made in [&far, &near] {
            fs::create_dir(made).unwrap();
        }
        mount(Some("none"), &near, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        // A file system whose server never answers.
        let Ok(server) = fs::File::options().read(true).write(true).open("/dev/fuse") else {
            println!("skipped: no /dev/fuse here");
            return;
        };
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
        if let Err(error) =
            mount(Some("far"), &far, Some("fuse.test"), MsFlags::empty(), Some(options.as_str()))
        {
            println!("skipped: a FUSE mount is refused here: {error}");
            return;
        }
        assert_eq!(network_below(dir.0.path()).unwrap(), std::slice::from_ref(&far));
        force_off_network(dir.0.path()).unwrap();
        assert_eq!(below(dir.0.path()).unwrap(), [near]);
        assert!(network_below(dir.0.path()).unwrap().is_empty());
    }

    #[test]
    fn network_file_systems_are_told_by_their_names() {
        for (kind, far) in [
            ("nfs4", true),
            ("fuse.sshfs", true),
            ("cifs", true),
            ("ext4", false),
            ("fusectl", false),
            ("tmpfs", false),
        ] {
            assert_eq!(is_network(kind.as_bytes()), far, "{kind}");
        }
    }

    #[test]
    fn escaped_paths_are_read_as_they_are() {
        assert_eq!(unescape(br"/a\040b\134c\0"), br"/a b\c\0");
    }
}

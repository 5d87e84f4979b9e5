//! The users of an image, read from its root filesystem.
//!
//! The image is mounted read-only in a mount namespace of a thread's own, which takes the mount along when it ends: no
//! crash can leave one behind, and nobody else ever sees it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use containerd_client::services::v1::snapshots::ViewSnapshotRequest;
use containerd_client::types::Mount;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::unistd::chdir;
use tokio::sync::oneshot;

use super::Image;
use crate::containerd::spec::Accounts;
use crate::containerd::{Runtime, RuntimeError, SNAPSHOTTER};

/// Largest `/etc/passwd` or `/etc/group` read.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A directory that every node has, and that the thread covers for itself.
const MOUNT_POINT: &str = "/sys";

impl Runtime {
    /// The users and groups of an image. Read once per image and process.
    pub async fn accounts(&self, image: &Image) -> Result<Arc<Accounts>, RuntimeError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if image.chain_id.is_empty() {
            return Ok(Arc::default());
        }
        if let Some(known) = self.inner.images.accounts(&image.chain_id) {
            return Ok(known);
        }
        let turn = COUNT.fetch_add(1, Ordering::Relaxed);
        let key = format!("leasehold-view-{}-{turn}-{}", std::process::id(), image.chain_id);
        let request = ViewSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: key.clone(),
            parent: image.chain_id.clone(),
            ..ViewSnapshotRequest::default()
        };
        let viewed = self.connection().snapshots().view(self.connection().request(request)).await;
        let read = in_own_thread(viewed?.into_inner().mounts).await;
        self.remove_snapshot(&key).await?;
        let accounts = read.map_err(|e| {
            RuntimeError::Corrupt(format!(
                "users of image {}: {e}",
                image.names.first().unwrap_or(&image.digest)
            ))
        })?;
        Ok(self.inner.images.know_accounts(&image.chain_id, accounts))
    }
}

/// Namespaces belong to threads, so one is spent.
async fn in_own_thread(mounts: Vec<Mount>) -> io::Result<Accounts> {
    let (answer, answered) = oneshot::channel();
    std::thread::Builder::new().name("accounts".into()).spawn(move || answer.send(read(&mounts)))?;
    answered.await.map_err(io::Error::other)?
}

fn read(mounts: &[Mount]) -> io::Result<Accounts> {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    for each in mounts {
        mount_here(each)?;
    }
    Ok(Accounts::parse(&file("etc/passwd")?, &file("etc/group")?))
}

fn mount_here(wanted: &Mount) -> io::Result<()> {
    let mut flags = MsFlags::MS_RDONLY;
    let mut data = Vec::new();
    for option in &wanted.options {
        match option.as_str() {
            "ro" => {}
            "rbind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            "bind" => flags |= MsFlags::MS_BIND,
            other => data.push(shortened(other)?),
        }
    }
    let data = data.join(",");
    Ok(mount(
        Some(wanted.source.as_str()),
        MOUNT_POINT,
        Some(wanted.r#type.as_str()),
        flags,
        Some(data.as_str()),
    )?)
}

/// The kernel takes options of one page; the paths of many layers are longer, unless they are relative to where they
/// all are.
fn shortened(option: &str) -> io::Result<String> {
    let Some(list) = option.strip_prefix("lowerdir=") else { return Ok(option.to_owned()) };
    let dirs: Vec<&Path> = list.split(':').map(Path::new).collect();
    let common = dirs.first().and_then(|dir| dir.parent()?.parent()).map(PathBuf::from);
    let Some(common) = common.filter(|common| dirs.iter().all(|dir| dir.starts_with(common))) else {
        return Ok(option.to_owned());
    };
    chdir(&common)?;
    let relative: Vec<_> =
        dirs.iter().filter_map(|dir| dir.strip_prefix(&common).ok()).map(Path::to_string_lossy).collect();
    Ok(format!("lowerdir={}", relative.join(":")))
}

/// A file of the image, empty when it has none. Links lead nowhere but into the image.
fn file(path: &str) -> io::Result<String> {
    let root = open(MOUNT_POINT, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(&root, path, how) {
        Ok(descriptor) => File::from(descriptor),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(errno.into()),
    };
    if !file.metadata()?.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

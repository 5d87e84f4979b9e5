//! An image's root filesystem, mounted read-only in a mount namespace of a thread's own, which takes the mount along
//! when it ends: no crash can leave one behind, and nobody else ever sees it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
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
use crate::containerd::{Runtime, RuntimeError, SNAPSHOTTER};

/// A directory that every node has, and that the thread covers for itself.
const MOUNT_POINT: &str = "/sys";

/// The root of an image while it is viewed.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

impl Runtime {
    /// Looks into an image that has layers. The outer error is containerd's, the inner one of the files.
    pub(super) async fn view_image<T: Send + 'static>(
        &self,
        image: &Image,
        look: impl FnOnce(&Root) -> io::Result<T> + Send + 'static,
    ) -> Result<io::Result<T>, RuntimeError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let turn = COUNT.fetch_add(1, Ordering::Relaxed);
        let key = format!("leasehold-view-{}-{turn}-{}", std::process::id(), image.chain_id);
        let request = ViewSnapshotRequest {
            snapshotter: SNAPSHOTTER.into(),
            key: key.clone(),
            parent: image.chain_id.clone(),
            ..ViewSnapshotRequest::default()
        };
        let viewed = self.connection().snapshots().view(self.connection().request(request)).await;
        let seen = in_own_thread(viewed?.into_inner().mounts, look).await;
        self.remove_snapshot(&key).await?;
        Ok(seen)
    }
}

/// Namespaces belong to threads, so one is spent.
async fn in_own_thread<T: Send + 'static>(
    mounts: Vec<Mount>,
    look: impl FnOnce(&Root) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (answer, answered) = oneshot::channel();
    let work = move || answer.send(mounted(&mounts).and_then(|root| look(&root)));
    std::thread::Builder::new().name("image-view".into()).spawn(work)?;
    answered.await.map_err(io::Error::other)?
}

fn mounted(mounts: &[Mount]) -> io::Result<Root> {
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    for each in mounts {
        mount_here(each)?;
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(Root(open(MOUNT_POINT, flags, Mode::empty())?))
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

impl Root {
    /// Opens something of the image. Links lead nowhere but into the image. None when it is not there.
    pub(super) fn open(&self, path: &Path, flags: OFlag) -> io::Result<Option<File>> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(&self.0, path, how) {
            Ok(descriptor) => Ok(Some(File::from(descriptor))),
            Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ENOTDIR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

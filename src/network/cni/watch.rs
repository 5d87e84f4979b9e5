//! Hears of changes to the CNI configuration, also when its directory does not exist yet.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// A watch on a configuration directory.
pub struct ConfigurationWatch {
    dir: PathBuf,
    events: AsyncFd<Events>,
}

struct Events(Inotify);

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl ConfigurationWatch {
    /// Watches `dir`, or the nearest directory above it that exists. Must be called within a tokio runtime.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; this descriptor is owned and never exchanged"
        )]
        let events = AsyncFd::new(Events(inotify))?;
        let watch = Self { dir: dir.to_owned(), events };
        watch.arm()?;
        Ok(watch)
    }

    /// Returns after the next change. A change in a directory above is one as well: the caller reads again.
    pub async fn changed(&mut self) -> io::Result<()> {
        let mut ready = self.events.readable().await?;
        while ready.get_inner().0.read_events().is_ok() {}
        ready.clear_ready();
        drop(ready);
        // The directory itself, or a nearer one above it, may exist by now.
        self.arm()
    }

    fn arm(&self) -> io::Result<()> {
        let changes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        let existing = self.dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
        // Watching the same directory again changes nothing.
        self.events.get_ref().0.add_watch(existing, changes)?;
        Ok(())
    }
}

//! Waits for a log file to change.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;

/// Changes of one file by its name: written, made anew, renamed.
pub(super) struct Changes {
    inotify: AsyncFd<Source>,
    name: OsString,
}

struct Source(Inotify);

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Changes {
    /// Watches the directory, since files come and go in it.
    pub(super) fn watch(log: &Path) -> io::Result<Self> {
        let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the log has no file name"));
        };
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let interest = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVE;
        inotify.add_watch(dir, interest | AddWatchFlags::IN_ONLYDIR)?;
        #[expect(
            deprecated,
            reason = "the source owns its descriptor, which is all that `register` asks for"
        )]
        let inotify = AsyncFd::new(Source(inotify))?;
        Ok(Self { inotify, name: name.to_owned() })
    }

    /// Waits for the next one. May be woken for nothing.
    pub(super) async fn next(&mut self) -> io::Result<()> {
        loop {
            let mut guard = self.inotify.readable().await?;
            match guard.get_inner().0.read_events() {
                Ok(events) => {
                    let ours = |name: &Option<OsString>| name.as_ref().is_none_or(|name| *name == self.name);
                    if events.iter().any(|event| ours(&event.name)) {
                        return Ok(());
                    }
                }
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

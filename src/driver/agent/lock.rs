//! One agent per runtime directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held as long as this process works in the runtime directory.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as the file")] Flock<File>);

impl Lock {
    /// Takes the directory, making it (0700) where it is not there.
    pub fn take(runtime_dir: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(runtime_dir)
            .with_context(|| format!("making {}", runtime_dir.display()))?;
        let path = runtime_dir.join("agent.lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self(lock)),
            Err((_, Errno::EWOULDBLOCK)) => bail!(
                "{}: an agent is running with this runtime directory; stop it, or give another --runtime-dir and \
                 --containerd-namespace",
                path.display()
            ),
            Err((_, errno)) => bail!("locking {}: {errno}", path.display()),
        }
    }
}

//! The FIFOs of one exec session.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::net::unix::pipe;

use super::Wants;
use crate::server::node::Streams;

/// Our ends of the FIFOs. Dropping it removes them.
#[derive(Debug)]
pub(super) struct Fifos {
    dir: PathBuf,
    wants: Wants,
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: Option<pipe::Receiver>,
    pub(super) stderr: Option<pipe::Receiver>,
    /// Writers of our own, lest an output seems to end before the process has opened it.
    held: Vec<File>,
}

/// Makes the directory for all sessions, empty: there is none yet.
pub(in crate::server::node) fn prepare(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

impl Fifos {
    /// Makes and opens those that are wanted, in a directory of their own.
    pub(super) fn make(parent: &Path, wants: Wants) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let dir = parent.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        let mut fifos = Self { dir, wants, stdin: None, stdout: None, stderr: None, held: Vec::new() };
        if wants.stdin {
            // With a reader of our own there is no error before the process has opened it.
            let path = fifos.fifo("stdin")?;
            fifos.stdin = Some(pipe::OpenOptions::new().read_write(true).open_sender(path)?);
        }
        if wants.stdout {
            fifos.stdout = Some(fifos.output("stdout")?);
        }
        if wants.stderr {
            fifos.stderr = Some(fifos.output("stderr")?);
        }
        Ok(fifos)
    }

    fn fifo(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(path)
    }

    fn output(&mut self, name: &str) -> io::Result<pipe::Receiver> {
        let path = self.fifo(name)?;
        let receiver = pipe::OpenOptions::new().open_receiver(&path)?;
        self.held.push(File::options().read(true).write(true).open(path)?);
        Ok(receiver)
    }

    /// As the runtime is told of them.
    pub(super) fn streams(&self) -> Streams {
        let path = |wanted: bool, name: &str| wanted.then(|| self.dir.join(name));
        Streams {
            stdin: path(self.wants.stdin, "stdin"),
            stdout: path(self.wants.stdout, "stdout"),
            stderr: path(self.wants.stderr, "stderr"),
            terminal: self.wants.terminal,
        }
    }

    /// The process has opened them: an output now ends when it lets go.
    pub(super) fn started(&mut self) {
        self.held.clear();
    }
}

impl Drop for Fifos {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

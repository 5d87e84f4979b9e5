//! FIFOs, read without being emptied: `tee` copies what a pipe holds into a pipe of our own, so that only whole
//! records need ever leave it. The rest of an unfinished line waits in the FIFO itself, which outlives us.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, tee};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

/// What a FIFO is made to hold, where the kernel lets us: output that fits waits while no log process runs.
const FIFO_BYTES: i32 = 256 * 1024;

/// Most that is looked at in one turn, so that one loud container cannot keep the others waiting.
const PEEK_BYTES: usize = 128 * 1024;

/// Opens one end that is both: with a writer of our own there is never an end of file, with a reader of our own the
/// container never gets `SIGPIPE`.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let fifo = File::options()
        .read(true)
        .write(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits())
        .open(path)?;
    // A smaller pipe works as well; unprivileged users may have reached their limit.
    let _ = fcntl(&fifo, FcntlArg::F_SETPIPE_SZ(FIFO_BYTES));
    Ok(fifo)
}

/// Opens the reading end alone: it keeps what the FIFO holds, and shows when the last writer has gone.
pub(crate) fn open_reader(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).bits()).open(path)
}

/// Whether the last writer has gone; for a FIFO opened with [`open_reader`] while there was one.
pub(crate) fn has_ended(fifo: &File) -> io::Result<bool> {
    Ok(state(fifo, PollFlags::POLLIN)?.contains(PollFlags::POLLHUP))
}

/// Makes a FIFO (0600); one that is there is kept, with what it holds.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Looks into FIFOs.
#[derive(Debug)]
pub(crate) struct Peeker {
    reader: File,
    writer: OwnedFd,
    seen: Vec<u8>,
}

/// What a FIFO holds.
#[derive(Debug)]
pub(crate) struct Peek<'a> {
    /// From the oldest byte on; empty if there is nothing.
    pub(crate) output: &'a [u8],
    /// There may be more, but it cannot be seen before this is taken.
    pub(crate) crowded: bool,
}

impl Peeker {
    pub(crate) fn new() -> io::Result<Self> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)?;
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(FIFO_BYTES));
        Ok(Self { reader: reader.into(), writer, seen: vec![0; PEEK_BYTES] })
    }

    /// Looks, and takes nothing. `both_ends` says that the FIFO was opened with [`open`].
    pub(crate) fn peek(&mut self, fifo: &File, both_ends: bool) -> io::Result<Peek<'_>> {
        let count = loop {
            match tee(fifo, &self.writer, PEEK_BYTES, SpliceFFlags::SPLICE_F_NONBLOCK) {
                Ok(count) => break count,
                Err(Errno::EAGAIN) => break 0,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let crowded = count > 0 && (is_full(&self.writer)? || (both_ends && is_full(fifo)?));
        self.reader.read_exact(&mut self.seen[..count])?;
        Ok(Peek { output: &self.seen[..count], crowded })
    }
}

/// Takes bytes that were seen before and throws them away.
pub(crate) fn discard(mut fifo: &File, count: usize) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut left = count;
    while left > 0 {
        let want = left.min(buffer.len());
        left -= match fifo.read(&mut buffer[..want]) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        };
    }
    Ok(())
}

/// Whether a writer would have to wait. A pipe is full by slots as well as by bytes: short writes may fill it. The
/// end must be one that can be written to.
fn is_full(pipe: &impl AsFd) -> io::Result<bool> {
    Ok(!state(pipe, PollFlags::POLLOUT)?.contains(PollFlags::POLLOUT))
}

fn state(pipe: &impl AsFd, interest: PollFlags) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(pipe.as_fd(), interest)];
    while let Err(error) = poll(&mut fds, PollTimeout::ZERO) {
        if error != Errno::EINTR {
            return Err(error.into());
        }
    }
    Ok(fds[0].revents().unwrap_or(PollFlags::empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn looking_takes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fifo");
        make(&path).expect("makes");
        make(&path).expect("once more is fine");
        let mut fifo = open(&path).expect("opens");
        let mut peeker = Peeker::new().expect("a pipe");
        assert_eq!(peeker.peek(&fifo, true).expect("looks").output, b"");
        fifo.write_all(b"one\ntwo").expect("fits");
        for _ in 0..2 {
            let peek = peeker.peek(&fifo, true).expect("looks");
            assert_eq!(peek.output, b"one\ntwo");
            assert!(!peek.crowded);
        }
        discard(&fifo, 4).expect("takes");
        assert_eq!(peeker.peek(&fifo, true).expect("looks").output, b"two");
    }

    #[test]
    fn a_reader_alone_sees_the_last_writer_go_and_still_reads_what_it_left() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fifo");
        make(&path).expect("makes");
        let mut writer = open(&path).expect("opens");
        let reader = open_reader(&path).expect("opens");
        writer.write_all(b"the end").expect("fits");
        assert!(!has_ended(&reader).expect("polls"));
        drop(writer);
        assert!(has_ended(&reader).expect("polls"));
        let mut peeker = Peeker::new().expect("a pipe");
        assert_eq!(peeker.peek(&reader, false).expect("looks").output, b"the end");
        discard(&reader, 7).expect("takes");
        assert_eq!(peeker.peek(&reader, false).expect("looks").output, b"");
    }

    #[test]
    fn a_full_pipe_says_so() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("fifo");
        make(&path).expect("makes");
        let mut fifo = open(&path).expect("opens");
        while fifo.write(&[b'x'; 4096]).is_ok() {}
        let mut peeker = Peeker::new().expect("a pipe");
        assert!(peeker.peek(&fifo, true).expect("looks").crowded);
    }
}

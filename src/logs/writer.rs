//! The log process: one thread that sleeps in `epoll_wait` until a container writes or the agent asks for something.
//!
//! Small on purpose: it runs for as long as any container of the node does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

use super::Clock;
use super::compress::Compressor;
use super::control::{Counts, Entry, Open, Reply, Request};
use super::files::{absent_is_fine, with_suffix};
use super::format::Stream;
use super::journal::Journal;
use super::log::{Log, Tools, Turn};
use super::pipe::Peeker;
use super::tap::TAPS_MAX;

mod connection;
pub(super) mod taps;

use connection::Connection;
use taps::Taps;

/// Most control connections at a time; more are closed at once. The agent needs one, and one for each log that it
/// waits to see closed.
const MAX_CONNECTIONS: usize = 256;

/// Events taken from the kernel in one call.
const EVENTS: usize = 64;

/// A longer diary is begun anew when the log process is started.
const MAX_DIARY_BYTES: u64 = 256 * 1024;

/// What the log process says on its standard output, once, when it can be reached: by itself, or because another one
/// of this runtime directory is there already.
pub const READY: &str = "ready";

/// Why the log process ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of its own cannot be used.
    #[error("log process: {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel refused something that every kernel grants.
    #[error("log process: {0}")]
    Kernel(#[from] io::Error),
}

/// `R/logs`, the directory that belongs to the log process of runtime directory `R`.
pub fn directory(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("logs")
}

/// The control socket in [`directory`].
pub fn socket(runtime_dir: &Path) -> PathBuf {
    directory(runtime_dir).join("control.sock")
}

/// Where a detached log process writes what it has to say about itself.
pub fn diary(runtime_dir: &Path) -> PathBuf {
    directory(runtime_dir).join("log-writer.log")
}

/// Starts the log process as nobody's child, in a session of its own, and returns. It inherits standard output, on
/// which it will say [`READY`]. Its standard error goes to its [`diary`]: it shall hold no pipe of whoever
/// started us.
pub fn detach(program: &Path, runtime_dir: &Path) -> io::Result<()> {
    // Already a leader (started by hand from a shell): being in that session is as good as it gets.
    let _ = nix::unistd::setsid();
    make_private_dir(&directory(runtime_dir))?;
    let diary = File::options().append(true).create(true).mode(0o600).open(diary(runtime_dir))?;
    if diary.metadata()?.len() > MAX_DIARY_BYTES {
        diary.set_len(0)?;
    }
    Command::new(program)
        .arg("log-writer")
        .arg("--runtime-dir")
        .arg(runtime_dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(diary)
        .spawn()
        .map(drop)
}

fn make_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Runs the log process of a runtime directory until it is told to stop. Returns at once where another one runs.
pub fn run(runtime_dir: &Path, clock: Clock) -> Result<(), Error> {
    umask(Mode::from_bits_truncate(0o022));
    raise_file_limit();
    let dir = directory(runtime_dir);
    for made in [dir.clone(), dir.join("open"), dir.join("fifo")] {
        make_private_dir(&made).map_err(failed("making", &made))?;
    }
    let Some(_lock) = lock(&dir.join("lock"))? else {
        say_ready();
        return Ok(());
    };
    let listener = listen(&dir.join("control.sock"))?;
    let mut writer = Writer::start(dir, listener, clock)?;
    say_ready();
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    writer.run()
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
    move |source| Error::File { what, path: path.to_owned(), source }
}

/// Three files a container; the soft limit is often 1024.
fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%error, soft, "the limit of open files could not be raised");
    }
}

/// None where another process holds it.
fn lock(path: &Path) -> Result<Option<Flock<File>>, Error> {
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed("opening", path))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(failed("locking", path)(error.into())),
    }
}

fn listen(path: &Path) -> Result<UnixListener, Error> {
    // Whoever made it is gone: we hold the lock.
    absent_is_fine(fs::remove_file(path)).map_err(failed("removing", path))?;
    let listener = UnixListener::bind(path).map_err(failed("listening on", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed("protecting", path))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Says so, and lets go of the pipe to whoever started us.
fn say_ready() {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{READY}").and_then(|()| stdout.flush());
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(null);
    }
}

/// What an event of the kernel's is about.
#[derive(Clone, Debug)]
enum Subject {
    Listener,
    Connection,
    /// Of the log with this id.
    Tap(String),
    Fifo(String, Stream),
}

/// The token of the listener.
const LISTENER: u64 = 0;

struct Writer {
    dir: PathBuf,
    epoll: Epoll,
    listener: UnixListener,
    /// By token.
    connections: BTreeMap<u64, Connection>,
    /// By id.
    logs: BTreeMap<String, Log>,
    /// By token. A token is never used twice, so an event that comes late finds nothing.
    subjects: BTreeMap<u64, Subject>,
    next_token: u64,
    /// By id, the connections that wait for a log to be closed.
    closing: BTreeMap<String, Vec<u64>>,
    /// FIFOs that may hold something.
    ready: BTreeSet<u64>,
    tools: Tools,
    stopping: bool,
}

impl Writer {
    fn start(dir: PathBuf, listener: UnixListener, clock: Clock) -> Result<Self, Error> {
        let tools = Tools {
            clock,
            peeker: Peeker::new()?,
            journal: Journal::open(&dir).map_err(failed("opening the journal in", &dir))?,
            compressor: Compressor::default(),
            taps: Taps::default(),
            records: Vec::new(),
        };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(io::Error::from)?;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).map_err(io::Error::from)?;
        let mut writer = Self {
            dir,
            epoll,
            listener,
            connections: BTreeMap::new(),
            logs: BTreeMap::new(),
            subjects: BTreeMap::from([(LISTENER, Subject::Listener)]),
            next_token: LISTENER + 1,
            closing: BTreeMap::new(),
            ready: BTreeSet::new(),
            tools,
            stopping: false,
        };
        writer.resume()?;
        Ok(writer)
    }

    /// Takes up what an earlier log process left: its open logs, and the batch it was writing.
    fn resume(&mut self) -> Result<(), Error> {
        let table = self.dir.join("open");
        let mut paths: Vec<_> = fs::read_dir(&table)
            .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
            .map_err(failed("reading", &table))?;
        paths.sort();
        for path in paths {
            if path.extension().is_none_or(|extension| extension != "json") {
                let _ = fs::remove_file(&path);
            } else if let Err(error) = self.resume_log(&path) {
                tracing::warn!(%error, file = %path.display(), "an open log could not be taken up again");
                let _ = fs::remove_file(&path);
            }
        }
        if let Err(error) = self.finish_batch() {
            tracing::warn!(%error, "an unfinished batch of output could not be written");
            self.tools.journal.finish()?;
        }
        Ok(())
    }

    fn resume_log(&mut self, path: &Path) -> io::Result<()> {
        let spec: Open = serde_json::from_slice(&fs::read(path)?)?;
        self.add(spec)
    }

    fn finish_batch(&mut self) -> io::Result<()> {
        let Some((batch, moved)) = self.tools.journal.unfinished()? else { return Ok(()) };
        match self.logs.get_mut(&batch.id) {
            Some(log) => log.finish(&batch, moved, &mut self.tools),
            None => self.tools.journal.finish(),
        }
    }

    fn run(&mut self) -> Result<(), Error> {
        let mut events = [EpollEvent::empty(); EVENTS];
        while !self.stopping {
            let busy = !self.ready.is_empty() || !self.tools.compressor.is_idle();
            let timeout = if busy { EpollTimeout::ZERO } else { EpollTimeout::NONE };
            let count = match self.epoll.wait(&mut events, timeout) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(io::Error::from(error).into()),
            };
            for event in &events[..count] {
                self.handle(event.data());
            }
            self.write_round();
            for token in self.tools.taps.take_gone() {
                self.subjects.remove(&token);
            }
            self.tools.compressor.turn();
        }
        Ok(())
    }

    fn handle(&mut self, token: u64) {
        match self.subjects.get(&token) {
            Some(Subject::Listener) => self.accept(),
            Some(Subject::Connection) => self.serve(token),
            Some(Subject::Tap(id)) => self.tools.taps.serve(id, token),
            Some(Subject::Fifo(..)) => {
                self.ready.insert(token);
            }
            None => {}
        }
    }

    /// One turn for every FIFO that may hold something.
    fn write_round(&mut self) {
        let mut ended = Vec::new();
        for token in std::mem::take(&mut self.ready) {
            let Some(Subject::Fifo(id, stream)) = self.subjects.get(&token) else { continue };
            let Some(log) = self.logs.get_mut(id) else { continue };
            match log.turn(*stream, &mut self.tools, false) {
                Ok(Turn::Took(_)) => {
                    self.ready.insert(token);
                }
                Ok(Turn::Idle) if log.has_ended() => ended.push(id.clone()),
                Ok(Turn::Idle) => {}
                Err(error) => tracing::error!(container = id, %error, "a container's output cannot be read"),
            }
        }
        for id in ended {
            self.close(&id);
        }
    }

    fn token(&mut self, subject: Subject) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        self.subjects.insert(token, subject);
        token
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.connections.len() >= MAX_CONNECTIONS {
                tracing::warn!(
                    limit = MAX_CONNECTIONS,
                    "a control connection is refused: there are too many"
                );
                continue;
            }
            let token = self.token(Subject::Connection);
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
            if stream.set_nonblocking(true).is_ok()
                && self.epoll.add(&stream, EpollEvent::new(flags, token)).is_ok()
            {
                self.connections.insert(token, Connection::new(stream));
            } else {
                self.subjects.remove(&token);
            }
        }
    }

    /// Answers all requests that have come on a connection.
    fn serve(&mut self, token: u64) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        let mut open = connection.read();
        while let Some(line) = connection.next_line() {
            if let Ok(Request::Attach { id }) = serde_json::from_slice(&line) {
                return self.attach(&id, token, connection);
            }
            if let Some(reply) = self.answer(&line, token) {
                open &= connection.reply(&reply);
            }
        }
        open &= connection.flush();
        if open {
            self.connections.insert(token, connection);
        } else {
            self.subjects.remove(&token);
        }
    }

    /// Makes a connection a tap, or refuses and closes it.
    fn attach(&mut self, id: &str, token: u64, mut connection: Connection) {
        self.subjects.remove(&token);
        let refusal = match self.logs.contains_key(id) {
            false => Some(format!("no log {id} is open")),
            true if self.tools.taps.is_full() => Some(format!("too many taps: at most {TAPS_MAX}")),
            true => None,
        };
        if let Some(why) = refusal {
            connection.reply(&Reply::Refused { why });
            return;
        }
        let Some(log) = self.logs.get_mut(id) else { return };
        if connection.reply(&Reply::Done) {
            let unfinished = log.unfinished(&mut self.tools);
            self.tools.taps.add(id, token, connection, &unfinished);
            self.subjects.insert(token, Subject::Tap(id.to_owned()));
        }
    }

    /// None if the answer comes later.
    fn answer(&mut self, line: &[u8], connection: u64) -> Option<Reply> {
        let refused = |why: String| Reply::Refused { why };
        Some(match serde_json::from_slice(line) {
            Ok(Request::Open(spec)) => self.open(spec).map_or_else(refused, |()| Reply::Done),
            Ok(Request::Close { id, now: true }) => self.close(&id),
            Ok(Request::Close { id, now: false }) => {
                if self.end(&id) {
                    self.closing.entry(id).or_default().push(connection);
                    return None;
                }
                self.close(&id)
            }
            Ok(Request::Attach { .. }) => refused("a tap needs a connection of its own".into()),
            Ok(Request::List) => Reply::List(self.list()),
            Ok(Request::Stop) => {
                self.stopping = true;
                Reply::Done
            }
            Err(error) => refused(format!("no request: {error}")),
        })
    }

    fn open(&mut self, spec: Open) -> Result<(), String> {
        check(&spec)?;
        if let Some(log) = self.logs.get(&spec.id) {
            return if log.spec == spec {
                Ok(())
            } else {
                Err(format!("log {} is open with other paths", spec.id))
            };
        }
        let path = self.record(&spec.id);
        let id = spec.id.clone();
        remember(&path, &spec)
            .map_err(|error| format!("remembering log {id}: {}: {error}", path.display()))?;
        self.add(spec).map_err(|error| {
            let _ = fs::remove_file(&path);
            format!("opening log {id}: {error}")
        })
    }

    fn record(&self, id: &str) -> PathBuf {
        self.dir.join("open").join(format!("{id}.json"))
    }

    fn add(&mut self, spec: Open) -> io::Result<()> {
        let id = spec.id.clone();
        self.logs.insert(id.clone(), Log::open(spec)?);
        self.watch(&id)
    }

    /// Has the kernel tell of a log's FIFOs.
    fn watch(&mut self, id: &str) -> io::Result<()> {
        let Some(log) = self.logs.get(id) else { return Ok(()) };
        for (stream, fifo) in log.streams() {
            let token = self.next_token;
            self.next_token += 1;
            self.epoll.add(fifo, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, token))?;
            self.subjects.insert(token, Subject::Fifo(id.to_owned(), stream));
            self.ready.insert(token);
        }
        Ok(())
    }

    /// Lets a log end with its writers. False if there is no such log, or its end cannot be seen.
    fn end(&mut self, id: &str) -> bool {
        let Some(log) = self.logs.get_mut(id) else { return false };
        !log.end() || self.watch(id).is_ok()
    }

    /// Closes a log now, and answers whoever else waits for that.
    fn close(&mut self, id: &str) -> Reply {
        let reply = match self.try_close(id) {
            Ok(counts) => Reply::Closed(counts),
            Err(error) => Reply::Refused { why: format!("closing log {id}: {error}") },
        };
        for waiting in self.closing.remove(id).unwrap_or_default() {
            if let Some(connection) = self.connections.get_mut(&waiting)
                && !connection.reply(&reply)
            {
                self.connections.remove(&waiting);
            }
        }
        reply
    }

    fn try_close(&mut self, id: &str) -> io::Result<Option<Counts>> {
        let Some(log) = self.logs.get_mut(id) else { return Ok(None) };
        log.drain(&mut self.tools)?;
        let counts = log.counts;
        absent_is_fine(fs::remove_file(self.record(id)))?;
        self.logs.remove(id);
        self.tools.taps.end(id);
        self.subjects.retain(|_, subject| !matches!(subject, Subject::Fifo(of, _) if of == id));
        Ok(Some(counts))
    }

    fn list(&self) -> Vec<Entry> {
        let entry = |(id, log): (&String, &Log)| Entry {
            id: id.clone(),
            log: log.spec.log.clone(),
            counts: log.counts,
        };
        self.logs.iter().map(entry).collect()
    }
}

/// What the client promises.
fn check(spec: &Open) -> Result<(), String> {
    let id = &spec.id;
    if id.is_empty() || id.len() > 200 || id.starts_with('.') || id.contains(['/', '\0']) {
        return Err(format!("id {id:?}: expected a file name of at most 200 bytes"));
    }
    let paths = [Some(&spec.log), Some(&spec.stdout), spec.stderr.as_ref(), spec.link.as_ref()];
    if let Some(path) = paths.into_iter().flatten().find(|path| !path.is_absolute()) {
        return Err(format!("log {id}: path {}: expected an absolute path", path.display()));
    }
    if spec.rotation.max_files < 2 {
        return Err(format!("log {id}: rotation.max_files {}: expected at least 2", spec.rotation.max_files));
    }
    Ok(())
}

/// There is a whole record or none, whenever we are killed.
fn remember(path: &Path, spec: &Open) -> io::Result<()> {
    let unfinished = with_suffix(path, ".tmp");
    fs::write(&unfinished, serde_json::to_vec(spec)?)?;
    fs::rename(unfinished, path)
}

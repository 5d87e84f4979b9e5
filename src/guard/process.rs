//! The guard process: one thread that sleeps until somebody asks, a deadline passes, or a fenced cgroup stirs.
//!
//! Small on purpose: it is started with bare arguments, before anything of the program's larger parts is touched, and
//! rehearses a fence once, so that all it will ever need is in memory and locked there.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timer::{Expiration, TimerSetTimeFlags};
use nix::sys::timerfd::{ClockId, TimerFd, TimerFlags};

use super::frame::checksum;
use super::message::{Reply, Request};
use super::table::Table;
use super::{Clock, directory, socket};
use crate::cgroup::{Cgroups, Driver, Fenced};
use crate::lease::fence::FenceLevel;
use crate::lease::fence::watch::{Entry, Overdue, Standing, Watch};
use crate::time::Instant;
use crate::volumes::mounts;

mod connection;

use connection::{CONNECTIONS_MAX, Connection};

/// The first argument with which the program becomes the guard; the others are those of [`Options`], bare.
pub const ARGUMENT: &str = "guard-process";
/// What the guard says on its standard output, once, when it can be reached.
pub const READY: &str = "ready";
/// Writing `b` here resets the machine at once.
pub const RESET_TRIGGER: &str = "/proc/sysrq-trigger";
/// From one round of killing to the next.
const ROUND: Duration = Duration::from_millis(2);
/// How often fenced cgroups are looked at where nothing tells of their becoming populated.
const LOOK: Duration = Duration::from_secs(1);
/// What is killed is gone in milliseconds, or waits for something.
const STUCK: Duration = Duration::from_millis(100);
/// How long the rehearsal of a fence may take.
const REHEARSAL: Duration = Duration::from_secs(1);

/// How a guard is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `R`.
    pub runtime_dir: PathBuf,
    /// Usually [`RESET_TRIGGER`].
    pub reset_trigger: PathBuf,
}

impl Options {
    /// As arguments of the program.
    pub fn arguments(&self) -> [&std::ffi::OsStr; 3] {
        [ARGUMENT.as_ref(), self.runtime_dir.as_os_str(), self.reset_trigger.as_os_str()]
    }

    /// From the arguments of the program, its own name aside; none if it was not started as the guard.
    pub fn of_arguments(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> Option<Self> {
        arguments.next().filter(|first| first == ARGUMENT)?;
        Some(Self { runtime_dir: arguments.next()?.into(), reset_trigger: arguments.next()?.into() })
    }
}

/// Why the guard ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of its own cannot be used.
    #[error("guard: {what} {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another guard watches over this runtime directory.
    #[error("guard: another one runs with this table: {} is locked", .0.display())]
    Locked(PathBuf),
    /// The kernel refused something that every kernel grants.
    #[error("guard: {0}")]
    Kernel(#[from] Errno),
    /// No cgroups, no fence.
    #[error("guard: {0}")]
    Cgroup(#[from] crate::cgroup::CgroupError),
    /// It was told to stop and something could not be killed.
    #[error("guard: stopped with something still alive: {0}")]
    Alive(String),
}

/// Tells a program from another one under the same path.
pub fn program_number(program: &Path) -> u64 {
    let Ok(found) = fs::metadata(program) else { return 0 };
    let facts = [found.dev(), found.ino(), found.mtime() as u64, found.mtime_nsec() as u64, found.size()];
    checksum(&facts.map(u64::to_le_bytes).concat())
}

fn say(text: std::fmt::Arguments<'_>) {
    // Whoever started it may have gone, and its pipes with it.
    let _ = writeln!(io::stderr(), "leasehold guard: {text}");
}

/// Runs the guard until it is told to stop.
pub fn run(options: &Options, clock: Clock) -> Result<(), Error> {
    let dir = directory(&options.runtime_dir);
    DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed("making", &dir))?;
    let _lock = lock(&dir.join("lock"))?;
    let mut guard = Guard::start(options, clock)?;
    guard.rehearse();
    hold_on_to_memory();
    let _ = writeln!(io::stdout(), "{READY}");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    guard.run()
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
    move |source| Error::File { what, path: path.to_owned(), source }
}

fn lock(path: &Path) -> Result<Flock<File>, Error> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path);
    match Flock::lock(file.map_err(failed("opening", path))?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, Errno::EWOULDBLOCK)) => Err(Error::Locked(path.to_owned())),
        Err((_, errno)) => Err(Error::Kernel(errno)),
    }
}

/// What is here stays here, and what will be needed stays once it is: the whole program would be too much.
fn hold_on_to_memory() {
    let on_fault = MlockAllFlags::from_bits_retain(nix::libc::MCL_ONFAULT);
    if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault) {
        say(format_args!("its memory cannot be locked: {error}"));
    }
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "-999") {
        say(format_args!("it is not spared when memory is short: {error}"));
    }
}

struct Guard {
    options: Options,
    /// The program, by the path it was started from.
    program: PathBuf,
    program_number: u64,
    clock: Clock,
    watch: Watch,
    table: Table,
    cgroups: Cgroups,
    level: FenceLevel,
    listener: UnixListener,
    connections: Vec<Connection>,
    timer: TimerFd,
    signals: SignalFd,
    stirs: Inotify,
    watched: BTreeMap<String, WatchDescriptor>,
    /// By UID: network mounts that are being taken away; true when that is over.
    unmounting: BTreeMap<String, Arc<AtomicBool>>,
    stopping: bool,
    /// systemd wants to hear of it this often.
    heartbeat: Option<Duration>,
}

impl Guard {
    fn start(options: &Options, clock: Clock) -> Result<Self, Error> {
        let dir = directory(&options.runtime_dir);
        let path = dir.join("table");
        let (table, damaged) = Table::open(&path).map_err(failed("reading", &path))?;
        if damaged > 0 {
            say(format_args!("{damaged} lines of {} are damaged: their Pods are not fenced", path.display()));
        }
        let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        signals.thread_block()?;
        let own = Path::new("/proc/self/exe");
        let mut guard = Self {
            options: options.clone(),
            program: fs::read_link(own).map_err(failed("reading", own))?,
            program_number: program_number(own),
            clock,
            watch: Watch::recall(table.entries().cloned()),
            table,
            cgroups: Cgroups::detect(Path::new("/sys/fs/cgroup"), Driver::of_machine())?,
            level: FenceLevel::None,
            listener: listen(&socket(&options.runtime_dir))?,
            connections: Vec::new(),
            timer: TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?,
            signals: SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
            stirs: Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?,
            watched: BTreeMap::new(),
            unmounting: BTreeMap::new(),
            stopping: false,
            heartbeat: sd_notify::watchdog_enabled().map(|patience| patience / 3),
        };
        guard.listen_to_fenced();
        Ok(guard)
    }

    /// Fences a cgroup of its own: whether that works is the least of what this guard can promise.
    fn rehearse(&mut self) {
        let uid = format!("guard-{}", std::process::id());
        let fenced = self.cgroups.fence(&uid, REHEARSAL).and_then(|()| self.cgroups.thaw(&uid, REHEARSAL));
        let _ = self.cgroups.remove(&uid);
        let _ = mounts::network_below(Path::new("/"));
        self.level = match fenced {
            Ok(()) if OpenOptions::new().write(true).open(&self.options.reset_trigger).is_ok() => {
                FenceLevel::Reset
            }
            Ok(()) => FenceLevel::Kill,
            Err(error) => {
                say(format_args!("fencing does not work here: {error}"));
                FenceLevel::None
            }
        };
    }

    fn run(&mut self) -> Result<(), Error> {
        loop {
            let now = (self.clock)();
            self.pass(now);
            if self.stopping && self.watch.due().next().is_none() {
                self.connections.iter_mut().for_each(Connection::answer_stop);
                return Ok(());
            }
            if self.heartbeat.is_some() {
                let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            }
            self.set_timer(now)?;
            let ready = self.sleep()?;
            self.stirred(&ready);
            self.obey_signals();
            self.converse(&ready);
        }
    }

    /// What is due by now is killed, and what was killed is looked at.
    fn pass(&mut self, now: Instant) {
        self.watch.pass(now);
        let due: Vec<Entry> = self.watch.due().cloned().collect();
        for entry in due {
            self.fence(&entry);
        }
        self.keep();
        for (uid, overdue) in self.watch.overdue((self.clock)()) {
            self.overdue(&uid, overdue);
        }
    }

    fn fence(&mut self, entry: &Entry) {
        let uid = &entry.charge.uid;
        let Standing::Due { since, .. } = entry.standing else { return };
        match self.cgroups.fence_once(uid) {
            Ok(Fenced::Yes) => {}
            // What waits for a server that is silent dies when its mount is forced off.
            Ok(Fenced::NotYet(_)) if (self.clock)() >= since + STUCK => {
                self.is_off_network(entry);
                return;
            }
            Ok(Fenced::NotYet(_)) => return,
            Err(error) => return say(format_args!("Pod {uid}: {error}")),
        }
        if !self.is_off_network(entry) {
            return;
        }
        self.watch.seen_empty(uid);
        let took = (self.clock)().saturating_since(since);
        say(format_args!("Pod {uid} is fenced, {} us after it was due", took.as_micros()));
        self.listen_to_fenced();
    }

    /// Whether nothing of the Pod is mounted from the network any more. It may take for ever, and so is done aside.
    fn is_off_network(&mut self, entry: &Entry) -> bool {
        let dir = Path::new(&entry.charge.dir);
        if entry.charge.dir.is_empty() || mounts::network_below(dir).is_ok_and(|found| found.is_empty()) {
            self.unmounting.remove(&entry.charge.uid);
            return true;
        }
        let running =
            self.unmounting.get(&entry.charge.uid).is_some_and(|over| !over.load(Ordering::Acquire));
        if !running {
            let (over, dir) = (Arc::new(AtomicBool::new(false)), dir.to_owned());
            self.unmounting.insert(entry.charge.uid.clone(), over.clone());
            std::thread::spawn(move || {
                if let Err(error) = mounts::force_off_network(&dir) {
                    say(format_args!("network mounts below {}: {error}", dir.display()));
                    // It is tried again, not at once.
                    let _ = poll(&mut [], PollTimeout::from(50_u8));
                }
                over.store(true, Ordering::Release);
            });
        }
        false
    }

    fn overdue(&self, uid: &str, overdue: Overdue) {
        say(format_args!("Pod {uid} cannot be killed: something is stuck in the kernel"));
        if overdue == Overdue::Reset {
            say(format_args!("resetting the machine"));
            let trigger = OpenOptions::new().write(true).open(&self.options.reset_trigger);
            if let Err(error) = trigger.and_then(|mut file| io::Write::write_all(&mut file, b"b")) {
                say(format_args!("{}: {error}", self.options.reset_trigger.display()));
            }
        }
    }

    /// The table says what is known. What cannot be kept is tried again, and told to whoever asked.
    fn keep(&mut self) -> bool {
        let kept = self.table.keep(&self.watch);
        if let Err(error) = &kept {
            say(format_args!("its table cannot be written: {error}"));
        }
        kept.is_ok()
    }

    /// Watches the cgroups that are fenced, and no others.
    fn listen_to_fenced(&mut self) {
        let fenced: Vec<String> = self.watch.fenced().map(|entry| entry.charge.uid.clone()).collect();
        self.watched.retain(|uid, watched| {
            let stays = fenced.contains(uid);
            if !stays {
                let _ = self.stirs.rm_watch(*watched);
            }
            stays
        });
        for uid in fenced {
            if self.watched.contains_key(&uid) {
                continue;
            }
            let file = self.cgroups.events_file(&uid);
            // Where there is none, or the cgroup is gone, the slow look has to do.
            let watched = file.and_then(|file| self.stirs.add_watch(&file, AddWatchFlags::IN_MODIFY).ok());
            self.watched.extend(watched.map(|watched| (uid, watched)));
        }
    }

    fn set_timer(&self, now: Instant) -> Result<(), Errno> {
        let round = self.watch.due().next().map(|_| now + ROUND);
        let look = self.watch.fenced().next().map(|_| now + LOOK);
        let heartbeat = self.heartbeat.map(|heartbeat| now + heartbeat);
        let next = [self.watch.next_deadline(), round, look, heartbeat].into_iter().flatten().min();
        let Some(next) = next else { return self.timer.unset() };
        // A time of zero would mean never.
        let at = next.max(now + Duration::from_nanos(1)).since_boot();
        self.timer.set(Expiration::OneShot(at.into()), TimerSetTimeFlags::TFD_TIMER_ABSTIME)
    }

    /// Sleeps, and says which of timer, signals, stirs, listener and connections have something.
    fn sleep(&self) -> Result<Vec<bool>, Errno> {
        let own = [self.timer.as_fd(), self.signals.as_fd(), self.stirs.as_fd(), self.listener.as_fd()];
        let all = own.into_iter().chain(self.connections.iter().map(Connection::fd));
        let mut fds: Vec<PollFd> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        Ok(fds.iter().map(|fd| fd.any().unwrap_or(true)).collect())
    }

    fn stirred(&mut self, ready: &[bool]) {
        if ready[0] {
            // It does not block; what it counts does not matter.
            let _ = self.timer.wait();
        }
        if ready[2] {
            let _ = self.stirs.read_events();
        }
        if ready[0] || ready[2] {
            let fenced: Vec<String> = self.watch.fenced().map(|entry| entry.charge.uid.clone()).collect();
            for uid in fenced {
                if self.cgroups.is_populated(&uid).unwrap_or(true) {
                    self.watch.seen_populated(&uid, (self.clock)());
                }
            }
        }
    }

    fn obey_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            if signal.ssi_signo == Signal::SIGHUP as u32 {
                let program = self.program.clone();
                say(format_args!("upgrade: {}", self.upgrade(&program)));
            } else {
                self.stop();
            }
        }
    }

    fn converse(&mut self, ready: &[bool]) {
        let mut connections = std::mem::take(&mut self.connections);
        let mut number = 4;
        connections.retain_mut(|connection| {
            number += 1;
            !ready[number - 1] || connection.converse(|request| self.answer(request))
        });
        if ready[3] {
            while let Ok((stream, _)) = self.listener.accept() {
                connections.extend(Connection::new(stream).filter(|_| connections.len() < CONNECTIONS_MAX));
            }
        }
        self.connections = connections;
    }

    fn answer(&mut self, request: Request) -> Vec<Reply> {
        let now = (self.clock)();
        let refused = match request {
            Request::Hello => return vec![Reply::Hello { level: self.level, program: self.program_number }],
            Request::Status => {
                let entries = self.watch.entries().cloned().map(Reply::Entry);
                return entries.chain([Reply::Done]).collect();
            }
            Request::Upgrade(program) => {
                return vec![Reply::Refused(self.upgrade(Path::new(&program)).to_string())];
            }
            // Answered when it is done.
            Request::Stop => {
                self.stop();
                return Vec::new();
            }
            Request::Arm(charge) => self.watch.arm(charge, now).err(),
            Request::Renew { session, deadline } => {
                self.watch.renew(session, deadline, now);
                None
            }
            Request::Disarm(uid) => self.watch.disarm(&uid, now).err(),
            Request::Fence(uid) => {
                self.watch.fence(uid.as_deref(), now);
                None
            }
        };
        self.listen_to_fenced();
        match refused {
            Some(refused) => vec![Reply::Refused(refused.to_string())],
            None if self.keep() => vec![Reply::Done],
            None => vec![Reply::Refused("the guard's table cannot be written".to_owned())],
        }
    }

    fn stop(&mut self) {
        say(format_args!("told to stop: fencing all Pods first"));
        self.stopping = true;
        self.watch.fence(None, (self.clock)());
    }

    /// Goes on as another program, which finds the table. Returns only where that fails.
    fn upgrade(&mut self, program: &Path) -> io::Error {
        if !self.keep() {
            return io::Error::other("the table cannot be written");
        }
        say(format_args!("going on as {}", program.display()));
        Command::new(program).args(self.options.arguments()).exec()
    }
}

fn listen(path: &Path) -> Result<UnixListener, Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("removing", path)(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("binding", path))?;
    let private = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    private.and_then(|()| listener.set_nonblocking(true)).map_err(failed("preparing", path))?;
    Ok(listener)
}

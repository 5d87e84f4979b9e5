//! A guard of the test's own, with a Pod's cgroup to watch over.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant as Clock};

use leasehold::cgroup::{Cgroups, Driver, limits::Limits};
use leasehold::driver::clock;
use leasehold::guard::client::{self, Link};
use leasehold::guard::message::{Reply, Request};
use leasehold::guard::process::Options;
use leasehold::lease::fence::FenceLevel;
use leasehold::lease::fence::watch::{Charge, Entry, Standing};
use leasehold::time::Instant;

use crate::support::unique;

/// How long anything may take on a machine that does other work too.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_leasehold"))
}

/// Waits until something is so.
pub fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let start = Clock::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The guard of this runtime directory, by its process id; it holds the lock.
pub fn guard_pid(runtime_dir: &Path) -> Option<u32> {
    let wanted = format!("guard-process\0{}\0", runtime_dir.display());
    let own = |entry: &std::fs::DirEntry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&wanted))
    };
    let entry = std::fs::read_dir("/proc").ok()?.flatten().find(own)?;
    entry.file_name().to_str()?.parse().ok()
}

pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "{name} to {pid}");
}

/// See the module's documentation. Everything is ended and removed with it.
pub struct Bed {
    pub dir: tempfile::TempDir,
    pub cgroups: Cgroups,
    pub uid: String,
    children: Vec<Child>,
}

impl Bed {
    /// None (with the reason printed) where this machine cannot.
    pub fn start() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: a guard needs root");
            return None;
        }
        let cgroups = Cgroups::detect(Path::new("/sys/fs/cgroup"), Driver::Cgroupfs).expect("cgroups");
        let uid = unique("guarded");
        cgroups.create(&uid, &Limits::default()).expect("made");
        let bed = Self { dir: tempfile::tempdir().expect("made"), cgroups, uid, children: Vec::new() };
        bed.boot();
        Some(bed)
    }

    pub fn options(&self) -> Options {
        Options { runtime_dir: self.dir.path().join("run"), reset_trigger: self.dir.path().join("trigger") }
    }

    /// Starts the guard (again).
    pub fn boot(&self) {
        std::fs::write(self.dir.path().join("trigger"), "").expect("writable");
        client::start(program(), &self.options()).expect("the guard starts");
    }

    pub fn pid(&self) -> Option<u32> {
        guard_pid(&self.options().runtime_dir)
    }

    pub fn link(&self) -> Link {
        Link::connect(&self.options().runtime_dir).expect("the guard listens")
    }

    pub fn ask(&self, request: &Request) -> Reply {
        self.link().call(request).expect("the guard answers")
    }

    pub fn diary(&self) -> String {
        std::fs::read_to_string(leasehold::guard::diary(&self.options().runtime_dir)).unwrap_or_default()
    }

    pub fn charge(&self, after: Duration) -> Charge {
        Charge {
            uid: self.uid.clone(),
            dir: String::new(),
            session: 1,
            deadline: clock::now() + after,
            margin: Duration::from_secs(2),
            level: FenceLevel::Kill,
        }
    }

    /// Has the guard watch over the Pod; the deadline.
    pub fn arm(&self, after: Duration) -> Instant {
        let charge = self.charge(after);
        assert_eq!(self.ask(&Request::Arm(charge.clone())), Reply::Done);
        charge.deadline
    }

    /// What the guard says of the Pod. One that goes on as another program drops its connections.
    pub fn entry(&self) -> Option<Entry> {
        let entries = Link::connect(&self.options().runtime_dir).ok()?.status().ok()?;
        entries.into_iter().find(|entry| entry.charge.uid == self.uid)
    }

    pub fn is_fenced(&self) -> bool {
        self.entry().is_some_and(|entry| entry.standing == Standing::Fenced)
    }

    /// Runs a script in the Pod; none of it runs before it has joined.
    pub fn run(&mut self, script: &str) -> u32 {
        let mut child = Command::new("sh")
            .args(["-c", &format!("read word; {script}")])
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let pid = child.id();
        self.join(pid);
        // Where the Pod is fenced it is dead already, and does not hear.
        let _ = std::io::Write::write_all(&mut child.stdin.take().expect("piped"), b"go\n");
        self.children.push(child);
        pid
    }

    /// Puts a process into the Pod's cgroup in every tree.
    pub fn join(&self, pid: u32) {
        let path = self.cgroups.pod(&self.uid).path;
        let trees = std::fs::read_dir("/sys/fs/cgroup").expect("readable").flatten().map(|tree| tree.path());
        let mut dirs: Vec<PathBuf> = trees.chain(["/sys/fs/cgroup".into()]).collect();
        dirs.retain(|tree| tree.join(&path[1..]).is_dir());
        // The v2 tree last, as the runtime does.
        dirs.sort_by_key(|tree| tree.ends_with("unified"));
        for tree in dirs {
            std::fs::write(tree.join(&path[1..]).join("cgroup.procs"), pid.to_string()).expect("joined");
        }
    }

    /// The signal that ended the newest process.
    pub fn ended_by(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt as _;
        self.children.pop().expect("it was started").wait().expect("our child").signal()
    }

    pub fn runs(&mut self) -> bool {
        self.children.last_mut().expect("it was started").try_wait().expect("our child").is_none()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.diary());
        }
        if let Some(pid) = self.pid() {
            signal(pid, "KILL");
        }
        let _ = self.cgroups.kill_all(&self.uid, PATIENCE);
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.cgroups.remove(&self.uid);
    }
}

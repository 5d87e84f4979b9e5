//! A containerd of the test's own: root, state and socket in a temporary directory.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::Traces;

/// How long containerd may take to boot, on a machine that does other work too.
const BOOT_TIMEOUT: Duration = Duration::from_mins(1);

/// A name no other test of this machine uses now: containerd namespaces, container ids and cgroups are known to runc
/// and the shims by name, machine-wide.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A running containerd. When it is dropped, or the test's process ends in any way, everything it started is killed
/// and its directory unmounted and removed.
pub struct Containerd {
    dir: PathBuf,
    namespace: String,
    server: Option<Child>,
    reaper: Child,
    reaper_input: Option<ChildStdin>,
}

impl Containerd {
    /// Starts one; none (with the reason printed) where this machine cannot run it.
    pub fn start() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: containerd needs root");
            return None;
        }
        for program in ["containerd", "containerd-shim-runc-v2", "runc"] {
            if !on_path(program) {
                eprintln!("skipped: {program} is not installed");
                return None;
            }
        }
        let dir = tempfile::Builder::new().prefix("lh-").tempdir().expect("a temporary directory").keep();
        fs::write(dir.join("config.toml"), config(&dir)).expect("writable");
        let namespace = unique("t");
        let (reaper, reaper_input) = reaper(&dir, &namespace);
        let mut started = Self { dir, namespace, server: None, reaper, reaper_input: Some(reaper_input) };
        started.boot();
        Some(started)
    }

    /// The socket.
    pub fn address(&self) -> PathBuf {
        self.dir.join("c.sock")
    }

    /// A containerd namespace of this instance alone.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A directory for the test's own files; removed with the instance.
    pub fn scratch(&self, name: &str) -> PathBuf {
        let dir = self.dir.join("scratch").join(name);
        fs::create_dir_all(&dir).expect("creatable");
        dir
    }

    /// Where containerd keeps its content, snapshots and database.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// What containerd has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// By what the bed's own can be told from others': containerd itself may be there.
    pub fn traces(&self) -> Traces {
        let mut traces = Traces {
            dir: self.dir.clone(),
            namespace: self.namespace.clone(),
            uids: BTreeSet::new(),
            except: self.server.iter().chain([&self.reaper]).map(Child::id).collect(),
        };
        traces.note_pods();
        traces
    }

    /// Whether it has not been killed.
    pub fn is_up(&self) -> bool {
        self.server.is_some()
    }

    /// `kill -9`; shims and containers run on.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("it is our child");
            server.wait().expect("it is our child");
        }
    }

    /// Starts it (again) and waits until it serves.
    pub fn boot(&mut self) {
        let mut server = Command::new("containerd")
            .arg("--config")
            .arg(self.dir.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("containerd starts");
        fs::write(self.dir.join("containerd.pid"), server.id().to_string()).expect("writable");
        let stderr = server.stderr.take().expect("piped");
        self.server = Some(server);
        let booted = follow(stderr, &self.dir.join("log"));
        assert!(booted.recv_timeout(BOOT_TIMEOUT).is_ok(), "containerd did not boot:\n{}", self.log());
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let mut traces = self.traces();
        drop(self.reaper_input.take());
        let _ = self.reaper.wait();
        if let Some(mut server) = self.server.take() {
            let _ = server.wait();
        }
        traces.assert_none();
    }
}

/// Whether a program is installed.
pub fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn reaper(dir: &Path, namespace: &str) -> (Child, ChildStdin) {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(include_str!("reaper.sh"))
        .arg("reaper")
        .arg(dir)
        .arg(namespace)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("sh starts");
    let input = child.stdin.take().expect("piped");
    (child, input)
}

/// Copies the server's log to a file; says once when it serves.
fn follow(stderr: ChildStderr, log: &Path) -> mpsc::Receiver<()> {
    let (booted, ready) = mpsc::channel();
    let mut file = fs::File::options().create(true).append(true).open(log).expect("writable");
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = writeln!(file, "{line}");
            if line.contains("containerd successfully booted") {
                let _ = booted.send(());
            }
        }
    });
    ready
}

fn config(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
]
[grpc]
  address = "{dir}/c.sock"
[ttrpc]
  address = "{dir}/t.sock"
"#
    )
}

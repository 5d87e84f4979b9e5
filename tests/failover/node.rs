//! A node beside the coordinator: an agent with a containerd of its own, and a way to the coordinator that can be cut.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::proxy::Proxy;
use crate::support::{Containerd, Up};

/// What may befall a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between its agent and the coordinator.
    Partition,
    /// Its agent hangs.
    Stop,
    /// Its agent is killed.
    Kill,
}

pub struct Node {
    pub name: String,
    dir: PathBuf,
    arguments: Vec<String>,
    process: Option<Child>,
    pub proxy: Proxy,
    containerd: Containerd,
}

pub fn leasehold(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.args(args).stdin(Stdio::null());
    command
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "{name} to {pid}");
}

impl Node {
    /// Joins the coordinator of `up` by a token.
    pub fn join(up: &Up, name: &str, flags: &[&str]) -> Option<Self> {
        let containerd = Containerd::start()?;
        let dir = containerd.scratch(name);
        let (address, namespace) =
            (containerd.address().to_string_lossy().into_owned(), containerd.namespace().to_owned());
        let runtime = ["--containerd-address", &address, "--containerd-namespace", &namespace];
        let archive = up.dir.join("busybox.tar").to_string_lossy().into_owned();
        let imported = leasehold(&["image", "import", &archive]).args(runtime).output().expect("runs");
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
        let kubeconfig = up.kubeconfig().to_string_lossy().into_owned();
        let token = leasehold(&["token", "create", "--kubeconfig", &kubeconfig]).output().expect("runs");
        let invitation = String::from_utf8(token.stdout).expect("text");
        let mut arguments: Vec<String> = invitation.split_whitespace().skip(1).map(str::to_owned).collect();
        let at = arguments.iter().position(|word| word == "--coordinator").expect("it says where") + 1;
        let coordinator: SocketAddr =
            arguments[at].trim_start_matches("https://").parse().expect("an address of loopback");
        let proxy = Proxy::start(coordinator);
        arguments[at] = format!("https://{}", proxy.address);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let node_listen = format!("127.0.0.1:{port}");
        let own = [
            ["--data-dir", &path("data")],
            ["--node-name", name],
            ["--node-ip", "127.0.0.1"],
            ["--node-listen", &node_listen],
            ["--kubeconfig", &path("none")],
            ["--runtime-dir", &path("run")],
            ["--log-dir", &path("log")],
            ["--cni-conf-dir", &path("cni")],
            ["--pressure-thresholds", ""],
            [runtime[0], runtime[1]],
            [runtime[2], runtime[3]],
        ];
        arguments.extend(own.iter().flatten().map(|word| (*word).to_owned()));
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let mut node = Self { name: name.to_owned(), dir, arguments, process: None, proxy, containerd };
        node.boot();
        Some(node)
    }

    /// Starts the agent (again).
    pub fn boot(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("log.txt"));
        let mut process = leasehold(&[])
            .args(&self.arguments)
            .env(
                "LEASEHOLD_LOG",
                "debug,h2=info,hyper=info,rustls=info,tower=info,hyper_util=info,reqwest=info,kube=info",
            )
            .stdout(Stdio::piped())
            .stderr(log.expect("writable"))
            .spawn()
            .expect("leasehold starts");
        let mut line = String::new();
        let _ = BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line);
        self.process = Some(process);
        assert!(line.contains("is ready"), "not ready: {line:?}\n{}", self.log());
    }

    /// The end of what the agent has logged.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("log.txt")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn pid(&self) -> u32 {
        self.process.as_ref().expect("started").id()
    }

    pub fn suffer(&mut self, fault: Fault) {
        match fault {
            Fault::Partition => self.proxy.cut(),
            Fault::Stop => signal(self.pid(), "STOP"),
            Fault::Kill => self.kill(),
        }
    }

    pub fn recover(&mut self, fault: Fault) {
        match fault {
            Fault::Partition => self.proxy.heal(),
            Fault::Stop => signal(self.pid(), "CONT"),
            Fault::Kill => self.boot(),
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is our child");
            process.wait().expect("it is our child");
        }
    }

    /// Tasks that run in its containerd.
    pub fn running(&self) -> usize {
        let listed = Command::new("ctr")
            .args(["--address", &self.containerd.address().to_string_lossy()])
            .args(["--namespace", self.containerd.namespace(), "tasks", "ls"])
            .output()
            .expect("ctr runs");
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        String::from_utf8_lossy(&listed.stdout).lines().filter(|line| line.contains("RUNNING")).count()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.log());
        }
        self.kill();
        let path = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let mut traces = self.containerd.traces();
        let reset =
            leasehold(&["reset", "--yes", "--data-dir", &path("data"), "--runtime-dir", &path("run")])
                .args(["--log-dir", &path("log"), "--containerd-namespace", self.containerd.namespace()])
                .args(["--containerd-address", &self.containerd.address().to_string_lossy()])
                .output()
                .expect("runs");
        if !reset.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&reset.stderr));
        }
        std::thread::sleep(Duration::from_millis(50));
        traces.assert_none();
    }
}

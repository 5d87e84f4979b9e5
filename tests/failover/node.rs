//! A node beside the coordinator: an agent with a containerd of its own, and a way to the coordinator that can be cut.

use std::process::{Child, Command};
use std::time::Duration;

use crate::proxy::Proxy;
use crate::support::{Invited, Up, leasehold};

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
    invited: Invited,
    process: Option<Child>,
    pub proxy: Proxy,
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "{name} to {pid}");
}

impl Node {
    /// Joins the coordinator of `up` by a token.
    pub fn join(up: &Up, name: &str, flags: &[&str]) -> Option<Self> {
        let mut invited = Invited::to(up, name, flags)?;
        let arguments = &mut invited.arguments;
        let at = arguments.iter().position(|word| word == "--coordinator").expect("it says where") + 1;
        let coordinator =
            arguments[at].trim_start_matches("https://").parse().expect("an address of loopback");
        let proxy = Proxy::start(coordinator);
        arguments[at] = format!("https://{}", proxy.address);
        let mut node = Self { name: name.to_owned(), invited, process: None, proxy };
        node.boot();
        Some(node)
    }

    /// Starts the agent (again).
    pub fn boot(&mut self) {
        self.process = Some(self.invited.start());
    }

    /// The end of what the agent has logged.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.invited.dir.join("log.txt")).unwrap_or_default();
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
            .args(["--address", &self.invited.containerd.address().to_string_lossy()])
            .args(["--namespace", self.invited.containerd.namespace(), "tasks", "ls"])
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
        let path = |name: &str| self.invited.dir.join(name).to_string_lossy().into_owned();
        let mut traces = self.invited.containerd.traces();
        let reset =
            leasehold(&["reset", "--yes", "--data-dir", &path("data"), "--runtime-dir", &path("run")])
                .args([
                    "--log-dir",
                    &path("log"),
                    "--containerd-namespace",
                    self.invited.containerd.namespace(),
                ])
                .args(["--containerd-address", &self.invited.containerd.address().to_string_lossy()])
                .output()
                .expect("runs");
        if !reset.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&reset.stderr));
        }
        std::thread::sleep(Duration::from_millis(50));
        traces.assert_none();
    }
}

//! A second node: an agent and a containerd of its own, joined to the coordinator of an [`Up`].

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{Containerd, Up};

/// See the module.
pub struct Second {
    /// Its agent.
    pub process: Child,
    /// What its containers run on.
    pub containerd: Containerd,
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// This program.
pub fn leasehold(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.args(args).stdin(Stdio::null());
    command
}

impl Second {
    /// Joins by invitation. None (with the reason printed) where this machine cannot.
    pub fn join(up: &Up, name: &str, flags: &[&str]) -> Option<Self> {
        let invited = Invited::to(up, name, flags)?;
        Some(Self { process: invited.start(), containerd: invited.containerd })
    }
}

/// A node that may join: its containerd, and what its agent is started with.
pub struct Invited {
    /// What its containers run on.
    pub containerd: Containerd,
    /// Where all of it is, `log.txt` among it.
    pub dir: PathBuf,
    /// The words of the command line.
    pub arguments: Vec<String>,
}

impl Invited {
    /// None (with the reason printed) where this machine cannot.
    pub fn to(up: &Up, name: &str, flags: &[&str]) -> Option<Self> {
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
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a port").port();
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let mut arguments: Vec<String> = invitation.split_whitespace().skip(1).map(str::to_owned).collect();
        let own = [
            ["--data-dir", &path("data"), "--node-name", name, "--node-ip", "127.0.0.1"],
            [
                "--node-listen",
                &format!("127.0.0.1:{port}"),
                "--kubeconfig",
                &path("none"),
                "--pressure-thresholds",
                "",
            ],
            ["--runtime-dir", &path("run"), "--log-dir", &path("log"), "--cni-conf-dir", &path("cni")],
        ];
        let own = own.iter().flatten().chain(&runtime).chain(flags);
        arguments.extend(own.map(|word| (*word).to_owned()));
        Some(Self { containerd, dir, arguments })
    }

    /// Starts the agent (again), and waits until it is ready.
    pub fn start(&self) -> Child {
        let log = File::options().create(true).append(true).open(self.dir.join("log.txt"));
        let mut process = leasehold(&[])
            .args(&self.arguments)
            .stdout(Stdio::piped())
            .stderr(log.expect("writable"))
            .spawn()
            .expect("leasehold starts");
        let mut line = String::new();
        let _ = BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line);
        if !line.contains("is ready") {
            let _ = process.kill();
            let _ = process.wait();
            panic!(
                "not ready: {line:?}\n{}",
                std::fs::read_to_string(self.dir.join("log.txt")).unwrap_or_default()
            );
        }
        process
    }
}

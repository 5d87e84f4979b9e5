//! A second node: an agent and a containerd of its own, joined to the coordinator of an [`Up`].

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
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
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let path = |name: &str| dir.join(name).to_string_lossy().into_owned();
        let log = std::fs::File::create(dir.join("log.txt")).expect("writable");
        let mut process = leasehold(&[])
            .args(invitation.split_whitespace().skip(1))
            .args(["--data-dir", &path("data"), "--node-name", name, "--node-ip", "127.0.0.1"])
            .args(["--node-listen", &format!("127.0.0.1:{port}"), "--kubeconfig", &path("none")])
            .args(["--runtime-dir", &path("run"), "--log-dir", &path("log"), "--cni-conf-dir", &path("cni")])
            .args(["--pressure-thresholds="])
            .args(runtime)
            .args(flags)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("leasehold starts");
        let mut line = String::new();
        let _ = BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line);
        let second = Self { process, containerd };
        let log = std::fs::read_to_string(dir.join("log.txt")).unwrap_or_default();
        assert!(line.contains("is ready"), "not ready: {line:?}\n{log}");
        Some(second)
    }
}

//! A `leasehold up` of the test's own, on a private containerd, and kubectl against it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Containerd, TestImage};

/// How long anything may take on a machine that does other work too.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A running coordinator and agent.
pub struct Up {
    /// Below it everything is kept.
    pub dir: PathBuf,
    /// Extra flags of the agent.
    flags: Vec<String>,
    /// Extra environment.
    env: Vec<(String, String)>,
    /// Where both listen.
    host: IpAddr,
    listen: u16,
    node_listen: u16,
    process: Option<Child>,
    containerd: Containerd,
}

/// Reference of the image that is there from the start.
pub const BUSYBOX: &str = "example.test/busybox:1";

/// A Pod of one container on this node, labelled `app` with its name. `command` is YAML.
pub fn pod_manifest(name: &str, image: &str, command: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ app: {name} }} }}\n\
         spec: {{ nodeName: n1, hostNetwork: true, terminationGracePeriodSeconds: 1, \
         containers: [{{ name: main, image: '{image}', command: {command} }}] }}\n"
    )
}

fn free_port(host: IpAddr) -> u16 {
    let listener = TcpListener::bind((host, 0)).expect("loopback has free ports");
    listener.local_addr().expect("bound").port()
}

impl Up {
    /// Starts containerd, imports busybox and starts `leasehold up` with extra flags. None (with the reason printed)
    /// where this machine cannot.
    pub fn start(flags: &[&str]) -> Option<Self> {
        Self::start_in(flags, &[])
    }

    /// The same with extra environment.
    pub fn start_in(flags: &[&str], env: &[(&str, &str)]) -> Option<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), flags, env)
    }

    /// The same with coordinator and node at another address of this machine.
    pub fn start_on(host: IpAddr, flags: &[&str], env: &[(&str, &str)]) -> Option<Self> {
        let containerd = Containerd::start()?;
        if Command::new("kubectl").args(["version", "--client"]).output().is_err() {
            eprintln!("skipped: kubectl is not installed");
            return None;
        }
        let dir = containerd.scratch("up");
        let mut up = Self {
            dir,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            host,
            listen: free_port(host),
            node_listen: free_port(host),
            process: None,
            containerd,
        };
        let archive = up.dir.join("busybox.tar");
        TestImage::busybox(BUSYBOX).write_oci_archive(&archive);
        up.import(&archive);
        up.boot();
        Some(up)
    }

    /// Imports an image archive.
    pub fn import(&self, archive: &Path) {
        let output = Self::leasehold(&["image", "import", &archive.to_string_lossy()])
            .args(self.containerd_flags())
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    fn leasehold(args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
        command.args(args).stdin(Stdio::null());
        command
    }

    /// The socket of its containerd.
    pub fn containerd_address(&self) -> PathBuf {
        self.containerd.address()
    }

    fn containerd_flags(&self) -> Vec<String> {
        vec![
            "--containerd-address".into(),
            self.containerd.address().to_string_lossy().into_owned(),
            "--containerd-namespace".into(),
            self.containerd.namespace().into(),
        ]
    }

    fn node_flags(&self) -> Vec<String> {
        let path = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let mut flags = self.containerd_flags();
        flags.extend(["--node-name".into(), "n1".into(), "--node-ip".into(), self.host.to_string()]);
        flags.extend(["--node-listen".into(), SocketAddr::new(self.host, self.node_listen).to_string()]);
        flags.extend(["--runtime-dir".into(), path("run"), "--log-dir".into(), path("log")]);
        flags.extend(["--cni-conf-dir".into(), path("cni")]);
        flags.extend(self.flags.clone());
        // How full this machine is decides nothing in a test that does not ask.
        if !self.flags.iter().any(|flag| flag == "--pressure-thresholds") {
            flags.push("--pressure-thresholds=".into());
        }
        flags
    }

    fn up(&self) -> Command {
        let mut command = Self::leasehold(&["up"]);
        command
            .args(["--data-dir", &self.dir.join("state").to_string_lossy()])
            .args(["--listen", &SocketAddr::new(self.host, self.listen).to_string()])
            .args(self.node_flags());
        command
    }

    /// Starts `leasehold up` (again) and waits until it is ready.
    pub fn boot(&mut self) {
        self.process = Some(self.ready(self.up()));
    }

    /// Starts `leasehold up` and kills it after a time, ready or not.
    pub fn flash(&self, life: Duration) {
        let log = fs::File::options().create(true).append(true).open(self.dir.join("leasehold.log"));
        let mut child =
            self.up().stdout(Stdio::null()).stderr(log.expect("writable")).spawn().expect("leasehold starts");
        std::thread::sleep(life);
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }

    /// Starts the agent alone, which continues the same node; it is ready without a coordinator.
    pub fn boot_agent_alone(&mut self) {
        let mut command = Self::leasehold(&["agent"]);
        command.args(["--data-dir", &self.dir.join("state/agent").to_string_lossy()]).args(self.node_flags());
        self.process = Some(self.ready(command));
    }

    fn ready(&self, mut command: Command) -> Child {
        let log = fs::File::options().create(true).append(true).open(self.dir.join("leasehold.log"));
        let mut child = command
            .envs(self.env.clone())
            .env(
                "LEASEHOLD_LOG",
                "debug,h2=info,hyper=info,rustls=info,tower=info,hyper_util=info,reqwest=info,kube=info",
            )
            .stdout(Stdio::piped())
            .stderr(log.expect("writable"))
            .spawn()
            .expect("leasehold starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        let read = BufReader::new(stdout).read_line(&mut line);
        assert!(read.is_ok() && line.contains("is ready"), "not ready: {line:?}\n{}", self.log());
        child
    }

    /// `kill -9`; containers go on.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is our child");
            process.wait().expect("it is our child");
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("started").id()
    }

    /// What leasehold has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("leasehold.log")).unwrap_or_default()
    }

    /// The containerd underneath.
    pub fn containerd(&mut self) -> &mut Containerd {
        &mut self.containerd
    }

    /// Path of the administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("state/kubeconfig")
    }

    /// Runs kubectl.
    pub fn kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_with_input(args, "")
    }

    /// A kubectl that speaks to this coordinator, not yet started.
    pub fn kubectl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .args(args)
            .env("KUBECONFIG", self.kubeconfig())
            .env("KUBECACHEDIR", self.dir.join("kubecache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs kubectl with standard input.
    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Output {
        feed(self.kubectl_command(args), input)
    }

    /// Runs kubectl, which must succeed; what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.kubectl(args);
        assert!(output.status.success(), "kubectl {args:?}: {}\n{}", text(&output.stderr), self.log_tail());
        text(&output.stdout)
    }

    /// Applies a manifest, which must succeed.
    pub fn apply(&self, manifest: &str) -> String {
        let output = self.kubectl_with_input(&["apply", "-f", "-"], manifest);
        assert!(output.status.success(), "kubectl apply: {}\n{}", text(&output.stderr), self.log_tail());
        text(&output.stdout)
    }

    /// An object as JSON; null when there is none.
    pub fn json(&self, args: &[&str]) -> Value {
        let output = self.kubectl(&[args, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Waits until `condition` holds, and gives what it found; fails with `what` otherwise.
    pub fn until<T>(&self, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = condition() {
                return found;
            }
            if start.elapsed() > PATIENCE {
                let pods = self.kubectl(&["get", "pods,ds,events", "-A", "-o", "wide"]);
                panic!("{what}: not within {PATIENCE:?}\n{}\n{}", text(&pods.stdout), self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the one Pod with this label to be Running and Ready.
    pub fn running(&self, label: &str) -> Value {
        self.until(&format!("a ready Pod with {label}"), || {
            let list = self.json(&["get", "pods", "-A", "-l", label]);
            let items = list["items"].as_array()?;
            let ready = |pod: &&Value| {
                pod["metadata"]["deletionTimestamp"].is_null()
                    && pod["status"]["conditions"]
                        .as_array()
                        .is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
            };
            match items.as_slice() {
                [pod] => Some(pod).filter(ready).cloned(),
                _ => None,
            }
        })
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// Runs a program with standard input to its end.
pub fn feed(mut command: Command, input: &str) -> Output {
    use std::io::Write as _;
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let sent = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    assert!(sent.is_ok() || !output.status.success(), "it read all of its input");
    output
}

impl Drop for Up {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if !self.containerd.is_up() {
            self.containerd.boot();
        }
        let mut traces = self.containerd.traces();
        let reset = Self::leasehold(&["reset", "--yes"])
            .args(["--data-dir", &self.dir.join("state").to_string_lossy()])
            .args(["--runtime-dir", &self.dir.join("run").to_string_lossy()])
            .args(["--log-dir", &self.dir.join("log").to_string_lossy()])
            .args(self.containerd_flags())
            .output()
            .expect("runs");
        if !reset.status.success() {
            eprintln!("{}", text(&reset.stderr));
        }
        traces.assert_none();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

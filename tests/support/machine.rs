//! A node whose containers are this machine: logs are a file, exec starts a process here, a Pod's network is ours.

#![allow(unreachable_pub, reason = "each test crate uses its part of this module")]

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::Pod;
use leasehold::api::status::Status;
use leasehold::server::node::{
    Attachment, Console, ContainerPath, ExecRequest, Execution, Kind, LogSource, Metric, NodeBackend,
};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// A node whose containers are this machine.
pub struct Local {
    pub log: PathBuf,
    pub writing: watch::Receiver<bool>,
    /// What the next client is attached to.
    pub attached: Arc<Mutex<Option<Attachment<Attached>>>>,
}

/// Says what is done to it.
#[derive(Debug)]
pub struct Attached(pub tokio::sync::mpsc::UnboundedSender<String>);

impl Console for Attached {
    async fn resize(&self, width: u16, height: u16) {
        let _ = self.0.send(format!("{width}x{height}"));
    }

    async fn close_stdin(&self) {
        let _ = self.0.send("no more input".into());
    }
}

impl NodeBackend for Local {
    type Execution = Process;
    type Attached = Attached;

    async fn log(&self, container: &ContainerPath, previous: bool) -> Result<LogSource, Status> {
        if previous {
            let name = &container.container;
            return Err(Status::bad_request(format!("previous terminated container {name:?} not found")));
        }
        Ok(LogSource { path: self.log.clone(), writing: self.writing.clone() })
    }

    async fn running(&self, container: &ContainerPath) -> Result<String, Status> {
        let ContainerPath { namespace, pod, container } = container;
        match (namespace.as_str(), pod.as_str(), container.as_str()) {
            ("default", "web-0", "main") => Ok("uid-main-0".into()),
            _ => Err(Status::not_found("", "pods", pod)),
        }
    }

    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Process, Status> {
        assert_eq!(id, "uid-main-0");
        Process::start(&request)
    }

    async fn attach(&self, container: &ContainerPath) -> Result<Attachment<Attached>, Status> {
        self.running(container).await?;
        let attached = self.attached.lock().expect("not poisoned").take();
        attached.ok_or_else(|| Status::internal("nobody is prepared for this"))
    }

    async fn is_reachable(&self, namespace: &str, pod: &str) -> Result<(), Status> {
        let (namespace, pod, container) = (namespace.to_owned(), pod.to_owned(), "main".to_owned());
        self.running(&ContainerPath { namespace, pod, container }).await.map(drop)
    }

    async fn dial(&self, _: &str, _: &str, port: u16) -> Result<TcpStream, Status> {
        leasehold::network::dial::dial(None, port).await.map_err(Status::internal)
    }

    async fn pods(&self) -> Vec<Arc<Pod>> {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web-0".into());
        vec![Arc::new(pod)]
    }

    async fn metrics(&self) -> Vec<Metric> {
        let samples = vec![(Vec::new(), 1.0)];
        vec![Metric { name: "leasehold_pods", help: "Pods on this node.", kind: Kind::Gauge, samples }]
    }
}

/// A process whose streams are FIFOs, opened as the shim opens them.
pub struct Process {
    pid: Pid,
    child: tokio::sync::Mutex<Child>,
    /// The shim's own writer of the input; it lets go when told to.
    stdin: Mutex<Option<File>>,
    sizes: Mutex<Option<File>>,
}

impl Process {
    fn start(request: &ExecRequest) -> Result<Self, Status> {
        let streams = &request.streams;
        let reader = |path: &PathBuf| File::options().read(true).open(path).expect("a writer is there");
        let writer = |path: &PathBuf| File::options().write(true).open(path).expect("a reader is there");
        let stdin = streams.stdin.as_ref().map(writer);
        let output = |path: &Option<PathBuf>| path.as_ref().map_or(Stdio::null(), |p| writer(p).into());
        let child = Command::new(&request.command[0])
            .args(&request.command[1..])
            .stdin(streams.stdin.as_ref().map_or(Stdio::null(), |path| reader(path).into()))
            .stdout(output(&streams.stdout))
            .stderr(output(&streams.stderr))
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Status::internal(format!("exec {:?}: {error}", request.command[0])))?;
        let pid = Pid::from_raw(child.id().expect("it was not awaited yet") as i32);
        let mut sizes = streams.terminal.then(|| streams.stdout.as_ref().map(writer)).flatten();
        if let (Some(terminal), Some((width, height))) = (&mut sizes, request.size) {
            writeln!(terminal, "now {width}x{height}").expect("a reader is there");
        }
        Ok(Self { pid, child: child.into(), stdin: stdin.into(), sizes: sizes.into() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What it left in the background.
        let _ = killpg(self.pid, Signal::SIGKILL);
    }
}

impl Execution for Process {
    async fn wait(&self) -> Result<i32, Status> {
        let status = self.child.lock().await.wait().await.map_err(Status::internal)?;
        self.sizes.lock().expect("not poisoned").take();
        Ok(status.code().unwrap_or(137))
    }

    async fn kill(&self) {
        let _ = killpg(self.pid, Signal::SIGKILL);
    }
}

impl Console for Process {
    async fn resize(&self, width: u16, height: u16) {
        if let Some(terminal) = &mut *self.sizes.lock().expect("not poisoned") {
            writeln!(terminal, "now {width}x{height}").expect("a reader is there");
        }
    }

    async fn close_stdin(&self) {
        self.stdin.lock().expect("not poisoned").take();
    }
}

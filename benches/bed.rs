//! A node of the benchmark's own: containerd, `leasehold up` (or its two halves apart) and containerd's events.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use containerd_client::events::{TaskExit, TaskStart};
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::{PublishRequest, SubscribeRequest};
use containerd_client::tonic::transport::Channel;
use containerd_client::tonic::{Request, Streaming};
use containerd_client::types::Envelope;
use containerd_client::with_namespace;
use prost::Message as _;
use prost_types::Any;
use tokio::sync::mpsc;

use crate::Settings;
use crate::containerd::Containerd;
use crate::endpoint::admin;
use crate::http::Target;
use crate::image::TestImage;
use crate::processes::{self, Program, free_port};

/// The image that is there from the start.
pub(crate) const IMAGE: &str = "example.test/busybox:1";
/// Ends at once when it is told to.
pub(crate) const PROGRAM: [&str; 3] = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"];

/// Longest wait for an event.
const PATIENCE: Duration = Duration::from_mins(1);

/// The first process of a container has started, or ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Happened {
    pub(crate) at: Instant,
    pub(crate) pid: u32,
    started: bool,
}

/// A running node; it and all that it made go when this is dropped.
pub(crate) struct Bed {
    pub(crate) directory: PathBuf,
    program: PathBuf,
    events: mpsc::UnboundedReceiver<Happened>,
    /// `up`; or coordinator and agent.
    processes: Vec<Program>,
    listen: u16,
    data: PathBuf,
    pub(crate) containerd: Containerd,
}

impl Bed {
    /// Coordinator and agent in one process.
    pub(crate) async fn up(settings: &Settings) -> anyhow::Result<Self> {
        let mut bed = Self::new(settings).await?;
        let mut command = bed.leasehold("up");
        command.arg("--data-dir").arg(bed.directory.join("state"));
        command.args(["--listen", &format!("127.0.0.1:{}", bed.listen)]).args(bed.node_flags()?);
        bed.processes.push(Program::start(&mut command, &bed.directory.join("log"))?);
        bed.data = bed.directory.join("state/coordinator");
        Ok(bed)
    }

    /// Coordinator and agent in two processes.
    pub(crate) async fn apart(settings: &Settings) -> anyhow::Result<Self> {
        let mut bed = Self::new(settings).await?;
        bed.data = bed.directory.join("state/coordinator");
        let mut command = bed.leasehold("coordinator");
        command.arg("--data-dir").arg(&bed.data);
        command.args(["--listen", &format!("127.0.0.1:{}", bed.listen)]);
        bed.processes.push(Program::start(&mut command, &bed.directory.join("log"))?);
        let mut command = bed.leasehold("agent");
        command.arg("--kubeconfig").arg(bed.data.join("kubeconfig"));
        command.arg("--data-dir").arg(bed.directory.join("state/agent")).args(bed.node_flags()?);
        bed.processes.push(Program::start(&mut command, &bed.directory.join("log"))?);
        Ok(bed)
    }

    async fn new(settings: &Settings) -> anyhow::Result<Self> {
        let containerd = Containerd::start().context("containerd does not run here (see above)")?;
        let channel = containerd_client::connect(containerd.address()).await?;
        let directory = containerd.scratch("up");
        let (heard, events) = mpsc::unbounded_channel();
        tokio::spawn(follow(subscribe(channel).await?, heard));
        let bed = Self {
            directory,
            program: settings.program.clone(),
            events,
            processes: Vec::new(),
            listen: free_port()?,
            data: PathBuf::new(),
            containerd,
        };
        let archive = bed.directory.join("busybox.tar");
        TestImage::busybox(IMAGE).write_oci_archive(&archive);
        let mut command = bed.leasehold("image");
        command.arg("import").arg(&archive).args(bed.containerd_flags());
        let output = command.output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(bed)
    }

    fn leasehold(&self, command: &str) -> Command {
        let mut leasehold = Command::new(&self.program);
        leasehold.arg(command).env("LEASEHOLD_LOG", "info");
        leasehold
    }

    fn containerd_flags(&self) -> [String; 4] {
        let address = self.containerd.address().to_string_lossy().into_owned();
        let namespace = self.containerd.namespace().to_owned();
        ["--containerd-address".into(), address, "--containerd-namespace".into(), namespace]
    }

    fn node_flags(&self) -> anyhow::Result<Vec<String>> {
        let path = |name: &str| self.directory.join(name).to_string_lossy().into_owned();
        let mut flags = self.containerd_flags().to_vec();
        flags.extend(["--node-name", "n1", "--node-ip", "127.0.0.1"].map(str::to_owned));
        flags.extend(["--node-listen".into(), format!("127.0.0.1:{}", free_port()?)]);
        flags.extend(["--runtime-dir".into(), path("run"), "--log-dir".into(), path("log.d")]);
        flags.extend(["--cni-conf-dir".into(), path("cni")]);
        Ok(flags)
    }

    /// The way to the coordinator.
    pub(crate) fn admin(&self) -> anyhow::Result<Target> {
        admin(&self.data, ([127, 0, 0, 1], self.listen).into())
    }

    /// Pids: `up`, or coordinator and agent.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Program::pid).collect()
    }

    /// Pid of the log process.
    pub(crate) fn log_writer(&self) -> anyhow::Result<u32> {
        let run = self.directory.join("run");
        let found = processes::find(&["log-writer", &run.to_string_lossy()]);
        found.first().copied().context("no log process")
    }

    /// The next start of a container.
    pub(crate) async fn started(&mut self) -> anyhow::Result<Happened> {
        self.next(true).await
    }

    /// The next end of a container.
    pub(crate) async fn exited(&mut self) -> anyhow::Result<Happened> {
        self.next(false).await
    }

    async fn next(&mut self, started: bool) -> anyhow::Result<Happened> {
        loop {
            let next = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let next = next.with_context(|| format!("nothing after a minute\n{}", self.log()))?;
            let happened = next.context("containerd's events ended")?;
            if happened.started == started {
                return Ok(happened);
            }
        }
    }

    /// When so many have started.
    pub(crate) async fn all_started(&mut self, count: usize) -> anyhow::Result<Instant> {
        let mut last = self.started().await?;
        for _ in 1..count {
            last = self.started().await?;
        }
        Ok(last.at)
    }

    /// Forgets what has happened so far.
    pub(crate) fn forget_events(&mut self) {
        while self.events.try_recv().is_ok() {}
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.processes.clear();
        let mut reset = self.leasehold("reset");
        let path = |name: &str| self.directory.join(name);
        reset.arg("--yes").arg("--data-dir").arg(path("state")).arg("--runtime-dir").arg(path("run"));
        reset.arg("--log-dir").arg(path("log.d")).args(self.containerd_flags());
        let _ = reset.output();
    }
}

/// containerd answers a subscription with its first event, so events are published until one comes back.
async fn subscribe(channel: Channel) -> anyhow::Result<Streaming<Envelope>> {
    let filters = ["/tasks/start", "/tasks/exit", "/bench/hello"].map(|topic| format!("topic=={topic:?}"));
    let mut events = EventsClient::new(channel.clone());
    let subscribe = events.subscribe(SubscribeRequest { filters: filters.to_vec() });
    tokio::pin!(subscribe);
    loop {
        tokio::select! {
            answer = &mut subscribe => return Ok(answer?.into_inner()),
            () = tokio::time::sleep(Duration::from_millis(10)) => {
                let event = Some(Any { type_url: "bench/Hello".into(), value: Vec::new() });
                let request = PublishRequest { topic: "/bench/hello".into(), event };
                EventsClient::new(channel.clone()).publish(with_namespace!(request, "bench")).await?;
            }
        }
    }
}

async fn follow(mut events: Streaming<Envelope>, heard: mpsc::UnboundedSender<Happened>) {
    while let Ok(Some(envelope)) = events.message().await {
        let at = Instant::now();
        let Some(event) = &envelope.event else { continue };
        let happened = match envelope.topic.as_str() {
            "/tasks/start" => TaskStart::decode(&event.value[..])
                .map(|start| Some(Happened { at, pid: start.pid, started: true })),
            "/tasks/exit" => TaskExit::decode(&event.value[..]).map(|exit| {
                (exit.id == exit.container_id).then_some(Happened { at, pid: exit.pid, started: false })
            }),
            _ => Ok(None),
        };
        if let Ok(Some(happened)) = happened
            && heard.send(happened).is_err()
        {
            return;
        }
    }
}

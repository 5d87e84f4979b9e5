//! What the node API needs to know and to have done.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::metrics::Metric;
use crate::api::status::Status;
use crate::logs::tap::Tap;

/// A container as the API names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPath {
    /// Namespace of the Pod.
    pub namespace: String,
    /// Name of the Pod.
    pub pod: String,
    /// Name of the container in the Pod.
    pub container: String,
}

/// A container's log.
#[derive(Clone, Debug)]
pub struct LogSource {
    /// The log file of the run in question.
    pub path: PathBuf,
    /// True while more may come: until the log process has closed the log.
    pub writing: watch::Receiver<bool>,
}

/// Where the streams of an exec go. All paths are FIFOs that are there and held open on the other side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams {
    /// None: no input.
    pub stdin: Option<PathBuf>,
    /// None: thrown away.
    pub stdout: Option<PathBuf>,
    /// None: thrown away. Never there with a terminal.
    pub stderr: Option<PathBuf>,
    /// The process gets a terminal of its own.
    pub terminal: bool,
}

/// A command to be run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRequest {
    /// Program and arguments, at least one.
    pub command: Vec<String>,
    /// Its streams.
    pub streams: Streams,
    /// Columns and rows its terminal begins with, where they are known.
    pub size: Option<(u16, u16)>,
}

/// A running container's own streams.
#[derive(Debug)]
pub struct Attachment<C> {
    /// What it puts out.
    pub tap: Tap,
    /// The FIFO it reads its input from; none where it takes none.
    pub stdin: Option<PathBuf>,
    /// Its terminal and its input's end.
    pub console: C,
}

/// The node, as the API sees it. A [`Status`] says why something cannot be had; its message reaches the user.
pub trait NodeBackend: Send + Sync + 'static {
    /// A process started by [`Self::exec`].
    type Execution: Execution;

    /// A container that somebody is attached to.
    type Attached: Console;

    /// The log of the container's current or last run, or with `previous` of the run before that.
    fn log(
        &self,
        container: &ContainerPath,
        previous: bool,
    ) -> impl Future<Output = Result<LogSource, Status>> + Send;

    /// The runtime's id of the container, which must be running.
    fn running(&self, container: &ContainerPath) -> impl Future<Output = Result<String, Status>> + Send;

    /// Starts a process in a running container. When this returns, the process has opened its streams.
    fn exec(
        &self,
        container_id: &str,
        request: ExecRequest,
    ) -> impl Future<Output = Result<Self::Execution, Status>> + Send;

    /// Joins the streams of a container, which must be running.
    fn attach(
        &self,
        container: &ContainerPath,
    ) -> impl Future<Output = Result<Attachment<Self::Attached>, Status>> + Send;

    /// Whether connections to a Pod's ports can be had.
    fn is_reachable(&self, namespace: &str, pod: &str) -> impl Future<Output = Result<(), Status>> + Send;

    /// Connects to a port of a Pod, from inside its network.
    fn dial(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
    ) -> impl Future<Output = Result<TcpStream, Status>> + Send;

    /// All Pods of this node, with their status.
    fn pods(&self) -> impl Future<Output = Vec<Arc<Pod>>> + Send;

    /// Numbers for Prometheus.
    fn metrics(&self) -> impl Future<Output = Vec<Metric>> + Send;
}

/// What can be done to a process besides feeding it.
pub trait Console: Send + Sync + 'static {
    /// Sets the terminal's size, in characters.
    fn resize(&self, width: u16, height: u16) -> impl Future<Output = ()> + Send;

    /// The client will send no more input. An exec sees the end of its input once it has read what is in the FIFO, a
    /// container if it wants its input only once.
    fn close_stdin(&self) -> impl Future<Output = ()> + Send;
}

/// A running exec. Dropped when its session is over; what the runtime keeps of it can then be removed.
pub trait Execution: Console {
    /// Waits for its end: the exit code, 128 + signal when killed.
    fn wait(&self) -> impl Future<Output = Result<i32, Status>> + Send;

    /// Kills it (SIGKILL).
    fn kill(&self) -> impl Future<Output = ()> + Send;
}

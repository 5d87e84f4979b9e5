//! The node's endpoint: what it needs from the node's loop and from containerd.

use std::sync::Arc;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::certificate::Serving;
use super::execs::{Attached, Execution};
use super::hands::Hands;
use super::node::Input;
use super::perform;
use crate::agent::pod::{ContainerRef, container_id, with_ephemeral};
use crate::api::status::Status;
use crate::driver::clock;
use crate::network::dial::dial;
use crate::server::listen;
use crate::server::node::{
    self, Attachment, ContainerPath, ExecRequest, Kind, LogSource, Metric, NodeBackend, Settings,
};

/// Something the endpoint wants to know of the node's loop.
#[derive(Debug)]
pub(super) enum Question {
    /// All Pods.
    Pods(oneshot::Sender<Vec<Arc<Pod>>>),
    /// One Pod.
    Pod { namespace: String, name: String, answer: oneshot::Sender<Option<Arc<Pod>>> },
}

/// Serves the node's endpoint until the agent stops.
pub(super) fn serve(
    hands: Arc<Hands>,
    inputs: mpsc::Sender<Input>,
    certificate: &Serving,
    authority_pem: &[u8],
) -> anyhow::Result<()> {
    let address = hands.config.node_listen;
    let listener = listen::bind(address)
        .and_then(|bound| bound.listen(listen::BACKLOG))
        .with_context(|| format!("--node-listen {address}: cannot listen"))?;
    let settings = Settings::new(
        certificate.identity.clone(),
        String::from_utf8_lossy(authority_pem).into_owned(),
        hands.config.runtime_dir.join("exec"),
        clock::wall,
    );
    let backend = Backend { hands, inputs };
    tokio::spawn(async move {
        let Err(error) = node::serve(listener, settings, backend).await;
        tracing::error!(%error, "the node's endpoint ended");
    });
    Ok(())
}

struct Backend {
    hands: Arc<Hands>,
    inputs: mpsc::Sender<Input>,
}

impl Backend {
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, Status> {
        let (sender, answer) = oneshot::channel();
        let stopping = || Status::new(503, "ServiceUnavailable", "the agent is stopping");
        self.inputs.send(Input::Ask(question(sender))).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    async fn pod(&self, namespace: &str, pod: &str) -> Result<Arc<Pod>, Status> {
        let (namespace, name) = (namespace.to_owned(), pod.to_owned());
        let found = self.ask(|answer| Question::Pod { namespace, name, answer }).await?;
        let found = found.ok_or_else(|| Status::not_found("", "pods", pod))?;
        Ok(with_ephemeral(found))
    }

    /// A Pod of which something runs: then it has its network.
    async fn reachable(&self, namespace: &str, name: &str) -> Result<Arc<Pod>, Status> {
        let pod = self.pod(namespace, name).await?;
        let status = pod.status.as_ref();
        let mut containers = status.into_iter().flat_map(|status| {
            status.container_statuses.iter().chain(&status.init_container_statuses).flatten()
        });
        let runs = |container: &ContainerStatus| {
            container.state.as_ref().is_some_and(|state| state.running.is_some())
        };
        if containers.any(runs) {
            return Ok(pod.clone());
        }
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
        Err(Status::bad_request(format!(
            "unable to forward port because pod {name:?} is not running. Current status={phase}"
        )))
    }

    /// The Pod, and what its status says of the container.
    async fn container(
        &self,
        container: &ContainerPath,
    ) -> Result<(Arc<Pod>, Option<ContainerStatus>), Status> {
        let pod = self.pod(&container.namespace, &container.pod).await?;
        if perform::container(&pod, &container.container).is_none() {
            return Err(Status::bad_request(format!(
                "container {} is not valid for pod {}",
                container.container, container.pod
            )));
        }
        let status = pod.status.as_ref().and_then(|status| {
            let main = status.container_statuses.iter().chain(&status.init_container_statuses);
            let all = main.chain(&status.ephemeral_container_statuses).flatten();
            all.clone().find(|status| status.name == container.container).cloned()
        });
        Ok((pod, status))
    }
}

impl NodeBackend for Backend {
    type Execution = Execution;
    type Attached = Attached;

    async fn log(&self, container: &ContainerPath, previous: bool) -> Result<LogSource, Status> {
        let (pod, status) = self.container(container).await?;
        let ContainerPath { container: name, pod: pod_name, .. } = container;
        let waiting = |why: &str| {
            Status::bad_request(format!("container {name:?} in pod {pod_name:?} is waiting to start: {why}"))
        };
        let Some(status) = status else { return Err(waiting("ContainerCreating")) };
        let state = status.state.clone().unwrap_or_default();
        let attempt = attempt(&status, previous).ok_or_else(|| match (&state.waiting, previous) {
            (Some(waiting_state), false) => waiting(match waiting_state.reason.as_deref() {
                Some("ErrImagePull") => "image can't be pulled",
                Some("ImagePullBackOff") => "trying and failing to pull image",
                Some(reason) => reason,
                None => "ContainerCreating",
            }),
            (_, true) => Status::bad_request(format!(
                "previous terminated container {name:?} in pod {pod_name:?} not found"
            )),
            (None, false) => waiting("ContainerCreating"),
        })?;
        let run = ContainerRef { name: name.clone(), attempt };
        let id = container_id(perform::uid(&pod), &run.name, run.attempt);
        Ok(LogSource {
            path: perform::log_file(&self.hands, &pod, &run),
            writing: self.hands.open_logs.writing(&id),
        })
    }

    async fn running(&self, container: &ContainerPath) -> Result<String, Status> {
        let (_, status) = self.container(container).await?;
        let running =
            status.filter(|status| status.state.as_ref().is_some_and(|state| state.running.is_some()));
        let id = running.and_then(|status| status.container_id);
        let id = id.and_then(|id| id.strip_prefix("containerd://").map(str::to_owned));
        id.ok_or_else(|| Status::internal(format!("container not found ({:?})", container.container)))
    }

    async fn exec(&self, container_id: &str, request: ExecRequest) -> Result<Execution, Status> {
        self.hands.execs.start(&self.hands.runtime, container_id, request).await
    }

    async fn attach(&self, container: &ContainerPath) -> Result<Attachment<Attached>, Status> {
        let id = self.running(container).await?;
        let (pod, _) = self.container(container).await?;
        let spec = perform::container(&pod, &container.container);
        let is_set = |field: fn(&Container) -> Option<bool>| spec.and_then(field).unwrap_or(false);
        let terminal = is_set(|spec| spec.tty);
        let tap = self.hands.logs.attach(&id).await.map_err(Status::internal)?;
        Ok(Attachment {
            tap,
            stdin: is_set(|spec| spec.stdin).then(|| self.hands.logs.input(&id)),
            console: Attached {
                container: id,
                runtime: self.hands.runtime.clone(),
                // A terminal has no end of input but the one that is typed.
                stdin_once: is_set(|spec| spec.stdin_once) && !terminal,
            },
        })
    }

    async fn is_reachable(&self, namespace: &str, pod: &str) -> Result<(), Status> {
        self.reachable(namespace, pod).await.map(drop)
    }

    async fn dial(&self, namespace: &str, name: &str, port: u16) -> Result<TcpStream, Status> {
        let pod = self.reachable(namespace, name).await?;
        let sandbox = perform::sandbox(&self.hands, &pod).await.map_err(Status::internal)?;
        dial(sandbox.namespaces.net.as_deref(), port).await.map_err(Status::internal)
    }

    async fn pods(&self) -> Vec<Arc<Pod>> {
        self.ask(Question::Pods).await.unwrap_or_default()
    }

    async fn metrics(&self) -> Vec<Metric> {
        let pods = self.pods().await;
        let phase =
            |pod: &Arc<Pod>| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        let count = |wanted: &str| pods.iter().filter(|pod| phase(pod) == wanted).count() as f64;
        let phases = ["Pending", "Running", "Succeeded", "Failed"];
        let restarts: i32 = pods
            .iter()
            .filter_map(|pod| pod.status.as_ref()?.container_statuses.as_ref())
            .flatten()
            .map(|status| status.restart_count)
            .sum();
        vec![
            Metric {
                name: "leasehold_pods",
                help: "Pods on this node by phase.",
                kind: Kind::Gauge,
                samples: phases.map(|name| (vec![("phase", name.to_owned())], count(name))).into(),
            },
            Metric {
                name: "leasehold_container_restarts",
                help: "Restarts of the containers of this node's Pods.",
                kind: Kind::Gauge,
                samples: vec![(Vec::new(), f64::from(restarts))],
            },
        ]
    }
}

/// Which run the log of a container is that of. While the next run waits, the last one counts.
fn attempt(status: &ContainerStatus, previous: bool) -> Option<u32> {
    let newest = u32::try_from(status.restart_count).ok()?;
    let state = status.state.as_ref()?;
    let ran = state.running.is_some() || state.terminated.is_some();
    let last_ran = status.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
    match (previous, ran) {
        (false, true) => Some(newest),
        // Its last run is over and the next waits for its back-off: the count is that of the last run.
        (false, false) => last_ran.then_some(newest),
        (true, true) => newest.checked_sub(1).filter(|_| last_ran),
        (true, false) => newest.checked_sub(1),
    }
}

//! What the node's loop and its tasks work with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use tokio::sync::{Notify, OnceCell, watch};
use tokio_util::task::TaskTracker;

use super::claims::Advert;
use super::cluster::Cluster;
use super::config::AgentConfig;
use super::disk::Disk;
use super::execs::Execs;
use super::guard::Fencing;
use super::open_logs::OpenLogs;
use super::registrar::Registrar;
use super::sources::Sources;
use super::tokens::Tokens;
use crate::agent::pod::Host;
use crate::containerd::{Runtime, spec};
use crate::driver::agent::api_server::ApiServer;
use crate::driver::recorder::Recorder;
use crate::logs;
use crate::sandbox::{Ground, Sandbox};
use crate::time::Instant;

/// Handles of one agent.
pub(super) struct Hands {
    pub(super) config: AgentConfig,
    pub(super) runtime: Runtime,
    pub(super) client: Client,
    pub(super) disk: Disk,
    pub(super) recorder: Recorder,
    pub(super) logs: logs::Client,
    pub(super) ground: Arc<Ground>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) sources: Sources,
    pub(super) tokens: Tokens,
    /// Where this node's Pods reach the API.
    pub(super) api_server: ApiServer,
    pub(super) execs: Execs,
    pub(super) open_logs: OpenLogs,
    /// Tasks that make or remove containers; containerd's list waits for them.
    pub(super) container_tasks: TaskTracker,
    pub(super) registrar: Registrar,
    pub(super) fencing: Fencing,
    /// containerd has other images than the Node says.
    pub(super) images_changed: Notify,
    /// What the machine lets containers have.
    pub(super) host_machine: spec::Host,
    pub(super) boot_id: String,
    /// The machine has been booted since the disk was written.
    pub(super) rebooted: bool,
    /// Boots since the coordinator was last heard, this one included.
    pub(super) boots_alone: u32,
    /// Until when the node's session is held, if it is.
    pub(super) session_deadline: watch::Receiver<Option<Instant>>,
    /// What room is left, to be told.
    pub(super) adverts: watch::Sender<Advert>,
    /// The node's object as last known, for allocatable and labels.
    node: Mutex<Option<Arc<Node>>>,
    sandboxes: Mutex<BTreeMap<String, Arc<OnceCell<Sandbox>>>>,
    /// By Pod UID: the process whose PID namespace its containers share.
    process_leaders: Mutex<BTreeMap<String, u32>>,
}

impl std::fmt::Debug for Hands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hands").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What [`Hands`] are made of.
pub(super) struct Parts {
    pub(super) config: AgentConfig,
    pub(super) runtime: Runtime,
    pub(super) client: Client,
    pub(super) disk: Disk,
    pub(super) recorder: Recorder,
    pub(super) logs: logs::Client,
    pub(super) ground: Arc<Ground>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) sources: Sources,
    pub(super) tokens: Tokens,
    /// Where this node's Pods reach the API.
    pub(super) api_server: ApiServer,
    pub(super) registrar: Registrar,
    pub(super) fencing: Fencing,
    /// What the machine lets containers have.
    pub(super) host_machine: spec::Host,
    pub(super) boot_id: String,
    pub(super) rebooted: bool,
    /// Boots since the coordinator was last heard, this one included.
    pub(super) boots_alone: u32,
    pub(super) session_deadline: watch::Receiver<Option<Instant>>,
    pub(super) adverts: watch::Sender<Advert>,
}

impl Hands {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            config,
            runtime,
            client,
            disk,
            recorder,
            logs,
            ground,
            cluster,
            sources,
            tokens,
            api_server,
            registrar,
            fencing,
            host_machine,
            boot_id,
            rebooted,
            boots_alone,
            session_deadline,
            adverts,
        } = parts;
        Self {
            execs: Execs::new(disk.clone(), config.runtime_dir.join("captures")),
            config,
            runtime,
            client,
            session_deadline,
            adverts,
            disk,
            recorder,
            logs,
            ground,
            cluster,
            sources,
            tokens,
            api_server,
            open_logs: OpenLogs::default(),
            container_tasks: TaskTracker::new(),
            registrar,
            fencing,
            images_changed: Notify::new(),
            host_machine,
            boot_id,
            rebooted,
            boots_alone,
            node: Mutex::new(None),
            sandboxes: Mutex::new(BTreeMap::new()),
            process_leaders: Mutex::new(BTreeMap::new()),
        }
    }

    /// This boot of this node, for the Pods' machines.
    pub(super) fn host(&self) -> Host {
        Host { boot_id: self.boot_id.clone(), ips: self.node_ips() }
    }

    /// The node's addresses as text.
    pub(super) fn node_ips(&self) -> Vec<String> {
        self.config.node_ips.iter().map(ToString::to_string).collect()
    }

    /// Takes note of the node's object.
    pub(super) fn know_node(&self, node: &Node) {
        *locked(&self.node) = Some(Arc::new(node.clone()));
    }

    /// The node's object as last known.
    pub(super) fn node(&self) -> Option<Arc<Node>> {
        locked(&self.node).clone()
    }

    /// Reports containerd's version on the Node.
    pub(super) async fn refresh_runtime(&self) {
        let version = self.runtime.version().await.map_err(|error| error.to_string());
        self.registrar.describe(|description| description.runtime = version);
        if let Err(error) = self.runtime.find_images_dir().await {
            tracing::warn!(%error, "where containerd keeps images is unknown; how full it is will not be told");
        }
    }

    /// Reports the images here on the Node.
    pub(super) async fn refresh_images(&self) {
        // While containerd is away what it had stays reported.
        let Ok(images) = self.runtime.images().await else { return };
        let mut images: Vec<_> = images.into_iter().map(|image| (image.names, image.size)).collect();
        images.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        self.registrar.describe(|description| description.images = images);
    }

    /// Where the Pod's sandbox is known, once it is: whoever needs it first makes it, and the others wait.
    pub(super) fn sandbox(&self, uid: &str) -> Arc<OnceCell<Sandbox>> {
        locked(&self.sandboxes).entry(uid.to_owned()).or_default().clone()
    }

    pub(super) fn forget_sandbox(&self, uid: &str) {
        locked(&self.sandboxes).remove(uid);
        locked(&self.process_leaders).remove(uid);
    }

    /// The first of the Pod's containers to run leads its shared PID namespace.
    pub(super) fn lead_processes(&self, uid: &str, pid: u32) {
        let mut leaders = locked(&self.process_leaders);
        let led = leaders.get(uid).is_some_and(|leader| Path::new(&format!("/proc/{leader}")).exists());
        if !led {
            leaders.insert(uid.to_owned(), pid);
        }
    }

    pub(super) fn leader_of_processes(&self, uid: &str) -> Option<u32> {
        locked(&self.process_leaders).get(uid).copied()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

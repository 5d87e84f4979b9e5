//! One node: its watches, its decisions, its Pods.

mod api_server;
mod backend;
mod boots;
mod certificate;
mod claimed;
mod claims;
mod cluster;
mod config;
mod disk;
mod execs;
mod guard;
mod hands;
mod hosted;
mod lock;
mod machine;
mod mirror;
mod node;
mod open_logs;
mod perform;
mod registrar;
mod registration;
mod session;
mod sources;
mod tokens;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod};
use kube::Api;
use kube::runtime::watcher::Config as WatchConfig;
use tokio::sync::{mpsc, watch};

pub use config::{AgentConfig, runtime_dir};
pub use lock::Lock;

use crate::agent::pressure::Standing;
use crate::api::hash::Stored;
use crate::api::storage::{NODE_LABEL, node_label};
use crate::cgroup::{Cgroups, Driver};
use crate::client::Connection;
use crate::containerd::{Runtime, RuntimeEvent, spec};
use crate::detect;
use crate::driver::clock;
use crate::driver::recorder::Recorder;
use crate::driver::sealed::Sealer;
use crate::driver::steward::Beside;
use crate::driver::watches;
use crate::guard::process::Options;
use crate::lease::fence::holder::FenceConfig;
use crate::lease::session::{Claimant, Report, Session, SessionId};
use crate::lease::ticket;
use crate::lease::timings::SessionConfig;
use crate::logs;
use crate::network::cni::{Cni, ConfigurationWatch};
use crate::sandbox::{self, Ground};
use crate::time::Instant;
use api_server::ApiServer;
use boots::Boots;
use cluster::Cluster;
use disk::Disk;
use hands::{Hands, Parts};
use node::{Input, NodeLoop};
use registrar::Registrar;
use registration::Description;
use sources::Sources;
use tokens::Tokens;

/// Most inputs of the node's loop that wait; whoever brings more waits too.
const INPUTS_MAX: usize = 1024;

/// Where `localhostProfile` of seccomp is looked up: the kubelet's place, where people have put theirs.
const SECCOMP_PROFILES: &str = "/var/lib/kubelet/seccomp";

/// Most processes and threads of one Pod.
const PIDS_PER_POD: Option<u64> = None;

/// A running agent.
#[derive(Debug)]
pub struct Running {
    node_name: String,
    registrar: Registrar,
    session: watch::Receiver<Option<Report>>,
    session_config: SessionConfig,
    renewals: watch::Receiver<u64>,
    held: watch::Receiver<Option<(SessionId, Instant)>>,
    _lock: Lock,
}

impl Running {
    /// Name of the Node.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }

    /// What a steward beside this agent goes by.
    pub fn beside(&self) -> Beside {
        Beside {
            node_name: self.node_name.clone(),
            session: self.session_config,
            renewals: self.renewals.clone(),
            held: Some(self.held.clone()),
            shards: None,
        }
    }

    /// Waits until the Node stands at the coordinator.
    pub async fn registered(&self) {
        self.registrar.registered().await;
    }

    /// Waits until the agent cannot go on: another one lives under its name.
    pub async fn failed(&self) -> anyhow::Error {
        let mut session = self.session.clone();
        let refused = session.wait_for(|report| matches!(report, Some(Report::Refused(_)))).await;
        match refused.as_deref() {
            Ok(Some(Report::Refused(why))) => anyhow::anyhow!("{why}"),
            Ok(_) | Err(_) => anyhow::anyhow!("the session's task ended"),
        }
    }
}

impl AgentConfig {
    /// Name of the Node.
    pub fn node_name(&self) -> &str {
        &self.node_name
    }
}

/// Starts the agent. It needs neither coordinator nor containerd to be there yet.
pub async fn start(config: AgentConfig, connection: Connection) -> anyhow::Result<Running> {
    let lock = Lock::take(&config.runtime_dir)?;
    let disk = Disk::open(&config.data_dir)?;
    let boot_id =
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").context("reading the boot id")?;
    let boot_id = boot_id.trim().to_owned();
    let boots = Boots::enter(&disk, &boot_id)?;

    let (deadlines, session_deadline) = watch::channel(None);
    let (adverts, advertised) = watch::channel(claims::Advert::default());
    let connection = connection.called("leasehold-agent");
    let client = connection.client()?;
    let (inputs, heard) = mpsc::channel(INPUTS_MAX);
    let certificate = certificate::load_or_create(&disk, &config.node_name, &config.node_ips)?;
    let description = describe(&config, &certificate.sha256());
    let runtime = Runtime::new(&config.containerd_address, &config.containerd_namespace)?
        .with_registry_config(&config.registry_config_dir);
    let ground = Arc::new(ground(&config)?);
    let cluster = Arc::new(Cluster::recall(&disk)?);
    let hands = Arc::new(Hands::new(Parts {
        fencing: guard::start(guard::Means {
            node: config.node_name.clone(),
            machine_id: description.facts.machine.machine_id.clone(),
            config: FenceConfig { level: config.fence, duration: config.session.duration() },
            session: config.session,
            client: client.clone(),
            timed_client: connection.client_with_timeout(config.session.timeout())?,
            cluster: cluster.clone(),
            disk: disk.clone(),
            program: std::env::current_exe().context("finding this program")?,
            options: Options {
                runtime_dir: config.runtime_dir.clone(),
                reset_trigger: config.reset_trigger.clone(),
            },
            ground: ground.clone(),
            runtime: runtime.clone(),
            inputs: inputs.clone(),
        }),
        runtime,
        recorder: Recorder::start(client.clone(), "leasehold-agent", config.node_name.clone()),
        logs: log_process(&config).await?,
        ground,
        cluster,
        sources: Sources::new(
            client.clone(),
            disk.clone(),
            Sealer::load_or_create(&config.data_dir, None)?,
            inputs.clone(),
        ),
        tokens: Tokens::new(client.clone(), inputs.clone()),
        api_server: ApiServer::new(&config, &connection),
        registrar: Registrar::start(client.clone(), description, inputs.clone()),
        host_machine: spec::Host::read(Path::new(SECCOMP_PROFILES))
            .context("reading what this machine grants")?,
        rebooted: boots.rebooted,
        boots_alone: boots.alone,
        boot_id,
        disk,
        client,
        config,
        session_deadline,
        adverts,
    }));
    tokio::spawn(claims::advertise(hands.client.clone(), hands.config.node_name.clone(), advertised));
    // First what the disk remembers, then the session: what ran before is known when it asks for a fence.
    let node = NodeLoop::new(hands.clone(), inputs.clone());
    let (renewed, renewals) = watch::channel(0);
    let (holds, held) = watch::channel(None);
    let session = keep_session(&hands, &connection, deadlines, (renewed, holds))?;
    watch_session(&hands, &inputs);
    watch_coordinator(&hands, &inputs);
    watch_containerd(&hands, &inputs);
    watch_network(&hands);
    machine::watch_facts(&hands, &inputs);
    machine::watch_images(&hands);
    machine::watch_pressure(&hands);
    backend::serve(hands.clone(), inputs.clone(), &certificate, connection.authority_pem())?;
    let (node_name, registrar) = (hands.config.node_name.clone(), hands.registrar.clone());
    let session_config = hands.config.session;
    tokio::spawn(node.run(heard));
    Ok(Running { node_name, registrar, session, session_config, renewals, held, _lock: lock })
}

fn describe(config: &AgentConfig, certificate_sha256: &str) -> Description {
    let storage = nix::sys::statvfs::statvfs(&config.data_dir);
    let facts = detect::read(&config.sysroot);
    for warning in &facts.warnings {
        tracing::warn!(warning, "the machine could not be read in full");
    }
    Description {
        name: config.node_name.clone(),
        ips: config.node_ips.clone(),
        port: config.node_listen.port(),
        certificate_sha256: certificate_sha256.to_owned(),
        labels: config.labels.clone(),
        taints: config.taints.clone(),
        pods_max: config.pods_max,
        volumes_dir: claimed::volumes_dir(&config.data_dir).to_string_lossy().into_owned(),
        facts,
        storage_bytes: storage.map_or(0, |fs| fs.blocks() * fs.fragment_size()),
        runtime: Err("not connected yet".into()),
        network_unavailable: network(config),
        pressure: Standing::default(),
        images: Vec::new(),
    }
}

/// Why Pods with a network of their own cannot start here, if so.
fn network(config: &AgentConfig) -> Option<String> {
    cni(config).network().err().map(|error| error.to_string())
}

fn cni(config: &AgentConfig) -> Cni {
    Cni { config_dir: config.cni_conf_dir.clone(), bin_dirs: config.cni_bin_dirs.clone() }
}

fn ground(config: &AgentConfig) -> anyhow::Result<Ground> {
    Ok(Ground {
        data_dir: config.data_dir.clone(),
        runtime_dir: config.runtime_dir.clone(),
        cgroups: Cgroups::detect(Path::new("/sys/fs/cgroup"), Driver::of_machine())?,
        cni: cni(config),
        dns: crate::network::resolver::ClusterDns::default(),
        resolver_file: sandbox::default_resolver(),
        hosts_file: "/etc/hosts".into(),
        pids_per_pod: PIDS_PER_POD,
        allowed_sysctls: Vec::new(),
    })
}

async fn log_process(config: &AgentConfig) -> anyhow::Result<logs::Client> {
    let program = std::env::current_exe().context("finding this program")?;
    Ok(logs::Client::ensure(&config.runtime_dir, logs::Launch::Detached { program }).await?)
}

fn keep_session(
    hands: &Hands,
    connection: &Connection,
    deadlines: watch::Sender<Option<Instant>>,
    (renewals, held): (watch::Sender<u64>, watch::Sender<Option<(SessionId, Instant)>>),
) -> anyhow::Result<watch::Receiver<Option<Report>>> {
    let config = hands.config.session;
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).context("drawing a random number")?;
    let claimant = Claimant {
        node: hands.config.node_name.clone(),
        machine_id: hands.registrar.description().facts.machine.machine_id,
        boot_id: hands.boot_id.clone(),
        nonce: u64::from_ne_bytes(nonce),
    };
    let record = session::recall(&hands.disk);
    let machine = Session::new(claimant, record, config, clock::now(), clock::wall());
    let client = connection.client_with_timeout(config.timeout())?;
    let (reports, session) = watch::channel(None);
    let registered = hands.registrar.subscribe();
    tokio::spawn(session::keep(
        machine,
        client,
        registered,
        hands.disk.clone(),
        session::Tell { reports, deadlines, held, renewals, fencing: hands.fencing.clone() },
    ));
    Ok(session)
}

/// Whoever waits for the session to claim something looks again whenever it has been renewed.
fn watch_session(hands: &Hands, inputs: &mpsc::Sender<Input>) {
    let (mut deadline, inputs) = (hands.session_deadline.clone(), inputs.clone());
    tokio::spawn(async move {
        while deadline.changed().await.is_ok() && inputs.send(Input::Look).await.is_ok() {}
    });
}

fn watch_coordinator(hands: &Hands, inputs: &mpsc::Sender<Input>) {
    let (client, name) = (|| hands.client.clone(), &hands.config.node_name);
    let node: Api<Node> = Api::all(client());
    let own = WatchConfig::default().fields(&format!("metadata.name={name}"));
    tokio::spawn(watches::watch(node, own, inputs.clone(), Input::Node));
    let daemon_sets: Api<Stored<DaemonSet>> = Api::all(client());
    tokio::spawn(watches::watch(daemon_sets, WatchConfig::default(), inputs.clone(), Input::DaemonSets));
    let pods: Api<Pod> = Api::all(client());
    let bound = WatchConfig::default().fields(&format!("spec.nodeName={name}"));
    tokio::spawn(watches::watch(pods.clone(), bound, inputs.clone(), Input::Pods));
    let offered = WatchConfig::default().fields(&format!("spec.nodeName=,status.nominatedNodeName={name}"));
    tokio::spawn(watches::watch(pods, offered, inputs.clone(), Input::Offers));
    let held = format!("{}={}", ticket::HOLDER_LABEL, ticket::label_of(name));
    let tickets: Api<Lease> = Api::all(client());
    let held = WatchConfig::default().labels(&held);
    tokio::spawn(watches::watch(tickets, held, inputs.clone(), Input::Tickets));
    let volumes: Api<PersistentVolume> = Api::all(client());
    let kept_here = WatchConfig::default().labels(&format!("{NODE_LABEL}={}", node_label(name)));
    tokio::spawn(watches::watch(volumes, kept_here, inputs.clone(), Input::Volumes));
}

fn watch_containerd(hands: &Arc<Hands>, inputs: &mpsc::Sender<Input>) {
    let (hands, inputs) = (hands.clone(), inputs.clone());
    tokio::spawn(async move {
        let mut events = hands.runtime.events();
        while let Some(event) = events.next().await {
            match &event {
                RuntimeEvent::Connected => {
                    hands.refresh_runtime().await;
                    hands.images_changed.notify_one();
                    let hands = hands.clone();
                    tokio::spawn(async move { hands.execs.end_orphans(&hands.runtime).await });
                }
                RuntimeEvent::ImagesChanged => {
                    hands.images_changed.notify_one();
                    continue;
                }
                RuntimeEvent::Disconnected { .. } | RuntimeEvent::Exited(_) | RuntimeEvent::Oom { .. } => {}
            }
            if inputs.send(Input::Runtime(event)).await.is_err() {
                return;
            }
        }
    });
}

/// Reports on the Node whether Pods can have a network, whenever its configuration changes.
fn watch_network(hands: &Arc<Hands>) {
    let hands = hands.clone();
    tokio::spawn(async move {
        let mut watch = match ConfigurationWatch::new(&hands.config.cni_conf_dir) {
            Ok(watch) => watch,
            Err(error) => return tracing::error!(%error, "the network configuration cannot be watched"),
        };
        loop {
            let unavailable = network(&hands.config);
            hands.registrar.describe(|description| description.network_unavailable = unavailable);
            if let Err(error) = watch.changed().await {
                return tracing::error!(%error, "the network configuration cannot be watched");
            }
        }
    });
}

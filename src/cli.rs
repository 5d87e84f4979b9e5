//! The command line: what the user typed. Every flag is also an environment variable `LEASEHOLD_…` and a key of a
//! TOML file; flags win over variables, variables over the file.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::config::File;
use crate::lease::shard::wire::SHARDS_MAX;

/// Exit code for a wrong command line or configuration file, as clap's.
pub const USAGE: u8 = 2;

/// What the user typed, in whatever place, cannot be used: nothing was begun.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Misused(#[from] anyhow::Error);

/// Runs Kubernetes workloads on bare-metal nodes that decide for themselves what they host.
#[derive(Debug, Parser)]
#[command(name = "leasehold", version, max_term_width = 120)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to log, e.g. `info`, `debug`, `leasehold::agent=debug`.
    #[arg(long, global = true, env = "LEASEHOLD_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
    /// How to log.
    #[arg(long, global = true, env = "LEASEHOLD_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// TOML file with defaults for this command's flags [default: /etc/leasehold/COMMAND.toml, if it is there].
    #[arg(long, global = true, env = "LEASEHOLD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an IP address and a port, e.g. 127.0.0.1:6443 or [::]:6443".to_owned())
}

/// Shape of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a coordinator and an agent on this machine, in one process.
    Up(Up),
    /// Run the coordinator endpoint alone.
    Coordinator(Coordinator),
    /// Run this node's agent against a coordinator (or any Kubernetes API server).
    Agent(Agent),
    /// Work with this node's images.
    #[command(subcommand)]
    Image(Image),
    /// Look at this node without a coordinator.
    #[command(subcommand)]
    Node(Node),
    /// Work with the tokens by which machines join.
    #[command(subcommand)]
    Token(Token),
    /// Look at the brake that holds taints and evictions when too many nodes are lost together, or let it go.
    #[command(subcommand)]
    Brake(Brake),
    /// Tell why each node can host a Pod or a DaemonSet, or cannot, and what other labels would change.
    Explain(Explain),
    /// Work with the identities of Pods that must not run twice.
    #[command(subcommand)]
    Identity(Identity),
    /// Remove from this machine everything that an agent made: containers, mounts, namespaces, cgroups, logs.
    Reset(Reset),
    /// Kill in time what must not outlive this node's session, also when the agent cannot (started by systemd or by the
    /// agent).
    Guard(Guard),
    /// Write containers' output to their log files (started by the agent).
    #[command(hide = true)]
    LogWriter(LogWriter),
    /// Print the version.
    Version,
}

/// Flags of `up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Where state is kept: DIR/coordinator, DIR/agent, DIR/kubeconfig.
    #[arg(long, env = "LEASEHOLD_DATA_DIR", default_value = "/var/lib/leasehold", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Address of the Kubernetes API.
    #[arg(long, env = "LEASEHOLD_LISTEN", value_parser = address, default_value = "127.0.0.1:6443", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// The endpoint.
    #[command(flatten)]
    pub endpoint: EndpointFlags,
    /// This node.
    #[command(flatten)]
    pub node: NodeFlags,
}

/// Flags of `coordinator`.
#[derive(Debug, Args)]
pub struct Coordinator {
    /// Where state is kept.
    #[arg(
        long,
        env = "LEASEHOLD_DATA_DIR",
        default_value = "/var/lib/leasehold/coordinator",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// Address of the Kubernetes API.
    #[arg(long, env = "LEASEHOLD_LISTEN", value_parser = address, default_value = "[::]:6443", value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// The endpoint.
    #[command(flatten)]
    pub endpoint: EndpointFlags,
}

/// Flags that describe the endpoint.
#[derive(Clone, Debug, Args)]
pub struct EndpointFlags {
    /// Addresses for Services; one range, or one of each family.
    #[arg(
        long,
        env = "LEASEHOLD_SERVICE_CIDR",
        value_delimiter = ',',
        default_value = "10.96.0.0/12",
        value_name = "ADDR/BITS,…"
    )]
    pub service_cidr: Vec<crate::coordinator::services::ServiceRange>,
    /// Further names and addresses for the endpoint's certificate.
    #[arg(long, env = "LEASEHOLD_TLS_SAN", value_delimiter = ',', value_name = "NAME,…")]
    pub tls_san: Vec<String>,
    /// Longest life of the certificates that are signed on request, in seconds.
    #[arg(
        long,
        env = "LEASEHOLD_CERTIFICATE_DURATION",
        default_value_t = 31_536_000,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(10..)
    )]
    pub certificate_duration: u64,
    /// Over how many shards the work of the stewards is spread, in a new cluster [default: 4].
    #[arg(
        long,
        env = "LEASEHOLD_STEWARD_SHARDS",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(SHARDS_MAX))
    )]
    pub steward_shards: Option<u32>,
}

/// Flags of `agent`.
#[derive(Debug, Args)]
pub struct Agent {
    /// How to reach the coordinator, and as whom.
    #[arg(
        long,
        env = "LEASEHOLD_KUBECONFIG",
        default_value = "/etc/leasehold/agent.kubeconfig",
        value_name = "FILE"
    )]
    pub kubeconfig: PathBuf,
    /// Join the cluster of the coordinator at this address, with --token and --ca-hash, unless this node has joined
    /// before.
    #[arg(long, env = "LEASEHOLD_COORDINATOR", requires_all = ["token", "ca_hash"], value_name = "URL")]
    pub coordinator: Option<String>,
    /// The token to join with (`leasehold token create`).
    #[arg(
        long,
        env = "LEASEHOLD_TOKEN",
        requires = "coordinator",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub token: Option<String>,
    /// Hash of the public key of the cluster's authority, as the token came with.
    #[arg(long, env = "LEASEHOLD_CA_HASH", requires = "coordinator", value_name = "sha256:HEX")]
    pub ca_hash: Option<String>,
    /// Steward as well, with the rights of this kubeconfig [default: do not].
    #[arg(long, env = "LEASEHOLD_STEWARD_KUBECONFIG", value_name = "FILE")]
    pub steward_kubeconfig: Option<PathBuf>,
    /// Over how many shards the stewards' work is spread; an agent that differs from the others does not steward
    /// [default: as the cluster has it].
    #[arg(
        long,
        env = "LEASEHOLD_STEWARD_SHARDS",
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=i64::from(SHARDS_MAX))
    )]
    pub steward_shards: Option<u32>,
    /// Where state is kept.
    #[arg(long, env = "LEASEHOLD_DATA_DIR", default_value = "/var/lib/leasehold/agent", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// This node.
    #[command(flatten)]
    pub node: NodeFlags,
}

/// Flags that describe a node.
#[derive(Clone, Debug, Args)]
pub struct NodeFlags {
    /// Name of the Node [default: the host name in lower case].
    #[arg(long, env = "LEASEHOLD_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Address of the Node [default: that of --node-listen, or of the interface with the default route].
    #[arg(long, env = "LEASEHOLD_NODE_IP", value_name = "ADDR")]
    pub node_ip: Option<IpAddr>,
    /// Address of the node's own HTTPS endpoint (logs, exec, metrics).
    #[arg(long, env = "LEASEHOLD_NODE_LISTEN", value_parser = address, default_value = "[::]:10250", value_name = "ADDR:PORT")]
    pub node_listen: SocketAddr,
    /// Labels for the Node.
    #[arg(long, env = "LEASEHOLD_NODE_LABELS", value_delimiter = ',', value_name = "KEY=VALUE,…")]
    pub node_labels: Vec<String>,
    /// Taints the Node registers with.
    #[arg(
        long,
        env = "LEASEHOLD_REGISTER_WITH_TAINTS",
        value_delimiter = ',',
        value_name = "KEY=VALUE:EFFECT,…"
    )]
    pub register_with_taints: Vec<String>,
    /// Most Pods this node hosts.
    #[arg(long, env = "LEASEHOLD_MAX_PODS", default_value_t = 110, value_name = "N")]
    pub max_pods: u32,
    /// containerd.
    #[command(flatten)]
    pub containerd: ContainerdFlags,
    /// Root of the files that labels and hardware are read from; nothing else is affected.
    #[arg(long, env = "LEASEHOLD_SYSROOT", default_value = "/", value_name = "DIR")]
    pub sysroot: PathBuf,
    /// Pinned namespaces and sockets [default: /run/leasehold/CONTAINERD-NAMESPACE].
    #[arg(long, env = "LEASEHOLD_RUNTIME_DIR", value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Containers' logs go to DIR/pods, with links in DIR/containers.
    #[arg(long, env = "LEASEHOLD_LOG_DIR", default_value = "/var/log", value_name = "DIR")]
    pub log_dir: PathBuf,
    /// Network configuration; the first file in lexical order is used.
    #[arg(long, env = "LEASEHOLD_CNI_CONF_DIR", default_value = "/etc/cni/net.d", value_name = "DIR")]
    pub cni_conf_dir: PathBuf,
    /// Network plugins.
    #[arg(
        long,
        env = "LEASEHOLD_CNI_BIN_DIR",
        value_delimiter = ',',
        default_value = "/opt/cni/bin,/usr/lib/cni",
        value_name = "DIR,…"
    )]
    pub cni_bin_dir: Vec<PathBuf>,
    /// When the Node says that it is short of memory, disk or processes: the signals of the kubelet's --eviction-hard.
    #[arg(
        long,
        env = "LEASEHOLD_PRESSURE_THRESHOLDS",
        default_value = crate::agent::pressure::DEFAULT,
        value_name = "SIGNAL<BOUND,…"
    )]
    pub pressure_thresholds: String,
    /// Where Pods reach the Kubernetes API [default: where the agent does; for Pods with a network of their own the
    /// node's address stands for loopback].
    #[arg(long, env = "LEASEHOLD_SERVICE_ADDRESS", value_name = "HOST:PORT")]
    pub service_address: Option<String>,
    /// How long this node counts as alive without a renewal, in seconds.
    #[arg(long, env = "LEASEHOLD_SESSION_DURATION", default_value_t = 20, value_name = "SECONDS")]
    pub session_duration: u32,
    /// What this node promises of Pods that must not run twice, when it loses its session: none (nothing is stopped; for
    /// machines that are suspended or paused), kill, or reset (the machine, where killing is not enough).
    #[arg(long, env = "LEASEHOLD_FENCE", default_value = "kill", value_name = "none|kill|reset")]
    pub fence: crate::lease::fence::FenceLevel,
    /// Where the guard writes `b` to reset the machine.
    #[arg(long, hide = true, default_value = crate::guard::process::RESET_TRIGGER, value_name = "FILE")]
    pub reset_trigger: PathBuf,
}

/// Flags that say where containerd is.
#[derive(Clone, Debug, Args)]
pub struct ContainerdFlags {
    /// containerd's socket.
    #[arg(
        long,
        env = "LEASEHOLD_CONTAINERD_ADDRESS",
        default_value = "/run/containerd/containerd.sock",
        value_name = "SOCKET"
    )]
    pub containerd_address: PathBuf,
    /// Mirrors and authorities of registries, as containerd's: DIR/REGISTRY/hosts.toml.
    #[arg(
        long,
        env = "LEASEHOLD_REGISTRY_CONFIG_DIR",
        default_value = "/etc/containerd/certs.d",
        value_name = "DIR"
    )]
    pub registry_config_dir: PathBuf,
    /// containerd namespace for everything leasehold makes.
    #[arg(long, env = "LEASEHOLD_CONTAINERD_NAMESPACE", default_value = "leasehold", value_name = "NAME")]
    pub containerd_namespace: String,
}

/// `image` commands.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Load images from an OCI or Docker archive.
    Import {
        /// The archive.
        #[arg(value_name = "FILE.tar")]
        file: PathBuf,
        /// containerd.
        #[command(flatten)]
        containerd: ContainerdFlags,
    },
    /// List the images on this node.
    List {
        /// Output format.
        #[arg(long, short, default_value = "table")]
        output: Output,
        /// containerd.
        #[command(flatten)]
        containerd: ContainerdFlags,
    },
    /// Pull an image from its registry.
    Pull {
        /// E.g. `registry.example/prometheus/node-exporter:v1.9.1`.
        #[arg(value_name = "REF")]
        reference: String,
        /// containerd.
        #[command(flatten)]
        containerd: ContainerdFlags,
    },
    /// Remove an image.
    Remove {
        /// As `list` shows it.
        #[arg(value_name = "REF")]
        reference: String,
        /// containerd.
        #[command(flatten)]
        containerd: ContainerdFlags,
    },
}

/// `node` commands.
#[derive(Debug, Subcommand)]
pub enum Node {
    /// Print the labels and hardware an agent would report.
    Facts {
        /// Root of the files that facts are read from.
        #[arg(long, env = "LEASEHOLD_SYSROOT", default_value = "/", value_name = "DIR")]
        sysroot: PathBuf,
        /// Output format.
        #[arg(long, short, default_value = "table")]
        output: Output,
    },
}

/// `token` commands.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make a token and print the command by which a machine joins with it.
    Create {
        /// The machine may steward as well.
        #[arg(long)]
        steward: bool,
        /// How long the token is good: 30m, 24h, 7d; 0 for no end.
        #[arg(long, default_value = "24h", value_name = "TIME")]
        ttl: String,
        /// Where machines reach the coordinator [default: as the kubeconfig says].
        #[arg(long, value_name = "URL")]
        coordinator: Option<String>,
        /// Output format.
        #[arg(long, short, default_value = "table")]
        output: Output,
        /// The cluster.
        #[command(flatten)]
        access: TokenAccess,
    },
    /// List the tokens there are, without their secrets.
    List {
        /// Output format.
        #[arg(long, short, default_value = "table")]
        output: Output,
        /// The cluster.
        #[command(flatten)]
        access: TokenAccess,
    },
    /// Delete a token.
    Delete {
        /// The token or its first six characters.
        #[arg(value_name = "TOKEN")]
        token: String,
        /// The cluster.
        #[command(flatten)]
        access: TokenAccess,
    },
}

/// `brake` commands.
#[derive(Debug, Subcommand)]
pub enum Brake {
    /// Tell whether it is drawn, and who monitors the nodes since when.
    Status {
        /// Output format.
        #[arg(long, short, default_value = "table")]
        output: Output,
        /// The cluster.
        #[command(flatten)]
        access: TokenAccess,
    },
    /// Let it go: what is lost is lost.
    Release {
        /// The cluster.
        #[command(flatten)]
        access: TokenAccess,
    },
}

/// `identity` commands.
#[derive(Debug, Subcommand)]
pub enum Identity {
    /// List who holds which, since when, and why one stays with a node that is lost.
    List {
        /// Output format.
        #[arg(long, short, default_value = "table")]
        output: Output,
        /// The cluster.
        #[command(flatten)]
        access: TokenAccess,
    },
    /// Take a Pod's identity from a node that is lost: you vouch for the Pod's being dead there.
    Release {
        /// Whose.
        #[arg(value_name = "NAMESPACE/POD")]
        pod: String,
        /// Do not ask.
        #[arg(long, short)]
        yes: bool,
        /// Also from a node whose session is alive.
        #[arg(long)]
        force: bool,
        /// The cluster.
        #[command(flatten)]
        access: TokenAccess,
    },
}

/// Flags of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// What: pod/NAME or daemonset/NAME.
    #[arg(value_name = "KIND/NAME")]
    pub subject: String,
    /// Its namespace.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,
    /// Tell of this node alone.
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Tell as well what would be if the node (without --node: every node) had this label; KEY- takes one away.
    #[arg(long, value_name = "KEY=VALUE")]
    pub what_if_label: Vec<String>,
    /// Output format.
    #[arg(long, short, default_value = "table")]
    pub output: Output,
    /// The cluster.
    #[command(flatten)]
    pub access: TokenAccess,
}

/// How commands for operators reach the cluster.
#[derive(Clone, Debug, Args)]
pub struct TokenAccess {
    /// An administrator's kubeconfig.
    #[arg(long, env = "KUBECONFIG", default_value = "/var/lib/leasehold/kubeconfig", value_name = "FILE")]
    pub kubeconfig: PathBuf,
}

/// Flags of `reset`.
#[derive(Debug, Args)]
pub struct Reset {
    /// The data directory of `up` or `agent`; it is removed as well.
    #[arg(long, env = "LEASEHOLD_DATA_DIR", default_value = "/var/lib/leasehold", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Pinned namespaces and sockets [default: /run/leasehold/CONTAINERD-NAMESPACE].
    #[arg(long, env = "LEASEHOLD_RUNTIME_DIR", value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// Where the containers' logs are.
    #[arg(long, env = "LEASEHOLD_LOG_DIR", default_value = "/var/log", value_name = "DIR")]
    pub log_dir: PathBuf,
    /// containerd.
    #[command(flatten)]
    pub containerd: ContainerdFlags,
    /// Keep the data directory and the images; remove only what runs.
    #[arg(long)]
    pub keep_data: bool,
    /// Do not ask.
    #[arg(long, short)]
    pub yes: bool,
}

/// Flags of `guard`.
#[derive(Debug, Args)]
pub struct Guard {
    /// The agent's runtime directory [default: /run/leasehold/CONTAINERD-NAMESPACE].
    #[arg(long, env = "LEASEHOLD_RUNTIME_DIR", value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,
    /// The agent's containerd namespace.
    #[arg(long, env = "LEASEHOLD_CONTAINERD_NAMESPACE", default_value = "leasehold", value_name = "NAME")]
    pub containerd_namespace: String,
    /// Show what the running guard watches over.
    #[arg(long)]
    pub status: bool,
    /// Leave the process running as nobody's child.
    #[arg(long, hide = true)]
    pub detach: bool,
    /// Where `b` is written to reset the machine.
    #[arg(long, hide = true, default_value = crate::guard::process::RESET_TRIGGER, value_name = "FILE")]
    pub reset_trigger: PathBuf,
}

/// Flags of `log-writer`.
#[derive(Debug, Args)]
pub struct LogWriter {
    /// The agent's runtime directory.
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: PathBuf,
    /// Leave the process running as nobody's child.
    #[arg(long)]
    pub detach: bool,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns for people.
    Table,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Reads arguments, environment and configuration file. Help and usage errors end the program as clap does.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> anyhow::Result<Cli> {
    let args: Vec<OsString> = args.into_iter().collect();
    let first = Cli::command().ignore_errors(true).get_matches_from(&args);
    let Some(name) = first.subcommand_name().map(str::to_owned) else {
        return Ok(Cli::parse_from(args));
    };
    let explicit = first.get_one::<PathBuf>("config").cloned();
    let file = File::read(explicit.as_deref(), &name).map_err(Misused)?;
    let command = file.defaults_for(Cli::command(), &name).map_err(Misused)?;
    let matches = command.try_get_matches_from(args).unwrap_or_else(|error| match file.blame(&error) {
        Some(blame) => {
            eprintln!("leasehold: {blame}");
            std::process::exit(USAGE.into())
        }
        None => error.exit(),
    });
    Cli::from_arg_matches(&matches).context("reading the command line")
}

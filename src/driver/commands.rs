//! The long-running commands: `up`, `coordinator`, `agent`; and `reset`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::cli::{Agent, Command, Coordinator as CoordinatorFlags, EndpointFlags, Misused, Up};
use crate::client::Connection;
use crate::coordinator::services::ServiceRange;
use crate::driver::agent::{self, AgentConfig};
use crate::driver::clock;
use crate::driver::coordinator::{self, CoordinatorConfig};
use crate::driver::join::{self, Invitation, Role};
use crate::driver::{renewal, reset, service, steward};
use crate::lease::shard::wire::SHARDS_DEFAULT;
use crate::server::tls::{NODES, Purpose, STEWARDS, Wanted};

/// Performs one long-running command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(flags) => up(flags).await,
        Command::Coordinator(flags) => coordinate(flags).await,
        Command::Agent(flags) => agent(flags).await,
        Command::Reset(flags) => reset::run(flags).await,
        Command::Image(_)
        | Command::Node(_)
        | Command::Token(_)
        | Command::Brake(_)
        | Command::Explain(_)
        | Command::Identity(_)
        | Command::LogWriter(_)
        | Command::Guard(_)
        | Command::Version => {
            unreachable!("main performs these itself")
        }
    }
}

async fn coordinate(flags: CoordinatorFlags) -> anyhow::Result<()> {
    let running = start_coordinator(&flags.data_dir, flags.listen, &flags.endpoint).await?;
    let kubeconfig = flags.data_dir.join("kubeconfig");
    running.write_admin_kubeconfig(&kubeconfig)?;
    service::ready(&format!(
        "leasehold coordinator is ready on {}: export KUBECONFIG={}",
        running.local_addr,
        shown(&kubeconfig)
    ));
    service::stopped().await?;
    running.stop().await;
    Ok(())
}

/// Containers, mounts and network namespaces are root's.
pub(super) fn need_root() -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a node's agent needs root: it makes containers, mounts and network namespaces");
    }
    Ok(())
}

async fn agent(flags: Agent) -> anyhow::Result<()> {
    need_root()?;
    let config = AgentConfig::new(&flags.node, &flags.data_dir).map_err(Misused::from)?;
    let own = flags.data_dir.join("kubeconfig");
    let node = config.node_name().to_owned();
    join_where_needed(&flags, Role::Node, &node, &own).await?;
    let joined = flags.coordinator.is_some();
    let kubeconfig =
        if (joined || !flags.kubeconfig.exists()) && own.exists() { own } else { flags.kubeconfig.clone() };
    if !kubeconfig.exists() {
        bail!(
            "there is no kubeconfig {}: name one with --kubeconfig (the coordinator's is \
             DATA-DIR/kubeconfig there), or join with --coordinator, --token and --ca-hash",
            kubeconfig.display()
        );
    }
    let connection = Connection::from_kubeconfig(&kubeconfig).await?;
    keep_certificate(&flags, &connection, &kubeconfig, Role::Node, &node);
    let running = agent::start(config, connection).await?;
    let mut stewarding = None;
    if let Some(path) = &flags.steward_kubeconfig {
        join_where_needed(&flags, Role::Steward, &node, path).await?;
        let connection = Connection::from_kubeconfig(path).await?;
        keep_certificate(&flags, &connection, path, Role::Steward, &node);
        let beside = steward::Beside { shards: flags.steward_shards, ..running.beside() };
        stewarding = Some(steward::start(&connection, beside)?);
    }
    service::ready(&format!("leasehold agent is ready as node {}", running.node_name()));
    tokio::select! {
        stopped = service::stopped() => stopped?,
        failed = running.failed() => return Err(failed),
    }
    if let Some(stewarding) = stewarding {
        stewarding.hand_over().await;
    }
    Ok(())
}

/// Joins with the token that was given, unless the certificate of an earlier time is still good. A node that has been
/// here before goes on without, if it must: its DaemonSets need no coordinator.
async fn join_where_needed(flags: &Agent, role: Role, node: &str, kubeconfig: &Path) -> anyhow::Result<()> {
    let kept = if kubeconfig.exists() {
        Connection::from_kubeconfig(kubeconfig).await.ok().and_then(|kept| kept.certificate_pem())
    } else {
        None
    };
    let end = kept.as_deref().map(crate::server::tls::validity).transpose().map_err(anyhow::Error::msg)?;
    let end = end.map(|(_, end)| end);
    if end.is_some_and(|end| end > clock::wall().0) {
        return Ok(());
    }
    let (Some(coordinator), Some(token), Some(ca_hash)) = (&flags.coordinator, &flags.token, &flags.ca_hash)
    else {
        if let Some(end) = end {
            tracing::error!("{}", renewal::ended(node, end));
        }
        return Ok(());
    };
    let invitation =
        Invitation { coordinator: coordinator.clone(), token: token.clone(), ca_hash: ca_hash.clone() };
    match join::join(&invitation, role, node, kubeconfig).await {
        Ok(()) => {
            tracing::info!(node, ?role, "joined");
            Ok(())
        }
        Err(error) => match end {
            Some(end) => {
                tracing::error!(error = format!("{error:#}"), "{}", renewal::ended(node, end));
                Ok(())
            }
            None => Err(error.context("joining")),
        },
    }
}

/// Renews a certificate that this node has asked for itself; one that people gave it is theirs to renew.
fn keep_certificate(flags: &Agent, connection: &Connection, kubeconfig: &Path, role: Role, node: &str) {
    let is_own = flags.coordinator.is_some() || kubeconfig.starts_with(&flags.data_dir);
    let is_its = connection
        .certificate_pem()
        .and_then(|pem| crate::server::tls::subject(&pem).ok())
        .is_some_and(|peer| peer.common_name == role.user(node));
    if is_own && is_its {
        let kept = renewal::Kept { kubeconfig: kubeconfig.to_owned(), role, node: node.to_owned() };
        renewal::start(connection.clone(), kept);
    }
}

async fn up(flags: Up) -> anyhow::Result<()> {
    need_root()?;
    let (coordinator_dir, agent_dir) = (flags.data_dir.join("coordinator"), flags.data_dir.join("agent"));
    let config = AgentConfig::new(&flags.node, &agent_dir).map_err(Misused::from)?;
    let coordinator = start_coordinator(&coordinator_dir, flags.listen, &flags.endpoint).await?;
    let admin = flags.data_dir.join("kubeconfig");
    coordinator.write_admin_kubeconfig(&admin)?;
    std::fs::create_dir_all(&agent_dir).with_context(|| agent_dir.display().to_string())?;
    let name = format!("system:node:{}", config.node_name());
    let node = agent_dir.join("kubeconfig");
    write_kubeconfig(&coordinator, &node, &name, NODES)?;
    let steward = agent_dir.join("steward.kubeconfig");
    write_kubeconfig(&coordinator, &steward, "leasehold:steward", STEWARDS)?;

    let running = agent::start(config, Connection::from_kubeconfig(&node).await?).await?;
    let stewarding = steward::start(&Connection::from_kubeconfig(&steward).await?, running.beside())?;
    running.registered().await;
    service::ready(&format!("leasehold is ready: export KUBECONFIG={}", shown(&admin)));
    tokio::select! {
        stopped = service::stopped() => stopped?,
        failed = running.failed() => return Err(failed),
    }
    stewarding.hand_over().await;
    coordinator.stop().await;
    Ok(())
}

/// A path that holds in whatever directory it is typed.
fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

async fn start_coordinator(
    data_dir: &Path,
    listen: SocketAddr,
    flags: &EndpointFlags,
) -> anyhow::Result<coordinator::Running> {
    service::allow_many_files();
    let config = CoordinatorConfig {
        extra_names: flags.tls_san.clone(),
        service_ranges: service_ranges(&flags.service_cidr).map_err(Misused::from)?,
        certificate_life: Duration::from_secs(flags.certificate_duration),
        steward_shards: flags.steward_shards.unwrap_or(SHARDS_DEFAULT),
        ..CoordinatorConfig::new(data_dir.to_owned(), listen)
    };
    Ok(coordinator::start(config).await?)
}

/// One range, or one of each family.
fn service_ranges(given: &[ServiceRange]) -> anyhow::Result<Vec<ServiceRange>> {
    match given {
        [_] => Ok(given.to_vec()),
        [first, second] if first.is_ipv4() != second.is_ipv4() => Ok(given.to_vec()),
        _ => bail!("--service-cidr: expected one range, or one of each address family"),
    }
}

/// Writes a kubeconfig for a user of one group, with a certificate that is kept beside the authority.
fn write_kubeconfig(
    coordinator: &coordinator::Running,
    path: &Path,
    user: &str,
    group: &str,
) -> anyhow::Result<()> {
    let wanted = Wanted {
        common_name: user.to_owned(),
        purpose: Purpose::Client { organizations: vec![group.to_owned()] },
    };
    let identity = coordinator.authority.keep(&user.replace(':', "-"), &wanted, clock::wall())?;
    Ok(coordinator.write_kubeconfig(path, user, &identity)?)
}

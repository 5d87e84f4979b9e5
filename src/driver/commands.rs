//! The long-running commands: `up`, `coordinator`, `agent`; and `reset`.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::cli::{Agent, Command, Coordinator as CoordinatorFlags, Up};
use crate::client::Connection;
use crate::driver::agent::{self, AgentConfig};
use crate::driver::clock;
use crate::driver::coordinator::{self, CoordinatorConfig};
use crate::driver::{reset, service, steward};
use crate::server::tls::{NODES, Purpose, STEWARDS, Wanted};

/// Performs one long-running command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Up(flags) => up(flags).await,
        Command::Coordinator(flags) => coordinate(flags).await,
        Command::Agent(flags) => agent(flags).await,
        Command::Reset(flags) => reset::run(flags).await,
        Command::Image(_) | Command::Node(_) | Command::LogWriter(_) | Command::Version => {
            unreachable!("main performs these itself")
        }
    }
}

async fn coordinate(flags: CoordinatorFlags) -> anyhow::Result<()> {
    let running = start_coordinator(&flags.data_dir, flags.listen).await?;
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
    let config = AgentConfig::new(&flags.node, &flags.data_dir)?;
    let kept = flags.data_dir.join("kubeconfig");
    let kubeconfig = if !flags.kubeconfig.exists() && kept.exists() { kept } else { flags.kubeconfig };
    if !kubeconfig.exists() {
        bail!(
            "there is no kubeconfig {}: name one with --kubeconfig (the coordinator's is DATA-DIR/kubeconfig there)",
            kubeconfig.display()
        );
    }
    let connection = Connection::from_kubeconfig(&kubeconfig).await?;
    let running = agent::start(config, connection).await?;
    if let Some(path) = &flags.steward_kubeconfig {
        steward::start(&Connection::from_kubeconfig(path).await?, running.node_name())?;
    }
    service::ready(&format!("leasehold agent is ready as node {}", running.node_name()));
    tokio::select! {
        stopped = service::stopped() => stopped,
        failed = running.failed() => Err(failed),
    }
}

async fn up(flags: Up) -> anyhow::Result<()> {
    need_root()?;
    let (coordinator_dir, agent_dir) = (flags.data_dir.join("coordinator"), flags.data_dir.join("agent"));
    let config = AgentConfig::new(&flags.node, &agent_dir)?;
    let coordinator = start_coordinator(&coordinator_dir, flags.listen).await?;
    let admin = flags.data_dir.join("kubeconfig");
    coordinator.write_admin_kubeconfig(&admin)?;
    std::fs::create_dir_all(&agent_dir).with_context(|| agent_dir.display().to_string())?;
    let name = format!("system:node:{}", config.node_name());
    let node = agent_dir.join("kubeconfig");
    write_kubeconfig(&coordinator, &node, &name, NODES)?;
    let steward = agent_dir.join("steward.kubeconfig");
    write_kubeconfig(&coordinator, &steward, "leasehold:steward", STEWARDS)?;

    let running = agent::start(config, Connection::from_kubeconfig(&node).await?).await?;
    steward::start(&Connection::from_kubeconfig(&steward).await?, running.node_name())?;
    running.registered().await;
    service::ready(&format!("leasehold is ready: export KUBECONFIG={}", shown(&admin)));
    tokio::select! {
        stopped = service::stopped() => stopped?,
        failed = running.failed() => return Err(failed),
    }
    coordinator.stop().await;
    Ok(())
}

/// A path that holds in whatever directory it is typed.
fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

async fn start_coordinator(data_dir: &Path, listen: SocketAddr) -> anyhow::Result<coordinator::Running> {
    service::allow_many_files();
    let config = CoordinatorConfig { data_dir: data_dir.to_owned(), listen, extra_names: Vec::new() };
    Ok(coordinator::start(config).await?)
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

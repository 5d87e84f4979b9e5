//! The long-running commands: `up`, `coordinator`, `agent`; and `reset`.

use std::net::SocketAddr;
use std::path::Path;

use crate::cli::{Command, Coordinator as CoordinatorFlags};
use crate::driver::coordinator::{self, CoordinatorConfig};
use crate::driver::service;

/// Performs one long-running command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Coordinator(flags) => coordinate(flags).await,
        Command::Up(_) | Command::Agent(_) | Command::Reset(_) => anyhow::bail!("not there yet"),
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
        kubeconfig.display()
    ));
    service::stopped().await?;
    running.stop().await;
    Ok(())
}

async fn start_coordinator(data_dir: &Path, listen: SocketAddr) -> anyhow::Result<coordinator::Running> {
    let config = CoordinatorConfig { data_dir: data_dir.to_owned(), listen, extra_names: Vec::new() };
    Ok(coordinator::start(config).await?)
}

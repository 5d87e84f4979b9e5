//! The `reset` command: removes everything an agent made on this machine.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::cgroup::{Cgroups, Driver};
use crate::cli::Reset;
use crate::containerd::Runtime;
use crate::driver::agent::{Lock, runtime_dir};
use crate::guard::client::Link;
use crate::logs;
use crate::network::cni::Cni;
use crate::network::resolver::ClusterDns;
use crate::sandbox::{self, Ground};

/// Where containerd's shim has runc keep its state, by containerd namespace.
const RUNC_ROOT: &str = "/run/containerd/runc";
/// How long what is killed may take to be gone.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Performs it. What cannot be removed is named at the end, and everything else is gone.
pub(super) async fn run(flags: Reset) -> anyhow::Result<()> {
    let runtime_dir = runtime_dir(flags.runtime_dir.as_deref(), &flags.containerd.containerd_namespace);
    // As the agent names it to its log process.
    let runtime_dir = std::path::absolute(&runtime_dir)
        .with_context(|| format!("--runtime-dir {}", runtime_dir.display()))?;
    if !flags.yes {
        confirm(&flags, &runtime_dir)?;
    }
    super::commands::need_root()?;
    let _lock = Lock::take(&runtime_dir)?;
    let agent_dir = agent_dir(&flags.data_dir);
    let mut failures = Vec::new();
    let mut uids = BTreeSet::new();
    // First: it would make the cgroup of a Pod that it has to fence.
    stop_guard(&runtime_dir, &mut failures);
    remove_containers(&flags, &mut uids, &mut failures).await;
    remove_sandboxes(&agent_dir, &runtime_dir, &mut uids, &mut failures).await;
    if let Err(stuck) = logs::end(&runtime_dir).await {
        failures.push(stuck.to_string());
    }
    remove_logs(&flags.log_dir, &uids, &mut failures);
    remove(&runtime_dir, &mut failures);
    if !flags.keep_data {
        remove(&flags.data_dir, &mut failures);
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!(
        "some things could not be removed; run it again after looking at them:\n  {}",
        failures.join("\n  ")
    )
}

fn confirm(flags: &Reset, runtime_dir: &Path) -> anyhow::Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("this removes all Pods and data of this node; say --yes");
    }
    print!(
        "This removes all containers in containerd's namespace {:?}, {} and {}. Go on? [y/N] ",
        flags.containerd.containerd_namespace,
        runtime_dir.display(),
        flags.data_dir.display()
    );
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !answer.trim().eq_ignore_ascii_case("y") {
        bail!("nothing was removed");
    }
    Ok(())
}

/// The agent's part of a data directory of `up`; that of `agent` is all its own.
fn agent_dir(data_dir: &Path) -> PathBuf {
    let below = data_dir.join("agent");
    if below.is_dir() { below } else { data_dir.to_owned() }
}

async fn remove_containers(flags: &Reset, uids: &mut BTreeSet<String>, failures: &mut Vec<String>) {
    let containerd = &flags.containerd;
    let runtime = match Runtime::new(&containerd.containerd_address, &containerd.containerd_namespace) {
        Ok(runtime) => runtime,
        Err(error) => return failures.push(error.to_string()),
    };
    let listed = match runtime.list().await {
        Ok(listed) => listed,
        Err(error) => return failures.push(format!("containers: {error}")),
    };
    for container in listed {
        uids.extend(container.labels.get("io.kubernetes.pod.uid").cloned());
        if let Err(error) = runtime.remove(&container.id).await {
            failures.push(format!("container {}: {error}", container.id));
        }
    }
    if !flags.keep_data {
        for image in runtime.images().await.unwrap_or_default() {
            for name in image.names {
                // A name by digest goes with its tag, and may be gone by now.
                let _ = runtime.remove_image(&name).await;
            }
        }
    }
    if let Err(error) = runtime.remove_leftovers().await {
        failures.push(format!("leftovers in containerd: {error}"));
    }
    // runc's directory for this namespace, which its shim leaves. Refused while something of others is in it.
    let _ = std::fs::remove_dir(Path::new(RUNC_ROOT).join(&containerd.containerd_namespace));
}

async fn remove_sandboxes(
    agent_dir: &Path,
    runtime_dir: &Path,
    uids: &mut BTreeSet<String>,
    failures: &mut Vec<String>,
) {
    let cgroups = match Cgroups::detect(Path::new("/sys/fs/cgroup"), Driver::of_machine()) {
        Ok(cgroups) => cgroups,
        Err(error) => return failures.push(error.to_string()),
    };
    let ground = Arc::new(Ground {
        data_dir: agent_dir.to_owned(),
        runtime_dir: runtime_dir.to_owned(),
        cgroups: cgroups.clone(),
        cni: Cni::default(),
        dns: ClusterDns::default(),
        resolver_file: sandbox::default_resolver(),
        hosts_file: "/etc/hosts".into(),
        pids_per_pod: None,
        allowed_sysctls: Vec::new(),
    });
    uids.extend(ground.leftovers(&BTreeSet::new()));
    for uid in uids.iter() {
        // What containerd could not be asked to end.
        let (cgroups, pod) = (cgroups.clone(), uid.clone());
        let killed = tokio::task::spawn_blocking(move || cgroups.kill_all(&pod, KILL_PATIENCE)).await;
        if let Ok(Err(error)) = killed {
            failures.push(format!("Pod {uid}: {error}"));
        }
        if let Err(error) = ground.clone().remove(uid.clone()).await {
            failures.push(format!("Pod {uid}: {error}"));
        }
    }
    let emptied = tokio::task::spawn_blocking(move || cgroups.remove_root()).await;
    if let Ok(Err(error)) = emptied {
        failures.push(error.to_string());
    }
}

/// The guard fences what it knows before it ends.
fn stop_guard(runtime_dir: &Path, failures: &mut Vec<String>) {
    // One that cannot be reached is gone already.
    let Ok(mut guard) = Link::connect(runtime_dir) else { return };
    if let Err(error) = guard.stop() {
        failures.push(format!("guard: {error}"));
    }
}

/// Removes the logs of these Pods, and links to them.
fn remove_logs(log_dir: &Path, uids: &BTreeSet<String>, failures: &mut Vec<String>) {
    let pods = log_dir.join("pods");
    let ours = |name: &str| name.rsplit_once('_').is_some_and(|(_, uid)| uids.contains(uid));
    let mut removed = Vec::new();
    for entry in std::fs::read_dir(&pods).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(ours) {
            remove(&entry.path(), failures);
            removed.push(entry.path());
        }
    }
    for entry in std::fs::read_dir(log_dir.join("containers")).into_iter().flatten().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if removed.iter().any(|dir| target.starts_with(dir)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

fn remove(path: &Path, failures: &mut Vec<String>) {
    match std::fs::remove_dir_all(path) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        // A disk of its own is emptied and stays mounted.
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && is_empty(path) => {}
        Err(error) => failures.push(format!("{}: {error}", path.display())),
    }
}

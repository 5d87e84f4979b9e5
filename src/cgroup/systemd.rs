//! Pod slices under systemd.
//!
//! A slice is a runtime unit file and `systemctl start`: it blocks until the slice is there, is harmless when repeated,
//! survives `daemon-reload` with its limits, and needs no D-Bus client. runc's scopes then name the slice as theirs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::CgroupError;
use super::limits::{CPU_PERIOD_US, Limits, weight};

/// Units that last until the next boot.
const RUNTIME_UNITS: &str = "/run/systemd/system";

/// Makes the slice with its limits, or finds it: `is_there` tells whether its cgroup exists.
pub(super) fn start_slice(slice: &str, limits: &Limits, is_there: bool) -> Result<(), CgroupError> {
    let path = unit_path(slice);
    let unit = unit_text(slice, limits);
    let had = fs::read_to_string(&path).ok();
    if is_there && had.as_ref() == Some(&unit) {
        return Ok(());
    }
    fs::write(&path, unit)
        .map_err(|source| CgroupError::Io { step: format!("write {}", path.display()), source })?;
    if had.is_some() {
        systemctl(&["daemon-reload"])?;
    }
    systemctl(&["start", slice])
}

/// Ends the slice and forgets its unit.
pub(super) fn stop_slice(slice: &str) -> Result<(), CgroupError> {
    let path = unit_path(slice);
    if !path.exists() {
        return Ok(());
    }
    systemctl(&["stop", slice])?;
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CgroupError::Io { step: format!("remove {}", path.display()), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Ends a slice that systemd made by itself, as the parent of others that are gone.
pub(super) fn stop_empty_slice(slice: &str) -> Result<(), CgroupError> {
    systemctl(&["stop", slice])
}

fn unit_path(slice: &str) -> PathBuf {
    Path::new(RUNTIME_UNITS).join(slice)
}

/// systemd translates these settings on cgroup v1 by itself.
fn unit_text(slice: &str, limits: &Limits) -> String {
    let mut lines = vec![
        "[Unit]".to_owned(),
        format!("Description=Pod slice {slice} of leasehold"),
        // Pods are stopped by their agent, not in the rush of a shutdown transaction.
        "DefaultDependencies=no".to_owned(),
        "[Slice]".to_owned(),
        "CPUAccounting=yes".to_owned(),
        "MemoryAccounting=yes".to_owned(),
        "TasksAccounting=yes".to_owned(),
    ];
    lines.extend(limits.cpu_shares.map(|shares| format!("CPUWeight={}", weight(shares))));
    lines.extend(limits.cpu_quota_us.map(|quota| format!("CPUQuota={}%", quota * 100 / CPU_PERIOD_US)));
    lines.extend(limits.memory_bytes.map(|bytes| format!("MemoryMax={bytes}")));
    lines.extend(limits.pids.map(|pids| format!("TasksMax={pids}")));
    lines.join("\n") + "\n"
}

fn systemctl(arguments: &[&str]) -> Result<(), CgroupError> {
    let answer = Command::new("systemctl")
        .args(["--no-ask-password", "--quiet"])
        .args(arguments)
        .output()
        .map_err(|source| CgroupError::Io { step: "run systemctl".to_owned(), source })?;
    if answer.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&answer.stderr);
    Err(CgroupError::Systemd(format!("systemctl {}: {}", arguments.join(" "), said.trim())))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Cgroups, Driver};
    use super::*;

    /// A Pod's slice, stopped whatever happens.
    struct Own(Cgroups, String);

    impl Drop for Own {
        fn drop(&mut self) {
            let _ = self.0.kill_all(&self.1, Duration::from_secs(2));
            let _ = self.0.remove(&self.1);
        }
    }

    fn is_active(slice: &str) -> bool {
        Command::new("systemctl").args(["--quiet", "is-active", slice]).status().unwrap().success()
    }

    #[test]
    fn under_systemd_a_pods_slice_is_there_with_its_limits_and_gone_afterwards() {
        if Driver::of_machine() != Driver::Systemd {
            println!("skipped: systemd is not PID 1 here");
            return;
        }
        let cgroups = Cgroups::detect(Path::new("/sys/fs/cgroup"), Driver::Systemd).unwrap();
        let own = Own(cgroups, format!("test-slice-{}", std::process::id()));
        let limits = Limits {
            cpu_shares: Some(512),
            memory_bytes: Some(64 << 20),
            pids: Some(99),
            ..Limits::default()
        };
        own.0.create(&own.1, &limits).unwrap();
        let pod = own.0.create(&own.1, &limits).unwrap();
        assert!(is_active(pod.slice()));
        systemctl(&["daemon-reload"]).unwrap();
        let asked = Command::new("systemctl")
            .args(["show", "-p", "MemoryMax", "-p", "TasksMax", pod.slice()])
            .output();
        let said = String::from_utf8(asked.unwrap().stdout).unwrap();
        assert!(said.contains("MemoryMax=67108864") && said.contains("TasksMax=99"), "{said}");
        own.0.remove(&own.1).unwrap();
        own.0.remove(&own.1).unwrap();
        assert!(!is_active(pod.slice()) && !unit_path(pod.slice()).exists());
        assert!(own.0.pids(&own.1).unwrap().is_empty());
    }

    #[test]
    fn a_slice_states_the_pods_limits() {
        let limits = Limits {
            cpu_shares: Some(1024),
            cpu_quota_us: Some(150_000),
            memory_bytes: Some(1 << 20),
            pids: None,
            ..Limits::default()
        };
        let text = unit_text("leasehold-podx.slice", &limits);
        assert!(text.contains("\nCPUWeight=39\nCPUQuota=150%\nMemoryMax=1048576\n"), "{text}");
        assert!(!text.contains("TasksMax"), "{text}");
    }
}

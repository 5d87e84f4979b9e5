//! A long-running command as a service: ready, watched, stopped by a signal.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

/// This process has been told to stop.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Whether this process has been told to stop: what breaks from then on is nobody's concern.
pub(super) fn is_stopping() -> bool {
    STOPPING.load(Ordering::Relaxed)
}

/// Tells systemd (if it started this process) that the service is ready, and from then on that it lives.
pub(super) fn ready(line: &str) {
    println!("{line}");
    if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
        tracing::debug!(%error, "the service supervisor was not told");
    }
    if let Some(patience) = sd_notify::watchdog_enabled() {
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(patience / 3);
            loop {
                ticks.tick().await;
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            }
        });
    }
}

/// Raises the limit on open files to the most that is allowed. Every connection is one, and what is usual (1024) is meant
/// for programs that call `select`.
pub(super) fn allow_many_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit on open files cannot be raised");
    }
}

/// Waits for SIGTERM or SIGINT. Containers go on.
pub(super) async fn stopped() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    STOPPING.store(true, Ordering::Relaxed);
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    tracing::info!("stopping; containers go on");
    Ok(())
}

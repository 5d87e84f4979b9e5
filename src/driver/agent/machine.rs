//! What the machine is and how it fares, kept true on the Node: facts are read again when the kernel announces a change
//! (or a person does, by SIGHUP), images when containerd does, and what runs short every few seconds.

use std::io::{IsTerminal as _, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::hands::Hands;
use super::node::Input;
use crate::agent::pressure::{Pressures, Standing};
use crate::detect::{self, readings, uevents::Uevents};
use crate::driver::clock;

/// A driver announces itself by many events; facts are read when it has been quiet for this long.
const QUIET: Duration = Duration::from_millis(500);

/// Images that come together are read together.
const GATHER_IMAGES: Duration = Duration::from_millis(250);

/// Files tell nobody when a disk fills: so memory, disks and processes are looked at this often, as the kubelet does.
/// It is the one thing on the node that goes by the clock; it costs some ten microseconds.
const LOOK: Duration = Duration::from_secs(10);

/// Memory stalls of 150 ms in a second are looked into at once. The kernel wants the NUL.
const STALL: &[u8] = b"some 150000 1000000\0";

/// Where the kernel tells of memory stalls.
const MEMORY_STALLS: &str = "/proc/pressure/memory";

/// Reads facts again whenever the kernel or a person says that they may have changed.
pub(super) fn watch_facts(hands: &Arc<Hands>, inputs: &mpsc::Sender<Input>) {
    let (hands, inputs) = (hands.clone(), inputs.clone());
    tokio::spawn(async move {
        let mut uevents = Uevents::listen()
            .inspect_err(
                |error| tracing::warn!(%error, "changes of the machine's devices will not be noticed"),
            )
            .ok();
        // With a terminal SIGHUP means that it is gone, and ends the program.
        let told = (!std::io::stdin().is_terminal()).then(|| signal(SignalKind::hangup()).ok()).flatten();
        let mut told = told;
        loop {
            tokio::select! {
                () = quiet_after_change(&mut uevents) => {}
                () = hear(&mut told) => tracing::info!("reading the machine again, as told"),
            }
            read_facts(&hands, &inputs).await;
        }
    });
}

async fn hear(signal: &mut Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

async fn quiet_after_change(uevents: &mut Option<Uevents>) {
    let Some(listener) = uevents else { return std::future::pending().await };
    let mut heard = listener.changed().await;
    while heard.is_ok() {
        match tokio::time::timeout(QUIET, listener.changed()).await {
            Ok(again) => heard = again,
            Err(_) => return,
        }
    }
    tracing::warn!(error = ?heard, "changes of the machine's devices will not be noticed any more");
    *uevents = None;
}

async fn read_facts(hands: &Arc<Hands>, inputs: &mpsc::Sender<Input>) {
    let sysroot = hands.config.sysroot.clone();
    let Ok(facts) = tokio::task::spawn_blocking(move || detect::read(&sysroot)).await else { return };
    let before = hands.registrar.description();
    if before.facts == facts {
        return;
    }
    let labels = |facts: &detect::Facts| facts.labels.clone();
    if labels(&before.facts) != labels(&facts) {
        tracing::info!("the machine has changed, and its labels with it");
    }
    hands.registrar.describe(|description| description.facts = facts);
    // What this node hosts depends on it, also while the coordinator is away.
    if let Some(node) = hands.node() {
        let node = hands.registrar.description().relabel(&node);
        let _ = inputs.send(Input::Registered(Box::new(node))).await;
    }
}

/// Reads the images again some moments after each change that containerd tells of.
pub(super) fn watch_images(hands: &Arc<Hands>) {
    let hands = hands.clone();
    tokio::spawn(async move {
        loop {
            hands.images_changed.notified().await;
            tokio::time::sleep(GATHER_IMAGES).await;
            hands.refresh_images().await;
        }
    });
}

/// Reports on the Node what the machine runs short of.
pub(super) fn watch_pressure(hands: &Arc<Hands>) {
    let hands = hands.clone();
    tokio::spawn(async move {
        let mut pressures = Pressures::default();
        let mut stood = Standing::default();
        let stalls = memory_stalls()
            .inspect_err(|error| tracing::debug!(%error, "the kernel does not tell of memory stalls"))
            .ok();
        loop {
            let standing = look(&hands, &mut pressures).await;
            if standing != stood {
                tracing::warn!(pressure = %standing, "what the machine runs short of has changed");
                stood = standing;
            }
            hands.registrar.describe(|description| description.pressure = standing);
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stalled(stalls.as_ref()) => {}
            }
        }
    });
}

async fn look(hands: &Hands, pressures: &mut Pressures) -> Standing {
    let (data_dir, images_dir): (PathBuf, Option<PathBuf>) =
        (hands.config.data_dir.clone(), hands.runtime.images_dir());
    let read = move || readings::read(&data_dir, images_dir.as_deref());
    // A file system that hangs must not hold the loop.
    let readings = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    pressures.observe(&hands.config.pressure_thresholds, &readings, clock::now())
}

struct Stalls(std::fs::File);

impl AsRawFd for Stalls {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A descriptor that becomes ready when tasks wait for memory.
fn memory_stalls() -> std::io::Result<AsyncFd<Stalls>> {
    let mut file = std::fs::File::options().read(true).write(true).open(MEMORY_STALLS)?;
    file.write_all(STALL)?;
    #[expect(deprecated, reason = "its successor is unsafe; this descriptor is owned and never exchanged")]
    AsyncFd::with_interest(Stalls(file), Interest::PRIORITY)
}

async fn stalled(stalls: Option<&AsyncFd<Stalls>>) {
    let Some(stalls) = stalls else { return std::future::pending().await };
    match stalls.ready(Interest::PRIORITY).await {
        Ok(mut ready) => ready.clear_ready(),
        Err(_) => std::future::pending().await,
    }
}

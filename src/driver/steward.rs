//! The steward's loop: what must be done once per cluster. Watches, has the pure rooms decide, and writes. Every write
//! carries a uid or resourceVersion, so that a late or doubled one is refused and does no harm.

mod belongings;
pub mod duty;
mod namespaces;
mod view;
mod writes;

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::runtime::watcher::Config as WatchConfig;
use kube::{Api, Client};
use tokio::sync::mpsc;

use crate::api::hash::Stored;
use crate::client::Connection;
use crate::driver::clock;
use crate::driver::recorder::Recorder;
use crate::driver::watches::{Seen, watch};
use crate::time::Instant;
use view::View;

/// Most inputs that wait.
const INPUTS_MAX: usize = 1024;

/// Pause before a refused or failed write is thought over again.
const AGAIN: Duration = Duration::from_secs(1);

/// What the steward hears.
#[derive(Debug)]
pub(super) enum Input {
    DaemonSets(Seen<Stored<DaemonSet>>),
    Pods(Seen<Pod>),
    Nodes(Seen<Node>),
    Revisions(Seen<ControllerRevision>),
    Namespaces(Seen<Namespace>),
}

/// Starts stewarding with the rights of `connection`, on behalf of node `node_name`.
pub fn start(connection: &Connection, node_name: &str) -> anyhow::Result<()> {
    let client = connection.clone().called("leasehold-steward").client()?;
    let authority = String::from_utf8_lossy(connection.authority_pem()).into_owned();
    belongings::start(client.clone(), authority);
    let (inputs, heard) = mpsc::channel(INPUTS_MAX);
    let all = WatchConfig::default;
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::DaemonSets));
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::Pods));
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::Nodes));
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs.clone(), Input::Revisions));
    tokio::spawn(watch(Api::all(client.clone()), all(), inputs, Input::Namespaces));
    let recorder = Recorder::start(client.clone(), "leasehold-steward", node_name.to_owned());
    tokio::spawn(Steward { client, recorder, view: View::default(), again: BTreeSet::new() }.run(heard));
    Ok(())
}

struct Steward {
    client: Client,
    recorder: Recorder,
    view: View,
    /// DaemonSets to be thought over again, by UID.
    again: BTreeSet<(Instant, String)>,
}

impl Steward {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        loop {
            let wake = self.wake();
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.view.hear(input),
                    None => return,
                },
                () = sleep_until(wake) => {}
            }
            while let Ok(input) = inputs.try_recv() {
                self.view.hear(input);
            }
            if self.view.is_whole() {
                self.turn().await;
            }
        }
    }

    fn wake(&self) -> Option<Instant> {
        let emptying = self.view.has_terminating_namespaces().then(|| clock::now() + AGAIN);
        self.again.first().map(|(at, _)| *at).into_iter().chain(emptying).min()
    }

    async fn turn(&mut self) {
        let now = clock::now();
        while let Some((at, uid)) = self.again.first().cloned().filter(|(at, _)| *at <= now) {
            self.again.remove(&(at, uid.clone()));
            self.view.mark(&uid);
        }
        for uid in self.view.take_marked() {
            if let Some(at) = self.care_for_daemon_set(&uid).await {
                self.again.insert((at, uid));
            }
        }
        for name in self.view.terminating_namespaces() {
            namespaces::empty(&self.client, &name).await;
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep(at.saturating_since(clock::now())).await,
        None => std::future::pending().await,
    }
}

//! Leases of identities at the coordinator: read, written, watched.

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::runtime::watcher::{Config as WatchConfig, Event};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use futures::StreamExt as _;

use super::{Means, Order};
use crate::driver::watches::{self, Seen};
use crate::lease::identity::holdings::Input;
use crate::lease::identity::wire;
use crate::lease::session::Answer;

/// Most things seen that wait for the keeper.
const SEEN_MAX: usize = 256;

/// What is asked of the coordinator for a claim.
#[derive(Debug)]
pub(super) enum Asked {
    Read(String),
    Create(Box<Lease>),
    Update(Box<Lease>),
}

fn leases(client: Client) -> Api<Lease> {
    Api::namespaced(client, wire::NAMESPACE)
}

/// The Leases that this node took last.
pub(super) fn watch_own(means: &Means) -> mpsc::Receiver<Seen<Lease>> {
    let (seen, heard) = mpsc::channel(SEEN_MAX);
    let label = format!("{}={}", wire::HOLDER_LABEL, wire::holder_label(&means.node));
    let config = WatchConfig::default().labels(&label);
    tokio::spawn(watches::watch(leases(means.client.clone()), config, seen, std::convert::identity));
    heard
}

/// Watches one identity that another holds, until it is aborted.
pub(super) fn watch_one(client: Client, name: String, orders: mpsc::UnboundedSender<Order>) -> AbortHandle {
    let watch = async move {
        let config = WatchConfig::default().fields(&format!("metadata.name={name}"));
        let mut stream = std::pin::pin!(watches::stream(leases(client), config));
        let mut is_there = false;
        while let Some(event) = stream.next().await {
            let input = match event {
                Ok(Event::Init) => {
                    is_there = false;
                    continue;
                }
                Ok(Event::InitApply(lease) | Event::Apply(lease)) => {
                    is_there = true;
                    Input::Seen(Box::new(lease))
                }
                Ok(Event::InitDone) if is_there => continue,
                Ok(Event::InitDone | Event::Delete(_)) => Input::Gone(name.clone()),
                Err(error) => {
                    tracing::debug!(%error, name, "an identity cannot be watched");
                    continue;
                }
            };
            if orders.send(Order::Identity(input)).is_err() {
                return;
            }
        }
    };
    tokio::spawn(watch).abort_handle()
}

/// Asks for a claim.
pub(super) async fn ask(client: Client, asked: Asked) -> Answer {
    let api = leases(client);
    let written = |written: kube::Result<Lease>| match written {
        Ok(lease) => Answer::Written(Box::new(lease)),
        Err(error) => failed(&error),
    };
    match asked {
        Asked::Read(name) => match api.get_opt(&name).await {
            Ok(Some(lease)) => Answer::Found(Box::new(lease)),
            Ok(None) => Answer::Absent { node_made: None },
            Err(error) => failed(&error),
        },
        Asked::Create(lease) => written(api.create(&PostParams::default(), &lease).await),
        Asked::Update(lease) => {
            let name = lease.metadata.name.clone().unwrap_or_default();
            written(api.replace(&name, &PostParams::default(), &lease).await)
        }
    }
}

fn failed(error: &kube::Error) -> Answer {
    let code = if let kube::Error::Api(status) = error { status.code } else { 0 };
    match code {
        409 => Answer::Conflict,
        404 => Answer::Absent { node_made: None },
        0 | 500.. => {
            tracing::debug!(%error, "no answer about an identity");
            Answer::Failed
        }
        _ => {
            tracing::error!(%error, "the coordinator refuses what is asked about an identity");
            Answer::Failed
        }
    }
}

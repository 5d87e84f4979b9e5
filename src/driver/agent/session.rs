//! Keeps the node's session: performs what the pure machine of `lease::session` wants, on a connection of its own.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::watch;

use super::disk::{Disk, Durability};
use super::guard::Fencing;
use super::registrar::Registered;
use crate::driver::clock;
use crate::lease::session::{Answer, Effect, Input, Record, Report, Session, SessionId};
use crate::lease::wire;
use crate::time::Instant;

const FILE: &str = "session.json";

/// What the disk remembers of the last session.
pub(super) fn recall(disk: &Disk) -> Option<Record> {
    disk.read(Path::new(FILE)).unwrap_or_else(|error| {
        tracing::error!(%error, "the session on disk cannot be read; a new one is taken");
        None
    })
}

/// Who is told how the session stands.
pub(super) struct Tell {
    /// What changed.
    pub(super) reports: watch::Sender<Option<Report>>,
    /// Until when it is held, if it is.
    pub(super) deadlines: watch::Sender<Option<Instant>>,
    /// The same with its name.
    pub(super) held: watch::Sender<Option<(SessionId, Instant)>>,
    /// Whoever has everything dead in time, and answers when all of it is.
    pub(super) fencing: Fencing,
    /// Serial of the last renewal that was acknowledged.
    pub(super) renewals: watch::Sender<u64>,
}

type Request = Pin<Box<dyn Future<Output = Input> + Send>>;

/// Runs the session's machine for as long as somebody listens to its reports.
pub(super) async fn keep(
    mut session: Session,
    client: Client,
    registered: watch::Receiver<Option<Registered>>,
    disk: Disk,
    tell_to: Tell,
) {
    let Tell { reports, deadlines, held: holds, renewals, fencing } = tell_to;
    let mut request: Option<Request> = None;
    let mut fence: Option<Request> = None;
    let mut held = None;
    loop {
        while let Some(effect) = session.next_effect() {
            match effect {
                Effect::Read(number) => {
                    let node = session.node().to_owned();
                    request = Some(Box::pin(read(client.clone(), node, registered.clone(), number)));
                }
                Effect::Create(number, lease) => {
                    request = Some(Box::pin(create(client.clone(), lease, number)));
                }
                Effect::Update(number, lease) => {
                    request = Some(Box::pin(update(client.clone(), lease, number)));
                }
                // Dropping an HTTP/1 request under way closes its connection.
                Effect::CloseConnection => request = None,
                Effect::Persist(number, record) => {
                    // A record that is not on disk must not be spoken of: the machine waits, and asks again.
                    match disk.put(Path::new(FILE), &*record, Durability::Power) {
                        Ok(()) => session.handle(Input::Persisted(number), clock::now(), clock::wall()),
                        Err(error) => tracing::error!(%error, "the session could not be kept on disk"),
                    }
                }
                Effect::Fence(number) => {
                    let fencing = fencing.clone();
                    fence = Some(Box::pin(async move {
                        fencing.fence_all().await;
                        Input::Fenced(number)
                    }));
                }
                Effect::Report(report) => {
                    tell(&report);
                    if reports.send(Some(report)).is_err() {
                        return;
                    }
                }
            }
        }
        let held_until = session.deadline(clock::now());
        deadlines.send_if_modified(|known| std::mem::replace(known, held_until) != held_until);
        let now_held = session.held(clock::now()).map(|(id, deadline)| (id.clone(), deadline));
        if now_held != held {
            held.clone_from(&now_held);
            holds.send_replace(now_held.clone());
            fencing.session(now_held);
        }
        let deadline = session.next_deadline();
        let input = tokio::select! {
            input = async { request.as_mut().expect("guarded").await }, if request.is_some() => {
                request = None;
                input
            }
            input = async { fence.as_mut().expect("guarded").await }, if fence.is_some() => {
                fence = None;
                input
            }
            () = sleep_until(deadline) => Input::Tick,
            () = reports.closed() => return,
        };
        if let Input::Answer(_, Answer::Written(lease)) = &input {
            renewals.send_replace(wire::serial(lease));
        }
        session.handle(input, clock::now(), clock::wall());
    }
}

fn tell(report: &Report) {
    match report {
        Report::Held(id) => tracing::info!(session = %id, "the session is held"),
        Report::Lapsed(why) => tracing::warn!(?why, "the session is over"),
        Report::Waiting { why, .. } => tracing::warn!(%why, "waiting for the session"),
        Report::Refused(why) => tracing::error!(%why, "the session is refused"),
        Report::Released => tracing::info!("the session was given up"),
    }
}

fn leases(client: Client) -> Api<Lease> {
    Api::namespaced(client, wire::NAMESPACE)
}

/// Reads the Lease. Where it is absent, the Node is waited for: who made it says whether anybody can have had a Lease.
async fn read(
    client: Client,
    node: String,
    mut registered: watch::Receiver<Option<Registered>>,
    number: u64,
) -> Input {
    let answer = match leases(client).get_opt(&node).await {
        Ok(Some(lease)) => Answer::Found(Box::new(lease)),
        Ok(None) => match registered.wait_for(Option::is_some).await {
            Ok(registered) => Answer::Absent { node_made: registered.and_then(|node| node.made) },
            Err(_) => Answer::Failed,
        },
        Err(error) => failed(&error),
    };
    Input::Answer(number, answer)
}

async fn create(client: Client, lease: Box<Lease>, number: u64) -> Input {
    let answer = match leases(client).create(&PostParams::default(), &lease).await {
        Ok(made) => Answer::Written(Box::new(made)),
        Err(error) => failed(&error),
    };
    Input::Answer(number, answer)
}

async fn update(client: Client, lease: Box<Lease>, number: u64) -> Input {
    let name = lease.metadata.name.clone().unwrap_or_default();
    let answer = match leases(client).replace(&name, &PostParams::default(), &lease).await {
        Ok(written) => Answer::Written(Box::new(written)),
        Err(error) => failed(&error),
    };
    Input::Answer(number, answer)
}

fn failed(error: &kube::Error) -> Answer {
    let code = if let kube::Error::Api(status) = error { status.code } else { 0 };
    match code {
        409 => Answer::Conflict,
        404 => Answer::Absent { node_made: None },
        _ => {
            tracing::debug!(%error, "no answer about the session's Lease");
            Answer::Failed
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep(at.saturating_since(clock::now())).await,
        None => std::future::pending().await,
    }
}

//! The signer: looks at every request for a certificate that comes or changes, decides by the rules of
//! `coordinator::certificates`, and writes what follows. The key of the authority never leaves this process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::kinds::{self, Kind};
use crate::coordinator::certificates::{Alive, Verdict, life_seconds, verdict, with_condition};
use crate::coordinator::sessions::{Life, Sessions};
use crate::coordinator::state::{Change, Object, State};
use crate::coordinator::{Action, Command, Subresource};
use crate::driver::clock;
use crate::server::commands::Commands;
use crate::server::tls::Authority;
use crate::server::view::{Follower, View};
use crate::time::{Instant, WallTime};

/// Pause before a write that came to nothing is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Hands the requests that come or change to the signer, and notes which sessions are alive.
#[derive(Debug)]
pub(super) struct Requests {
    sender: mpsc::UnboundedSender<Arc<Object>>,
    sessions: Arc<Mutex<Sessions>>,
}

/// What the signer hears and looks at.
#[derive(Debug)]
pub(super) struct Heard {
    requests: mpsc::UnboundedReceiver<Arc<Object>>,
    sessions: Arc<Mutex<Sessions>>,
}

/// The follower, and what it hears.
pub(super) fn requests() -> (Requests, Heard) {
    let (sender, requests) = mpsc::unbounded_channel();
    let sessions = Arc::new(Mutex::new(Sessions::new(clock::now())));
    (Requests { sender, sessions: sessions.clone() }, Heard { requests, sessions })
}

impl Requests {
    fn hand(&self, object: &Arc<Object>) {
        if object.kind.kind == "CertificateSigningRequest" {
            // The signer is gone when the coordinator stops.
            let _ = self.sender.send(object.clone());
        }
    }
}

impl Follower for Requests {
    fn begin(&self, state: &State) {
        state.objects.values().for_each(|object| self.hand(object));
    }

    fn follow(&self, changes: &[Change]) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        for change in changes {
            sessions.observe(change, now);
            change.after.iter().for_each(|object| self.hand(object));
        }
    }
}

/// What signing needs.
pub(super) struct Signer {
    pub(super) view: Arc<View>,
    pub(super) commands: Commands,
    pub(super) authority: Arc<Authority>,
    /// Longest life of a certificate.
    pub(super) life: Duration,
}

impl Signer {
    /// Signs until the coordinator stops.
    pub(super) async fn run(self, mut heard: Heard) {
        let mut waiting: Vec<(Instant, Arc<Object>)> = Vec::new();
        loop {
            let due = waiting.iter().map(|(until, _)| *until).min();
            let pause = due.map_or(Duration::MAX, |due| due.saturating_since(clock::now()));
            let object = tokio::select! {
                object = heard.requests.recv() => match object {
                    Some(object) => object,
                    None => return,
                },
                () = tokio::time::sleep(pause) => match waiting.iter().position(|(until, _)| Some(*until) == due) {
                    Some(place) => waiting.swap_remove(place).1,
                    None => continue,
                },
            };
            loop {
                match self.look_at(&object, &heard.sessions).await {
                    Ok(until) => {
                        waiting.extend(until.map(|until| (until, object)));
                        break;
                    }
                    Err(error) => {
                        let name = &*object.key.name;
                        tracing::warn!(error, name, "a certificate request could not be answered");
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
    }

    /// Answers a request, or says when to look at it again.
    async fn look_at(&self, object: &Object, sessions: &Mutex<Sessions>) -> Result<Option<Instant>, String> {
        let request = object.value();
        let pem = pem(&request);
        let subject = self.authority.requested(&pem);
        let now = clock::wall();
        let seen = Seen { view: &self.view, sessions };
        let (subresource, changed) = match verdict(&request, &subject, &seen) {
            Verdict::Leave => return Ok(None),
            Verdict::Wait(until) => return Ok(Some(until)),
            Verdict::Approve => {
                let message = "the requester may have this certificate";
                (Subresource::Approval, with_condition(&request, "Approved", "AutoApproved", message, now))
            }
            Verdict::Deny(why) => {
                tracing::warn!(why, name = &*object.key.name, "a certificate request is denied");
                (Subresource::Approval, with_condition(&request, "Denied", "NotAllowed", &why, now))
            }
            Verdict::Fail(why) => (
                Subresource::Status,
                with_condition(&request, "Failed", "SignerValidationFailure", &why, now),
            ),
            Verdict::Sign => match self.sign(&request, &pem, now) {
                Ok(signed) => (Subresource::Status, signed),
                Err(why) => {
                    (Subresource::Status, with_condition(&request, "Failed", "SignerError", &why, now))
                }
            },
        };
        self.write(object.kind, &object.key.name, subresource, changed).await.map(|()| None)
    }

    fn sign(&self, request: &Value, pem: &str, now: WallTime) -> Result<Value, String> {
        use base64::Engine as _;
        let life = Duration::from_secs(life_seconds(request, self.life.as_secs()));
        let usages = request["spec"]["usages"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let usages: Vec<&str> = usages.collect();
        let certificate = self.authority.sign(pem, &usages, life, now).map_err(|e| e.to_string())?;
        let mut signed = request.clone();
        if !signed["status"].is_object() {
            signed["status"] = json!({});
        }
        let encoded = base64::engine::general_purpose::STANDARD.encode(certificate);
        signed["status"]["certificate"] = encoded.into();
        Ok(signed)
    }

    /// A write that lost a race is no error: the winner's version is looked at next.
    async fn write(
        &self,
        kind: &'static Kind,
        name: &str,
        subresource: Subresource,
        body: Value,
    ) -> Result<(), String> {
        let action = Action::Update { name: name.to_owned(), subresource, body };
        match self.commands.submit(Command::new(kind, "", action)).await {
            Ok(_) => Ok(()),
            Err(status) if matches!(status.code, 404 | 409) => Ok(()),
            Err(status) => Err(status.message),
        }
    }
}

fn pem(request: &Value) -> String {
    use base64::Engine as _;
    let text = request["spec"]["request"].as_str().unwrap_or_default();
    let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The nodes' sessions, as this coordinator has seen them change.
struct Seen<'a> {
    view: &'a View,
    sessions: &'a Mutex<Sessions>,
}

impl Alive for Seen<'_> {
    fn session(&self, node: &str) -> Life {
        let kind = kinds::by_kind("coordination.k8s.io", "v1", "Lease");
        let lease = kind.and_then(|kind| self.view.get(kind, crate::lease::wire::NAMESPACE, node));
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.life(node, lease.map(|lease| lease.value()).as_ref(), clock::now())
    }
}

//! The signer: looks at every request for a certificate that comes or changes, decides by the rules of
//! `coordinator::certificates`, and writes what follows. The key of the authority never leaves this process.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::kinds::{self, Kind};
use crate::coordinator::certificates::{Alive, Verdict, life_seconds, verdict, with_condition};
use crate::coordinator::state::{Change, Object, State};
use crate::coordinator::{Action, Command, Subresource};
use crate::driver::clock;
use crate::server::commands::Commands;
use crate::server::tls::Authority;
use crate::server::view::{Follower, View};
use crate::time::WallTime;

/// A session that has not been renewed for its own duration and this much more counts as over.
const MARGIN: Duration = Duration::from_secs(3);
/// Pause before a write that came to nothing is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Hands the requests that come or change to the signer.
#[derive(Debug)]
pub(super) struct Requests(mpsc::UnboundedSender<Arc<Object>>);

/// The follower, and what it hears.
pub(super) fn requests() -> (Requests, mpsc::UnboundedReceiver<Arc<Object>>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Requests(sender), receiver)
}

impl Requests {
    fn hand(&self, object: &Arc<Object>) {
        if object.kind.kind == "CertificateSigningRequest" {
            // The signer is gone when the coordinator stops.
            let _ = self.0.send(object.clone());
        }
    }
}

impl Follower for Requests {
    fn begin(&self, state: &State) {
        state.objects.values().for_each(|object| self.hand(object));
    }

    fn follow(&self, changes: &[Change]) {
        changes.iter().filter_map(|change| change.after.as_ref()).for_each(|object| self.hand(object));
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
    pub(super) async fn run(self, mut requests: mpsc::UnboundedReceiver<Arc<Object>>) {
        while let Some(object) = requests.recv().await {
            while let Err(error) = self.look_at(&object).await {
                tracing::warn!(
                    error,
                    name = &*object.key.name,
                    "a certificate request could not be answered"
                );
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    async fn look_at(&self, object: &Object) -> Result<(), String> {
        let request = object.value();
        let pem = pem(&request);
        let subject = self.authority.requested(&pem);
        let now = clock::wall();
        let (subresource, changed) = match verdict(&request, &subject, &Sessions { view: &self.view, now }) {
            Verdict::Leave => return Ok(()),
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
        self.write(object.kind, &object.key.name, subresource, changed).await
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

/// The nodes' sessions, as their Leases say. The clock of a node that is ahead makes its session look younger: then a
/// machine waits longer before it may join under that name.
struct Sessions<'a> {
    view: &'a View,
    now: WallTime,
}

impl Alive for Sessions<'_> {
    fn session(&self, node: &str) -> Option<String> {
        let kind = kinds::by_kind("coordination.k8s.io", "v1", "Lease")?;
        let lease = self.view.get(kind, crate::lease::wire::NAMESPACE, node)?.value();
        let spec = &lease["spec"];
        spec["holderIdentity"].as_str().filter(|holder| !holder.is_empty())?;
        let renewed = spec["renewTime"].as_str()?;
        let duration = Duration::from_secs(spec["leaseDurationSeconds"].as_u64().unwrap_or(0)) + MARGIN;
        let end = WallTime::parse(renewed)?.0.checked_add(duration).ok()?;
        (end > self.now.0).then(|| renewed.to_owned())
    }
}

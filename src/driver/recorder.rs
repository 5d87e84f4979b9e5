//! Events about objects, as kubectl shows them. Best effort: a full queue or an absent coordinator drops them.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

use crate::driver::clock;
use crate::time::Instant;

/// Most Events waiting to be written.
const QUEUE_MAX: usize = 1_000;

/// How many different Events are remembered to be counted up instead of written anew.
const REMEMBERED_MAX: usize = 512;

/// How long the same Event is counted up, as client-go's correlator does.
const COUNTED_FOR: Duration = Duration::from_mins(10);

/// One thing that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occurrence {
    /// `apiVersion` and `kind` of the object.
    pub kind: (&'static str, &'static str),
    /// Its namespace, empty for cluster-scoped ones.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID as the coordinator knows it.
    pub uid: String,
    /// E.g. `spec.containers{web}`.
    pub field_path: Option<String>,
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// E.g. `Started`.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// A handle to record with; cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder(mpsc::Sender<Occurrence>);

impl Recorder {
    /// Starts writing Events as `component` on `host`.
    pub fn start(client: kube::Client, component: &'static str, host: String) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write_all(client, component, host, receiver));
        Self(sender)
    }

    /// Records, without waiting.
    pub fn record(&self, occurrence: Occurrence) {
        if let Err(error) = self.0.try_send(occurrence) {
            tracing::debug!(%error, "event dropped");
        }
    }
}

struct Written {
    name: String,
    count: i32,
    first: Instant,
}

async fn write_all(
    client: kube::Client,
    component: &'static str,
    host: String,
    mut queue: mpsc::Receiver<Occurrence>,
) {
    let mut written: BTreeMap<Occurrence, Written> = BTreeMap::new();
    while let Some(occurrence) = queue.recv().await {
        let now = clock::now();
        written.retain(|_, w| now.saturating_since(w.first) < COUNTED_FOR);
        let namespace = if occurrence.namespace.is_empty() { "default" } else { &occurrence.namespace };
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        if let Some(known) = written.get_mut(&occurrence) {
            known.count += 1;
            let patch = json!({ "count": known.count, "lastTimestamp": clock::wall().seconds() });
            if events.patch(&known.name, &PatchParams::default(), &Patch::Merge(&patch)).await.is_ok() {
                continue;
            }
        }
        let event = event(&occurrence, namespace, component, &host);
        match events.create(&PostParams::default(), &event).await {
            Ok(made) if written.len() < REMEMBERED_MAX => {
                let name = made.metadata.name.unwrap_or_default();
                written.insert(occurrence, Written { name, count: 1, first: now });
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, reason = occurrence.reason, "event not written"),
        }
    }
}

fn event(occurrence: &Occurrence, namespace: &str, component: &str, host: &str) -> Event {
    let wall = clock::wall();
    let time = Some(Time(wall.0));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{:016x}", occurrence.name, wall.0.as_nanosecond())),
            namespace: Some(namespace.into()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(occurrence.kind.0.into()),
            kind: Some(occurrence.kind.1.into()),
            namespace: Some(occurrence.namespace.clone()).filter(|ns| !ns.is_empty()),
            name: Some(occurrence.name.clone()),
            uid: Some(occurrence.uid.clone()),
            field_path: occurrence.field_path.clone(),
            ..ObjectReference::default()
        },
        reason: Some(occurrence.reason.clone()),
        message: Some(occurrence.message.clone()),
        type_: Some(if occurrence.warning { "Warning" } else { "Normal" }.into()),
        source: Some(EventSource { component: Some(component.into()), host: Some(host.into()) }),
        reporting_component: Some(component.into()),
        reporting_instance: Some(host.into()),
        first_timestamp: time.clone(),
        last_timestamp: time,
        count: Some(1),
        ..Event::default()
    }
}

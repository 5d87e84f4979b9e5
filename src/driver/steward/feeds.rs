//! The steward's watches: whole objects of the kinds that controllers look into, the metadata of all others.

use std::fmt::Debug;

use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{Config as WatchConfig, Error, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Input;
use crate::api::kinds::{KINDS, Kind};
use crate::driver::watches::stream;
use crate::steward::object::{KindId, Object};
use crate::steward::table::{watched_kinds, whole_kinds};
use crate::steward::view::Heard;

/// The steward's sessions are seen by the monitor: nobody owns them, and they change every few seconds.
const NOT_SESSIONS: &str = "metadata.namespace!=kube-node-lease";

/// The watches of all kinds. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Feeds {
    tasks: JoinSet<()>,
}

impl Feeds {
    /// Starts one task per kind. Each begins with a consistent list; what it brings carries `run`.
    pub(super) fn start(client: &Client, inputs: &mpsc::Sender<Input>, run: u64) -> Self {
        let mut tasks = JoinSet::new();
        for kind in watched_kinds() {
            start(&mut tasks, client, (kind, run), inputs.clone());
        }
        Self { tasks }
    }

    /// How many watches there are.
    pub(super) fn count(&self) -> usize {
        self.tasks.len()
    }
}

fn start(tasks: &mut JoinSet<()>, client: &Client, (kind, run): (KindId, u64), inputs: mpsc::Sender<Input>) {
    let resource = resource(&KINDS[kind]);
    let config = WatchConfig::default();
    let config = if KINDS[kind].kind == "Lease" { config.fields(NOT_SESSIONS) } else { config };
    let into = Into { kind, run, inputs };
    if whole_kinds().contains(&kind) {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        tasks.spawn(feed(api, config, into, |object| (object.metadata, object.data)));
    } else {
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &resource);
        tasks.spawn(feed(api, config, into, |object| (object.metadata, Value::Null)));
    }
}

/// What a watch brings, and where to.
struct Into {
    kind: KindId,
    run: u64,
    inputs: mpsc::Sender<Input>,
}

/// How kube names a row of the table.
pub(super) fn resource(kind: &Kind) -> ApiResource {
    ApiResource {
        group: kind.group.into(),
        version: kind.version.into(),
        api_version: kind.api_version(),
        kind: kind.kind.into(),
        plural: kind.plural.into(),
    }
}

type Parts = (k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta, Value);

async fn feed<K>(api: Api<K>, config: WatchConfig, Into { kind, run, inputs }: Into, parts: fn(K) -> Parts)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let object = |object: K| {
        let (mut meta, data) = parts(object);
        meta.managed_fields = None;
        Box::new(Object { kind, meta, data })
    };
    let mut events = std::pin::pin!(stream(api, config));
    while let Some(event) = events.next().await {
        let heard = match event {
            Ok(Event::Init) => Heard::Restarted,
            Ok(Event::InitApply(listed)) => Heard::Applied(object(listed)),
            Ok(Event::InitDone) => Heard::Complete,
            Ok(Event::Apply(changed)) => Heard::Applied(object(changed)),
            Ok(Event::Delete(gone)) => Heard::Deleted(object(gone)),
            Err(error) if is_unserved(&error) => Heard::Unserved,
            Err(error) => {
                tracing::debug!(%error, kind = KINDS[kind].kind, "the steward cannot watch the coordinator");
                continue;
            }
        };
        if inputs.send(Input::Heard(run, kind, heard)).await.is_err() {
            return;
        }
    }
}

/// Another coordinator than leasehold's need not serve every kind.
fn is_unserved(error: &Error) -> bool {
    let (Error::InitialListFailed(source) | Error::WatchStartFailed(source)) = error else { return false };
    matches!(source, kube::Error::Api(status) if status.code == 404)
}

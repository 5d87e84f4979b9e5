//! The steward's watches: whole objects of the kinds that controllers look into, the metadata of all others.

use std::fmt::Debug;

use futures::StreamExt as _;
use kube::api::{ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::watcher::{Config as WatchConfig, Error, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use super::Input;
use crate::api::kinds::{KINDS, Kind};
use crate::driver::watches::stream;
use crate::steward::object::{KindId, Object};
use crate::steward::table::{watched_kinds, whole_kinds};
use crate::steward::view::Heard;

/// The steward's sessions are seen by the monitor: nobody owns them, and they change every few seconds.
const NOT_SESSIONS: &str = "metadata.namespace!=kube-node-lease";

/// Starts one task per kind.
pub(super) fn start(client: &Client, inputs: &mpsc::Sender<Input>) {
    for kind in watched_kinds() {
        let (resource, inputs) = (resource(&KINDS[kind]), inputs.clone());
        let config = if KINDS[kind].kind == "Lease" {
            WatchConfig::default().fields(NOT_SESSIONS)
        } else {
            WatchConfig::default()
        };
        if whole_kinds().contains(&kind) {
            let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
            tokio::spawn(feed(kind, api, config, inputs, |object| (object.metadata, object.data)));
        } else {
            let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &resource);
            tokio::spawn(feed(kind, api, config, inputs, |object| (object.metadata, Value::Null)));
        }
    }
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

async fn feed<K>(
    kind: KindId,
    api: Api<K>,
    config: WatchConfig,
    inputs: mpsc::Sender<Input>,
    parts: fn(K) -> Parts,
) where
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
        if inputs.send(Input::Heard(kind, heard)).await.is_err() {
            return;
        }
    }
}

/// Another coordinator than leasehold's need not serve every kind.
fn is_unserved(error: &Error) -> bool {
    let (Error::InitialListFailed(source) | Error::WatchStartFailed(source)) = error else { return false };
    matches!(source, kube::Error::Api(status) if status.code == 404)
}

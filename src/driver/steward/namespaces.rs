//! Emptying namespaces that are being deleted.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Pod, Secret, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Deletes what is in the namespace, workloads before what they use; once nothing is left, lets the namespace go.
/// Called again as long as it is there.
pub(super) async fn empty(client: &Client, name: &str) {
    if let Err(error) = try_empty(client, name).await {
        tracing::debug!(%error, namespace = name, "a namespace is not empty yet");
    }
}

async fn try_empty(client: &Client, name: &str) -> kube::Result<()> {
    let left = [
        delete_all::<DaemonSet>(client, name).await?,
        delete_all::<Pod>(client, name).await?,
        delete_all::<ControllerRevision>(client, name).await?,
        delete_all::<ConfigMap>(client, name).await?,
        delete_all::<Secret>(client, name).await?,
        delete_all::<ServiceAccount>(client, name).await?,
        delete_all::<Lease>(client, name).await?,
        delete_all::<Event>(client, name).await?,
    ];
    if left.iter().sum::<usize>() > 0 {
        return Ok(());
    }
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let Some(mut namespace) = namespaces.get_opt(name).await? else { return Ok(()) };
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != "kubernetes");
    }
    namespaces.replace_subresource("finalize", name, &PostParams::default(), &namespace).await.map(drop)
}

/// Deletes all objects of one kind; how many there were.
async fn delete_all<K>(client: &Client, namespace: &str) -> kube::Result<usize>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api.list_metadata(&ListParams::default()).await?.items;
    if found.iter().any(|object| object.metadata.deletion_timestamp.is_none()) {
        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    }
    Ok(found.len())
}

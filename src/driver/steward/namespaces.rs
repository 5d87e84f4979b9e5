//! Emptying namespaces that are being deleted.

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::{Api, Client};

use super::duty::Duty;
use super::feeds::resource;
use crate::api::kinds::{KINDS, Kind};

/// What makes others, in the order in which it is to go; the rest follows in the order of the table.
const MAKERS: [&str; 8] = [
    "cronjobs",
    "deployments",
    "statefulsets",
    "daemonsets",
    "jobs",
    "replicasets",
    "replicationcontrollers",
    "pods",
];

/// The door, and the root for which the writes pass it.
type Door<'a> = (&'a Duty, &'a str);

/// Deletes what is in the namespace, workloads before what they use; once nothing is left, lets the namespace go.
/// Called again as long as it is there.
pub(super) async fn empty(client: &Client, name: &str, door: Door<'_>) {
    if let Err(error) = try_empty(client, name, door).await {
        tracing::debug!(%error, namespace = name, "a namespace is not empty yet");
    }
}

async fn try_empty(client: &Client, name: &str, (duty, root): Door<'_>) -> anyhow::Result<()> {
    let mut left = 0;
    for kind in kinds() {
        left += duty.write(root, delete_all(client, kind, name)).await??;
    }
    if left > 0 {
        return Ok(());
    }
    duty.write(root, let_go(client, name)).await??;
    Ok(())
}

async fn let_go(client: &Client, name: &str) -> kube::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let Some(mut namespace) = namespaces.get_opt(name).await? else { return Ok(()) };
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != "kubernetes");
    }
    namespaces.replace_subresource("finalize", name, &PostParams::default(), &namespace).await.map(drop)
}

/// Every kind that lives in namespaces, makers first.
fn kinds() -> Vec<&'static Kind> {
    let mut kinds: Vec<&Kind> = KINDS.iter().filter(|kind| kind.namespaced && kind.form.is_none()).collect();
    let rank = |kind: &Kind| MAKERS.iter().position(|maker| *maker == kind.plural).unwrap_or(MAKERS.len());
    kinds.sort_by_key(|kind| rank(kind));
    kinds
}

/// Deletes all objects of one kind; how many there were. A coordinator that does not serve the kind has none.
async fn delete_all(client: &Client, kind: &Kind, namespace: &str) -> kube::Result<usize> {
    let resource = resource(kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let found = match api.list_metadata(&ListParams::default()).await {
        Err(kube::Error::Api(refused)) if refused.code == 404 => return Ok(0),
        found => found?.items,
    };
    if found.iter().any(|object| object.metadata.deletion_timestamp.is_none()) {
        api.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    }
    Ok(found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makers_go_before_what_they_make_and_nothing_is_forgotten() {
        let order: Vec<&str> = kinds().iter().map(|kind| kind.plural).collect();
        assert_eq!(order[..MAKERS.len()], MAKERS);
        let namespaced = KINDS.iter().filter(|kind| kind.namespaced && kind.form.is_none());
        assert_eq!(order.len(), namespaced.count());
        assert_eq!(order.iter().filter(|plural| **plural == "events").count(), 1);
    }
}

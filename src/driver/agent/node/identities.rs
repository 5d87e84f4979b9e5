//! Pods that run under identities: they are made known to whoever sees to these, and wait until theirs are held.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{Api, Client};

use super::{Input, NodeLoop};
use crate::agent::{identity, pod};
use crate::placement::volumes;

/// The Pod's file with the epoch of its identity, in its directory.
pub(in crate::driver::agent) const EPOCH_FILE: &str = "epoch";
/// Pause before the coordinator is asked again about a Pod's volumes.
const ASK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

impl NodeLoop {
    /// Sees to the identity of a hosted Pod, if it runs under one that is not known yet. `may_run`: containers of it may
    /// be there already.
    pub(super) fn identify(&mut self, uid: &str, may_run: bool) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        if hosted.identity.is_some() || hosted.finished {
            return;
        }
        let Some(own) = identity::of(&hosted.pod) else { return };
        hosted.identity = Some(own.clone());
        self.keep(uid);
        self.see_to(uid, &own, may_run);
    }

    /// Has a Pod wait for its identity.
    pub(super) fn see_to(&mut self, uid: &str, own: &str, may_run: bool) {
        let Some(hosted) = self.hosted.get(uid) else { return };
        let (pod, known) = (hosted.pod.clone(), hosted.tied);
        self.feed(uid, pod::Input::Identity(Some(identity::unknown(own))));
        // A Pod whose containers may run is seen to at once; an agent that has kept nothing of its ties fences it.
        match known.or(may_run.then_some(false)) {
            Some(is_tied) => self.want(uid, is_tied, may_run),
            None if volumes::claims(&pod).is_empty() => self.want(uid, false, false),
            None => {
                let (client, inputs, uid) = (self.hands.client.clone(), self.inputs.clone(), uid.to_owned());
                tokio::spawn(async move {
                    let is_tied = is_tied(&client, &pod).await;
                    let _ = inputs.send(Input::Tied { uid, is_tied }).await;
                });
            }
        }
    }

    /// It is known whether a Pod can run on this node alone; that is on disk before it starts.
    pub(super) fn tied(&mut self, uid: &str, is_tied: bool) {
        let Some(hosted) = self.hosted.get_mut(uid) else { return };
        hosted.tied = Some(is_tied);
        self.keep(uid);
        self.want(uid, is_tied, false);
    }

    fn want(&self, uid: &str, is_tied: bool, may_run: bool) {
        let Some(hosted) = self.hosted.get(uid) else { return };
        let Some(own) = hosted.identity.clone() else { return };
        let mut wanted = identity::wanted(&hosted.pod, own, is_tied);
        wanted.may_run = may_run;
        wanted.has_run = may_run && hosted.machine.has_run();
        self.hands.fencing.wanted(&hosted.pod, wanted);
    }
}

/// Whether the Pod's volumes can be had on one node alone; asks until it is answered, and all of them are bound:
/// before that nothing of the Pod can start anyway.
async fn is_tied(client: &Client, pod: &Arc<Pod>) -> bool {
    loop {
        match look(client, pod).await {
            Ok(Some(is_tied)) => return is_tied,
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "the volumes of a Pod are not known yet"),
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn look(client: &Client, pod: &Pod) -> kube::Result<Option<bool>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let mut is_tied = false;
    for name in volumes::claims(pod) {
        let claim = claims.get_opt(&name).await?;
        let Some(name) = claim.and_then(|claim| claim.spec?.volume_name) else { return Ok(None) };
        let Some(volume) = volumes.get_opt(&name).await? else { return Ok(None) };
        is_tied |= volumes::only_node(&volume).is_some();
    }
    Ok(Some(is_tied))
}

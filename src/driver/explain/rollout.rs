//! How far a DaemonSet's rollout has come on each node, and why it waits.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::lease::ticket;
use crate::placement::explain::{Explanation, Told, Verdict};
use crate::placement::{Cluster, is_ready};
use crate::steward::daemon_set::{self, REVISION_LABEL, rollout};
use crate::steward::object::{Object, id};

/// Adds to the answers of nodes that host the DaemonSet what the rollout does there.
pub(super) async fn tell(
    client: &Client,
    set: &DaemonSet,
    cluster: &Cluster,
    told: &mut Explanation,
) -> anyhow::Result<()> {
    let uid = set.uid().unwrap_or_default();
    let namespace = set.namespace().unwrap_or_default();
    let read = serde_json::to_value(set).ok().and_then(|raw| Object::read(id("apps", "DaemonSet"), raw));
    let object = read.context("the DaemonSet cannot be read")?;
    let hash = daemon_set::hash(&object);
    let leases = Api::<Lease>::namespaced(client.clone(), &namespace)
        .list(&ListParams::default().labels(&format!("{}={}", ticket::KIND_LABEL, ticket::KIND)))
        .await
        .context("listing tickets")?;
    let leases =
        leases.items.iter().filter(|lease| ticket::daemon_set(&lease.metadata) == Some(uid.as_str()));
    let mut holders: Vec<String> = leases.map(|lease| ticket::holder(lease).to_owned()).collect();
    holders.sort();
    let pods = Api::<Pod>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await?;
    let own = pods.items.iter().filter(|pod| pod.owner_references().iter().any(|owner| owner.uid == uid));
    // Of two Pods, the older one has yet to go.
    let mut current: BTreeMap<&str, bool> = BTreeMap::new();
    for pod in own {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let is_current = pod.labels().get(REVISION_LABEL) == Some(&hash);
        current.entry(node).and_modify(|all| *all &= is_current).or_insert(is_current);
    }
    let desired = set.status.as_ref().map_or(0, |status| status.desired_number_scheduled);
    let budget = rollout::budget(&object, desired.into());
    for answer in told.nodes.iter_mut().filter(|answer| answer.verdict == Verdict::Hosts) {
        let Some(is_current) = current.get(answer.node.as_str()).copied() else { continue };
        let standing = rollout::Standing {
            is_up: cluster.nodes().any(|(name, node, _)| name == answer.node && is_ready(node)),
            is_current,
            has_ticket: holders.contains(&answer.node),
            holders: &holders,
            budget,
        };
        let sentence = standing.sentence();
        answer.reasons.extend(sentence.map(|detail| Told { reason: "rollout".into(), detail }));
    }
    Ok(())
}

//! The `explain` command: asks the coordinator for what there is, and the pure functions for what follows from it.

mod rollout;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::cli::{Explain, Misused, Output};
use crate::client::Connection;
use crate::driver::identity;
use crate::driver::print::{self, Table};
use crate::placement::Cluster;
use crate::placement::explain::{self, Explanation, NodeAnswer, Told};

/// What is to be explained.
enum Subject {
    Pod(Arc<Pod>),
    DaemonSet(Box<DaemonSet>),
}

impl Subject {
    fn explain(&self, cluster: &Cluster) -> Explanation {
        match self {
            Self::Pod(pod) => explain::pod(pod, cluster),
            Self::DaemonSet(set) => explain::daemon_set(set, cluster),
        }
    }
}

/// Performs `explain`.
pub async fn run(flags: Explain) -> anyhow::Result<()> {
    let wished = labels(&flags.what_if_label)?;
    let client = Connection::from_kubeconfig(&flags.access.kubeconfig).await?.client()?;
    let subject = read(&client, &flags.subject, &flags.namespace).await?;
    let nodes: Vec<Node> = all(&client).await?;
    let chosen = |name: &str| flags.node.as_deref().is_none_or(|wanted| wanted == name);
    if let Some(wanted) =
        flags.node.as_deref().filter(|wanted| !nodes.iter().any(|node| node.name_any() == **wanted))
    {
        bail!("there is no node {wanted:?}");
    }
    let mut cluster = cluster(&client, nodes).await?;
    let mut before = subject.explain(&cluster);
    if let Subject::DaemonSet(set) = &subject {
        rollout::tell(&client, set, &cluster, &mut before).await?;
    }
    before.nodes.retain(|answer| chosen(&answer.node));
    if let Subject::Pod(pod) = &subject {
        let line = identity::line(&client, &flags.namespace, &pod.name_any()).await?;
        before.notes.extend(line);
    }
    let after = (!wished.is_empty()).then(|| {
        relabel(&mut cluster, &wished, chosen);
        let mut after = subject.explain(&cluster);
        after.nodes.retain(|answer| chosen(&answer.node));
        after
    });
    match (flags.output, after) {
        (Output::Table, None) => show(&before),
        (Output::Table, Some(after)) => show_change(&before, &after, &wished),
        (output, None) => print::structured(output, &before)?,
        (output, Some(after)) => {
            let shown = json!({ "whatIfLabels": wished, "now": before, "then": after });
            print::structured(output, &shown)?;
        }
    }
    Ok(())
}

/// `KEY=VALUE` sets a label, `KEY-` removes one, as in `kubectl label`.
fn labels(given: &[String]) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let read = |text: &String| match (text.split_once('='), text.strip_suffix('-')) {
        (Some((key, value)), _) if !key.is_empty() => Ok((key.to_owned(), Some(value.to_owned()))),
        (None, Some(key)) if !key.is_empty() => Ok((key.to_owned(), None)),
        _ => bail!(Misused::from(anyhow!(
            "--what-if-label {text:?}: expected KEY=VALUE, or KEY- to remove a label"
        ))),
    };
    given.iter().map(read).collect()
}

async fn read(client: &Client, subject: &str, namespace: &str) -> anyhow::Result<Subject> {
    let Some((kind, name)) = subject.split_once('/').filter(|(_, name)| !name.is_empty()) else {
        bail!(Misused::from(anyhow!("{subject:?}: expected pod/NAME or daemonset/NAME")));
    };
    match kind {
        "pod" | "pods" | "po" => {
            let pod: Pod = Api::namespaced(client.clone(), namespace).get(name).await?;
            Ok(Subject::Pod(Arc::new(pod)))
        }
        "daemonset" | "daemonsets" | "ds" => {
            let set = Api::namespaced(client.clone(), namespace).get(name).await?;
            Ok(Subject::DaemonSet(Box::new(set)))
        }
        _ => bail!(Misused::from(anyhow!("{subject:?}: only pod/NAME and daemonset/NAME can be explained"))),
    }
}

async fn all<K>(client: &Client) -> anyhow::Result<Vec<K>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let listed = Api::<K>::all(client.clone()).list(&ListParams::default()).await;
    Ok(listed.with_context(|| format!("listing {}", K::plural(&())))?.items)
}

async fn cluster(client: &Client, nodes: Vec<Node>) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.node_changed(&Arc::new(node));
    }
    for namespace in all::<Namespace>(client).await? {
        cluster.namespace_changed(&namespace);
    }
    for claim in all::<PersistentVolumeClaim>(client).await? {
        cluster.claim_changed(&Arc::new(claim));
    }
    for volume in all::<PersistentVolume>(client).await? {
        cluster.volume_changed(&Arc::new(volume));
    }
    for class in all::<StorageClass>(client).await? {
        cluster.class_changed(&Arc::new(class));
    }
    for pod in all::<Pod>(client).await? {
        cluster.count(&Arc::new(pod));
    }
    Ok(cluster)
}

fn relabel(cluster: &mut Cluster, wished: &BTreeMap<String, Option<String>>, chosen: impl Fn(&str) -> bool) {
    let nodes: Vec<Arc<Node>> =
        cluster.nodes().filter(|(name, ..)| chosen(name)).map(|(_, node, _)| node.clone()).collect();
    for mut node in nodes {
        let labels = Arc::make_mut(&mut node).metadata.labels.get_or_insert_default();
        for (key, value) in wished {
            match value {
                Some(value) => drop(labels.insert(key.clone(), value.clone())),
                None => drop(labels.remove(key)),
            }
        }
        cluster.node_changed(&node);
    }
}

fn head(explanation: &Explanation) {
    println!("{} in namespace {}: {}", explanation.subject, explanation.namespace, explanation.state);
    for line in explanation.waits.iter().chain(&explanation.notes) {
        println!("{line}");
    }
    println!();
}

fn show(explanation: &Explanation) {
    head(explanation);
    let mut table = Table::new(&["NODE", "CAN HOST IT", "WHY NOT", "DETAIL"]);
    for answer in &explanation.nodes {
        let mut cells = (answer.node.clone(), answer.verdict.word().to_owned());
        for (reason, detail) in reasons(&answer.reasons) {
            table.row([cells.0, cells.1, reason, detail]);
            cells = Default::default();
        }
    }
    table.print();
}

fn show_change(now: &Explanation, then: &Explanation, wished: &BTreeMap<String, Option<String>>) {
    head(now);
    let wished: Vec<String> = wished
        .iter()
        .map(|(key, value)| {
            value.as_ref().map_or_else(|| format!("{key}-"), |value| format!("{key}={value}"))
        })
        .collect();
    let mut table =
        Table::new(&["NODE", "NOW", &format!("WITH {}", wished.join(" ")), "WHY NOT THEN", "DETAIL"]);
    let becomes = |now: &NodeAnswer, then: &NodeAnswer| {
        // Where its Pod is and may not stay, it will go.
        let leaves = now.verdict == explain::Verdict::Hosts && !then.reasons.is_empty();
        if leaves { "no longer by choice".to_owned() } else { then.verdict.word().to_owned() }
    };
    for (now, then) in now.nodes.iter().zip(&then.nodes) {
        let mut cells = [now.node.clone(), now.verdict.word().to_owned(), becomes(now, then)];
        for (reason, detail) in reasons(&then.reasons) {
            let [node, before, after] = cells;
            table.row([node, before, after, reason, detail]);
            cells = Default::default();
        }
    }
    table.print();
}

/// At least one line.
fn reasons(told: &[Told]) -> Vec<(String, String)> {
    if told.is_empty() {
        return vec![("-".to_owned(), String::new())];
    }
    told.iter().map(|told| (told.reason.clone(), told.detail.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_removed_as_kubectl_writes_it() {
        let given = ["a=b", "c=", "d-"].map(str::to_owned);
        let read = labels(&given).expect("they are well-formed");
        let expected = [("a", Some("b")), ("c", Some("")), ("d", None)];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.map(str::to_owned)));
        assert_eq!(read, expected.into());
        for wrong in ["a", "", "=b", "-"] {
            assert!(labels(&[wrong.to_owned()]).is_err(), "{wrong:?}");
        }
    }
}

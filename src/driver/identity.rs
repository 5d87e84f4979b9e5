//! The `identity` commands: who holds which identity, and taking one from its holder by an operator's word.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};

use crate::cli::{Identity, Misused, Output, TokenAccess};
use crate::client::Connection;
use crate::driver::print::{self, Table};
use crate::lease::identity::{name, wire};
use crate::lease::shard::wire as shards;
use crate::lease::wire as leases;
use crate::placement::volumes::tied_to;
use crate::steward::identities::account::{Account, Seen, account};

/// Performs one `identity` command.
pub async fn run(command: Identity) -> anyhow::Result<()> {
    match command {
        Identity::List { output, access } => list(output, &access).await,
        Identity::Release { pod, yes, force, access } => release(&pod, yes, force, &access).await,
    }
}

async fn connect(access: &TokenAccess) -> anyhow::Result<Client> {
    Ok(Connection::from_kubeconfig(&access.kubeconfig).await?.client()?)
}

async fn list(output: Output, access: &TokenAccess) -> anyhow::Result<()> {
    let client = connect(access).await?;
    let seen = seen(&client).await?;
    let labelled = ListParams::default().labels(&format!("{}={}", wire::KIND_LABEL, wire::KIND));
    let found = identities(&client).list(&labelled).await.context("listing the identities' Leases")?;
    let accounts: Vec<Account> = found.items.iter().filter_map(|lease| account(lease, &seen)).collect();
    if output != Output::Table {
        return print::structured(output, &accounts);
    }
    let mut table = Table::new(&["NAMESPACE", "POD", "NODE", "SINCE", "EPOCH", "FENCE", "STATE"]);
    for one in accounts {
        let state = state(&one);
        let none = || "<none>".to_owned();
        table.row([
            one.namespace,
            one.pod,
            one.node.or(one.session).unwrap_or_else(none),
            one.since.unwrap_or_else(none),
            one.epoch.to_string(),
            one.fence_level,
            state,
        ]);
    }
    table.print();
    Ok(())
}

/// A line about the identity of a Pod; none where it has none.
pub(super) async fn line(client: &Client, namespace: &str, pod: &str) -> anyhow::Result<Option<String>> {
    let found =
        identities(client).get_opt(&name(namespace, pod)).await.context("reading the identity's Lease")?;
    let Some(lease) = found else { return Ok(None) };
    let told = account(&lease, &seen(client).await?);
    Ok(told.map(|told| {
        let holder =
            told.session.as_deref().map(|session| format!(" by session {session}")).unwrap_or_default();
        format!("Identity, epoch {}{holder}: {}", told.epoch, state(&told))
    }))
}

fn state(account: &Account) -> String {
    match (&account.session, &account.kept) {
        (None, None) => "free".to_owned(),
        (None, Some(why)) => format!("not free: {why}"),
        (Some(_), _) if account.alive => "held".to_owned(),
        (Some(_), None) => "its session is over: it is being freed".to_owned(),
        (Some(_), Some(why)) => format!("kept: {why}"),
    }
}

fn identities(client: &Client) -> Api<Lease> {
    Api::namespaced(client.clone(), wire::NAMESPACE)
}

async fn seen(client: &Client) -> anyhow::Result<Seen> {
    let all = ListParams::default();
    let sessions = Api::<Lease>::namespaced(client.clone(), leases::NAMESPACE).list(&all).await;
    let sessions = sessions.context("listing the nodes' sessions")?;
    let pods = Api::<Pod>::all(client.clone()).list(&all).await.context("listing the Pods")?;
    let claims = Api::<PersistentVolumeClaim>::all(client.clone()).list(&all).await;
    let volumes = Api::<PersistentVolume>::all(client.clone()).list(&all).await;
    let claims: BTreeMap<(String, String), PersistentVolumeClaim> = claims
        .context("listing the claims")?
        .into_iter()
        .map(|claim| ((claim.namespace().unwrap_or_default(), claim.name_any()), claim))
        .collect();
    let volumes: BTreeMap<String, PersistentVolume> = volumes
        .context("listing the volumes")?
        .into_iter()
        .map(|volume| (volume.name_any(), volume))
        .collect();
    let mut seen = Seen {
        sessions: sessions.into_iter().map(|lease| (lease.name_any(), lease)).collect(),
        monitor: identities(client).get_opt(&shards::name(0)).await.context("reading the monitor's Lease")?,
        ..Seen::default()
    };
    for pod in pods {
        let place = (pod.namespace().unwrap_or_default(), pod.name_any());
        let claim = |name: &str| claims.get(&(place.0.clone(), name.to_owned())).cloned();
        if tied_to(&pod, claim, |name| volumes.get(name).cloned()).is_some() {
            seen.tied.insert(place.clone());
        }
        seen.pods.insert(place, pod);
    }
    Ok(seen)
}

async fn release(of: &str, yes: bool, force: bool, access: &TokenAccess) -> anyhow::Result<()> {
    let Some((namespace, pod)) = of.split_once('/').filter(|(a, b)| !a.is_empty() && !b.is_empty()) else {
        bail!(Misused::from(anyhow!("{of:?}: expected NAMESPACE/POD")));
    };
    let client = connect(access).await?;
    let name = name(namespace, pod);
    let lease = identities(&client).get_opt(&name).await.context("reading the identity's Lease")?;
    let Some(lease) = lease else { bail!("there is no identity of Pod {of}") };
    let holder = leases::holder(&lease).to_owned();
    if holder.is_empty() && !wire::is_recreated(&lease) {
        println!("nobody holds the identity of Pod {of}");
        return Ok(());
    }
    let told = account(&lease, &seen(&client).await?).context("this Lease is no identity of a Pod")?;
    if told.alive && !force {
        bail!(
            "the identity of Pod {of} is held by session {holder}, which is alive: delete the Pod, or drain the node. \
             --force takes it from a node that is alive"
        );
    }
    if !yes {
        confirm(of, &told)?;
    }
    let written = identities(&client).replace(&name, &PostParams::default(), &wire::released(lease)).await;
    match written {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {
            bail!(
                "the identity of Pod {of} has changed hands meanwhile: look again with `leasehold identity list`"
            )
        }
        Err(error) => return Err(error).context("freeing the identity"),
    }
    println!("identity of Pod {of} released");
    Ok(())
}

/// Says what it means, and asks.
fn confirm(of: &str, told: &Account) -> anyhow::Result<()> {
    let holder = told.session.as_deref().unwrap_or("somebody whose Lease was lost");
    let where_ = told.node.as_deref().map(|node| format!(" on node {node}")).unwrap_or_default();
    println!("The identity of Pod {of} is held by {holder}.");
    println!(
        "Once it is released, another node starts the Pod. If its containers still run{where_}, there are two of them:"
    );
    println!(
        "both may write to the same storage. Go on only if that machine is off, or the Pod is dead there."
    );
    if !std::io::stdin().is_terminal() {
        bail!("nothing was released; say --yes");
    }
    print!("Release it? [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !answer.trim().eq_ignore_ascii_case("y") {
        bail!("nothing was released");
    }
    Ok(())
}

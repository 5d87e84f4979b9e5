//! The `brake` commands: what the monitor's Lease says of the brake, and an operator's wish to let it go.

use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::cli::{Brake as Command, Output, TokenAccess};
use crate::client::Connection;
use crate::driver::clock;
use crate::driver::print::{self, Table};
use crate::lease::monitor::Note;
use crate::lease::shard::{MONITOR, wire};
use crate::lease::wire::annotation;

/// How long `release` waits for the monitor to hear of it.
const HEARD_WITHIN: Duration = Duration::from_secs(10);

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Performs one `brake` command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Status { output, access } => status(output, &access).await,
        Command::Release { access } => release(&access).await,
    }
}

async fn leases(access: &TokenAccess) -> anyhow::Result<Api<Lease>> {
    let connection = Connection::from_kubeconfig(&access.kubeconfig).await?;
    Ok(Api::namespaced(connection.client()?, wire::NAMESPACE))
}

/// The monitor's Lease.
async fn lease(leases: &Api<Lease>) -> anyhow::Result<Lease> {
    let name = wire::name(MONITOR);
    let found = leases.get_opt(&name).await.with_context(|| format!("reading the Lease {name}"))?;
    found.with_context(|| format!("there is no Lease {}/{name}: nobody has stewarded yet", wire::NAMESPACE))
}

async fn status(output: Output, access: &TokenAccess) -> anyhow::Result<()> {
    let shown = shown(&lease(&leases(access).await?).await?);
    if output != Output::Table {
        return print::structured(output, &shown);
    }
    let text = |field: &str| match &shown[field] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(true) => "drawn".to_owned(),
        Value::Bool(false) => "released".to_owned(),
        Value::Null | Value::Array(_) | Value::Object(_) => "-".to_owned(),
    };
    let mut table = Table::new(&["BRAKE", "OF", "MINUTES-LEFT", "MONITOR", "SINCE"]);
    table.row(["drawn", "of", "minutesLeft", "monitor", "since"].map(text));
    table.print();
    Ok(())
}

/// What the Lease says.
fn shown(lease: &Lease) -> Value {
    let note = annotation(lease, wire::BRAKE).map(Note::read);
    let monitor = wire::session(lease).map(|session| session.node);
    let since = lease.spec.as_ref().and_then(|spec| spec.acquire_time.as_ref());
    json!({
        "drawn": note.is_some(),
        "of": note.map(|note| note.of),
        "minutesLeft": note.map(|note| note.minutes),
        "since": since.filter(|_| monitor.is_some()).map(|since| since.0.to_string()),
        "monitor": monitor,
    })
}

async fn release(access: &TokenAccess) -> anyhow::Result<()> {
    let leases = leases(access).await?;
    let before = lease(&leases).await?;
    if annotation(&before, wire::BRAKE).is_none() {
        println!("the brake is not drawn");
        return Ok(());
    }
    let wish = json!({ "metadata": { "annotations": { wire::BRAKE_RELEASE: clock::wall().seconds() } } });
    let (name, params) = (wire::name(MONITOR), PatchParams::default());
    leases.patch(&name, &params, &Patch::Merge(wish)).await.context("asking the monitor")?;
    let end = clock::now() + HEARD_WITHIN;
    while clock::now() < end {
        if annotation(&lease(&leases).await?, wire::BRAKE).is_none() {
            println!("the brake is let go");
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("nobody has heard of it within {HEARD_WITHIN:?}: the next monitor will, when there is one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::shard::Count;

    #[test]
    fn what_the_lease_says_is_shown() {
        let mut lease = wire::first(MONITOR, Count { shards: 4, rules: 1 });
        let free = json!({ "drawn": false, "of": null, "minutesLeft": null, "since": null, "monitor": null });
        assert_eq!(shown(&lease), free);
        lease.spec.get_or_insert_default().holder_identity = Some("n1/uid/3".to_owned());
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.insert(wire::BRAKE.to_owned(), "of=5 minutes=7".to_owned());
        let drawn = json!({ "drawn": true, "of": 5, "minutesLeft": 7, "since": null, "monitor": "n1" });
        assert_eq!(shown(&lease), drawn);
    }
}

//! The `token` commands: short-lived tokens with which machines join.

use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::authorization::bootstrap::{
    NAME_PREFIX, NAMESPACE, NODE_BOOTSTRAPPERS, SECRET_TYPE, STEWARD_BOOTSTRAPPERS, entry, parse,
};
use crate::cli::{Output, Token as Command, TokenAccess};
use crate::client::Connection;
use crate::driver::clock;
use crate::driver::entropy;
use crate::driver::print::{self, Table};
use crate::server::tls;

/// Performs one `token` command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Create { steward, ttl, coordinator, output, access } => {
            create(steward, ttl.as_str(), coordinator.as_deref(), output, &access).await
        }
        Command::List { output, access } => list(output, &access).await,
        Command::Delete { token, access } => delete(&token, &access).await,
    }
}

async fn connect(access: &TokenAccess) -> anyhow::Result<(Connection, Api<Secret>)> {
    let connection = Connection::from_kubeconfig(&access.kubeconfig).await?;
    let secrets = Api::namespaced(connection.client()?, NAMESPACE);
    Ok((connection, secrets))
}

async fn create(
    steward: bool,
    ttl: &str,
    coordinator: Option<&str>,
    output: Output,
    access: &TokenAccess,
) -> anyhow::Result<()> {
    let life = duration(ttl)?;
    let (connection, secrets) = connect(access).await?;
    let (id, secret) = (entropy::lower_case(6), entropy::lower_case(16));
    let expires = expiration(life)?;
    let body = serde_json::from_value(object(&id, &secret, steward, expires))?;
    secrets.create(&PostParams::default(), &body).await.context("writing the token's Secret")?;
    let url = coordinator.map_or_else(|| connection.url().to_string(), str::to_owned);
    let url = url.trim_end_matches('/').to_owned();
    let authority = String::from_utf8_lossy(connection.authority_pem()).into_owned();
    let hash = tls::key_hash_of_pem(&authority).map_err(anyhow::Error::msg)?;
    let token = format!("{id}.{secret}");
    let steward_flag =
        if steward { " --steward-kubeconfig /var/lib/leasehold/agent/steward.kubeconfig" } else { "" };
    let line = format!("leasehold agent --coordinator {url} --token {token} --ca-hash {hash}{steward_flag}");
    match output {
        Output::Table => println!("{line}"),
        Output::Json | Output::Yaml => {
            let expires = expires.map(|time| time.to_string());
            let shown = json!({
                "token": token, "coordinator": url, "caHash": hash, "steward": steward, "expires": expires,
                "command": line,
            });
            print::structured(output, &shown)?;
        }
    }
    Ok(())
}

/// Without fractions of a second; none for a token without an end.
fn expiration(life: Option<Duration>) -> anyhow::Result<Option<Timestamp>> {
    let Some(life) = life else { return Ok(None) };
    let end = clock::wall().0.as_second().saturating_add_unsigned(life.as_secs());
    Ok(Some(Timestamp::from_second(end).context("--ttl: the end lies too far ahead")?))
}

fn object(id: &str, secret: &str, steward: bool, expires: Option<Timestamp>) -> Value {
    let stewards = if steward { format!(",{STEWARD_BOOTSTRAPPERS}") } else { String::new() };
    let mut data = json!({
        "token-id": id,
        "token-secret": secret,
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": format!("{NODE_BOOTSTRAPPERS}{stewards}"),
        "description": if steward { "joins a node that stewards" } else { "joins a node" },
    });
    if let Some(expires) = expires {
        data["expiration"] = expires.to_string().into();
    }
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE,
        "metadata": { "name": format!("{NAME_PREFIX}{id}"), "namespace": NAMESPACE },
        "stringData": data,
    })
}

async fn list(output: Output, access: &TokenAccess) -> anyhow::Result<()> {
    let (_, secrets) = connect(access).await?;
    let params = ListParams::default().fields(&format!("type={SECRET_TYPE}"));
    let found = secrets.list(&params).await.context("listing the tokens' Secrets")?;
    let rows: Vec<Value> = found
        .items
        .iter()
        .map(|secret| {
            let secret = serde_json::to_value(secret).unwrap_or_default();
            let groups = entry(&secret, "auth-extra-groups").unwrap_or_default();
            json!({
                "id": entry(&secret, "token-id"),
                "expires": entry(&secret, "expiration"),
                "steward": groups.contains(STEWARD_BOOTSTRAPPERS),
                "description": entry(&secret, "description"),
            })
        })
        .collect();
    if output != Output::Table {
        return print::structured(output, &rows);
    }
    let mut table = Table::new(&["ID", "EXPIRES", "STEWARD", "DESCRIPTION"]);
    for row in rows {
        let text = |field: &str, none: &str| row[field].as_str().unwrap_or(none).to_owned();
        let steward = if row["steward"] == true { "yes" } else { "no" };
        table.row([text("id", ""), text("expires", "never"), steward.to_owned(), text("description", "")]);
    }
    table.print();
    Ok(())
}

async fn delete(token: &str, access: &TokenAccess) -> anyhow::Result<()> {
    let id = parse(token).map_or(token, |(id, _)| id);
    if parse(&format!("{id}.0123456789abcdef")).is_none() {
        bail!("{token:?}: expected a token or its id, e.g. abcdef");
    }
    let (_, secrets) = connect(access).await?;
    secrets
        .delete(&format!("{NAME_PREFIX}{id}"), &DeleteParams::default())
        .await
        .with_context(|| format!("deleting token {id}"))?;
    println!("deleted {id}");
    Ok(())
}

/// `90s`, `30m`, `24h`, `7d`; `0` for no end.
fn duration(text: &str) -> anyhow::Result<Option<Duration>> {
    let expected = || format!("--ttl {text:?}: expected a time as 30m, 24h or 7d, or 0 for no end");
    if text == "0" {
        return Ok(None);
    }
    let unit = text.chars().next_back().with_context(expected)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => bail!(expected()),
    };
    let count: u64 = text[..text.len() - 1].parse().with_context(expected)?;
    let whole = count.checked_mul(seconds).filter(|seconds| *seconds > 0).with_context(expected)?;
    Ok(Some(Duration::from_secs(whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_written_as_people_say_it() {
        let seconds = |text: &str| duration(text).map(|life| life.map(|life| life.as_secs())).ok();
        assert_eq!(seconds("90s"), Some(Some(90)));
        assert_eq!(seconds("30m"), Some(Some(1800)));
        assert_eq!(seconds("24h"), Some(Some(86_400)));
        assert_eq!(seconds("7d"), Some(Some(604_800)));
        assert_eq!(seconds("0"), Some(None));
        for odd in ["", "h", "-1h", "1.5h", "5", "0s", "1w"] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
    }
}

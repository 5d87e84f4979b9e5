//! Keeps a certificate from ending: a new one is asked for when two thirds of its life are over.

use std::path::PathBuf;
use std::time::Duration;

use kube::Client;

use crate::client::Connection;
use crate::driver::join::{self, Role};
use crate::driver::{clock, entropy};
use crate::server::tls;

/// Pause after a request that came to nothing: a hundredth of the life, within these.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(5);

/// What is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// The kubeconfig that holds the certificate, and is written anew.
    pub(super) kubeconfig: PathBuf,
    /// Whose it is.
    pub(super) role: Role,
    /// The node.
    pub(super) node: String,
}

/// Renews the connection's certificate in time, for as long as the process lives.
pub(super) fn start(connection: Connection, kept: Kept) {
    tokio::spawn(async move {
        if let Err(error) = keep(&connection, &kept).await {
            tracing::error!(%error, "the certificate cannot be renewed");
        }
    });
}

async fn keep(connection: &Connection, kept: &Kept) -> anyhow::Result<()> {
    let client = connection.client()?;
    let mut retry = None;
    loop {
        let Some(pem) = connection.certificate_pem() else { return Ok(()) };
        let (begin, end) = tls::validity(&pem).map_err(anyhow::Error::msg)?;
        let now = clock::wall().0;
        let wait = retry
            .take()
            .unwrap_or_else(|| renew_after(seconds(begin, end), seconds(begin, now), entropy::fraction()));
        tokio::time::sleep(wait).await;
        match renew(connection, &client, kept).await {
            Ok(()) => tracing::info!(user = kept.role.user(&kept.node), "the certificate is renewed"),
            Err(error) => {
                if clock::wall().0 > end {
                    tracing::error!(error = format!("{error:#}"), "{}", ended(&kept.node, end));
                } else {
                    tracing::warn!(error = format!("{error:#}"), "the certificate is not renewed yet");
                }
                retry = Some((seconds(begin, end) / 100).clamp(RETRY_MIN, RETRY_MAX));
            }
        }
    }
}

/// What to tell when a certificate has ended.
pub(super) fn ended(node: &str, end: jiff::Timestamp) -> String {
    format!(
        "the certificate of node {node:?} ended at {end}: it was off for longer than the certificate's life; join \
         again with a fresh token: run `leasehold token create` where the coordinator is, and the line it prints here"
    )
}

async fn renew(connection: &Connection, client: &Client, kept: &Kept) -> anyhow::Result<()> {
    let identity = join::certificate(client, kept.role, &kept.node).await?;
    let authority = String::from_utf8_lossy(connection.authority_pem()).into_owned();
    let user = kept.role.user(&kept.node);
    join::write(&kept.kubeconfig, &connection.url().to_string(), &authority, &user, &identity)?;
    connection.become_another(&identity.certificate_pem, &identity.key_pem)?;
    Ok(())
}

fn seconds(from: jiff::Timestamp, to: jiff::Timestamp) -> Duration {
    Duration::from_secs(u64::try_from(to.as_second() - from.as_second()).unwrap_or(0))
}

/// How long to wait, of a life and what of it is over: until two thirds of it, a tenth earlier or later by `drawn`.
fn renew_after(life: Duration, over: Duration, drawn: f64) -> Duration {
    let share = 2.0 / 3.0 + (drawn.clamp(0.0, 1.0) - 0.5) / 5.0;
    life.mul_f64(share).saturating_sub(over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_around_two_thirds_of_its_life() {
        let (life, hour) = (Duration::from_hours(30), Duration::from_hours(1));
        assert_eq!(renew_after(life, Duration::ZERO, 0.5).as_secs(), 20 * 3600);
        assert_eq!(renew_after(life, Duration::ZERO, 0.0).as_secs_f64().round() as u64, 17 * 3600);
        assert_eq!(renew_after(life, hour, 0.5).as_secs(), 19 * 3600);
        assert_eq!(renew_after(life, life, 0.5), Duration::ZERO);
    }
}

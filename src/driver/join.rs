//! How a machine joins: looks at the coordinator's authority, holds it against the hash it was given, and asks with its
//! token for a certificate of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestSpec, CertificateSigningRequestStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::net::TcpStream;

use crate::client::Connection;
use crate::coordinator::certificates::{NODE_SIGNER, STEWARD_PREFIX, STEWARD_SIGNER};
use crate::driver::clock;
use crate::driver::entropy;
use crate::server::kubeconfig::Kubeconfig;
use crate::server::tls::{self, Identity, NODES, STEWARDS};

/// How long the coordinator may take to show its certificates.
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a certificate may take.
const ISSUE_TIMEOUT: Duration = Duration::from_mins(1);
/// Pause between two looks at a request.
const POLL: Duration = Duration::from_millis(200);

/// What an administrator gives to a machine that is to join.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// `https://HOST:PORT`
    pub coordinator: String,
    /// `abcdef.0123456789abcdef`
    pub token: String,
    /// `sha256:…` of the authority's public key.
    pub ca_hash: String,
}

/// Whose certificate is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The node itself.
    Node,
    /// A steward on it.
    Steward,
}

impl Role {
    /// User name.
    pub fn user(self, node: &str) -> String {
        match self {
            Self::Node => format!("{}{node}", crate::authorization::node::USER_PREFIX),
            Self::Steward => format!("{STEWARD_PREFIX}{node}"),
        }
    }

    fn group(self) -> &'static str {
        match self {
            Self::Node => NODES,
            Self::Steward => STEWARDS,
        }
    }

    fn signer(self) -> &'static str {
        match self {
            Self::Node => NODE_SIGNER,
            Self::Steward => STEWARD_SIGNER,
        }
    }
}

/// Joins as `role` of `node` and writes the kubeconfig.
pub async fn join(invitation: &Invitation, role: Role, node: &str, kubeconfig: &Path) -> anyhow::Result<()> {
    let url: http::Uri = invitation
        .coordinator
        .parse()
        .with_context(|| format!("--coordinator {:?}: expected https://HOST:PORT", invitation.coordinator))?;
    let authority = authority(&url, &invitation.ca_hash).await?;
    let connection = Connection::with_token(url, authority.clone().into_bytes(), invitation.token.clone());
    let client = connection.client().context("reaching the coordinator")?;
    let identity = certificate(&client, role, node).await?;
    write(kubeconfig, &invitation.coordinator, &authority, &role.user(node), &identity)
}

/// Writes a kubeconfig, 0600.
pub fn write(
    path: &Path,
    server: &str,
    authority: &str,
    user: &str,
    identity: &Identity,
) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    let server = server.trim_end_matches('/');
    Ok(Kubeconfig { server, ca_pem: authority, user, identity }.write(path)?)
}

/// The certificate of the authority with this hash, which the coordinator shows in its handshake, PEM. That the
/// coordinator's own certificate is the authority's is verified by every connection made with it.
async fn authority(url: &http::Uri, hash: &str) -> anyhow::Result<String> {
    let host = url.host().context("--coordinator: expected https://HOST:PORT")?;
    let host = host.trim_matches(['[', ']']);
    let port = url.port_u16().unwrap_or(443);
    let look = async {
        let stream = TcpStream::connect((host, port)).await?;
        let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(std::io::Error::other)?;
        let config = tls::unknown_client_config().map_err(std::io::Error::other)?;
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Ok::<_, std::io::Error>(shown.iter().map(|der| der.as_ref().to_vec()).collect::<Vec<_>>())
    };
    let shown = tokio::time::timeout(LOOK_TIMEOUT, look)
        .await
        .with_context(|| format!("the coordinator at {host}:{port} did not answer in {LOOK_TIMEOUT:?}"))?
        .with_context(|| format!("reaching the coordinator at {host}:{port}"))?;
    let found = shown.iter().find(|der| tls::key_hash(der).is_ok_and(|found| found == hash));
    match found {
        Some(der) => Ok(tls::to_pem(der)),
        None => bail!(
            "--ca-hash {hash}: the coordinator at {host}:{port} shows no authority with this hash: it is another \
             coordinator, or somebody stands between"
        ),
    }
}

/// Makes a key and has it certified for this role.
pub async fn certificate(client: &Client, role: Role, node: &str) -> anyhow::Result<Identity> {
    let (key_pem, request) = tls::client_request(&role.user(node), role.group())?;
    let requests: Api<CertificateSigningRequest> = Api::all(client.clone());
    let name = format!("{}-{}", if role == Role::Node { "node" } else { "steward" }, entropy::lower_case(16));
    let body = CertificateSigningRequest {
        metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: k8s_openapi::ByteString(request.into_bytes()),
            signer_name: role.signer().to_owned(),
            usages: Some(vec!["digital signature".into(), "client auth".into()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    requests.create(&PostParams::default(), &body).await.map_err(refused)?;
    let deadline = clock::now() + ISSUE_TIMEOUT;
    loop {
        let found = requests.get(&name).await.context("looking for the certificate")?;
        if let Some(certificate_pem) = issued(&name, found.status.unwrap_or_default())? {
            return Ok(Identity { certificate_pem, key_pem });
        }
        if clock::now() > deadline {
            bail!(
                "certificate request {name:?} was not answered in {ISSUE_TIMEOUT:?}; a coordinator that has just \
                 started first waits whether another node {node:?} is alive: try again"
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

fn refused(error: kube::Error) -> anyhow::Error {
    if let kube::Error::Api(status) = &error
        && status.code == 401
    {
        return anyhow::anyhow!(
            "the coordinator does not accept the token: it has ended or was never made; make one with `leasehold token \
             create`"
        );
    }
    anyhow::Error::new(error).context("asking for a certificate")
}

/// The certificate, if it is there; an error when there will be none.
fn issued(name: &str, status: CertificateSigningRequestStatus) -> anyhow::Result<Option<String>> {
    let conditions = status.conditions.unwrap_or_default();
    if let Some(end) = conditions.iter().find(|c| matches!(c.type_.as_str(), "Denied" | "Failed")) {
        let why = end.message.as_deref().unwrap_or("no reason given");
        bail!("certificate request {name:?} was {}: {why}", end.type_.to_lowercase());
    }
    let Some(certificate) = status.certificate else { return Ok(None) };
    Ok(Some(String::from_utf8(certificate.0).context("the certificate is no PEM")?))
}

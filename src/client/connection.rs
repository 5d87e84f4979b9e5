//! From a kubeconfig to a kube client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tower::service_fn;

/// How long the TCP and TLS handshakes may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often an idle HTTP/2 connection is probed, and how long its answer may take: a vanished coordinator is noticed
/// within the two together, also by a watch that just waits.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no way to the coordinator.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The kubeconfig cannot be read.
    #[error("kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// It names a file or holds data that cannot be used.
    #[error("kubeconfig {path}: user and cluster: {message}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Which part, and why.
        message: String,
    },
    /// The HTTP client cannot be built from it.
    #[error("kubeconfig {path}: {source}")]
    Client {
        /// The file.
        path: PathBuf,
        /// What reqwest says.
        #[source]
        source: reqwest::Error,
    },
}

/// A kubeconfig's current context, ready to be used.
#[derive(Clone)]
pub struct Connection {
    path: PathBuf,
    url: http::Uri,
    authority_pem: Vec<u8>,
    identity_pem: Option<Vec<u8>>,
    bearer: Option<String>,
    program: &'static str,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("path", &self.path).field("url", &self.url).finish_non_exhaustive()
    }
}

impl Connection {
    /// Reads the current context of the kubeconfig at `path`.
    pub async fn from_kubeconfig(path: &Path) -> Result<Self, ConnectionError> {
        let unreadable = |source| ConnectionError::Kubeconfig { path: path.into(), source: Box::new(source) };
        let unusable = |message: String| ConnectionError::Credentials { path: path.into(), message };
        let kubeconfig = Kubeconfig::read_from(path).map_err(unreadable)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(unreadable)?;
        let user = &config.auth_info;
        let certificate =
            inline_or_file(user.client_certificate_data.as_deref(), user.client_certificate.as_deref())
                .map_err(&unusable)?;
        let key = match &user.client_key_data {
            Some(secret) => {
                use secrecy::ExposeSecret as _;
                decoded(secret.expose_secret()).map(Some)
            }
            None => inline_or_file(None, user.client_key.as_deref()),
        }
        .map_err(&unusable)?;
        let identity_pem = match (certificate, key) {
            (Some(mut certificate), Some(key)) => {
                certificate.push(b'\n');
                certificate.extend(key);
                Some(certificate)
            }
            (None, None) => None,
            _ => return Err(unusable("client-certificate and client-key go together".into())),
        };
        let bearer = user.token.as_ref().map(|token| {
            use secrecy::ExposeSecret as _;
            token.expose_secret().to_owned()
        });
        let authority_pem =
            config.root_cert.iter().flatten().flat_map(|der| pem("CERTIFICATE", der)).collect();
        Ok(Self {
            path: path.into(),
            url: config.cluster_url,
            authority_pem,
            identity_pem,
            bearer,
            program: "leasehold",
        })
    }

    /// The same way for requests of `program`: the name under which the coordinator records what they write.
    #[must_use]
    pub fn called(self, program: &'static str) -> Self {
        Self { program, ..self }
    }

    /// Where the coordinator is.
    pub fn url(&self) -> &http::Uri {
        &self.url
    }

    /// The certificate authority of the cluster, PEM.
    pub fn authority_pem(&self) -> &[u8] {
        &self.authority_pem
    }

    /// A client for watches and ordinary requests.
    pub fn client(&self) -> Result<kube::Client, ConnectionError> {
        self.build(
            self.builder()?
                .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .http2_keep_alive_while_idle(true),
        )
    }

    /// A client whose every request ends after `timeout`, on connections of its own that a timed-out request closes:
    /// what a lease needs.
    pub fn client_with_timeout(&self, timeout: Duration) -> Result<kube::Client, ConnectionError> {
        self.build(
            self.builder()?.http1_only().timeout(timeout).connect_timeout(timeout).pool_max_idle_per_host(1),
        )
    }

    fn builder(&self) -> Result<reqwest::ClientBuilder, ConnectionError> {
        let failed = |source| ConnectionError::Client { path: self.path.clone(), source };
        let mut builder = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(format!("{}/{}", self.program, env!("CARGO_PKG_VERSION")));
        let roots = reqwest::Certificate::from_pem_bundle(&self.authority_pem).map_err(failed)?;
        builder = builder.tls_certs_only(roots);
        if let Some(pem) = &self.identity_pem {
            builder = builder.identity(reqwest::Identity::from_pem(pem).map_err(failed)?);
        }
        Ok(builder)
    }

    fn build(&self, builder: reqwest::ClientBuilder) -> Result<kube::Client, ConnectionError> {
        let http =
            builder.build().map_err(|source| ConnectionError::Client { path: self.path.clone(), source })?;
        let base = self.url.to_string().trim_end_matches('/').to_owned();
        let bearer = self.bearer.as_ref().map(|token| format!("Bearer {token}"));
        let service = service_fn(move |request: http::Request<Body>| {
            let (http, base, bearer) = (http.clone(), base.clone(), bearer.clone());
            async move { send(http, &base, bearer, request).await }
        });
        Ok(kube::Client::new(service, "default"))
    }
}

async fn send(
    http: reqwest::Client,
    base: &str,
    bearer: Option<String>,
    request: http::Request<Body>,
) -> Result<http::Response<reqwest::Body>, Box<dyn std::error::Error + Send + Sync>> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let body: Bytes = body.collect().await?.to_bytes();
    let mut outgoing = http.request(parts.method, format!("{base}{path}")).headers(parts.headers).body(body);
    if let Some(bearer) = bearer {
        outgoing = outgoing.header(http::header::AUTHORIZATION, bearer);
    }
    Ok(outgoing.send().await?.into())
}

fn decoded(base64_text: &str) -> Result<Vec<u8>, String> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(base64_text).map_err(|e| format!("not base64: {e}"))
}

fn inline_or_file(inline: Option<&str>, file: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    match (inline, file) {
        (Some(text), _) => decoded(text).map(Some),
        (None, Some(path)) => std::fs::read(path).map(Some).map_err(|e| format!("{path}: {e}")),
        (None, None) => Ok(None),
    }
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

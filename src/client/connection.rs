//! From a kubeconfig to a kube client.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// There is no such file.
    #[error(
        "there is no kubeconfig {0}: name one with --kubeconfig (the coordinator keeps its own in its --data-dir)"
    )]
    Absent(PathBuf),
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

/// A kubeconfig's current context, ready to be used. Clones share who they are: [`Connection::become_another`].
#[derive(Clone)]
pub struct Connection {
    path: PathBuf,
    url: http::Uri,
    authority_pem: Vec<u8>,
    bearer: Option<String>,
    program: &'static str,
    shared: Arc<Mutex<Shared>>,
}

/// Who the clients are, and the clients.
struct Shared {
    identity_pem: Option<Vec<u8>>,
    clients: Vec<Slot>,
}

/// The HTTP client behind a kube client, and how it is made anew.
struct Slot {
    tuning: Tuning,
    http: Arc<Mutex<reqwest::Client>>,
}

/// What an HTTP client is for.
#[derive(Clone, Copy)]
enum Tuning {
    /// Watches and ordinary requests.
    Long,
    /// Requests that end after this.
    Timed(Duration),
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
        if !path.exists() {
            return Err(ConnectionError::Absent(path.into()));
        }
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
            bearer,
            program: "leasehold",
            shared: Shared::new(identity_pem),
        })
    }

    /// The same way for requests of `program`: the name under which the coordinator records what they write.
    #[must_use]
    pub fn called(self, program: &'static str) -> Self {
        Self { program, ..self }
    }

    /// A way to the coordinator at `url` for the bearer of a token.
    pub fn with_token(url: http::Uri, authority_pem: Vec<u8>, token: String) -> Self {
        let (path, bearer, shared) = (PathBuf::new(), Some(token), Shared::new(None));
        Self { path, url, authority_pem, bearer, program: "leasehold", shared }
    }

    /// The client certificate, PEM, where there is one.
    pub fn certificate_pem(&self) -> Option<String> {
        let shared = locked(&self.shared);
        shared.identity_pem.as_ref().map(|pem| String::from_utf8_lossy(pem).into_owned())
    }

    /// Presents another certificate from now on, in all clients that have been made. What is open stays open.
    pub fn become_another(&self, certificate_pem: &str, key_pem: &str) -> Result<(), ConnectionError> {
        let mut shared = locked(&self.shared);
        shared.identity_pem = Some(format!("{certificate_pem}\n{key_pem}").into_bytes());
        for slot in &shared.clients {
            *locked(&slot.http) = self.http(slot.tuning, shared.identity_pem.as_deref())?;
        }
        Ok(())
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
        self.build(Tuning::Long)
    }

    /// A client whose every request ends after `timeout`, on connections of its own that a timed-out request closes:
    /// what a lease needs.
    pub fn client_with_timeout(&self, timeout: Duration) -> Result<kube::Client, ConnectionError> {
        self.build(Tuning::Timed(timeout))
    }

    fn http(&self, tuning: Tuning, identity: Option<&[u8]>) -> Result<reqwest::Client, ConnectionError> {
        let failed = |source| ConnectionError::Client { path: self.path.clone(), source };
        let builder = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(format!("{}/{}", self.program, env!("CARGO_PKG_VERSION")));
        let roots = reqwest::Certificate::from_pem_bundle(&self.authority_pem).map_err(failed)?;
        let mut builder = builder.tls_certs_only(roots);
        if let Some(pem) = identity {
            builder = builder.identity(reqwest::Identity::from_pem(pem).map_err(failed)?);
        }
        let builder = match tuning {
            Tuning::Long => builder
                .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
                .http2_keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .http2_keep_alive_while_idle(true),
            Tuning::Timed(timeout) => {
                builder.http1_only().timeout(timeout).connect_timeout(timeout).pool_max_idle_per_host(1)
            }
        };
        builder.build().map_err(failed)
    }

    fn build(&self, tuning: Tuning) -> Result<kube::Client, ConnectionError> {
        let mut shared = locked(&self.shared);
        let http = Arc::new(Mutex::new(self.http(tuning, shared.identity_pem.as_deref())?));
        shared.clients.push(Slot { tuning, http: http.clone() });
        drop(shared);
        let base = self.url.to_string().trim_end_matches('/').to_owned();
        let bearer = self.bearer.as_ref().map(|token| format!("Bearer {token}"));
        let service = service_fn(move |request: http::Request<Body>| {
            let (http, base, bearer) = (locked(&http).clone(), base.clone(), bearer.clone());
            async move { send(http, &base, bearer, request).await }
        });
        Ok(kube::Client::new(service, "default"))
    }
}

impl Shared {
    fn new(identity_pem: Option<Vec<u8>>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { identity_pem, clients: Vec::new() }))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

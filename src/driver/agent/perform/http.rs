//! `httpGet` of probes and hooks: one GET, redirected within its host at most.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reqwest::Url;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::network::dial::dial_to;
use crate::server::tls;

/// As many as Go's client follows.
const REDIRECTS_MAX: usize = 10;
/// 10 KiB, as much as the kubelet reads of an answer.
const BODY_BYTES_MAX: usize = 10 * 1024;
/// The version of the API that this node speaks, as a kubelet names it.
pub(super) const API_VERSION: &str = "1.36";
/// What Go says of a server that answers a TLS greeting in plain text.
const PLAIN_ANSWER: &str = "http: server gave HTTP response to HTTPS client";

/// Who asks, for `User-Agent`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    Probe,
    Hook,
}

impl Purpose {
    pub(super) fn user_agent(self) -> String {
        match self {
            Self::Probe => format!("kube-probe/{API_VERSION}"),
            Self::Hook => format!("kube-lifecycle/{API_VERSION}"),
        }
    }
}

/// Where a Pod is reached.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Its network namespace; none where it shares the node's.
    pub(super) namespace: Option<PathBuf>,
    /// Its address.
    pub(super) ip: String,
}

/// A GET to be made.
#[derive(Clone, Debug)]
pub(super) struct Get {
    url: Url,
    headers: HeaderMap,
    /// Where to connect from; none for hosts that the manifest names.
    namespace: Option<PathBuf>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// At most 10 KiB of it.
    pub(super) body: String,
}

/// The number of a port, by itself or by its name in the container's spec.
pub(super) fn port_number(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => i64::from(*number),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            match (named, name.parse()) {
                (Some(port), _) => i64::from(port.container_port),
                (None, Ok(number)) => number,
                (None, Err(_)) => return Err(format!("strconv.Atoi: parsing {name:?}: invalid syntax")),
            }
        }
    };
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(format!("invalid port number: {number}")),
    }
}

impl Get {
    /// The request that an action describes. The error says what it cannot be made of.
    pub(super) fn new(
        action: &HTTPGetAction,
        container: &Container,
        place: &Place,
        purpose: Purpose,
    ) -> Result<Self, String> {
        let own = action.host.as_deref().filter(|host| !host.is_empty());
        let port = port_number(&action.port, container)?;
        let scheme = action.scheme.as_deref().unwrap_or("HTTP").to_lowercase();
        let url = url(&scheme, own.unwrap_or(&place.ip), port, action.path.as_deref().unwrap_or_default())?;
        let given = action.http_headers.iter().flatten().map(|header| (&*header.name, &*header.value));
        let headers = headers(given, &purpose.user_agent())?;
        let namespace = place.namespace.clone().filter(|_| own.is_none());
        Ok(Self { url, headers, namespace })
    }

    /// Host and port, for people.
    pub(super) fn authority(&self) -> String {
        authority(&self.url)
    }

    /// The same in plain text, and without what must not be said in plain text.
    pub(super) fn in_plain_text(mut self) -> Self {
        let _ = self.url.set_scheme("http");
        self.headers.remove(AUTHORIZATION);
        self
    }

    /// Makes the request, and follows where it is sent within its host.
    pub(super) async fn perform(&self, timeout: Option<Duration>) -> Result<Answer, String> {
        let mut current = self.url.clone();
        let told = |url: &Url, why: &str| format!("Get {:?}: {why}", url.as_str());
        let follow = async {
            for _ in 0..=REDIRECTS_MAX {
                let reply = self.once(&current, timeout).await;
                let (status, location, body) = reply.map_err(|why| told(&current, &why))?;
                let next = location.and_then(|location| current.join(&location).ok());
                match next.filter(|_| is_redirect(status)) {
                    Some(next) if next.host() == self.url.host() => current = next,
                    Some(_) | None => return Ok(Answer { status, body }),
                }
            }
            Err(told(&current, "stopped after 10 redirects"))
        };
        let Some(timeout) = timeout else { return follow.await };
        let late = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        tokio::time::timeout(timeout, follow).await.unwrap_or_else(|_| Err(told(&self.url, late)))
    }

    /// One request and its answer: status, `Location`, body.
    async fn once(
        &self,
        url: &Url,
        timeout: Option<Duration>,
    ) -> Result<(StatusCode, Option<String>, String), String> {
        let stream = connect(self.namespace.as_deref(), url, timeout).await?;
        let response = if url.scheme() == "https" {
            let (stream, speaks_2) = secure(stream, url).await?;
            if speaks_2 { self.exchange_2(stream, url).await? } else { self.exchange_1(stream, url).await? }
        } else {
            self.exchange_1(stream, url).await?
        };
        let (parts, body) = response.into_parts();
        let location = parts.headers.get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((parts.status, location, read(body).await?))
    }

    async fn exchange_1<S>(&self, stream: S, url: &Url) -> Result<http::Response<Incoming>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(told)?;
        tokio::spawn(connection);
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let mut request = self.request(&format!("{}{query}", url.path()))?;
        let host = authority(url);
        let host = HeaderValue::from_str(&host).map_err(|error| error.to_string())?;
        request.headers_mut().entry(HOST).or_insert(host);
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        sender.send_request(request).await.map_err(told)
    }

    async fn exchange_2<S>(&self, stream: S, url: &Url) -> Result<http::Response<Incoming>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(told)?;
        tokio::spawn(connection);
        let mut request = self.request(url.as_str())?;
        *request.version_mut() = Version::HTTP_2;
        if let Some(host) = request.headers_mut().remove(HOST) {
            let mut parts = request.uri().clone().into_parts();
            parts.authority = host.to_str().ok().and_then(|host| host.parse().ok()).or(parts.authority);
            *request.uri_mut() = http::Uri::from_parts(parts).map_err(|error| error.to_string())?;
        }
        sender.send_request(request).await.map_err(told)
    }

    fn request(&self, target: &str) -> Result<Request<Empty<Bytes>>, String> {
        let request = Request::get(target).body(Empty::new());
        let mut request = request.map_err(|error| error.to_string())?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }
}

/// A path may have a query; what it says of host and port does not count.
fn url(scheme: &str, host: &str, port: u16, path: &str) -> Result<Url, String> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let base = format!("{scheme}://{host}:{port}/");
    let base = Url::parse(&base).map_err(|error| format!("parse {base:?}: {error}"))?;
    let mut url = base.join(path).map_err(|error| format!("parse {path:?}: {error}"))?;
    if (url.scheme(), url.host(), url.port()) != (base.scheme(), base.host(), base.port()) {
        let mut own = base;
        own.set_path(url.path());
        own.set_query(url.query());
        url = own;
    }
    Ok(url)
}

fn headers<'a>(
    given: impl Iterator<Item = (&'a str, &'a str)>,
    user_agent: &str,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let invalid = || format!("net/http: invalid header field value for {name:?}");
        let key = HeaderName::try_from(name)
            .map_err(|_| format!("net/http: invalid header field name {name:?}"))?;
        headers.append(key, HeaderValue::from_str(value).map_err(|_| invalid())?);
    }
    for (name, value) in [(USER_AGENT, user_agent), (ACCEPT, "*/*")] {
        match headers.get(&name) {
            None => {
                let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
                headers.insert(name, value);
            }
            // An empty one says that there is to be none.
            Some(given) if given.is_empty() => {
                headers.remove(name);
            }
            Some(_) => {}
        }
    }
    Ok(headers)
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Connects to the first of the host's addresses that takes the connection.
pub(super) async fn connect(
    namespace: Option<&Path>,
    url: &Url,
    timeout: Option<Duration>,
) -> Result<tokio::net::TcpStream, String> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(80);
    connect_to(namespace, host, port, timeout).await
}

/// As above, by host and port.
pub(super) async fn connect_to(
    namespace: Option<&Path>,
    host: &str,
    port: u16,
    timeout: Option<Duration>,
) -> Result<tokio::net::TcpStream, String> {
    let unknown = || format!("dial tcp: lookup {host}: no such host");
    let found: Vec<SocketAddr> =
        tokio::net::lookup_host((host, port)).await.map_err(|_| unknown())?.collect();
    let mut refusal = unknown();
    for to in found {
        match dial_to(namespace, to, timeout.unwrap_or(CONNECT_TIMEOUT)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => refusal = error.to_string(),
        }
    }
    Err(refusal)
}

/// 30 s, Go's default, where nobody says how long it may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// TLS to whomever is there, and whether it speaks HTTP/2.
async fn secure(
    stream: tokio::net::TcpStream,
    url: &Url,
) -> Result<(tokio_rustls::client::TlsStream<tokio::net::TcpStream>, bool), String> {
    let mut config = tls::unknown_client_config().map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let name = rustls::pki_types::ServerName::try_from(host).map_err(|error| error.to_string())?;
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = connected.map_err(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let plain =
            matches!(inner, Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)));
        if plain { PLAIN_ANSWER.to_owned() } else { format!("tls: {error}") }
    })?;
    let speaks_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((stream, speaks_2))
}

/// Whether a failure says that the server does not speak TLS.
pub(super) fn is_plain_answer(failure: &str) -> bool {
    failure.ends_with(PLAIN_ANSWER)
}

/// As much of a body as is wanted.
async fn read(mut body: Incoming) -> Result<String, String> {
    let mut bytes = Vec::new();
    while bytes.len() < BODY_BYTES_MAX {
        match body.frame().await {
            None => break,
            Some(Err(error)) => return Err(told(error)),
            Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
        }
    }
    bytes.truncate(BODY_BYTES_MAX);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// hyper's errors, with what caused them.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn told(error: hyper::Error) -> String {
    if error.is_incomplete_message() {
        return "EOF".to_owned();
    }
    match std::error::Error::source(&error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests;

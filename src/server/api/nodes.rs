//! Pods' logs, exec, attach and port-forward, fetched from the node that runs the Pod; [`proxy`] passes on requests.
//!
//! The node's kubelet endpoint is asked with the coordinator's proxy certificate. It must show the certificate that the
//! Node's annotation names, or where there is none, one of this cluster's authority for its internal address. Logs are
//! passed on as they come; the others are tunnels of bytes once both sides have changed protocols, whichever these are.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, UPGRADE};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::query::{Query, encode};
use super::reply::{BodyError, Payload, Reply};
use crate::api::kinds::{Kind, by_kind};
use crate::api::log_options::LogOptions;
use crate::api::status::Status;
use crate::server::listen::RequestBody;
use crate::server::tls::{
    Identity, TlsError, client_config, fingerprint, pinning_client_config, unknown_client_config,
};
use crate::server::view::View;

mod proxy;

use proxy::Destination;

/// Time to reach a node and finish the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time until a node begins its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest refusal of a node that is read.
const REFUSAL_MAX: usize = 16 << 10;
/// The kubelet's port, where a Node does not name one.
const KUBELET_PORT: u16 = 10250;
/// Names the container that is meant when none is.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// Names the certificate that a node serves.
pub const CERTIFICATE: &str = "leasehold.dev/serving-certificate-sha256";
/// Headers that make a change of protocols.
const UPGRADE_HEADERS: [&str; 7] = [
    "upgrade",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
    "sec-websocket-accept",
    "x-stream-protocol-version",
];

/// The way to the nodes.
#[derive(Clone)]
pub struct Nodes {
    by_authority: TlsConnector,
    pinning: TlsConnector,
    /// To servers that are not ours: takes any certificate, shows none.
    unknown: TlsConnector,
    stop: CancellationToken,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").finish_non_exhaustive()
    }
}

/// What is streamed to and from a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A command of its own in a container.
    Exec,
    /// A container's own streams.
    Attach,
    /// Connections to a Pod's ports.
    PortForward,
}

impl Verb {
    /// By its subresource.
    pub fn of(subresource: &str) -> Option<Self> {
        match subresource {
            "exec" => Some(Self::Exec),
            "attach" => Some(Self::Attach),
            "portforward" => Some(Self::PortForward),
            _ => None,
        }
    }
}

/// A container or Pod, and where its node answers for it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    address: SocketAddr,
    /// `/NAMESPACE/POD/CONTAINER`, `/NAMESPACE/POD`
    path: String,
    /// SHA-256 of the certificate it serves, hexadecimal.
    certificate: Option<String>,
}

impl Nodes {
    /// Asks nodes with this identity; `stop` ends tunnels.
    pub fn new(identity: &Identity, ca_pem: &str, stop: CancellationToken) -> Result<Self, TlsError> {
        Ok(Self {
            by_authority: TlsConnector::from(Arc::new(client_config(identity, ca_pem)?)),
            pinning: TlsConnector::from(Arc::new(pinning_client_config(identity)?)),
            unknown: TlsConnector::from(Arc::new(unknown_client_config()?)),
            stop,
        })
    }

    /// GET `pods/NAME/log`. `permit` is held until the log has ended.
    pub async fn log(
        &self,
        view: &View,
        namespace: &str,
        name: &str,
        query: &Query,
        permit: OwnedSemaphorePermit,
    ) -> Result<Reply, Status> {
        LogOptions::read(name, |parameter| query.get(parameter))?;
        let Some(place) = place(view, namespace, name, query.get("container"))? else {
            // A Pod without a node has said nothing yet.
            return Ok(Reply::text(200, ""));
        };
        let uri = with_query(format!("/containerLogs{}", place.path), &query.without("container"));
        let request = Request::get(&uri).header(HOST, place.address.to_string()).body(Empty::new());
        let request = request.map_err(|e| Status::bad_request(e.to_string()))?;
        let response = self.ask(&place, request).await?;
        if !response.status().is_success() {
            return Err(refusal(response).await);
        }
        let body = response.into_body().into_data_stream().map(move |part| {
            let _held = &permit;
            part.map_err(|e| BodyError::from(e.to_string()))
        });
        let end = self.stop.clone().cancelled_owned();
        Ok(Reply::new(200, "text/plain", Payload::Stream(body.take_until(end).boxed())))
    }

    /// GET or POST `pods/NAME/exec`, `attach`, `portforward`.
    pub async fn stream(
        &self,
        view: &View,
        pod: (&str, &str),
        verb: Verb,
        request: Request<RequestBody>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Reply, Status> {
        let ((namespace, name), query) = (pod, Query::parse(request.uri().query().unwrap_or_default()));
        let place = match verb {
            Verb::Exec | Verb::Attach => place(view, namespace, name, query.get("container"))?,
            Verb::PortForward => pod_place(view, namespace, name)?,
        };
        let place =
            place.ok_or_else(|| Status::bad_request(format!("pod {name} does not have a host assigned")))?;
        if !request.headers().contains_key(UPGRADE) {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let onward = onward(&place, verb, &query, request.method(), request.headers())?;
        self.tunnel(&place, onward, request, permit).await
    }

    /// Asks a node to change protocols, and if it does, carries bytes between there and the client.
    async fn tunnel(
        &self,
        place: &Place,
        onward: Request<Empty<Bytes>>,
        mut request: Request<RequestBody>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Reply, Status> {
        let response = self.ask(place, onward).await?;
        if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
            return Err(refusal(response).await);
        }
        let mut reply = Reply::new(101, "", Payload::Whole(Bytes::new()));
        reply.headers = upgrade_headers(response.headers()).collect();
        let (ours, theirs) = (hyper::upgrade::on(&mut request), hyper::upgrade::on(response));
        let stop = self.stop.clone();
        tokio::spawn(async move {
            let _held = permit;
            tokio::select! {
                () = tunnel(ours, theirs) => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(reply)
    }

    async fn ask(&self, place: &Place, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, Status> {
        let failed = failed(&request, "https", place.address);
        let stream = within(CONNECT_TIMEOUT, place.address, self.connect(place)).await.map_err(&failed)?;
        tokio::time::timeout(ANSWER_TIMEOUT, send(stream, request))
            .await
            .map_err(|_| failed("the node does not answer".into()))?
            .map_err(failed)
    }

    /// Asks any server; a body takes what time it takes.
    async fn ask_server(
        &self,
        destination: &Destination,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Status> {
        let address = destination.address();
        match destination {
            Destination::Node(place) => {
                let failed = failed(&request, "https", address);
                let stream = within(CONNECT_TIMEOUT, address, self.connect(place)).await.map_err(&failed)?;
                send(stream, request).await.map_err(failed)
            }
            Destination::Server { tls: true, .. } => {
                let failed = failed(&request, "https", address);
                let connect = async {
                    let name = ServerName::IpAddress(address.ip().into());
                    self.unknown.connect(name, dial(address).await?).await.map_err(|e| format!("tls: {e}"))
                };
                let stream = within(CONNECT_TIMEOUT, address, connect).await.map_err(&failed)?;
                send(stream, request).await.map_err(failed)
            }
            Destination::Server { tls: false, .. } => {
                let failed = failed(&request, "http", address);
                let stream = within(CONNECT_TIMEOUT, address, dial(address)).await.map_err(&failed)?;
                send(stream, request).await.map_err(failed)
            }
        }
    }

    async fn connect(&self, place: &Place) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
        let address = place.address;
        let socket = dial(address).await?;
        let name = ServerName::IpAddress(address.ip().into());
        let Some(expected) = &place.certificate else {
            return self.by_authority.connect(name, socket).await.map_err(|e| format!("tls: {e}"));
        };
        let stream = self.pinning.connect(name, socket).await.map_err(|e| format!("tls: {e}"))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if shown.is_none_or(|shown| fingerprint(shown) != *expected) {
            return Err("tls: the server's certificate is not the one the Node names".into());
        }
        Ok(stream)
    }
}

async fn dial(address: SocketAddr) -> Result<TcpStream, String> {
    let socket = TcpStream::connect(address).await;
    let socket = socket.map_err(|e| format!("dial tcp {address}: connect: {}", in_words(&e)))?;
    let _ = socket.set_nodelay(true);
    Ok(socket)
}

async fn within<T>(
    limit: Duration,
    address: SocketAddr,
    connect: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let connected = tokio::time::timeout(limit, connect).await;
    connected.map_err(|_| format!("dial tcp {address}: i/o timeout"))?
}

/// What a request that got no answer is answered with.
fn failed<B>(request: &Request<B>, scheme: &str, address: SocketAddr) -> impl Fn(String) -> Status + use<B> {
    let method = if request.method() == Method::GET { "Get" } else { "Post" };
    let url = format!("{scheme}://{address}{}", request.uri());
    move |why| Status::new(500, "InternalError", format!("{method} {url:?}: {why}"))
}

/// Sends a request on a connection of its own, which lives as long as the answer.
async fn send<S, B>(stream: S, request: Request<B>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a node or Pod ended early");
        }
    });
    sender.send_request(request).await.map_err(|error| error.to_string())
}

/// As Go says it, without the number.
fn in_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    words.to_lowercase()
}

async fn tunnel(ours: hyper::upgrade::OnUpgrade, theirs: hyper::upgrade::OnUpgrade) {
    let (Ok(ours), Ok(theirs)) = futures::future::join(ours, theirs).await else { return };
    // Either side's end ends the tunnel; how is their own protocol's business.
    let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut TokioIo::new(theirs)).await;
}

/// The request as the kubelet wants it.
fn onward(
    place: &Place,
    verb: Verb,
    query: &Query,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Request<Empty<Bytes>>, Status> {
    let mut words = Vec::new();
    let path = match verb {
        Verb::Exec => "/exec",
        Verb::Attach => "/attach",
        Verb::PortForward => "/portForward",
    };
    if verb == Verb::PortForward {
        words.extend(query.all("ports").map(|word| format!("ports={}", encode(word))));
    } else {
        for (ours, theirs) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
        {
            if query.flag(ours) {
                words.push(format!("{theirs}=1"));
            }
        }
    }
    if verb == Verb::Exec {
        words.extend(query.all("command").map(|word| format!("command={}", encode(word))));
    }
    let uri = with_query(format!("{path}{}", place.path), &words.join("&"));
    let mut request = Request::builder().method(method).uri(uri).header(HOST, place.address.to_string());
    for (name, value) in upgrade_headers(headers) {
        request = request.header(name, value);
    }
    request.body(Empty::new()).map_err(|e| Status::bad_request(e.to_string()))
}

fn with_query(path: String, query: &str) -> String {
    if query.is_empty() { path } else { format!("{path}?{query}") }
}

/// `Connection` and `Upgrade` concern one hop each, and both hops change protocols.
fn upgrade_headers(headers: &HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let passed = headers.iter().filter(|(name, _)| UPGRADE_HEADERS.contains(&name.as_str()));
    passed
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain([(CONNECTION, HeaderValue::from_static("Upgrade"))])
}

/// What a node says when it refuses, as upstream's endpoint passes it on.
async fn refusal(response: Response<Incoming>) -> Status {
    let code = response.status().as_u16();
    let body = Limited::new(response.into_body(), REFUSAL_MAX).collect().await;
    let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        400 => Status::bad_request(text),
        404 => {
            Status::new(404, "NotFound", format!("the server could not find the requested resource: {text}"))
        }
        401 | 403 => Status::internal(format!("the node refuses the coordinator: {text}")),
        429 => Status::new(429, "TooManyRequests", text),
        500 => Status::internal(text),
        _ => Status::new(
            code.max(400),
            "InternalError",
            format!("an error on the server ({text:?}) has prevented the request from succeeding"),
        ),
    }
}

/// Where a Pod's container is to be asked for; none while the Pod has no node.
fn place(view: &View, namespace: &str, name: &str, container: Option<&str>) -> Result<Option<Place>, Status> {
    let pod = pod(view, namespace, name)?;
    let container = choose_container(&pod, name, container)?;
    on_node(view, &pod, format!("/{namespace}/{name}/{}", encode(&container)))
}

/// Where a Pod is to be asked for; none while it has no node.
fn pod_place(view: &View, namespace: &str, name: &str) -> Result<Option<Place>, Status> {
    on_node(view, &pod(view, namespace, name)?, format!("/{namespace}/{name}"))
}

fn row(kind: &str) -> &'static Kind {
    by_kind("", "v1", kind).expect("a row of the table of kinds")
}

fn pod(view: &View, namespace: &str, name: &str) -> Result<Value, Status> {
    let pod = view.get(row("Pod"), namespace, name);
    Ok(pod.ok_or_else(|| Status::not_found("", "pods", name))?.value())
}

fn on_node(view: &View, pod: &Value, path: String) -> Result<Option<Place>, Status> {
    let node_name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node_name.is_empty() {
        return Ok(None);
    }
    node_place(view, node_name, path).map(Some)
}

fn node_place(view: &View, name: &str, path: String) -> Result<Place, Status> {
    let node = view.get(row("Node"), "", name).ok_or_else(|| Status::not_found("", "nodes", name))?.value();
    let address = kubelet_address(&node)
        .ok_or_else(|| Status::internal(format!("node {name:?} has no address of type InternalIP")))?;
    let certificate = node["metadata"]["annotations"][CERTIFICATE].as_str().map(str::to_owned);
    Ok(Place { address, path, certificate })
}

fn kubelet_address(node: &Value) -> Option<SocketAddr> {
    let addresses = node["status"]["addresses"].as_array()?;
    let internal = addresses.iter().find(|address| address["type"] == "InternalIP")?;
    let ip: IpAddr = internal["address"].as_str()?.parse().ok()?;
    let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
    let port = port.and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0);
    Some(SocketAddr::new(ip, port.unwrap_or(KUBELET_PORT)))
}

fn container_names(pod: &Value, field: &str) -> Vec<String> {
    let containers = pod["spec"][field].as_array().into_iter().flatten();
    containers.filter_map(|container| container["name"].as_str()).map(str::to_owned).collect()
}

/// The container that is named, the only one there is, or the one that the Pod's annotation names.
fn choose_container(pod: &Value, name: &str, asked: Option<&str>) -> Result<String, Status> {
    let main = container_names(pod, "containers");
    let init = container_names(pod, "initContainers");
    let ephemeral = container_names(pod, "ephemeralContainers");
    let is_known =
        |container: &str| [&main, &init, &ephemeral].iter().any(|names| names.iter().any(|n| n == container));
    if let Some(asked) = asked {
        if is_known(asked) {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    let annotated = pod["metadata"]["annotations"][DEFAULT_CONTAINER].as_str();
    match (&main[..], annotated) {
        ([only], _) => Ok(only.clone()),
        (_, Some(annotated)) if is_known(annotated) => Ok(annotated.to_owned()),
        _ => {
            let mut text = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                main.join(" ")
            );
            for (names, what) in [(init, "init"), (ephemeral, "ephemeral")] {
                if !names.is_empty() {
                    text = format!("{text} or one of the {what} containers: [{}]", names.join(" "));
                }
            }
            Err(Status::bad_request(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_container_is_the_named_the_only_or_the_annotated_one() {
        let mut pod = json!({ "metadata": {}, "spec": { "containers": [{ "name": "a" }] } });
        assert_eq!(choose_container(&pod, "p", None).unwrap(), "a");
        pod["spec"] = json!({
            "containers": [{ "name": "a" }, { "name": "b" }], "initContainers": [{ "name": "i" }],
        });
        assert_eq!(
            choose_container(&pod, "p", None).unwrap_err().message,
            "a container name must be specified for pod p, choose one of: [a b] or one of the init containers: [i]"
        );
        assert_eq!(choose_container(&pod, "p", Some("i")).unwrap(), "i");
        assert_eq!(
            choose_container(&pod, "p", Some("x")).unwrap_err().message,
            "container x is not valid for pod p"
        );
        pod["metadata"]["annotations"] = json!({ DEFAULT_CONTAINER: "b" });
        assert_eq!(choose_container(&pod, "p", None).unwrap(), "b");
    }

    #[test]
    fn a_node_is_reached_at_its_internal_address_and_its_own_port() {
        let node = json!({ "status": {
            "addresses": [{ "type": "Hostname", "address": "n" }, { "type": "InternalIP", "address": "fd00::1" }],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10444 } },
        } });
        assert_eq!(kubelet_address(&node), Some("[fd00::1]:10444".parse().unwrap()));
        assert_eq!(kubelet_address(&json!({ "status": {} })), None);
    }
}

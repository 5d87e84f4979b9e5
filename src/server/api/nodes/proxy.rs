//! `nodes/NAME/proxy`, `pods/NAME/proxy`, `services/NAME/proxy`: requests passed on as they are, with any method and
//! body, and protocols changed where both sides want it.
//!
//! NAME is `name`, `name:port` or `scheme:name:port`. Pods and Services are reached from the coordinator's machine,
//! at the Pods' addresses.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::{Nodes, Place, kubelet_address, node_place, pod, row, tunnel, upgrade_headers};
use crate::api::kinds::by_kind;
use crate::api::status::Status;
use crate::server::api::reply::{BodyError, Payload, Reply};
use crate::server::api::route::Target;
use crate::server::listen::RequestBody;
use crate::server::view::View;
use crate::server::view::filter::Filter;

/// Headers that concern one hop.
const OF_ONE_HOP: [HeaderName; 5] = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Destination {
    /// A node's own endpoint.
    Node(Place),
    /// Any server.
    Server {
        /// Where it listens.
        address: SocketAddr,
        /// With TLS, and whatever certificate.
        tls: bool,
    },
}

impl Destination {
    pub(super) fn address(&self) -> SocketAddr {
        match self {
            Self::Node(place) => place.address,
            Self::Server { address, .. } => *address,
        }
    }
}

impl Nodes {
    /// Passes a request on, and its answer back. `permit` is held until that has ended.
    pub async fn proxy(
        &self,
        view: &View,
        target: &Target,
        mut request: Request<RequestBody>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Reply, Status> {
        let (base, rest) = split(request.uri().path(), target);
        let (base, rest) = (base.to_owned(), rest.to_owned());
        if rest.is_empty() && matches!(*request.method(), Method::GET | Method::HEAD) {
            return redirect(&base, request.uri().query());
        }
        let destination = destination(view, target)?;
        let changing = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let onward = onward(request, &rest, destination.address(), changing.is_some())?;
        let response = self.ask_server(&destination, onward).await?;
        let headers = back(response.headers(), &base, destination.address());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let ours = changing.ok_or_else(|| Status::internal("the server changed protocols unasked"))?;
            let mut reply = Reply::new(101, "", Payload::Whole(Bytes::new()));
            reply.headers = upgrade_headers(response.headers()).collect();
            let (theirs, stop) = (hyper::upgrade::on(response), self.stop.clone());
            tokio::spawn(async move {
                let _held = permit;
                tokio::select! {
                    () = tunnel(ours, theirs) => {}
                    () = stop.cancelled() => {}
                }
            });
            return Ok(reply);
        }
        let code = response.status().as_u16();
        let body = response.into_body().into_data_stream().map(move |part| {
            let _held = &permit;
            part.map_err(|error| BodyError::from(error.to_string()))
        });
        let end = self.stop.clone().cancelled_owned();
        let mut reply = Reply::new(code, "", Payload::Stream(body.take_until(end).boxed()));
        reply.headers = headers;
        Ok(reply)
    }
}

/// The path up to and with `proxy`, and what follows it, as it was written.
fn split<'a>(path: &'a str, target: &Target) -> (&'a str, &'a str) {
    let mut words = if target.namespace.is_some() { 7 } else { 5 };
    let mut at = 0;
    while words > 0 {
        at += path[at..].find(|c| c != '/').unwrap_or(path.len() - at);
        at += path[at..].find('/').unwrap_or(path.len() - at);
        words -= 1;
    }
    path.split_at(at)
}

/// A relative link of a page without a slash at its end would lead out of the proxy.
fn redirect(base: &str, query: Option<&str>) -> Result<Reply, Status> {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::from_str(&format!("{base}/{query}"));
    let mut reply = Reply::new(301, "", Payload::Whole(Bytes::new()));
    reply.headers.push((LOCATION, location.map_err(|error| Status::bad_request(error.to_string()))?));
    Ok(reply)
}

fn onward(
    request: Request<RequestBody>,
    rest: &str,
    address: SocketAddr,
    changing: bool,
) -> Result<Request<RequestBody>, Status> {
    let bad = |error: http::Error| Status::bad_request(error.to_string());
    let (mut parts, body) = request.into_parts();
    let path = if rest.is_empty() { "/" } else { rest };
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let uri: Uri = format!("{path}{query}").parse().map_err(|error| bad(http::Error::from(error)))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &parts.headers {
        let is_ours = *name == AUTHORIZATION || name.as_str().starts_with("impersonate-");
        if !(is_ours || is_of_one_hop(name) || *name == HOST) {
            headers.append(name.clone(), value.clone());
        }
    }
    if changing {
        headers.extend(upgrade_headers(&parts.headers));
    }
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set("host", &address.to_string());
    set("x-forwarded-proto", "https");
    set("x-forwarded-uri", parts.uri.path());
    if let Some(host) = parts.headers.get(HOST).and_then(|host| host.to_str().ok()) {
        set("x-forwarded-host", host);
    }
    (parts.uri, parts.headers, parts.version) = (uri, headers, http::Version::HTTP_11);
    Ok(Request::from_parts(parts, body))
}

fn is_of_one_hop(name: &HeaderName) -> bool {
    OF_ONE_HOP.contains(name) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The answer's headers. Where it leads to its own server, it leads through the proxy.
fn back(headers: &HeaderMap, base: &str, address: SocketAddr) -> Vec<(HeaderName, HeaderValue)> {
    let kept = headers.iter().filter(|(name, _)| !is_of_one_hop(name));
    kept.map(|(name, value)| {
        let moved = (*name == LOCATION).then(|| value.to_str().ok().and_then(|to| lead(to, base, address)));
        (name.clone(), moved.flatten().unwrap_or_else(|| value.clone()))
    })
    .collect()
}

fn lead(to: &str, base: &str, address: SocketAddr) -> Option<HeaderValue> {
    let own = [format!("http://{address}"), format!("https://{address}")];
    let path = own.iter().find_map(|own| to.strip_prefix(own.as_str())).unwrap_or(to);
    let is_path = path.starts_with('/') && !path.starts_with("//");
    is_path.then(|| HeaderValue::from_str(&format!("{base}{path}")).ok()).flatten()
}

/// `name`, `name:port`, `scheme:name:port`.
fn name_parts(text: &str) -> Option<(&str, &str, &str)> {
    let words: Vec<&str> = text.split(':').collect();
    match words[..] {
        [name] => Some(("", name, "")),
        [name, port] => Some(("", name, port)),
        [scheme @ ("" | "http" | "https"), name, port] => Some((scheme, name, port)),
        _ => None,
    }
    .filter(|(_, name, _)| !name.is_empty())
}

fn destination(view: &View, target: &Target) -> Result<Destination, Status> {
    let text = target.name_text();
    let (scheme, name, port) = name_parts(text)
        .ok_or_else(|| Status::bad_request(format!("invalid {} request {text:?}", target.kind.plural)))?;
    let tls = scheme == "https";
    let namespace = target.namespace_text();
    match target.kind.kind {
        "Node" => {
            let place = node_place(view, name, String::new())?;
            match port {
                "" => Ok(Destination::Node(place)),
                port if port == place.address.port().to_string() => Ok(Destination::Node(place)),
                port => {
                    let port = number(port).ok_or_else(|| no_port(port))?;
                    Ok(Destination::Server { address: SocketAddr::new(place.address.ip(), port), tls })
                }
            }
        }
        "Pod" => {
            let pod = pod(view, namespace, name)?;
            let port = pod_port(&pod, port).ok_or_else(|| no_port(port))?;
            let ip = pod["status"]["podIP"].as_str().and_then(|ip| ip.parse().ok());
            let ip = ip.ok_or_else(|| Status::bad_request("address not allowed"))?;
            allow(view, ip, pod["spec"]["nodeName"].as_str())?;
            Ok(Destination::Server { address: SocketAddr::new(ip, port), tls })
        }
        _ => {
            let (address, node) = endpoint(view, namespace, name, port)?;
            allow(view, address.ip(), node.as_deref())?;
            Ok(Destination::Server { address, tls })
        }
    }
}

fn no_port(port: &str) -> Status {
    Status::bad_request(format!("no port {port:?} to pass the request on to"))
}

fn number(port: &str) -> Option<u16> {
    port.parse().ok().filter(|port| *port != 0)
}

/// A number, the name of a container's port, or else the first port that there is.
fn pod_port(pod: &Value, port: &str) -> Option<u16> {
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let mut ports = containers.flat_map(|container| container["ports"].as_array().into_iter().flatten());
    if let Some(port) = number(port) {
        return Some(port);
    }
    let found = ports.find(|known| port.is_empty() || known["name"] == port)?;
    u16::try_from(found["containerPort"].as_u64()?).ok()
}

/// Nobody may reach through us what only this machine may: loopback and link-local addresses, unless a node has
/// such an address for its own and the Pod runs there.
fn allow(view: &View, ip: IpAddr, node: Option<&str>) -> Result<(), Status> {
    let is_local = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
    };
    let node = node.filter(|_| is_local).and_then(|name| view.get(row("Node"), "", name));
    let of_node = node.and_then(|node| kubelet_address(&node.value())).map(|address| address.ip());
    if is_local && of_node != Some(ip) {
        return Err(Status::bad_request("address not allowed"));
    }
    Ok(())
}

/// One of a Service's ready endpoints, and the node it is on.
fn endpoint(
    view: &View,
    namespace: &str,
    name: &str,
    port: &str,
) -> Result<(SocketAddr, Option<String>), Status> {
    let service = view.get(row("Service"), namespace, name);
    let service = service.ok_or_else(|| Status::not_found("", "services", name))?.value();
    let unavailable = |why: String| Status::new(503, "ServiceUnavailable", why);
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_meant =
        |known: &&Value| known["name"] == port || known["port"].as_u64() == number(port).map(u64::from);
    let found = match ports {
        [only] if port.is_empty() => Some(only),
        _ => ports.iter().find(is_meant),
    };
    let found =
        found.ok_or_else(|| unavailable(format!("no service port {port:?} found for service {name:?}")))?;
    let named = found["name"].as_str().unwrap_or_default();
    let slices = by_kind("discovery.k8s.io", "v1", "EndpointSlice").expect("a row of the table of kinds");
    let label = format!("kubernetes.io/service-name={name}");
    let filter = Filter::parse(slices, Some(namespace), Some(&label), None)?;
    let page = view.list(slices, &filter, &crate::server::view::Part::default())?;
    let mut ready = Vec::new();
    for slice in page.objects {
        ready.extend(ready_endpoints(&slice.value(), named));
    }
    if ready.is_empty() {
        return Err(unavailable(format!("no endpoints available for service {name:?}")));
    }
    let mut drawn = [0; 8];
    // Without randomness the first endpoint gets all requests.
    let _ = getrandom::fill(&mut drawn);
    let index = u64::from_le_bytes(drawn) % ready.len() as u64;
    Ok(ready.swap_remove(index as usize))
}

fn ready_endpoints(slice: &Value, port_name: &str) -> Vec<(SocketAddr, Option<String>)> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let mut named = ports.filter(|port| port["name"].as_str().unwrap_or_default() == port_name);
    let port = named.find_map(|port| u16::try_from(port["port"].as_u64()?).ok());
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] != false)
        .filter_map(|endpoint| {
            let ip = endpoint["addresses"][0].as_str()?.parse().ok()?;
            Some((SocketAddr::new(ip, port?), endpoint["nodeName"].as_str().map(str::to_owned)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_carry_scheme_and_port() {
        let cases = [
            ("a", Some(("", "a", ""))),
            ("a:80", Some(("", "a", "80"))),
            ("https:a:web", Some(("https", "a", "web"))),
            (":a:1", Some(("", "a", "1"))),
            ("ftp:a:1", None),
            ("a:b:c:d", None),
            (":80", None),
        ];
        for (text, expected) in cases {
            assert_eq!(name_parts(text), expected, "{text}");
        }
    }

    #[test]
    fn a_pods_port_is_the_number_the_name_or_the_first() {
        let pod = json!({ "spec": { "containers": [
            { "name": "a" }, { "ports": [{ "containerPort": 80 }, { "name": "web", "containerPort": 81 }] },
        ] } });
        for (port, expected) in [("", Some(80)), ("web", Some(81)), ("9", Some(9)), ("x", None), ("0", None)]
        {
            assert_eq!(pod_port(&pod, port), expected, "{port:?}");
        }
    }

    #[test]
    fn locations_lead_through_the_proxy() {
        let address = "10.0.0.1:80".parse().unwrap();
        let lead = |to| lead(to, "/p/proxy", address).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(lead("/x?y"), Some("/p/proxy/x?y".into()));
        assert_eq!(lead("http://10.0.0.1:80/x"), Some("/p/proxy/x".into()));
        assert_eq!(lead("http://elsewhere/x"), None);
        assert_eq!(lead("//elsewhere/x"), None);
        assert_eq!(lead("x"), None);
    }

    #[test]
    fn endpoints_are_the_ready_ones_of_the_named_port() {
        let slice = json!({
            "ports": [{ "name": "web", "port": 8080 }, { "port": 1 }],
            "endpoints": [
                { "addresses": ["10.0.0.1"], "nodeName": "n" },
                { "addresses": ["10.0.0.2"], "conditions": { "ready": false } },
            ],
        });
        let web = ("10.0.0.1:8080".parse().unwrap(), Some("n".to_owned()));
        assert_eq!(ready_endpoints(&slice, "web"), [web]);
        assert_eq!(ready_endpoints(&slice, "other"), []);
    }
}

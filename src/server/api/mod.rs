//! The coordinator's face: the Kubernetes API, generically over the table of kinds.
//!
//! A request goes: path → who asks → may they → a place among those in flight → verb → answer.

pub mod access;
pub mod body;
pub mod discovery;
pub mod list;
pub mod metrics;
pub mod negotiate;
pub mod objects;
pub mod query;
pub mod reply;
pub mod route;
pub mod shape;
pub mod watch;

use std::sync::Arc;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, LOCATION,
};
use http::{Method, Request, Response};
use hyper::body::Incoming;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use access::Attempt;
use metrics::Metrics;
use query::Query;
use reply::{Body, Reply};
use route::{Route, Target};

use crate::api::openapi;
use crate::api::status::Status;
use crate::coordinator::Subresource;
use crate::server::commands::{Commands, too_many_requests};
use crate::server::tls::Peer;
use crate::server::view::View;
use crate::time::WallTime;

/// Requests that are answered at once, watches and tunnels not counted (kube-apiserver: 400 reading, 200 writing).
pub const IN_FLIGHT_MAX: usize = 600;
/// Watches, followed logs and tunnels that are open at once.
pub const LONG_RUNNING_MAX: usize = 20_000;

/// Everything that answering a request needs.
#[derive(Debug)]
pub struct Endpoint {
    /// What readers see.
    pub view: Arc<View>,
    /// The way to the writer.
    pub commands: Commands,
    /// The wall clock, for ages.
    pub wall: fn() -> WallTime,
    /// `address:port` as clients reach it.
    pub address: String,
    /// Counters.
    pub metrics: Metrics,
    /// Ends watches and tunnels.
    pub stop: CancellationToken,
    in_flight: Semaphore,
    long_running: Arc<Semaphore>,
}

/// One request for objects, on its way through a verb.
#[derive(Debug)]
pub struct Call<'a> {
    /// Where it is answered.
    pub endpoint: &'a Endpoint,
    /// What its path names.
    pub target: Target,
    /// Its parameters.
    pub query: Query,
    /// Accept.
    pub accept: Option<&'a str>,
    /// Content-Type.
    pub content_type: Option<&'a str>,
    /// The body asks for a dry run.
    pub dry_run: bool,
}

impl Endpoint {
    /// An endpoint over a view and the writer that changes it.
    pub fn new(
        view: Arc<View>,
        commands: Commands,
        wall: fn() -> WallTime,
        address: String,
        stop: CancellationToken,
    ) -> Self {
        Self {
            view,
            commands,
            wall,
            address,
            metrics: Metrics::default(),
            stop,
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            long_running: Arc::new(Semaphore::new(LONG_RUNNING_MAX)),
        }
    }

    /// Answers one request; `peer` is whoever the client certificate says, if it verified.
    pub async fn answer(&self, peer: Option<&Peer>, request: Request<Incoming>) -> Response<Body> {
        let accepts_gzip = header(request.headers(), &ACCEPT_ENCODING).is_some_and(|text| {
            text.split(',').any(|coding| coding.trim().split(';').next() == Some("gzip"))
        });
        let (verb, resource) = self.label(&request);
        let reply = match self.respond(peer, request).await {
            Ok(reply) => reply,
            Err(status) => Reply::refusal(&status),
        };
        self.metrics.count(verb, resource, reply.code);
        reply.into_response(accepts_gzip)
    }

    fn label(&self, request: &Request<Incoming>) -> (&'static str, &'static str) {
        match Route::parse(request.uri().path()) {
            Route::Objects(target) => {
                let query = Query::parse(request.uri().query().unwrap_or_default());
                (verb(request.method(), &target, &query).unwrap_or("other"), target.kind.plural)
            }
            _ => ("get", ""),
        }
    }

    async fn respond(&self, peer: Option<&Peer>, request: Request<Incoming>) -> Result<Reply, Status> {
        let route = Route::parse(request.uri().path());
        let is_public = matches!(route, Route::Health { .. } | Route::Version);
        let peer = match peer {
            Some(peer) => peer,
            None if is_public => &Peer::default(),
            None => return Err(access::unauthorized()),
        };
        match route {
            Route::Objects(target) => self.objects(peer, target, request).await,
            other if request.method() == Method::GET || request.method() == Method::HEAD => {
                self.document(&other, &request)
            }
            _ => Err(method_not_allowed()),
        }
    }

    fn document(&self, route: &Route, request: &Request<Incoming>) -> Result<Reply, Status> {
        let accept = header(request.headers(), &ACCEPT);
        let json = |value: serde_json::Value| Ok(Reply::json(200, value.to_string()));
        match route {
            Route::Paths => json(discovery::paths()),
            Route::Version => json(discovery::version()),
            Route::Health { endpoint, check } => {
                let verbose =
                    Query::parse(request.uri().query().unwrap_or_default()).get("verbose").is_some()
                        || request.uri().query().is_some_and(|q| q.split('&').any(|word| word == "verbose"));
                health(endpoint, check.as_deref(), verbose)
            }
            Route::Metrics => Ok(Reply::text(200, self.metrics.text(&self.view))),
            Route::CoreVersions => Ok(discovery::core_versions(accept, &self.address)),
            Route::Groups => Ok(discovery::groups(accept)),
            Route::Group(name) => discovery::group(name).map_or_else(|| Err(not_found()), json),
            Route::Resources { group, version } if route::is_served(group, Some(version)) => {
                json(discovery::resources(group, version))
            }
            Route::OpenApi(path) => openapi(path.as_deref(), request),
            Route::Resources { .. } | Route::Unknown | Route::Objects(_) => Err(not_found()),
        }
    }

    async fn objects(
        &self,
        peer: &Peer,
        target: Target,
        request: Request<Incoming>,
    ) -> Result<Reply, Status> {
        let (parts, incoming) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let verb = verb(&parts.method, &target, &query).ok_or_else(method_not_allowed)?;
        let mut resource = target.kind.plural.to_owned();
        if let Some(part) = &target.subresource {
            resource = format!("{resource}/{part}");
        }
        access::allow(
            peer,
            &Attempt {
                verb,
                group: target.kind.group,
                resource,
                namespace: target.namespace_text(),
                name: target.name.as_deref().unwrap_or_default(),
            },
        )?;
        let mut call = Call {
            endpoint: self,
            target,
            query,
            accept: header(&parts.headers, &ACCEPT),
            content_type: header(&parts.headers, &CONTENT_TYPE),
            dry_run: false,
        };
        if verb == "watch" {
            return self.watch(&call);
        }
        let _place = self.in_flight.try_acquire().map_err(|_| too_many_requests())?;
        let part = call.target.subresource.clone();
        match (verb, part.as_deref()) {
            ("get", None | Some("status")) => call.get(),
            ("list", None) => call.list(),
            ("create", None) => call.create(body::read(incoming).await?).await,
            ("create", Some("binding")) => call.bind(body::read(incoming).await?).await,
            ("update", part) => call.update(subresource(part)?, body::read(incoming).await?).await,
            ("patch", part) => call.patch(subresource(part)?, body::read(incoming).await?).await,
            ("delete" | "deletecollection", None) => {
                let body = body::read(incoming).await?;
                call.dry_run = objects::body_dry_run(&body);
                if verb == "delete" { call.delete(body).await } else { call.delete_collection(body).await }
            }
            _ => Err(method_not_allowed()),
        }
    }

    fn watch(&self, call: &Call<'_>) -> Result<Reply, Status> {
        let place = self.long_running()?;
        let wish = negotiate::wish(call.accept, true)?;
        let shown = call.shown(wish.shape)?;
        watch::watch(&self.view, shown, call.filter()?, &call.query, self.stop.clone(), place)
    }

    fn long_running(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.long_running.clone().try_acquire_owned().map_err(|_| too_many_requests())
    }
}

/// A header as text.
pub fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What a request does, in the words of access rules; none when the path does not allow the method.
fn verb(method: &Method, target: &Target, query: &Query) -> Option<&'static str> {
    let is_named = target.name.is_some();
    let watches = target.watch || query.flag("watch");
    let confined = target.namespace.is_some() || !target.kind.namespaced;
    match *method {
        Method::GET | Method::HEAD if target.subresource.is_none() && watches => Some("watch"),
        Method::GET | Method::HEAD if is_named => Some("get"),
        Method::GET | Method::HEAD => Some("list"),
        Method::POST if is_named == target.subresource.is_some() && confined => Some("create"),
        Method::PUT if is_named => Some("update"),
        Method::PATCH if is_named => Some("patch"),
        Method::DELETE if is_named && target.subresource.is_none() => Some("delete"),
        Method::DELETE if target.subresource.is_none() && confined => Some("deletecollection"),
        _ => None,
    }
}

fn subresource(part: Option<&str>) -> Result<Subresource, Status> {
    match part {
        None => Ok(Subresource::Main),
        Some("status") => Ok(Subresource::Status),
        Some("finalize") => Ok(Subresource::Finalize),
        Some(_) => Err(not_found()),
    }
}

/// Documents are made when they are asked for; clients keep them by their hash.
fn openapi(path: Option<&str>, request: &Request<Incoming>) -> Result<Reply, Status> {
    let Some(path) = path else { return Ok(Reply::json(200, openapi::index().to_string())) };
    let hash = openapi::hash(path).ok_or_else(not_found)?;
    let tag = format!("\"{hash}\"");
    let asked = Query::parse(request.uri().query().unwrap_or_default());
    let mut headers = Vec::new();
    let mut add =
        |name, text: &str| headers.extend(HeaderValue::from_str(text).ok().map(|value| (name, value)));
    if let Some(other) = asked.get("hash").filter(|asked| *asked != hash) {
        tracing::debug!(asked = other, hash, "an outdated OpenAPI document was asked for");
        add(LOCATION, &format!("/openapi/v3/{path}?hash={hash}"));
        return Ok(Reply { headers, ..Reply::text(301, "") });
    }
    add(ETAG, &tag);
    if header(request.headers(), &IF_NONE_MATCH) == Some(tag.as_str()) {
        return Ok(Reply { headers, ..Reply::text(304, "") });
    }
    if asked.get("hash").is_some() {
        add(CACHE_CONTROL, "public, immutable");
    }
    let document = openapi::document(path).ok_or_else(not_found)?;
    Ok(Reply { headers, ..Reply::json(200, document) })
}

fn health(endpoint: &str, check: Option<&str>, verbose: bool) -> Result<Reply, Status> {
    const CHECKS: [&str; 3] = ["ping", "log", "store"];
    match check {
        Some(check) if !CHECKS.contains(&check) => Err(not_found()),
        None if verbose => {
            let lines: String = CHECKS.iter().map(|check| format!("[+]{check} ok\n")).collect();
            Ok(Reply::text(200, format!("{lines}{endpoint} check passed\n")))
        }
        Some(_) | None => Ok(Reply::text(200, "ok")),
    }
}

/// 404 for a path that names nothing.
pub fn not_found() -> Status {
    let message = "the server could not find the requested resource";
    Status { details: json!({}), ..Status::new(404, "NotFound", message) }
}

/// 405
pub fn method_not_allowed() -> Status {
    let message = "the server does not allow this method on the requested resource";
    Status { details: json!({}), ..Status::new(405, "MethodNotAllowed", message) }
}

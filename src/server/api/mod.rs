//! The coordinator's face: the Kubernetes API, generically over the table of kinds.
//!
//! A request goes: path → who asks → may they → a place among those in flight → verb → answer.

pub mod access;
pub mod body;
pub mod discovery;
mod documents;
mod impersonation;
pub mod list;
pub mod manager;
pub mod metrics;
pub mod negotiate;
pub mod nodes;
pub mod objects;
pub mod query;
pub mod reply;
mod reviews;
pub mod route;
pub mod shape;
mod token_request;
pub mod watch;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, USER_AGENT};
use http::{Method, Request, Response};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use access::Access;
use metrics::Metrics;
use nodes::Nodes;
use query::Query;
use reply::{Body, Reply};
use route::{Route, Target};

use crate::api::parts::Face;
use crate::api::status::Status;
use crate::authorization::User;
use crate::coordinator::Subresource;
use crate::server::accounts::Accounts;
use crate::server::commands::{Commands, too_many_requests};
use crate::server::listen::RequestBody;
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
    /// The way to the nodes, for logs and all that streams.
    pub nodes: Nodes,
    /// Whether the store has kept what was last written.
    pub store_works: Arc<AtomicBool>,
    /// Ends watches and tunnels.
    pub stop: CancellationToken,
    /// Places for requests.
    pub places: Places,
    /// Who is let in, and what they may do.
    pub access: Access,
    /// The tokens of ServiceAccounts.
    pub accounts: Arc<Accounts>,
}

/// Bounds on what goes on at once.
#[derive(Debug)]
pub struct Places {
    in_flight: Semaphore,
    long_running: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            in_flight: Semaphore::new(IN_FLIGHT_MAX),
            long_running: Arc::new(Semaphore::new(LONG_RUNNING_MAX)),
        }
    }
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
    /// User-Agent.
    pub user_agent: Option<&'a str>,
    /// The body asks for a dry run.
    pub dry_run: bool,
    /// Who asks.
    pub user: &'a User,
}

impl Endpoint {
    /// Answers one request; `peer` is whoever the client certificate says, if it verified.
    pub async fn answer(&self, peer: Option<&Peer>, request: Request<RequestBody>) -> Response<Body> {
        let accepts_gzip = header(request.headers(), &ACCEPT_ENCODING).is_some_and(|text| {
            text.split(',').any(|coding| coding.trim().split(';').next() == Some("gzip"))
        });
        let (verb, resource) = label(&request);
        let reply = match self.respond(peer, request).await {
            Ok(reply) => reply,
            Err(status) => Reply::refusal(&status),
        };
        self.metrics.count(verb, resource, reply.code);
        reply.into_response(accepts_gzip)
    }

    async fn respond(&self, peer: Option<&Peer>, request: Request<RequestBody>) -> Result<Reply, Status> {
        let route = Route::parse(request.uri().path());
        let user = self.access.user(&route, peer, request.headers())?;
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if let Route::Absent(absent) = route {
            return Err(absent.refusal());
        }
        if let Route::Objects(target) = route {
            self.objects(&user, target, request).await
        } else if reads {
            self.access.allow_path(&user, request.method().as_str(), &route, request.uri().path())?;
            self.document(&route, &request)
        } else {
            Err(method_not_allowed())
        }
    }

    async fn objects(
        &self,
        user: &User,
        target: Target,
        request: Request<RequestBody>,
    ) -> Result<Reply, Status> {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let verb = verb(request.method(), &target, &query).ok_or_else(method_not_allowed)?;
        self.access.allow(user, verb, &target, &query)?;
        let part = target.subresource.clone();
        match (target.kind.kind, part.as_deref(), verb) {
            ("Pod", Some("log"), "get") => {
                let permit = self.long_running()?;
                return self
                    .nodes
                    .log(&self.view, target.namespace_text(), target.name_text(), &query, permit)
                    .await;
            }
            ("Pod", Some(streamed), "get" | "create") if let Some(verb) = nodes::Verb::of(streamed) => {
                let pod = (target.namespace_text(), target.name_text());
                let permit = self.long_running()?;
                return self.nodes.stream(&self.view, pod, verb, request, permit).await;
            }
            _ if target.is_passed_on() => {
                let permit = self.long_running()?;
                return self.nodes.proxy(&self.view, &target, request, permit).await;
            }
            _ => {}
        }
        let (parts, incoming) = request.into_parts();
        let mut call = Call {
            endpoint: self,
            target,
            query,
            accept: header(&parts.headers, &ACCEPT),
            content_type: header(&parts.headers, &CONTENT_TYPE),
            user_agent: header(&parts.headers, &USER_AGENT),
            dry_run: false,
            user,
        };
        if verb == "watch" {
            return self.watch(&call);
        }
        let _place = self.places.in_flight.try_acquire().map_err(|_| too_many_requests())?;
        let part = part.as_deref().map(|part| face(&call.target, part, verb)).transpose()?;
        match (verb, part) {
            ("create", None) if call.target.kind.kind == "Binding" => {
                call.bind(body::read(incoming).await?).await
            }
            ("create", None) if call.target.kind.is_review() => call.review(&body::read(incoming).await?),
            ("create", Some(Part::Of(Face::Token))) => call.request_token(&body::read(incoming).await?),
            ("get", _) => call.get(),
            ("list", None) => call.list(),
            ("create", None) => call.create(body::read(incoming).await?).await,
            ("create", Some(Part::Of(Face::Binding))) => call.bind(body::read(incoming).await?).await,
            ("create", Some(Part::Of(Face::Eviction))) => call.evict(body::read(incoming).await?).await,
            ("update", part) => call.update(subresource(part)?, body::read(incoming).await?).await,
            ("patch", None) if call.is_apply() => {
                let not_to_be_made =
                    self.access.allow(user, "create", &call.target, &call.query).err().map(Box::new);
                call.apply(Subresource::Main, body::read(incoming).await?, not_to_be_made).await
            }
            ("patch", part) if call.is_apply() => {
                call.apply(subresource(part)?, body::read(incoming).await?, None).await
            }
            ("patch", part) => call.patch(subresource(part)?, body::read(incoming).await?).await,
            ("delete" | "deletecollection", None) => {
                let body = body::read(incoming).await?;
                call.dry_run = objects::body_dry_run(&body);
                if verb == "delete" { call.delete(body).await } else { call.delete_collection(body).await }
            }
            _ => Err(not_found()),
        }
    }

    fn watch(&self, call: &Call<'_>) -> Result<Reply, Status> {
        let place = self.long_running()?;
        let wish = negotiate::wish(call.accept, true)?;
        let shown = call.shown(wish.shape)?;
        watch::watch(&self.view, shown, call.filter()?, &call.query, self.stop.clone(), place)
    }

    fn long_running(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.places.long_running.clone().try_acquire_owned().map_err(|_| too_many_requests())
    }
}

/// What a request is, for the counters.
fn label(request: &Request<RequestBody>) -> (&'static str, &'static str) {
    let Route::Objects(target) = Route::parse(request.uri().path()) else { return ("get", "") };
    let query = Query::parse(request.uri().query().unwrap_or_default());
    (verb(request.method(), &target, &query).unwrap_or("other"), target.kind.plural)
}

/// A header as text.
pub fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// What a request does, in the words of access rules; none when the path does not allow the method.
fn verb(method: &Method, target: &Target, query: &Query) -> Option<&'static str> {
    let is_named = target.name.is_some();
    let watches = target.watch || query.flag("watch");
    if target.kind.is_review() && *method != Method::POST {
        return None;
    }
    let confined = target.namespace.is_some() || !target.kind.namespaced;
    match *method {
        Method::DELETE if target.is_passed_on() => Some("delete"),
        Method::OPTIONS if target.is_passed_on() => Some("get"),
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

/// The part of an object that a path names.
#[derive(Clone, Copy)]
enum Part {
    Status,
    Of(Face),
}

/// What the last word of a path means; 405 where it does not know the verb.
fn face(target: &Target, name: &str, verb: &str) -> Result<Part, Status> {
    if name == "status" && target.kind.has_status {
        return Ok(Part::Status);
    }
    let part = target.kind.part(name).ok_or_else(not_found)?;
    if part.verbs.contains(&verb) { Ok(Part::Of(part.face)) } else { Err(method_not_allowed()) }
}

fn subresource(part: Option<Part>) -> Result<Subresource, Status> {
    match part {
        None => Ok(Subresource::Main),
        Some(Part::Status) => Ok(Subresource::Status),
        Some(Part::Of(Face::Finalizers)) => Ok(Subresource::Finalize),
        Some(Part::Of(Face::Approval)) => Ok(Subresource::Approval),
        Some(Part::Of(Face::EphemeralContainers)) => Ok(Subresource::EphemeralContainers),
        Some(Part::Of(Face::Resize)) => Ok(Subresource::Resize),
        Some(Part::Of(Face::Scale)) => Ok(Subresource::Scale),
        Some(Part::Of(Face::Binding | Face::Eviction | Face::Token | Face::Node)) => Err(not_found()),
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

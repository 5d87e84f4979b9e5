//! What is no object: health, version, counters, discovery and OpenAPI documents.

use std::sync::atomic::Ordering;

use http::Request;
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, LOCATION};
use serde_json::Value;

use super::negotiate::{Alternative, alternatives};
use super::query::Query;
use super::reply::Reply;
use super::route::{Route, is_served};
use super::{Endpoint, discovery, header, not_found};
use crate::api::openapi;
use crate::api::status::Status;
use crate::server::listen::RequestBody;

impl Endpoint {
    /// GET of anything but objects.
    pub(super) fn document(&self, route: &Route, request: &Request<RequestBody>) -> Result<Reply, Status> {
        let accept = header(request.headers(), &ACCEPT);
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let json = |value: Value| Ok(Reply::json(200, value.to_string()));
        match route {
            Route::Paths => json(discovery::paths()),
            Route::Version => json(discovery::version()),
            Route::Health { endpoint, check } => {
                self.health(endpoint, check.as_deref(), query.all("verbose").next().is_some())
            }
            Route::TokenKeys => Ok(Reply {
                media_type: "application/jwk-set+json",
                ..Reply::json(200, self.accounts.signer.key_set().to_string())
            }),
            Route::TokenIssuer => json(self.accounts.issuer(&self.address)),
            Route::Metrics => Ok(Reply::text(200, self.metrics.text(&self.view))),
            Route::CoreVersions => Ok(discovery::core_versions(accept, &self.address)),
            Route::Groups => Ok(discovery::groups(accept)),
            Route::Group(name) => discovery::group(name).map_or_else(|| Err(not_found()), json),
            Route::Resources { group, version } if is_served(group, Some(version)) => {
                json(discovery::resources(group, version))
            }
            Route::OpenApiV2 => Ok(openapi_v2(accept)),
            Route::OpenApi(None) => json(openapi::index()),
            Route::OpenApi(Some(path)) => openapi_document(path, &query, request),
            Route::Absent(absent) => Err(absent.refusal()),
            Route::Resources { .. } | Route::Unknown | Route::Objects(_) => Err(not_found()),
        }
    }

    /// `ping` says that requests are answered, `store` that what was last written could be kept.
    fn health(&self, endpoint: &str, check: Option<&str>, verbose: bool) -> Result<Reply, Status> {
        let store_works = self.store_works.load(Ordering::Relaxed);
        // A full disk is no reason to restart the coordinator: it goes on serving reads.
        let checks: &[(&str, bool)] =
            if endpoint == "livez" { &[("ping", true)] } else { &[("ping", true), ("store", store_works)] };
        let asked: Vec<&(&str, bool)> =
            checks.iter().filter(|(name, _)| check.is_none_or(|check| check == *name)).collect();
        if asked.is_empty() {
            return Err(not_found());
        }
        let passes = asked.iter().all(|(_, passes)| *passes);
        if passes && !verbose {
            return Ok(Reply::text(200, "ok"));
        }
        let line = |(name, passes): &&(&str, bool)| match passes {
            true => format!("[+]{name} ok\n"),
            false => format!("[-]{name} failed: see the coordinator's log\n"),
        };
        let lines = asked.iter().map(line).collect::<Vec<_>>().concat();
        let verdict = if passes { "passed" } else { "failed" };
        Ok(Reply::text(if passes { 200 } else { 500 }, format!("{lines}{endpoint} check {verdict}\n")))
    }
}

/// Older clients name the form in protobuf as is no media type: with an `@`.
fn openapi_v2(accept: Option<&str>) -> Reply {
    let in_protobuf = |it: &Alternative<'_>| it.media_type.replace('@', ".") == openapi::v2::PROTOBUF;
    if accept.is_some_and(|accept| alternatives(accept).first().is_some_and(in_protobuf)) {
        return Reply { media_type: openapi::v2::PROTOBUF, ..Reply::json(200, openapi::v2::encoded()) };
    }
    Reply::json(200, openapi::v2::document().to_string())
}

/// Documents are made when they are asked for; clients keep them by their hash.
fn openapi_document(path: &str, query: &Query, request: &Request<RequestBody>) -> Result<Reply, Status> {
    let hash = openapi::hash(path).ok_or_else(not_found)?;
    let tag = format!("\"{hash}\"");
    let with = |name, text: &str, mut reply: Reply| {
        reply.headers.extend(HeaderValue::from_str(text).ok().map(|value| (name, value)));
        reply
    };
    if query.get("hash").is_some_and(|asked| asked != hash) {
        return Ok(with(LOCATION, &format!("/openapi/v3/{path}?hash={hash}"), Reply::text(301, "")));
    }
    if header(request.headers(), &IF_NONE_MATCH) == Some(tag.as_str()) {
        return Ok(with(ETAG, &tag, Reply::text(304, "")));
    }
    let document = openapi::document(path).ok_or_else(not_found)?;
    let reply = with(ETAG, &tag, Reply::json(200, document));
    Ok(if query.get("hash").is_some() { with(CACHE_CONTROL, "public, immutable", reply) } else { reply })
}

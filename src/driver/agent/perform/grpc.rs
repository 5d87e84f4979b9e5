//! `grpc` of probes: one call of `grpc.health.v1.Health/Check`, in plain text.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;

use super::http::{Place, Purpose, connect_to};
use crate::agent::pod::ProbeOutcome;

/// Length of the prefix of a message: a byte that says whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
const UNIMPLEMENTED: i32 = 12;
const DEADLINE_EXCEEDED: i32 = 4;
const SERVING: i32 = 1;
/// Names of what a service may answer.
const ANSWERS: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Why a call came to nothing.
enum Failed {
    Connect(String),
    Call { code: i32, message: String },
}

impl Failed {
    fn call(code: i32, message: impl std::fmt::Display) -> Self {
        Self::Call { code, message: message.to_string() }
    }
}

pub(super) async fn check(place: &Place, port: u16, service: &str, timeout: Duration) -> ProbeOutcome {
    let address = if place.ip.contains(':') {
        format!("[{}]:{port}", place.ip)
    } else {
        format!("{}:{port}", place.ip)
    };
    let span = format!("{}s", timeout.as_secs());
    let called = tokio::time::timeout(timeout, call(place, &address, port, service, timeout)).await;
    ProbeOutcome::Failure(match called {
        Ok(Ok(SERVING)) => return ProbeOutcome::Success,
        Ok(Ok(status)) => {
            let name = usize::try_from(status).ok().and_then(|status| ANSWERS.get(status)).copied();
            format!("service unhealthy (responded with {:?})", name.map_or(status.to_string(), str::to_owned))
        }
        Ok(Err(Failed::Connect(why))) if why.ends_with("i/o timeout") => {
            format!("timeout: failed to connect service {address:?} within {span}: context deadline exceeded")
        }
        Ok(Err(Failed::Connect(why))) => format!("error: failed to connect service at {address:?}: {why}"),
        Ok(Err(Failed::Call { code: UNIMPLEMENTED, message })) => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        ),
        Err(_) | Ok(Err(Failed::Call { code: DEADLINE_EXCEEDED, .. })) => {
            format!("timeout: health rpc did not complete within {span}")
        }
        Ok(Err(Failed::Call { code, message })) => {
            format!("error: health rpc probe failed: rpc error: code = {code} desc = {message}")
        }
    })
}

async fn call(
    place: &Place,
    address: &str,
    port: u16,
    service: &str,
    timeout: Duration,
) -> Result<i32, Failed> {
    const UNAVAILABLE: i32 = 14;
    let stream = connect_to(place.namespace.as_deref(), &place.ip, port, Some(timeout)).await;
    let io = TokioIo::new(stream.map_err(Failed::Connect)?);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io)
        .await
        .map_err(|error| Failed::Connect(error.to_string()))?;
    tokio::spawn(connection);
    let message = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let mut body = vec![0];
    body.extend((message.len() as u32).to_be_bytes());
    body.extend(message);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", Purpose::Probe.user_agent())
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| Failed::call(UNAVAILABLE, error))?;
    let unavailable = |error: hyper::Error| Failed::call(UNAVAILABLE, error);
    let response = sender.send_request(request).await.map_err(unavailable)?;
    let (parts, body) = response.into_parts();
    status_of(&parts.headers)?;
    let whole = body.collect().await.map_err(unavailable)?;
    status_of(&whole.trailers().cloned().unwrap_or_default())?;
    let mut bytes = whole.to_bytes();
    if bytes.len() < PREFIX_BYTES {
        return Err(Failed::call(
            UNAVAILABLE,
            format!("an answer of status {} without a message", parts.status),
        ));
    }
    bytes.advance(PREFIX_BYTES);
    let answer = HealthCheckResponse::decode(bytes).map_err(|error| Failed::call(UNAVAILABLE, error))?;
    Ok(answer.status)
}

/// A status other than OK in headers or trailers.
fn status_of(headers: &HeaderMap) -> Result<(), Failed> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match text("grpc-status").parse() {
        Ok(0) | Err(_) => Ok(()),
        Ok(code) => Err(Failed::call(code, text("grpc-message"))),
    }
}

#[cfg(test)]
mod tests;

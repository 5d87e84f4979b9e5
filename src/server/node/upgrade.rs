//! From an HTTP request to a WebSocket or a SPDY connection.

use axum::extract::FromRequestParts;
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::http::header::{CONNECTION, UPGRADE};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;

use super::Refusal;
use crate::api::status::Status;
use crate::server::spdy;

/// Longest message from a client, in bytes; kubectl sends 32 KiB at most.
pub(super) const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// What protocols there are for one purpose.
pub(super) struct Offer {
    /// Subprotocols of a WebSocket, in order of preference.
    pub(super) web_socket: &'static [&'static str],
    /// Protocols of SPDY streams; the client's order counts.
    pub(super) spdy: &'static [&'static str],
}

/// What the client has asked for.
pub(super) enum Way {
    /// With the subprotocol, empty where the client named none.
    WebSocket(WebSocketUpgrade, &'static str),
    /// With the streams' protocol, empty where the client named none.
    Spdy(OnUpgrade, &'static str),
}

/// A connection that has changed protocols.
pub(super) enum Changed {
    WebSocket(Box<WebSocket>),
    Spdy(TokioIo<Upgraded>),
}

impl Way {
    /// What is spoken from then on.
    pub(super) fn protocol(&self) -> &'static str {
        match self {
            Self::WebSocket(_, protocol) | Self::Spdy(_, protocol) => protocol,
        }
    }

    /// Answers, and runs `then` on the connection once both sides have changed protocols.
    pub(super) fn change<F>(self, then: impl FnOnce(Changed) -> F + Send + 'static) -> Response
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self {
            Self::WebSocket(upgrade, _) => {
                upgrade.on_upgrade(|socket| then(Changed::WebSocket(Box::new(socket))))
            }
            Self::Spdy(on, protocol) => {
                tokio::spawn(async move {
                    match on.await {
                        Ok(upgraded) => then(Changed::Spdy(TokioIo::new(upgraded))).await,
                        Err(error) => tracing::debug!(%error, "a client did not change to SPDY"),
                    }
                });
                let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
                let headers = response.headers_mut();
                headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(UPGRADE, HeaderValue::from_static(spdy::PROTOCOL));
                if !protocol.is_empty() {
                    let name = HeaderName::from_static(spdy::STREAM_PROTOCOL);
                    headers.insert(name, HeaderValue::from_static(protocol));
                }
                response
            }
        }
    }
}

/// Finds out what the client wants, or why it cannot have it.
pub(super) async fn negotiate(parts: &mut Parts, offer: &Offer) -> Result<Way, Refusal> {
    let wanted = parts.headers.get(UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if wanted.eq_ignore_ascii_case(spdy::PROTOCOL) {
        return negotiate_spdy(parts, offer.spdy);
    }
    if !wanted.eq_ignore_ascii_case("websocket") {
        let message = format!("unable to upgrade: expected a WebSocket or {} upgrade", spdy::PROTOCOL);
        return Err(Status::bad_request(message).into());
    }
    // Clients of the older protocol post; the handshake is the same.
    parts.method = Method::GET;
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &())
        .await
        .map_err(|rejection| Status::bad_request(format!("unable to upgrade: {}", rejection.body_text())))?
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .protocols(offer.web_socket.iter().copied());
    let chosen = upgrade.selected_protocol().and_then(|value| value.to_str().ok());
    let chosen = chosen.and_then(|chosen| offer.web_socket.iter().find(|known| **known == chosen));
    match chosen {
        Some(chosen) => Ok(Way::WebSocket(upgrade, chosen)),
        None if !parts.headers.contains_key("sec-websocket-protocol") => Ok(Way::WebSocket(upgrade, "")),
        None => {
            let message = format!("no subprotocol in common: expected {}", offer.web_socket.join(" or "));
            Err(Status::bad_request(message).into())
        }
    }
}

fn negotiate_spdy(parts: &mut Parts, offered: &'static [&'static str]) -> Result<Way, Refusal> {
    let values = parts.headers.get_all(spdy::STREAM_PROTOCOL);
    let asked: Vec<&str> = values
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .collect();
    let chosen = asked.iter().find_map(|asked| offered.iter().find(|known| *known == asked).copied());
    let Some(protocol) = chosen.or_else(|| asked.is_empty().then_some("")) else {
        let message = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            asked.join(" "),
            offered.join(" ")
        );
        return Err(Status::new(403, "Forbidden", message).into());
    };
    let on = parts.extensions.remove::<OnUpgrade>();
    let on =
        on.ok_or_else(|| Status::bad_request("unable to upgrade: this connection cannot be upgraded"))?;
    Ok(Way::Spdy(on, protocol))
}

//! `GET|POST /exec/NS/POD/CONTAINER`, over a WebSocket.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;

use super::query::Query;
use super::{ContainerPath, ExecRequest, NodeBackend, Refusal, Shared};
use crate::api::status::Status;

mod fifos;
mod session;

pub(super) use fifos::prepare;

use fifos::Fifos;
use session::Session;

/// In order of preference. The fifth differs from the fourth in that the client can end its input.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

/// Longest message from the client, in bytes; kubectl sends 32 KiB at most.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// What the client wants.
#[expect(clippy::struct_excessive_bools, reason = "they are the API's four independent switches")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wants {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    terminal: bool,
}

pub(super) async fn exec<B: NodeBackend>(
    State(shared): State<Arc<Shared<B>>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    let query = Query::parse(parts.uri.query())?;
    let command: Vec<_> = query.all(&["command"]).map(str::to_owned).collect();
    if command.is_empty() {
        return Err(Status::bad_request("command: Required value: you must specify a command").into());
    }
    let wants = wants(&query)?;
    let upgrade = upgrade(&mut parts).await?;
    let place = shared.stream()?;
    let id = shared.backend.running(&ContainerPath { namespace, pod, container }).await?;
    Ok(upgrade.on_upgrade(move |socket| async move {
        let session = Session::begin(socket, wants).await;
        let Some(mut session) = session else { return };
        match start(&shared, &id, command, wants).await {
            Ok((execution, fifos)) => session.run(&execution, fifos).await,
            Err(status) => session.fail(&status).await,
        }
        drop(place);
    }))
}

/// The names of the API, or those by which kube-apiserver asks a kubelet.
fn wants(query: &Query) -> Result<Wants, Status> {
    let terminal = query.flag(&["tty"]);
    let wants = Wants {
        stdin: query.flag(&["stdin", "input"]),
        stdout: query.flag(&["stdout", "output"]),
        // One terminal, one output.
        stderr: query.flag(&["stderr", "error"]) && !terminal,
        terminal,
    };
    if wants.stdin || wants.stdout || wants.stderr {
        Ok(wants)
    } else {
        Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"))
    }
}

async fn upgrade(parts: &mut Parts) -> Result<WebSocketUpgrade, Status> {
    let wanted = || format!("expected a WebSocket upgrade with subprotocol {}", PROTOCOLS.join(" or "));
    // Clients of the older protocol post; the handshake is the same.
    parts.method = Method::GET;
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &())
        .await
        .map_err(|rejection| Status::bad_request(format!("{}: {}", rejection.body_text(), wanted())))?
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .protocols(PROTOCOLS);
    if upgrade.selected_protocol().is_some() {
        Ok(upgrade)
    } else {
        Err(Status::bad_request(format!("no subprotocol in common: {}", wanted())))
    }
}

async fn start<B: NodeBackend>(
    shared: &Shared<B>,
    container_id: &str,
    command: Vec<String>,
    wants: Wants,
) -> Result<(B::Execution, Fifos), Status> {
    let failed = |error| Status::internal(format!("making the FIFOs of an exec: {error}"));
    let mut fifos = Fifos::make(&shared.exec_dir, wants).map_err(failed)?;
    let request = ExecRequest { command, streams: fifos.streams() };
    let execution = shared.backend.exec(container_id, request).await?;
    // From now on the process' end of the FIFOs is what keeps them open.
    fifos.started();
    Ok((execution, fifos))
}

//! `GET|POST /exec/NS/POD/CONTAINER` and `/attach/…`: streams to and from a process of a container, over a WebSocket
//! or SPDY.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use tokio::net::unix::pipe;

use super::query::Query;
use super::upgrade::{Changed, Offer, Way, negotiate};
use super::{Attachment, ContainerPath, ExecRequest, NodeBackend, Refusal, Shared};
use crate::api::status::Status;

mod channels;
mod client;
mod fifos;
mod session;
mod streams;

pub(super) use channels::{Encoding, normal};
pub(super) use fifos::prepare;

use channels::Channels;
use client::{Client, Size};
use fifos::Fifos;
use streams::SpdyStreams;

/// The fifth differs from the fourth in that the client can end its input; before the fourth an error is plain text
/// and a success is silence.
const OFFER: Offer = Offer {
    web_socket: &[
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "channel.k8s.io",
        "base64.channel.k8s.io",
    ],
    spdy: &[
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v3.channel.k8s.io",
        "v2.channel.k8s.io",
        "channel.k8s.io",
    ],
};

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
    let way = negotiate(&mut parts, &OFFER).await?;
    let place = shared.stream()?;
    let id = shared.backend.running(&ContainerPath { namespace, pod, container }).await?;
    Ok(serve(way, wants, place, move |mut client| async move {
        let size = if wants.terminal { session::first_size(&mut client).await } else { None };
        match start(&shared, &id, command, wants, size).await {
            Ok((execution, fifos)) => session::run(&mut client, &execution, fifos, wants).await,
            Err(status) => client.end(&Err(status)).await,
        }
    }))
}

pub(super) async fn attach<B: NodeBackend>(
    State(shared): State<Arc<Shared<B>>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    let (mut parts, _) = request.into_parts();
    let wants = wants(&Query::parse(parts.uri.query())?)?;
    let way = negotiate(&mut parts, &OFFER).await?;
    let place = shared.stream()?;
    let container = ContainerPath { namespace, pod, container };
    let Attachment { tap, stdin, console } = shared.backend.attach(&container).await?;
    // Without a reader the container takes no input, or does not any more.
    let stdin =
        stdin.filter(|_| wants.stdin).and_then(|path| pipe::OpenOptions::new().open_sender(path).ok());
    Ok(serve(way, wants, place, move |mut client| async move {
        session::run_attached(&mut client, &console, tap, stdin, wants).await;
    }))
}

/// Changes protocols, and lets a session run on what comes out of it.
fn serve<F>(
    way: Way,
    wants: Wants,
    place: tokio::sync::OwnedSemaphorePermit,
    session: impl FnOnce(Client) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let protocol = way.protocol();
    way.change(move |changed| async move {
        let _held = place;
        match changed {
            Changed::WebSocket(socket) => {
                if let Some(channels) = Channels::begin(*socket, protocol, wants).await {
                    session(Client::from(channels)).await;
                }
            }
            Changed::Spdy(io) => {
                let (begin, carry) = SpdyStreams::begin(io, protocol, wants);
                let session = async move {
                    if let Some(streams) = begin.await {
                        session(Client::from(streams)).await;
                    }
                };
                tokio::join!(carry, session);
            }
        }
    })
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

async fn start<B: NodeBackend>(
    shared: &Shared<B>,
    container_id: &str,
    command: Vec<String>,
    wants: Wants,
    size: Option<Size>,
) -> Result<(B::Execution, Fifos), Status> {
    let failed = |error| Status::internal(format!("making the FIFOs of an exec: {error}"));
    let mut fifos = Fifos::make(&shared.exec_dir, wants).map_err(failed)?;
    let size = size.map(|size| (size.width, size.height));
    let request = ExecRequest { command, streams: fifos.streams(), size };
    let execution = shared.backend.exec(container_id, request).await?;
    // From now on the process' end of the FIFOs is what keeps them open.
    fifos.started();
    Ok((execution, fifos))
}

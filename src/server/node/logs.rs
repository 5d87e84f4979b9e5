//! `GET /containerLogs/NS/POD/CONTAINER`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;

use super::query::Query;
use super::{ContainerPath, NodeBackend, Refusal, Shared};
use crate::api::log_options::LogOptions;
use crate::api::status::Status;
use crate::logs::format::Stream;
use crate::logs::read::{Options, read};
use crate::time::WallTime;

pub(super) async fn container_logs<B: NodeBackend>(
    State(shared): State<Arc<Shared<B>>>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let query = Query::parse(uri.query())?;
    let asked = LogOptions::read(&pod, |name| query.first(name))?;
    let options = options(&asked, &query, (shared.clock)());
    let place = shared.stream()?;
    let container = ContainerPath { namespace, pod, container };
    let source = shared.backend.log(&container, query.flag(&["previous"])).await?;
    let log = read(source.path, options, source.writing).await.map_err(|error| no_log(&container, &error))?;
    let body = Body::from_stream(log.inspect(move |_| {
        // The place is kept for as long as the stream is.
        let _ = &place;
    }));
    Ok(([(header::CONTENT_TYPE, "text/plain")], body).into_response())
}

fn no_log(container: &ContainerPath, error: &io::Error) -> Status {
    let ContainerPath { pod, container, .. } = container;
    if error.kind() == io::ErrorKind::NotFound {
        let message = format!("container {container:?} in pod {pod:?} has no log on this node");
        return Status::new(404, "NotFound", message);
    }
    Status::internal(format!("reading the log of container {container:?} in pod {pod:?}: {error}"))
}

fn options(asked: &LogOptions, query: &Query, now: WallTime) -> Options {
    let ago =
        |seconds| WallTime(now.0.checked_sub(Duration::from_secs(seconds)).unwrap_or(jiff::Timestamp::MIN));
    Options {
        follow: query.flag(&["follow"]),
        tail_lines: asked.tail_lines,
        since: asked.since_time.or(asked.since_seconds.map(ago)),
        timestamps: query.flag(&["timestamps"]),
        limit_bytes: asked.limit_bytes,
        stream: asked.stream.as_deref().map(|stream| match stream {
            "Stderr" => Stream::Stderr,
            _ => Stream::Stdout,
        }),
    }
}

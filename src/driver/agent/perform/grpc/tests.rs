use std::convert::Infallible;

use http::Response;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2 as server;
use hyper::service::service_fn;
use tokio::net::TcpListener;

use super::*;

/// A health service: what it answers follows from the service that is asked for.
async fn reply(
    request: Request<Incoming>,
) -> Result<Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.expect("a request").to_bytes();
    let asked = HealthCheckRequest::decode(&body[PREFIX_BYTES..]).expect("a message").service;
    let (code, status) = match asked.as_str() {
        _ if path != "/grpc.health.v1.Health/Check" => (UNIMPLEMENTED, 0),
        "" => (0, 1),
        "ill" => (0, 2),
        "none" => (UNIMPLEMENTED, 0),
        _ => (5, 0),
    };
    if asked == "slow" {
        std::future::pending::<()>().await;
    }
    let message = HealthCheckResponse { status }.encode_to_vec();
    let mut data = vec![0, 0, 0, 0, message.len() as u8];
    data.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    trailers.insert("grpc-message", http::HeaderValue::from_static("so it is"));
    let frames = [Ok(Frame::data(Bytes::from(data))), Ok(Frame::trailers(trailers))];
    Ok(Response::new(StreamBody::new(futures::stream::iter(frames))))
}

#[tokio::test]
async fn a_service_is_well_when_it_says_that_it_serves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serving = server::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service_fn(reply));
            tokio::spawn(serving);
        }
    });
    let place = Place { namespace: None, ip: "127.0.0.1".to_owned() };
    let failure = |text: &str| ProbeOutcome::Failure(text.to_owned());
    let implements =
        "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): so it is";
    let cases = [
        ("", ProbeOutcome::Success),
        ("ill", failure("service unhealthy (responded with \"NOT_SERVING\")")),
        ("none", failure(implements)),
        ("unknown", failure("error: health rpc probe failed: rpc error: code = 5 desc = so it is")),
        ("slow", failure("timeout: health rpc did not complete within 1s")),
    ];
    for (service, expected) in cases {
        assert_eq!(check(&place, port, service, Duration::from_secs(1)).await, expected, "{service}");
    }
    let refused = check(&place, 1, "", Duration::from_secs(1)).await;
    let why = "error: failed to connect service at \"127.0.0.1:1\": dial tcp 127.0.0.1:1: connect: connection refused";
    assert_eq!(refused, failure(why));
}

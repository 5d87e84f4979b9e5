//! How fast a container starts, against the bare calls. Run with `--ignored --nocapture`.

use std::path::Path;
use std::time::Duration;

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::snapshots::PrepareSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    Container, CreateContainerRequest, CreateTaskRequest, StartRequest, container,
};
use containerd_client::tonic::Request;
use containerd_client::tonic::transport::Channel;
use containerd_client::with_namespace;
use leasehold::containerd::CreateRequest;
use prost_types::Any;

use crate::bed::Bed;

const ROUNDS: usize = 30;

fn since_boot() -> Duration {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).expect("readable");
    now.into()
}

#[tokio::test]
#[ignore = "a measurement"]
async fn a_start_costs_what_the_bare_calls_cost() {
    let Some(bed) = Bed::start().await else { return };
    let channel = containerd_client::connect(bed.containerd.address()).await.expect("connected");
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let request = bed.request(&["sleep", "1000"]).await;
        let start = since_boot();
        bed.run(&request).await;
        ours.push(since_boot().saturating_sub(start));
        bed.runtime.remove(&request.id).await.expect("removed");

        let request = bed.request(&["sleep", "1000"]).await;
        let start = since_boot();
        bare_start(&bed, &channel, &request).await;
        bare.push(since_boot().saturating_sub(start));
        bed.runtime.remove(&request.id).await.expect("removed");
    }
    let (ours, bare) = (median(ours), median(bare));
    println!(
        "create and start {ours:?}, bare calls {bare:?}, ratio {:.2}",
        ours.as_secs_f64() / bare.as_secs_f64()
    );
    assert!(Path::new("/proc").exists());
    assert!(ours < bare * 2, "{ours:?} against {bare:?}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

async fn bare_start(bed: &Bed, channel: &Channel, request: &CreateRequest) {
    let namespace = bed.containerd.namespace();
    let container = Container {
        id: request.id.clone(),
        runtime: Some(container::Runtime { name: "io.containerd.runc.v2".into(), options: None }),
        spec: Some(Any {
            type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".into(),
            value: serde_json::to_vec(&request.spec).expect("JSON"),
        }),
        snapshotter: "overlayfs".into(),
        snapshot_key: request.id.clone(),
        ..Container::default()
    };
    let create = CreateContainerRequest { container: Some(container) };
    ContainersClient::new(channel.clone()).create(with_namespace!(create, namespace)).await.expect("created");
    let prepare = PrepareSnapshotRequest {
        snapshotter: "overlayfs".into(),
        key: request.id.clone(),
        parent: request.image.chain_id.clone(),
        ..PrepareSnapshotRequest::default()
    };
    let prepared = SnapshotsClient::new(channel.clone()).prepare(with_namespace!(prepare, namespace)).await;
    let rootfs = prepared.expect("prepared").into_inner().mounts;
    let create =
        CreateTaskRequest { container_id: request.id.clone(), rootfs, ..CreateTaskRequest::default() };
    let mut tasks = TasksClient::new(channel.clone());
    tasks.create(with_namespace!(create, namespace)).await.expect("made");
    let start = StartRequest { container_id: request.id.clone(), exec_id: String::new() };
    tasks.start(with_namespace!(start, namespace)).await.expect("started");
}

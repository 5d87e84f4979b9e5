//! What is left by processes that are no more.

use std::collections::HashMap;

use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::snapshots::PrepareSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::{CreateRequest as CreateLease, ListRequest};
use containerd_client::tonic::Request;
use containerd_client::tonic::transport::Channel;
use containerd_client::with_namespace;

use crate::bed::{Bed, alive};

async fn prepare(bed: &Bed, channel: &Channel, key: &str) -> bool {
    let request = PrepareSnapshotRequest {
        snapshotter: "overlayfs".into(),
        key: key.into(),
        parent: bed.image.chain_id.clone(),
        labels: HashMap::from([("containerd.io/gc.root".into(), "now".into())]),
    };
    let namespace = bed.containerd.namespace();
    SnapshotsClient::new(channel.clone()).prepare(with_namespace!(request, namespace)).await.is_ok()
}

#[tokio::test]
async fn snapshots_without_a_container_and_leases_without_a_process_are_removed() {
    let Some(bed) = Bed::start().await else { return };
    let channel = containerd_client::connect(bed.containerd.address()).await.expect("connected");
    let namespace = bed.containerd.namespace();
    let running = bed.request(&["sleep", "1000"]).await;
    let pid = bed.run(&running).await;
    assert!(prepare(&bed, &channel, "stray").await);
    assert!(!prepare(&bed, &channel, "stray").await, "it is there");
    let mut leases = LeasesClient::new(channel.clone());
    for (id, owner) in [("leasehold-image-dead", "boot/1/0"), ("somebody-elses", "boot/1/0")] {
        let labels = HashMap::from([("leasehold.dev/owner".into(), owner.into())]);
        let request = CreateLease { id: id.into(), labels };
        leases.create(with_namespace!(request, namespace)).await.expect("created");
    }

    bed.runtime.remove_leftovers().await.expect("removed");

    assert!(prepare(&bed, &channel, "stray").await, "it is gone");
    let left =
        leases.list(with_namespace!(ListRequest::default(), namespace)).await.expect("listed").into_inner();
    let left: Vec<_> = left.leases.into_iter().map(|lease| lease.id).collect();
    assert_eq!(left, ["somebody-elses"]);
    assert!(alive(pid));
    assert!(!prepare(&bed, &channel, &running.id).await, "a container's own snapshot stays");
    bed.runtime.remove(&running.id).await.expect("removed");
    bed.runtime.remove_leftovers().await.expect("nothing to do but the stray again");
}

//! Images out of a registry.

use std::fs;
use std::sync::Mutex;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::{WriteAction, WriteContentRequest};
use containerd_client::tonic::Request;
use containerd_client::with_namespace;
use leasehold::containerd::{Progress, PullError};
use serde_json::json;

use crate::bed::{Bed, Extra, quiet};
use crate::images::collect_garbage;
use crate::support::{Registry, TestImage, digest_of};

async fn beds() -> Option<(Bed, Registry)> {
    let registry = Registry::start()?;
    Some((Bed::start().await?, registry))
}

/// An image that is in no bed yet.
fn image() -> TestImage {
    TestImage::busybox("unused").with("Env", json!(["PATH=/bin", "WHENCE=registry"]))
}

#[tokio::test]
async fn an_image_is_pulled_by_tag_and_by_digest_and_runs() {
    let Some((mut bed, registry)) = beds().await else { return };
    let digest = registry.push("lib/busybox", "1", &image().blobs()).await;
    let name = format!("{}/lib/busybox", registry.address());
    bed.image = bed.runtime.pull(&format!("{name}:1"), None, &quiet).await.expect("pulled");
    assert_eq!((&bed.image.digest, bed.image.id()), (&digest, &*format!("{name}@{digest}")));
    assert_eq!(bed.image.config.env, ["PATH=/bin", "WHENCE=registry"]);
    let found = bed.runtime.find_image(&format!("{name}@{digest}")).await.expect("looked up").expect("found");
    assert_eq!(found.chain_id, bed.image.chain_id);
    bed.runtime.pull(&format!("{name}@{digest}"), None, &quiet).await.expect("pulled by digest");
    collect_garbage(&bed).await;
    assert_eq!(bed.says("echo runs", json!({}), json!({}), Extra::default()).await, "runs");
}

#[tokio::test]
async fn a_tag_that_moves_is_followed_by_the_next_pull() {
    let Some((bed, registry)) = beds().await else { return };
    let name = format!("{}/lib/busybox:1", registry.address());
    let old = registry.push("lib/busybox", "1", &image().blobs()).await;
    assert_eq!(bed.runtime.pull(&name, None, &quiet).await.expect("pulled").digest, old);
    let new = registry.push("lib/busybox", "1", &image().with("User", json!("app")).blobs()).await;
    assert_eq!(bed.runtime.pull(&name, None, &quiet).await.expect("pulled").digest, new);
    let found = bed.runtime.find_image(&name).await.expect("looked up").expect("found");
    assert_eq!((found.digest, found.config.user.as_str()), (new, "app"));
}

#[tokio::test]
async fn pulls_of_one_image_at_the_same_time_are_one() {
    let Some((bed, registry)) = beds().await else { return };
    registry.push("lib/busybox", "1", &image().blobs()).await;
    let name = format!("{}/lib/busybox:1", registry.address());
    let resolved = Mutex::new(0);
    let count = |progress| {
        if matches!(progress, Progress::Resolved { .. }) {
            *resolved.lock().expect("whole") += 1;
        }
    };
    let pulls = (0..8).map(|_| bed.runtime.pull(&name, None, &count));
    let images: Vec<_> =
        futures::future::join_all(pulls).await.into_iter().map(|p| p.expect("pulled")).collect();
    assert!(images.iter().all(|image| image.digest == images[0].digest));
    assert_eq!(*resolved.lock().expect("whole"), 1);
}

#[tokio::test]
async fn images_that_share_a_layer_are_pulled_at_the_same_time() {
    let Some((bed, registry)) = beds().await else { return };
    let base = image().with_file("etc/motd", 0o644, b"shared by all");
    for i in 0..4 {
        let tag = i.to_string();
        registry
            .push("lib/busybox", &tag, &base.clone().with_file("etc/own", 0o644, tag.as_bytes()).blobs())
            .await;
    }
    let pulls = (0..4).map(|i| {
        let name = format!("{}/lib/busybox:{i}", registry.address());
        let bed = &bed;
        async move { bed.runtime.pull(&name, None, &quiet).await.expect("pulled").chain_id }
    });
    let mut chains = futures::future::join_all(pulls).await;
    chains.sort();
    chains.dedup();
    assert_eq!(chains.len(), 4);
}

#[tokio::test]
async fn what_is_not_in_the_registry_and_what_is_no_registry_are_told_apart() {
    let Some((bed, registry)) = beds().await else { return };
    registry.push("lib/busybox", "1", &image().blobs()).await;
    for missing in ["lib/busybox:2", "lib/other:1", &format!("lib/busybox@sha256:{}", "0".repeat(64))] {
        let name = format!("{}/{missing}", registry.address());
        let error = bed.runtime.pull(&name, None, &quiet).await.expect_err("not there");
        assert!(matches!(&error, PullError::NotFound { image } if *image == name), "{error}");
    }
    let nobody = "127.0.0.1:1/lib/busybox:1";
    let error = bed.runtime.pull(nobody, None, &quiet).await.expect_err("nobody there");
    assert!(matches!(&error, PullError::Unavailable { why, .. } if why.contains("refused")), "{error}");
    let error = bed.runtime.pull("No Image", None, &quiet).await.expect_err("no reference");
    assert!(matches!(error, PullError::Invalid(_)), "{error}");
}

#[tokio::test]
async fn a_layer_that_does_not_fit_its_digest_is_refused_now_and_pulled_when_it_does() {
    let Some((bed, registry)) = beds().await else { return };
    let image = image().with_file("etc/motd", 0o644, b"a layer that no other image has");
    let blobs = image.blobs();
    registry.push("lib/busybox", "1", &blobs).await;
    let file = registry.blob_file(&digest_of(blobs.layers.last().expect("a layer")));
    let good = fs::read(&file).expect("readable");
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 0xff;
    fs::write(&file, &bad).expect("writable");
    let name = format!("{}/lib/busybox:1", registry.address());
    for _ in 0..2 {
        let error = bed.runtime.pull(&name, None, &quiet).await.expect_err("spoiled").to_string();
        assert!(error.contains("digest"), "{error}");
    }
    assert_eq!(bed.runtime.find_image(&name).await.expect("looked up"), None);
    fs::write(&file, &good).expect("writable");
    bed.runtime.pull(&name, None, &quiet).await.expect("pulled");
}

#[tokio::test]
async fn a_pull_goes_on_where_an_earlier_one_broke_off() {
    let Some((bed, registry)) = beds().await else { return };
    let noise: Vec<u8> = (0u32..600_000).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let blobs = image().with_file("etc/noise", 0o644, &noise).blobs();
    registry.push("lib/busybox", "1", &blobs).await;
    let layer = blobs.layers.last().expect("a layer");
    let half = layer.len() / 2;
    write_part(&bed, layer, half).await;
    let name = format!("{}/lib/busybox:1", registry.address());
    let offsets = Mutex::new(Vec::new());
    let note = |progress| {
        if let Progress::Fetched { digest, offset, .. } = progress
            && digest == digest_of(layer)
        {
            offsets.lock().expect("whole").push(offset);
        }
    };
    bed.runtime.pull(&name, None, &note).await.expect("pulled");
    let offsets = offsets.into_inner().expect("whole");
    assert!(offsets[0] > half as u64, "{offsets:?} begin after {half}");
    assert_eq!(offsets.last(), Some(&(layer.len() as u64)));
}

/// What a pull that was killed leaves: a blob in part.
async fn write_part(bed: &Bed, blob: &[u8], length: usize) {
    let channel = containerd_client::connect(bed.containerd.address()).await.expect("connected");
    let request = WriteContentRequest {
        action: WriteAction::Write.into(),
        r#ref: format!("leasehold-{}", digest_of(blob)),
        total: blob.len() as i64,
        expected: digest_of(blob),
        data: blob[..length].to_vec(),
        ..WriteContentRequest::default()
    };
    let stream = futures::stream::iter([request]);
    let namespace = bed.containerd.namespace();
    let mut answers = ContentClient::new(channel)
        .write(with_namespace!(stream, namespace))
        .await
        .expect("taken")
        .into_inner();
    while let Ok(Some(_)) = answers.message().await {}
}

#[tokio::test]
async fn an_index_yields_the_image_of_this_machine_and_keeps_its_own_digest() {
    let Some((mut bed, registry)) = beds().await else { return };
    let blobs = image().blobs();
    let manifest = registry.push("lib/busybox", "own", &blobs).await;
    let own = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let index = |architectures: &[&str]| {
        let entry = |architecture: &&str| {
            json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest,
                "size": blobs.manifest.len(), "platform": { "os": "linux", "architecture": architecture },
            })
        };
        let manifests: Vec<_> = architectures.iter().map(entry).collect();
        serde_json::to_vec(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
        }))
        .expect("JSON")
    };
    let media_type = "application/vnd.oci.image.index.v1+json";
    registry.push_manifest("lib/busybox", "many", media_type, &index(&["s390x", own])).await;
    registry.push_manifest("lib/busybox", "other", media_type, &index(&["s390x", "mips64"])).await;
    let name = |tag: &str| format!("{}/lib/busybox:{tag}", registry.address());
    bed.image = bed.runtime.pull(&name("many"), None, &quiet).await.expect("pulled");
    assert_eq!(bed.image.digest, digest_of(&index(&["s390x", own])));
    collect_garbage(&bed).await;
    assert!(bed.runtime.find_image(&name("many")).await.expect("looked up").is_some());
    assert_eq!(bed.says("echo runs", json!({}), json!({}), Extra::default()).await, "runs");
    let error = bed.runtime.pull(&name("other"), None, &quiet).await.expect_err("for others").to_string();
    assert!(error.contains("only for linux/s390x, linux/mips64"), "{error}");
}

#[tokio::test]
async fn dockers_own_media_types_are_understood() {
    let Some((mut bed, registry)) = beds().await else { return };
    let mut blobs = image().blobs();
    let text = String::from_utf8(blobs.manifest).expect("JSON");
    let docker = text
        .replace(
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        )
        .replace("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
        .replace(
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        );
    blobs.manifest = docker.into_bytes();
    for blob in blobs.layers.iter().chain([&blobs.config]) {
        registry.push_blob("lib/busybox", blob).await;
    }
    let media_type = "application/vnd.docker.distribution.manifest.v2+json";
    registry.push_manifest("lib/busybox", "1", media_type, &blobs.manifest).await;
    let name = format!("{}/lib/busybox:1", registry.address());
    bed.image = bed.runtime.pull(&name, None, &quiet).await.expect("pulled");
    assert_eq!(bed.says("echo runs", json!({}), json!({}), Extra::default()).await, "runs");
}

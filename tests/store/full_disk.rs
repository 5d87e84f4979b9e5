//! A disk that runs full refuses writes, serves reads, and works again when there is room.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use reqwest::Method;
use serde_json::json;

use crate::server::Server;

/// A small file system, gone with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
            .expect("these tests run as root");
        Self(at.to_owned())
    }

    fn grow(&self, size: &str) {
        let options = format!("size={size}");
        mount(Some("tmpfs"), &self.0, Some("tmpfs"), MsFlags::MS_REMOUNT, Some(options.as_str())).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_goes_on_serving_reads() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let disk = SmallDisk::mount(&directory.path().join("data"), "4m");
    let server = Server::start_in(directory.clone(), "127.0.0.1:0").await;
    let body = |number: u32| json!({ "metadata": { "name": format!("c-{number}") }, "data": { "text": "x".repeat(100_000) } });
    let mut written = 0;
    let refused = loop {
        let (code, answer) = server.post(CONFIG_MAPS, &body(written)).await;
        if code != 201 {
            break (code, answer);
        }
        written += 1;
        assert!(written < 60, "4 MiB never run full");
    };
    assert_eq!((refused.0, &refused.1["reason"]), (507, &json!("InsufficientStorage")), "{refused:?}");
    let message = refused.1["message"].as_str().unwrap();
    assert!(message.contains("no space left on the device"), "{message}");
    assert!(written > 5, "{written}");

    let (code, list) = server.get(CONFIG_MAPS).await;
    assert_eq!((code, list["items"].as_array().unwrap().len()), (200, written as usize));
    assert_eq!(
        server.get(&format!("{CONFIG_MAPS}/c-{written}")).await.0,
        404,
        "a refused write leaves nothing"
    );
    assert_eq!(server.get("/readyz").await.0, 500);
    assert_eq!(server.get("/livez").await.0, 200);
    let merge = "application/merge-patch+json";
    let big = json!({ "data": { "more": "y".repeat(100_000) } }).to_string();
    let patched = server.send(Method::PATCH, &format!("{CONFIG_MAPS}/c-0"), merge, big.clone()).await;
    assert_eq!(patched.0, 507);

    disk.grow("64m");
    assert_eq!(server.post(CONFIG_MAPS, &body(written)).await.0, 201);
    assert_eq!(server.send(Method::PATCH, &format!("{CONFIG_MAPS}/c-0"), merge, big).await.0, 200);
    assert_eq!(server.get("/readyz").await.0, 200);
    let before = server.get(CONFIG_MAPS).await.1;
    let server = server.restart().await;
    assert_eq!(server.get(CONFIG_MAPS).await.1["items"], before["items"]);
    server.running.stop().await;
}

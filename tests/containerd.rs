//! The containerd room against a real, private containerd.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use leasehold::containerd::{CreateRequest, Exited, Image, Runtime, RuntimeEvent, State, Stdio};
use leasehold::time::WallTime;
use serde_json::json;
use support::{Containerd, Registry, TestImage, unique};

const BUSYBOX: &str = "docker.io/library/busybox:1";

/// The node's wall clock.
#[expect(clippy::disallowed_methods, reason = "the tests have no driver")]
fn now() -> WallTime {
    WallTime(jiff::Timestamp::now())
}

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let limit = tokio::time::timeout(Duration::from_secs(30), future).await;
    limit.unwrap_or_else(|_| panic!("{what}: nothing after 30 s"))
}

/// A private containerd with busybox in it.
struct Bed {
    containerd: Containerd,
    runtime: Runtime,
    image: Image,
}

impl Bed {
    async fn start() -> Option<Self> {
        let containerd = Containerd::start()?;
        let runtime = Runtime::new(&containerd.address(), containerd.namespace()).expect("a valid namespace");
        let archive = containerd.scratch("images").join("busybox.tar");
        TestImage::busybox(BUSYBOX).write_oci_archive(&archive);
        let image = runtime.import(&archive, None, &|_| ()).await.expect("imported").remove(0);
        Some(Self { containerd, runtime, image })
    }

    fn request(&self, args: &[&str]) -> CreateRequest {
        let id = unique("c");
        let spec = json!({
            "ociVersion": "1.0.2",
            "process": {
                "user": { "uid": 0, "gid": 0 }, "args": args, "env": ["PATH=/bin"], "cwd": "/",
                "capabilities": { "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] },
            },
            "root": { "path": "rootfs" },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": {
                "cgroupsPath": format!("/{}/{id}", self.containerd.namespace()),
                "namespaces": [{ "type": "pid" }, { "type": "mount" }],
                "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            },
        });
        CreateRequest {
            id,
            labels: BTreeMap::from([("io.kubernetes.container.name".into(), "main".into())]),
            image: self.image.clone(),
            spec: serde_json::from_value(spec).expect("a valid spec"),
            pod_uid: unique("pod"),
            systemd_cgroup: false,
        }
    }

    async fn run(&self, request: &CreateRequest) -> u32 {
        let created = self.runtime.create(request).await.expect("created");
        self.runtime.start(&created, &Stdio::default(), now()).await.expect("started")
    }
}

async fn next_exit(events: &mut (impl futures::Stream<Item = RuntimeEvent> + Unpin), id: &str) -> Exited {
    within("an exit event", async {
        loop {
            if let RuntimeEvent::Exited(exit) = events.next().await.expect("the stream lasts")
                && exit.id == id
            {
                return exit;
            }
        }
    })
    .await
}

async fn connected(events: &mut (impl futures::Stream<Item = RuntimeEvent> + Unpin)) {
    within("the connection", async {
        while events.next().await.expect("the stream lasts") != RuntimeEvent::Connected {}
    })
    .await;
}

fn alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    status.is_ok_and(|text| !text.contains("State:\tZ"))
}

#[tokio::test]
async fn an_imported_image_runs_and_its_exit_is_told_with_its_code() {
    let Some(bed) = Bed::start().await else { return };
    let mut events = bed.runtime.events();
    connected(&mut events).await;
    let request = bed.request(&["sh", "-c", "exit 7"]);
    let pid = bed.run(&request).await;
    let exit = next_exit(&mut events, &request.id).await;
    assert_eq!((exit.code, exit.pid, exit.exec_id), (7, pid, None));
    let listed = bed.runtime.list().await.expect("listed");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].state, State::Exited { code: 7, at: exit.at });
    assert_eq!(listed[0].labels, request.labels);
    assert!(listed[0].started_at.is_some());
    bed.runtime.remove(&request.id).await.expect("removed");
    assert_eq!(bed.runtime.list().await.expect("listed"), []);
}

#[test]
fn a_private_containerd_leaves_nothing_behind() {
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    let Some(bed) = tokio.block_on(Bed::start()) else { return };
    let pid = tokio.block_on(bed.run(&bed.request(&["sleep", "1000"])));
    assert!(alive(pid));
    let address = bed.containerd.address();
    drop(bed);
    assert!(!alive(pid), "container {pid} lives on");
    assert!(!address.parent().expect("a directory").exists());
}

#[tokio::test]
async fn an_image_is_pulled_from_a_registry_by_tag_and_by_digest() {
    let (Some(bed), Some(registry)) = (Bed::start().await, Registry::start()) else { return };
    let pushed = TestImage::busybox("unused").with("Env", json!(["PATH=/bin", "WHENCE=registry"]));
    let digest = registry.push("lib/busybox", "1", &pushed.blobs()).await;
    let name = format!("{}/lib/busybox", registry.address());
    let image = bed.runtime.pull(&format!("{name}:1"), None, &|_| ()).await.expect("pulled");
    assert_eq!(image.digest, digest);
    assert_eq!(image.id(), format!("{name}@{digest}"));
    assert_eq!(image.config.env, ["PATH=/bin", "WHENCE=registry"]);
    let found = bed.runtime.find_image(&format!("{name}@{digest}")).await.expect("looked up").expect("found");
    assert_eq!(found.chain_id, image.chain_id);
    bed.runtime.pull(&format!("{name}@{digest}"), None, &|_| ()).await.expect("pulled by digest");
    let mut request = bed.request(&["true"]);
    request.image = image;
    assert!(bed.run(&request).await > 0);
    bed.runtime.remove(&request.id).await.expect("removed");
}

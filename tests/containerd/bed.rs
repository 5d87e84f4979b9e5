//! A private containerd with busybox in it, and what the tests ask of it again and again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use leasehold::containerd::spec::{self, Bind, Built, Device, Host, Namespaces, SpecRequest};
use leasehold::containerd::{CreateRequest, Exited, Image, Runtime, RuntimeEvent, Stdio};
use leasehold::time::WallTime;
use serde_json::{Value, json};

use crate::support::{Containerd, TestImage, unique};

pub const BUSYBOX: &str = "docker.io/library/busybox:1";

/// The node's wall clock.
#[expect(clippy::disallowed_methods, reason = "the tests have no driver")]
pub fn now() -> WallTime {
    WallTime(jiff::Timestamp::now())
}

/// Waits, but not for ever.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let limit = tokio::time::timeout(Duration::from_mins(1), future).await;
    limit.unwrap_or_else(|_| panic!("{what}: nothing after a minute"))
}

pub fn quiet(_: leasehold::containerd::Progress) {}

/// A private containerd with busybox in it.
pub struct Bed {
    pub containerd: Containerd,
    pub runtime: Runtime,
    pub image: Image,
}

/// What a container is, beside its Pod.
#[derive(Default)]
pub struct Extra {
    pub mounts: Vec<Bind>,
    pub namespaces: Namespaces,
    pub devices: Vec<Device>,
}

impl Bed {
    pub async fn start() -> Option<Self> {
        let containerd = Containerd::start()?;
        let runtime = Runtime::new(&containerd.address(), containerd.namespace()).expect("a valid namespace");
        let archive = containerd.scratch("images").join("busybox.tar");
        TestImage::busybox(BUSYBOX).write_oci_archive(&archive);
        let image = runtime.import(&archive, None, &quiet).await.expect("imported").remove(0);
        Some(Self { containerd, runtime, image })
    }

    /// Imports another image.
    pub async fn import(&self, image: &TestImage) -> Image {
        let archive = self.containerd.scratch("images").join(unique("image"));
        image.write_oci_archive(&archive);
        self.runtime.import(&archive, None, &quiet).await.expect("imported").remove(0)
    }

    /// A Pod of one container with these members; the program is `args`.
    pub async fn build(
        &self,
        args: &[&str],
        pod: Value,
        container: Value,
        extra: Extra,
    ) -> (CreateRequest, Built) {
        let id = unique("c");
        let uid = unique("pod");
        let mut spec = pod;
        let mut container = container;
        container["name"] = "main".into();
        spec["containers"] = json!([container]);
        let metadata = json!({ "name": "p", "namespace": "default", "uid": uid });
        let pod: Pod = serde_json::from_value(json!({ "metadata": metadata, "spec": spec })).expect("a Pod");
        let accounts = self.runtime.accounts(&self.image).await.expect("read");
        let built = spec::build(&SpecRequest {
            pod: &pod,
            container: &pod.spec.as_ref().expect("a spec").containers[0],
            image: &self.image.config,
            accounts: &accounts,
            args: args.iter().map(ToString::to_string).collect(),
            env: vec![("PATH".into(), "/bin".into())],
            mounts: extra.mounts,
            namespaces: extra.namespaces,
            cgroups_path: format!("/{}/{id}", self.containerd.namespace()),
            devices: extra.devices,
            host: &Host::read(Path::new("/var/lib/kubelet/seccomp")).expect("a Linux machine"),
        })
        .expect("a spec");
        let request = CreateRequest {
            id,
            labels: BTreeMap::from([("io.kubernetes.container.name".into(), "main".into())]),
            image: self.image.clone(),
            spec: built.spec.clone(),
            pod_uid: uid,
            systemd_cgroup: false,
        };
        (request, built)
    }

    pub async fn request(&self, args: &[&str]) -> CreateRequest {
        self.build(args, json!({}), json!({}), Extra::default()).await.0
    }

    pub async fn start_it(&self, request: &CreateRequest, stdio: &Stdio) -> u32 {
        let created = self.runtime.create(request).await.expect("created");
        self.runtime.start(&created, stdio, now()).await.expect("started")
    }

    pub async fn run(&self, request: &CreateRequest) -> u32 {
        self.start_it(request, &Stdio::default()).await
    }

    /// Runs a container to its end and returns its code and all it wrote.
    pub async fn output(&self, request: &CreateRequest) -> (u32, String) {
        let mut events = self.events().await;
        let file = self.containerd.scratch("output").join(&request.id);
        let to = Some(PathBuf::from(format!("file://{}", file.display())));
        self.start_it(request, &Stdio { stdout: to.clone(), stderr: to, ..Stdio::default() }).await;
        let exit = next_exit(&mut events, &request.id).await;
        // The shim has copied all output when the task is deleted.
        self.runtime.remove(&request.id).await.expect("removed");
        (exit.code, fs::read_to_string(&file).unwrap_or_default())
    }

    /// Runs a shell script in a container of this kind; it must succeed.
    pub async fn says(&self, script: &str, pod: Value, container: Value, extra: Extra) -> String {
        let (request, _) = self.build(&["sh", "-c", script], pod, container, extra).await;
        let (code, output) = self.output(&request).await;
        assert_eq!(code, 0, "{script}: {output}");
        output.trim_end().to_owned()
    }

    /// A subscription that is live.
    pub async fn events(&self) -> impl Stream<Item = RuntimeEvent> + Unpin + use<> {
        let mut events = self.runtime.events();
        connected(&mut events).await;
        events
    }

    /// Pids of this containerd's shims.
    pub fn shims(&self) -> Vec<u32> {
        let address = self.containerd.address();
        let mut pids = Vec::new();
        for entry in fs::read_dir("/proc").expect("mounted").flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).into_owned();
            if command.contains("containerd-shim") && command.contains(&*address.to_string_lossy()) {
                pids.push(pid);
            }
        }
        pids
    }
}

pub async fn next_exit(events: &mut (impl Stream<Item = RuntimeEvent> + Unpin), id: &str) -> Exited {
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

pub async fn connected(events: &mut (impl Stream<Item = RuntimeEvent> + Unpin)) {
    within("the connection", async {
        while events.next().await.expect("the stream lasts") != RuntimeEvent::Connected {}
    })
    .await;
}

pub fn alive(pid: u32) -> bool {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    status.is_ok_and(|text| !text.contains("State:\tZ"))
}

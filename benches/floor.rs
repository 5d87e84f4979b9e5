//! The floor: the same container, started and stopped by bare containerd calls. Its IPC namespace is pinned as a Pod's
//! is, the image is present, and nothing is watched, decided, recorded or logged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use leasehold::containerd::spec::{self, Accounts, Host, Namespaces, SpecRequest};
use leasehold::containerd::{CreateRequest, Image, Runtime, Stdio};
use leasehold::driver::clock;
use leasehold::network::namespaces::{self, Kind, Wanted};
use serde_json::json;

use crate::bed::{Bed, IMAGE, PROGRAM};
use crate::containerd::unique;
use crate::image::TestImage;

/// `SIGTERM`
const SIGTERM: i32 = 15;

/// A containerd namespace in which the agent sees nothing.
pub(crate) struct Floor {
    runtime: Runtime,
    image: Image,
    accounts: Arc<Accounts>,
    host: Host,
    directory: PathBuf,
}

/// A container that may be started.
pub(crate) struct Bare {
    request: CreateRequest,
    pins: PathBuf,
}

impl Floor {
    pub(crate) async fn new(bed: &Bed) -> anyhow::Result<Self> {
        let runtime = Runtime::new(&bed.containerd.address(), &unique("floor"))?;
        let directory = bed.containerd.scratch("floor");
        let archive = directory.join("busybox.tar");
        TestImage::busybox(IMAGE).write_oci_archive(&archive);
        let image = runtime.import(&archive, None, &|_| ()).await?.remove(0);
        let accounts = runtime.accounts(&image).await?;
        let host = Host::read(Path::new("/var/lib/kubelet/seccomp"))?;
        Ok(Self { runtime, image, accounts, host, directory })
    }

    /// Makes the spec, which is not measured.
    pub(crate) fn prepare(&self, name: &str) -> anyhow::Result<Bare> {
        let id = unique(name);
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": name, "namespace": "default", "uid": id },
            "spec": { "hostNetwork": true, "containers": [{ "name": "main", "image": IMAGE, "command": PROGRAM }] },
        }))?;
        let pins = self.directory.join(&id);
        let built = spec::build(&SpecRequest {
            pod: &pod,
            container: &pod.spec.as_ref().expect("it has one").containers[0],
            image: &self.image.config,
            accounts: &self.accounts,
            args: PROGRAM.map(str::to_owned).to_vec(),
            env: vec![("PATH".into(), "/bin".into())],
            mounts: Vec::new(),
            namespaces: Namespaces {
                ipc: Some(namespaces::pin_path(&pins, Kind::Ipc)),
                ..Namespaces::default()
            },
            cgroups_path: format!("/lh-bench-{id}"),
            devices: Vec::new(),
            host: &self.host,
        })?;
        let request = CreateRequest {
            id: id.clone(),
            labels: BTreeMap::new(),
            image: self.image.clone(),
            spec: built.spec,
            pod_uid: id,
            systemd_cgroup: false,
        };
        Ok(Bare { request, pins })
    }

    pub(crate) async fn start(&self, bare: &Bare) -> anyhow::Result<()> {
        let pins = bare.pins.clone();
        let wanted = Wanted { kinds: vec![Kind::Ipc], ..Wanted::default() };
        tokio::task::spawn_blocking(move || namespaces::pin(&pins, &wanted)).await??;
        let created = self.runtime.create(&bare.request).await?;
        self.runtime.start(&created, &Stdio::default(), clock::wall()).await?;
        Ok(())
    }

    pub(crate) async fn stop(&self, bare: &Bare) -> anyhow::Result<()> {
        Ok(self.runtime.kill(&bare.request.id, SIGTERM, false).await?)
    }

    pub(crate) async fn remove(&self, bare: &Bare) -> anyhow::Result<()> {
        self.runtime.remove(&bare.request.id).await?;
        namespaces::unpin(&bare.pins)?;
        Ok(())
    }
}

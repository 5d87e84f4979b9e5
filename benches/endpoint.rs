//! A coordinator of the benchmark's own, in a temporary directory.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use leasehold::driver::clock;
use leasehold::server::tls::{Authority, Identity};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{Connection, Target};
use crate::processes::{Program, free_port};

/// A running coordinator; it and its files go when this is dropped.
pub(crate) struct Coordinator {
    program: PathBuf,
    process: Option<Program>,
    directory: TempDir,
    address: SocketAddr,
}

impl Coordinator {
    pub(crate) fn start(program: &Path) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("lh-bench-").tempdir()?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let mut coordinator = Self { program: program.into(), process: None, directory, address };
        coordinator.boot()?;
        Ok(coordinator)
    }

    /// Starts it again, at the same address.
    pub(crate) fn boot(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("coordinator").arg("--data-dir").arg(self.data());
        command.args(["--log", "warn", "--listen", &self.address.to_string()]);
        self.process = Some(Program::start(&mut command, &self.directory.path().join("log"))?);
        Ok(())
    }

    /// `kill -9`
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Lets it end as it wants to.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.process.take().map_or(Ok(()), Program::stop)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("the coordinator is down")?.pid())
    }

    /// The way in as the administrator.
    pub(crate) fn admin(&self) -> anyhow::Result<Target> {
        admin(&self.data(), self.address)
    }

    /// The way in as whoever has a certificate of this authority.
    pub(crate) fn target(&self, identity: &Identity, authority: &Authority) -> anyhow::Result<Target> {
        Target::new(self.address, identity, authority.ca_pem())
    }

    /// Its certificate authority.
    pub(crate) fn authority(&self) -> anyhow::Result<Authority> {
        Ok(Authority::load_or_create(&self.data().join("pki"), clock::wall())?)
    }
}

/// The way into the coordinator with this data directory as its administrator.
pub(crate) fn admin(data: &Path, address: SocketAddr) -> anyhow::Result<Target> {
    let read = |name: &str| std::fs::read_to_string(data.join("pki").join(name)).context(name.to_owned());
    let identity = Identity { certificate_pem: read("admin.crt")?, key_pem: read("admin.key")? };
    Target::new(address, &identity, &read("ca.crt")?)
}

/// Where the sessions' Leases are.
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// A session's Lease as an agent writes it.
pub(crate) fn lease(name: &str, serial: u64, resource_version: Option<&str>) -> Value {
    let now = clock::wall().micros();
    let mut lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": name, "namespace": "kube-node-lease", "finalizers": ["leasehold.dev/session"],
            "annotations": {
                "leasehold.dev/machine-id": "0123456789abcdef0123456789abcdef",
                "leasehold.dev/renewal": serial.to_string(),
                "leasehold.dev/sent-at": clock::now().since_boot().as_nanos().to_string(),
            },
        },
        "spec": {
            "holderIdentity": name, "leaseDurationSeconds": 20, "leaseTransitions": 1,
            "acquireTime": now, "renewTime": now,
        },
    });
    if let Some(version) = resource_version {
        lease["metadata"]["resourceVersion"] = version.into();
    }
    lease
}

/// Makes objects over several connections at once.
pub(crate) async fn create_all(target: &Target, path: &str, objects: Vec<Value>) -> anyhow::Result<()> {
    const CONNECTIONS: usize = 32;
    let mut shares: Vec<Vec<Value>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
    for (i, object) in objects.into_iter().enumerate() {
        shares[i % CONNECTIONS].push(object);
    }
    let makers = shares.into_iter().map(|share| async move {
        let mut connection = target.connect().await?;
        for object in share {
            create(&mut connection, path, &object).await?;
        }
        anyhow::Ok(())
    });
    futures::future::try_join_all(makers).await.map(drop)
}

/// Makes one object.
pub(crate) async fn create(connection: &mut Connection, path: &str, object: &Value) -> anyhow::Result<Value> {
    Ok(connection.post(path, object).await?.ok()?.json())
}

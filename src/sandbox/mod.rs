//! What a Pod's containers stand on: cgroup, pinned namespaces, network, `/dev/shm` and the files that name the Pod.
//!
//! [`Ground::make`] and [`Ground::remove`] may be repeated at any time and after any crash. Nothing here starts or
//! stops a process of the Pod: containers come after `make`, and are gone before `remove`.
//!
//! On disk, per Pod: `<data>/pods/<uid>/{etc-hosts, hostname, resolv.conf, cni.json, volumes/…}` and
//! `<runtime>/pods/<uid>/{net, ipc, uts, shm}`.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use nix::mount::{MsFlags, mount};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use crate::cgroup::{CgroupError, Cgroups, PodCgroup, limits};
use crate::network::cni::{Cni, CniError};
use crate::network::host_name::{HostName, HostNameError, host_name};
use crate::network::hosts;
use crate::network::namespaces::{self, Kind, PinError, Pinned, Wanted};
use crate::network::resolver::{ClusterDns, Resolver, resolver};
use crate::network::sysctl::Sysctl;
use crate::volumes::{ContainerMount, Propagation, mounts};

/// Size of a Pod's `/dev/shm`, as with every container runtime.
const SHM_OPTIONS: &str = "mode=1777,size=65536k";

/// Where a node keeps what its Pods stand on, and how the node was set up.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Data directory of the agent: survives a reboot.
    pub data_dir: PathBuf,
    /// Runtime directory: empty after a reboot.
    pub runtime_dir: PathBuf,
    /// The cgroup trees.
    pub cgroups: Cgroups,
    /// CNI configuration and plugins.
    pub cni: Cni,
    /// The cluster's DNS service, if it has one.
    pub dns: ClusterDns,
    /// The node's own resolver, usually [`default_resolver`].
    pub resolver_file: PathBuf,
    /// The node's own hosts file, usually `/etc/hosts`.
    pub hosts_file: PathBuf,
    /// Most processes and threads per Pod.
    pub pids_per_pod: Option<u64>,
    /// Kernel settings outside upstream's safe set that Pods may make: names, or beginnings that end with `*`.
    pub allowed_sysctls: Vec<String>,
}

/// A Pod's namespaces by their pins; none where it shares the node's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Network.
    pub net: Option<PathBuf>,
    /// IPC.
    pub ipc: Option<PathBuf>,
    /// Host name.
    pub uts: Option<PathBuf>,
}

/// A Pod's sandbox, ready for its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// Join these.
    pub namespaces: Namespaces,
    /// The Pod's addresses, the first is `podIP`; the node's on the node's network.
    pub ips: Vec<String>,
    /// Put containers below it.
    pub cgroup: PodCgroup,
    /// The `HOSTNAME` variable.
    pub host_name: String,
    /// Mount at `/etc/hosts`, unless the container mounts something there itself.
    pub hosts: PathBuf,
    /// Mount at `/etc/hostname`.
    pub host_name_file: PathBuf,
    /// Mount at `/etc/resolv.conf`.
    pub resolv_conf: PathBuf,
    /// Mount at `/dev/shm`.
    pub shm: PathBuf,
    /// Event reason and message, for things that work otherwise than the Pod asks.
    pub warnings: Vec<(&'static str, String)>,
}

impl Sandbox {
    /// What every container of the Pod finds besides its volumes: the Pod's names and its `/dev/shm`. Where the
    /// container mounts something of its own, that counts.
    pub fn container_mounts(&self, container: &Container) -> Vec<ContainerMount> {
        let own = container.volume_mounts.iter().flatten();
        let taken: BTreeSet<PathBuf> = own.map(|mount| Path::new("/").join(&mount.mount_path)).collect();
        let context = container.security_context.as_ref();
        let fixed = context.and_then(|context| context.read_only_root_filesystem).unwrap_or(false);
        let parts = [
            (&self.hosts, "/etc/hosts", fixed),
            (&self.host_name_file, "/etc/hostname", fixed),
            (&self.resolv_conf, "/etc/resolv.conf", fixed),
            (&self.shm, "/dev/shm", false),
        ];
        let mounts = parts.into_iter().map(|(source, destination, read_only)| ContainerMount {
            source: source.clone(),
            destination: PathBuf::from(destination),
            read_only,
            propagation: Propagation::Private,
        });
        mounts.filter(|mount| !taken.contains(&mount.destination)).collect()
    }
}

/// Why a sandbox could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The node has no network for Pods: wait for its configuration, and say so on the Node.
    #[error("{0}")]
    NetworkNotReady(CniError),
    /// A plugin refused.
    #[error("failed to setup network for sandbox: {0}")]
    Network(CniError),
    /// A plugin refused to take the Pod off the network.
    #[error("failed to tear down the network of the sandbox: {0}")]
    NetworkStuck(CniError),
    /// A UID that cannot name directories.
    #[error("pod UID {0:?}: expected letters, digits and dashes")]
    Uid(String),
    /// The Pod's names cannot be.
    #[error(transparent)]
    HostName(#[from] HostNameError),
    /// The namespaces could not be pinned.
    #[error(transparent)]
    Namespaces(#[from] PinError),
    /// The cgroup could not be made, or something runs in it still.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A file or a mount of the sandbox.
    #[error("cannot {step}: {source}")]
    Io {
        /// What was tried.
        step: String,
        /// The answer.
        source: io::Error,
    },
}

fn step(what: &str, path: &Path) -> impl FnOnce(io::Error) -> SandboxError {
    let step = format!("{what} {}", path.display());
    move |source| SandboxError::Io { step, source }
}

impl From<CniError> for SandboxError {
    fn from(error: CniError) -> Self {
        match error {
            CniError::NotReady { .. } => Self::NetworkNotReady(error),
            CniError::Configuration { .. }
            | CniError::Plugin { .. }
            | CniError::NoSuchPlugin { .. }
            | CniError::Record { .. } => Self::Network(error),
        }
    }
}

/// The resolver file that answers also outside the node's own network namespace: systemd's upstream servers where
/// `/etc/resolv.conf` names only its local stub.
pub fn default_resolver() -> PathBuf {
    let (stub, upstream) = (Path::new("/etc/resolv.conf"), Path::new("/run/systemd/resolve/resolv.conf"));
    let servers = Resolver::parse(&fs::read_to_string(stub).unwrap_or_default()).nameservers;
    let only_stub = !servers.is_empty() && servers.iter().all(|server| server == "127.0.0.53");
    if only_stub && upstream.is_file() { upstream.to_owned() } else { stub.to_owned() }
}

/// What stands before the Pod is on its network.
struct Prepared {
    name: HostName,
    own: Vec<Kind>,
    pinned: Pinned,
    cgroup: PodCgroup,
    shm: PathBuf,
}

impl Ground {
    /// Directory of what belongs to this Pod and outlives a reboot: volumes, names, records.
    pub fn data_of(&self, uid: &str) -> PathBuf {
        self.data_dir.join("pods").join(uid)
    }

    /// Directory of what belongs to this Pod and ends with a reboot: pins and `/dev/shm`.
    pub fn runtime_of(&self, uid: &str) -> PathBuf {
        self.runtime_dir.join("pods").join(uid)
    }

    /// Makes the Pod's sandbox, or finds what is there and completes it. `node_ips` are the node's own addresses.
    pub async fn make(
        self: Arc<Self>,
        pod: Arc<Pod>,
        node_ips: Vec<String>,
    ) -> Result<Sandbox, SandboxError> {
        check_uid(uid(&pod))?;
        let (ground, of) = (self.clone(), pod.clone());
        let prepared = blocking(move || ground.prepare(&of)).await?;
        let uid = uid(&pod);
        let ips = if prepared.own.contains(&Kind::Net) {
            let netns = namespaces::pin_path(&self.runtime_of(uid), Kind::Net);
            let fresh = prepared.pinned == Pinned::Fresh;
            self.cni.attach(&pod, &netns, &self.data_of(uid).join("cni.json"), fresh).await?
        } else {
            node_ips
        };
        blocking(move || self.finish(&pod, prepared, ips)).await
    }

    /// Removes the Pod's sandbox and all its directories, volumes first. Its containers are gone before. Idempotent.
    pub async fn remove(self: Arc<Self>, uid: String) -> Result<(), SandboxError> {
        check_uid(&uid)?;
        // First: it refuses while something runs, and then nothing is taken from under that.
        let (ground, of) = (self.clone(), uid.clone());
        blocking(move || Ok(ground.cgroups.remove(&of)?)).await?;
        self.cni.detach(&self.data_of(&uid).join("cni.json")).await.map_err(SandboxError::NetworkStuck)?;
        blocking(move || self.clear(&uid)).await
    }

    /// UIDs that have something here but belong to no Pod that the agent knows.
    pub fn leftovers(&self, known: &BTreeSet<String>) -> BTreeSet<String> {
        let dirs = [self.data_dir.join("pods"), self.runtime_dir.join("pods")];
        let entries = dirs.into_iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|uid| !known.contains(uid)).collect()
    }

    fn prepare(&self, pod: &Pod) -> Result<Prepared, SandboxError> {
        let uid = uid(pod);
        let name = host_name(pod, &self.dns.domain)?;
        let (data, runtime) = (self.data_of(uid), self.runtime_of(uid));
        // First: by these the UID is found again after a crash.
        for (dir, mode) in [(&data, 0o750), (&runtime, 0o700)] {
            DirBuilder::new().recursive(true).mode(mode).create(dir).map_err(step("make", dir))?;
        }
        let cgroup = self.cgroups.create(uid, &limits::of_pod(pod, self.pids_per_pod))?;
        let own = own_namespaces(pod);
        let wanted = Wanted {
            kinds: own.clone(),
            host_name: name.kernel.clone(),
            sysctls: sysctls(pod),
            allowed_sysctls: self.allowed_sysctls.clone(),
        };
        let pinned = namespaces::pin(&runtime, &wanted)?;
        let shm = if own.contains(&Kind::Ipc) { make_shm(&runtime.join("shm"))? } else { "/dev/shm".into() };
        Ok(Prepared { name, own, pinned, cgroup, shm })
    }

    fn finish(&self, pod: &Pod, prepared: Prepared, ips: Vec<String>) -> Result<Sandbox, SandboxError> {
        let Prepared { name, own, pinned: _, cgroup, shm } = prepared;
        let data = self.data_of(uid(pod));
        let runtime = self.runtime_of(uid(pod));
        let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
        let (host_name, hosts_text) = if own.contains(&Kind::Net) {
            (name.kernel.clone(), hosts::managed(&ips, &name, aliases))
        } else {
            let node = fs::read_to_string(&self.hosts_file).map_err(step("read", &self.hosts_file))?;
            (node_name(), hosts::of_node(&node, aliases))
        };
        let node_resolver = fs::read_to_string(&self.resolver_file).unwrap_or_default();
        let made = resolver(pod, &Resolver::parse(&node_resolver), &self.dns);
        let pin = |kind: Kind| own.contains(&kind).then(|| namespaces::pin_path(&runtime, kind));
        Ok(Sandbox {
            namespaces: Namespaces { net: pin(Kind::Net), ipc: pin(Kind::Ipc), uts: pin(Kind::Uts) },
            ips,
            cgroup,
            hosts: keep_file(data.join("etc-hosts"), &hosts_text)?,
            host_name_file: keep_file(data.join("hostname"), &format!("{host_name}\n"))?,
            resolv_conf: keep_file(data.join("resolv.conf"), &made.resolver.to_text())?,
            host_name,
            shm,
            warnings: made.warnings,
        })
    }

    fn clear(&self, uid: &str) -> Result<(), SandboxError> {
        let (data, runtime) = (self.data_of(uid), self.runtime_of(uid));
        namespaces::unpin(&runtime)?;
        mounts::remove_tree(&runtime).map_err(step("remove", &runtime))?;
        // Last: while it stands, the UID is found again after a crash.
        mounts::remove_tree(&data).map_err(step("remove", &data))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|ended| {
        Err(SandboxError::Io { step: "finish a blocking step".to_owned(), source: io::Error::other(ended) })
    })
}

/// UIDs become parts of paths that are removed whole.
fn check_uid(uid: &str) -> Result<(), SandboxError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if !uid.is_empty() && uid.chars().all(plain) { Ok(()) } else { Err(SandboxError::Uid(uid.to_owned())) }
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The node's network comes with the node's host name; IPC stands alone.
fn own_namespaces(pod: &Pod) -> Vec<Kind> {
    let asks = |shares: fn(&PodSpec) -> Option<bool>| pod.spec.as_ref().and_then(shares).unwrap_or(false);
    let host_network = asks(|spec| spec.host_network);
    let host_ipc = asks(|spec| spec.host_ipc);
    let own = |kind: &Kind| match kind {
        Kind::Net | Kind::Uts => !host_network,
        Kind::Ipc => !host_ipc,
    };
    Kind::ALL.into_iter().filter(own).collect()
}

fn sysctls(pod: &Pod) -> Vec<Sysctl> {
    let context = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let stated = context.and_then(|context| context.sysctls.as_ref()).into_iter().flatten();
    stated.map(|sysctl| Sysctl { name: sysctl.name.clone(), value: sysctl.value.clone() }).collect()
}

fn node_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn make_shm(path: &Path) -> Result<PathBuf, SandboxError> {
    fs::create_dir_all(path).map_err(step("make", path))?;
    let mounted = statfs(path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
        && mounts::is_mount_point(path);
    if !mounted {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("shm"), path, Some("tmpfs"), flags, Some(SHM_OPTIONS))
            .map_err(|errno| step("mount a tmpfs at", path)(errno.into()))?;
    }
    Ok(path.to_owned())
}

/// Writes in place and only what differs: containers have these very files mounted.
fn keep_file(path: PathBuf, text: &str) -> Result<PathBuf, SandboxError> {
    if fs::read(&path).is_ok_and(|had| had == text.as_bytes()) {
        return Ok(path);
    }
    fs::write(&path, text)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o644)))
        .map_err(step("write", &path))?;
    Ok(path)
}

#[cfg(test)]
mod tests;

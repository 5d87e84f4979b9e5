//! From a Pod's container to the OCI spec that runc runs.
//!
//! [`build`] decides nothing that the Pod's spec, its image and the node do not say; it looks at the machine only for
//! what the container asks for by name: the devices of a privileged one, and a local seccomp profile.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, Pod};
use oci_spec::runtime::{
    Linux, LinuxDevice, LinuxDeviceCgroup, LinuxNamespace, LinuxNamespaceType, Process, Root, Spec,
};

use super::images::ImageConfig;

mod accounts;
mod capabilities;
mod host;
mod mounts;
mod resources;
mod seccomp;
mod user;

pub use accounts::Accounts;
pub use capabilities::CapabilitySet;
pub use host::Host;
pub use mounts::{Bind, Propagation};

use capabilities::capabilities;
use mounts::Kernel;
use user::Effective;

/// The version of the OCI runtime specification that the oldest runc we meet reads.
const OCI_VERSION: &str = "1.0.2";

/// Files of the kernel that no container may read.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Files of the kernel that no container may write.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The namespaces a container joins; none is the node's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Network.
    pub net: Option<PathBuf>,
    /// System V IPC and message queues.
    pub ipc: Option<PathBuf>,
    /// Host name.
    pub uts: Option<PathBuf>,
    /// Processes.
    pub pid: PidNamespace,
}

/// Whose processes a container sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PidNamespace {
    /// Its own.
    #[default]
    Own,
    /// The node's.
    Host,
    /// Those of the namespace at this path, e.g. `/proc/<pid>/ns/pid` of another container.
    Join(PathBuf),
}

/// A device that is given to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// On the node.
    pub node_path: PathBuf,
    /// In the container.
    pub path: PathBuf,
    /// Some of `r`, `w`, `m`.
    pub permissions: String,
}

/// All that a container's spec is made from.
#[derive(Clone, Debug)]
pub struct SpecRequest<'a> {
    /// Its Pod.
    pub pod: &'a Pod,
    /// One of the Pod's containers.
    pub container: &'a Container,
    /// Its image's config.
    pub image: &'a ImageConfig,
    /// Its image's users, from [`Runtime::accounts`](super::Runtime::accounts).
    pub accounts: &'a Accounts,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment, each name once.
    pub env: Vec<(String, String)>,
    /// Volumes, `/etc/hosts`, `/etc/resolv.conf`, `/dev/shm`, the termination log …
    pub mounts: Vec<Bind>,
    /// What it joins.
    pub namespaces: Namespaces,
    /// `linux.cgroupsPath`.
    pub cgroups_path: String,
    /// Devices given to it.
    pub devices: Vec<Device>,
    /// The node.
    pub host: &'a Host,
}

/// A spec, and what in it is otherwise than asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// For [`CreateRequest`](super::CreateRequest).
    pub spec: Spec,
    /// Sentences for the log or an Event.
    pub warnings: Vec<String>,
}

/// Why a container cannot be made as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// `runAsNonRoot`, and it would run as root (reason `CreateContainerConfigError`).
    #[error("{0}")]
    NonRoot(String),
    /// The image's `USER` is a name that the image does not know.
    #[error("unable to find user {name}: no matching entries in {file} file")]
    UnknownUser {
        /// User or group.
        name: String,
        /// `passwd` or `group`.
        file: &'static str,
    },
    /// Neither the container nor the image names a program.
    #[error("no command specified")]
    NoCommand,
    /// A field asks for what this node cannot give.
    #[error("{field}: {why}")]
    Field {
        /// Path from the container.
        field: String,
        /// What is wrong with it.
        why: String,
    },
    /// A device that is not there.
    #[error("device {}: {why}", path.display())]
    Device {
        /// On the node.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
}

impl SpecError {
    /// Whether the reason is `CreateContainerConfigError`; else it is `CreateContainerError`.
    pub const fn is_config(&self) -> bool {
        matches!(self, Self::NonRoot(_))
    }
}

/// Makes the spec.
pub fn build(request: &SpecRequest<'_>) -> Result<Built, SpecError> {
    let mut warnings = Vec::new();
    let effective = Effective::of(request.pod, request.container);
    let host_users = request.pod.spec.as_ref().and_then(|spec| spec.host_users);
    if host_users == Some(false) {
        let why = "user namespaces are not supported on this node".into();
        return Err(SpecError::Field { field: "spec.hostUsers".into(), why });
    }
    let mut root = Root::default();
    root.set_path(PathBuf::from("rootfs"));
    root.set_readonly(Some(effective.container.and_then(|c| c.read_only_root_filesystem).unwrap_or(false)));
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.into());
    spec.set_root(Some(root));
    spec.set_mounts(Some(mounts::mounts(&Kernel { privileged: effective.privileged() }, &request.mounts)));
    spec.set_process(Some(process(request, &effective, &mut warnings)?));
    spec.set_linux(Some(linux(request, &effective)?));
    spec.set_hostname(None);
    Ok(Built { spec, warnings })
}

fn process(
    request: &SpecRequest<'_>,
    effective: &Effective<'_>,
    warnings: &mut Vec<String>,
) -> Result<Process, SpecError> {
    if request.args.first().is_none_or(String::is_empty) {
        return Err(SpecError::NoCommand);
    }
    let terminal = request.container.tty.unwrap_or(false);
    let wanted = effective.container.and_then(|c| c.capabilities.as_ref());
    let (set, unknown) = capabilities(effective.privileged(), wanted, request.host.capabilities);
    warnings.extend(unknown.into_iter().map(|name| format!("capability {name:?} is unknown and not added")));
    let escalation = effective.container.and_then(|c| c.allow_privilege_escalation);
    let mut process = Process::default();
    process.set_terminal(Some(terminal));
    process.set_user(user::user(request)?);
    process.set_args(Some(request.args.clone()));
    process.set_env(Some(environment(request, terminal)));
    process.set_cwd(working_dir(request));
    process.set_capabilities(Some(set.to_oci()));
    process.set_rlimits(None);
    process.set_no_new_privileges(Some(escalation == Some(false)));
    process.set_apparmor_profile(apparmor(request, effective)?);
    process.set_oom_score_adj(Some(oom_score_adj(request, warnings)));
    Ok(process)
}

fn environment(request: &SpecRequest<'_>, terminal: bool) -> Vec<String> {
    let mut env: Vec<String> = request.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if terminal && !request.env.iter().any(|(name, _)| name == "TERM") {
        env.push("TERM=xterm".into());
    }
    env
}

/// Relative ones count from the root, as with Docker.
fn working_dir(request: &SpecRequest<'_>) -> PathBuf {
    let own = request.container.working_dir.as_deref().filter(|dir| !dir.is_empty());
    PathBuf::from("/").join(own.unwrap_or(&request.image.working_dir))
}

/// Where the kernel refuses a low score, the container gets the lowest that it grants.
fn oom_score_adj(request: &SpecRequest<'_>, warnings: &mut Vec<String>) -> i32 {
    let wanted = resources::oom_score_adj(request.pod, request.container, request.host.memory_bytes);
    match request.host.oom_score_adj_min {
        Some(least) if wanted < least => {
            warnings
                .push(format!("oom_score_adj is {least} instead of {wanted}: CAP_SYS_RESOURCE is missing"));
            least as i32
        }
        Some(_) | None => wanted as i32,
    }
}

/// Only a profile that somebody loaded can be named; there is no default profile of our own.
fn apparmor(request: &SpecRequest<'_>, effective: &Effective<'_>) -> Result<Option<String>, SpecError> {
    let own = effective.container.and_then(|c| c.app_armor_profile.as_ref());
    let profile = own.or_else(|| effective.pod.and_then(|p| p.app_armor_profile.as_ref()));
    let Some(profile) = profile.filter(|profile| profile.type_ == "Localhost") else { return Ok(None) };
    if effective.privileged() {
        return Ok(None);
    }
    if !request.host.apparmor {
        let why = "Cannot enforce AppArmor: AppArmor is not enabled on the host".into();
        return Err(SpecError::Field { field: "securityContext.appArmorProfile".into(), why });
    }
    Ok(profile.localhost_profile.clone())
}

fn linux(request: &SpecRequest<'_>, effective: &Effective<'_>) -> Result<Linux, SpecError> {
    let privileged = effective.privileged();
    let unmasked = effective.container.and_then(|c| c.proc_mount.as_deref()) == Some("Unmasked");
    let paths = |list: &[&str]| {
        (!privileged && !unmasked).then(|| list.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let wanted = effective.container.and_then(|c| c.capabilities.as_ref());
    let (set, _) = capabilities(privileged, wanted, request.host.capabilities);
    let (devices, rules) = devices(request, privileged)?;
    let mut linux = Linux::default();
    linux.set_namespaces(Some(namespaces(request, privileged)));
    linux.set_cgroups_path(Some(PathBuf::from(&request.cgroups_path)));
    linux.set_resources(Some(resources::resources(request.container, request.host, rules)));
    linux.set_devices(Some(devices));
    linux.set_seccomp(seccomp::seccomp(request, set)?);
    linux.set_rootfs_propagation(mounts::root_propagation(&request.mounts));
    linux.set_masked_paths(paths(&MASKED));
    linux.set_readonly_paths(paths(&READ_ONLY));
    Ok(linux)
}

fn namespaces(request: &SpecRequest<'_>, privileged: bool) -> Vec<LinuxNamespace> {
    let joined = &request.namespaces;
    let pid = match &joined.pid {
        PidNamespace::Own => Some(None),
        PidNamespace::Host => None,
        PidNamespace::Join(path) => Some(Some(path.clone())),
    };
    // With one tree a container sees its own cgroup as the root; with many, runc mounts it so.
    let cgroup = (request.host.cgroup_v2 && !privileged).then_some(None);
    let list = [
        (LinuxNamespaceType::Mount, Some(None)),
        (LinuxNamespaceType::Pid, pid),
        (LinuxNamespaceType::Network, joined.net.clone().map(Some)),
        (LinuxNamespaceType::Ipc, joined.ipc.clone().map(Some)),
        (LinuxNamespaceType::Uts, joined.uts.clone().map(Some)),
        (LinuxNamespaceType::Cgroup, cgroup),
    ];
    let present = list.into_iter().filter_map(|(typ, path)| Some((typ, path?)));
    present
        .map(|(typ, path)| {
            let mut namespace = LinuxNamespace::default();
            namespace.set_typ(typ);
            namespace.set_path(path);
            namespace
        })
        .collect()
}

/// Device files, and the cgroup's rules about them. runc adds those every container has (`null`, `tty` …).
fn devices(
    request: &SpecRequest<'_>,
    privileged: bool,
) -> Result<(Vec<LinuxDevice>, Vec<LinuxDeviceCgroup>), SpecError> {
    if privileged {
        return Ok((host::devices(), vec![rule(true)]));
    }
    let mut devices = Vec::new();
    let mut rules = vec![rule(false)];
    for device in &request.devices {
        let found = host::device(&device.node_path, &device.path)
            .map_err(|e| SpecError::Device { path: device.node_path.clone(), why: e.to_string() })?;
        let mut rule = LinuxDeviceCgroup::from(&found);
        rule.set_access(Some(device.permissions.clone()));
        rules.push(rule);
        devices.push(found);
    }
    Ok((devices, rules))
}

fn rule(allow: bool) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(allow);
    rule.set_access(Some("rwm".into()));
    rule
}

#[cfg(test)]
mod tests;

//! Making and starting one container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Hands, container, facts, log_file, log_link, sandbox, termination_file, uid};
use crate::agent::environment::{self, Environment};
use crate::agent::pod::{ContainerRef, Input, StartFailure, container_id, with_ephemeral};
use crate::agent::{downward::PodFacts, identity, sources};
use crate::cgroup;
use crate::containerd::spec::{self, Bind, PidNamespace, SpecRequest};
use crate::containerd::{CreateRequest, Image, Stdio};
use crate::driver::agent::node::{EPOCH_FILE, label};
use crate::driver::clock;
use crate::logs;
use crate::sandbox::Sandbox;
use crate::volumes::{self, Mounted};

/// Where a container leaves its last words, unless it says otherwise.
const TERMINATION_PATH: &str = "/dev/termination-log";

/// Why a container was not started.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) reason: StartFailure,
    pub(super) message: String,
}

fn misconfigured(error: impl std::fmt::Display) -> Failed {
    Failed { reason: StartFailure::CreateContainerConfigError, message: error.to_string() }
}

fn unmade(error: impl std::fmt::Display) -> Failed {
    Failed { reason: StartFailure::CreateContainerError, message: error.to_string() }
}

fn withheld(why: String) -> Failed {
    Failed { reason: StartFailure::Withheld, message: why }
}

/// Mounts or refreshes the Pod's volumes.
pub(super) async fn mount_volumes(hands: &Hands, pod: &Arc<Pod>) -> Result<(), String> {
    let sandbox = sandbox(hands, pod).await.map_err(|error| error.to_string())?;
    let facts = facts(hands, pod, sandbox.ips.clone(), sandbox.host_name.clone());
    mount(hands, pod, &facts).await.map(drop)
}

async fn mount(
    hands: &Hands,
    pod: &Arc<Pod>,
    facts: &PodFacts,
) -> Result<(BTreeMap<String, Mounted>, sources::Sources), String> {
    let sources = super::sources(hands, pod).await;
    if pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).is_none_or(Vec::is_empty) {
        return Ok((BTreeMap::new(), sources));
    }
    let (pod, dir, facts) = (pod.clone(), hands.ground.data_of(uid(pod)), facts.clone());
    let mounted = tokio::task::spawn_blocking(move || {
        let mounted = volumes::mount(&pod, &dir, &sources, &facts).map_err(|error| error.to_string());
        mounted.map(|mounted| (mounted, sources))
    });
    mounted.await.map_err(|error| error.to_string())?
}

/// A run that is to be made.
pub(super) struct Wanted<'a> {
    pub(super) run: &'a ContainerRef,
    pub(super) image_id: &'a str,
    pub(super) ips: Vec<String>,
    /// Whose processes it is to see.
    pub(super) target_pid: Option<u32>,
}

/// Makes and starts a run of a container; on failure nothing of it is left.
pub(super) async fn start(hands: &Hands, pod: &Arc<Pod>, wanted: Wanted<'_>) -> Result<Input, Failed> {
    let Wanted { run, image_id, ips, target_pid } = wanted;
    let sandbox = sandbox(hands, pod).await.map_err(unmade)?;
    let pod = &with_ephemeral(pod.clone());
    let container = container(pod, &run.name).ok_or_else(|| unmade("the Pod has no such container"))?;
    let reference = container.image.clone().unwrap_or_default();
    let image = hands.runtime.find_image(&reference).await.map_err(unmade)?;
    let image = image.ok_or_else(|| unmade(format!("image {reference:?} is gone")))?;
    let facts = facts(hands, pod, ips, sandbox.host_name.clone());
    let (mounted, mut sources) = mount(hands, pod, &facts).await.map_err(misconfigured)?;
    // Held until the start is over, however that ends.
    let admitted = hands.fencing.admit(pod).await.map_err(withheld)?;
    let facts = PodFacts { epoch: admitted.as_ref().map(|admitted| admitted.epoch), ..facts };
    sources.files = volumes::read_files(sources::files(container), &mounted);
    let environment = environment::environment(pod, container, &image.config.env, &sources, &facts)
        .map_err(misconfigured)?;
    for warning in &environment.warnings {
        tracing::warn!(pod = pod.metadata.name, container = run.name, warning, "a variable was left out");
    }
    let mut mounts = mounts(hands, pod, run, container, &environment, &mounted, &sandbox)?;
    mounts.extend(epoch_file(hands, pod, facts.epoch, &mounts).map_err(unmade)?);
    let id = container_id(uid(pod), &run.name, run.attempt);
    mounts.extend(image_volumes(hands, uid(pod), &id, &image, &mounts).await?);
    let seen = processes(hands, pod, target_pid);
    let spec = build(hands, pod, container, &image, &environment, mounts, &sandbox, &id, seen).await?;
    let terminal = container.tty.unwrap_or(false);
    let wanted = logs::client::Wanted {
        id: id.clone(),
        terminal,
        input: container.stdin.unwrap_or(false),
        log: log_file(hands, pod, run),
        link: Some(log_link(hands, pod, run)),
        rotation: logs::Rotation::default(),
    };
    let fifos = hands.logs.open(wanted).await.map_err(unmade)?;
    hands.open_logs.opened(&id);
    let request = CreateRequest {
        id: id.clone(),
        labels: labels(pod, run, &reference, image_id),
        image,
        spec,
        pod_uid: uid(pod).to_owned(),
        systemd_cgroup: hands.ground.cgroups.driver() == cgroup::Driver::Systemd,
    };
    let stdio = Stdio { stdin: fifos.stdin, stdout: Some(fifos.stdout), stderr: fifos.stderr, terminal };
    match make_and_start(hands, pod, &request, &stdio).await {
        Ok((pid, started_at)) => Ok(Input::ContainerStarted { run: run.clone(), id, pid, started_at }),
        Err(failed) => {
            if let Err(message) = super::remove_run(hands, uid(pod), &id).await {
                tracing::warn!(message, id, "what is left of a failed start could not be removed");
            }
            // What the fence has ended counts as turned away, not as a run.
            match admitted {
                Some(_) => Err(hands.fencing.why_not(uid(pod)).await.map_or(failed, withheld)),
                None => Err(failed),
            }
        }
    }
}

async fn make_and_start(
    hands: &Hands,
    pod: &Pod,
    request: &CreateRequest,
    stdio: &Stdio,
) -> Result<(u32, crate::time::WallTime), Failed> {
    let created = hands.runtime.create(request).await.map_err(unmade)?;
    let started_at = clock::wall();
    let pid = hands
        .runtime
        .start(&created, stdio, started_at)
        .await
        .map_err(|error| Failed { reason: StartFailure::RunContainerError, message: error.to_string() })?;
    if shares_processes(pod) {
        hands.lead_processes(uid(pod), pid);
    }
    Ok((pid, started_at))
}

#[expect(clippy::too_many_arguments, reason = "each is a part of the one request")]
async fn build(
    hands: &Hands,
    pod: &Pod,
    container: &Container,
    image: &Image,
    environment: &Environment,
    mounts: Vec<Bind>,
    sandbox: &Sandbox,
    id: &str,
    processes: PidNamespace,
) -> Result<oci_spec::runtime::Spec, Failed> {
    let accounts = hands.runtime.accounts(image).await.map_err(unmade)?;
    let config = &image.config;
    let request = SpecRequest {
        pod,
        container,
        image: config,
        accounts: &accounts,
        args: environment::command(container, &config.entrypoint, &config.cmd, environment),
        env: environment.variables.clone(),
        mounts,
        namespaces: spec::Namespaces {
            net: sandbox.namespaces.net.clone(),
            ipc: sandbox.namespaces.ipc.clone(),
            uts: sandbox.namespaces.uts.clone(),
            pid: processes,
        },
        cgroups_path: sandbox.cgroup.runtime_path(id),
        devices: Vec::new(),
        host: &hands.host_machine,
    };
    let built = spec::build(&request)
        .map_err(|error| if error.is_config() { misconfigured(error) } else { unmade(error) })?;
    for warning in &built.warnings {
        tracing::warn!(
            pod = pod.metadata.name,
            container = container.name,
            warning,
            "a container is not as asked for"
        );
    }
    Ok(built.spec)
}

fn shares_processes(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.share_process_namespace).unwrap_or(false)
}

/// With a shared namespace the first container that runs leads it, and the others join; an ephemeral one joins its
/// target.
fn processes(hands: &Hands, pod: &Pod, target_pid: Option<u32>) -> PidNamespace {
    if pod.spec.as_ref().and_then(|spec| spec.host_pid).unwrap_or(false) {
        return PidNamespace::Host;
    }
    let leader = hands.leader_of_processes(uid(pod)).filter(|_| shares_processes(pod));
    let alive = leader.or(target_pid).filter(|pid| {
        // The number may have gone to another process since.
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        cgroups.contains(uid(pod)) || cgroups.contains(&uid(pod).replace('-', "_"))
    });
    alive.map_or(PidNamespace::Own, |pid| PidNamespace::Join(PathBuf::from(format!("/proc/{pid}/ns/pid"))))
}

/// The container's volumes, and the files every container gets unless it mounts something there itself.
fn mounts(
    hands: &Hands,
    pod: &Pod,
    run: &ContainerRef,
    container: &Container,
    environment: &Environment,
    mounted: &BTreeMap<String, Mounted>,
    sandbox: &Sandbox,
) -> Result<Vec<Bind>, Failed> {
    let dir = hands.ground.data_of(uid(pod));
    let own = volumes::container_mounts(&dir, container, environment, mounted).map_err(misconfigured)?;
    let mut mounts: Vec<Bind> = own.into_iter().map(bind).collect();
    let last_words = last_words(hands, pod, run).map_err(unmade)?;
    let read_only = container.security_context.as_ref().and_then(|context| context.read_only_root_filesystem);
    let names_read_only = read_only.unwrap_or(false);
    let given = [
        ("/etc/hosts", &sandbox.hosts, names_read_only),
        ("/etc/hostname", &sandbox.host_name_file, names_read_only),
        ("/etc/resolv.conf", &sandbox.resolv_conf, names_read_only),
        ("/dev/shm", &sandbox.shm, false),
        (container.termination_message_path.as_deref().unwrap_or(TERMINATION_PATH), &last_words, false),
    ];
    for (destination, source, read_only) in given {
        if mounts.iter().all(|mount| mount.destination != Path::new(destination)) {
            mounts.push(Bind {
                source: source.clone(),
                destination: destination.into(),
                read_only,
                ..Bind::default()
            });
        }
    }
    Ok(mounts)
}

/// The file with the epoch of the Pod's identity, of a Pod that runs under one.
fn epoch_file(
    hands: &Hands,
    pod: &Pod,
    epoch: Option<i32>,
    mounts: &[Bind],
) -> std::io::Result<Option<Bind>> {
    let destination = Path::new(identity::EPOCH_FILE);
    let Some(epoch) = epoch.filter(|_| mounts.iter().all(|mount| mount.destination != destination)) else {
        return Ok(None);
    };
    let source = hands.ground.data_of(uid(pod)).join(EPOCH_FILE);
    std::fs::write(&source, format!("{epoch}\n"))?;
    let destination = destination.to_owned();
    Ok(Some(Bind { source, destination, read_only: true, ..Bind::default() }))
}

/// Where what the image declares as volumes is kept, for one run.
pub(super) fn image_volumes_dir(hands: &Hands, uid: &str, id: &str) -> PathBuf {
    hands.ground.data_of(uid).join("image-volumes").join(id)
}

/// The image's own volumes, made anew for each run, where the container mounts nothing itself.
async fn image_volumes(
    hands: &Hands,
    uid: &str,
    id: &str,
    image: &Image,
    mounts: &[Bind],
) -> Result<Vec<Bind>, Failed> {
    let dir = image_volumes_dir(hands, uid, id);
    let declared = image.config.volumes.keys().map(|path| Path::new("/").join(path));
    let free = declared.filter(|path| mounts.iter().all(|mount| mount.destination != *path));
    let volumes: Vec<(PathBuf, PathBuf)> =
        free.enumerate().map(|(number, path)| (path, dir.join(number.to_string()))).collect();
    if volumes.is_empty() {
        return Ok(Vec::new());
    }
    // What an attempt that broke off has left.
    let _ = std::fs::remove_dir_all(&dir);
    hands.runtime.copy_volumes(image, volumes.clone()).await.map_err(unmade)?;
    let bind = |(destination, source)| Bind { source, destination, ..Bind::default() };
    Ok(volumes.into_iter().map(bind).collect())
}

fn bind(mount: volumes::ContainerMount) -> Bind {
    Bind {
        source: mount.source,
        destination: mount.destination,
        read_only: mount.read_only,
        recursive_read_only: false,
        propagation: match mount.propagation {
            volumes::Propagation::Private => spec::Propagation::Private,
            volumes::Propagation::HostToContainer => spec::Propagation::HostToContainer,
            volumes::Propagation::Bidirectional => spec::Propagation::Bidirectional,
        },
    }
}

/// The empty file for the container's last words; whatever user it runs as may write it.
fn last_words(hands: &Hands, pod: &Pod, run: &ContainerRef) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = termination_file(hands, uid(pod), run);
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(&path, "")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    Ok(path)
}

fn labels(pod: &Pod, run: &ContainerRef, image: &str, image_id: &str) -> BTreeMap<String, String> {
    let metadata = &pod.metadata;
    [
        (label::POD_UID, metadata.uid.clone().unwrap_or_default()),
        (label::POD_NAME, metadata.name.clone().unwrap_or_default()),
        (label::POD_NAMESPACE, metadata.namespace.clone().unwrap_or_default()),
        (label::CONTAINER_NAME, run.name.clone()),
        (label::ATTEMPT, run.attempt.to_string()),
        (label::IMAGE, image.to_owned()),
        (label::IMAGE_ID, image_id.to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

//! Performs what the Pods' machines want, each effect in a task of its own, answered by inputs.

mod grpc;
mod hook;
mod http;
mod image;
mod probe;
mod start;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, ServiceAccount};
use tokio::sync::mpsc;

use super::claimed;
use super::hands::Hands;
use super::hosted::Uid;
use super::node::Input;
use super::sources::{Known, SourceKind, SourceRef};
use crate::agent::downward::PodFacts;
use crate::agent::pod::{self, ContainerRef, Exit, HookKind, ProbeKind, PullPolicy, container_id};
use crate::agent::sources::{Sources, references};
use crate::agent::tokens;
use crate::api::{pod_resources, service_account};
use crate::logs;
use crate::sandbox::{Sandbox, SandboxError};
use crate::volumes;

/// Longest termination message, as the kubelet's.
const MESSAGE_BYTES_MAX: usize = 4096;

/// How many characters of a Pod's name end the name of the volume with its token.
const VOLUME_SUFFIX: usize = 5;

/// `SIGKILL`
const SIGKILL: i32 = 9;

/// An effect that takes time.
#[derive(Debug)]
pub(super) enum Work {
    MakeSandbox,
    MountVolumes,
    EnsureImage { container: String, image: String, policy: PullPolicy },
    StartContainer { run: ContainerRef, image_id: String, ips: Vec<String>, target_pid: Option<u32> },
    Probe { run: ContainerRef, kind: ProbeKind, ips: Vec<String> },
    RunHook { run: ContainerRef, hook: HookKind, ips: Vec<String> },
    Signal { run: ContainerRef, signal: i32 },
    RemoveContainer { run: ContainerRef },
    RemoveSandbox,
}

impl Work {
    /// Whether containerd's list must wait for it.
    pub(super) fn makes_or_removes_a_container(&self) -> bool {
        matches!(self, Self::StartContainer { .. } | Self::RemoveContainer { .. })
    }
}

/// Where the answers go.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) uid: Uid,
    pub(super) inputs: mpsc::Sender<Input>,
}

impl Answers {
    async fn give(&self, input: pod::Input) {
        // The loop is gone when the agent stops; then nobody waits for an answer.
        let _ = self.inputs.send(Input::Answer { uid: self.uid.clone(), input }).await;
    }
}

/// Performs one effect of a Pod.
pub(super) async fn perform(hands: &Arc<Hands>, pod: &Arc<Pod>, work: Work, answers: &Answers) {
    match work {
        Work::MakeSandbox => {
            let input = match sandbox(hands, pod).await {
                Ok(sandbox) => pod::Input::SandboxReady { ips: sandbox.ips },
                Err(error) => pod::Input::SandboxFailed { message: error.to_string() },
            };
            answers.give(input).await;
        }
        Work::MountVolumes => {
            let input = match start::mount_volumes(hands, pod).await {
                Ok(()) => pod::Input::VolumesReady,
                Err(message) => pod::Input::VolumesFailed { message },
            };
            answers.give(input).await;
        }
        Work::EnsureImage { container, image, policy } => {
            image::ensure(hands, pod, image::Wanted { container, image, policy }, answers).await;
        }
        Work::StartContainer { run, image_id, ips, target_pid } => {
            let wanted = start::Wanted { run: &run, image_id: &image_id, ips, target_pid };
            let input = match start::start(hands, pod, wanted).await {
                Ok(started) => started,
                Err(failed) => {
                    pod::Input::ContainerStartFailed { run, reason: failed.reason, message: failed.message }
                }
            };
            answers.give(input).await;
        }
        Work::Probe { run, kind, ips } => {
            let outcome = probe::probe(hands, pod, &run, kind, &ips).await;
            answers.give(pod::Input::Probed { run, kind, outcome }).await;
        }
        Work::RunHook { run, hook, ips } => {
            let failure = hook::run(hands, pod, &run, hook, &ips).await;
            answers.give(pod::Input::HookEnded { run, hook, failure }).await;
        }
        Work::Signal { run, signal } => {
            let id = container_id(&answers.uid, &run.name, run.attempt);
            if let Err(error) = hands.runtime.kill(&id, signal, signal == SIGKILL).await {
                tracing::warn!(%error, id, signal, "a container was not signalled");
            }
        }
        Work::RemoveContainer { run } => {
            let id = container_id(&answers.uid, &run.name, run.attempt);
            let input = match remove_run(hands, &answers.uid, &id).await {
                Ok(()) => pod::Input::ContainerRemoved { run },
                Err(message) => pod::Input::ContainerStuck { run, message },
            };
            answers.give(input).await;
        }
        Work::RemoveSandbox => {
            let input = match remove_sandbox(hands, &answers.uid).await {
                Ok(()) => pod::Input::SandboxGone,
                Err(message) => pod::Input::SandboxStuck { message },
            };
            answers.give(input).await;
        }
    }
}

/// The Pod's sandbox: as this process made it, or made now, or found as an earlier process left it.
pub(super) async fn sandbox(hands: &Hands, pod: &Arc<Pod>) -> Result<Sandbox, SandboxError> {
    let cell = hands.sandbox(uid(pod));
    let make = || async {
        let sandbox = hands.ground.clone().make(pod.clone(), hands.node_ips()).await?;
        for (reason, message) in &sandbox.warnings {
            tracing::warn!(
                pod = pod.metadata.name,
                reason,
                message,
                "a Pod's sandbox is not quite as it asks"
            );
        }
        Ok(sandbox)
    };
    cell.get_or_try_init(make).await.cloned()
}

async fn remove_container(hands: &Hands, id: &str) -> Result<(), String> {
    hands.runtime.remove(id).await.map_err(|error| error.to_string())?;
    hands.open_logs.close(&hands.logs, id).await;
    Ok(())
}

/// A container, and the volumes of its image.
async fn remove_run(hands: &Hands, uid: &str, id: &str) -> Result<(), String> {
    remove_container(hands, id).await?;
    match std::fs::remove_dir_all(start::image_volumes_dir(hands, uid, id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, id, "the volumes of a container's image could not be removed");
        }
        Ok(()) | Err(_) => {}
    }
    Ok(())
}

async fn remove_sandbox(hands: &Hands, uid: &str) -> Result<(), String> {
    hands.fencing.release(uid).await?;
    hands.ground.clone().remove(uid.to_owned()).await.map_err(|error| error.to_string())?;
    hands.forget_sandbox(uid);
    hands.sources.release(uid);
    hands.tokens.release(uid);
    Ok(())
}

/// What is known of the ConfigMaps, Secrets and tokens of a Pod.
async fn sources(hands: &Hands, pod: &Arc<Pod>) -> Sources {
    let mut sources = objects(hands, pod).await;
    let wanted = references(pod).tokens;
    if !wanted.is_empty() {
        let kept = volumes::kept_tokens(pod, &hands.ground.data_of(uid(pod)));
        sources.tokens = hands.tokens.gather(pod, wanted, &kept).await;
    }
    sources.claims = claimed::resolve(hands, pod).await;
    sources
}

/// What is known of the ConfigMaps and Secrets of a Pod.
async fn objects(hands: &Hands, pod: &Pod) -> Sources {
    let wanted = references(pod);
    let namespace = namespace(pod);
    let named = |kind: SourceKind, names: BTreeSet<String>| {
        names.into_iter().map(move |name| SourceRef { kind, namespace: namespace.to_owned(), name })
    };
    let all: BTreeSet<SourceRef> = named(SourceKind::ConfigMap, wanted.config_maps)
        .chain(named(SourceKind::Secret, wanted.secrets))
        .collect();
    let mut sources = Sources { starts_without_tokens: is_daemon(pod), ..Sources::default() };
    if all.is_empty() {
        return sources;
    }
    for (source, known) in hands.sources.gather(uid(pod), all).await {
        match known {
            Known::Unknown | Known::ServiceAccount(_) => {}
            Known::Absent if source.kind == SourceKind::Secret => {
                sources.secrets.insert(source.name, None);
            }
            Known::Absent => {
                sources.config_maps.insert(source.name, None);
            }
            Known::ConfigMap(map) => {
                sources.config_maps.insert(source.name, Some(map));
            }
            Known::Secret(secret) => {
                sources.secrets.insert(source.name, Some(secret));
            }
        }
    }
    sources
}

/// Gives a Pod of the node's own making what its ServiceAccount has for it, as the coordinator does to the Pods it is
/// given. An error says why the Pod may not be made. Where the account is not known and cannot be asked for, the Pod
/// gets nothing of it.
pub(super) async fn admit(hands: &Hands, pod: Pod) -> Result<Pod, String> {
    let (namespace, name) = (namespace(&pod).to_owned(), tokens::account(&pod).to_owned());
    let account = SourceRef { kind: SourceKind::ServiceAccount, namespace, name };
    let found = hands.sources.gather(uid(&pod), BTreeSet::from([account.clone()])).await;
    match found.into_values().next() {
        Some(Known::ServiceAccount(found)) => admitted(&pod, &found).map_err(|error| error.to_string()),
        Some(Known::Absent) => {
            let SourceRef { namespace, name, .. } = account;
            let own = pod.metadata.name.as_deref().unwrap_or_default();
            Err(format!(
                "pods {own:?} is forbidden: error looking up service account {namespace}/{name}: serviceaccount {name:?} \
                 not found"
            ))
        }
        _ => Ok(pod),
    }
}

fn admitted(pod: &Pod, account: &ServiceAccount) -> serde_json::Result<Pod> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    // The name ends in a hash, so that a creation that is repeated makes the same Pod.
    let suffix: String = name.chars().rev().take(VOLUME_SUFFIX).collect();
    let mut value = serde_json::to_value(pod)?;
    service_account::admit(&mut value, &serde_json::to_value(account)?, &suffix);
    serde_json::from_value(value)
}

/// Whether the node made it of a DaemonSet: it starts with nobody's permission.
fn is_daemon(pod: &Pod) -> bool {
    let owners = pod.metadata.owner_references.iter().flatten();
    owners.clone().any(|owner| owner.controller == Some(true) && owner.kind == "DaemonSet")
}

/// What a container may ask about its Pod and node.
fn facts(hands: &Hands, pod: &Pod, ips: Vec<String>, host_name: String) -> PodFacts {
    let node = hands.node();
    let status = node.as_ref().and_then(|node| node.status.as_ref());
    PodFacts {
        ips,
        host_ips: hands.node_ips(),
        node_name: hands.config.node_name.clone(),
        host_name,
        allocatable: pod_resources::read(status.and_then(|status| status.allocatable.as_ref())),
        api_server: Some(hands.api_server.for_pod(pod)),
        epoch: None,
    }
}

/// The message a container left, by its policy; at most 4 KiB.
pub(super) async fn termination_message(hands: &Hands, pod: &Pod, run: &ContainerRef, code: i32) -> String {
    let path = termination_file(hands, uid(pod), run);
    let text =
        std::fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let container = container(pod, &run.name);
    let policy = container.and_then(|container| container.termination_message_policy.as_deref());
    if text.is_empty() && code != 0 && policy == Some("FallbackToLogsOnError") {
        return logs::read::termination_message(&log_file(hands, pod, run)).await;
    }
    let mut end = text.len().min(MESSAGE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn termination_file(hands: &Hands, uid: &str, run: &ContainerRef) -> PathBuf {
    let dir = hands.ground.data_of(uid).join("containers").join(&run.name);
    dir.join(format!("termination-log-{}", run.attempt))
}

/// `/var/log/pods/NS_NAME_UID`
fn log_dir(hands: &Hands, pod: &Pod) -> PathBuf {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    hands.config.log_dir.join("pods").join(format!("{}_{name}_{}", namespace(pod), uid(pod)))
}

/// `/var/log/pods/NS_NAME_UID/CONTAINER/N.log`
pub(super) fn log_file(hands: &Hands, pod: &Pod, run: &ContainerRef) -> PathBuf {
    log_dir(hands, pod).join(&run.name).join(format!("{}.log", run.attempt))
}

/// `/var/log/containers/NAME_NS_CONTAINER-ID.log`
fn log_link(hands: &Hands, pod: &Pod, run: &ContainerRef) -> PathBuf {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let id = container_id(uid(pod), &run.name, run.attempt);
    let link = format!("{name}_{}_{}-{id}.log", namespace(pod), run.name);
    hands.config.log_dir.join("containers").join(link)
}

/// Removes the logs of a Pod that is gone, and their links.
pub(super) fn remove_logs(hands: &Hands, pod: &Pod) {
    let dir = log_dir(hands, pod);
    let links = hands.config.log_dir.join("containers");
    for link in std::fs::read_dir(links).into_iter().flatten().flatten() {
        if std::fs::read_link(link.path()).is_ok_and(|target| target.starts_with(&dir)) {
            let _ = std::fs::remove_file(link.path());
        }
    }
    if let Err(error) = std::fs::remove_dir_all(&dir)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "a Pod's logs could not be removed");
    }
}

/// A container, and the UID of its Pod, where it says.
pub(super) type Stray = (String, Option<Uid>);

/// Removes what belongs to no Pod of this node: containers first, then what stood around them. Where something stays, so
/// do the identities that nobody here asks for: it may be theirs.
pub(super) async fn remove_strays(hands: &Arc<Hands>, containers: Vec<Stray>, known: BTreeSet<Uid>) {
    let mut gone: BTreeSet<Uid> = hands.ground.leftovers(&known);
    let mut is_clean = true;
    for (id, uid) in containers {
        tracing::info!(id, "removing a container that belongs to no Pod");
        gone.extend(uid);
        if let Err(message) = remove_container(hands, &id).await {
            tracing::warn!(message, id, "a stray container could not be removed");
            is_clean = false;
        }
    }
    for uid in gone {
        tracing::info!(uid, "removing what is left of a Pod");
        if let Err(message) = remove_sandbox(hands, &uid).await {
            tracing::warn!(message, uid, "what is left of a Pod could not be removed");
            is_clean = false;
        }
    }
    if is_clean {
        hands.fencing.settled();
    }
    if let Err(error) = hands.runtime.remove_leftovers().await {
        tracing::warn!(%error, "leftovers in containerd could not be removed");
    }
}

/// The exit of a container, with what it left to be read.
pub(super) async fn exit(hands: &Hands, pod: &Pod, run: &ContainerRef, exit: Exit) -> Exit {
    hands.open_logs.close(&hands.logs, &container_id(uid(pod), &run.name, run.attempt)).await;
    let message = termination_message(hands, pod, run, exit.code).await;
    Exit { message, ..exit }
}

pub(super) fn container<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    all.find(|container| container.name == name)
}

pub(super) fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

pub(super) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}

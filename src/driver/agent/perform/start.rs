//! Making and starting one container.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Hands, container, facts, log_file, log_link, sandbox, sources, termination_file, uid};
use crate::agent::environment::{self, EnvironmentError};
use crate::agent::pod::{ContainerRef, Input, StartFailure, container_id};
use crate::containerd::{CreateRequest, FindError, Image, RuntimeError, Stdio};
use crate::driver::agent::node::label;
use crate::driver::clock;
use crate::logs;
use crate::sandbox::Sandbox;

/// Why a container was not started.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) reason: StartFailure,
    pub(super) message: String,
}

fn failed(reason: StartFailure) -> impl Fn(&dyn std::fmt::Display) -> Failed {
    move |error| Failed { reason, message: error.to_string() }
}

pub(super) async fn mount_volumes(_hands: &Hands, _pod: &Pod) -> Result<(), String> {
    Ok(())
}

/// Makes and starts a run of a container; on failure nothing of it is left.
pub(super) async fn start(
    hands: &Hands,
    pod: &Arc<Pod>,
    run: &ContainerRef,
    image_id: &str,
    ips: Vec<String>,
) -> Result<Input, Failed> {
    let unmade = failed(StartFailure::CreateContainerError);
    let misconfigured = failed(StartFailure::CreateContainerConfigError);
    let Some(container) = container(pod, &run.name) else {
        return Err(unmade(&"the Pod has no such container"));
    };
    let reference = container.image.clone().unwrap_or_default();
    let image = hands.runtime.find_image(&reference).await.map_err(|error| unmade(&error))?;
    let Some(image) = image else { return Err(unmade(&format!("image {reference:?} is gone"))) };
    let sandbox = sandbox(hands, pod).await.map_err(|error| unmade(&error))?;
    let sources = sources(hands, pod).await;
    let facts = facts(hands, ips, sandbox.host_name.clone());
    let env = image.config.env.clone();
    let environment = environment::environment(pod, container, &env, &sources, &facts)
        .map_err(|error| misconfigured(&error))?;
    let args = environment::command(container, &image.config.entrypoint, &image.config.cmd, &environment);
    let id = container_id(uid(pod), &run.name, run.attempt);
    let spec: oci_spec::runtime::Spec = {
        use oci_spec::runtime::*;
        let mut spec = Spec::default();
        let mut process = Process::default();
        process.set_args(Some(args));
        process.set_env(Some(environment.variables.iter().map(|(k, v)| format!("{k}={v}")).collect()));
        process.set_terminal(Some(false));
        process.set_cwd("/".into());
        process.set_rlimits(None);
        spec.set_process(Some(process));
        let mut linux = Linux::default();
        linux.set_cgroups_path(Some(sandbox.cgroup.runtime_path(&id).into()));
        let mut namespaces = vec![
            LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Mount).build().expect("b"),
            LinuxNamespaceBuilder::default().typ(LinuxNamespaceType::Pid).build().expect("b"),
        ];
        for (typ, path) in [
            (LinuxNamespaceType::Network, &sandbox.namespaces.net),
            (LinuxNamespaceType::Ipc, &sandbox.namespaces.ipc),
            (LinuxNamespaceType::Uts, &sandbox.namespaces.uts),
        ] {
            if let Some(path) = path {
                namespaces.push(LinuxNamespaceBuilder::default().typ(typ).path(path).build().expect("b"));
            }
        }
        linux.set_namespaces(Some(namespaces));
        linux.set_seccomp(None);
        spec.set_linux(Some(linux));
        spec.set_hostname(None);
        let mut root = Root::default();
        root.set_path("rootfs".into());
        root.set_readonly(Some(false));
        spec.set_root(Some(root));
        let mounts = spec
            .mounts()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .filter(|m| {
                m.destination().to_str() != Some("/sys/fs/cgroup") && m.destination().to_str() != Some("/sys")
            })
            .collect();
        spec.set_mounts(Some(mounts));
        spec
    };
    let wanted = logs::client::Wanted {
        id: id.clone(),
        terminal: false,
        log: log_file(hands, pod, run),
        link: Some(log_link(hands, pod, run)),
        rotation: logs::Rotation::default(),
    };
    let fifos = hands.logs.open(wanted).await.map_err(|error| unmade(&error))?;
    hands.open_logs.opened(&id);
    let request = CreateRequest {
        id: id.clone(),
        labels: labels(pod, run, &reference, image_id),
        image,
        spec,
        pod_uid: uid(pod).to_owned(),
        systemd_cgroup: false,
    };
    let created = hands.runtime.create(&request).await.map_err(|error| unmade(&error))?;
    let started_at = clock::wall();
    let stdio = Stdio { stdout: Some(fifos.stdout), stderr: fifos.stderr, ..Stdio::default() };
    match hands.runtime.start(&created, &stdio, started_at).await {
        Ok(pid) => Ok(Input::ContainerStarted { run: run.clone(), id, pid, started_at }),
        Err(error) => {
            let _ = super::remove_container(hands, &id).await;
            Err(failed(StartFailure::RunContainerError)(&error))
        }
    }
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

//! What the agent may rely on, made from what the user typed: valid by construction.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Taint;
use serde_json::json;

use crate::agent::pressure::Thresholds;
use crate::api::names;
use crate::cli::NodeFlags;
use crate::lease::fence::FenceLevel;
use crate::lease::timings::{SessionConfig, SessionTimings};

/// An agent's configuration.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Name of the Node, a DNS-1123 subdomain.
    pub(super) node_name: String,
    /// Addresses, the preferred first; never empty.
    pub(super) node_ips: Vec<IpAddr>,
    /// Where the node's endpoint listens.
    pub(super) node_listen: SocketAddr,
    /// Labels by flag, valid.
    pub(super) labels: BTreeMap<String, String>,
    /// Taints by flag, valid.
    pub(super) taints: Vec<Taint>,
    /// Most Pods.
    pub(super) pods_max: u32,
    /// containerd's socket.
    pub(super) containerd_address: PathBuf,
    /// containerd's namespace.
    pub(super) containerd_namespace: String,
    /// Mirrors and authorities of registries.
    pub(super) registry_config_dir: PathBuf,
    /// Where facts are read.
    pub(super) sysroot: PathBuf,
    /// `R`: pinned namespaces, FIFOs, sockets.
    pub(super) runtime_dir: PathBuf,
    /// Holds `pods` and `containers`.
    pub(super) log_dir: PathBuf,
    /// CNI configuration.
    pub(super) cni_conf_dir: PathBuf,
    /// CNI plugins.
    pub(super) cni_bin_dirs: Vec<PathBuf>,
    /// State.
    pub(super) data_dir: PathBuf,
    /// When the machine is short of something.
    pub(super) pressure_thresholds: Thresholds,
    /// Where Pods reach the API, if it is not where the agent does.
    pub(super) service_address: Option<(String, u16)>,
    /// Lease rules.
    pub(super) session: SessionConfig,
    /// What is promised of Pods with an identity.
    pub(super) fence: FenceLevel,
    /// Where the guard resets the machine.
    pub(super) reset_trigger: PathBuf,
}

/// Runtime directory for a containerd namespace, where none is given.
pub fn runtime_dir(given: Option<&Path>, containerd_namespace: &str) -> PathBuf {
    given.map_or_else(|| Path::new("/run/leasehold").join(containerd_namespace), Path::to_owned)
}

impl AgentConfig {
    /// Checks the flags; each error names its flag and what was expected.
    pub fn new(flags: &NodeFlags, data_dir: &Path) -> anyhow::Result<Self> {
        let node_name = match &flags.node_name {
            Some(name) => name.clone(),
            None => host_name()?,
        };
        if let Some(why) = names::dns1123_subdomain(&node_name).first() {
            bail!("--node-name {node_name:?}: {why}");
        }
        let node_ips = match flags.node_ip {
            Some(ip) => vec![ip],
            // Where the node's endpoint listens is where the coordinator finds it.
            None if !flags.node_listen.ip().is_unspecified() => vec![flags.node_listen.ip()],
            None => vec![default_route_address()],
        };
        let absolute = |flag: &str, path: &Path| {
            std::path::absolute(path).with_context(|| format!("--{flag} {}", path.display()))
        };
        Ok(Self {
            node_ips,
            node_listen: flags.node_listen,
            labels: labels(&flags.node_labels)?,
            taints: flags.register_with_taints.iter().map(|text| taint(text)).collect::<Result<_, _>>()?,
            pods_max: flags.max_pods,
            containerd_address: absolute("containerd-address", &flags.containerd.containerd_address)?,
            containerd_namespace: flags.containerd.containerd_namespace.clone(),
            registry_config_dir: absolute("registry-config-dir", &flags.containerd.registry_config_dir)?,
            sysroot: existing("sysroot", absolute("sysroot", &flags.sysroot)?)?,
            runtime_dir: absolute(
                "runtime-dir",
                &runtime_dir(flags.runtime_dir.as_deref(), &flags.containerd.containerd_namespace),
            )?,
            log_dir: absolute("log-dir", &flags.log_dir)?,
            cni_conf_dir: absolute("cni-conf-dir", &flags.cni_conf_dir)?,
            cni_bin_dirs: flags.cni_bin_dir.clone(),
            data_dir: absolute("data-dir", data_dir)?,
            pressure_thresholds: flags.pressure_thresholds.parse().context("--pressure-thresholds")?,
            session: SessionTimings::of_duration(Duration::from_secs(flags.session_duration.into()))
                .check()
                .with_context(|| format!("--session-duration {}", flags.session_duration))?,
            fence: flags.fence,
            reset_trigger: flags.reset_trigger.clone(),
            service_address: flags.service_address.as_deref().map(service_address).transpose()?,
            node_name,
        })
    }
}

/// `HOST:PORT`, IPv6 in brackets.
fn service_address(text: &str) -> anyhow::Result<(String, u16)> {
    let expected = || format!("--service-address {text:?}: expected HOST:PORT");
    let (host, port) = text.rsplit_once(':').with_context(expected)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || (host.parse::<IpAddr>().is_err() && !names::dns1123_subdomain(host).is_empty()) {
        bail!(expected());
    }
    Ok((host.to_owned(), port.parse().with_context(expected)?))
}

fn existing(flag: &str, path: PathBuf) -> anyhow::Result<PathBuf> {
    if path.is_dir() { Ok(path) } else { bail!("--{flag} {}: no such directory", path.display()) }
}

fn host_name() -> anyhow::Result<String> {
    let name = nix::unistd::gethostname().context("reading the host name; give --node-name")?;
    Ok(name.to_string_lossy().trim().to_lowercase())
}

/// The local address of the default route; no packet is sent. Loopback when there is no route.
fn default_route_address() -> IpAddr {
    let through = |local: &str, remote: &str| -> Option<IpAddr> {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
    };
    // Addresses of the documentation ranges stand for "anywhere".
    through("0.0.0.0:0", "192.0.2.1:9")
        .or_else(|| through("[::]:0", "[2001:db8::1]:9"))
        .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST))
}

fn labels(pairs: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for pair in pairs.iter().filter(|pair| !pair.is_empty()) {
        let Some((key, value)) = pair.split_once('=') else {
            bail!("--node-labels {pair:?}: expected KEY=VALUE");
        };
        if let Some(why) = names::qualified_name(key).first().or(names::label_value(value).first()) {
            bail!("--node-labels {pair:?}: {why}");
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

/// `key[=value]:Effect`
fn taint(text: &str) -> anyhow::Result<Taint> {
    let expected = || {
        format!("--register-with-taints {text:?}: expected KEY[=VALUE]:NoSchedule|PreferNoSchedule|NoExecute")
    };
    let (pair, effect) = text.rsplit_once(':').with_context(expected)?;
    let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value)));
    let valid = ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect)
        && names::qualified_name(key).is_empty()
        && value.is_none_or(|value| names::label_value(value).is_empty());
    if !valid {
        bail!(expected());
    }
    serde_json::from_value(json!({ "key": key, "value": value, "effect": effect })).with_context(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_and_labels_are_read_as_people_write_them() {
        let taint_read = taint("nvidia.com/gpu=present:NoSchedule").expect("valid");
        assert_eq!((taint_read.key.as_str(), taint_read.effect.as_str()), ("nvidia.com/gpu", "NoSchedule"));
        assert_eq!(taint("dedicated:NoExecute").expect("valid").value, None);
        assert_eq!(labels(&["a/b=c".into()]).expect("valid")["a/b"], "c");
    }

    #[test]
    fn a_service_address_is_a_host_and_a_port() {
        for (text, host) in
            [("10.0.0.1:6443", "10.0.0.1"), ("[fd00::1]:6443", "fd00::1"), ("api.x:6443", "api.x")]
        {
            assert_eq!(service_address(text).expect("valid"), (host.to_owned(), 6443));
        }
        for text in ["10.0.0.1", ":6443", "a b:1", "x:99999", "fd00::1:x"] {
            let error = service_address(text).expect_err("invalid").to_string();
            assert!(error.contains("--service-address") && error.contains("HOST:PORT"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_flag() {
        for text in ["gpu", "gpu:Never", "-x:NoSchedule"] {
            let error = taint(text).expect_err("invalid").to_string();
            assert!(error.contains("--register-with-taints") && error.contains("NoSchedule"), "{error}");
        }
        let error = labels(&["a".into()]).expect_err("no value").to_string();
        assert!(error.contains("--node-labels") && error.contains("KEY=VALUE"), "{error}");
    }
}

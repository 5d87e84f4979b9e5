//! What a Pod takes of a node: resources, one Pod, host ports.

use std::fmt;

use k8s_openapi::api::core::v1::{Container, PodSpec};

use crate::api::pod_resources::{self, Resources};
use crate::api::quantity::Quantity;

/// A port of the host that a container asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Address; empty, `0.0.0.0` and `::` stand for all.
    pub ip: String,
    /// 1 to 65535.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one host.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |ip: &str| matches!(ip, "" | "0.0.0.0" | "::");
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.ip) || any(&other.ip) || self.ip == other.ip)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip.as_str() {
            "" => write!(f, "{}/{}", self.port, self.protocol),
            ip if ip.contains(':') => write!(f, "[{ip}]:{}/{}", self.port, self.protocol),
            ip => write!(f, "{ip}:{}/{}", self.port, self.protocol),
        }
    }
}

/// What a Pod takes of a node while it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    pub(super) resources: Resources,
    pub(super) ports: Vec<HostPort>,
}

impl Demand {
    /// What a Pod of this spec, with its defaults, takes.
    pub fn of(spec: &PodSpec) -> Self {
        Self { resources: pod_resources::spec_requests(spec), ports: host_ports(spec) }
    }

    /// What it takes of one resource.
    pub fn resource(&self, name: &str) -> Quantity {
        self.resources.get(name).copied().unwrap_or(Quantity::ZERO)
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Host ports of all containers that run beside each other. On the host's network every port is one of the host.
fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let host_network = spec.host_network == Some(true);
    let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let own = port.host_port.filter(|port| *port > 0);
            Some(HostPort {
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                ip: port.host_ip.clone().unwrap_or_default(),
                port: own.or_else(|| host_network.then_some(port.container_port))?,
            })
        })
        .collect()
}

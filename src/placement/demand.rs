//! What a Pod takes of a node: resources by upstream's rule, one Pod, host ports.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::api::quantity::Quantity;
use crate::placement::Reason;

/// Amounts by resource name.
pub(super) type Amounts = BTreeMap<String, Quantity>;

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
    pub(super) resources: Amounts,
    pub(super) ports: Vec<HostPort>,
}

impl Demand {
    /// What a Pod of this spec takes:
    /// the sum of its containers and sidecars, or what the hungriest init container takes together with the sidecars
    /// started before it, whichever is more, resource by resource; amounts of the Pod itself (cpu, memory, huge
    /// pages) stand instead of those sums; the overhead comes on top.
    pub fn of(spec: &PodSpec) -> Result<Self, Reason> {
        let mut resources = containers(spec)?;
        for (name, amount) in requests(spec.resources.as_ref())? {
            if name == "cpu" || name == "memory" || name.starts_with("hugepages-") {
                resources.insert(name, amount);
            }
        }
        add(&mut resources, &amounts(spec.overhead.as_ref())?);
        Ok(Self { resources, ports: host_ports(spec) })
    }

    /// What it takes of one resource.
    pub fn resource(&self, name: &str) -> Quantity {
        self.resources.get(name).copied().unwrap_or(Quantity::ZERO)
    }
}

fn containers(spec: &PodSpec) -> Result<Amounts, Reason> {
    let mut sum = Amounts::new();
    for container in &spec.containers {
        add(&mut sum, &requests(container.resources.as_ref())?);
    }
    let mut sidecars = Amounts::new();
    let mut peak = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        let own = requests(container.resources.as_ref())?;
        if is_sidecar(container) {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            let mut during = sidecars.clone();
            add(&mut during, &own);
            raise(&mut peak, &during);
        }
    }
    raise(&mut sum, &peak);
    Ok(sum)
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// The requests, and the limit where only that is given: the API fills it in for Pods, but not for templates.
fn requests(resources: Option<&ResourceRequirements>) -> Result<Amounts, Reason> {
    let Some(resources) = resources else { return Ok(Amounts::new()) };
    let mut found = amounts(resources.limits.as_ref())?;
    found.extend(amounts(resources.requests.as_ref())?);
    Ok(found)
}

pub(super) fn amounts(texts: Option<&BTreeMap<String, Text>>) -> Result<Amounts, Reason> {
    let read = |(name, Text(text)): (&String, &Text)| match Quantity::parse(text) {
        Ok(amount) => Ok((name.clone(), amount)),
        Err(_) => Err(Reason::UnreadableQuantity { resource: name.clone(), text: text.clone() }),
    };
    texts.into_iter().flatten().map(read).collect()
}

pub(super) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = sum.entry(name.clone()).or_insert(Quantity::ZERO);
        *sum = *sum + *amount;
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        let most = most.entry(name.clone()).or_insert(Quantity::ZERO);
        *most = (*most).max(*amount);
    }
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

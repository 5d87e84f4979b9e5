//! Pod networks by the Container Network Interface: the host's own configuration and plugins, executed here.
//!
//! What was asked of the plugins is on disk before they are asked ([`Record`]), and their answer after it: so a Pod can
//! be detached with the very configuration it was attached with, also by a later agent, also when that configuration
//! has gone, and a crash between the two leaves nothing attached unseen.

mod config;
mod plugin;
mod watch;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use config::{NetworkList, VERSIONS, first_usable};
use plugin::{Call, Verb};
pub use watch::ConfigurationWatch;

/// The Pod's side of its network, as every runtime calls it.
pub const INTERFACE: &str = "eth0";

/// Why a Pod has no network, or cannot give it back.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// The node has no usable configuration: Pods wait until one appears.
    #[error(
        "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady \
         message:Network plugin returns error: cni config uninitialized: {detail}"
    )]
    NotReady {
        /// What was looked for, and what was wrong with what was found.
        detail: String,
    },
    /// A configuration file that cannot be used.
    #[error("{}: {problem}", file.display())]
    Configuration {
        /// The file.
        file: PathBuf,
        /// The field, and what was expected.
        problem: String,
    },
    /// A plugin refused; the same request may succeed later.
    #[error("plugin type={plugin:?} failed ({verb}): {message}")]
    Plugin {
        /// The plugin's type.
        plugin: String,
        /// `add`, `del` or `check`.
        verb: String,
        /// Its own words.
        message: String,
    },
    /// The executable of a plugin is nowhere.
    #[error("plugin type={plugin:?} failed ({verb}): failed to find plugin {plugin:?} in path {dirs:?}")]
    NoSuchPlugin {
        /// The plugin's type.
        plugin: String,
        /// `add`, `del` or `check`.
        verb: String,
        /// Where it was looked for.
        dirs: Vec<PathBuf>,
    },
    /// The record of an attachment could not be read or written.
    #[error("{}: {source}", file.display())]
    Record {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where this node's CNI configuration and plugins are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cni {
    /// Configuration files; the first usable one counts.
    pub config_dir: PathBuf,
    /// Plugins, searched in order.
    pub bin_dirs: Vec<PathBuf>,
}

impl Default for Cni {
    /// The places of upstream, then that of Debian's package.
    fn default() -> Self {
        Self {
            config_dir: PathBuf::from("/etc/cni/net.d"),
            bin_dirs: vec![PathBuf::from("/opt/cni/bin"), PathBuf::from("/usr/lib/cni")],
        }
    }
}

/// One attachment of a Pod, as it is kept on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    list: NetworkList,
    container_id: String,
    netns: PathBuf,
    arguments: String,
    /// Values for the capabilities that plugins may ask for.
    capabilities: Map<String, Value>,
    /// The last plugin's answer to `ADD`; none while it is not known.
    result: Option<Value>,
}

impl Cni {
    /// The configuration that new Pods are attached with.
    pub fn network(&self) -> Result<NetworkList, CniError> {
        first_usable(&self.config_dir)
    }

    /// Attaches the Pod's namespace and returns its addresses, IPv4 before IPv6.
    ///
    /// `fresh`: the namespace is new, so that what `record` tells of an earlier one is given back first. Otherwise a
    /// finished attachment is only read back.
    pub async fn attach(
        &self,
        pod: &Pod,
        netns: &Path,
        record: &Path,
        fresh: bool,
    ) -> Result<Vec<String>, CniError> {
        match read_record(record)? {
            Some(Record { result: Some(result), .. }) if !fresh => return Ok(addresses(&result)),
            Some(_) => self.detach(record).await?,
            None => {}
        }
        let mut attachment = Record {
            list: self.network()?,
            container_id: pod.metadata.uid.clone().unwrap_or_default(),
            netns: netns.to_owned(),
            arguments: arguments(pod),
            capabilities: capabilities(pod),
            result: None,
        };
        write_record(record, &attachment)?;
        match self.add(&attachment).await {
            Ok(result) => {
                let ips = addresses(&result);
                attachment.result = Some(result);
                write_record(record, &attachment)?;
                Ok(ips)
            }
            Err(error) => {
                if let Err(also) = self.detach(record).await {
                    tracing::warn!(error = %also, "a failed attachment could not be taken back; it is tried again");
                }
                Err(error)
            }
        }
    }

    /// Gives back what `record` tells of, and the record with it. Idempotent.
    ///
    /// Every plugin is asked, whatever the others say; the record stays while one of them refuses. A plugin that is
    /// not there counts only where the attachment was once whole: otherwise it has made nothing.
    pub async fn detach(&self, record: &Path) -> Result<(), CniError> {
        let Some(attachment) = read_record(record)? else { return Ok(()) };
        // Before 0.4.0 DEL knows no earlier result.
        let earlier = attachment.result.clone().filter(|_| attachment.list.speaks("0.4.0"));
        let mut refusal = None;
        for plugin in attachment.list.plugins.iter().rev() {
            match self.ask(Verb::Del, &attachment, plugin, earlier.clone()).await {
                Err(CniError::NoSuchPlugin { .. }) if attachment.result.is_none() => {}
                Err(error) => refusal = refusal.or(Some(error)),
                Ok(_) => {}
            }
        }
        match refusal {
            Some(error) => Err(error),
            None => {
                fs::remove_file(record).map_err(|source| CniError::Record { file: record.to_owned(), source })
            }
        }
    }

    /// Asks the plugins whether the attachment is still as they made it. Networks that cannot tell count as well.
    pub async fn check(&self, record: &Path) -> Result<(), CniError> {
        let Some(attachment) = read_record(record)? else { return Ok(()) };
        if attachment.list.disable_check || !attachment.list.speaks("0.4.0") {
            return Ok(());
        }
        for plugin in &attachment.list.plugins {
            self.ask(Verb::Check, &attachment, plugin, attachment.result.clone()).await?;
        }
        Ok(())
    }

    async fn add(&self, attachment: &Record) -> Result<Value, CniError> {
        let mut result = None;
        for plugin in &attachment.list.plugins {
            result = Some(self.ask(Verb::Add, attachment, plugin, result).await?);
        }
        Ok(result.unwrap_or(Value::Null))
    }

    async fn ask(
        &self,
        verb: Verb,
        attachment: &Record,
        plugin: &Map<String, Value>,
        earlier: Option<Value>,
    ) -> Result<Value, CniError> {
        let call = Call {
            verb,
            container_id: &attachment.container_id,
            netns: &attachment.netns,
            interface: INTERFACE,
            arguments: &attachment.arguments,
            bin_dirs: &self.bin_dirs,
        };
        let name = config::plugin_type(plugin).unwrap_or_default();
        plugin::run(&call, name, &execution_config(attachment, plugin, earlier)).await
    }
}

/// What a plugin reads: its own configuration, the list's name and version, the capabilities it asks for, and the
/// result so far.
fn execution_config(
    attachment: &Record,
    plugin: &Map<String, Value>,
    earlier: Option<Value>,
) -> Map<String, Value> {
    let mut config = plugin.clone();
    config.insert("name".to_owned(), attachment.list.name.clone().into());
    config.insert("cniVersion".to_owned(), attachment.list.version.clone().into());
    let asks = config.remove("capabilities");
    let asked = |name: &String| asks.as_ref().and_then(|asks| asks.get(name)) == Some(&Value::Bool(true));
    let granted: Map<String, Value> =
        attachment.capabilities.clone().into_iter().filter(|(name, _)| asked(name)).collect();
    if !granted.is_empty() {
        config.insert("runtimeConfig".to_owned(), granted.into());
    }
    config.extend(earlier.map(|result| ("prevResult".to_owned(), result)));
    config
}

/// The arguments that plugins know Pods by, as all Kubernetes runtimes pass them.
fn arguments(pod: &Pod) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (namespace, name) = (text(&pod.metadata.namespace), text(&pod.metadata.name));
    let uid = text(&pod.metadata.uid);
    format!(
        "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};\
         K8S_POD_INFRA_CONTAINER_ID={uid};K8S_POD_UID={uid}"
    )
}

fn capabilities(pod: &Pod) -> Map<String, Value> {
    let mut values = Map::new();
    let ports = host_ports(pod);
    if !ports.is_empty() {
        values.insert("portMappings".to_owned(), ports.into());
    }
    values
}

/// The host ports of all containers.
fn host_ports(pod: &Pod) -> Vec<Value> {
    let containers = pod.spec.iter().flat_map(crate::api::pod_resources::containers);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    let mapping = |port: &k8s_openapi::api::core::v1::ContainerPort| {
        Some(json!({
            "hostPort": port.host_port.filter(|port| *port > 0)?,
            "containerPort": port.container_port,
            "protocol": port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
            "hostIP": port.host_ip.clone().unwrap_or_default(),
        }))
    };
    ports.filter_map(mapping).collect()
}

/// The addresses of the Pod's side, without prefix lengths, IPv4 before IPv6.
fn addresses(result: &Value) -> Vec<String> {
    let interfaces = result.get("interfaces").and_then(Value::as_array);
    let is_inside = |index: u64| {
        let interface = interfaces.and_then(|list| list.get(index as usize));
        interface.is_none_or(|it| it.get("sandbox").and_then(Value::as_str).is_some_and(|s| !s.is_empty()))
    };
    let listed = result.get("ips").and_then(Value::as_array).into_iter().flatten();
    let mut found: Vec<IpAddr> = listed
        .filter(|ip| ip.get("interface").and_then(Value::as_u64).is_none_or(is_inside))
        .filter_map(|ip| ip.get("address")?.as_str()?.split('/').next()?.parse().ok())
        .collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found.iter().map(IpAddr::to_string).collect()
}

fn read_record(path: &Path) -> Result<Option<Record>, CniError> {
    let failed = |source| CniError::Record { file: path.to_owned(), source };
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| failed(io::Error::other(e))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Replaces the record whole: a crash or a power loss leaves the old one or the new one.
fn write_record(path: &Path, record: &Record) -> Result<(), CniError> {
    let failed = |source| CniError::Record { file: path.to_owned(), source };
    let bytes = serde_json::to_vec(record).map_err(|e| failed(io::Error::other(e)))?;
    let new = path.with_extension("new");
    fs::File::create(&new)
        .and_then(|mut file| io::Write::write_all(&mut file, &bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&new, path))
        .map_err(failed)
}

#[cfg(test)]
mod tests;

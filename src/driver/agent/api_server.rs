//! Where this node's Pods reach the Kubernetes API: what `KUBERNETES_SERVICE_HOST` and its like say.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Pod;

use super::config::AgentConfig;
use crate::client::Connection;

/// Port of an `https` URL that names none.
const HTTPS_PORT: u16 = 443;

/// Host and port of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiServer {
    host: String,
    port: u16,
    /// What stands for loopback where a Pod has a loopback of its own.
    node_ip: Option<IpAddr>,
}

impl ApiServer {
    /// As `--service-address` says, or as the agent itself reaches the coordinator.
    pub(super) fn new(config: &AgentConfig, connection: &Connection) -> Self {
        let url = connection.url();
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let (host, port) =
            config.service_address.clone().unwrap_or_else(|| (host, url.port_u16().unwrap_or(HTTPS_PORT)));
        Self { host, port, node_ip: config.node_ips.first().copied() }
    }

    /// As this Pod reaches it. With a network of its own the Pod cannot use the machine's loopback; there the node's
    /// address is named, on which the coordinator has to listen as well.
    pub(super) fn for_pod(&self, pod: &Pod) -> (String, u16) {
        let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
        let is_loopback =
            self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let host = match self.node_ip {
            Some(ip) if is_loopback && !on_host => ip.to_string(),
            Some(_) | None => self.host.clone(),
        };
        (host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_no_use_to_a_pod_with_a_network_of_its_own() {
        let pod = |on_host: bool| -> Pod {
            let spec = serde_json::json!({ "containers": [], "hostNetwork": on_host });
            serde_json::from_value(serde_json::json!({ "spec": spec })).expect("a Pod")
        };
        let server = |host: &str| ApiServer {
            host: host.into(),
            port: 6443,
            node_ip: Some("192.0.2.7".parse().expect("an address")),
        };
        let cases = [
            ("127.0.0.1", true, "127.0.0.1"),
            ("127.0.0.1", false, "192.0.2.7"),
            ("localhost", false, "192.0.2.7"),
            ("::1", false, "192.0.2.7"),
            ("198.51.100.1", false, "198.51.100.1"),
            ("api.example.org", true, "api.example.org"),
        ];
        for (host, on_host, expected) in cases {
            assert_eq!(server(host).for_pod(&pod(on_host)), (expected.to_owned(), 6443), "{host} {on_host}");
        }
    }
}

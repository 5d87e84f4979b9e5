//! A Pod's `resolv.conf`: `dnsPolicy` and `dnsConfig` over the node's own resolver, as the kubelet merges them. PURE.

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig, PodDNSConfigOption};

/// Most name servers, as upstream (and glibc's `MAXNS`).
const NAMESERVERS: usize = 3;
/// Most search domains, as upstream.
const SEARCHES: usize = 32;
/// Most bytes of all search domains joined, as upstream.
const SEARCH_BYTES: usize = 2048;
/// Longest search domain; glibc aborts on longer ones.
const SEARCH_DOMAIN_BYTES: usize = 253;

/// The contents of a `resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Addresses, in the order they are asked.
    pub nameservers: Vec<String>,
    /// Domains that short names are tried in.
    pub searches: Vec<String>,
    /// E.g. `ndots:5`.
    pub options: Vec<String>,
}

/// The cluster's DNS service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterDns {
    /// Its addresses; none: Pods fall back to the node's resolver.
    pub nameservers: Vec<String>,
    /// E.g. `cluster.local`; may be empty.
    pub domain: String,
}

/// A Pod's resolver and what its user should hear about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodResolver {
    /// The file's content.
    pub resolver: Resolver,
    /// Warnings: (event reason, message).
    pub warnings: Vec<(&'static str, String)>,
}

impl Resolver {
    /// Reads a `resolv.conf`: name servers add up, the last `search` and `options` line count.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => found.nameservers.extend(words.next().map(str::to_owned)),
                Some("search") => found.searches = words.map(|w| without_final_dot(w).to_owned()).collect(),
                Some("options") => found.options = words.map(str::to_owned).collect(),
                Some(_) | None => {}
            }
        }
        found
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let search = (!self.searches.is_empty()).then(|| format!("search {}\n", self.searches.join(" ")));
        let servers = self.nameservers.iter().map(|server| format!("nameserver {server}\n"));
        let options = (!self.options.is_empty()).then(|| format!("options {}\n", self.options.join(" ")));
        search.into_iter().chain(servers).chain(options).collect()
    }

    fn merge(&mut self, own: &PodDNSConfig) {
        extend_unique(&mut self.nameservers, own.nameservers.iter().flatten());
        extend_unique(&mut self.searches, own.searches.iter().flatten());
        for option in own.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            self.options.retain(|had| had.split(':').next() != Some(name));
            self.options.push(option_text(name, option));
        }
    }
}

/// What the Pod resolves names with, given the `node`'s own resolver.
pub fn resolver(pod: &Pod, node: &Resolver, cluster: &ClusterDns) -> PodResolver {
    let spec = pod.spec.as_ref();
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let mut made = match policy {
        "None" => PodResolver::default(),
        "Default" => PodResolver { resolver: node.clone(), warnings: Vec::new() },
        "ClusterFirst" if host_network => PodResolver { resolver: node.clone(), warnings: Vec::new() },
        _cluster_first => cluster_first(pod, node, cluster),
    };
    if let Some(own) = spec.and_then(|spec| spec.dns_config.as_ref()) {
        made.resolver.merge(own);
    }
    fit(&mut made);
    made
}

fn cluster_first(pod: &Pod, node: &Resolver, cluster: &ClusterDns) -> PodResolver {
    if cluster.nameservers.is_empty() {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let message = format!(
            "pod: \"{name}_{namespace}({uid})\". the node has no cluster DNS address configured and cannot create \
             Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy."
        );
        return PodResolver { resolver: node.clone(), warnings: vec![("MissingClusterDNS", message)] };
    }
    let mut searches = Vec::new();
    if !cluster.domain.is_empty() {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let domain = &cluster.domain;
        searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    }
    extend_unique(&mut searches, node.searches.iter());
    let nameservers = cluster.nameservers.clone();
    PodResolver {
        resolver: Resolver { nameservers, searches, options: vec!["ndots:5".to_owned()] },
        warnings: Vec::new(),
    }
}

/// Cuts to what resolvers take, and says so.
fn fit(made: &mut PodResolver) {
    let Resolver { nameservers, searches, .. } = &mut made.resolver;
    if nameservers.len() > NAMESERVERS {
        nameservers.truncate(NAMESERVERS);
        let message = format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            nameservers.join(" ")
        );
        made.warnings.push(("DNSConfigForming", message));
    }
    let before = searches.len();
    searches.truncate(SEARCHES);
    searches.retain(|domain| domain.len() <= SEARCH_DOMAIN_BYTES);
    while searches.join(" ").len() > SEARCH_BYTES {
        searches.pop();
    }
    if searches.len() < before {
        let message = format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            searches.join(" ")
        );
        made.warnings.push(("DNSConfigForming", message));
    }
}

fn option_text(name: &str, option: &PodDNSConfigOption) -> String {
    match option.value.as_deref() {
        Some(value) if !value.is_empty() => format!("{name}:{value}"),
        Some(_) | None => name.to_owned(),
    }
}

fn without_final_dot(domain: &str) -> &str {
    // "." alone means: search nowhere.
    if domain == "." { domain } else { domain.strip_suffix('.').unwrap_or(domain) }
}

fn extend_unique<'a>(list: &mut Vec<String>, more: impl Iterator<Item = &'a String>) {
    for item in more {
        if !list.contains(item) {
            list.push(item.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: &str = "# made by hand\nnameserver 192.0.2.1\nsearch old.example\nnameserver 192.0.2.2\nsearch lab.example.\noptions timeout:2 rotate\n";

    fn pod(spec: serde_json::Value) -> Pod {
        let mut spec = spec;
        spec["containers"] = serde_json::json!([]);
        serde_json::from_value(
            serde_json::json!({"metadata": {"name": "p", "namespace": "shop", "uid": "u"}, "spec": spec}),
        )
        .unwrap()
    }

    fn cluster() -> ClusterDns {
        ClusterDns { nameservers: vec!["10.96.0.10".to_owned()], domain: "cluster.local".to_owned() }
    }

    fn text(spec: serde_json::Value, cluster: &ClusterDns) -> String {
        resolver(&pod(spec), &Resolver::parse(NODE), cluster).resolver.to_text()
    }

    #[test]
    fn the_default_policy_is_the_nodes_resolver() {
        let node =
            "search lab.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\noptions timeout:2 rotate\n";
        assert_eq!(text(serde_json::json!({"dnsPolicy": "Default"}), &cluster()), node);
        assert_eq!(
            text(serde_json::json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), &cluster()),
            node
        );
    }

    #[test]
    fn cluster_first_asks_the_cluster_and_searches_it_before_the_node() {
        let expected = "search shop.svc.cluster.local svc.cluster.local cluster.local lab.example\n\
            nameserver 10.96.0.10\noptions ndots:5\n";
        assert_eq!(text(serde_json::json!({}), &cluster()), expected);
        let host = serde_json::json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true});
        assert_eq!(text(host, &cluster()), expected);
    }

    #[test]
    fn without_a_cluster_dns_the_pod_falls_back_to_the_node_and_is_told() {
        let made = resolver(&pod(serde_json::json!({})), &Resolver::parse(NODE), &ClusterDns::default());
        assert_eq!(made.resolver, Resolver::parse(NODE));
        assert_eq!(made.warnings[0].0, "MissingClusterDNS");
    }

    #[test]
    fn the_pods_own_config_is_merged_and_its_options_win() {
        let spec = serde_json::json!({"dnsPolicy": "Default", "dnsConfig": {
            "nameservers": ["192.0.2.2", "192.0.2.9"], "searches": ["x.example"],
            "options": [{"name": "timeout", "value": "9"}, {"name": "edns0"}]}});
        assert_eq!(
            text(spec, &cluster()),
            "search lab.example x.example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.9\n\
             options rotate timeout:9 edns0\n"
        );
    }

    #[test]
    fn policy_none_has_only_the_pods_own_config() {
        let spec = serde_json::json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.7"]}});
        assert_eq!(text(spec, &cluster()), "nameserver 192.0.2.7\n");
    }

    #[test]
    fn limits_are_kept_and_the_cut_is_told() {
        let servers: Vec<_> = (0..5).map(|i| format!("192.0.2.{i}")).collect();
        let searches: Vec<_> =
            (0..40).map(|i| format!("{i}.{}", "d".repeat(if i == 1 { 300 } else { 90 }))).collect();
        let spec = serde_json::json!({"dnsPolicy": "None",
            "dnsConfig": {"nameservers": servers, "searches": searches}});
        let made = resolver(&pod(spec), &Resolver::default(), &ClusterDns::default());
        assert_eq!(made.resolver.nameservers.len(), 3);
        assert!(made.resolver.searches.join(" ").len() <= SEARCH_BYTES);
        assert!(made.resolver.searches.len() > 20);
        assert_eq!(made.warnings.iter().filter(|w| w.0 == "DNSConfigForming").count(), 2);
    }
}

//! A Pod's `/etc/hosts`, with the kubelet's content. PURE.

use k8s_openapi::api::core::v1::HostAlias;

use super::host_name::HostName;

/// What stands in every `/etc/hosts` that is not the node's.
const LOCAL: &str = "\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// The file of a Pod with its own network: its addresses under its names, then the aliases.
pub fn managed(ips: &[String], name: &HostName, aliases: &[HostAlias]) -> String {
    let short = &name.short;
    let lines = ips.iter().map(|ip| match &name.domain {
        Some(domain) => format!("{ip}\t{short}.{domain}\t{short}\n"),
        None => format!("{ip}\t{short}\n"),
    });
    LOCAL.to_owned() + &lines.collect::<String>() + &alias_lines(aliases)
}

/// The file of a Pod on the node's network: the node's own, then the aliases.
pub fn of_node(node_hosts: &str, aliases: &[HostAlias]) -> String {
    format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}{}", alias_lines(aliases))
}

fn alias_lines(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let line = |alias: &HostAlias| {
        format!("{}\t{}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t"))
    };
    "\n# Entries added by HostAliases.\n".to_owned() + &aliases.iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alias() -> HostAlias {
        HostAlias {
            ip: "10.0.0.9".to_owned(),
            hostnames: Some(vec!["mirror".to_owned(), "mirror.local".to_owned()]),
        }
    }

    #[test]
    fn each_address_has_the_full_and_the_short_name() {
        let name = HostName {
            short: "db-0".to_owned(),
            domain: Some("db.shop.svc.cluster.local".to_owned()),
            kernel: "db-0".to_owned(),
        };
        let text = managed(&["10.1.0.2".to_owned(), "fd00::2".to_owned()], &name, &[alias()]);
        let tail = "fe00::2\tip6-allrouters\n\
            10.1.0.2\tdb-0.db.shop.svc.cluster.local\tdb-0\n\
            fd00::2\tdb-0.db.shop.svc.cluster.local\tdb-0\n\
            \n# Entries added by HostAliases.\n10.0.0.9\tmirror\tmirror.local\n";
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with(tail), "{text}");
    }

    #[test]
    fn on_the_nodes_network_the_nodes_file_stays_whole() {
        let text = of_node("127.0.0.1 localhost\n10.0.0.1 node-a\n", &[]);
        assert_eq!(
            text,
            "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n10.0.0.1 node-a\n"
        );
    }
}

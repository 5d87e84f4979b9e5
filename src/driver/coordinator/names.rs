//! The names and addresses that the endpoint's certificate answers to.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every certificate of the endpoint names: loopback, and the Service that Pods know it by.
const ALWAYS: [&str; 6] =
    ["127.0.0.1", "::1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];

/// All names of an endpoint that listens on `listen`; on the unspecified address it answers to all of the machine's.
pub(super) fn of_server(listen: IpAddr, extra: &[String]) -> Vec<String> {
    let mut names: Vec<String> = ALWAYS.iter().map(|&name| name.to_owned()).collect();
    names.push("kubernetes.default.svc.cluster.local".into());
    if listen.is_unspecified() {
        names.extend(local_addresses().iter().map(IpAddr::to_string));
    } else {
        names.push(listen.to_string());
    }
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    names.extend(host.filter(|name| is_dns_name(name)));
    names.extend(extra.iter().cloned());
    names.sort();
    names.dedup();
    names
}

/// Where others reach an endpoint that listens on `listen`: on the unspecified address, at the first of the machine's
/// that is not loopback.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut found = listen;
    if listen.ip().is_unspecified() {
        let all = local_addresses();
        let outward = all.iter().find(|ip| ip.is_ipv4() && !ip.is_loopback());
        let outward = outward.or_else(|| all.iter().find(|ip| !ip.is_loopback()));
        found.set_ip(outward.copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
    found
}

fn is_dns_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b))
}

/// Addresses of this machine's interfaces, as the kernel's tables name them. None where there is no /proc.
fn local_addresses() -> Vec<IpAddr> {
    let trie = fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let inet6 = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let mut found = in_fib_trie(&trie);
    found.extend(in_if_inet6(&inet6));
    found
}

/// `|-- ADDRESS` followed by `/32 host LOCAL`.
fn in_fib_trie(text: &str) -> Vec<IpAddr> {
    let mut last = None;
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<IpAddr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.filter(|address| !found.contains(address)));
        }
    }
    found
}

/// 32 hexadecimal digits, then index, prefix, scope, flags and name. Link-local ones are left out.
fn in_if_inet6(text: &str) -> Vec<IpAddr> {
    let digits = text.lines().filter_map(|line| line.split_whitespace().next());
    digits
        .filter_map(|digits| u128::from_str_radix(digits, 16).ok())
        .map(Ipv6Addr::from)
        .filter(|address| !address.is_unicast_link_local())
        .map(IpAddr::V6)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 10.0.0.0\n        \
                    /24 link UNICAST\n     |-- 10.0.0.7\n        /32 host LOCAL\nLocal:\n     |-- 10.0.0.7\n        \
                    /32 host LOCAL\n";
        assert_eq!(in_fib_trie(trie), ["127.0.0.1", "10.0.0.7"].map(|a| a.parse::<IpAddr>().unwrap()));
        let inet6 = "00000000000000000000000000000001 01 80 10 80 lo\n\
                     fe800000000000000000000000000001 02 40 20 80 eth0\n\
                     20010db8000000000000000000000007 02 40 00 80 eth0\n";
        assert_eq!(in_if_inet6(inet6), ["::1", "2001:db8::7"].map(|a| a.parse::<IpAddr>().unwrap()));
    }

    #[test]
    fn the_listen_address_and_the_services_names_are_there() {
        let names = of_server("192.0.2.9".parse().unwrap(), &["api.example.org".into()]);
        for name in ["192.0.2.9", "::1", "kubernetes.default.svc", "api.example.org"] {
            assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
        }
    }
}

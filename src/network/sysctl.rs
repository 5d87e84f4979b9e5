//! Kernel settings of a Pod's own namespaces: which there are, and how they are written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::namespaces::Kind;

/// One setting of a Pod's `securityContext.sysctls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    /// Name with `.` or `/` as separator, whichever comes first.
    pub name: String,
    /// Value as the kernel reads it.
    pub value: String,
}

/// A setting that the Pod may not make.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It belongs to the whole node.
    #[error("sysctl {name:?} is not namespaced: it would change the node")]
    NotNamespaced {
        /// The setting.
        name: String,
    },
    /// It is not in the safe set, and the node's owner has not allowed it.
    #[error("forbidden sysctl: {name:?} not allowlisted")]
    Forbidden {
        /// The setting.
        name: String,
    },
    /// Its namespace is the node's for this Pod.
    #[error("sysctl {name:?} not allowed: the Pod shares the node's {namespace} namespace")]
    Shared {
        /// The setting.
        name: String,
        /// `net` or `ipc`.
        namespace: &'static str,
    },
}

/// Settings that any Pod may make, as upstream's safe set of 1.36.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

impl Sysctl {
    /// The name with `.` as separator.
    pub fn dotted(&self) -> String {
        match self.name.find(['.', '/']) {
            Some(at) if self.name.as_bytes()[at] == b'/' => swap(&self.name),
            Some(_) | None => self.name.clone(),
        }
    }

    /// Whether any Pod may make this setting; the others need the node's owner to allow them.
    pub fn is_safe(&self) -> bool {
        SAFE.contains(&self.dotted().as_str())
    }

    /// The namespace that holds it, if any does.
    pub fn namespace(&self) -> Option<Kind> {
        let name = self.dotted();
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."];
        if name.starts_with("net.") {
            Some(Kind::Net)
        } else if name == "kernel.sem" || ipc.iter().any(|prefix| name.starts_with(prefix)) {
            Some(Kind::Ipc)
        } else {
            None
        }
    }

    /// Whether the node's owner allows it: names, or beginnings of names that end with `*`.
    fn is_allowed(&self, patterns: &[String]) -> bool {
        let name = self.dotted();
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == *pattern,
        };
        self.is_safe() || patterns.iter().any(matches)
    }

    fn path(&self) -> PathBuf {
        Path::new("/proc/sys").join(swap(&self.dotted()))
    }

    /// Writes it in the calling thread's namespaces.
    pub(super) fn write(&self) -> io::Result<()> {
        fs::write(self.path(), &self.value)
    }
}

/// Refuses settings that none of the Pod's `own` namespaces holds, or that are neither safe nor `allowed` here.
pub fn check(settings: &[Sysctl], own: &[Kind], allowed: &[String]) -> Result<(), Refused> {
    for setting in settings {
        let name = setting.name.clone();
        let path = swap(&setting.dotted());
        let climbs = path.split('/').any(|part| ["", ".", ".."].contains(&part));
        match setting.namespace() {
            Some(_) if climbs => return Err(Refused::NotNamespaced { name }),
            None => return Err(Refused::NotNamespaced { name }),
            Some(_) if !setting.is_allowed(allowed) => return Err(Refused::Forbidden { name }),
            Some(kind) if own.contains(&kind) => {}
            Some(kind) => return Err(Refused::Shared { name, namespace: kind.name() }),
        }
    }
    Ok(())
}

/// Exchanges the two separators.
fn swap(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '.' => '/',
            '/' => '.',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysctl(name: &str) -> Sysctl {
        Sysctl { name: name.to_owned(), value: "1".to_owned() }
    }

    #[test]
    fn either_separator_names_the_same_setting() {
        for name in ["net.ipv4.conf.eth0/5.arp", "net/ipv4/conf/eth0.5/arp"] {
            let path = sysctl(name).path();
            assert_eq!(path, Path::new("/proc/sys/net/ipv4/conf/eth0.5/arp"), "{name}");
        }
    }

    #[test]
    fn a_setting_of_the_node_is_refused() {
        let every = ["*".to_owned()];
        let refused = check(&[sysctl("vm.swappiness")], &Kind::ALL, &every).unwrap_err();
        assert_eq!(refused, Refused::NotNamespaced { name: "vm.swappiness".to_owned() });
        let refused = check(&[sysctl("net.core.somaxconn")], &[Kind::Ipc], &every).unwrap_err();
        assert_eq!(refused, Refused::Shared { name: "net.core.somaxconn".to_owned(), namespace: "net" });
        assert!(check(&[sysctl("kernel.shmmax"), sysctl("kernel.sem")], &[Kind::Ipc], &every).is_ok());
    }

    #[test]
    fn a_name_cannot_climb_out_of_its_namespace() {
        for name in ["net/../kernel/hostname", "net....kernel.hostname", "net//kernel"] {
            assert!(check(&[sysctl(name)], &Kind::ALL, &["*".to_owned()]).is_err(), "{name}");
        }
    }

    #[test]
    fn an_unsafe_setting_needs_the_word_of_the_nodes_owner() {
        let check = |allowed: &str| check(&[sysctl("net.core.somaxconn")], &Kind::ALL, &[allowed.to_owned()]);
        let refused = check("net.ipv4.*").unwrap_err();
        assert_eq!(refused.to_string(), "forbidden sysctl: \"net.core.somaxconn\" not allowlisted");
        assert!(check("net.core.*").is_ok() && check("net.core.somaxconn").is_ok());
    }

    #[test]
    fn the_safe_set_is_upstreams() {
        assert!(sysctl("net/ipv4/tcp_syncookies").is_safe());
        assert!(!sysctl("net.core.somaxconn").is_safe());
    }
}

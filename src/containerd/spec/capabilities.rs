//! What a container's processes may do of root's power. Pure.

use k8s_openapi::api::core::v1::Capabilities as Wanted;
use oci_spec::runtime::{Capability, LinuxCapabilities};

/// All capabilities, by the kernel's numbers.
const ALL: [Capability; 41] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Kill,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setpcap,
    Capability::LinuxImmutable,
    Capability::NetBindService,
    Capability::NetBroadcast,
    Capability::NetAdmin,
    Capability::NetRaw,
    Capability::IpcLock,
    Capability::IpcOwner,
    Capability::SysModule,
    Capability::SysRawio,
    Capability::SysChroot,
    Capability::SysPtrace,
    Capability::SysPacct,
    Capability::SysAdmin,
    Capability::SysBoot,
    Capability::SysNice,
    Capability::SysResource,
    Capability::SysTime,
    Capability::SysTtyConfig,
    Capability::Mknod,
    Capability::Lease,
    Capability::AuditWrite,
    Capability::AuditControl,
    Capability::Setfcap,
    Capability::MacOverride,
    Capability::MacAdmin,
    Capability::Syslog,
    Capability::WakeAlarm,
    Capability::BlockSuspend,
    Capability::AuditRead,
    Capability::Perfmon,
    Capability::Bpf,
    Capability::CheckpointRestore,
];

/// What every container has unless told otherwise: the default set of containerd and Docker.
const DEFAULT: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

/// A set of capabilities as the kernel writes it: bit n is capability n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    fn of(list: &[Capability]) -> Self {
        Self(list.iter().copied().map(bit).fold(0, |set, bit| set | bit))
    }

    /// Whether it holds `capability`.
    pub(super) fn holds(self, capability: Capability) -> bool {
        self.0 & bit(capability) != 0
    }

    fn iter(self) -> impl Iterator<Item = Capability> {
        ALL.into_iter().filter(move |capability| self.holds(*capability))
    }

    /// As runc takes them. Nothing is inheritable or ambient: a process that is not root keeps none over `execve`.
    pub(super) fn to_oci(self) -> LinuxCapabilities {
        let list = || Some(self.iter().collect());
        let mut capabilities = LinuxCapabilities::default();
        capabilities.set_bounding(list()).set_effective(list()).set_permitted(list());
        capabilities.set_inheritable(None).set_ambient(None);
        capabilities
    }
}

fn bit(capability: Capability) -> u64 {
    ALL.iter().position(|each| *each == capability).map_or(0, |number| 1 << number)
}

/// A container's capabilities, and names that are none (runc would pass over them).
pub(super) fn capabilities(
    privileged: bool,
    wanted: Option<&Wanted>,
    node: CapabilitySet,
) -> (CapabilitySet, Vec<String>) {
    if privileged {
        return (node, Vec::new());
    }
    let add = names(wanted.and_then(|wanted| wanted.add.as_ref()));
    let drop = names(wanted.and_then(|wanted| wanted.drop.as_ref()));
    let all = |list: &[String]| list.iter().any(|name| name == "ALL");
    let mut set = match (all(&add), all(&drop)) {
        (_, true) => 0,
        (true, false) => node.0,
        (false, false) => CapabilitySet::of(&DEFAULT).0,
    };
    let mut unknown = Vec::new();
    for name in add.into_iter().filter(|name| name != "ALL") {
        match name.parse() {
            Ok(capability) => set |= bit(capability),
            Err(_) => unknown.push(name),
        }
    }
    for capability in drop.iter().filter_map(|name| name.parse().ok()) {
        set &= !bit(capability);
    }
    (CapabilitySet(set), unknown)
}

/// Upper case, without `CAP_`.
fn names(list: Option<&Vec<String>>) -> Vec<String> {
    let plain = |name: &String| {
        let upper = name.to_ascii_uppercase();
        upper.strip_prefix("CAP_").map(str::to_owned).unwrap_or(upper)
    };
    list.into_iter().flatten().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: CapabilitySet = CapabilitySet(0x1ff_feff_ffff);

    fn made(add: &[&str], drop: &[&str]) -> (Vec<String>, Vec<String>) {
        let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect());
        let (set, unknown) = capabilities(false, Some(&Wanted { add: list(add), drop: list(drop) }), NODE);
        (set.iter().map(|capability| capability.to_string()).collect(), unknown)
    }

    #[test]
    fn all_may_be_dropped_and_single_ones_added_again() {
        assert_eq!(made(&["NET_ADMIN", "cap_sys_time"], &["ALL"]).0, ["NET_ADMIN", "SYS_TIME"]);
        assert_eq!(made(&[], &[]).0.len(), DEFAULT.len());
        assert!(!made(&[], &["CAP_NET_RAW"]).0.contains(&"NET_RAW".to_owned()));
    }

    #[test]
    fn all_means_what_the_node_itself_may_do() {
        let (all, _) = made(&["ALL"], &["MKNOD"]);
        assert_eq!(all.len(), ALL.len() - 2, "the node lacks SYS_RESOURCE, MKNOD is dropped");
        assert!(!all.contains(&"SYS_RESOURCE".to_owned()));
        assert_eq!(capabilities(true, None, NODE).0, NODE);
    }

    #[test]
    fn a_name_that_is_no_capability_is_told() {
        assert_eq!(made(&["FLY"], &["CRAWL"]).1, ["FLY"]);
    }
}

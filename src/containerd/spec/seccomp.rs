//! Which system calls a container may make.

use std::fs;

use k8s_openapi::api::core::v1::SeccompProfile;
use oci_spec::runtime::{Capability, LinuxSeccomp};
use serde_json::{Value, json};

use super::capabilities::CapabilitySet;
use super::user::Effective;
use super::{SpecError, SpecRequest};

/// System calls of the default profile that any container may make.
const ALLOWED: &str = include_str!("seccomp_allowed.txt");

/// System calls that a capability brings: what the kernel checks by that capability needs no second gate.
const BY_CAPABILITY: [(Capability, &str); 12] = [
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount \
         open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    (Capability::DacReadSearch, "open_by_handle_at"),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (Capability::SysModule, "delete_module init_module finit_module"),
    (Capability::SysPacct, "acct"),
    (Capability::SysPtrace, "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev"),
    (Capability::SysRawio, "iopl ioperm"),
    (Capability::SysTime, "settimeofday stime clock_settime clock_settime64"),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::SysNice, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (Capability::Syslog, "syslog"),
];

/// All flags of `clone` that make new namespaces; that of time namespaces is none of `clone`.
const CLONE_NEW_MASK: u64 = 0x7e02_0000;

/// `AF_VSOCK` reaches the hypervisor whatever the network namespace.
const AF_VSOCK: u64 = 40;

/// Values of `personality` that change nothing that matters: default, `PER_LINUX32` and `UNAME26`, and asking.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// `EPERM`, and `ENOSYS` for `clone3`: the C library then falls back to `clone`, whose flags can be looked at.
const ERRNO: (u32, u32) = (1, 38);

/// The container's filter, none when it is unconfined: by upstream's default, and when privileged.
pub(super) fn seccomp(
    request: &SpecRequest<'_>,
    capabilities: CapabilitySet,
) -> Result<Option<LinuxSeccomp>, SpecError> {
    let effective = Effective::of(request.pod, request.container);
    let own = effective.container.and_then(|c| c.seccomp_profile.as_ref());
    let Some(profile) = own.or_else(|| effective.pod.and_then(|p| p.seccomp_profile.as_ref())) else {
        return Ok(None);
    };
    if effective.privileged() {
        return Ok(None);
    }
    match profile.type_.as_str() {
        "RuntimeDefault" => Ok(Some(default_profile(capabilities))),
        "Localhost" => local_profile(request, profile).map(Some),
        _ => Ok(None),
    }
}

fn local_profile(request: &SpecRequest<'_>, profile: &SeccompProfile) -> Result<LinuxSeccomp, SpecError> {
    let name = profile.localhost_profile.as_deref().unwrap_or_default();
    let error = |why: String| SpecError::Field { field: "seccompProfile.localhostProfile".into(), why };
    if name.is_empty() || name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(error(format!("{name:?}: expected a relative path without `..`")));
    }
    let path = request.host.seccomp_profiles.join(name);
    let text = fs::read(&path).map_err(|e| error(format!("{}: {e}", path.display())))?;
    serde_json::from_slice(&text).map_err(|e| error(format!("{}: {e}", path.display())))
}

/// The default profile: what is not known to be harmless fails with `EPERM`.
fn default_profile(capabilities: CapabilitySet) -> LinuxSeccomp {
    let allowed: Vec<&str> =
        ALLOWED.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace).collect();
    let mut rules = vec![allow(&allowed, None)];
    for (capability, calls) in BY_CAPABILITY {
        if capabilities.holds(capability) {
            rules.push(allow(&calls.split_whitespace().collect::<Vec<_>>(), None));
        }
    }
    for value in PERSONALITIES {
        rules.push(allow(&["personality"], Some((value, 0, "SCMP_CMP_EQ"))));
    }
    rules.push(allow(&["socket"], Some((AF_VSOCK, 0, "SCMP_CMP_NE"))));
    if !capabilities.holds(Capability::SysAdmin) {
        rules.push(allow(&["clone"], Some((CLONE_NEW_MASK, 0, "SCMP_CMP_MASKED_EQ"))));
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ERRNO.1 }));
    }
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ERRNO.0,
        "architectures": architectures(),
        "syscalls": rules,
    });
    serde_json::from_value(profile).expect("the profile is written in this file, and tested")
}

fn allow(names: &[&str], argument: Option<(u64, u64, &str)>) -> Value {
    let mut rule = json!({ "names": names, "action": "SCMP_ACT_ALLOW" });
    if let Some((value, value_two, op)) = argument {
        rule["args"] = json!([{ "index": 0, "value": value, "valueTwo": value_two, "op": op }]);
    }
    rule
}

/// This machine's architecture with the older ones whose programs it runs.
fn architectures() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64" => &["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(capabilities: CapabilitySet) -> Vec<String> {
        let profile = default_profile(capabilities);
        profile.syscalls().iter().flatten().flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn the_default_profile_gates_by_capability() {
        let none = names(CapabilitySet(0));
        let all = names(CapabilitySet(u64::MAX));
        for call in ["mount", "unshare", "setns", "bpf", "kcmp", "reboot", "keyctl", "add_key", "userfaultfd"]
        {
            assert!(!none.contains(&call.to_owned()), "{call}");
        }
        for call in ["mount", "unshare", "kcmp", "reboot", "chroot"] {
            assert!(all.contains(&call.to_owned()), "{call}");
        }
        for call in ["read", "execve", "epoll_wait", "clone", "socket", "personality", "futex", "rseq"] {
            assert!(none.contains(&call.to_owned()), "{call}");
        }
    }

    #[test]
    fn no_call_is_listed_twice() {
        let mut calls: Vec<&str> =
            ALLOWED.lines().filter(|l| !l.starts_with('#')).flat_map(str::split_whitespace).collect();
        let count = calls.len();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), count);
        assert!(count > 300, "{count}");
    }
}

//! Sizes, versions and identities: what `status.capacity` and `status.nodeInfo` are made of.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Root;

/// The machine as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Machine {
    /// Online logical CPUs.
    pub cpu_count: u32,
    /// `MemTotal`, bytes.
    pub memory_bytes: u64,
    /// Bytes of huge pages by page size in bytes.
    pub huge_pages_bytes: BTreeMap<u64, u64>,
    /// Bytes of swap.
    pub swap_bytes: u64,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// DMI product UUID, else the machine id.
    pub system_uuid: String,
    /// Differs in every boot.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel_version: String,
    /// `PRETTY_NAME` of os-release.
    pub os_image: String,
    /// GOARCH.
    pub architecture: String,
}

pub(super) fn read(root: &Root) -> Machine {
    let memory = meminfo(root);
    let machine_id = ["/etc/machine-id", "/var/lib/dbus/machine-id"]
        .iter()
        .find_map(|path| root.text(path).filter(|id| !id.is_empty()))
        .unwrap_or_default();
    Machine {
        cpu_count: cpu_count(root),
        memory_bytes: memory.get("MemTotal").copied().unwrap_or_default(),
        swap_bytes: memory.get("SwapTotal").copied().unwrap_or_default(),
        huge_pages_bytes: huge_pages(root),
        system_uuid: [
            "/sys/class/dmi/id/product_uuid",
            "/proc/device-tree/system-id",
            "/proc/device-tree/vm,uuid",
        ]
        .iter()
        .find_map(|path| root.text(path).filter(|id| !id.is_empty()))
        .unwrap_or_else(|| machine_id.clone()),
        machine_id,
        boot_id: root.text("/proc/sys/kernel/random/boot_id").unwrap_or_default(),
        kernel_version: root.text("/proc/sys/kernel/osrelease").unwrap_or_default(),
        os_image: os_release(root).remove("PRETTY_NAME").unwrap_or_else(|| "Linux".into()),
        architecture: architecture(root).into(),
    }
}

/// The pairs of os-release, unquoted.
pub(super) fn os_release(root: &Root) -> BTreeMap<String, String> {
    let text = root.text("/etc/os-release").or_else(|| root.text("/usr/lib/os-release")).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().into(), value.trim().trim_matches(['"', '\'']).into()))
        .collect()
}

/// Bytes by name.
fn meminfo(root: &Root) -> BTreeMap<String, u64> {
    let text = root.text("/proc/meminfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let kibibytes: u64 = rest.split_whitespace().next()?.parse().ok()?;
            Some((name.into(), kibibytes * 1024))
        })
        .collect()
}

/// CPUs in `/sys/devices/system/cpu/online` (`0-3,6`), else the processors of `/proc/cpuinfo`.
fn cpu_count(root: &Root) -> u32 {
    let listed = root.text("/sys/devices/system/cpu/online").map(|list| cpu_list(&list).len() as u32);
    listed.filter(|count| *count > 0).unwrap_or_else(|| {
        let text = root.text("/proc/cpuinfo").unwrap_or_default();
        text.lines().filter(|line| line.starts_with("processor")).count() as u32
    })
}

/// The numbers of a kernel CPU list, e.g. `0-3,6`.
pub(super) fn cpu_list(list: &str) -> Vec<u32> {
    let range = |part: &str| -> Option<std::ops::RangeInclusive<u32>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    list.split(',').filter_map(range).flatten().collect()
}

fn huge_pages(root: &Root) -> BTreeMap<u64, u64> {
    let folder = "/sys/kernel/mm/hugepages";
    root.names(folder)
        .iter()
        .filter_map(|name| {
            let size = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()? * 1024;
            Some((size, root.number(&format!("{folder}/{name}/nr_hugepages"))? * size))
        })
        .collect()
}

/// GOARCH of the machine whose files these are: a fixture may say so in `/proc/sys/kernel/arch`, as Linux does since 6.1.
fn architecture(root: &Root) -> &'static str {
    let machine = root.text("/proc/sys/kernel/arch").unwrap_or_else(|| std::env::consts::ARCH.into());
    match machine.as_str() {
        "aarch64" => "arm64",
        "ppc64le" | "powerpc64" => "ppc64le",
        "s390x" => "s390x",
        "riscv64" => "riscv64",
        "armv7l" | "arm" => "arm",
        "i686" | "x86" => "386",
        _ => "amd64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_cpu_list_is_expanded() {
        assert_eq!(cpu_list("0-3,6"), [0, 1, 2, 3, 6]);
        assert_eq!(cpu_list("0"), [0]);
        assert_eq!(cpu_list(""), [0_u32; 0]);
    }

    #[test]
    fn this_machine_has_processors_memory_and_a_boot_id() {
        let machine = read(&Root("/".into()));
        assert!(
            machine.cpu_count > 0 && machine.memory_bytes > 0 && machine.boot_id.len() == 36,
            "{machine:?}"
        );
    }
}

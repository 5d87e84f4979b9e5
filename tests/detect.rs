//! What the probes say of machines laid out as folders.

use std::path::PathBuf;

use leasehold::detect::{Facts, Vendor, read};

fn fixture(name: &str) -> Facts {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    assert!(path.is_dir(), "{}", path.display());
    read(&path)
}

fn label<'a>(facts: &'a Facts, key: &str) -> Option<&'a str> {
    facts.labels.get(key).map(String::as_str)
}

#[test]
fn eight_h100_are_counted_and_named_and_neither_switches_nor_the_bmc_are() {
    let facts = fixture("h100x8");
    assert_eq!(facts.gpus.len(), 8);
    assert!(
        facts.gpus.iter().all(|gpu| gpu.vendor == Vendor::Nvidia && gpu.driver.as_deref() == Some("nvidia"))
    );
    assert_eq!(facts.gpus.iter().filter(|gpu| gpu.numa_node == Some(1)).count(), 4);
    for (key, value) in [
        ("feature.node.kubernetes.io/pci-0302_10de.present", "true"),
        ("nvidia.com/gpu.present", "true"),
        ("nvidia.com/gpu.count", "8"),
        ("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),
        ("nvidia.com/gpu.family", "hopper"),
        ("nvidia.com/gpu.machine", "DGXH100"),
        ("nvidia.com/gpu.mode", "compute"),
        ("nvidia.com/cuda.driver-version.full", "535.129.03"),
        ("nvidia.com/cuda.driver-version.major", "535"),
        ("feature.node.kubernetes.io/kernel-version.full", "5.15.0-1065-nvidia"),
        ("feature.node.kubernetes.io/memory-numa", "true"),
        ("feature.node.kubernetes.io/network-sriov.capable", "true"),
        ("feature.node.kubernetes.io/cpu-cpuid.AMXTILE", "true"),
        ("feature.node.kubernetes.io/cpu-model.vendor_id", "Intel"),
        ("feature.node.kubernetes.io/cpu-hardware_multithreading", "true"),
        ("feature.node.kubernetes.io/system-os_release.VERSION_ID.major", "22"),
    ] {
        assert_eq!(label(&facts, key), Some(value), "{key}");
    }
    assert_eq!(facts.machine.cpu_count, 224);
    assert_eq!(facts.machine.huge_pages_bytes[&(1 << 30)], 32 << 30);
}

#[test]
fn a_machine_with_a_bmc_only_has_no_gpu() {
    let facts = fixture("cpu-only");
    assert!(facts.gpus.is_empty(), "{:?}", facts.gpus);
    assert_eq!(label(&facts, "feature.node.kubernetes.io/pci-0300_1a03.present"), Some("true"));
    assert!(!facts.labels.keys().any(|key| key.starts_with("nvidia.com/") || key.contains("10de")));
    assert_eq!((facts.machine.cpu_count, facts.machine.memory_bytes), (128, 527_945_632 * 1024));
    assert_eq!(label(&facts, "feature.node.kubernetes.io/system-os_release.ID"), Some("ubuntu"));
}

#[test]
fn accelerators_of_amd_say_that_they_are_processing_accelerators() {
    let facts = fixture("mi300x");
    assert_eq!(facts.gpus.len(), 4);
    assert_eq!(label(&facts, "feature.node.kubernetes.io/pci-1200_1002.present"), Some("true"));
    assert_eq!(label(&facts, "amd.com/gpu.product-name"), Some("AMD_Instinct_MI300X_OAM"));
    assert_eq!(label(&facts, "amd.com/gpu.device-id"), Some("74a1"));
    assert_eq!(label(&facts, "amd.com/gpu.driver-version"), Some("6.12.12"));
}

#[test]
fn an_intel_gpu_without_a_driver_is_seen_and_not_offered() {
    let facts = fixture("arc-no-driver");
    assert_eq!(facts.gpus.len(), 1);
    assert_eq!(facts.gpus[0].numa_node, None);
    assert_eq!(label(&facts, "feature.node.kubernetes.io/pci-0300_8086.present"), Some("true"));
    assert_eq!(label(&facts, "intel.feature.node.kubernetes.io/gpu"), None);
}

#[test]
fn a_function_that_cannot_be_read_is_skipped_with_a_warning() {
    let root = tempfile::tempdir().expect("temp dir");
    let device = root.path().join("sys/bus/pci/devices/0000:01:00.0");
    std::fs::create_dir_all(&device).expect("creatable");
    std::fs::write(device.join("vendor"), "0x10de\n").expect("writable");
    std::fs::write(device.join("class"), "nonsense\n").expect("writable");
    let facts = read(root.path());
    assert!(facts.gpus.is_empty());
    assert!(facts.warnings[0].contains("0000:01:00.0"), "{:?}", facts.warnings);
}

//! GPUs of NVIDIA, AMD and Intel: found on the PCI bus without any driver, told more of where a driver is loaded.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Root;
use super::pci::Device;

const NVIDIA: u32 = 0x10de;
const AMD: u32 = 0x1002;
const INTEL: u32 = 0x8086;

/// Who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Its maker.
    pub vendor: Vendor,
    /// PCI address.
    pub address: String,
    /// PCI device id.
    pub device: u32,
    /// PCI class with programming interface.
    pub class: u32,
    /// Bound driver.
    pub driver: Option<String>,
    /// NUMA node.
    pub numa_node: Option<u32>,
    /// Marketing name: the driver's word, else by device id where it is known.
    pub product: Option<String>,
}

/// Architecture, compute capability and name of an NVIDIA device id, as NVML names it. From the PCI id database and
/// NVIDIA's list of CUDA GPUs; data-centre cards.
struct Model(u32, &'static str, &'static str, (u8, u8));

const MODELS: [Model; 31] = [
    Model(0x15f8, "Tesla P100-PCIE-16GB", "pascal", (6, 0)),
    Model(0x15f9, "Tesla P100-SXM2-16GB", "pascal", (6, 0)),
    Model(0x1b38, "Tesla P40", "pascal", (6, 1)),
    Model(0x1bb3, "Tesla P4", "pascal", (6, 1)),
    Model(0x1db1, "Tesla V100-SXM2-16GB", "volta", (7, 0)),
    Model(0x1db4, "Tesla V100-PCIE-16GB", "volta", (7, 0)),
    Model(0x1db5, "Tesla V100-SXM2-32GB", "volta", (7, 0)),
    Model(0x1db6, "Tesla V100-PCIE-32GB", "volta", (7, 0)),
    Model(0x1eb8, "Tesla T4", "turing", (7, 5)),
    Model(0x20b0, "NVIDIA A100-SXM4-40GB", "ampere", (8, 0)),
    Model(0x20b2, "NVIDIA A100-SXM4-80GB", "ampere", (8, 0)),
    Model(0x20b5, "NVIDIA A100 80GB PCIe", "ampere", (8, 0)),
    Model(0x20b7, "NVIDIA A30", "ampere", (8, 0)),
    Model(0x20f1, "NVIDIA A100-PCIE-40GB", "ampere", (8, 0)),
    Model(0x2230, "NVIDIA RTX A6000", "ampere", (8, 6)),
    Model(0x2235, "NVIDIA A40", "ampere", (8, 6)),
    Model(0x2236, "NVIDIA A10", "ampere", (8, 6)),
    Model(0x2237, "NVIDIA A10G", "ampere", (8, 6)),
    Model(0x26b1, "NVIDIA RTX 6000 Ada Generation", "ada-lovelace", (8, 9)),
    Model(0x26b5, "NVIDIA L40", "ada-lovelace", (8, 9)),
    Model(0x26b9, "NVIDIA L40S", "ada-lovelace", (8, 9)),
    Model(0x27b8, "NVIDIA L4", "ada-lovelace", (8, 9)),
    Model(0x2321, "NVIDIA H100 NVL", "hopper", (9, 0)),
    Model(0x2329, "NVIDIA H20", "hopper", (9, 0)),
    Model(0x2330, "NVIDIA H100 80GB HBM3", "hopper", (9, 0)),
    Model(0x2331, "NVIDIA H100 PCIe", "hopper", (9, 0)),
    Model(0x2335, "NVIDIA H200", "hopper", (9, 0)),
    Model(0x233b, "NVIDIA H200 NVL", "hopper", (9, 0)),
    Model(0x2901, "NVIDIA B200", "blackwell", (10, 0)),
    Model(0x2941, "NVIDIA GB200", "blackwell", (10, 0)),
    Model(0x3182, "NVIDIA B300 SXM6 AC", "blackwell", (10, 3)),
];

/// GPUs among the PCI functions; virtual functions on a host are not counted.
pub(super) fn find(root: &Root, devices: &[Device]) -> Vec<Gpu> {
    let physical = devices.iter().filter(|device| !device.is_virtual);
    physical.filter_map(|device| Some(gpu(root, device, vendor(device)?))).collect()
}

/// Display and 3D controllers; AMD's later accelerators say that they are processing accelerators.
fn vendor(device: &Device) -> Option<Vendor> {
    match (device.vendor, device.class >> 8) {
        (NVIDIA, 0x0300 | 0x0302) => Some(Vendor::Nvidia),
        (AMD, 0x0300 | 0x0380 | 0x1200) => Some(Vendor::Amd),
        (INTEL, 0x0300 | 0x0380) => Some(Vendor::Intel),
        _ => None,
    }
}

fn gpu(root: &Root, device: &Device, vendor: Vendor) -> Gpu {
    let product = match vendor {
        Vendor::Nvidia => nvidia_name(root, device),
        Vendor::Amd => root.text(&format!("/sys/bus/pci/devices/{}/product_name", device.address)),
        Vendor::Intel => None,
    };
    Gpu {
        vendor,
        address: device.address.clone(),
        device: device.device,
        class: device.class,
        driver: device.driver.clone(),
        numa_node: device.numa_node,
        product: product.filter(|name| !name.is_empty()),
    }
}

fn nvidia_name(root: &Root, device: &Device) -> Option<String> {
    let told = root.text(&format!("/proc/driver/nvidia/gpus/{}/information", device.address));
    let told = told.and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("Model:")).map(|name| name.trim().to_owned())
    });
    told.or_else(|| model(device.device).map(|model| model.1.to_owned()))
}

fn model(device: u32) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.0 == device)
}

/// Labels in the names that existing manifests select on.
pub(super) fn labels(root: &Root, gpus: &[Gpu]) -> BTreeMap<String, String> {
    let of = |vendor: Vendor| gpus.iter().filter(move |gpu| gpu.vendor == vendor).collect::<Vec<_>>();
    let mut labels = nvidia(root, &of(Vendor::Nvidia));
    labels.extend(amd(root, &of(Vendor::Amd)));
    labels.extend(intel(root, &of(Vendor::Intel)));
    labels
}

/// As GPU Feature Discovery and the GPU Operator name them. With several models the one of the lowest PCI address is
/// told, and counted alone.
fn nvidia(root: &Root, gpus: &[&Gpu]) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut set = |name: &str, value: String| labels.insert(format!("nvidia.com/{name}"), value);
    let Some(first) = gpus.first() else { return labels };
    let alike = gpus.iter().filter(|gpu| gpu.device == first.device).count();
    set("gpu.present", "true".into());
    set("gpu.count", alike.to_string());
    if let Some(product) = &first.product {
        set("gpu.product", joined(product));
    }
    if let Some(Model(_, _, family, (major, minor))) = model(first.device) {
        set("gpu.family", (*family).into());
        set("gpu.compute.major", major.to_string());
        set("gpu.compute.minor", minor.to_string());
    }
    let machine = root.text("/sys/class/dmi/id/product_name").map(|name| joined(&name));
    set("gpu.machine", machine.filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".into()));
    let classes: BTreeSet<u32> = gpus.iter().map(|gpu| gpu.class >> 8).collect();
    let mode = match classes.iter().collect::<Vec<_>>()[..] {
        [0x0302] => "compute",
        [0x0300] => "graphics",
        _ => "unknown",
    };
    set("gpu.mode", mode.into());
    if let Some(version) = nvidia_driver(root) {
        let parts: Vec<&str> = version.split('.').collect();
        for (name, part) in ["major", "minor", "revision"].iter().zip(parts) {
            set(&format!("cuda.driver-version.{name}"), part.to_owned());
        }
        set("cuda.driver-version.full", version);
    }
    labels
}

/// The driver's version: the first word of digits and dots in the line `NVRM version:`.
fn nvidia_driver(root: &Root) -> Option<String> {
    let text = root.text("/proc/driver/nvidia/version")?;
    let line = text.lines().find_map(|line| line.strip_prefix("NVRM version:"))?;
    let is_version = |word: &&str| {
        let parts: Vec<&str> = word.split('.').collect();
        (2..=3).contains(&parts.len())
            && parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    line.split_whitespace().find(is_version).map(str::to_owned)
}

/// As AMD's node labeller names them.
fn amd(root: &Root, gpus: &[&Gpu]) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(first) = gpus.first() else { return labels };
    labels.insert("feature.node.kubernetes.io/amd-gpu".into(), "true".into());
    if gpus.iter().all(|gpu| gpu.device == first.device) {
        labels.insert("amd.com/gpu.device-id".into(), format!("{:04x}", first.device));
        if let Some(product) = &first.product {
            let name: String = product.chars().filter(|c| !matches!(c, '(' | ')')).collect();
            labels.insert(
                "amd.com/gpu.product-name".into(),
                name.split_whitespace().collect::<Vec<_>>().join("_"),
            );
        }
    }
    if let Some(version) = root.text("/sys/module/amdgpu/version") {
        labels.insert("amd.com/gpu.driver-version".into(), version);
    }
    labels
}

/// As Intel's rules and labeller name them: the GPU counts when a driver for it is loaded.
fn intel(root: &Root, gpus: &[&Gpu]) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let driver = ["i915", "xe"].iter().any(|module| root.exists(&format!("/sys/module/{module}")));
    if gpus.is_empty() || !driver {
        return labels;
    }
    labels.insert("intel.feature.node.kubernetes.io/gpu".into(), "true".into());
    labels.insert("gpu.intel.com/device.count".into(), gpus.len().to_string());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for gpu in gpus {
        *counts.entry(format!("{:04x}-{:04x}", gpu.class >> 8, gpu.device)).or_default() += 1;
    }
    for (id, count) in counts {
        labels.insert(format!("gpu.intel.com/device-id.{id}.present"), "true".into());
        labels.insert(format!("gpu.intel.com/device-id.{id}.count"), count.to_string());
    }
    labels
}

/// A name as GPU Feature Discovery writes it: other characters go, runs of white space become one dash.
fn joined(name: &str) -> String {
    let kept = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ' | '\t');
    let text: String = name.chars().filter(kept).collect();
    text.split_whitespace().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_gpu_feature_discovery_writes_them() {
        assert_eq!(joined("NVIDIA H100 80GB HBM3"), "NVIDIA-H100-80GB-HBM3");
        assert_eq!(joined("NVIDIA TITAN X (Pascal)"), "NVIDIA-TITAN-X-Pascal");
        assert_eq!(joined("Tesla T4"), "Tesla-T4");
    }
}

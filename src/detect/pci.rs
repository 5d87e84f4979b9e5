//! PCI functions.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{Feature, Root, yes};

const FOLDER: &str = "/sys/bus/pci/devices";

/// Classes that get labels, as prefixes of four hexadecimal digits: display, co-processors, accelerators (Node Feature
/// Discovery's default white list).
const LABELLED: [&str; 3] = ["03", "0b40", "12"];

/// One PCI function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Device {
    /// `dddd:bb:dd.f`
    pub address: String,
    /// Class with programming interface, e.g. `0x030200`.
    pub class: u32,
    /// E.g. `0x10de`.
    pub vendor: u32,
    /// E.g. `0x2330`.
    pub device: u32,
    /// Subsystem vendor and device, where the platform tells.
    pub subsystem: Option<(u32, u32)>,
    /// Name of the bound driver.
    pub driver: Option<String>,
    /// NUMA node; none where the platform does not tell.
    pub numa_node: Option<u32>,
    /// How many virtual functions it can have.
    pub virtual_functions_max: u32,
    /// It is a virtual function itself.
    pub is_virtual: bool,
}

impl Device {
    /// Base class and sub-class as four hexadecimal digits, e.g. `0302`.
    pub fn class_text(&self) -> String {
        format!("{:04x}", self.class >> 8)
    }
}

/// All functions, in order of address, and warnings about those that cannot be read.
pub(super) fn devices(root: &Root) -> (Vec<Device>, Vec<String>) {
    let mut warnings = Vec::new();
    let mut found = Vec::new();
    for address in root.names(FOLDER) {
        match device(root, &address) {
            Some(device) => found.push(device),
            None => {
                warnings.push(format!("{FOLDER}/{address}: class, vendor or device cannot be read; skipped"));
            }
        }
    }
    (found, warnings)
}

fn device(root: &Root, address: &str) -> Option<Device> {
    let file = |name: &str| format!("{FOLDER}/{address}/{name}");
    let number = |name: &str| root.number(&file(name)).and_then(|number| u32::try_from(number).ok());
    Some(Device {
        address: address.to_owned(),
        class: number("class")?,
        vendor: number("vendor")?,
        device: number("device")?,
        subsystem: number("subsystem_vendor").zip(number("subsystem_device")),
        driver: root.link_name(&file("driver")),
        // -1 is no number of ours: the platform does not tell.
        numa_node: number("numa_node"),
        virtual_functions_max: number("sriov_totalvfs").unwrap_or_default(),
        is_virtual: root.path(&file("physfn")).is_symlink() || root.exists(&file("physfn")),
    })
}

pub(super) fn features(devices: &[Device]) -> Vec<Feature> {
    let mut names = BTreeSet::new();
    for device in devices {
        let class = device.class_text();
        if LABELLED.iter().any(|prefix| class.starts_with(prefix)) {
            let stem = format!("pci-{class}_{:04x}", device.vendor);
            if device.virtual_functions_max > 0 {
                names.insert(format!("{stem}.sriov.capable"));
            }
            names.insert(format!("{stem}.present"));
        }
    }
    names.iter().map(|name| yes(name)).collect()
}

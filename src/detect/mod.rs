//! Facts about the machine, read from files below a root folder (`--sysroot`), so that a fixture is a folder.
//!
//! One file per probe; a probe returns facts and labels, never errors: what cannot be read is not there, and a warning
//! says so where that is odd.

mod cpu;
mod gpu;
mod kernel;
mod machine;
mod memory;
mod network;
mod pci;
pub mod readings;
mod storage;
mod system;
pub mod uevents;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use gpu::{Gpu, Vendor};
pub use machine::Machine;
pub use pci::Device;

use crate::api::names;

/// What a node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Facts {
    /// Sizes, versions and identities.
    pub machine: Machine,
    /// Labels for the Node, by full key.
    pub labels: BTreeMap<String, String>,
    /// GPUs, whether a driver is loaded or not, in PCI order.
    pub gpus: Vec<Gpu>,
    /// All PCI functions, in order of address.
    pub pci: Vec<Device>,
    /// What could not be read, though it should have been.
    pub warnings: Vec<String>,
}

/// Prefix of the labels whose names are those of Node Feature Discovery.
const FEATURE: &str = "feature.node.kubernetes.io";

/// Reads all facts below `sysroot` (`/` for this machine).
pub fn read(sysroot: &Path) -> Facts {
    let root = Root(sysroot.to_owned());
    let machine = machine::read(&root);
    let (pci, warnings) = pci::devices(&root);
    let mut labels = well_known(&machine);
    let features = [
        cpu::features(&root),
        kernel::features(&root),
        memory::features(&root),
        network::features(&root),
        storage::features(&root),
        system::features(&root),
        pci::features(&pci),
    ];
    for (name, value) in features.into_iter().flatten() {
        labels.insert(format!("{FEATURE}/{name}"), value);
    }
    let gpus = gpu::find(&root, &pci);
    labels.extend(gpu::labels(&root, &gpus));
    labels.retain(|_, value| names::label_value(value).is_empty());
    Facts { machine, labels, gpus, pci, warnings }
}

fn well_known(machine: &Machine) -> BTreeMap<String, String> {
    let pairs = [("kubernetes.io/os", "linux"), ("kubernetes.io/arch", machine.architecture.as_str())];
    let both =
        pairs.into_iter().flat_map(|(key, value)| [(key.to_owned(), value), (format!("beta.{key}"), value)]);
    both.map(|(key, value)| (key, value.to_owned())).collect()
}

/// A label of Node Feature Discovery without its prefix, and its value.
type Feature = (String, String);

fn yes(name: &str) -> Feature {
    (name.to_owned(), "true".to_owned())
}

fn truth(name: &str, value: bool) -> Feature {
    (name.to_owned(), value.to_string())
}

/// `text` as a label value: characters that may not be there become `_`, and the ends are trimmed.
fn label_value(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let replaced: String = text.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    let cut = replaced.get(..63).unwrap_or(&replaced);
    cut.trim_matches(['-', '_', '.']).to_owned()
}

/// A root folder; paths below it are given absolute.
#[derive(Clone, Debug)]
struct Root(PathBuf);

impl Root {
    fn path(&self, absolute: &str) -> PathBuf {
        self.0.join(absolute.trim_start_matches('/'))
    }

    /// The file's text without surrounding white space; none when it cannot be read.
    fn text(&self, absolute: &str) -> Option<String> {
        std::fs::read_to_string(self.path(absolute)).ok().map(|text| text.trim().to_owned())
    }

    /// The file as a number (decimal, or hexadecimal with `0x`).
    fn number(&self, absolute: &str) -> Option<u64> {
        let text = self.text(absolute)?;
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }
    }

    fn exists(&self, absolute: &str) -> bool {
        self.path(absolute).exists()
    }

    /// Last part of what a link points to.
    fn link_name(&self, absolute: &str) -> Option<String> {
        let target = std::fs::read_link(self.path(absolute)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// Names of a folder's entries, sorted.
    fn names(&self, absolute: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(absolute))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }
}

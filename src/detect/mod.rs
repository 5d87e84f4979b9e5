//! Facts about the machine, read from files below a root folder (`--sysroot`), so that a fixture is a folder.
//!
//! One file per probe; a probe returns facts and labels, never errors: what cannot be read is not there, and a warning
//! says so where that is odd.

mod machine;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub use machine::Machine;

/// What a node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Facts {
    /// Sizes, versions and identities.
    pub machine: Machine,
    /// Labels for the Node, by full key.
    pub labels: BTreeMap<String, String>,
    /// What could not be read, though it should have been.
    pub warnings: Vec<String>,
}

/// Reads all facts below `sysroot` (`/` for this machine).
pub fn read(sysroot: &Path) -> Facts {
    let root = Root(sysroot.to_owned());
    let mut facts = Facts { machine: machine::read(&root), ..Facts::default() };
    for (key, value) in
        [("kubernetes.io/os", "linux"), ("kubernetes.io/arch", &facts.machine.architecture.clone())]
    {
        facts.labels.insert(key.into(), value.into());
        facts.labels.insert(format!("beta.{key}"), value.into());
    }
    facts
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

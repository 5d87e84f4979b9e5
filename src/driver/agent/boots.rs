//! Which boot of the machine this is, and how many have passed without the coordinator.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk::{Disk, DiskError, Durability};

const FILE: &str = "boot.json";

/// What the disk remembers of boots.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    boot_id: String,
    /// Boots since the coordinator was last heard.
    alone: u32,
}

/// This boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Boots {
    /// The machine has been booted since the disk was written.
    pub(super) rebooted: bool,
    /// Boots since the coordinator was last heard, this one included.
    pub(super) alone: u32,
}

impl Boots {
    /// Takes note of this boot.
    pub(super) fn enter(disk: &Disk, boot_id: &str) -> Result<Self, DiskError> {
        let last: Option<Record> = disk.read(Path::new(FILE))?;
        let rebooted = last.as_ref().is_some_and(|last| last.boot_id != boot_id);
        let alone = last.map_or(0, |last| last.alone) + u32::from(rebooted);
        disk.put(Path::new(FILE), &Record { boot_id: boot_id.to_owned(), alone }, Durability::Power)?;
        Ok(Self { rebooted, alone })
    }

    /// The coordinator was heard.
    pub(super) fn heard(disk: &Disk, boot_id: &str) -> Result<(), DiskError> {
        disk.put(Path::new(FILE), &Record { boot_id: boot_id.to_owned(), alone: 0 }, Durability::Power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_are_counted_until_the_coordinator_is_heard() {
        let dir = tempfile::tempdir().expect("temp dir");
        let disk = Disk::open(dir.path()).expect("opens");
        let enter = |boot: &str| Boots::enter(&disk, boot).expect("writes");
        assert_eq!(enter("a"), Boots { rebooted: false, alone: 0 });
        assert_eq!(enter("a"), Boots { rebooted: false, alone: 0 });
        assert_eq!(enter("b"), Boots { rebooted: true, alone: 1 });
        assert_eq!(enter("c"), Boots { rebooted: true, alone: 2 });
        Boots::heard(&disk, "c").expect("writes");
        assert_eq!(enter("d"), Boots { rebooted: true, alone: 1 });
    }
}
